//! Tests of the gallery.

use std::path::Path;
use std::time::SystemTime;

use seemore::data::Captioned;

use super::import::Import;
use super::search::Replacement;
use super::{Gallery, journal};

/// Opens a new folder with `count` empty files that are named like pictures.
fn gallery(count: usize) -> (tempfile::TempDir, Gallery) {
    let dir = tempfile::tempdir().unwrap();
    (0..count).for_each(|i| std::fs::write(dir.path().join(format!("{i}.png")), "").unwrap());
    let (gallery, lost) = Gallery::open(dir.path()).unwrap();
    assert_eq!(lost, None);
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
    gallery.save_draft(2);
    drop(gallery);
    let (gallery, _) = Gallery::open(dir.path()).unwrap();
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
    let (gallery, _) = Gallery::open(dir.path()).unwrap();
    assert_eq!(captions(&gallery), ["journal", "newer", "alone"]);
}

#[test]
fn torn_journal_line_is_reported_and_others_are_kept() {
    let (dir, mut gallery) = gallery(2);
    set(&mut gallery, &[(0, "first")], None);
    drop(gallery);
    let path = journal::file(dir.path());
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{{\"image\": \"1.png\", \"capt")).unwrap();
    let (mut gallery, lost) = Gallery::open(dir.path()).unwrap();
    assert!(lost.unwrap().contains("1 line"));
    // the next record starts on a line of its own
    set(&mut gallery, &[(1, "second")], None);
    drop(gallery);
    assert_eq!(
        captions(&Gallery::open(dir.path()).unwrap().0),
        ["first", "second"]
    );
}

#[test]
fn long_journal_is_compacted() {
    let (dir, mut gallery) = gallery(2);
    (0..1200).for_each(|i| set(&mut gallery, &[(0, &format!("caption {i}"))], None));
    drop(gallery);
    let length = || {
        std::fs::read_to_string(journal::file(dir.path()))
            .unwrap()
            .lines()
            .count()
    };
    assert_eq!(length(), 1200);
    drop(Gallery::open(dir.path()).unwrap());
    assert_eq!(length(), 1);
    assert_eq!(
        captions(&Gallery::open(dir.path()).unwrap().0),
        ["caption 1199", ""]
    );
}

#[test]
fn filter_searches_captions_and_names() {
    let (_dir, mut gallery) = gallery(12);
    set(&mut gallery, &[(3, "A Red House"), (5, "a bird")], None);
    assert_eq!(gallery.matching("red h", false), [3]);
    // 1.png, 10.png and 11.png
    assert_eq!(gallery.matching("1", false), [1, 2, 3]);
    assert_eq!(gallery.matching("", false).len(), 12);
    assert_eq!(gallery.matching(" ", true).len(), 10);
    assert_eq!(gallery.matching("bird", true), [0usize; 0]);
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
    let message = |path: &Path| Gallery::open(path).map(|_| ()).unwrap_err();
    assert!(message(dir.path()).contains("contains no pictures"));
    let gone = dir.path().join("gone");
    assert!(message(&gone).contains("gone"), "{}", message(&gone));
}
