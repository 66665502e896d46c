//! The window and its Caption page, with a scripted and with the real worker.

mod common;

use std::path::PathBuf;

use common::{
    disc, drop_file, face, has, loaded, real, real_with, scripted, snapshot, until, wait_for,
};
use egui_kittest::kittest::Queryable;
use seemore::caption::{CaptionToken, Choice};
use seemore::image::Picture;
use seemore_app::pages::caption::{CaptionEvent, CaptionJob, CaptionProgress};
use seemore_app::worker::{Event, LoadModel, ModelInfo};

fn token(job: u64, text: &str, probability: f32, hottest: usize) -> Event {
    let mut heat = vec![0.01; 36];
    heat[hottest] = 0.65;
    let others = vec![("something".to_owned(), 0.01)];
    let token = CaptionToken {
        choice: Choice {
            token: 5,
            probability,
        },
        text: text.into(),
        others,
        heat,
    };
    Event::page(CaptionEvent {
        job,
        progress: CaptionProgress::Token(token),
    })
}

fn input(job: u64) -> Event {
    let picture = Picture {
        width: 48,
        height: 48,
        rgb: vec![200; 48 * 48 * 3],
    };
    Event::page(CaptionEvent {
        job,
        progress: CaptionProgress::Input(picture),
    })
}

#[test]
fn empty_window_says_what_to_do() {
    let (mut harness, commands, events) = scripted(vec![]);
    let LoadModel { slot, folder } = wait_for(&commands);
    assert_eq!((slot, folder), (0, PathBuf::from("models/emoji")));
    events.send(Event::Adapter("a card".into()));
    events.send(loaded());
    harness.run_steps(3);
    for label in [
        "Drop a picture here",
        "Open pictures...",
        "Try the samples",
        "a card",
        "Compare with",
    ] {
        assert!(has(&harness, label), "{label}");
    }
}

#[test]
fn caption_appears_token_by_token() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, commands, events) = scripted(vec![disc(folder.path())]);
    events.send(loaded());
    until(&mut harness, "picture", |harness| {
        has(harness, "Regenerate")
    });
    harness.step();
    let job: CaptionJob = wait_for(&commands);
    events.send(input(job.number));
    events.send(token(job.number, "red", 0.91, 7));
    harness.run_steps(2);
    // once in the list and once below the picture
    assert!(has(&harness, "Writing...") && harness.query_all_by_label("red").count() == 2);
    events.send(token(job.number, " circle", 0.7, 30));
    events.page(CaptionEvent {
        job: job.number,
        progress: CaptionProgress::Finished {
            seconds: 0.5,
            cancelled: false,
        },
    });
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
        "the heat map does not follow the selected word"
    );
}

#[test]
fn failures_are_shown_and_the_window_continues() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.png");
    std::fs::write(&broken, "no picture").unwrap();
    let (mut harness, _commands, events) = scripted(vec![
        broken,
        folder.path().join("gone.png"),
        disc(folder.path()),
    ]);
    until(&mut harness, "messages", |harness| {
        has(harness, "broken.png") && has(harness, "gone.png") && has(harness, "No model loaded")
    });
    events.send(Event::ModelFailed {
        slot: 0,
        message: "that folder is no checkpoint".into(),
    });
    harness.run_steps(2);
    assert!(has(&harness, "that folder is no checkpoint"));
    events.send(Event::Stopped("the device was lost".into()));
    harness.run_steps(2);
    assert!(
        has(&harness, "The worker has stopped")
            && has(&harness, "the device was lost")
            && has(&harness, "Restart")
    );
}

#[test]
fn real_worker_captions_dropped_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = real(vec![]);
    drop_file(&mut harness, &disc(folder.path()));
    until(&mut harness, "caption", |harness| has(harness, "tokens in"));
    assert!(has(&harness, "red"), "the caption of a red disc");
    drop_file(&mut harness, &face(folder.path()));
    until(&mut harness, "caption", |harness| has(harness, "face"));
    until(&mut harness, "end of the caption", |harness| {
        has(harness, "tokens in")
    });
    // first without a selected word, then with each of two words
    let mut pictures = vec![harness.render().unwrap()];
    for word in ["grinning", "face"] {
        harness.get_by_label(word).click();
        harness.hover_at(egui::pos2(500.0, 700.0));
        harness.run_steps(4);
        // compares the picture alone, without the frame around the word
        pictures.push(
            image::imageops::crop_imm(&harness.render().unwrap(), 250, 40, 550, 350).to_image(),
        );
    }
    assert!(
        pictures[1] != pictures[2],
        "the heat map does not differ between words"
    );
}

#[test]
fn unreadable_pictures_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text.png"), "no picture").unwrap();
    std::fs::write(path("empty.png"), "").unwrap();
    let whole = std::fs::read(disc(folder.path())).unwrap();
    std::fs::write(path("half.png"), &whole[..whole.len() / 2]).unwrap();
    // a header that claims 20,000 x 20,000 pixels, which would take 1.2 GB
    let mut huge = whole.clone();
    huge[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
    let sum = crc(&huge[12..29]);
    huge[29..33].copy_from_slice(&sum.to_be_bytes());
    std::fs::write(path("huge.png"), huge).unwrap();
    let (mut harness, _commands, _events) = scripted(vec![]);
    for (name, what) in [
        ("text.png", "not a picture in a supported format"),
        ("empty.png", "not a picture in a supported format"),
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
    until(&mut harness, "picture", |harness| {
        has(harness, "No model loaded")
    });
}

/// Returns the checksum of a PNG chunk, CRC-32 as in ISO 3309.
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
fn folder_without_a_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = real_with(folder.path().to_owned(), vec![disc(folder.path())]);
    let name = folder
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    until(&mut harness, "message", |harness| {
        has(harness, &name) && has(harness, "config.json")
    });
    assert!(has(&harness, "No model loaded"));
}

#[test]
fn two_models_are_shown_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, commands, events) = scripted(vec![disc(folder.path())]);
    events.send(loaded());
    let Event::ModelLoaded { model: second, .. } = loaded() else {
        unreachable!()
    };
    let second = ModelInfo {
        folder: "models/patches".into(),
        ..second
    };
    events.send(Event::ModelLoaded {
        slot: 1,
        model: second,
    });
    until(&mut harness, "picture", |harness| {
        harness.query_all_by_label("Regenerate").count() == 2
    });
    harness.step();
    let jobs: [CaptionJob; 2] = [wait_for(&commands), wait_for(&commands)];
    for (job, text) in jobs.iter().zip(["disc", "ball"]) {
        assert!(matches!((job.slot, text), (0, "disc") | (1, "ball")));
        events.send(token(job.number, text, 0.5, 3));
    }
    // a second token, so that the list does not show the word alone too
    events.send(token(jobs[0].number, " shape", 0.5, 3));
    harness.run_steps(2);
    let place = |label| harness.get_by_label(label).rect();
    assert!(place("disc").right() < place("ball").left() && has(&harness, "patches"));
}

#[test]
fn pictures_keep_the_order_of_the_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let first = disc(folder.path());
    let names = ["9.png", "7.png", "8.png", "1.png"];
    let paths = names.map(|name| {
        std::fs::copy(&first, folder.path().join(name)).unwrap();
        folder.path().join(name)
    });
    let (mut harness, _commands, _events) = scripted(paths.to_vec());
    until(&mut harness, "pictures", |harness| {
        names.iter().all(|name| has(harness, name))
    });
    harness.run_steps(2);
    let tops = names.map(|name| harness.get_by_label(name).rect().top());
    assert!(tops.is_sorted(), "{tops:?}");
}
