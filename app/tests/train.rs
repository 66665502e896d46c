//! The Train page with a scripted worker.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Commands, click, command, enabled, fill, has, loaded, render, snapshots, until};
use cpu_time::ThreadTime;
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use seemore::image::{Augment, Picture, Strength};
use seemore::models::Preset;
use seemore::text::TokenKind;
use seemore::train::{Footprint, Tuned};
use seemore_app::worker::{
    Event, EventSender, LoadModel, Overrides, RunRequest, Sample, Step, TrainCommand, TrainEvent,
    TrainInfo, Validation, WorkerHandle,
};
use seemore_app::{StartOptions, Window};

/// Opens the Train page of a window whose worker is scripted.
fn scripted() -> (Harness<'static, Window>, Commands, EventSender) {
    let (mut harness, commands, events) = common::scripted(vec![]);
    click(&mut harness, "Train");
    (harness, commands, events)
}

fn step(step: u64) -> TrainEvent {
    let share = step as f64 / 200.0;
    TrainEvent::Step(Step {
        step,
        steps: Some(200),
        loss: (0.2 + 3.3 * (-4.0 * share).exp()) as f32,
        learning_rate: 5e-4 * (1.0 + (std::f64::consts::PI * share).cos()),
        tokens_per_s: 2345.6,
        elapsed: Duration::from_secs(step / 2),
        left: Duration::from_secs(100 - step / 2),
        free: Some(3_200_000_000),
    })
}

const CAPTIONS: [&str; 8] = [
    "a red apple",
    "a penguin",
    "an automobile",
    "a slice of pizza",
    "a cat face",
    "a tulip",
    "a guitar",
    "a very long caption of a house with a garden",
];

fn ready() -> TrainEvent {
    ready_at(0)
}

/// Returns the event that a training is about to go on after a step.
fn ready_at(step: u64) -> TrainEvent {
    let picture = |i: usize| {
        let color = [
            [214, 40, 57],
            [30, 60, 90],
            [220, 60, 40],
            [240, 180, 70],
            [250, 200, 60],
            [230, 90, 150],
            [150, 80, 40],
            [120, 180, 90],
        ][i];
        Picture {
            width: 8,
            height: 8,
            rgb: color.repeat(64),
        }
    };
    let samples = CAPTIONS.iter().enumerate().map(|(i, caption)| Sample {
        id: format!("val.csv row {}", i + 2),
        caption: (*caption).into(),
        picture: Some(picture(i)),
    });
    let footprint = Footprint {
        parameters: 51_600_000,
        optimizer: 154_900_000,
        step: 148_000_000,
        largest: 10_000_000,
        free: Some(3_500_000_000),
    };
    let info = TrainInfo {
        parameters: 12_907_970,
        vocab_size: 66,
        pictures: [48, 12],
        step,
        footprint,
        samples: samples.collect(),
    };
    TrainEvent::Ready(Box::new(info))
}

/// Returns a validation: half of the captions are correct at step 100, all at step 200.
fn validated(step: u64) -> TrainEvent {
    let correct = (step / 25) as usize;
    let caption = |(i, caption): (usize, &&str)| {
        if i < correct {
            (*caption).to_owned()
        } else {
            ["aaa e", "a an a", "", "a red an"][i % 4].to_owned()
        }
    };
    let captions = CAPTIONS.iter().enumerate().map(caption).collect();
    TrainEvent::Validated(Validation {
        step,
        loss: 3.0 / (1.0 + step as f32 / 20.0),
        exact_match: (correct as f64 / 8.0).min(1.0),
        captions,
    })
}

#[test]
fn training_is_started_paused_stopped_and_resumed() {
    let (mut harness, commands, events) = scripted();
    let report = |harness: &mut Harness<Window>, event: TrainEvent| {
        events.send(Event::Train(event));
        harness.run_steps(2);
    };
    assert!(has(&harness, "Train a model") && has(&harness, "Run file"));
    assert!(!enabled(&harness, "Pause") && !enabled(&harness, "Stop"));
    click(&mut harness, "Start");
    let Some(TrainCommand::Start(RunRequest::New(config))) = command(&commands) else {
        panic!("no command to start")
    };
    assert_eq!(config.model.preset, Preset::Seemore);
    assert_eq!(config.validation.every, 20);
    assert!(config.data.train[0].ends_with("inputs.csv"));
    assert!(config.data.validation[0].ends_with("inputs_val.csv"));
    assert!(has(&harness, "Preparing") && !enabled(&harness, "Start") && enabled(&harness, "Stop"));

    report(&mut harness, TrainEvent::Preparing("runs/seemore-1".into()));
    report(
        &mut harness,
        TrainEvent::Note("note: one picture was left out".into()),
    );
    report(&mut harness, ready());
    for label in [
        "one picture was left out",
        "12.9 million parameters",
        "48 training and 12 validation pictures",
        "runs/seemore-1",
        "354.5 MB of device memory",
    ] {
        assert!(has(&harness, label), "{label}");
    }
    (5..=40)
        .step_by(5)
        .for_each(|number| report(&mut harness, step(number)));
    for label in [
        "Training, step 40 of 200, 1 min 20 s left",
        "2346 tokens/s",
        "3.2 GB free",
        "Loss curves, training 1.6828",
    ] {
        assert!(has(&harness, label), "{label}");
    }
    assert!(has(&harness, "the first validation has not run"));
    report(&mut harness, validated(50));
    assert!(has(&harness, "Step 50") && has(&harness, "25 % correct") && has(&harness, "a an a"));

    click(&mut harness, "Pause");
    assert_eq!(command(&commands), Some(TrainCommand::Pause));
    report(&mut harness, TrainEvent::Paused { step: 52 });
    assert!(has(&harness, "Paused, step 40"));
    click(&mut harness, "Continue");
    assert_eq!(command(&commands), Some(TrainCommand::Continue));
    report(&mut harness, TrainEvent::Continued);
    click(&mut harness, "Stop");
    assert_eq!(command(&commands), Some(TrainCommand::Stop));
    report(&mut harness, TrainEvent::Stopping);
    assert!(has(&harness, "Saving") && !enabled(&harness, "Stop") && !enabled(&harness, "Pause"));
    report(&mut harness, TrainEvent::Saved { step: 60 });
    report(
        &mut harness,
        TrainEvent::Ended {
            steps: 60,
            elapsed: Duration::from_secs(75),
            interrupted: true,
        },
    );
    assert!(has(&harness, "Stopped after 60 steps and 1 min 15 s") && enabled(&harness, "Start"));

    click(&mut harness, "Resume run");
    assert_eq!(
        command(&commands),
        Some(TrainCommand::Start(RunRequest::Resume {
            folder: "runs/seemore-1".into(),
            overrides: Overrides::default(),
        }))
    );
    report(&mut harness, TrainEvent::Preparing("runs/seemore-1".into()));
    report(&mut harness, ready_at(60));
    assert!(
        has(&harness, "a an a"),
        "the captions before the stop are gone"
    );
    report(&mut harness, step(200));
    report(&mut harness, validated(200));
    report(
        &mut harness,
        TrainEvent::Ended {
            steps: 200,
            elapsed: Duration::from_secs(150),
            interrupted: false,
        },
    );
    assert!(has(&harness, "Finished after 200 steps") && !enabled(&harness, "Resume run"));
    let _: Option<LoadModel> = command(&commands);
    click(&mut harness, "Use this model");
    let LoadModel { slot, folder } = command(&commands).unwrap();
    assert_eq!((slot, &*folder), (0, Path::new("runs/seemore-1")));
    assert!(has(&harness, "Drop a picture here"));
}

#[test]
fn failures_are_shown_on_the_page() {
    let (mut harness, commands, events) = scripted();
    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
    harness.run_steps(2);
    assert!(
        matches!(command(&commands), Some(TrainCommand::Start(_))),
        "Ctrl+Enter starts nothing"
    );
    events.send(Event::Train(TrainEvent::Failed(
        "nothing.csv: no such file".into(),
    )));
    harness.run_steps(2);
    assert!(has(&harness, "nothing.csv: no such file") && enabled(&harness, "Start"));
    click(&mut harness, "Caption");
    events.send(Event::Train(TrainEvent::Failed("again".into())));
    harness.run_steps(2);
    assert!(
        has(&harness, "The training has failed"),
        "other pages do not mention the failure"
    );
    click(&mut harness, "Train");

    for name in ["Remove inputs.csv", "Resume"] {
        click(&mut harness, name);
        assert!(!enabled(&harness, "Start"));
    }
    assert!(has(
        &harness,
        "Choose the folder of the training to resume."
    ));
    fill(&mut harness, "Folder", "runs/mine");
    click(&mut harness, "Start");
    let Some(TrainCommand::Start(request)) = command(&commands) else {
        panic!("no command to resume")
    };
    assert_eq!(request.resumes(), Some(&"runs/mine".into()));
    events.send(Event::Train(TrainEvent::Failed(
        "runs/mine has no training.json".into(),
    )));
    harness.run_steps(2);
    click(&mut harness, "New model");
    assert!(has(&harness, "Add training pictures."));
    click(&mut harness, "Drawings");
    click(&mut harness, "Start");
    events.send(Event::Train(TrainEvent::Busy));
    harness.run_steps(2);
    assert!(has(&harness, "A training is already running"));
    events.send(Event::Stopped("the device was lost".into()));
    harness.run_steps(2);
    assert!(has(&harness, "The worker has stopped"));
}

#[test]
fn fields_edit_the_run_configuration() {
    let (mut harness, commands, _events) = scripted();
    for (list, choice) in [("Preset", "emoji"), ("Augmentation", "strong")] {
        harness.get_by_role_and_label(Role::ComboBox, list).click();
        harness.run_steps(3);
        // the model at the top has the same name as a preset
        let choices = harness.get_all_by_role_and_label(Role::Button, choice);
        choices.last().unwrap().click();
        harness.run_steps(3);
    }
    click(&mut harness, "Epochs");
    fill(&mut harness, "Output", "runs/mine");
    assert!(has(&harness, "epochs = 20.0") && has(&harness, "preset = \"emoji\""));
    click(&mut harness, "Start");
    let Some(TrainCommand::Start(RunRequest::New(config))) = command(&commands) else {
        panic!("no command to start")
    };
    assert_eq!(config.model.preset, Preset::Emoji);
    // the preset needs words and classes
    assert_eq!(config.tokenizer.kind, TokenKind::Words);
    assert_eq!(config.loss.classes, 1.0);
    assert_eq!(config.augment, Augment::from(Strength::Strong));
    assert_eq!(config.budget.epochs, Some(20.0));
    assert_eq!(config.checkpoint.out, Some("runs/mine".into()));
}

#[test]
fn curves_are_drawn_on_linear_and_logarithmic_axes() {
    let (mut harness, _commands, events) = scripted();
    events.send(loaded());
    // the paths of the shipped data, which the run file shows, differ between machines
    click(&mut harness, "Copy settings");
    fill(&mut harness, "Folder", "runs/first");
    click(&mut harness, "Start");
    events.send(Event::Train(ready()));
    harness.run_steps(3);
    (1..=200).for_each(|number| {
        events.send(Event::Train(step(number)));
        if number % 20 == 0 {
            events.send(Event::Train(validated(number)));
        }
    });
    harness.run_steps(4);
    let color = |picture: &image::RgbaImage, [r, g, b]: [u8; 3]| {
        picture.pixels().filter(|p| p.0[..3] == [r, g, b]).count()
    };
    let plain = render(&mut harness);
    harness.hover_at(egui::pos2(700.0, 700.0));
    snapshots(&mut harness, "train");
    // training, validation, learning rate
    for rgb in [[66, 140, 214], [226, 118, 40], [60, 160, 105]] {
        assert!(
            color(&plain, rgb) > 100,
            "{rgb:?} is drawn in {} points",
            color(&plain, rgb)
        );
    }
    harness.get_by_label("Logarithmic").click();
    harness.run_steps(4);
    assert!(
        plain != render(&mut harness),
        "the logarithmic axis changes nothing"
    );
    // the columns are side by side
    let left = |label: &str| harness.get_by_label(label).rect().left();
    assert!(
        left("Step 200") - left("Step 180") > 130.0
            && left("Step 180") - left("True caption") > 160.0
    );
    assert!(
        harness.query_by_label("Step 200").is_some() && harness.query_by_label("Step 20").is_none(),
        "the newest validation is not visible"
    );
}

/// Writes what a training that ended at a step leaves in its run folder.
fn run_folder(folder: &Path, done: f64, loss: f64) {
    std::fs::create_dir_all(folder.join("states")).unwrap();
    let progress = format!(
        "{{\"step\": 60, \"seconds\": 9.0, \"config\": {{}}, \"data\": 1, \"best\": null, \"done\": {done}}}"
    );
    std::fs::write(folder.join("training.json"), progress).unwrap();
    let rows: String = (1..=60)
        .map(|step| format!("{step},0.1,{},0.001,\n", loss / step as f64))
        .collect();
    let metrics = format!("step,seconds,loss,learning_rate,val_loss\n{rows}");
    std::fs::write(folder.join("metrics.csv"), metrics).unwrap();
}

#[test]
fn interrupted_runs_are_offered_and_their_curves_overlaid() {
    let dir = tempfile::tempdir().unwrap();
    let (stopped, whole) = (dir.path().join("stopped"), dir.path().join("whole"));
    run_folder(&stopped, 0.3, 3.0);
    run_folder(&whole, 1.0, 2.0);
    let (mut harness, commands, events) = scripted();
    // the page remembers folders that trainings have used
    for folder in [&stopped, &whole] {
        events.send(Event::Train(TrainEvent::Preparing(folder.clone())));
    }
    events.send(Event::Train(TrainEvent::Failed(
        "the worker was restarted".into(),
    )));
    until(&mut harness, "offer", |harness| {
        has(harness, "stopped was interrupted at step 60")
    });
    assert!(has(&harness, "Runs (2)") && !has(&harness, "whole was interrupted"));
    let violet = |harness: &mut Harness<Window>| {
        let picture = render(harness);
        picture
            .pixels()
            .filter(|pixel| pixel.0[..3] == [150, 110, 200])
            .count()
    };
    let before = violet(&mut harness);
    harness
        .get_by_role_and_label(Role::CheckBox, "whole")
        .click();
    harness.run_steps(4);
    assert!(
        violet(&mut harness) > before + 50,
        "no curve of the other run"
    );
    click(&mut harness, "Resume stopped");
    let Some(TrainCommand::Start(request)) = command(&commands) else {
        panic!("no command to resume")
    };
    assert_eq!(request.resumes(), Some(&stopped));
    // the curve begins where the session before began it
    events.send(Event::Train(TrainEvent::Preparing(stopped.clone())));
    events.send(Event::Train(ready_at(60)));
    harness.run_steps(3);
    assert!(has(&harness, "Loss curves, training 0.0500"));
    harness.run_steps(3);
    assert!(!has(&harness, "was interrupted"));
}

#[test]
fn refused_training_keeps_the_curves_before() {
    let (mut harness, _commands, events) = scripted();
    click(&mut harness, "Start");
    for event in [
        TrainEvent::Preparing("runs/seemore-1".into()),
        ready(),
        step(40),
        validated(40),
        TrainEvent::Ended {
            steps: 40,
            elapsed: Duration::from_secs(3),
            interrupted: false,
        },
    ] {
        events.send(Event::Train(event));
    }
    harness.run_steps(3);
    assert!(has(&harness, "Loss curves, training 1.6828"));
    click(&mut harness, "Start");
    events.send(Event::Train(TrainEvent::Preparing("runs/seemore-2".into())));
    events.send(Event::Train(TrainEvent::Failed(
        "the folder is missing".into(),
    )));
    harness.run_steps(3);
    assert!(
        has(&harness, "the folder is missing")
            && has(&harness, "Loss curves, training 1.6828")
            && has(&harness, "Step 40"),
        "a refused training erased the curves"
    );
}

#[test]
fn fine_tuning_checks_the_data_first() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = dir.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    let picture = common::disc(&pictures);
    std::fs::write(pictures.join("disc.txt"), "a red disc").unwrap();
    std::fs::copy(&picture, pictures.join("other.png")).unwrap();
    let (mut harness, commands, _events) = scripted();
    click(&mut harness, "Fine-tune");
    assert!(has(&harness, "Choose the model to fine-tune.") && !enabled(&harness, "Check data"));
    fill(&mut harness, "Model", "smolvlm-256m");
    assert!(has(&harness, "Add training pictures."));
    common::drop_file(&mut harness, &pictures);
    harness.run_steps(3);
    assert!(!enabled(&harness, "Start") && has(&harness, "Check the data first."));
    click(&mut harness, "Check data");
    until(&mut harness, "report", |harness| {
        has(harness, "1 picture, 1 caption")
    });
    assert!(has(&harness, "1 row cannot be used:") && has(&harness, "other.png"));
    assert!(has(&harness, "Samples of the data"));
    harness
        .get_by_role_and_label(Role::CheckBox, "LoRA adapters")
        .click();
    harness.run_steps(3);
    fill(&mut harness, "Question", "What is it?");
    harness.hover_at(egui::pos2(1000.0, 5.0));
    click(&mut harness, "Start");
    let Some(TrainCommand::Start(RunRequest::New(config))) = command(&commands) else {
        panic!("no command to start")
    };
    assert_eq!(config.model.base, Some("smolvlm-256m".into()));
    assert_eq!(config.data.train, [pictures]);
    assert_eq!(config.tune.parts, [Tuned::Lora]);
    assert_eq!(config.tune.prompt.as_deref(), Some("What is it?"));
    assert!(config.check().is_ok(), "{:?}", config.check());
}

#[test]
fn long_trainings_are_drawn_fast() {
    let (mut harness, _commands, events) = scripted();
    click(&mut harness, "Start");
    events.send(Event::Train(ready()));
    harness.run_steps(3);
    for number in 1..=20_000 {
        events.send(Event::Train(step(number % 200)));
        if number % 50 == 0 {
            events.send(Event::Train(validated(number)));
        }
    }
    harness.run_steps(4);
    assert!(has(&harness, "Step 20000"));
    let mut frames: Vec<Duration> = (0..50)
        .map(|_| {
            let frame = ThreadTime::now();
            harness.step();
            frame.elapsed()
        })
        .collect();
    frames.sort();
    assert!(
        frames[47] < Duration::from_millis(8),
        "frames of 20,000 steps and 400 validations take {frames:?}"
    );
    println!(
        "frames of a long training: {:?} and {:?} at p50 and p95",
        frames[25], frames[47]
    );
}

#[test]
fn page_fits_a_small_window_in_both_themes() {
    for theme in [egui::Theme::Light, egui::Theme::Dark] {
        let (worker, _commands, events) = WorkerHandle::scripted();
        let builder = Harness::builder()
            .with_size([640.0, 480.0])
            .with_pixels_per_point(2.0)
            .with_theme(theme)
            .wgpu();
        let mut harness =
            builder.build_eframe(|c| Window::with(c, worker, StartOptions::default()));
        click(&mut harness, "Train");
        harness.run_steps(2);
        click(&mut harness, "Start");
        for event in [ready(), step(20), validated(20), step(40), validated(40)] {
            events.send(Event::Train(event));
        }
        harness.run_steps(4);
        for label in ["Start", "Pause", "Stop", "Copy", "Loss curves", "a penguin"] {
            let rect = harness
                .query_all_by_label_contains(label)
                .next()
                .unwrap_or_else(|| panic!("no {label}"))
                .rect();
            assert!(
                rect.left() >= 0.0 && rect.right() <= 640.0,
                "{label} lies at {rect}"
            );
        }
    }
}
