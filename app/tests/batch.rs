//! The batch page: a folder of pictures with a worker that the test plays, and with the real one.

mod common;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use common::{click, disc, drop_file, face, fill, has, loaded, real, scripted, snapshot, until};
use cpu_time::ThreadTime;
use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use seemore_app::Window;
use seemore_app::work::batching::Job;
use seemore_app::worker::{Failed, Order, Report};

fn enter(harness: &mut Harness<Window>) {
    harness.key_press(Key::Enter);
    harness.run_steps(3);
}

/// What a caption's field holds, by its picture's name.
fn caption(harness: &Harness<Window>, name: &str) -> String {
    harness
        .get_by_role_and_label(Role::TextInput, name)
        .accesskit_node()
        .value()
        .unwrap_or_default()
}

/// A folder with so many pictures, `00.png` and so on.
fn folder(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let first = disc(folder.path());
    for i in 0..count {
        std::fs::copy(&first, folder.path().join(format!("{i:02}.png"))).unwrap();
    }
    std::fs::remove_file(first).unwrap();
    folder
}

fn open(harness: &mut Harness<Window>, folder: &Path) {
    click(harness, "Batch");
    fill(harness, "Pictures in", folder.to_str().unwrap());
    enter(harness);
    until(harness, "the folder", |harness| {
        has(harness, "Save captions")
    });
    harness.run_steps(3);
}

fn with(folder: &Path) -> (Harness<'static, Window>, Receiver<Order>, Sender<Report>) {
    let (mut harness, orders, reports) = scripted(vec![]);
    reports.send(loaded()).unwrap();
    open(&mut harness, folder);
    (harness, orders, reports)
}

fn job(orders: &Receiver<Order>) -> Option<Job> {
    orders.try_iter().find_map(|order| {
        if let Order::Batch(job) = order {
            Some(job)
        } else {
            None
        }
    })
}

/// Captions `caption NAME` for a job.
fn answer(harness: &mut Harness<Window>, reports: &Sender<Report>, job: &Job) {
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let captions = job
        .pictures
        .iter()
        .map(|(number, path)| (*number, Ok(format!("caption {}", name(path)))))
        .collect();
    reports
        .send(Report::Batch {
            run: job.run,
            captions,
        })
        .unwrap();
    harness.run_steps(3);
}

#[test]
fn a_folder_is_captioned_in_batches_and_taken_back_at_once() {
    let folder = folder(40);
    std::fs::write(folder.path().join("03.txt"), "from a text file\n").unwrap();
    let (mut harness, orders, reports) = with(folder.path());
    assert!(
        has(&harness, "1 of 40 pictures have one")
            && caption(&harness, "03.png") == "from a text file"
    );
    click(&mut harness, "Caption missing (39)");
    let mut sizes = vec![];
    while let Some(job) = job(&orders) {
        sizes.push(job.pictures.len());
        assert!(
            job.pictures
                .iter()
                .all(|(_, path)| !path.ends_with("03.png"))
                && job.at_once == 16
        );
        answer(&mut harness, &reports, &job);
    }
    assert_eq!(sizes, [16, 16, 7]);
    assert!(has(&harness, "40 of 40 pictures have one") && has(&harness, "39 pictures in"));
    assert_eq!(
        (caption(&harness, "02.png"), caption(&harness, "03.png")),
        ("caption 02".into(), "from a text file".into())
    );
    click(&mut harness, "Undo");
    assert!(has(&harness, "1 of 40 pictures have one") && caption(&harness, "02.png").is_empty());
    click(&mut harness, "Redo");
    assert_eq!(caption(&harness, "02.png"), "caption 02");
    // only what is selected
    harness.get_by_label("Select 01.png").click();
    harness.run_steps(3);
    click(&mut harness, "Caption selected (1)");
    let pictures = job(&orders).unwrap().pictures;
    assert!(
        matches!(&pictures[..], [(1, path)] if path.ends_with("01.png")),
        "{pictures:?}"
    );
}

#[test]
fn a_run_is_cancelled_and_does_not_write_over_what_people_type() {
    let folder = folder(20);
    let (mut harness, orders, reports) = with(folder.path());
    click(&mut harness, "Caption all (20)");
    let first = job(&orders).unwrap();
    fill(&mut harness, "01.png", "mine");
    answer(&mut harness, &reports, &first);
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "01.png")),
        ("caption 00".into(), "mine".into())
    );
    assert!(has(&harness, "left"));
    click(&mut harness, "Cancel");
    assert!(has(&harness, "cancelled: 16 pictures"));
    let second = job(&orders).unwrap();
    answer(&mut harness, &reports, &second);
    assert!(
        has(&harness, "16 of 20 pictures have one"),
        "a cancelled job gave captions"
    );
    click(&mut harness, "Caption missing (4)");
    let third = job(&orders).unwrap();
    reports
        .send(Report::Failed {
            order: Failed::Batch { run: third.run },
            message: "no memory on the device".into(),
        })
        .unwrap();
    harness.run_steps(3);
    assert!(has(&harness, "no memory on the device") && harness.query_by_label("Cancel").is_none());
}

#[test]
fn captions_are_edited_in_place_and_kept() {
    let folder = folder(5);
    let (mut harness, _orders, _reports) = with(folder.path());
    fill(&mut harness, "00.png", "a red disc");
    // to the next one
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
    // the folder has another name every time
    fill(&mut harness, "Pictures in", "drawings");
    harness.get_by_label("Select 03.png").click();
    until(&mut harness, "the thumbnails", |harness| {
        harness.query_all_by_label("thumbnail").count() == 5
    });
    snapshot(&mut harness, "batch");
    click(&mut harness, "Replace in 2 captions");
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "01.png")),
        ("a blue disc".into(), "another blue disc".into())
    );
    // the last is still being typed when the program ends, a second later
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
            "what is typed is not saved"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(harness);
    let (harness, _orders, _reports) = with(folder.path());
    assert_eq!(
        (caption(&harness, "01.png"), caption(&harness, "02.png")),
        ("another blue disc".into(), "half a cap".into())
    );
}

#[test]
fn nothing_is_written_over_before_somebody_says_so() {
    let folder = folder(3);
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let (mut harness, _orders, _reports) = with(folder.path());
    fill(&mut harness, "00.png", "one");
    fill(&mut harness, "01.png", "two");
    // written by somebody else meanwhile
    std::fs::write(folder.path().join("01.txt"), "theirs").unwrap();
    click(&mut harness, "Save captions");
    until(&mut harness, "the question", |harness| {
        has(harness, "01.txt is there already")
    });
    click(&mut harness, "Cancel");
    assert_eq!(text("01.txt"), "theirs");
    assert!(!folder.path().join("00.txt").exists());
    click(&mut harness, "Save captions");
    until(&mut harness, "the question", |harness| {
        has(harness, "01.txt is there already")
    });
    click(&mut harness, "Replace");
    until(&mut harness, "the files", |harness| {
        has(
            harness,
            "2 captions are in text files; 1 pictures have none",
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
    until(&mut harness, "the question", |harness| {
        has(harness, "captions.jsonl is there already")
    });
    click(&mut harness, "Replace");
    until(&mut harness, "the file", |harness| {
        has(harness, "2 captions are in")
    });
    assert_eq!(
        text("captions.jsonl"),
        "{\"caption\":\"one\",\"image\":\"00.png\"}\n{\"caption\":\"two\",\"image\":\"01.png\"}\n"
    );

    // the other way
    std::fs::write(
        &path,
        "{\"caption\":\"uno\",\"image\":\"00.png\"}\n{\"caption\":\"tre\",\"image\":\"02.png\"}\n{\"caption\":\"x\",\"image\":\"9.png\"}\n",
    )
    .unwrap();
    drop_file(&mut harness, &path);
    until(&mut harness, "the question", |harness| {
        has(harness, "other captions of 1 pictures that have one")
    });
    assert!(has(&harness, "belong to no picture of this folder"));
    click(&mut harness, "Only new ones");
    assert_eq!(
        (caption(&harness, "00.png"), caption(&harness, "02.png")),
        ("one".into(), "tre".into())
    );
}

#[test]
fn ten_thousand_pictures_stay_smooth() {
    let folder = folder(10_000);
    let (mut harness, orders, reports) = with(folder.path());
    assert!(has(&harness, "10000 of 10000"));
    click(&mut harness, "Caption all (10000)");
    let list = harness
        .get_by_role_and_label(Role::TextInput, "02.png")
        .rect()
        .center();
    harness.hover_at(list);
    let mut frames = vec![];
    for frame in 0..300 {
        // the worker is as fast as it can be
        if let Some(job) = job(&orders) {
            let captions = job
                .pictures
                .iter()
                .map(|(number, _)| (*number, Ok(format!("caption {number}"))))
                .collect();
            reports
                .send(Report::Batch {
                    run: job.run,
                    captions,
                })
                .unwrap();
        }
        // a page down at a time, in the end at random places
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
        "the list was not scrolled"
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
fn a_folder_is_captioned_by_the_real_model() {
    let folder = tempfile::tempdir().unwrap();
    face(folder.path());
    disc(folder.path());
    std::fs::write(folder.path().join("broken.png"), "no picture").unwrap();
    let mut harness = real(vec![]);
    until(&mut harness, "the model", |harness| {
        has(harness, "llvmpipe")
            || has(harness, "vulkan")
            || has(harness, "metal")
            || has(harness, "dx12")
    });
    open(&mut harness, folder.path());
    until(&mut harness, "the model", |harness| {
        !has(harness, "No model is loaded.")
    });
    click(&mut harness, "Caption missing (3)");
    until(&mut harness, "the captions", |harness| {
        has(harness, "1 of them cannot be read")
    });
    let (face, disc) = (caption(&harness, "face.png"), caption(&harness, "disc.png"));
    assert!(
        face.contains("grinning face") && disc.contains("red"),
        "{face} and {disc}"
    );
    assert!(has(&harness, "broken.png: ") && has(&harness, "2 of 3 pictures have one"));
}

#[test]
fn a_folder_that_is_gone_is_named() {
    let (mut harness, _orders, _reports) = scripted(vec![]);
    click(&mut harness, "Batch");
    assert!(has(&harness, "Drop a folder of pictures here"));
    fill(&mut harness, "Pictures in", "/nowhere/at all");
    enter(&mut harness);
    until(&mut harness, "the message", |harness| {
        has(harness, "/nowhere/at all")
    });
    assert!(has(&harness, "Drop a folder of pictures here"));
}
