//! The window around the pages: opening pictures, models, keys and dialogs.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::{click, disc, drop_file, fill, has, loaded, real_with, scripted, until, wait_for};
use egui::accesskit::Role;
use egui::{Color32, ColorImage, Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use seemore_app::Window;
use seemore_app::worker::{BatchJob, Event, LoadModel, TrainCommand};

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
        has(harness, "broken.png")
            && has(harness, "gone.png")
            && has(harness, "Loading the model...")
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
        ("empty.png", "the file is empty"),
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
        has(harness, "Loading the model...")
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

/// Steps until the only picture is on screen.
fn opened(harness: &mut Harness<Window>, name: &str) {
    until(harness, "picture", |harness| {
        has(harness, "1 picture") && has(harness, name)
    });
}

#[test]
fn pasted_pictures_and_files_are_opened() {
    let (mut harness, _commands, _events) = scripted(vec![]);
    let image = ColorImage::filled([8, 8], Color32::RED);
    harness.event(egui::Event::PasteImage(Arc::new(image)));
    opened(&mut harness, "Pasted picture");
    let folder = tempfile::tempdir().unwrap();
    let address = format!("file://{}", disc(folder.path()).display());
    harness.event(egui::Event::Paste(address));
    until(&mut harness, "second picture", |harness| {
        has(harness, "2 pictures") && has(harness, "disc.png")
    });
}

#[test]
fn buttons_ask_for_a_path_where_the_system_has_no_dialog() {
    let folder = tempfile::tempdir().unwrap();
    let path = disc(folder.path());
    let (mut harness, _commands, _events) = scripted(vec![]);
    click(&mut harness, "Open...");
    until(&mut harness, "dialog", |harness| {
        has(harness, "This system has no file dialog")
    });
    // other dialogs do not open above it
    harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    harness.run_steps(3);
    assert!(!has(&harness, "Show the Batch page"));
    // the field has the focus
    harness.event(egui::Event::Text(path.to_str().unwrap().into()));
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    opened(&mut harness, "disc.png");
    assert!(!has(&harness, "This system has no file dialog"));
    // a cancelled dialog opens nothing
    click(&mut harness, "Folder...");
    until(&mut harness, "dialog", |harness| {
        has(harness, "Folder path")
    });
    click(&mut harness, "Cancel");
    assert!(!has(&harness, "Folder path") && has(&harness, "1 picture"));
}

#[test]
fn paths_are_completed() {
    let folder = tempfile::tempdir().unwrap();
    disc(folder.path());
    let (mut harness, _commands, _events) = scripted(vec![]);
    let typed = folder.path().join("di").display().to_string();
    fill(&mut harness, "Path", &typed);
    until(&mut harness, "proposal", |harness| {
        harness.query_by_label("disc.png").is_some()
    });
    harness.key_press(Key::Tab);
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    opened(&mut harness, "disc.png");
}

#[test]
fn a_folder_opened_on_another_page_stays_there() {
    let folder = tempfile::tempdir().unwrap();
    disc(folder.path());
    let (mut harness, _commands, _events) = scripted(vec![]);
    click(&mut harness, "Batch");
    let path = folder.path().display().to_string();
    fill(&mut harness, "Path", &path);
    harness.key_press(Key::Enter);
    until(&mut harness, "folder", |harness| has(harness, "disc.png"));
    assert!(has(&harness, "Caption 1 picture"), "the Batch page is left");
}

#[test]
fn commands_are_found_by_name() {
    let (mut harness, commands, _events) = scripted(vec![]);
    let _: LoadModel = wait_for(&commands);
    search(&mut harness, "show batch");
    assert!(has(&harness, "Show the Batch page") && !has(&harness, "Show the Train page"));
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(!has(&harness, "Show the Batch page") && !has(&harness, "Drop a picture here"));
    search(&mut harness, "nothing of the kind");
    assert!(has(&harness, "No matches"));
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    assert!(!has(&harness, "No matches"));
}

/// Frames can be slow while a model computes, and keys then arrive together.
#[test]
fn commands_typed_within_one_frame_are_taken() {
    let key = |key, modifiers| egui::Event::Key {
        key,
        physical_key: None,
        pressed: true,
        repeat: false,
        modifiers,
    };
    let (mut harness, commands, _events) = scripted(vec![]);
    let _: LoadModel = wait_for(&commands);
    let typed = egui::Event::Text("show bat".into());
    let rest = egui::Event::Text("ch".into());
    let opening = key(Key::K, Modifiers::COMMAND);
    harness.input_mut().events.extend([opening, typed]);
    harness.step();
    let enter = key(Key::Enter, Modifiers::NONE);
    harness.input_mut().events.extend([rest, enter]);
    harness.step();
    harness.run_steps(3);
    assert!(!has(&harness, "Show the Batch page") && !has(&harness, "Drop a picture here"));
}

/// Opens the palette and types a part of a command's name.
fn search(harness: &mut Harness<Window>, name: &str) {
    harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    harness.run_steps(3);
    harness
        .get_by_role_and_label(Role::TextInput, "Command")
        .type_text(name);
    harness.run_steps(2);
}

/// Takes a command of the palette.
fn take(harness: &mut Harness<Window>, name: &str) {
    search(harness, name);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
}

#[test]
fn pages_list_their_actions_as_commands() {
    let folder = tempfile::tempdir().unwrap();
    disc(folder.path());
    let (mut harness, commands, events) = scripted(vec![]);
    events.send(loaded());
    take(&mut harness, "show the batch page");
    drop_file(&mut harness, folder.path());
    until(&mut harness, "folder", |harness| has(harness, "1 of 1"));
    take(&mut harness, "find and replace");
    assert!(has(&harness, "Replaces in the filtered captions."));
    take(&mut harness, "caption the chosen pictures");
    let job: BatchJob = wait_for(&commands);
    assert_eq!(job.pictures.len(), 1);
    take(&mut harness, "stop captioning");
    assert!(has(&harness, "Caption the remaining 1"));

    take(&mut harness, "show the train page");
    take(&mut harness, "fine-tune");
    assert!(has(&harness, "Choose the model to fine-tune."));
    take(&mut harness, "train a new model");
    take(&mut harness, "start the training");
    let _: TrainCommand = wait_for(&commands);
    take(&mut harness, "stop the training");
    assert_eq!(wait_for::<TrainCommand>(&commands), TrainCommand::Stop);
}

#[test]
fn captions_are_replaced_and_saved_by_commands() {
    let folder = tempfile::tempdir().unwrap();
    disc(folder.path());
    std::fs::write(folder.path().join("disc.txt"), "a red disc").unwrap();
    let (mut harness, _commands, _events) = scripted(vec![]);
    take(&mut harness, "show the batch page");
    drop_file(&mut harness, folder.path());
    until(&mut harness, "folder", |harness| has(harness, "1 of 1"));
    take(&mut harness, "find and replace");
    for text in ["red", "blue"] {
        harness.event(egui::Event::Text(text.into()));
        harness.run_steps(2);
        harness.key_press(Key::Tab);
        harness.run_steps(2);
    }
    take(&mut harness, "make the previewed replacements");
    take(&mut harness, "save captions: json lines");
    let saved = folder.path().join("captions.jsonl");
    until(&mut harness, "file", |_| saved.is_file());
    take(&mut harness, "import or export");
    until(&mut harness, "message", |harness| {
        has(harness, "Saved 1 caption")
    });
    let text = std::fs::read_to_string(saved).unwrap();
    assert!(text.contains("a blue disc"), "{text}");
}

#[test]
fn models_are_chosen_by_name_and_path() {
    let (mut harness, commands, events) = scripted(vec![]);
    let _: LoadModel = wait_for(&commands);
    events.send(Event::Checkpoints(vec!["runs/mine".into()]));
    events.send(loaded());
    harness.run_steps(3);
    assert!(
        has(&harness, "emoji: knows drawings"),
        "the chip says what it is good for"
    );
    harness.key_press_modifiers(Modifiers::COMMAND, Key::L);
    harness.run_steps(3);
    for label in ["Get a model", "516 MB, Apache-2.0"] {
        assert!(has(&harness, label), "{label}");
    }
    click(&mut harness, "mine");
    let LoadModel { slot, folder } = wait_for(&commands);
    assert_eq!((slot, folder), (0, PathBuf::from("runs/mine")));
    assert!(!has(&harness, "Get a model"), "the dialog closes");
    harness.get_by_label("Compare with...").click();
    harness.run_steps(3);
    fill(&mut harness, "Model path", "smolvlm-256m");
    click(&mut harness, "Load");
    let LoadModel { slot, folder } = wait_for(&commands);
    assert_eq!((slot, folder), (1, PathBuf::from("smolvlm-256m")));
}

#[test]
fn models_that_are_not_here_are_explained() {
    let mut harness = real_with("smolvlm-no-such-model".into(), vec![]);
    until(&mut harness, "message", |harness| {
        has(harness, "smolvlm-no-such-model") && has(harness, "Choose one under Model.")
    });
}

/// Returns the names of the widgets that Tab moves the focus to, in order.
fn tab_order(harness: &mut Harness<Window>, count: usize) -> Vec<String> {
    let mut names = vec![];
    for _ in 0..count {
        harness.key_press(Key::Tab);
        harness.run_steps(1);
        let root = harness.root();
        let focused = root.children_recursive().find(|node| node.is_focused());
        if let Some(name) = focused.and_then(|node| node.accesskit_node().label()) {
            names.push(name);
        }
    }
    names
}

#[test]
fn tab_moves_through_pages_then_the_bar_then_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, _commands, events) = scripted(vec![disc(folder.path())]);
    events.send(loaded());
    opened(&mut harness, "disc.png");
    let order = tab_order(&mut harness, 40);
    let expected = [
        "Caption",
        "Attention",
        "Path",
        "Open...",
        "Folder...",
        "Paste",
        "Regenerate",
    ];
    let places = expected.map(|name| order.iter().position(|it| it == name));
    assert!(
        places.iter().all(Option::is_some),
        "{places:?} in {order:?}"
    );
    assert!(places.is_sorted(), "{order:?}");
}

#[test]
fn another_device_can_be_chosen() {
    let mut harness = common::real(vec![]);
    until(&mut harness, "model", |harness| {
        has(harness, "knows drawings")
    });
    take(&mut harness, "run on: cpu");
    until(&mut harness, "the model on the other device", |harness| {
        has(harness, "knows drawings") && !has(harness, "Opening the device...")
    });
    let device = seemore::device::Device::open(Some("cpu")).unwrap();
    assert!(has(&harness, &device.adapter()));
}
