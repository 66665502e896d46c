//! Helpers of the window's tests.
// each test file is a crate of its own and uses only some of them
#![allow(dead_code)]

pub mod batch;

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use egui::accesskit::Role;
use egui::{Key, Modifiers, Theme};
use egui_kittest::kittest::{NodeT, Queryable};
use egui_kittest::{Harness, SnapshotOptions};
use seemore::caption::{CaptionToken, Choice, Tail};
use seemore::data::{Dataset, Layout};
use seemore::image::Preprocess;
use seemore_app::worker::{
    AttentionJob, BatchJob, CaptionEvent, CaptionJob, CaptionProgress, Command, Event, EventSender,
    LoadModel, MaskJob, ModelInfo, Program, TrainCommand, WorkerHandle,
};
use seemore_app::{StartOptions, Window};

/// Size of the window, in points.
pub const SIZE: [f32; 2] = [1100.0, 760.0];

/// Commands that a scripted worker receives.
pub type Commands = Receiver<Command>;

/// Returns the folder of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Steps until `done`, at most a minute.
pub fn until(harness: &mut Harness<Window>, what: &str, done: impl Fn(&Harness<Window>) -> bool) {
    let start = Instant::now();
    while !done(harness) {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "no {what} after a minute"
        );
        std::thread::sleep(Duration::from_millis(10));
        harness.step();
    }
}

/// Whether a label contains a text.
pub fn has(harness: &Harness<Window>, label: &str) -> bool {
    harness.query_all_by_label_contains(label).next().is_some()
}

/// Clicks a button.
pub fn click(harness: &mut Harness<Window>, label: &str) {
    harness.get_by_role_and_label(Role::Button, label).click();
    harness.run_steps(3);
}

/// Whether a button is enabled.
pub fn enabled(harness: &Harness<Window>, label: &str) -> bool {
    !harness
        .get_by_role_and_label(Role::Button, label)
        .accesskit_node()
        .is_disabled()
}

/// Replaces the text of a field.
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

/// Size of the smallest window, in points.
const SMALL: [f32; 2] = [880.0, 600.0];

/// Compares the window with a picture in `tests/snapshots`, or replaces that picture if
/// `UPDATE_SNAPSHOTS=1` is set.
pub fn snapshot(harness: &mut Harness<Window>, name: &str) {
    harness.run_steps(3);
    // drivers differ in a few pixels at the edges of glyphs and curves
    let options = SnapshotOptions::new().max_failed_pixels(300);
    harness.snapshot_options(name, &options);
}

/// As [`snapshot`], in both themes, at the usual size with one pixel per point and at the smallest
/// size with two. `optipng -o2` makes new pictures smaller.
pub fn snapshots(harness: &mut Harness<Window>, name: &str) {
    snapshot(harness, name);
    harness.ctx.set_theme(Theme::Light);
    snapshot(harness, &format!("{name}-light"));
    resize(harness, SMALL, 2.0);
    snapshot(harness, &format!("{name}-light-2x"));
    harness.ctx.set_theme(Theme::Dark);
    snapshot(harness, &format!("{name}-2x"));
    resize(harness, SIZE, 1.0);
}

/// Sets the window's size in points, and its pixels per point.
fn resize(harness: &mut Harness<Window>, size: [f32; 2], pixels_per_point: f32) {
    harness.set_pixels_per_point(pixels_per_point);
    harness.run_steps(1);
    harness.set_size(size.into());
    harness.run_steps(3);
}

/// Renders the window.
pub fn render(harness: &mut Harness<Window>) -> image::RgbaImage {
    harness.run_steps(3);
    harness.render().unwrap()
}

/// Writes a picture of a red disc on white.
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

/// Writes the first validation picture of the shipped models, a grinning face.
pub fn face(folder: &Path) -> PathBuf {
    let preprocess = Preprocess {
        side: 64,
        crop: false,
    };
    let loaded = Dataset::load(
        &root().join("data/emoji/fxemoji.csv"),
        preprocess,
        &Layout::default(),
        true,
        &seemore::progress::Silent,
    )
    .unwrap();
    let path = folder.join("face.png");
    let rgb = &loaded.dataset.samples[0].rgb;
    image::save_buffer(&path, rgb, 64, 64, image::ColorType::Rgb8).unwrap();
    path
}

/// Opens a window whose worker is scripted by the test.
pub fn scripted(pictures: Vec<PathBuf>) -> (Harness<'static, Window>, Commands, EventSender) {
    let (worker, commands, events) = WorkerHandle::scripted();
    let start = StartOptions {
        pictures,
        model: Some("models/emoji".into()),
        ..StartOptions::default()
    };
    let harness = Harness::builder()
        .with_size(SIZE)
        .wgpu()
        .build_eframe(|c| Window::with(c, worker, start));
    (harness, commands, events)
}

/// Contents of a command of one kind.
pub trait Kind: Sized {
    /// Returns the contents of a command; `None` if it is of another kind.
    fn of(command: Command) -> Option<Self>;
}

macro_rules! kinds {
    ($($kind:ident($contents:ty)),*) => {$(
        impl Kind for $contents {
            fn of(command: Command) -> Option<$contents> {
                match command {
                    Command::$kind(contents) => Some(contents),
                    _ => None,
                }
            }
        }
    )*};
}

kinds!(
    LoadModel(LoadModel),
    Caption(CaptionJob),
    Batch(BatchJob),
    CountTokens(String),
    Attention(AttentionJob),
    Mask(MaskJob),
    Inspect(Program),
    Train(TrainCommand)
);

/// Returns the contents of the next command of a kind that has arrived, and drops those before it.
pub fn command<T: Kind>(commands: &Commands) -> Option<T> {
    commands.try_iter().find_map(T::of)
}

/// Waits for the next command of a kind, and drops those before it.
pub fn wait_for<T: Kind>(commands: &Commands) -> T {
    loop {
        let command = commands
            .recv_timeout(Duration::from_secs(10))
            .expect("the command");
        if let Some(contents) = T::of(command) {
            return contents;
        }
    }
}

/// Returns the event that a model was loaded.
pub fn loaded() -> Event {
    let model = ModelInfo {
        folder: "models/emoji".into(),
        parameters: 2_100_000,
        image_size: 48,
        vocab_size: 1477,
        ..ModelInfo::default()
    };
    Event::ModelLoaded { slot: 0, model }
}

/// Returns a token of a caption, followed by the likeliest other one.
pub fn token(text: &str, probability: f32, heat: Vec<f32>) -> CaptionToken {
    CaptionToken {
        choice: Choice {
            token: 5,
            probability,
        },
        text: text.into(),
        others: vec![("something".to_owned(), 0.1 * (1.0 - probability))],
        tail: Tail::default(),
        heat,
    }
}

/// Returns the event that a job goes on.
pub fn progress(job: u64, progress: CaptionProgress) -> Event {
    Event::Caption(CaptionEvent { job, progress })
}

/// Returns the event that a job has ended.
pub fn finished(job: u64) -> Event {
    let (seconds, cancelled) = (0.5, false);
    progress(job, CaptionProgress::Finished { seconds, cancelled })
}

/// Writes a picture without flat parts, as photographs are.
pub fn photograph(folder: &Path) -> PathBuf {
    let path = folder.join("photograph.png");
    let picture = image::RgbImage::from_fn(96, 64, |x, y| {
        let noise = (x * 7919 + y * 104_729 + x * y * 31) % 97;
        image::Rgb([noise as u8, (2 * x) as u8, (3 * y) as u8])
    });
    picture.save(&path).unwrap();
    path
}

/// Opens a window with the real worker and the shipped model.
pub fn real(pictures: Vec<PathBuf>) -> Harness<'static, Window> {
    real_with(root().join("data/checkpoints/emoji"), pictures)
}

/// Opens a window with the real worker and the model in a folder.
pub fn real_with(model: PathBuf, pictures: Vec<PathBuf>) -> Harness<'static, Window> {
    let start = StartOptions {
        pictures,
        model: Some(model),
        ..StartOptions::default()
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

/// Drops a file on the window.
pub fn drop_file(harness: &mut Harness<Window>, path: &Path) {
    harness
        .input_mut()
        .dropped_files
        .push(std::sync::Arc::new(Dropped(path.to_owned())));
    harness.step();
}
