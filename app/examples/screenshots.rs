//! Renders the screenshots in `docs/`, without a screen.
//!
//! Run it with `cargo run --release -p seemore-app --example screenshots`. An argument names
//! another output folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use egui::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use seemore::data::{Dataset, Layout};
use seemore::image::Preprocess;
use seemore_app::{StartOptions, Window};

/// Size of the window, in points.
const SIZE: [f32; 2] = [1100.0, 760.0];

/// Returns the folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Writes some validation pictures of the shipped models as files.
fn drawings(folder: &Path) -> Vec<PathBuf> {
    let preprocess = Preprocess {
        side: 64,
        crop: false,
    };
    let data = root().join("data/emoji/fxemoji.csv");
    let loaded = Dataset::load(
        &data,
        preprocess,
        &Layout::default(),
        true,
        &seemore::progress::Silent,
    )
    .expect("the shipped drawings");
    let wanted = [
        "sunflower",
        "octopus",
        "birthday cake",
        "rocket",
        "umbrella",
        "bicycle",
        "guitar",
        "snowman without snow",
        "cat face",
        "grinning face",
    ];
    let file = |name: &str| {
        let sample = loaded
            .dataset
            .samples
            .iter()
            .find(|sample| sample.caption == name)?;
        let path = folder.join(format!(
            "{:02}.png",
            wanted.iter().position(|other| *other == name)?
        ));
        image::save_buffer(&path, &sample.rgb, 64, 64, image::ColorType::Rgb8)
            .expect("a writable folder");
        Some(path)
    };
    wanted.iter().filter_map(|name| file(name)).collect()
}

/// A window without a screen.
struct Shot {
    harness: Harness<'static, Window>,
}

impl Shot {
    fn new(model: &str, pictures: Vec<PathBuf>) -> Shot {
        let start = StartOptions {
            pictures,
            model: Some(root().join("data/checkpoints").join(model)),
            ..StartOptions::default()
        };
        let harness = Harness::builder()
            .with_size(SIZE)
            .with_pixels_per_point(1.25)
            .wgpu()
            .build_eframe(|c| Window::new(c, start));
        Shot { harness }
    }

    /// Steps until a label contains a text.
    fn until(&mut self, label: &str) {
        let begin = Instant::now();
        while self.harness.query_by_label_contains(label).is_none() {
            assert!(begin.elapsed() < Duration::from_secs(600), "no {label}");
            self.wait(0.02);
        }
    }

    fn wait(&mut self, seconds: f64) {
        let begin = Instant::now();
        while begin.elapsed().as_secs_f64() < seconds {
            std::thread::sleep(Duration::from_millis(10));
            self.harness.step();
        }
    }

    fn page(&mut self, name: &str) {
        self.harness
            .get_by_role_and_label(Role::Button, name)
            .click();
        self.harness.run_steps(3);
    }

    fn click(&mut self, label: &str) {
        self.harness.get_by_label(label).click();
        self.harness.run_steps(3);
    }

    fn fill(&mut self, label: &str, text: &str) {
        self.harness
            .get_by_role_and_label(Role::TextInput, label)
            .focus();
        self.harness.run_steps(2);
        self.harness
            .get_by_role_and_label(Role::TextInput, label)
            .type_text(text);
        self.harness.run_steps(2);
    }

    fn save(&mut self, name: &str) {
        self.harness.run_steps(3);
        let folder = std::env::args_os().nth(1);
        let path = folder
            .map_or_else(|| root().join("docs"), PathBuf::from)
            .join(name);
        self.harness
            .render()
            .expect("a rendered window")
            .save(&path)
            .expect("a writable folder");
        println!("{}", path.display());
    }
}

fn main() {
    let folder = std::env::temp_dir().join("drawings");
    std::fs::create_dir_all(&folder).expect("a writable folder");
    let run = std::env::temp_dir().join("drawings-run");
    let drawings = drawings(&folder);

    let mut shot = Shot::new("emoji", drawings.clone());
    shot.until("tokens in");
    shot.wait(3.0);
    let word = shot.harness.get_all_by_label("face").next();
    if let Some(word) = word {
        word.click();
    }
    shot.save("app-caption.png");

    shot.page("Batch");
    shot.fill("Folder", folder.to_str().expect("a UTF-8 path"));
    shot.harness.key_press(egui::Key::Enter);
    shot.until("pictures captioned");
    shot.wait(1.0);
    shot.click("Caption 10 pictures");
    shot.until("Captioned 10 pictures");
    shot.click("Replace");
    shot.fill("Find", "face");
    shot.fill("Replace with", "head");
    shot.save("app-batch.png");

    shot.page("Train");
    shot.fill("Output", run.to_str().expect("a UTF-8 path"));
    shot.click("Start");
    shot.until("Finished after");
    shot.save("app-train.png");

    let mut shot = Shot::new("emoji-patches", drawings);
    shot.until("tokens in");
    shot.wait(3.0);
    shot.page("Attention");
    shot.until("Contribution of each patch");
    shot.click("Decoder layer 1, head mean");
    shot.save("app-attention.png");
    shot.page("Inspect");
    shot.wait(3.0);
    shot.save("app-inspect.png");
    for folder in [folder, run] {
        std::fs::remove_dir_all(folder).expect("a folder created above");
    }
}
