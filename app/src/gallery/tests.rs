//! Tests of the gallery.

use std::path::Path;
use std::time::SystemTime;

use seemore::data::Captioned;

use super::import::Import;
use super::search::Replacement;
use super::{Filter, Gallery, Source, journal};

fn reopen(folder: &Path) -> Gallery {
    let (gallery, lost) = Gallery::open(&Source::Folder(folder.to_owned())).unwrap();
    assert_eq!(lost, None);
    gallery
}

/// Opens a new folder with `count` empty files that are named like pictures.
fn gallery(count: usize) -> (tempfile::TempDir, Gallery) {
    let dir = tempfile::tempdir().unwrap();
    (0..count).for_each(|i| std::fs::write(dir.path().join(format!("{i}.png")), "").unwrap());
    let gallery = reopen(dir.path());
    (dir, gallery)
}

fn captions(gallery: &Gallery) -> Vec<&str> {
    gallery
        .entries()
        .iter()
        .map(|entry| entry.caption.as_str())
        .collect()
}

fn set(gallery: &mut Gallery, captions: &[(usize, &str)], run: Option<u64>) {
    gallery.set(
        captions
            .iter()
            .map(|&(entry, caption)| (entry, caption.to_owned()))
            .collect(),
        run,
    );
}

#[test]
fn changes_can_be_undone_and_redone() {
    let (_dir, mut gallery) = gallery(3);
    set(&mut gallery, &[(0, "a"), (1, "b")], Some(1));
    set(&mut gallery, &[(2, "c")], Some(1));
    set(&mut gallery, &[(2, "d")], Some(2));
    let before = std::mem::replace(gallery.caption_mut(0), "typed".into());
    gallery.finish_edit(0, before);
    // an edit without a change is not recorded
    gallery.finish_edit(0, "typed".into());
    set(&mut gallery, &[(1, "b")], None);
    assert_eq!(
        (gallery.undo(), captions(&gallery)),
        (Some(0), vec!["a", "b", "d"])
    );
    assert_eq!(
        (gallery.undo(), captions(&gallery)),
        (Some(2), vec!["a", "b", "c"])
    );
    // all captions of a run are one change
    assert_eq!((gallery.undo(), captions(&gallery)), (Some(0), vec![""; 3]));
    assert_eq!((gallery.undo(), gallery.can_undo()), (None, false));
    assert_eq!(
        (gallery.redo(), captions(&gallery)),
        (Some(0), vec!["a", "b", "c"])
    );
    set(&mut gallery, &[(1, "new")], None);
    assert_eq!((gallery.redo(), gallery.can_redo()), (None, false));
}

#[test]
fn reopening_a_folder_restores_every_edit() {
    let (dir, mut gallery) = gallery(3);
    set(&mut gallery, &[(0, "a"), (1, "b")], None);
    set(&mut gallery, &[(0, "aa \"quoted\"")], None);
    set(&mut gallery, &[(1, "gone"), (2, "c")], None);
    gallery.undo();
    *gallery.caption_mut(2) = "half a capt".into();
    gallery.save_draft(2, "c");
    drop(gallery);
    let gallery = reopen(dir.path());
    assert_eq!(captions(&gallery), ["aa \"quoted\"", "b", "half a capt"]);
}

#[test]
fn newer_of_journal_and_text_file_wins() {
    let (dir, mut gallery) = gallery(3);
    let text = |i: usize| dir.path().join(format!("{i}.txt"));
    std::fs::write(text(0), "older\n").unwrap();
    std::fs::write(text(2), "\u{feff}alone\r\n").unwrap();
    // the resolution of file times is coarser than the clock's
    let modified = |i: usize, time: SystemTime| {
        std::fs::File::options()
            .write(true)
            .open(text(i))
            .unwrap()
            .set_modified(time)
            .unwrap()
    };
    let minute = std::time::Duration::from_secs(60);
    modified(0, SystemTime::now() - minute);
    set(&mut gallery, &[(0, "journal"), (1, "journal")], None);
    drop(gallery);
    std::fs::write(text(1), "newer").unwrap();
    modified(1, SystemTime::now() + minute);
    let mut gallery = reopen(dir.path());
    assert_eq!(captions(&gallery), ["journal", "newer", "alone"]);
    // the text of another program is a change like others
    assert_eq!(gallery.undo(), Some(1));
    assert_eq!(captions(&gallery), ["journal", "journal", "alone"]);
}

#[test]
fn torn_journal_line_is_reported_and_others_are_kept() {
    let (dir, mut gallery) = gallery(2);
    set(&mut gallery, &[(0, "first")], None);
    drop(gallery);
    let path = journal::file(dir.path());
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{{\"image\": \"1.png\", \"capt")).unwrap();
    let (mut gallery, lost) = Gallery::open(&Source::Folder(dir.path().to_owned())).unwrap();
    assert!(lost.unwrap().contains("1 line"));
    // the next record starts on a line of its own
    set(&mut gallery, &[(1, "second")], None);
    drop(gallery);
    let (gallery, _) = Gallery::open(&Source::Folder(dir.path().to_owned())).unwrap();
    assert_eq!(captions(&gallery), ["first", "second"]);
}

#[test]
fn long_journal_is_compacted() {
    let (dir, mut gallery) = gallery(2);
    (0..2000).for_each(|i| set(&mut gallery, &[(0, &format!("caption {i}"))], None));
    drop(gallery);
    let length = || {
        std::fs::read_to_string(journal::file(dir.path()))
            .unwrap()
            .lines()
            .count()
    };
    assert_eq!(length(), 2000);
    drop(reopen(dir.path()));
    // the newest changes and the caption
    assert_eq!(length(), 201);
    let mut gallery = reopen(dir.path());
    assert_eq!(captions(&gallery), ["caption 1999", ""]);
    gallery.undo();
    assert_eq!(captions(&gallery), ["caption 1998", ""]);
}

#[test]
fn filter_searches_captions_and_names() {
    let (_dir, mut gallery) = gallery(12);
    set(&mut gallery, &[(3, "A Red House"), (5, "a bird")], None);
    let matching = |gallery: &Gallery, text: &str| gallery.matching(&Filter::parse(text).unwrap());
    assert_eq!(matching(&gallery, "\"red h\""), [3]);
    assert_eq!(matching(&gallery, "name:1"), [1, 10, 11]);
    assert_eq!(matching(&gallery, "").len(), 12);
    assert_eq!(matching(&gallery, "missing").len(), 10);
    // confidence belongs to the words that the model wrote
    gallery.set_confidence(5, "a bird", 0.2);
    assert_eq!(matching(&gallery, "confidence<0.5"), [5]);
    set(&mut gallery, &[(5, "a bird that I know")], None);
    assert_eq!(matching(&gallery, "confidence<0.5"), [0usize; 0]);
    gallery.undo();
    assert_eq!(matching(&gallery, "confidence<0.5"), [5]);
}

#[test]
fn undo_and_redo_survive_a_restart() {
    let (dir, mut gallery) = gallery(3);
    set(&mut gallery, &[(0, "a"), (1, "b")], Some(1));
    set(&mut gallery, &[(2, "c")], Some(1));
    set(&mut gallery, &[(0, "by hand")], None);
    set(&mut gallery, &[(1, "undone")], None);
    gallery.undo();
    drop(gallery);
    let mut gallery = reopen(dir.path());
    assert_eq!(captions(&gallery), ["by hand", "b", "c"]);
    assert_eq!((gallery.redo(), captions(&gallery)[1]), (Some(1), "undone"));
    assert_eq!((gallery.undo(), captions(&gallery)[1]), (Some(1), "b"));
    assert_eq!((gallery.undo(), captions(&gallery)[0]), (Some(0), "a"));
    drop(gallery);
    let mut gallery = reopen(dir.path());
    // the run is still one change
    assert_eq!((gallery.undo(), captions(&gallery)), (Some(0), vec![""; 3]));
    assert!(!gallery.can_undo());
    gallery.redo();
    gallery.redo();
    assert_eq!(captions(&gallery), ["by hand", "b", "c"]);
}

#[test]
fn undo_after_a_crash_restores_the_text_before_the_draft() {
    let (dir, mut gallery) = gallery(2);
    set(&mut gallery, &[(0, "finished")], None);
    *gallery.caption_mut(1) = "begun".into();
    gallery.save_draft(1, "");
    *gallery.caption_mut(0) = "finished, and more".into();
    gallery.save_draft(0, "finished");
    drop(gallery);
    let mut gallery = reopen(dir.path());
    assert_eq!(captions(&gallery), ["finished, and more", "begun"]);
    gallery.undo();
    assert_eq!(captions(&gallery), ["finished", ""]);
}

#[test]
fn folders_are_read_whole_and_in_natural_order() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "img10.png",
        "img2.png",
        "a/img1.tiff",
        "b.avif",
        "notes.docx",
    ] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let gallery = reopen(dir.path());
    let names: Vec<&str> = gallery
        .entries()
        .iter()
        .map(|entry| &entry.name[..])
        .collect();
    assert_eq!(names, ["a/img1.tiff", "img2.png", "img10.png"]);
    let skipped = gallery.skipped().unwrap();
    assert!(
        skipped.contains("1 AVIF picture") && skipped.contains("1 other file"),
        "{skipped}"
    );
}

#[test]
fn text_files_keep_paragraphs_and_belong_to_one_picture() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(dir.path().join(name), text).unwrap();
    for name in ["a.png", "b.png", "b.jpg", "c.png"] {
        write(name, b"");
    }
    write("a.txt", b"One.\r\n\r\nTwo.\n");
    write("b.txt", b"whose?");
    write("c.txt", b"caf\xe9");
    let gallery = reopen(dir.path());
    assert_eq!(captions(&gallery), ["One.\n\nTwo.", "", "", ""]);
    let errors: Vec<bool> = gallery
        .entries()
        .iter()
        .map(|entry| entry.error.is_some())
        .collect();
    assert_eq!(errors, [false, true, true, true]);
}

#[test]
fn some_files_are_a_gallery() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a/1.png", "a/2.png", "b/1.png", "b/x.docx"] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let files = ["a/2.png", "b/1.png", "b/x.docx"].map(|name| dir.path().join(name));
    let (gallery, _) = Gallery::open(&Source::Files(files.into())).unwrap();
    let names: Vec<&str> = gallery
        .entries()
        .iter()
        .map(|entry| &entry.name[..])
        .collect();
    assert_eq!(names, ["a/2.png", "b/1.png"]);
    assert_eq!(gallery.folder(), dir.path());
    assert_eq!(gallery.skipped(), Some("1 file (no supported picture)"));
}

#[test]
fn edits_in_an_unwritable_folder_are_unsaved() {
    let (dir, mut gallery) = gallery(1);
    assert!(!gallery.is_unsaved());
    set(&mut gallery, &[(0, "kept")], None);
    assert!(!gallery.is_unsaved());
    drop(gallery);
    let mut gallery = reopen(dir.path());
    std::fs::remove_dir_all(dir.path()).unwrap();
    set(&mut gallery, &[(0, "lost")], None);
    assert!(gallery.is_unsaved());
    assert!(
        gallery
            .journal_error()
            .is_some_and(|message| message.contains("not saved"))
    );
    // as soon as the folder can be written again, nothing is missing
    std::fs::create_dir(dir.path()).unwrap();
    std::fs::write(dir.path().join("0.png"), "").unwrap();
    set(&mut gallery, &[(0, "more")], None);
    assert!(!gallery.is_unsaved());
    gallery.undo();
    drop(gallery);
    assert_eq!(captions(&reopen(dir.path())), ["lost"]);
}

#[test]
fn replaces_text_and_regular_expressions() {
    let (_dir, mut gallery) = gallery(3);
    set(
        &mut gallery,
        &[(0, "a Cat (cat)"), (1, "a dog"), (2, "cat $1")],
        None,
    );
    let all = [0, 1, 2];
    let find = |text: &str, with: &str, match_case, regex| Replacement {
        text: text.into(),
        with: with.into(),
        match_case,
        regex,
    };
    let replaced = |find: &Replacement| gallery.replaced(&all, find);
    assert_eq!(
        replaced(&find("cat", "$1", false, false)),
        Ok(vec![(0, "a $1 ($1)".into()), (2, "$1 $1".into())])
    );
    assert_eq!(
        replaced(&find("cat", "dog", true, false)),
        Ok(vec![(0, "a Cat (dog)".into()), (2, "dog $1".into())])
    );
    assert_eq!(
        replaced(&find("(cat)", "x", false, false)),
        Ok(vec![(0, "a Cat x".into())])
    );
    assert_eq!(
        replaced(&find("a (\\w+)$", "the $1", false, true)),
        Ok(vec![(1, "the dog".into())])
    );
    assert_eq!(replaced(&find("", "x", false, true)), Ok(vec![]));
    assert!(
        replaced(&find("(", "x", false, true))
            .unwrap_err()
            .contains("unclosed group")
    );
    assert_eq!(
        gallery.replaced(&[2], &find("cat", "x", false, false)),
        Ok(vec![(2, "x $1".into())])
    );
}

#[test]
fn imported_captions_are_matched_by_file_name() {
    let (dir, mut gallery) = gallery(3);
    set(&mut gallery, &[(0, "same"), (1, "before")], None);
    let captioned = |(name, caption): (&str, &str)| Captioned {
        picture: dir.path().join(name),
        caption: caption.into(),
    };
    let captions = [
        ("0.png", "same"),
        ("1.png", "other"),
        ("2.png", "new"),
        ("3.png", "lost"),
    ];
    let import = gallery.import(captions.into_iter().map(captioned).collect());
    assert_eq!(
        import,
        Import {
            new: vec![(2, "new".into())],
            conflicting: vec![(1, "other".into())],
            unknown: 1
        }
    );
}

#[test]
fn rejects_folder_without_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let message = |path: &Path| {
        Gallery::open(&Source::Folder(path.to_owned()))
            .map(|_| ())
            .unwrap_err()
    };
    assert!(message(dir.path()).contains("contains no pictures"));
    let gone = dir.path().join("gone");
    assert!(message(&gone).contains("gone"), "{}", message(&gone));
}
