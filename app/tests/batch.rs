//! The Batch page, with a scripted and with the real worker.

mod common;

use std::time::Duration;

use common::batch::{
    answer, answer_with, caption, choose, edit, enter, folder, is_listed, lowest, open, tab, with,
    write,
};
use common::{
    click, command, disc, drop_file, face, fill, has, loaded, real, scripted, snapshots, until,
};
use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable;
use seemore_app::worker::{BatchEvent, BatchJob, Event, TokenCount};

#[test]
fn run_captions_in_batches_and_is_undone_as_one_change() {
    let folder = folder(40);
    std::fs::write(folder.path().join("03.txt"), "from a text file\n").unwrap();
    let (mut harness, commands, events) = with(folder.path());
    assert!(
        has(&harness, "1 of 40 pictures captioned")
            && caption(&harness, "03.png") == "from a text file"
    );
    click(&mut harness, "Caption 39 pictures");
    let mut sizes = vec![];
    while let Some(job) = command::<BatchJob>(&commands) {
        sizes.push(job.pictures.len());
        assert!(
            job.pictures
                .iter()
                .all(|(_, path)| !path.ends_with("03.png"))
                && job.batch_size == 16
        );
        answer(&mut harness, &events, &job);
    }
    assert_eq!(sizes, [16, 16, 7]);
    assert!(
        has(&harness, "40 of 40 pictures captioned") && has(&harness, "Captioned 39 pictures in")
    );
    assert_eq!(
        (caption(&harness, "02.png"), caption(&harness, "03.png")),
        ("caption 02".into(), "from a text file".into())
    );
    click(&mut harness, "Undo");
    assert!(has(&harness, "1 of 40 pictures captioned") && caption(&harness, "02.png").is_empty());
    click(&mut harness, "Redo");
    assert_eq!(caption(&harness, "02.png"), "caption 02");
}

#[test]
fn captions_that_are_there_are_kept_unless_the_user_says_otherwise() {
    let folder = folder(4);
    std::fs::write(folder.path().join("03.txt"), "by hand\n").unwrap();
    let (mut harness, commands, events) = with(folder.path());
    // all pictures, but the one with a caption keeps it
    harness.get_by_label("All (4)").click();
    harness.run_steps(3);
    click(&mut harness, "Caption 3 pictures");
    let job = command::<BatchJob>(&commands).unwrap();
    answer_with(&mut harness, &events, &job, |number| {
        [0.9, 0.3, 0.9][number]
    });
    assert_eq!(caption(&harness, "03.png"), "by hand");
    assert!(has(&harness, "All of these pictures have a caption"));
    // the model may replace its own captions that it was not sure of
    harness.get_by_label("Low confidence (1)").click();
    harness.run_steps(3);
    click(&mut harness, "Caption 1 picture");
    let job = command::<BatchJob>(&commands).unwrap();
    assert!(job.pictures[0].1.ends_with("01.png"));
    answer(&mut harness, &events, &job);
    assert!(has(&harness, "Low confidence (0)"));

    harness.get_by_label("Select 03.png").click();
    harness.run_steps(3);
    harness.get_by_label("Selected (1)").click();
    harness
        .get_by_role_and_label(Role::ComboBox, "Existing captions")
        .click();
    harness.run_steps(3);
    click(&mut harness, "Append");
    click(&mut harness, "Caption 1 picture");
    let job = command::<BatchJob>(&commands).unwrap();
    answer(&mut harness, &events, &job);
    assert_eq!(caption(&harness, "03.png"), "by hand\ncaption 03");
    click(&mut harness, "Undo");
    assert_eq!(caption(&harness, "03.png"), "by hand");
}

#[test]
fn stopped_run_keeps_edits_and_the_rest_can_be_captioned() {
    let folder = folder(20);
    let (mut harness, commands, events) = with(folder.path());
    click(&mut harness, "Caption 20 pictures");
    let first: BatchJob = command(&commands).unwrap();
    edit(&mut harness, "01.png", "mine");
    answer(&mut harness, &events, &first);
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "01.png")),
        ("caption 00".into(), "mine".into())
    );
    assert!(has(&harness, "left"));
    click(&mut harness, "Stop");
    assert!(has(&harness, "Stopped after 16 pictures"));
    let second: BatchJob = command(&commands).unwrap();
    assert!(second.cancel.is_cancelled());
    answer(&mut harness, &events, &second);
    assert!(
        has(&harness, "16 of 20 pictures captioned"),
        "a stopped job set captions"
    );
    click(&mut harness, "Caption the remaining 4");
    let third: BatchJob = command(&commands).unwrap();
    let names: Vec<_> = third
        .pictures
        .iter()
        .map(|(_, path)| path.file_stem().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["16", "17", "18", "19"]);
    events.send(Event::Batch(BatchEvent {
        run: third.run,
        captions: Err("no memory on the device".into()),
    }));
    harness.run_steps(3);
    assert!(has(&harness, "no memory on the device") && harness.query_by_label("Stop").is_none());
    assert!(has(&harness, "Caption the remaining 4"));
}

#[test]
fn prompt_of_the_caption_page_does_not_apply() {
    let folder = folder(1);
    let (mut harness, commands, events) = scripted(vec![folder.path().join("00.png")]);
    events.send(loaded());
    until(&mut harness, "picture", |harness| has(harness, "Prefix"));
    fill(&mut harness, "Prefix", "a painting of ");
    open(&mut harness, folder.path());
    click(&mut harness, "Caption 1 picture");
    let job: BatchJob = command(&commands).unwrap();
    assert_eq!(job.settings.prefix, "");
    click(&mut harness, "Stop");
    fill(&mut harness, "Prompt", "a photo of ");
    click(&mut harness, "Caption 1 picture");
    let job: BatchJob = command(&commands).unwrap();
    assert_eq!(job.settings.prefix, "a photo of ");
}

#[test]
fn edits_are_undone_filtered_replaced_and_kept() {
    let folder = folder(5);
    let (mut harness, _commands, _events) = with(folder.path());
    edit(&mut harness, "00.png", "a red disc");
    // goes to the next caption
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    harness.run_steps(3);
    write(&mut harness, "another red disc");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    harness.run_steps(3);
    // the focus is in an editor whose caption is not changed
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_steps(3);
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "01.png")),
        ("a red disc".into(), String::new())
    );
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Y);
    harness.run_steps(3);
    assert_eq!(caption(&harness, "01.png"), "another red disc");

    fill(&mut harness, "Filter", "ANOTHER OR missing name:03");
    assert!(has(&harness, "2 of 5") && !is_listed(&harness, "00.png"));
    fill(&mut harness, "Filter", "length<");
    assert!(has(&harness, "length needs a number"));
    fill(&mut harness, "Filter", "-");
    harness.key_press(Key::Backspace);
    harness.run_steps(3);

    tab(&mut harness, "Replace");
    fill(&mut harness, "Find", "RED");
    fill(&mut harness, "Replace with", "blue");
    assert!(has(&harness, "a blue disc") && caption(&harness, "00.png") == "a red disc");
    // the name of the folder changes from run to run
    fill(&mut harness, "Folder", "drawings");
    harness.get_by_label("Select 03.png").click();
    choose(&mut harness, "01.png");
    std::thread::sleep(Duration::from_millis(500));
    harness.hover_at(egui::pos2(700.0, 20.0));
    snapshots(&mut harness, "batch");
    click(&mut harness, "Replace in 2 captions");
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "01.png")),
        ("a blue disc".into(), "another blue disc".into())
    );
    // an unfinished edit is saved after a second
    edit(&mut harness, "02.png", "half a cap");
    std::thread::sleep(Duration::from_millis(1100));
    harness.run_steps(70);
    let journal = folder.path().join(".seemore-captions.jsonl");
    let begin = std::time::Instant::now();
    while !std::fs::read_to_string(&journal)
        .unwrap()
        .contains("half a cap")
    {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "the edit was not saved"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(harness);
    let (mut harness, _commands, _events) = with(folder.path());
    assert_eq!(
        (caption(&harness, "01.png"), caption(&harness, "02.png")),
        ("another blue disc".into(), "half a cap".into())
    );
    // undo reaches back into the session before
    click(&mut harness, "Undo");
    click(&mut harness, "Undo");
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "02.png")),
        ("a red disc".into(), String::new())
    );
}

#[test]
fn tags_are_added_counted_and_filtered() {
    let folder = folder(3);
    for (name, text) in [("00.txt", "cat, red"), ("01.txt", "cat"), ("02.txt", "dog")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let (mut harness, _commands, _events) = with(folder.path());
    tab(&mut harness, "Tags");
    assert!(has(&harness, "Frequency of 3 tags"));
    // completes a tag that others have
    fill(&mut harness, "Tag", "re");
    // the current picture has a button of this name, too
    lowest(&mut harness, "red");
    click(&mut harness, "Add last");
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "02.png")),
        ("cat, red".into(), "dog, red".into())
    );
    fill(&mut harness, "Prefix", "photo, ");
    click(&mut harness, "Add to captions");
    assert_eq!(caption(&harness, "01.png"), "photo, cat, red");
    fill(&mut harness, "Tag", "photo");
    click(&mut harness, "Remove");
    assert_eq!(caption(&harness, "01.png"), "cat, red");
    choose(&mut harness, "01.png");
    fill(&mut harness, "Add tag", "sitting");
    enter(&mut harness);
    assert_eq!(caption(&harness, "01.png"), "cat, red, sitting");
    click(&mut harness, "sitting");
    click(&mut harness, "Move to front");
    assert_eq!(caption(&harness, "01.png"), "sitting, cat, red");
    let tag = harness
        .query_all_by_label_contains("  dog")
        .next()
        .expect("the frequency of a tag");
    tag.click();
    harness.run_steps(3);
    assert!(has(&harness, "1 of 3") && is_listed(&harness, "02.png"));
}

#[test]
fn editor_counts_tokens() {
    let folder = folder(1);
    let (mut harness, commands, events) = with(folder.path());
    edit(&mut harness, "00.png", "a red disc");
    let counted = std::iter::from_fn(|| command::<String>(&commands)).last();
    let text = counted.expect("a command to count");
    assert_eq!(text, "a red disc");
    let tokens = Some(4);
    events.send(Event::TokensCounted(TokenCount { text, tokens }));
    harness.run_steps(3);
    assert!(has(
        &harness,
        "4 tokens \u{b7} 3 words \u{b7} 10 characters"
    ));
}

#[test]
fn list_follows_the_picture_that_was_dropped() {
    let folder = folder(60);
    let (mut harness, _commands, _events) = with(folder.path());
    assert!(!is_listed(&harness, "50.png"));
    drop_file(&mut harness, &folder.path().join("50.png"));
    until(&mut harness, "picture", |harness| {
        is_listed(harness, "50.png")
    });
    edit(&mut harness, "50.png", "dropped");
    // and the keys
    for _ in 0..12 {
        harness.key_press_modifiers(Modifiers::COMMAND, Key::PageUp);
        harness.run_steps(3);
    }
    assert!(is_listed(&harness, "38.png"));
    write(&mut harness, "reached by keys");
    assert_eq!(caption(&harness, "38.png"), "reached by keys");
}

#[test]
fn real_worker_captions_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    face(folder.path());
    disc(folder.path());
    std::fs::write(folder.path().join("broken.png"), "no picture").unwrap();
    let mut harness = real(vec![]);
    open(&mut harness, folder.path());
    until(&mut harness, "model", |harness| {
        !has(harness, "No model loaded")
    });
    click(&mut harness, "Caption 3 pictures");
    until(&mut harness, "captions", |harness| {
        has(harness, "1 picture could not be read")
    });
    let (face, disc) = (caption(&harness, "face.png"), caption(&harness, "disc.png"));
    assert!(
        face.contains("grinning face") && disc.contains("red"),
        "{face} and {disc}"
    );
    assert!(has(&harness, "2 of 3 pictures captioned"));
    choose(&mut harness, "face.png");
    until(&mut harness, "tokens", |harness| {
        has(harness, " tokens \u{b7} ")
    });
    assert!(has(&harness, "confidence"));
    fill(&mut harness, "Filter", "failed");
    assert!(has(&harness, "1 of 3") && is_listed(&harness, "broken.png"));
}

#[test]
fn missing_folder_is_named() {
    let (mut harness, _commands, _events) = scripted(vec![]);
    click(&mut harness, "Batch");
    assert!(has(&harness, "Drop a folder of pictures here"));
    fill(&mut harness, "Folder", "/nowhere/at all");
    enter(&mut harness);
    until(&mut harness, "message", |harness| {
        has(harness, "/nowhere/at all")
    });
    assert!(has(&harness, "Drop a folder of pictures here"));
}
