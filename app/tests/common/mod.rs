//! What the tests of the window share.
// each test file is a program of its own, and none uses all of it
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable;
use egui_kittest::{Harness, SnapshotOptions};
use indicatif::ProgressBar;
use seemore::data::{Dataset, Layout};
use seemore::image::Preprocess;
use seemore_app::worker::{Loaded, Order, Report, Worker};
use seemore_app::{Start, Window};

/// Steps until `done`, or fails after a minute.
pub fn until(harness: &mut Harness<Window>, what: &str, done: impl Fn(&Harness<Window>) -> bool) {
    let start = Instant::now();
    while !done(harness) {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} did not come in a minute"
        );
        std::thread::sleep(Duration::from_millis(10));
        harness.step();
    }
}

pub fn has(harness: &Harness<Window>, label: &str) -> bool {
    harness.query_all_by_label_contains(label).next().is_some()
}

pub fn click(harness: &mut Harness<Window>, label: &str) {
    harness.get_by_role_and_label(Role::Button, label).click();
    harness.run_steps(3);
}

/// Puts a text in the place of what a field holds.
pub fn fill(harness: &mut Harness<Window>, label: &str, text: &str) {
    harness
        .get_by_role_and_label(Role::TextInput, label)
        .focus();
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.run_steps(1);
    harness
        .get_by_role_and_label(Role::TextInput, label)
        .type_text(text);
    harness.run_steps(2);
}

/// Compares what is seen with the picture of this name in `tests/snapshots`, and writes that picture anew where the variable
/// `UPDATE_SNAPSHOTS` is 1.
pub fn snapshot(harness: &mut Harness<Window>, name: &str) {
    harness.run_steps(3);
    // a few points at the edges of glyphs and curves differ from driver to driver
    let options = SnapshotOptions::new().max_failed_pixels(300);
    harness.snapshot_options(name, &options);
}

/// Of the window, in points.
const SIZE: [f32; 2] = [1100.0, 760.0];

/// A red disc on white, as a file.
pub fn disc(folder: &Path) -> PathBuf {
    let path = folder.join("disc.png");
    let inside = |x: u32, y: u32| (x as f32 - 32.0).hypot(y as f32 - 32.0) < 24.0;
    let picture = image::RgbImage::from_fn(64, 64, |x, y| {
        image::Rgb(if inside(x, y) {
            [221, 46, 68]
        } else {
            [255; 3]
        })
    });
    picture.save(&path).unwrap();
    path
}

/// The first of the drawings that the shipped models are chosen by, a grinning face, as a file.
pub fn face(folder: &Path) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/emoji/fxemoji.csv");
    let frame = Preprocess {
        side: 64,
        crop: false,
    };
    let loaded = Dataset::load(
        &data,
        frame,
        &Layout::default(),
        true,
        &ProgressBar::hidden(),
    )
    .unwrap();
    let path = folder.join("face.png");
    image::save_buffer(
        &path,
        &loaded.dataset.samples[0].rgb,
        64,
        64,
        image::ColorType::Rgb8,
    )
    .unwrap();
    path
}

pub fn scripted(
    pictures: Vec<PathBuf>,
) -> (Harness<'static, Window>, Receiver<Order>, Sender<Report>) {
    let (worker, orders, reports) = Worker::scripted();
    let start = Start {
        pictures,
        model: Some("models/emoji".into()),
        adapter: None,
    };
    let harness = Harness::builder()
        .with_size(SIZE)
        .wgpu()
        .build_eframe(|c| Window::with(c, worker, start));
    (harness, orders, reports)
}

pub fn loaded() -> Report {
    let loaded = Loaded {
        folder: "models/emoji".into(),
        parameters: 2_100_000,
        side: 48,
        grid: 6,
        tokens: 1477,
    };
    Report::Loaded { slot: 0, loaded }
}

/// The window with the real worker and the model that comes with seemore.
pub fn real(pictures: Vec<PathBuf>) -> Harness<'static, Window> {
    real_with(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/checkpoints/emoji"),
        pictures,
    )
}

/// The window with the real worker and the model in a folder.
pub fn real_with(model: PathBuf, pictures: Vec<PathBuf>) -> Harness<'static, Window> {
    let start = Start {
        pictures,
        model: Some(model),
        adapter: None,
    };
    Harness::builder()
        .with_size(SIZE)
        .wgpu()
        .build_eframe(|c| Window::new(c, start))
}

/// A file that is dropped on the window.
#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

pub fn drop_file(harness: &mut Harness<Window>, path: &Path) {
    harness
        .input_mut()
        .dropped_files
        .push(std::sync::Arc::new(Dropped(path.to_owned())));
    harness.step();
}
