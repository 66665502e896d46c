//! `seemore caption` of many pictures, written to files.

use super::*;

/// A folder of pictures in subfolders without captions.
fn pictures(dir: &Path) {
    for name in ["in/red.png", "in/deep/blue.png", "in/deep/green.png"] {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (_, colour) = COLOURS.iter().find(|(known, _)| *known == stem).unwrap();
        RgbImage::from_pixel(20, 24, Rgb(*colour))
            .save(path)
            .unwrap();
    }
}

#[test]
fn folders_and_patterns_are_captioned() {
    let dir = tempfile::tempdir().unwrap();
    tiny_model(dir.path());
    pictures(dir.path());
    let caption = |arguments: &[&str]| {
        seemore(
            dir.path(),
            &[&["caption", "--model", "model"], arguments].concat(),
        )
    };
    let wanted = "in/deep/blue.png: blue\nin/deep/green.png: green\nin/red.png: red\n";
    assert_eq!(succeeds(&caption(&["in"])), wanted);
    assert_eq!(
        succeeds(&caption(&["in/**/*.png"])),
        wanted
            .lines()
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    );
    assert_eq!(
        succeeds(&caption(&[
            "in", "--depth", "0", "--prefix", "a ", "--suffix", "!"
        ])),
        "in/red.png: a red!\n"
    );
    fails(&caption(&["in/*.gif"]), 1, &["no file matches in/*.gif"]);
    fails(&caption(&["in/red.png", "--out", "x"]), 2, &["--write"]);
}

#[test]
fn captions_are_written_kept_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    tiny_model(dir.path());
    pictures(dir.path());
    let caption = |arguments: &[&str]| {
        seemore(
            dir.path(),
            &[&["caption", "in", "--model", "model", "--write"], arguments].concat(),
        )
    };
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    std::fs::write(dir.path().join("in/red.txt"), "my own\n").unwrap();
    assert!(succeeds(&caption(&["txt", "--prefix", "a "])).starts_with("2 captions written"));
    assert_eq!(
        [read("in/red.txt"), read("in/deep/blue.txt")],
        ["my own\n", "a blue\n"]
    );
    // nothing is left to do
    assert!(succeeds(&caption(&["txt"])).starts_with("0 captions written, 3 pictures had one"));
    succeeds(&caption(&["txt", "--existing", "append"]));
    assert_eq!(read("in/red.txt"), "my own\nred\n");
    succeeds(&caption(&["txt", "--existing", "replace"]));
    assert_eq!(read("in/red.txt"), "red\n");
    succeeds(&caption(&["caption", "--out", "texts"]));
    assert_eq!(read("texts/deep/green.caption"), "green\n");

    // one file for all, after a run that was killed
    std::fs::write(
        dir.path().join("in/captions.jsonl.partial.jsonl"),
        format!(
            "{{\"image\": {:?}, \"caption\": \"before\"}}\n{{\"ima",
            dir.path().join("in/red.png")
        ),
    )
    .unwrap();
    let output = caption(&["jsonl"]);
    assert!(
        succeeds(&output).starts_with("2 captions written"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("1 captions of a run that was stopped"));
    let text = read("in/captions.jsonl");
    assert!(
        text.contains("\"before\"") && text.lines().count() == 3,
        "{text}"
    );
    for (kind, file) in [
        ("csv", "captions.csv"),
        ("coco", "captions.json"),
        ("metadata", "metadata.csv"),
    ] {
        succeeds(&caption(&[kind]));
        let found = succeeds(&seemore(
            dir.path(),
            &["data", "stats", &format!("in/{file}"), "--json"],
        ));
        assert!(
            found.contains("\"pictures\":3,") && found.contains("\"left_out\":0"),
            "{kind}: {found}"
        );
    }
}

#[test]
fn pictures_that_fail_are_named_and_cost_no_other() {
    let dir = tempfile::tempdir().unwrap();
    tiny_model(dir.path());
    pictures(dir.path());
    std::fs::write(dir.path().join("in/broken.png"), "no picture").unwrap();
    std::fs::write(
        dir.path().join("in/phone.heic"),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    )
    .unwrap();
    let output = seemore(
        dir.path(),
        &[
            "caption",
            "in",
            "--model",
            "model",
            "--write",
            "csv",
            "--batch-size",
            "2",
        ],
    );
    fails(
        &output,
        1,
        &[
            "broken.png",
            "phone.heic: it is a HEIC picture",
            "2 of 5 pictures were not captioned",
        ],
    );
    assert!(
        stdout(&output).starts_with("3 captions written") && stdout(&output).contains("2 failed")
    );
    let table = std::fs::read_to_string(dir.path().join("in/captions.csv")).unwrap();
    assert_eq!(table.lines().count(), 4, "{table}");
}
