//! Times of the window's frames while the worker is busy.
//!
//! They are judged by the CPU time of the window's thread: wall-clock time depends on what else the
//! machine does. `cargo test -p seemore-app --test frames -- --nocapture` prints both.

mod common;

use std::time::{Duration, Instant};

use common::{click, disc, fill, has, real, until};
use cpu_time::ThreadTime;
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use seemore_app::Window;

/// Maximum time to measure.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Number of frames that are measured.
const FRAMES: usize = 600;

/// Longest CPU time of a frame that counts as smooth, at p95, in ms.
const SMOOTH: f64 = 8.0;

/// Measures frames while a text is on screen, and fails if too few are smooth.
fn measure(harness: &mut Harness<Window>, what: &str, text: &str) {
    let mut frames: Vec<(Duration, Duration)> = vec![];
    let begin = Instant::now();
    while begin.elapsed() < TIMEOUT && frames.len() < FRAMES {
        let (wall, cpu) = (Instant::now(), ThreadTime::now());
        harness.step();
        let frame = (wall.elapsed(), cpu.elapsed());
        if has(harness, text) {
            frames.push(frame);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(frames.len(), FRAMES, "frames while {what}");
    let mut quantiles = |of: fn(&(Duration, Duration)) -> Duration| {
        frames.sort_by_key(of);
        [FRAMES / 2, FRAMES * 95 / 100, FRAMES - 1].map(|i| of(&frames[i]).as_secs_f64() * 1e3)
    };
    let (wall, cpu) = (quantiles(|frame| frame.0), quantiles(|frame| frame.1));
    println!("frames while {what}, in ms at p50, p95 and maximum: {wall:.2?}; CPU time {cpu:.2?}");
    assert!(
        cpu[1] < SMOOTH,
        "frames while {what} take {cpu:.2?} ms of CPU time, {wall:.2?} ms in all"
    );
}

#[test]
fn frames_stay_short_while_captioning() {
    let folder = tempfile::tempdir().unwrap();
    let first = disc(folder.path());
    for i in 0..4000 {
        let path = folder.path().join(format!("{i:04}.png"));
        std::fs::hard_link(&first, path).unwrap();
    }
    let mut harness = real(vec![first]);
    until(&mut harness, "caption", |harness| has(harness, "tokens in"));
    click(&mut harness, "Batch");
    fill(&mut harness, "Folder", folder.path().to_str().unwrap());
    harness.key_press(egui::Key::Enter);
    until(&mut harness, "folder", |harness| {
        has(harness, "4001 of 4001")
    });
    click(&mut harness, "Caption 4001 pictures");
    measure(&mut harness, "captioning a folder", " left");
    click(&mut harness, "Stop");
}

#[test]
fn frames_stay_short_while_training() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = real(vec![]);
    click(&mut harness, "Train");
    let output = folder.path().join("run");
    fill(&mut harness, "Output", output.to_str().unwrap());
    click(&mut harness, "Minutes");
    harness
        .get_by_role_and_label(Role::ComboBox, "Preset")
        .click();
    harness.run_steps(2);
    click(&mut harness, "tiny");
    click(&mut harness, "Start");
    measure(&mut harness, "training", "tokens/s");
    click(&mut harness, "Stop");
    let begin = Instant::now();
    while !has(&harness, "Stopped after") {
        assert!(begin.elapsed() < TIMEOUT, "the training does not stop");
        std::thread::sleep(Duration::from_millis(10));
        harness.step();
    }
    assert!(output.join("training.json").is_file());
}
