//! Helpers of the Batch page's tests.

use std::path::{Path, PathBuf};

use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use seemore_app::Window;
use seemore_app::worker::{BatchEvent, BatchJob, Event, EventSender, WrittenCaption};

use super::{Commands, click, disc, fill, has, loaded, scripted, until};

/// Presses Enter.
pub fn enter(harness: &mut Harness<Window>) {
    harness.key_press(Key::Enter);
    harness.run_steps(3);
}

/// Returns the label of a picture's row, which holds its caption.
pub fn row(harness: &Harness<Window>, name: &str) -> String {
    let start = format!("{name}: ");
    harness
        .query_all_by_label_contains(&start)
        .filter_map(|node| node.accesskit_node().label())
        .find(|label| label.starts_with(&start))
        .unwrap_or_else(|| panic!("{name} is not in the list"))
}

/// Returns the caption of a picture in the list.
pub fn caption(harness: &Harness<Window>, name: &str) -> String {
    match &row(harness, name)[name.len() + 2..] {
        "No caption" => String::new(),
        caption => caption.to_owned(),
    }
}

/// Whether a picture is in the visible part of the list.
pub fn is_listed(harness: &Harness<Window>, name: &str) -> bool {
    has(harness, &format!("{name}: "))
}

/// Makes a picture the current one.
pub fn choose(harness: &mut Harness<Window>, name: &str) {
    let label = row(harness, name);
    harness.get_by_label(&label).click();
    harness.run_steps(3);
}

/// Replaces the text in the editor.
pub fn write(harness: &mut Harness<Window>, text: &str) {
    let editor = |harness: &Harness<Window>| {
        harness
            .get_by_role_and_label(Role::MultilineTextInput, "Caption")
            .focus()
    };
    editor(harness);
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.run_steps(1);
    harness
        .get_by_role_and_label(Role::MultilineTextInput, "Caption")
        .type_text(text);
    harness.run_steps(2);
}

/// Writes a caption for a picture.
pub fn edit(harness: &mut Harness<Window>, name: &str, text: &str) {
    choose(harness, name);
    write(harness, text);
}

/// Shows a tab of the tools.
pub fn tab(harness: &mut Harness<Window>, name: &str) {
    // the window has a button of the same name at its top for some
    lowest(harness, name);
}

/// Clicks the lowest of the widgets with a label.
pub fn lowest(harness: &mut Harness<Window>, label: &str) {
    let nodes: Vec<_> = harness.query_all_by_label(label).collect();
    let lowest = nodes
        .iter()
        .max_by(|a, b| a.rect().top().total_cmp(&b.rect().top()));
    lowest.expect("the widget").click();
    harness.run_steps(3);
}

/// Returns a folder with `count` pictures, `00.png` and so on.
pub fn folder(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let first = disc(folder.path());
    for i in 0..count {
        std::fs::copy(&first, folder.path().join(format!("{i:02}.png"))).unwrap();
    }
    std::fs::remove_file(first).unwrap();
    folder
}

/// Opens a folder on the Batch page.
pub fn open(harness: &mut Harness<Window>, folder: &Path) {
    click(harness, "Batch");
    fill(harness, "Folder", folder.to_str().unwrap());
    enter(harness);
    until(harness, "folder", |harness| {
        has(harness, "pictures captioned")
    });
    harness.run_steps(3);
}

/// Opens a folder in a window whose worker is scripted.
pub fn with(folder: &Path) -> (Harness<'static, Window>, Commands, EventSender) {
    let (mut harness, commands, events) = scripted(vec![]);
    events.send(loaded());
    open(&mut harness, folder);
    (harness, commands, events)
}

/// Answers a job with the caption `caption NAME` and a confidence for each picture.
pub fn answer_with(
    harness: &mut Harness<Window>,
    events: &EventSender,
    job: &BatchJob,
    confidence: impl Fn(usize) -> f32,
) {
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let captions = job
        .pictures
        .iter()
        .map(|(number, path)| {
            let caption = WrittenCaption {
                text: format!("caption {}", name(path)),
                confidence: confidence(*number),
            };
            (*number, Ok(caption))
        })
        .collect();
    events.send(Event::Batch(BatchEvent {
        run: job.run,
        captions: Ok(captions),
    }));
    harness.run_steps(3);
}

/// Answers a job with sure captions.
pub fn answer(harness: &mut Harness<Window>, events: &EventSender, job: &BatchJob) {
    answer_with(harness, events, job, |_| 0.9);
}

/// Chooses a format on the Export tab.
pub fn save_as(harness: &mut Harness<Window>, format: &str) {
    harness
        .get_by_role_and_label(Role::ComboBox, "Save as")
        .click();
    harness.run_steps(3);
    click(harness, format);
}
