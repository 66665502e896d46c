//! Forms that people have their data in, through the program: recognised, named or refused.

use super::*;

/// Writes files below a folder; pictures are plain squares whose shade is the length of the name.
fn files(dir: &Path, names: &[(&str, &str)]) {
    for (name, text) in names {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match *text {
            "PICTURE" => {
                let shade = Rgb([10 * name.len() as u8, 90, 20]);
                let bytes = {
                    let mut bytes = std::io::Cursor::new(vec![]);
                    RgbImage::from_pixel(9, 7, shade)
                        .write_to(&mut bytes, image::ImageFormat::Png)
                        .unwrap();
                    bytes.into_inner()
                };
                std::fs::write(path, bytes).unwrap();
            }
            text => std::fs::write(path, text).unwrap(),
        }
    }
}

/// The statistics of the first file.
#[track_caller]
fn stats(dir: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = seemore(dir, &[&["data", "stats", "--json"], arguments].concat());
    let found: serde_json::Value = serde_json::from_str(&succeeds(&output)).unwrap();
    found["files"][0].clone()
}

#[test]
fn each_form_gives_its_pictures_and_captions() {
    let pictures = [("a.png", "PICTURE"), ("in/bb.png", "PICTURE")];
    // files, what to read, pictures, captions, rows left out
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], u64, u64, u64);
    let cases: [Case; 17] = [
        // sidecars of every kind, one that holds nothing visible
        (
            &[("a.png.caption", "one"), ("in/bb.TAGS", "two, 2")],
            &["."],
            2,
            2,
            0,
        ),
        (
            &[("a.txt", "\u{feff}\r\n"), ("in/bb.txt", "two")],
            &["."],
            1,
            1,
            1,
        ),
        (
            &[("a.txt", "\u{200b}"), ("in/bb.txt", "two")],
            &["."],
            1,
            1,
            1,
        ),
        // what macOS and Windows leave
        (
            &[
                ("a.txt", "1"),
                ("in/bb.txt", "2"),
                ("._a.txt", "\u{1}"),
                ("__MACOSX/._a.png", "x"),
                ("in/Thumbs.db", "x"),
            ],
            &["."],
            2,
            2,
            0,
        ),
        (
            &[("a.txt", "1"), ("in/bb.txt", "2")],
            &[".", "--depth", "0"],
            1,
            1,
            0,
        ),
        // ImageFolder
        (
            &[("metadata.csv", "file_name,text\na.png,one\nin/bb.png,two\n")],
            &["."],
            2,
            2,
            0,
        ),
        (
            &[
                (
                    "metadata.jsonl",
                    "{\"file_name\": \"a.png\", \"caption\": \"one\"}\n",
                ),
                (
                    "in/metadata.jsonl",
                    "{\"file_name\": \"bb.png\", \"text\": \"two\"}\n",
                ),
            ],
            &["."],
            2,
            2,
            0,
        ),
        // tables
        (
            &[("t.csv", "path,text,label\na.png,one,1\nin\\bb.png,two,2\n")],
            &["t.csv"],
            2,
            2,
            0,
        ),
        (
            &[("t.tsv", "img\tcap\na.png\tone\n/home/x/in/bb.png\ttwo\n")],
            &["t.tsv", "--caption-column", "cap"],
            2,
            2,
            0,
        ),
        (
            &[(
                "t.csv",
                "image,caption\na.png,one\na.png,\"never closed\nbb.png,two\n",
            )],
            &["t.csv"],
            2,
            2,
            1,
        ),
        (
            &[(
                "results.csv",
                "image_name| comment_number| comment\na.png| 0| one\na.png| 1| uno\nbb.png| 0| two\n",
            )],
            &["results.csv"],
            2,
            3,
            0,
        ),
        // JSON
        (
            &[(
                "c.json",
                r#"{"images": [{"id": "1", "file_name": "a.png"}, {"id": 2, "file_name": "x/bb.png"}], "annotations": [{"image_id": 1, "caption": "one"}, {"image_id": "2", "caption": "two"}, {"image_id": 2, "bbox": [1]}]}"#,
            )],
            &["c.json"],
            2,
            2,
            0,
        ),
        (
            &[(
                "k.json",
                r#"{"images": [{"filename": "a.png", "split": "train", "sentences": [{"raw": "one"}, {"raw": "uno"}]}, {"filename": "bb.png", "split": "val", "sentences": [{"raw": "two"}]}]}"#,
            )],
            &["k.json", "--split", "train"],
            1,
            2,
            0,
        ),
        (
            &[(
                "l.json",
                r#"[{"image": "a.png", "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "one"}]}, {"image": "bb.png", "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "two"}]}, 5]"#,
            )],
            &["l.json"],
            2,
            2,
            1,
        ),
        (
            &[("m.json", r#"{"a.png": "one", "bb": ["two", "2"]}"#)],
            &["m.json"],
            2,
            3,
            0,
        ),
        (
            &[(
                "n.jsonl",
                "{\"data\": {\"file\": \"a.png\"}, \"de\": \"eins\"}\n{\"data\": {}, \"de\": \"x\"}\n",
            )],
            &[
                "n.jsonl",
                "--image-column",
                "data.file",
                "--caption-column",
                "de",
            ],
            1,
            1,
            1,
        ),
        // tokens
        (
            &[(
                "Flickr8k.token.txt",
                "a.png#0\tone\na.png#1\tuno\nbb.png#0\ttwo\n",
            )],
            &["."],
            2,
            3,
            0,
        ),
    ];
    for (number, (more, arguments, count, captions, left_out)) in cases.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &pictures);
        files(dir.path(), more);
        let found = stats(dir.path(), arguments);
        let have = ["pictures", "captions", "left_out"].map(|key| found[key].as_u64().unwrap());
        assert_eq!(
            have,
            [count, captions, left_out],
            "case {number}: {more:?}\n{found:#}"
        );
    }
}

#[test]
fn a_setting_that_does_not_apply_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    files(
        dir.path(),
        &[
            ("in/a.png", "PICTURE"),
            ("in/a.txt", "one"),
            ("t.csv", "image,caption\nin/a.png,one\n"),
        ],
    );
    for (arguments, flag) in [
        (&["in", "--image-column", "image"][..], "--image-column"),
        (&["in", "--images", "."], "--images"),
        (&["in", "--split", "train"], "--split"),
        (&["t.csv", "--depth", "1"], "--depth"),
        (&["t.csv", "--split", "train"], "--split"),
    ] {
        fails(
            &seemore(dir.path(), &[&["data", "stats"], arguments].concat()),
            1,
            &["does not apply", &format!("leave out {flag}")],
        );
    }
    // for one of several files it is enough
    stats(dir.path(), &["in", "t.csv", "--images", "."]);
    fails(
        &seemore(
            dir.path(),
            &[
                "train", "--data", "in", "--preset", "tiny", "--steps", "1", "--images", ".",
            ],
        ),
        1,
        &["does not apply", "leave out --images"],
    );
}

#[test]
fn nothing_usable_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    files(
        dir.path(),
        &[
            ("lonely/a.png", "PICTURE"),
            ("empty.jsonl", ""),
            ("header.tsv", "image\tcaption\n"),
            ("bad/a.png", "no picture"),
            ("bad/a.txt", "one"),
        ],
    );
    std::fs::create_dir(dir.path().join("nothing")).unwrap();
    for name in ["lonely", "empty.jsonl", "header.tsv", "bad", "nothing"] {
        for command in ["stats", "check"] {
            fails(
                &seemore(dir.path(), &["data", command, name]),
                1,
                &[name, "no usable picture"],
            );
        }
    }
    files(
        dir.path(),
        &[
            ("half/a.png", "PICTURE"),
            ("half/a.txt", "one"),
            ("half/b.png", "no picture"),
            ("half/b.txt", "two"),
        ],
    );
    succeeds(&seemore(dir.path(), &["data", "stats", "half"]));
    succeeds(&seemore(dir.path(), &["data", "check", "half"]));
    fails(
        &seemore(dir.path(), &["data", "check", "half", "--strict"]),
        1,
        &["1 rows or pictures cannot be used"],
    );
}

#[test]
fn conversions_keep_pictures_and_captions() {
    let dir = tempfile::tempdir().unwrap();
    files(
        dir.path(),
        &[
            ("in/a.png", "PICTURE"),
            ("in/a.txt", "one"),
            ("in/deep/bb.png", "PICTURE"),
            ("in/deep/bb.txt", "two, \"2\"\nlines"),
        ],
    );
    let convert = |from: &str, to: &str, out: &str| {
        succeeds(&seemore(
            dir.path(),
            &["data", "convert", from, "--to", to, "--out", out],
        ))
    };
    assert!(convert("in", "coco", "all.json").contains("2 pictures with 2 captions in all.json"));
    convert("all.json", "csv-embedded", "embedded.csv");
    convert("embedded.csv", "jsonl", "again.jsonl");
    assert!(dir.path().join("again_pictures/000001.png").is_file());
    convert("again.jsonl", "webdataset", "0.tar");
    let texts = |file: &str| stats(dir.path(), &[file])["most_frequent"].clone();
    for file in ["all.json", "embedded.csv", "again.jsonl", "0.tar"] {
        assert_eq!(texts(file), texts("in"), "{file}");
    }
    // nothing is replaced unasked, and the source never
    let again = ["data", "convert", "in", "--to", "coco", "--out", "all.json"];
    fails(
        &seemore(dir.path(), &again),
        1,
        &["all.json already exists", "--overwrite"],
    );
    fails(
        &seemore(
            dir.path(),
            &[
                "data",
                "convert",
                "all.json",
                "--to",
                "json",
                "--out",
                "all.json",
                "--overwrite",
            ],
        ),
        1,
        &["the file to convert"],
    );
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    files(
        dir.path(),
        &[
            ("in/\u{1b}]0;a.png", "PICTURE"),
            ("in/\u{1b}]0;a.txt", "red\u{1b}[31m\u{9b}2J\u{7}"),
            ("in/b.png", "no\u{1b}c"),
            ("in/b.txt", "b"),
            ("in/c.png", "PICTURE"),
            ("in/c.txt", "red\u{1b}[31m\u{9b}2J\u{7}"),
        ],
    );
    for arguments in [
        &["data", "stats", "in"][..],
        &["data", "stats", "in", "--json"],
        &["data", "check", "in"],
    ] {
        let output = seemore(dir.path(), arguments);
        for text in [stdout(&output), stderr(&output)] {
            let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
            assert!(!text.contains(steers), "{text:?}");
        }
    }
    let found = stats(dir.path(), &["in"]);
    assert_eq!(found["most_frequent"][0][0], "red\u{1b}[31m\u{9b}2J");
}

/// Output that cannot be written is an error; a reader that has seen enough is not.
#[cfg(target_os = "linux")]
#[test]
fn output_is_never_lost_silently() {
    let dir = tempfile::tempdir().unwrap();
    files(
        dir.path(),
        &[
            ("in/a.png", "PICTURE"),
            ("in/a.txt", "one"),
            ("in/b.png", "PICTURE"),
            ("in/b.txt", "two"),
        ],
    );
    let train = [
        "train",
        "--data",
        "in",
        "--preset",
        "tiny",
        "--steps",
        "1",
        "--val-split",
        "0",
        "--out",
        "m",
    ];
    succeeds(&seemore(dir.path(), &train));
    let run = |arguments: &[&str], out: std::process::Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seemore"));
        command
            .args(arguments)
            .current_dir(dir.path())
            .env("SEEMORE_CACHE", common::cache());
        command.stdout(out).output().unwrap()
    };
    let commands = [
        &["data", "stats", "in"][..],
        &["data", "stats", "in", "--json"],
        &["caption", "in", "--model", "m"],
        &["eval", "--data", "in", "--model", "m"],
        &["models"],
        &["--help"],
        &["--version"],
        &[
            "data",
            "convert",
            "in",
            "--to",
            "jsonl",
            "--out",
            "new.jsonl",
            "--overwrite",
        ],
        &[
            "train",
            "--data",
            "in",
            "--preset",
            "tiny",
            "--steps",
            "1",
            "--val-split",
            "0",
            "--out",
            "n",
            "--overwrite",
        ],
    ];
    for arguments in commands {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        fails(
            &run(arguments, full.into()),
            1,
            &["cannot write to standard output", "No space left"],
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(arguments, writer.into());
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(!stderr(&output).contains("panicked") && !stderr(&output).contains("roken pipe"));
    }
}
