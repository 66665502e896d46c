//! Renders the screenshots in `docs/`, without a screen.
//!
//! Run it with `cargo run --release -p seemore-app --example screenshots`. An argument names
//! another output folder. `pngquant 256 --ext .png --force docs/app-*.png` makes the files small.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use egui::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use seemore_app::{StartOptions, Window};

/// Size of the window, in points.
const SIZE: [f32; 2] = [1100.0, 760.0];

/// Returns the folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Copies the photographs that come with the repository, since captions are kept beside pictures.
fn photographs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("data/photographs"));
    let mut copies: Vec<PathBuf> = entries
        .expect("the photographs")
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|it| it == "jpg"))
        .map(|entry| {
            let copy = folder.join(entry.file_name());
            std::fs::copy(entry.path(), &copy).expect("a writable folder");
            copy
        })
        .collect();
    copies.sort();
    copies
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
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = temporary.path().join("photographs");
    std::fs::create_dir(&folder).expect("a writable folder");
    let run = temporary.path().join("drawings-run");
    let mut photographs = photographs(&folder);
    // the one that is shown comes last, since the last one is selected
    photographs.sort_by_key(|path| path.ends_with("coffee.jpg"));

    let mut shot = Shot::new("photo", photographs);
    shot.until("10 pictures");
    shot.until("cup of coffee");
    while shot.harness.query_by_label("Stop all").is_some() {
        shot.wait(0.2);
    }
    let word = shot.harness.get_all_by_label("coffee").next();
    word.expect("the caption's word").click();
    shot.save("app-caption.png");

    shot.page("Attention");
    shot.until("Contribution of each patch");
    shot.click("Decoder layer 17, head mean");
    shot.save("app-attention.png");
    shot.page("Inspect");
    shot.until("dispatches");
    shot.click("Time, \u{b5}s");
    shot.save("app-inspect.png");

    shot.page("Batch");
    shot.fill("Folder", folder.to_str().expect("a UTF-8 path"));
    shot.harness.key_press(egui::Key::Enter);
    shot.until("pictures captioned");
    shot.wait(1.0);
    shot.click("Caption 10 pictures");
    shot.until("Captioned 10 pictures");
    // its words differ between processors, which round differently
    let cat = shot.harness.get_by_label_contains("cat.jpg: ");
    cat.click();
    shot.harness.run_steps(3);
    shot.click("Replace");
    shot.fill("Find", "an animal");
    shot.fill("Replace with", "a wild animal");
    shot.save("app-batch.png");

    let mut shot = Shot::new("emoji", vec![]);
    shot.page("Train");
    shot.fill("Output", run.to_str().expect("a UTF-8 path"));
    shot.click("Start");
    shot.until("Finished after");
    shot.save("app-train.png");
}
