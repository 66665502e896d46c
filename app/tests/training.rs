//! Training with the real worker, alone and in the window.

mod common;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::root;
use seemore::caption::Cancel;
use seemore::image::{Augment, Picture};
use seemore::models::Preset;
use seemore::train::{BatchSize, FeatureStore, RunConfig};
use seemore_app::GenerationSettings;
use seemore_app::pictures::PictureSource;
use seemore_app::worker::{
    CaptionEvent, CaptionJob, CaptionProgress, Command, Event, LoadModel, Overrides, RunRequest,
    Step, TrainCommand, TrainEvent, TrainInfo, WorkerHandle, WorkerOptions,
};

/// Maximum time to wait for an event.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The real worker and a folder for its run.
struct Fixture {
    worker: WorkerHandle,
    folder: tempfile::TempDir,
}

/// Waits for the worker: a process that ends while a thread still frees its device can crash in the
/// driver, whose own code is unloaded meanwhile.
impl Drop for Fixture {
    fn drop(&mut self) {
        self.worker.finish();
    }
}

impl Fixture {
    fn new() -> Fixture {
        Fixture {
            worker: WorkerHandle::start(WorkerOptions::default(), || {}),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// Returns a configuration that trains a small model on the shipped drawings.
    fn config(&self) -> RunConfig {
        let mut config = RunConfig::default();
        config.data.train = vec![root().join("data/inputs.csv")];
        config.data.validation = vec![root().join("data/inputs_val.csv")];
        config.model.preset = Preset::Tiny;
        config.batch.size = BatchSize::Pictures(4);
        config.log.every = 1;
        config.checkpoint.out = Some(self.dir());
        config
    }

    /// Starts a training with a changed configuration.
    fn start(&self, change: impl FnOnce(&mut RunConfig)) {
        let mut config = self.config();
        change(&mut config);
        self.train(TrainCommand::Start(RunRequest::New(Box::new(config))));
    }

    /// Resumes the training in a folder.
    fn resume(&self, folder: &Path) {
        self.train(TrainCommand::Start(RunRequest::Resume {
            folder: folder.to_owned(),
            overrides: Overrides::default(),
        }));
    }

    fn load(&self, folder: PathBuf) {
        let model = LoadModel { slot: 0, folder };
        self.worker.send(Command::LoadModel(model));
    }

    fn train(&self, command: TrainCommand) {
        self.worker.send(Command::Train(command));
    }

    /// Waits until `found` accepts an event, and drops those before it.
    fn until<T>(&self, what: &str, found: impl Fn(Event) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            match self.worker.poll() {
                Some(Event::Stopped(message)) => panic!("the worker has stopped: {message}"),
                Some(event) => {
                    if let Some(found) = found(event) {
                        return found;
                    }
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
            assert!(start.elapsed() < TIMEOUT, "no {what}");
        }
    }

    /// Waits until `found` accepts an event of the training.
    fn progress<T>(&self, what: &str, found: impl Fn(TrainEvent) -> Option<T>) -> T {
        self.until(what, |event| {
            let Event::Train(event) = event else {
                return None;
            };
            let failure = match &event {
                TrainEvent::Failed(message) => message.clone(),
                _ => String::new(),
            };
            let found = found(event);
            assert!(
                found.is_some() || failure.is_empty(),
                "no {what}: {failure}"
            );
            found
        })
    }

    /// Waits until the first step is about to run.
    fn ready(&self) -> Box<TrainInfo> {
        self.progress("start", |event| match event {
            TrainEvent::Ready(info) => Some(info),
            _ => None,
        })
    }

    /// Waits for the end; returns the number of steps and whether the training was stopped early.
    fn ended(&self) -> (u64, bool) {
        self.progress("end", |event| match event {
            TrainEvent::Ended {
                steps, interrupted, ..
            } => Some((steps, interrupted)),
            _ => None,
        })
    }

    /// Waits for a step after `after`.
    fn step(&self, after: u64) -> u64 {
        self.progress("step", |event| match event {
            TrainEvent::Step(Step { step, .. }) => Some(step).filter(|&step| step > after),
            _ => None,
        })
    }

    /// Waits until the training fails; returns the message.
    fn failure(&self) -> String {
        self.progress("failure", |event| match event {
            TrainEvent::Failed(message) => Some(message),
            TrainEvent::Ended { .. } => panic!("this training should fail"),
            _ => None,
        })
    }

    /// Captions a red disc.
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
        let picture = Picture {
            width: 64,
            height: 64,
            rgb,
        };
        self.worker.send(Command::Caption(CaptionJob {
            number,
            slot: 0,
            source: Arc::new(PictureSource::memory("drawing".into(), picture)),
            history: vec![],
            prompt: String::new(),
            settings: GenerationSettings::default(),
            cancel: Cancel::new(),
        }));
        let text = RefCell::new(String::new());
        self.until("caption", |event| {
            let Event::Caption(CaptionEvent { progress, .. }) = event else {
                return None;
            };
            match progress {
                CaptionProgress::Token(token) => text.borrow_mut().push_str(&token.text),
                CaptionProgress::Finished { .. } => return Some(()),
                _ => {}
            }
            None
        });
        text.into_inner()
    }
}

#[test]
fn training_pauses_captions_stops_and_resumes() {
    let fixture = Fixture::new();
    fixture.load(root().join("data/checkpoints/emoji"));
    fixture.start(|config| {
        config.budget.steps = Some(60);
        config.validation.every = 10;
    });
    let info = fixture.ready();
    assert_eq!(
        (info.pictures, info.step, info.samples.len()),
        ([48, 12], 0, 8)
    );
    assert!(info.samples.iter().all(|sample| {
        let picture = sample.picture.as_ref().unwrap();
        picture.rgb.len() == 3 * picture.width.pow(2) && !sample.caption.is_empty()
    }));
    fixture.step(2);

    fixture.train(TrainCommand::Pause);
    let paused = fixture.progress("pause", |event| match event {
        TrainEvent::Paused { step } => Some(step),
        _ => None,
    });
    let before = fixture.caption(1);
    assert!(!before.is_empty(), "no caption during the pause");
    fixture.start(|_| {});
    fixture.progress("refusal", |event| {
        matches!(event, TrainEvent::Busy).then_some(())
    });
    std::thread::sleep(Duration::from_millis(500));
    let passed = std::iter::from_fn(|| fixture.worker.poll())
        .any(|event| matches!(event, Event::Train(TrainEvent::Step(_))));
    assert!(!passed, "a step ran during the pause");

    fixture.train(TrainCommand::Continue);
    // the step before the pause is reported now
    assert_eq!(fixture.step(0), paused);
    let captions = fixture.progress("validation", |event| match event {
        TrainEvent::Validated(validation) => Some(validation.captions),
        _ => None,
    });
    assert_eq!(captions.len(), 8);
    assert_eq!(
        fixture.caption(2),
        before,
        "training changed the loaded model"
    );
    fixture.train(TrainCommand::Stop);
    let (steps, interrupted) = fixture.ended();
    assert!(
        interrupted
            && steps > paused
            && steps < 60
            && fixture.dir().join("training.json").is_file(),
        "stopped after {steps} steps"
    );

    fixture.resume(&fixture.dir());
    assert_eq!(fixture.ready().step, steps);
    assert_eq!(fixture.step(0), steps + 1);
    assert_eq!(fixture.ended(), (60, false));
    fixture.load(fixture.dir());
    let loaded = fixture.until("trained model", |event| match event {
        Event::ModelLoaded { model, .. } => Some(model),
        _ => None,
    });
    assert_eq!(loaded.folder, fixture.dir());
}

#[test]
fn failed_trainings_name_the_reason_and_the_worker_continues() {
    let fixture = Fixture::new();
    fixture.start(|config| config.data.train = vec!["nothing.csv".into()]);
    let message = fixture.failure();
    assert!(message.contains("nothing.csv"), "{message}");
    fixture.start(|config| config.batch.accumulate = 3);
    let message = fixture.failure();
    assert!(
        message.starts_with("Gradient accumulation is 3, which does not divide"),
        "{message}"
    );
    fixture.start(|config| config.data.validation = config.data.train.clone());
    let message = fixture.failure();
    assert!(message.contains("Skip duplicates across sets"), "{message}");
    fixture.start(|config| {
        config.schedule.learning_rate = 1e30;
        config.schedule.warmup = 0;
        config.optimizer.clip = 0.0;
        config.budget.steps = Some(30);
    });
    let message = fixture.failure();
    assert!(
        message.contains("diverged") && message.contains("Lower Learning rate"),
        "{message}"
    );
    fixture.resume(fixture.folder.path());
    let message = fixture.failure();
    assert!(message.contains("cannot resume"), "{message}");

    // the last good state of the diverged training was saved and is not overwritten
    fixture.start(|config| config.budget.steps = Some(3));
    let message = fixture.failure();
    assert!(
        message.contains("already holds a checkpoint") && message.contains("turn on Overwrite"),
        "{message}"
    );
    fixture.start(|config| {
        config.budget.steps = Some(3);
        config.checkpoint.overwrite = true;
    });
    assert_eq!(fixture.ended(), (3, false));
}

#[test]
fn refused_training_leaves_no_run_folder() {
    let fixture = Fixture::new();
    let folders = || -> Vec<PathBuf> {
        let found = std::fs::read_dir("runs").into_iter().flatten().flatten();
        found.map(|entry| entry.path()).collect()
    };
    let before = folders();
    fixture.start(|config| {
        config.checkpoint.out = None;
        config.data.train = vec!["nothing.csv".into()];
    });
    fixture.failure();
    assert_eq!(folders(), before);
}

#[test]
fn pretrained_model_is_tuned_and_resumed() {
    let fixture = Fixture::new();
    fixture.start(|config| {
        config.model.base = Some(root().join("tests/golden/hf/smolvlm_tiny"));
        config.augment = Augment::none();
        config.budget.steps = Some(6);
        config.validation.every = 2;
        config.tune.features = FeatureStore::Off;
        config.batch.size = BatchSize::Pictures(2);
    });
    assert!(!fixture.ready().samples.is_empty());
    let captions = fixture.progress("validation", |event| match event {
        TrainEvent::Validated(validation) => Some(validation.captions),
        _ => None,
    });
    assert_eq!(captions.len(), 8);
    fixture.train(TrainCommand::Stop);
    let (steps, interrupted) = fixture.ended();
    assert!(interrupted && fixture.dir().join("base.json").is_file());
    fixture.resume(&fixture.dir());
    assert_eq!(fixture.ready().step, steps);
    assert_eq!(fixture.ended(), (6, false));
    // the window draws the curves of both parts in a later session
    let metrics = std::fs::read_to_string(fixture.dir().join("metrics.csv")).unwrap();
    let rows: Vec<&str> = metrics.lines().skip(1).collect();
    assert!(rows[0].starts_with("1,") && rows.iter().any(|row| row.starts_with("6,")));
}

#[test]
fn closing_the_window_saves_the_training() {
    let mut fixture = Fixture::new();
    fixture.start(|config| config.budget.steps = Some(100_000));
    fixture.step(1);
    fixture.worker.finish();
    assert!(
        fixture.dir().join("training.json").is_file()
            && fixture.dir().join("model.safetensors").is_file()
    );
}
