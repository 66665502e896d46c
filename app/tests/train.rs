//! Training in the window: its page with a worker that the test plays, the real worker, and both together.

mod common;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use common::{click, fill, has, loaded, snapshot};
use cpu_time::ThreadTime;
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use seemore::image::Picture;
use seemore::train::Footprint;
use seemore_app::work::captioning::{self, Job, Settings};
use seemore_app::work::training::{Command, Progress, Shown, Start as Begin, Step};
use seemore_app::worker::{Order, Report, Worker};
use seemore_app::{Start, Window};

const PATIENCE: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn scripted() -> (Harness<'static, Window>, Receiver<Order>, Sender<Report>) {
    let (worker, orders, reports) = Worker::scripted();
    let start = Start {
        pictures: vec![],
        model: Some("models/emoji".into()),
        adapter: None,
    };
    let mut harness = Harness::builder()
        .with_size([1100.0, 760.0])
        .wgpu()
        .build_eframe(|c| Window::with(c, worker, start));
    harness.get_by_role_and_label(Role::Button, "Train").click();
    harness.run_steps(2);
    (harness, orders, reports)
}

fn enabled(harness: &Harness<Window>, label: &str) -> bool {
    !harness
        .get_by_role_and_label(Role::Button, label)
        .accesskit_node()
        .is_disabled()
}

/// The next order to training.
fn command(orders: &Receiver<Order>) -> Option<Command> {
    orders.try_iter().find_map(|order| {
        if let Order::Train(command) = order {
            Some(command)
        } else {
            None
        }
    })
}

fn step(step: u64) -> Progress {
    let share = step as f64 / 200.0;
    Progress::Step(Step {
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

fn ready() -> Progress {
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
    let shown = CAPTIONS.iter().enumerate().map(|(i, caption)| Shown {
        id: format!("val.csv row {}", i + 2),
        caption: (*caption).into(),
        picture: picture(i),
    });
    let footprint = Footprint {
        parameters: 51_600_000,
        optimizer: 154_900_000,
        step: 148_000_000,
        largest: 10_000_000,
        free: Some(3_500_000_000),
    };
    let begin = Begin {
        parameters: 12_907_970,
        tokens: 66,
        pictures: [48, 12],
        step: 0,
        footprint,
        shown: shown.collect(),
    };
    Progress::Ready(Box::new(begin))
}

/// Half right at step 100, all right at step 200.
fn validated(step: u64) -> Progress {
    let right = (step / 25) as usize;
    let written = |(i, caption): (usize, &&str)| {
        if i < right {
            (*caption).to_owned()
        } else {
            ["aaa e", "a an a", "", "a red an"][i % 4].to_owned()
        }
    };
    let written = CAPTIONS.iter().enumerate().map(written).collect();
    Progress::Validated {
        step,
        loss: 3.0 / (1.0 + step as f32 / 20.0),
        exact_match: (right as f64 / 8.0).min(1.0),
        written,
    }
}

#[test]
fn a_training_is_started_paused_stopped_and_resumed() {
    let (mut harness, orders, reports) = scripted();
    let report = |harness: &mut Harness<Window>, progress: Progress| {
        reports.send(Report::Train(progress)).unwrap();
        harness.run_steps(2);
    };
    assert!(has(&harness, "Watch a model learn to speak") && has(&harness, "--preset seemore"));
    assert!(!enabled(&harness, "Pause") && !enabled(&harness, "Stop"));
    click(&mut harness, "Start");
    let Some(Command::Start(words)) = command(&orders) else {
        panic!("no order to train")
    };
    for word in [
        "--data",
        "--val-data",
        "--preset",
        "seemore",
        "--eval-every",
        "20",
    ] {
        assert!(
            words.iter().any(|given| given == word),
            "{word} is not in {words:?}"
        );
    }
    assert!(has(&harness, "preparing") && !enabled(&harness, "Start") && enabled(&harness, "Stop"));

    report(&mut harness, Progress::Preparing("runs/seemore-1".into()));
    report(
        &mut harness,
        Progress::Note("note: one picture was left out".into()),
    );
    report(&mut harness, ready());
    for label in [
        "one picture was left out",
        "12.9 million parameters",
        "48 pictures to train on",
        "runs/seemore-1",
        "354.5 MB of device memory",
    ] {
        assert!(has(&harness, label), "{label}");
    }
    (5..=40)
        .step_by(5)
        .for_each(|number| report(&mut harness, step(number)));
    for label in [
        "training, step 40 of 200, 1 min 20 s left",
        "2346 tokens/s",
        "3.2 GB left",
        "Curves of the loss, training 1.6828",
    ] {
        assert!(has(&harness, label), "{label}");
    }
    assert!(has(&harness, "the first validation is still to come"));
    report(&mut harness, validated(50));
    assert!(has(&harness, "step 50") && has(&harness, "25 % right") && has(&harness, "a an a"));

    click(&mut harness, "Pause");
    assert_eq!(command(&orders), Some(Command::Pause));
    report(&mut harness, Progress::Paused { step: 52 });
    assert!(has(&harness, "paused, step 40"));
    click(&mut harness, "Continue");
    assert_eq!(command(&orders), Some(Command::Continue));
    report(&mut harness, Progress::Continued);
    click(&mut harness, "Stop");
    assert_eq!(command(&orders), Some(Command::Stop));
    report(&mut harness, Progress::Stopping);
    assert!(has(&harness, "saving") && !enabled(&harness, "Stop") && !enabled(&harness, "Pause"));
    report(&mut harness, Progress::Saved { step: 60 });
    report(
        &mut harness,
        Progress::Ended {
            steps: 60,
            elapsed: Duration::from_secs(75),
            interrupted: true,
        },
    );
    assert!(has(&harness, "stopped after 60 steps and 1 min 15 s") && enabled(&harness, "Start"));

    click(&mut harness, "Resume");
    assert_eq!(
        command(&orders),
        Some(Command::Start(vec![
            "--resume".into(),
            "runs/seemore-1".into()
        ]))
    );
    report(&mut harness, Progress::Preparing("runs/seemore-1".into()));
    report(&mut harness, ready());
    assert!(
        has(&harness, "a an a"),
        "what was written before it was stopped is gone"
    );
    report(&mut harness, step(200));
    report(&mut harness, validated(200));
    report(
        &mut harness,
        Progress::Ended {
            steps: 200,
            elapsed: Duration::from_secs(150),
            interrupted: false,
        },
    );
    assert!(
        has(&harness, "done after 200 steps")
            && harness
                .query_by_role_and_label(Role::Button, "Resume")
                .is_none()
    );
    click(&mut harness, "Caption with it");
    let loads = |order: Order| matches!(order, Order::Load { slot: 0, folder } if folder == Path::new("runs/seemore-1"));
    assert!(orders.try_iter().any(loads) && has(&harness, "Drop a picture here"));
}

#[test]
fn what_goes_wrong_is_said_on_the_page() {
    let (mut harness, orders, reports) = scripted();
    picture(&mut harness, "empty");
    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
    harness.run_steps(2);
    assert!(
        matches!(command(&orders), Some(Command::Start(_))),
        "Ctrl+Enter starts nothing"
    );
    reports
        .send(Report::Train(Progress::Failed(
            "--data nothing.csv: no such file".into(),
        )))
        .unwrap();
    harness.run_steps(2);
    assert!(has(&harness, "nothing.csv: no such file") && enabled(&harness, "Start"));
    picture(&mut harness, "failed");
    click(&mut harness, "Caption");
    reports
        .send(Report::Train(Progress::Failed("again".into())))
        .unwrap();
    harness.run_steps(2);
    assert!(
        has(&harness, "The training has failed"),
        "nothing is said on another page"
    );
    click(&mut harness, "Train");

    for name in ["Take out inputs.csv", "Go on"] {
        click(&mut harness, name);
        assert!(!enabled(&harness, "Start"));
    }
    assert!(has(
        &harness,
        "Choose the folder of the training that goes on."
    ));
    fill(&mut harness, "Folder", "runs/mine");
    assert!(has(&harness, "train --resume runs/mine"));
    click(&mut harness, "Start");
    let Some(Command::Start(words)) = command(&orders) else {
        panic!("no order to go on")
    };
    assert_eq!(words[..2], ["--resume", "runs/mine"]);
    reports
        .send(Report::Train(Progress::Failed(
            "runs/mine has no training.json".into(),
        )))
        .unwrap();
    harness.run_steps(2);
    click(&mut harness, "New model");
    assert!(has(&harness, "Choose pictures to train on."));
    click(&mut harness, "Drawings");
    click(&mut harness, "Start");
    reports.send(Report::Train(Progress::Refused)).unwrap();
    harness.run_steps(2);
    assert!(has(&harness, "A training is running already"));
    reports
        .send(Report::Died("the device was lost".into()))
        .unwrap();
    harness.run_steps(2);
    assert!(has(&harness, "The model has stopped"));
}

/// Saves what is seen into the folder that `SEEMORE_PICTURES` names, for people to look at.
fn picture(harness: &mut Harness<Window>, name: &str) -> image::RgbaImage {
    let picture = harness.render().unwrap();
    if let Some(folder) = std::env::var_os("SEEMORE_PICTURES") {
        picture
            .save(PathBuf::from(folder).join(name).with_extension("png"))
            .unwrap();
    }
    picture
}

#[test]
fn the_curves_are_drawn_and_a_logarithm_draws_them_otherwise() {
    let (mut harness, _orders, reports) = scripted();
    reports.send(loaded()).unwrap();
    // the shipped data have other paths on other machines, which the command line would tell
    click(&mut harness, "Like another");
    fill(&mut harness, "Folder", "runs/first");
    click(&mut harness, "Start");
    reports.send(Report::Train(ready())).unwrap();
    harness.run_steps(3);
    (1..=200).for_each(|number| {
        reports.send(Report::Train(step(number))).unwrap();
        if number % 20 == 0 {
            reports.send(Report::Train(validated(number))).unwrap();
        }
    });
    harness.run_steps(4);
    let color = |picture: &image::RgbaImage, [r, g, b]: [u8; 3]| {
        picture.pixels().filter(|p| p.0[..3] == [r, g, b]).count()
    };
    let plain = picture(&mut harness, "training");
    harness.hover_at(egui::pos2(700.0, 700.0));
    snapshot(&mut harness, "train");
    harness.set_size(egui::vec2(1600.0, 1000.0));
    harness.run_steps(3);
    picture(&mut harness, "large");
    harness.set_size(egui::vec2(1100.0, 760.0));
    harness.run_steps(3);
    // training, validation, learning rate
    for rgb in [[66, 140, 214], [226, 118, 40], [60, 160, 105]] {
        assert!(
            color(&plain, rgb) > 100,
            "{rgb:?} is drawn in {} points",
            color(&plain, rgb)
        );
    }
    harness.get_by_label("logarithmic").click();
    harness.run_steps(4);
    assert!(
        plain != picture(&mut harness, "logarithm"),
        "the logarithm changes nothing"
    );
    // the columns stand beside each other
    let left = |label: &str| harness.get_by_label(label).rect().left();
    assert!(
        left("step 160") - left("step 140") > 130.0
            && left("step 160") - left("True caption") > 160.0
    );
    assert!(
        harness.query_by_label("step 200").is_some() && harness.query_by_label("step 20").is_none(),
        "the newest validation is not in sight"
    );
}

#[test]
fn a_long_training_is_drawn_as_fast_as_a_short_one() {
    let (mut harness, _orders, reports) = scripted();
    click(&mut harness, "Start");
    reports.send(Report::Train(ready())).unwrap();
    harness.run_steps(3);
    for number in 1..=20_000 {
        reports.send(Report::Train(step(number % 200))).unwrap();
        if number % 50 == 0 {
            reports.send(Report::Train(validated(number))).unwrap();
        }
    }
    harness.run_steps(4);
    assert!(has(&harness, "step 20000"));
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
fn the_page_fits_a_small_window_in_light_and_dark() {
    for (theme, name) in [(egui::Theme::Light, "light"), (egui::Theme::Dark, "dark")] {
        let (worker, _orders, reports) = Worker::scripted();
        let builder = Harness::builder()
            .with_size([640.0, 480.0])
            .with_pixels_per_point(2.0)
            .with_theme(theme)
            .wgpu();
        let mut harness = builder.build_eframe(|c| Window::with(c, worker, Start::default()));
        click(&mut harness, "Train");
        harness.run_steps(2);
        picture(&mut harness, &format!("small-{name}-empty"));
        click(&mut harness, "Start");
        for progress in [ready(), step(20), validated(20), step(40), validated(40)] {
            reports.send(Report::Train(progress)).unwrap();
        }
        harness.run_steps(4);
        picture(&mut harness, &format!("small-{name}"));
        for label in [
            "Start",
            "Pause",
            "Stop",
            "Copy",
            "Curves of the loss",
            "a penguin",
        ] {
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

/// The real worker with what it has reported.
struct Bench {
    worker: Worker,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            worker: Worker::start(None, || {}),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// A small model on the shipped drawings, with further flags.
    fn words(&self, more: &[&str]) -> Vec<OsString> {
        let data = |name: &str| root().join("data").join(name).into_os_string();
        let mut words: Vec<OsString> = vec![
            "--data".into(),
            data("inputs.csv"),
            "--val-data".into(),
            data("inputs_val.csv"),
        ];
        words.extend(
            [
                "--preset",
                "tiny",
                "--batch-size",
                "4",
                "--log-every",
                "1",
                "--no-autotune",
            ]
            .map(OsString::from),
        );
        words.extend(["--out".into(), self.dir().into_os_string()]);
        words.extend(more.iter().map(OsString::from));
        words
    }

    fn train(&self, command: Command) {
        self.worker.order(Order::Train(command));
    }

    /// Passes over reports until one is what is looked for.
    fn until<T>(&self, what: &str, found: impl Fn(Report) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            match self.worker.report() {
                Some(Report::Died(message)) => panic!("the worker died: {message}"),
                Some(report) => {
                    if let Some(found) = found(report) {
                        return found;
                    }
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
            assert!(start.elapsed() < PATIENCE, "{what} did not come");
        }
    }

    fn progress<T>(&self, what: &str, found: impl Fn(Progress) -> Option<T>) -> T {
        self.until(what, |report| match report {
            Report::Train(progress) => {
                let failed = if let Progress::Failed(message) = &progress {
                    Some(message.clone())
                } else {
                    None
                };
                let found = found(progress);
                assert!(
                    found.is_some() || failed.is_none(),
                    "{what} did not come: {}",
                    failed.unwrap()
                );
                found
            }
            _ => None,
        })
    }

    /// Waits for the step after `after`, or a later one.
    fn step(&self, after: u64) -> u64 {
        self.progress("a step", |progress| {
            if let Progress::Step(step) = progress {
                Some(step.step).filter(|&step| step > after)
            } else {
                None
            }
        })
    }

    fn failure(&self, words: Vec<OsString>) -> String {
        self.train(Command::Start(words));
        self.progress("a failure", |progress| match progress {
            Progress::Failed(message) => Some(message),
            Progress::Ended { .. } => panic!("this training should fail"),
            _ => None,
        })
    }

    fn caption(&self, number: u64) -> String {
        let rgb = (0..64 * 64)
            .flat_map(|i| {
                if (i % 64 - 32i32).pow(2) + (i / 64 - 32i32).pow(2) < 600 {
                    [221, 46, 68]
                } else {
                    [255; 3]
                }
            })
            .collect();
        let picture = Arc::new(Picture {
            width: 64,
            height: 64,
            rgb,
        });
        self.worker.order(Order::Caption(Job {
            number,
            slot: 0,
            picture,
            settings: Settings::default(),
        }));
        let mut text = std::cell::RefCell::new(String::new());
        self.until("a caption", |report| match report {
            Report::Caption {
                progress: captioning::Progress::Token(written),
                ..
            } => {
                text.borrow_mut().push_str(&written.text);
                None
            }
            Report::Caption {
                progress: captioning::Progress::Ended { .. },
                ..
            } => Some(()),
            _ => None,
        });
        text.get_mut().clone()
    }
}

#[test]
fn the_worker_trains_pauses_captions_meanwhile_stops_and_goes_on() {
    let bench = Bench::new();
    bench.worker.order(Order::Load {
        slot: 0,
        folder: root().join("data/checkpoints/emoji"),
    });
    bench.train(Command::Start(bench.words(&[
        "--steps",
        "60",
        "--eval-every",
        "10",
    ])));
    let begin = bench.progress("its begin", |progress| {
        if let Progress::Ready(begin) = progress {
            Some(begin)
        } else {
            None
        }
    });
    assert_eq!(
        (begin.pictures, begin.step, begin.shown.len()),
        ([48, 12], 0, 8)
    );
    assert!(begin.shown.iter().all(|shown| shown.picture.rgb.len()
        == 3 * shown.picture.width.pow(2)
        && !shown.caption.is_empty()));
    bench.step(2);

    bench.train(Command::Pause);
    let paused = bench.progress("the pause", |progress| {
        if let Progress::Paused { step } = progress {
            Some(step)
        } else {
            None
        }
    });
    let before = bench.caption(1);
    assert!(!before.is_empty(), "no caption while it is paused");
    bench.train(Command::Start(bench.words(&[])));
    bench.progress("the refusal", |progress| {
        matches!(progress, Progress::Refused).then_some(())
    });
    std::thread::sleep(Duration::from_millis(500));
    let passed = std::iter::from_fn(|| bench.worker.report())
        .any(|report| matches!(report, Report::Train(Progress::Step(_))));
    assert!(!passed, "a step was made in the pause");

    bench.train(Command::Continue);
    // the step that was paused after is reported now
    assert_eq!(bench.step(0), paused);
    let written = bench.progress("a validation", |progress| {
        if let Progress::Validated { written, .. } = progress {
            Some(written)
        } else {
            None
        }
    });
    assert_eq!(written.len(), 8);
    assert_eq!(
        bench.caption(2),
        before,
        "training changes the loaded model"
    );
    bench.train(Command::Stop);
    let steps = bench.progress("its end", |progress| match progress {
        Progress::Ended {
            steps, interrupted, ..
        } => Some(steps).filter(|_| interrupted),
        _ => None,
    });
    assert!(
        steps > paused && steps < 60 && bench.dir().join("training.json").is_file(),
        "stopped after {steps} steps"
    );

    bench.train(Command::Start(vec![
        "--resume".into(),
        bench.dir().into_os_string(),
    ]));
    let begin = bench.progress("its second begin", |progress| {
        if let Progress::Ready(begin) = progress {
            Some(begin)
        } else {
            None
        }
    });
    assert_eq!(begin.step, steps);
    assert_eq!(bench.step(0), steps + 1);
    let ended = bench.progress("its second end", |progress| match progress {
        Progress::Ended {
            steps, interrupted, ..
        } => Some((steps, interrupted)),
        _ => None,
    });
    assert_eq!(ended, (60, false));
    bench.worker.order(Order::Load {
        slot: 0,
        folder: bench.dir(),
    });
    let loaded = bench.until("the trained model", |report| {
        if let Report::Loaded { loaded, .. } = report {
            Some(loaded)
        } else {
            None
        }
    });
    assert_eq!(loaded.folder, bench.dir());
}

#[test]
fn what_cannot_be_trained_is_named_and_the_worker_goes_on() {
    let bench = Bench::new();
    let message = bench.failure(vec![
        "--data".into(),
        "nothing.csv".into(),
        "--out".into(),
        bench.dir().into_os_string(),
    ]);
    assert!(message.contains("nothing.csv"), "{message}");
    let message = bench.failure(bench.words(&["--sheep", "3"]));
    assert!(message.contains("--sheep"), "{message}");
    let twice = root().join("data/inputs.csv");
    let message = bench.failure(bench.words(&["--val-data", twice.to_str().unwrap()]));
    assert!(message.contains("--allow-overlap"), "{message}");
    let message = bench.failure(bench.words(&[
        "--lr", "1e30", "--clip", "0", "--warmup", "0", "--steps", "30",
    ]));
    assert!(
        message.contains("diverged") && message.contains("--lr"),
        "{message}"
    );
    let message = bench.failure(vec!["--resume".into(), bench.folder.path().into()]);
    assert!(message.contains("cannot resume"), "{message}");

    // the last good state of what diverged was kept, and is not replaced without a word
    let message = bench.failure(bench.words(&["--steps", "3"]));
    assert!(message.contains("already holds a checkpoint"), "{message}");
    bench.train(Command::Start(bench.words(&[
        "--steps",
        "3",
        "--overwrite",
    ])));
    bench.progress("its end", |progress| {
        matches!(progress, Progress::Ended { steps: 3, .. }).then_some(())
    });
}

#[test]
fn a_window_that_is_closed_saves_what_it_trains() {
    let mut bench = Bench::new();
    bench.train(Command::Start(bench.words(&["--steps", "100000"])));
    bench.step(1);
    bench.worker.finish();
    assert!(
        bench.dir().join("training.json").is_file()
            && bench.dir().join("model.safetensors").is_file()
    );
}

/// A window that trains the small model, on the page that shows it.
#[test]
fn the_window_does_not_wait_for_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start {
        pictures: vec![],
        model: Some(root().join("data/checkpoints/emoji")),
        adapter: None,
    };
    let mut harness = Harness::builder()
        .with_size([1100.0, 760.0])
        .wgpu()
        .build_eframe(|c| Window::new(c, start));
    harness.get_by_role_and_label(Role::Button, "Train").click();
    harness.run_steps(2);
    for (label, text) in [
        ("Save into", folder.path().join("run").to_str().unwrap()),
        ("More flags", "--steps 4000 --log-every 1 --no-autotune"),
    ] {
        fill(&mut harness, label, text);
    }
    harness
        .get_by_role_and_label(Role::ComboBox, "Preset")
        .click();
    harness.run_steps(2);
    click(&mut harness, "tiny");
    click(&mut harness, "Start");
    let mut frames: Vec<(Duration, Duration)> = vec![];
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE && frames.len() < 600 {
        let (wall, cpu) = (Instant::now(), ThreadTime::now());
        harness.step();
        let frame = (wall.elapsed(), cpu.elapsed());
        if has(&harness, "tokens/s") {
            frames.push(frame);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(
        frames.len() >= 600,
        "{} frames of training only",
        frames.len()
    );
    picture(&mut harness, "real");
    let mut quantiles = |of: fn(&(Duration, Duration)) -> Duration| {
        frames.sort_by_key(of);
        [frames.len() / 2, frames.len() * 95 / 100, frames.len() - 1]
            .map(|i| of(&frames[i]).as_secs_f64() * 1e3)
    };
    let (wall, cpu) = (quantiles(|frame| frame.0), quantiles(|frame| frame.1));
    println!(
        "frames while training, ms at p50, p95 and the longest: {wall:.2?}; of them at work {cpu:.2?}"
    );
    // what other programs take of the machine is not the window's
    assert!(
        wall[0] < 8.0 && cpu[1] < 8.0,
        "frames take {wall:.2?} ms, of them at work {cpu:.2?}"
    );
    click(&mut harness, "Stop");
    let begin = Instant::now();
    while !has(&harness, "stopped after") {
        assert!(begin.elapsed() < PATIENCE, "it does not stop");
        std::thread::sleep(Duration::from_millis(10));
        harness.step();
    }
    assert!(folder.path().join("run/training.json").is_file());
}
