//! The Batch page, with a scripted and with the real worker.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{
    Commands, click, command, disc, drop_file, face, fill, has, loaded, real, scripted, snapshot,
    until,
};
use cpu_time::ThreadTime;
use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use seemore_app::Window;
use seemore_app::pages::batch::{BatchEvent, BatchJob};
use seemore_app::worker::EventSender;

fn enter(harness: &mut Harness<Window>) {
    harness.key_press(Key::Enter);
    harness.run_steps(3);
}

/// Returns the text in the caption field of a picture.
fn caption(harness: &Harness<Window>, name: &str) -> String {
    harness
        .get_by_role_and_label(Role::TextInput, name)
        .accesskit_node()
        .value()
        .unwrap_or_default()
}

/// Returns a folder with `count` pictures, `00.png` and so on.
fn folder(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let first = disc(folder.path());
    for i in 0..count {
        std::fs::copy(&first, folder.path().join(format!("{i:02}.png"))).unwrap();
    }
    std::fs::remove_file(first).unwrap();
    folder
}

/// Opens a folder on the Batch page.
fn open(harness: &mut Harness<Window>, folder: &Path) {
    click(harness, "Batch");
    fill(harness, "Folder", folder.to_str().unwrap());
    enter(harness);
    until(harness, "folder", |harness| has(harness, "Save captions"));
    harness.run_steps(3);
}

/// Opens a folder in a window whose worker is scripted.
fn with(folder: &Path) -> (Harness<'static, Window>, Commands, EventSender) {
    let (mut harness, commands, events) = scripted(vec![]);
    events.send(loaded());
    open(&mut harness, folder);
    (harness, commands, events)
}

/// Answers a job with the caption `caption NAME` for each picture.
fn answer(harness: &mut Harness<Window>, events: &EventSender, job: &BatchJob) {
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let captions = job
        .pictures
        .iter()
        .map(|(number, path)| (*number, Ok(format!("caption {}", name(path)))))
        .collect();
    events.page(BatchEvent {
        run: job.run,
        captions: Ok(captions),
    });
    harness.run_steps(3);
}

#[test]
fn run_captions_in_batches_and_is_undone_as_one_change() {
    let folder = folder(40);
    std::fs::write(folder.path().join("03.txt"), "from a text file\n").unwrap();
    let (mut harness, commands, events) = with(folder.path());
    assert!(
        has(&harness, "1 of 40 pictures captioned")
            && caption(&harness, "03.png") == "from a text file"
    );
    click(&mut harness, "Caption missing (39)");
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
    harness.get_by_label("Select 01.png").click();
    harness.run_steps(3);
    click(&mut harness, "Caption selected (1)");
    let pictures = command::<BatchJob>(&commands).unwrap().pictures;
    assert!(
        matches!(&pictures[..], [(1, path)] if path.ends_with("01.png")),
        "{pictures:?}"
    );
}

#[test]
fn cancelled_run_keeps_captions_that_were_edited_meanwhile() {
    let folder = folder(20);
    let (mut harness, commands, events) = with(folder.path());
    click(&mut harness, "Caption all (20)");
    let first: BatchJob = command(&commands).unwrap();
    fill(&mut harness, "01.png", "mine");
    answer(&mut harness, &events, &first);
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "01.png")),
        ("caption 00".into(), "mine".into())
    );
    assert!(has(&harness, "left"));
    click(&mut harness, "Cancel");
    assert!(has(&harness, "Cancelled after 16 pictures"));
    let second: BatchJob = command(&commands).unwrap();
    answer(&mut harness, &events, &second);
    assert!(
        has(&harness, "16 of 20 pictures captioned"),
        "a cancelled job set captions"
    );
    click(&mut harness, "Caption missing (4)");
    let third: BatchJob = command(&commands).unwrap();
    events.page(BatchEvent {
        run: third.run,
        captions: Err("no memory on the device".into()),
    });
    harness.run_steps(3);
    assert!(has(&harness, "no memory on the device") && harness.query_by_label("Cancel").is_none());
}

#[test]
fn edits_are_undone_filtered_replaced_and_kept() {
    let folder = folder(5);
    let (mut harness, _commands, _events) = with(folder.path());
    fill(&mut harness, "00.png", "a red disc");
    // moves to the next caption
    enter(&mut harness);
    harness.key_press(Key::End);
    harness
        .get_by_role_and_label(Role::TextInput, "01.png")
        .type_text("another red disc");
    harness.run_steps(2);
    enter(&mut harness);
    click(&mut harness, "Undo");
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "01.png")),
        ("a red disc".into(), String::new())
    );
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Y);
    harness.run_steps(3);
    assert_eq!(caption(&harness, "01.png"), "another red disc");

    fill(&mut harness, "Filter", "ANOTHER");
    assert!(
        has(&harness, "1 of 5")
            && harness
                .query_by_role_and_label(Role::TextInput, "00.png")
                .is_none()
    );
    fill(&mut harness, "Filter", "");
    harness.key_press(Key::Backspace);
    harness.run_steps(3);

    fill(&mut harness, "Find", "RED");
    fill(&mut harness, "Replace with", "blue");
    assert!(has(&harness, "a blue disc") && caption(&harness, "00.png") == "a red disc");
    // the name of the folder changes from run to run
    fill(&mut harness, "Folder", "drawings");
    harness.get_by_label("Select 03.png").click();
    until(&mut harness, "thumbnails", |harness| {
        harness.query_all_by_label("Thumbnail").count() == 5
    });
    snapshot(&mut harness, "batch");
    click(&mut harness, "Replace in 2 captions");
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "01.png")),
        ("a blue disc".into(), "another blue disc".into())
    );
    // an unfinished edit is saved after a second
    fill(&mut harness, "02.png", "half a cap");
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
    let (harness, _commands, _events) = with(folder.path());
    assert_eq!(
        (caption(&harness, "01.png"), caption(&harness, "02.png")),
        ("another blue disc".into(), "half a cap".into())
    );
}

#[test]
fn overwriting_needs_a_confirmation() {
    let folder = folder(3);
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let (mut harness, _commands, _events) = with(folder.path());
    fill(&mut harness, "00.png", "one");
    fill(&mut harness, "01.png", "two");
    // another program writes a caption
    std::fs::write(folder.path().join("01.txt"), "theirs").unwrap();
    click(&mut harness, "Save captions");
    until(&mut harness, "question", |harness| {
        has(harness, "01.txt already exists")
    });
    click(&mut harness, "Cancel");
    assert_eq!(text("01.txt"), "theirs");
    assert!(!folder.path().join("00.txt").exists());
    click(&mut harness, "Save captions");
    until(&mut harness, "question", |harness| {
        has(harness, "01.txt already exists")
    });
    click(&mut harness, "Overwrite");
    until(&mut harness, "files", |harness| {
        has(
            harness,
            "Saved 2 captions as text files. 1 picture without a caption.",
        )
    });
    assert_eq!(
        (text("00.txt"), text("01.txt")),
        ("one\n".into(), "two\n".into())
    );

    harness
        .get_by_role_and_label(Role::ComboBox, "Save as")
        .click();
    harness.run_steps(3);
    click(&mut harness, "JSON lines");
    let path = folder.path().join("captions.jsonl");
    std::fs::write(&path, "theirs").unwrap();
    click(&mut harness, "Save captions");
    until(&mut harness, "question", |harness| {
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
    until(&mut harness, "question", |harness| {
        has(harness, "different captions for 1 picture that")
    });
    assert!(has(&harness, "captions.jsonl: 1 row cannot be used"));
    click(&mut harness, "Only new ones");
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "02.png")),
        ("one".into(), "tre".into())
    );
}

#[test]
fn scrolling_over_ten_thousand_pictures_is_smooth() {
    let folder = folder(10_000);
    let (mut harness, commands, events) = with(folder.path());
    assert!(has(&harness, "10000 of 10000"));
    click(&mut harness, "Caption all (10000)");
    let list = harness
        .get_by_role_and_label(Role::TextInput, "02.png")
        .rect()
        .center();
    harness.hover_at(list);
    let mut frames = vec![];
    for frame in 0..300 {
        // answers as fast as jobs come
        if let Some(job) = command::<BatchJob>(&commands) {
            let captions = job
                .pictures
                .iter()
                .map(|(number, _)| (*number, Ok(format!("caption {number}"))))
                .collect();
            events.page(BatchEvent {
                run: job.run,
                captions: Ok(captions),
            });
        }
        // one page down per frame, then jumps
        let delta = if frame < 200 {
            -600.0
        } else {
            [9e4, -3e5, 2e5][frame % 3]
        };
        harness.event(egui::Event::MouseWheel {
            unit: egui::MouseWheelUnit::Point,
            delta: egui::vec2(0.0, delta),
            phase: egui::TouchPhase::Move,
            modifiers: Modifiers::NONE,
            source: egui::MouseWheelSource::Unknown,
        });
        let begin = ThreadTime::now();
        harness.step();
        frames.push(begin.elapsed());
    }
    assert!(
        harness
            .query_by_role_and_label(Role::TextInput, "02.png")
            .is_none(),
        "the list did not scroll"
    );
    frames.sort();
    println!(
        "frames over 10,000 pictures: {:.2?}, {:.2?} and {:.2?} at p50, p95 and the longest",
        frames[150], frames[285], frames[299]
    );
    assert!(
        frames[285] < Duration::from_millis(8),
        "frames take {frames:?}"
    );
}

#[test]
fn real_worker_captions_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    face(folder.path());
    disc(folder.path());
    std::fs::write(folder.path().join("broken.png"), "no picture").unwrap();
    let mut harness = real(vec![]);
    until(&mut harness, "device", |harness| {
        !has(harness, "Opening the adapter")
    });
    open(&mut harness, folder.path());
    until(&mut harness, "model", |harness| {
        !has(harness, "No model loaded")
    });
    click(&mut harness, "Caption missing (3)");
    until(&mut harness, "captions", |harness| {
        has(harness, "1 picture could not be read")
    });
    let (face, disc) = (caption(&harness, "face.png"), caption(&harness, "disc.png"));
    assert!(
        face.contains("grinning face") && disc.contains("red"),
        "{face} and {disc}"
    );
    assert!(has(&harness, "broken.png: ") && has(&harness, "2 of 3 pictures captioned"));
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
