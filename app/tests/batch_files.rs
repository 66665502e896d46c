//! Files that the Batch page reads and writes.

mod common;

use common::batch::{caption, edit, folder, row, save_as, tab, with};
use common::{click, disc, drop_file, fill, has, until};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use seemore_app::Window;

/// Waits for a dialog, which finds its place after its first frame.
fn dialog(harness: &mut Harness<Window>, shows: impl Fn(&Harness<Window>) -> bool) {
    until(harness, "question", shows);
    harness.run_steps(3);
}

#[test]
fn overwriting_needs_a_confirmation() {
    let folder = folder(3);
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let (mut harness, _commands, _events) = with(folder.path());
    edit(&mut harness, "00.png", "one");
    edit(&mut harness, "01.png", "two");
    tab(&mut harness, "Export");
    // another program writes a caption
    std::fs::write(folder.path().join("01.txt"), "theirs").unwrap();
    let ask = |harness: &mut Harness<Window>| {
        click(harness, "Save captions");
        dialog(harness, |harness| has(harness, "1 would be replaced"));
    };
    ask(&mut harness);
    click(&mut harness, "Cancel");
    assert_eq!(text("01.txt"), "theirs");
    assert!(!folder.path().join("00.txt").exists());
    ask(&mut harness);
    click(&mut harness, "Only new ones");
    until(&mut harness, "files", |harness| {
        has(harness, "Saved 1 caption as text files. Kept 1 text file")
    });
    assert_eq!(
        (text("00.txt"), text("01.txt")),
        ("one\n".into(), "theirs".into())
    );
    click(&mut harness, "Save captions");
    dialog(&mut harness, |harness| {
        has(harness, "01.txt already exists")
    });
    click(&mut harness, "Overwrite");
    until(&mut harness, "files", |harness| {
        has(
            harness,
            "Saved 1 caption as text files. 1 text file unchanged. 1 picture without a caption.",
        )
    });
    assert_eq!(text("01.txt"), "two\n");

    save_as(&mut harness, "JSON lines");
    let path = folder.path().join("captions.jsonl");
    std::fs::write(&path, "theirs").unwrap();
    click(&mut harness, "Save captions");
    dialog(&mut harness, |harness| {
        has(harness, "captions.jsonl already exists")
    });
    click(&mut harness, "Overwrite");
    until(&mut harness, "file", |harness| {
        has(harness, "Saved 2 captions to")
    });
    assert_eq!(
        text("captions.jsonl"),
        "{\"caption\":\"one\",\"image\":\"00.png\"}\n{\"caption\":\"two\",\"image\":\"01.png\"}\n"
    );

    // imports the file with one new, one conflicting and one unknown caption
    std::fs::write(
        &path,
        "{\"caption\":\"uno\",\"image\":\"00.png\"}\n{\"caption\":\"tre\",\"image\":\"02.png\"}\n{\"caption\":\"x\",\"image\":\"9.png\"}\n",
    )
    .unwrap();
    drop_file(&mut harness, &path);
    dialog(&mut harness, |harness| {
        has(harness, "different captions for 1 picture that")
            && has(harness, "captions.jsonl: 1 row cannot be used")
    });
    click(&mut harness, "Only new ones");
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "02.png")),
        ("one".into(), "tre".into())
    );
}

#[test]
fn pictures_of_one_stem_have_text_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let first = disc(folder.path());
    for name in ["same.jpg", "same.png"] {
        std::fs::copy(&first, folder.path().join(name)).unwrap();
    }
    std::fs::remove_file(first).unwrap();
    let (mut harness, _commands, _events) = with(folder.path());
    edit(&mut harness, "same.jpg", "the first");
    edit(&mut harness, "same.png", "the second");
    tab(&mut harness, "Export");
    click(&mut harness, "Save captions");
    until(&mut harness, "files", |harness| {
        has(harness, "Saved 2 captions as text files.")
    });
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(
        (text("same.jpg.txt"), text("same.png.txt")),
        ("the first\n".into(), "the second\n".into())
    );
    drop(harness);
    std::fs::remove_file(folder.path().join(".seemore-captions.jsonl")).unwrap();
    let (harness, _commands, _events) = with(folder.path());
    assert_eq!(caption(&harness, "same.png"), "the second");
}

#[test]
fn paragraphs_are_kept_and_unedited_files_not_touched() {
    let folder = folder(2);
    let path = folder.path().join("00.txt");
    std::fs::write(&path, "One.\r\n\r\nTwo.").unwrap();
    let (mut harness, _commands, _events) = with(folder.path());
    assert_eq!(caption(&harness, "00.png"), "One.\n\nTwo.");
    edit(&mut harness, "01.png", "new");
    // another program changes a caption that nobody has edited here
    std::fs::write(&path, "Three.").unwrap();
    tab(&mut harness, "Export");
    click(&mut harness, "Save captions");
    until(&mut harness, "files", |harness| {
        has(
            harness,
            "Saved 1 caption as text files. 1 text file unchanged.",
        )
    });
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "Three.");
}

#[test]
fn closing_asks_while_edits_cannot_be_saved() {
    let folder = folder(2);
    let (mut harness, _commands, _events) = with(folder.path());
    until(&mut harness, "picture", |harness| {
        has(harness, "64 \u{d7} 64 px")
    });
    let close = |harness: &mut Harness<Window>| {
        let events = &mut harness.input_mut().viewports;
        let root = events.entry(egui::ViewportId::ROOT).or_default();
        root.events.push(egui::ViewportEvent::Close);
        harness.run_steps(3);
    };
    close(&mut harness);
    assert!(!has(&harness, "Close without saving?"));
    // as in a folder that cannot be written
    std::fs::remove_dir_all(folder.path()).unwrap();
    edit(&mut harness, "01.png", "lost");
    close(&mut harness);
    assert!(has(&harness, "Close without saving?") && has(&harness, "are not saved"));
    click(&mut harness, "Keep open");
    // an export saves them
    let out = tempfile::tempdir().unwrap();
    tab(&mut harness, "Export");
    save_as(&mut harness, "JSON lines");
    let file = out.path().join("all.jsonl");
    fill(&mut harness, "File", file.to_str().unwrap());
    click(&mut harness, "Save captions");
    until(&mut harness, "message", |harness| {
        has(harness, "Saved") || has(harness, "not saved:")
    });
    close(&mut harness);
    assert!(
        has(&harness, "Close without saving?"),
        "no picture can be read, so nothing was saved"
    );
}

#[test]
fn filtered_captions_are_exported_and_imported_again() {
    let folder = folder(4);
    let (mut harness, _commands, _events) = with(folder.path());
    for (name, text) in [
        ("00.png", "a cat"),
        ("01.png", "a dog"),
        ("02.png", "a cat, sitting"),
    ] {
        edit(&mut harness, name, text);
    }
    tab(&mut harness, "Export");
    fill(&mut harness, "Filter", "cat");
    harness.get_by_label("Filtered").click();
    harness.run_steps(3);
    let formats = [
        ("CSV with file names", "1.csv"),
        ("CSV with embedded pictures", "2.csv"),
        ("JSON lines", "3.jsonl"),
        ("COCO JSON", "4.json"),
        ("LLaVA conversations", "5.json"),
        ("Hugging Face ImageFolder", "metadata.csv"),
        ("Parquet", "6.parquet"),
        ("WebDataset", "7.tar"),
    ];
    for (format, name) in formats {
        save_as(&mut harness, format);
        let path = folder.path().join(name);
        fill(&mut harness, "File", path.to_str().unwrap());
        click(&mut harness, "Save captions");
        until(&mut harness, format, |harness| {
            has(harness, &format!("Saved 2 captions to {}", path.display()))
        });
        assert!(path.is_file(), "{format}");
    }
    // the filter keeps the pictures of the list, whatever their captions become
    tab(&mut harness, "Replace");
    fill(&mut harness, "Find", "cat");
    fill(&mut harness, "Replace with", "");
    fill(&mut harness, "Replace with", "tiger");
    click(&mut harness, "Replace in 2 captions");
    drop_file(&mut harness, &folder.path().join("3.jsonl"));
    dialog(&mut harness, |harness| {
        has(harness, "different captions for 2 pictures that")
    });
    click(&mut harness, "Overwrite");
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "02.png")),
        ("a cat".into(), "a cat, sitting".into())
    );
}

#[test]
fn folder_says_what_it_skips() {
    let folder = folder(1);
    let below = folder.path().join("below/it");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::copy(folder.path().join("00.png"), below.join("10.tiff")).unwrap();
    std::fs::copy(folder.path().join("00.png"), below.join("9.png")).unwrap();
    std::fs::write(below.join("x.avif"), "").unwrap();
    let (harness, _commands, _events) = with(folder.path());
    assert!(has(
        &harness,
        "Skipped: 1 AVIF picture (format not supported)"
    ));
    let (nine, ten) = (
        row(&harness, "below/it/9.png"),
        row(&harness, "below/it/10.tiff"),
    );
    let top = |label: &str| harness.get_by_label(label).rect().top();
    assert!(top(&nine) < top(&ten));
}
