//! The window without a screen: with a worker that the test plays, and with the real one.

mod common;

use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use common::{disc, drop_file, face, has, loaded, real, real_with, scripted, snapshot, until};
use egui_kittest::kittest::Queryable;
use seemore::caption::CaptionToken;
use seemore::caption::Choice;
use seemore::image::Picture;
use seemore_app::work::captioning::{Job, Progress};
use seemore_app::worker::{Failed, Loaded, Order, Report};

fn token(job: u64, text: &str, probability: f32, hottest: usize) -> Report {
    let mut heat = vec![0.01; 36];
    heat[hottest] = 0.65;
    let others = vec![("something".to_owned(), 0.01)];
    let written = CaptionToken {
        choice: Choice {
            token: 5,
            probability,
        },
        text: text.into(),
        others,
        heat,
    };
    Report::Caption {
        job,
        progress: Progress::Token(written),
    }
}

fn shown(job: u64) -> Report {
    let picture = Picture {
        width: 48,
        height: 48,
        rgb: vec![200; 48 * 48 * 3],
    };
    Report::Caption {
        job,
        progress: Progress::Shown(picture),
    }
}

/// The next order to caption; what else was ordered before it is passed over.
fn job(orders: &Receiver<Order>) -> Job {
    loop {
        match orders.recv_timeout(Duration::from_secs(10)) {
            Ok(Order::Caption(job)) => return job,
            Ok(_) => {}
            Err(_) => panic!("no order to caption"),
        }
    }
}

#[test]
fn an_empty_window_says_what_to_do() {
    let (mut harness, orders, reports) = scripted(vec![]);
    let given: Vec<Order> = orders.try_iter().collect();
    assert!(given.iter().any(|order| matches!(order, Order::Load { slot: 0, folder } if folder == &PathBuf::from("models/emoji"))));
    reports.send(Report::Adapter("a card".into())).unwrap();
    reports.send(loaded()).unwrap();
    harness.run_steps(3);
    for label in [
        "Drop a picture here",
        "Open pictures...",
        "Try the samples",
        "a card",
        "compared with",
    ] {
        assert!(has(&harness, label), "{label}");
    }
}

#[test]
fn a_caption_appears_token_by_token() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, orders, reports) = scripted(vec![disc(folder.path())]);
    reports.send(loaded()).unwrap();
    until(&mut harness, "the picture", |harness| {
        has(harness, "Write again")
    });
    harness.step();
    let job = job(&orders);
    reports.send(shown(job.number)).unwrap();
    reports.send(token(job.number, "red", 0.91, 7)).unwrap();
    harness.run_steps(2);
    // in the list and below the picture
    assert!(has(&harness, "writing") && harness.query_all_by_label("red").count() == 2);
    reports.send(token(job.number, " circle", 0.7, 30)).unwrap();
    let progress = Progress::Ended {
        seconds: 0.5,
        stopped: false,
    };
    reports
        .send(Report::Caption {
            job: job.number,
            progress,
        })
        .unwrap();
    harness.run_steps(2);
    assert!(has(&harness, "2 tokens in 0.50 s"));

    let plain = harness.render().unwrap();
    harness.get_by_label("red").click();
    harness.run_steps(2);
    let red = harness.render().unwrap();
    harness.get_by_label("circle").click();
    harness.run_steps(2);
    let circle = harness.render().unwrap();
    snapshot(&mut harness, "caption");
    assert!(
        plain != red && red != circle,
        "the heat does not follow the chosen word"
    );
}

#[test]
fn what_goes_wrong_is_said_and_the_window_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.png");
    std::fs::write(&broken, "no picture").unwrap();
    let (mut harness, _orders, reports) = scripted(vec![
        broken,
        folder.path().join("gone.png"),
        disc(folder.path()),
    ]);
    until(&mut harness, "the message", |harness| {
        has(harness, "broken.png") && has(harness, "gone.png") && has(harness, "no model is loaded")
    });
    reports
        .send(Report::Failed {
            order: Failed::Load { slot: 0 },
            message: "that folder is no checkpoint".into(),
        })
        .unwrap();
    harness.run_steps(2);
    assert!(has(&harness, "that folder is no checkpoint"));
    reports
        .send(Report::Died("the device was lost".into()))
        .unwrap();
    harness.run_steps(2);
    assert!(
        has(&harness, "The model has stopped")
            && has(&harness, "the device was lost")
            && has(&harness, "Start it again")
    );
}

#[test]
fn from_a_dropped_file_to_captions_and_heat_with_the_real_worker() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = real(vec![]);
    drop_file(&mut harness, &disc(folder.path()));
    until(&mut harness, "the caption", |harness| {
        has(harness, "tokens in")
    });
    assert!(has(&harness, "red"), "a red disc is not called red");
    drop_file(&mut harness, &face(folder.path()));
    until(&mut harness, "the caption", |harness| has(harness, "face"));
    until(&mut harness, "its end", |harness| has(harness, "tokens in"));
    // without a word under the mouse, and with each of two words chosen
    let mut pictures = vec![harness.render().unwrap()];
    for word in ["grinning", "face"] {
        harness.get_by_label(word).click();
        harness.hover_at(egui::pos2(500.0, 700.0));
        harness.run_steps(4);
        // the picture alone, not the frame around the chosen word
        pictures.push(
            image::imageops::crop_imm(&harness.render().unwrap(), 250, 40, 550, 350).to_image(),
        );
    }
    assert!(
        pictures[1] != pictures[2],
        "the heat does not differ between the words"
    );
}

/// What must be refused is named, with what to do; the program goes on.
#[test]
fn pictures_that_cannot_be_opened_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text.png"), "no picture").unwrap();
    std::fs::write(path("empty.png"), "").unwrap();
    let whole = std::fs::read(disc(folder.path())).unwrap();
    std::fs::write(path("half.png"), &whole[..whole.len() / 2]).unwrap();
    // the header of a picture of 20,000 x 20,000 pixels, which would take 1.2 GB
    let mut huge = whole.clone();
    huge[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
    let sum = crc(&huge[12..29]);
    huge[29..33].copy_from_slice(&sum.to_be_bytes());
    std::fs::write(path("huge.png"), huge).unwrap();
    let (mut harness, _orders, _reports) = scripted(vec![]);
    for (name, what) in [
        ("text.png", "not a picture in a format known here"),
        ("empty.png", "not a picture in a format known here"),
        ("half.png", "damaged"),
        ("huge.png", "20000 x 20000 pixels"),
        ("gone/folder", "cannot read"),
    ] {
        drop_file(&mut harness, &path(name));
        until(&mut harness, name, |harness| {
            has(harness, name) && has(harness, what)
        });
        harness
            .query_all_by_label("Close")
            .for_each(|button| button.click());
        harness.run_steps(6);
    }
    drop_file(&mut harness, &path("disc.png"));
    until(&mut harness, "the picture", |harness| {
        has(harness, "no model is loaded")
    });
}

/// Of a PNG chunk: CRC-32 as in ISO 3309.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| {
        if crc & 1 == 1 {
            crc >> 1 ^ 0xedb8_8320
        } else {
            crc >> 1
        }
    };
    !bytes
        .iter()
        .fold(!0, |crc, &byte| (0..8).fold(crc ^ byte as u32, step))
}

#[test]
fn a_folder_that_holds_no_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = real_with(folder.path().to_owned(), vec![disc(folder.path())]);
    let name = folder
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    until(&mut harness, "the message", |harness| {
        has(harness, &name) && has(harness, "config.json")
    });
    assert!(has(&harness, "no model is loaded"));
}

#[test]
fn two_models_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, orders, reports) = scripted(vec![disc(folder.path())]);
    reports.send(loaded()).unwrap();
    let Report::Loaded { loaded: second, .. } = loaded() else {
        unreachable!()
    };
    let second = Loaded {
        folder: "models/patches".into(),
        ..second
    };
    reports
        .send(Report::Loaded {
            slot: 1,
            loaded: second,
        })
        .unwrap();
    until(&mut harness, "the picture", |harness| {
        harness.query_all_by_label("Write again").count() == 2
    });
    harness.step();
    let jobs = [job(&orders), job(&orders)];
    for (job, text) in jobs.iter().zip(["disc", "ball"]) {
        assert!(matches!((job.slot, text), (0, "disc") | (1, "ball")));
        reports.send(token(job.number, text, 0.5, 3)).unwrap();
    }
    // the list shows the first model's whole caption, so that the word stands alone
    reports
        .send(token(jobs[0].number, " shape", 0.5, 3))
        .unwrap();
    harness.run_steps(2);
    let place = |label| harness.get_by_label(label).rect();
    assert!(place("disc").right() < place("ball").left() && has(&harness, "patches"));
}

#[test]
fn pictures_come_in_the_order_in_which_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let first = disc(folder.path());
    let names = ["9.png", "7.png", "8.png", "1.png"];
    let paths = names.map(|name| {
        std::fs::copy(&first, folder.path().join(name)).unwrap();
        folder.path().join(name)
    });
    let (mut harness, _orders, _reports) = scripted(paths.to_vec());
    until(&mut harness, "the pictures", |harness| {
        names.iter().all(|name| has(harness, name))
    });
    harness.run_steps(2);
    let tops = names.map(|name| harness.get_by_label(name).rect().top());
    assert!(tops.is_sorted(), "{tops:?}");
}
