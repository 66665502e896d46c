//! The Batch page with very many pictures.

mod common;

use std::time::Duration;

use common::{SIZE, click, command, disc, fill, has, loaded, until};
use cpu_time::ThreadTime;
use egui::Modifiers;
use egui_kittest::Harness;
use seemore_app::worker::WorkerHandle;
use seemore_app::worker::{BatchEvent, BatchJob, Event, WrittenCaption};
use seemore_app::{StartOptions, Window};

/// Number of pictures.
const PICTURES: usize = 100_000;

/// Returns the resident memory of the process, in megabytes.
fn resident() -> f64 {
    let memory = memory_stats::memory_stats().expect("the memory of the process");
    memory.physical_mem as f64 / 1e6
}

#[test]
fn scrolling_over_a_hundred_thousand_pictures_is_smooth() {
    let folder = tempfile::tempdir().unwrap();
    let first = disc(folder.path());
    let path = |i: usize| folder.path().join(format!("{i:06}.png"));
    for i in 0..PICTURES {
        // links take no space, but file systems bound their number
        match i % 10_000 {
            0 => drop(std::fs::copy(&first, path(i)).unwrap()),
            linked => std::fs::hard_link(path(i - linked), path(i)).unwrap(),
        }
    }
    std::fs::remove_file(first).unwrap();
    let (worker, commands, events) = WorkerHandle::scripted();
    // frames at the rate of a screen
    let mut harness = Harness::builder()
        .with_size(SIZE)
        .with_step_dt(1.0 / 60.0)
        .wgpu()
        .build_eframe(|c| Window::with(c, worker, StartOptions::default()));
    events.send(loaded());
    click(&mut harness, "Batch");
    harness.run_steps(3);
    let before = resident();
    fill(&mut harness, "Folder", folder.path().to_str().unwrap());
    harness.key_press(egui::Key::Enter);
    harness.run_steps(3);
    until(&mut harness, "folder", |harness| {
        has(harness, "100000 of 100000")
    });
    let opened = resident();
    click(&mut harness, "Caption 100000 pictures");
    harness.hover_at(egui::pos2(150.0, 400.0));
    let mut frames = vec![];
    for frame in 0..300 {
        // answers as fast as jobs come
        if let Some(job) = command::<BatchJob>(&commands) {
            let caption = |number: usize| WrittenCaption {
                text: format!("caption {number}"),
                confidence: 0.9,
            };
            let captions = job
                .pictures
                .iter()
                .map(|(number, _)| (*number, Ok(caption(*number))))
                .collect();
            events.send(Event::Batch(BatchEvent {
                run: job.run,
                captions: Ok(captions),
            }));
        }
        // one page down per frame, then jumps
        let delta = if frame < 200 {
            -600.0
        } else {
            [9e5, -3e6, 2e6][frame % 3]
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
    assert!(!has(&harness, "000002.png: "), "the list did not scroll");
    let scrolled = resident();
    frames.sort();
    println!(
        "frames over {PICTURES} pictures: {:.2?}, {:.2?} and {:.2?} at p50, p95 and the longest; \
         {:.0} MB for the list, {:.0} MB more after scrolling",
        frames[150],
        frames[285],
        frames[299],
        opened - before,
        scrolled - opened
    );
    assert!(
        frames[285] < Duration::from_millis(8),
        "frames take {frames:?}"
    );
    assert!(
        opened - before < 150.0 && scrolled - opened < 150.0,
        "the list takes {:.0} MB and scrolling {:.0} MB",
        opened - before,
        scrolled - opened
    );
}
