//! Data files: rows that cannot be used, overlap, statistics.

use super::*;

#[test]
fn unusable_rows_are_left_out_or_fatal_when_strict() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    std::fs::write(dir.path().join("squares/broken.png"), "no picture").unwrap();
    std::fs::write(dir.path().join("squares/broken.txt"), "broken").unwrap();
    let args = [
        "train", "--data", "squares", "--preset", "tiny", "--steps", "1", "--out", "model",
    ];
    let output = seemore(dir.path(), &args);
    succeeds(&output);
    assert!(
        stderr(&output).contains("broken.png") && stderr(&output).contains("1 left out"),
        "{}",
        stderr(&output)
    );
    fails(
        &seemore(
            dir.path(),
            &[&args[..], &["--strict", "--overwrite"]].concat(),
        ),
        1,
        &["broken.png"],
    );
}

#[test]
fn overlapping_data_are_refused_unless_allowed() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    squares(&dir.path().join("val"), 1);
    let train = |data: &[&str], more: &[&str]| {
        seemore(
            dir.path(),
            &[
                &["train", "--preset", "tiny", "--steps", "1", "--data"],
                data,
                more,
            ]
            .concat(),
        )
    };
    let words = [
        "4 training pictures are also validation pictures, 4 of them equal to the pixel",
        "squares/blue0.png equals val/blue0.png",
        "--allow-overlap",
    ];
    fails(&train(&["squares"], &["--val-data", "val"]), 1, &words);
    fails(
        &train(&["val"], &["--val-data", "squares", "--allow-overlap"]),
        1,
        &["no picture is left to train on"],
    );
    let output = train(
        &["squares"],
        &["--val-data", "val", "--allow-overlap", "--out", "out"],
    );
    assert!(succeeds(&output).contains("of 4 captions"));
    let said = stderr(&output);
    assert!(
        said.contains("4 are left out of training")
            && said.contains("4 training pictures, 4 validation pictures"),
        "{said}"
    );
    // a resumed run keeps the permission
    succeeds(&seemore(
        dir.path(),
        &["train", "--resume", "out", "--steps", "2"],
    ));

    // a copy of another size and format, among several training files
    let drawing = RgbImage::from_fn(48, 48, |x, y| {
        if (x as i32 - 24).pow(2) + (y as i32 - 20).pow(2) < 200 {
            Rgb([200, 60, 60])
        } else {
            Rgb([255; 3])
        }
    });
    drawing.save(dir.path().join("val/ball.png")).unwrap();
    std::fs::write(dir.path().join("val/ball.txt"), "ball").unwrap();
    image::imageops::resize(&drawing, 80, 80, image::imageops::FilterType::Triangle)
        .save(dir.path().join("copy.jpg"))
        .unwrap();
    std::fs::write(
        dir.path().join("more.jsonl"),
        r#"{"image": "copy.jpg", "captions": ["ball", "a ball"]}"#,
    )
    .unwrap();
    let words = [
        "5 training pictures",
        "4 of them equal to the pixel",
        "more.jsonl line 1 nearly equals val/ball.png",
    ];
    fails(
        &train(&["squares", "more.jsonl"], &["--val-data", "val"]),
        1,
        &words,
    );
    fails(
        &train(&["squares,more.jsonl"], &["--val-data", "val"]),
        1,
        &words,
    );
    fails(
        &train(&["squares"], &["--data", "more.jsonl", "--val-data", "val"]),
        1,
        &words,
    );
}

#[test]
fn captions_beyond_the_context_are_named() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    std::fs::write(dir.path().join("squares/red1.txt"), "r".repeat(200)).unwrap();
    let output = seemore(
        dir.path(),
        &[
            "train",
            "--data",
            "squares",
            "--val-split",
            "0",
            "--preset",
            "tiny",
            "--steps",
            "1",
        ],
    );
    succeeds(&output);
    assert!(
        stderr(&output).contains("red1.png") && stderr(&output).contains("201 positions"),
        "{}",
        stderr(&output)
    );
    let strict = [
        "train",
        "--data",
        "squares",
        "--val-split",
        "0",
        "--preset",
        "tiny",
        "--steps",
        "1",
        "--strict",
    ];
    fails(&seemore(dir.path(), &strict), 1, &["red1.png", "--strict"]);
}

#[test]
fn data_stats_count_and_draw() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    let lines = "{\"image\": \"red0.png\", \"captions\": [\"red\", \"A Red, round thing!\"], \"concept\": \"colour\"}\n{\"image\": \"red0.png\", \"caption\": \"rouge\"}\n{\"image\": \"lost.png\", \"caption\": \"x\"}\n";
    std::fs::write(dir.path().join("lines.jsonl"), lines).unwrap();
    let stats = |more: &[&str]| {
        seemore(
            dir.path(),
            &[
                &[
                    "data",
                    "stats",
                    "squares",
                    "lines.jsonl",
                    "--images",
                    "squares",
                ],
                more,
            ]
            .concat(),
        )
    };
    let mut found: serde_json::Value =
        serde_json::from_str(&succeeds(&stats(&["--json"]))).unwrap();
    for file in found["files"].as_array_mut().unwrap() {
        // depends on the encoder of the pictures
        assert!(file["bytes"].take().as_u64().unwrap() > 200);
    }
    let spread = |min: u32, median: u32, max: u32| serde_json::json!({"min": min, "median": median, "max": max});
    let pair = |ids: [&str; 2], captions: [&str; 2]| serde_json::json!({"ids": ids, "captions": captions, "likeness": "exact"});
    let wanted = serde_json::json!({
        "files": [{
            "file": "squares", "format": "folder", "bytes": null, "pictures": 4, "width": spread(20, 20, 20), "height": spread(24, 24, 24),
            "captions": 4, "captions_a_picture": spread(1, 1, 1), "words": spread(1, 1, 1), "characters": spread(3, 4, 5),
            "distinct_captions": 4, "vocabulary": 4, "distinct_characters": 9,
            "most_frequent": [["blue", 1], ["green", 1], ["grey", 1], ["red", 1]], "distinct_concepts": 0, "without_concept": 4,
            "repeats": {"exact": 0, "near": 0, "same_caption": 0, "examples": []}, "left_out": 0, "problems": [], "notes": [],
        }, {
            "file": "lines.jsonl", "format": "jsonl", "bytes": null, "pictures": 2, "width": spread(20, 20, 20), "height": spread(24, 24, 24),
            "captions": 3, "captions_a_picture": spread(1, 1, 2), "words": spread(1, 1, 4), "characters": spread(3, 5, 19),
            "distinct_captions": 3, "vocabulary": 5, "distinct_characters": 15,
            "most_frequent": [["A Red, round thing!", 1], ["red", 1], ["rouge", 1]], "distinct_concepts": 1, "without_concept": 1,
            "repeats": {"exact": 1, "near": 0, "same_caption": 0, "examples": [pair(["lines.jsonl line 2", "lines.jsonl line 1"], ["rouge", "red"])]},
            "left_out": 1, "problems": ["lines.jsonl line 3: its picture lost.png is not in squares"], "notes": [],
        }],
        "across": [{
            "file": "lines.jsonl", "other": "squares", "exact": 2, "near": 0, "same_caption": 1,
            "examples": [
                pair(["lines.jsonl line 1", "squares/red0.png"], ["red", "red"]),
                pair(["lines.jsonl line 2", "squares/red0.png"], ["rouge", "red"]),
            ],
        }],
    });
    assert_eq!(found, wanted, "{found:#}");

    let printed = succeeds(&stats(&["--sheet", "sheet.png"]));
    for words in [
        "4 (folder, ",
        "2 (jsonl, ",
        "1 exact, 0 nearly equal",
        "lines.jsonl has pictures of squares: 2 exact",
        "lost.png",
    ] {
        assert!(printed.contains(words), "no `{words}` in\n{printed}");
    }
    let sheet = image::open(dir.path().join("sheet.png"))
        .unwrap()
        .into_rgb8();
    // six tiles in a row, the last one red
    assert_eq!(sheet.width(), 8 + 6 * (112 + 8));
    assert_eq!(sheet.get_pixel(sheet.width() - 50, 50).0, [220, 30, 30]);
    fails(
        &stats(&["--sheet", "sheet.png"]),
        1,
        &["sheet.png", "--overwrite"],
    );
    fails(&stats(&["--sheet", "sheet.jpg"]), 1, &["sheet.jpg", ".png"]);
    fails(
        &seemore(dir.path(), &["data", "stats", "absent.json"]),
        1,
        &["absent.json"],
    );
}
