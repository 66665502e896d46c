//! Observers of a run.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use seemore::models::Preset;
use seemore::progress::{Progress, Silent};
use seemore::train::{BatchSize, Event, Note, Observer, ObserverError, Ready, RunConfig, TrainRun};

use super::device;

/// Pauses after the second step, and ends the training after the fourth.
#[derive(Default)]
struct Pauses {
    heard: Vec<String>,
}

const PAUSE: Duration = Duration::from_secs(1);

impl Observer for Pauses {
    fn note(&mut self, note: &Note) {
        self.heard.push(note.to_string());
    }

    fn reading(&mut self, files: &[PathBuf]) -> Box<dyn Progress> {
        self.heard.push(format!("reading {}", files[0].display()));
        Box::new(Silent)
    }

    fn ready(&mut self, ready: &Ready) -> Result<(), ObserverError> {
        let validation = ready
            .validation
            .map_or(0, |validation| validation.samples.len());
        self.heard.push(format!(
            "{} and {validation} pictures",
            ready.train.samples.len()
        ));
        Ok(())
    }

    fn on(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Submitted { step: 2 } => std::thread::sleep(PAUSE),
            Event::Submitted { step: 4 } => return ControlFlow::Break(()),
            Event::Step { step, .. } => self.heard.push(format!("step {step}")),
            Event::Validating { step, done, of } => {
                self.heard.push(format!("{done} of {of} at step {step}"));
                return ControlFlow::Break(());
            }
            Event::Saved { step, .. } => self.heard.push(format!("saved {step}")),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// A run of the preset `tiny` into `out`.
fn tiny_run(out: &Path) -> RunConfig {
    let mut config = RunConfig::default();
    config.model.preset = Preset::Tiny;
    config.batch.size = BatchSize::Pictures(4);
    config.budget.steps = Some(9);
    config.checkpoint.out = Some(out.to_owned());
    config
}

#[test]
fn an_observer_hears_everything_pauses_and_stops_training() {
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("run");
    let mut config = tiny_run(&dir);
    config.log.every = 2;
    let run = TrainRun::new(config).unwrap();
    assert_eq!(run.out(), dir);
    let (mut observer, start) = (Pauses::default(), Instant::now());
    let summary = run.start(&device(), &mut observer).unwrap();
    assert!(summary.interrupted && summary.steps == 4, "{summary:?}");
    // holds however long a step takes: the pause is no training time
    assert!(summary.elapsed + PAUSE <= start.elapsed(), "{summary:?}");
    let heard = [
        "reading data/inputs.csv",
        "reading data/inputs_val.csv",
        "note: 9 steps do not reach the peak learning rate: the warm-up takes 10",
        "48 and 12 pictures",
        "step 1",
        "step 2",
        "step 4",
        "saved 4",
    ];
    assert_eq!(observer.heard, heard);
    // the run folder describes the run
    let stored = RunConfig::load(&dir.join("run.toml")).unwrap();
    assert_eq!(stored.budget.steps, Some(9));
    assert_eq!(stored, RunConfig::resume(&dir).unwrap().stored());
}

#[test]
fn an_observer_ends_a_validation_between_its_batches() {
    let out = tempfile::tempdir().unwrap();
    let mut config = tiny_run(&out.path().join("run"));
    config.data.train = vec!["data/inputs_val.csv".into()];
    config.data.validation = vec!["data/inputs.csv".into()];
    config.validation.every = 1;
    let mut observer = Pauses::default();
    let summary = TrainRun::new(config)
        .unwrap()
        .start(&device(), &mut observer)
        .unwrap();
    assert!(
        summary.interrupted && summary.steps == 1 && summary.validation.is_none(),
        "{summary:?}"
    );
    assert_eq!(
        observer.heard[observer.heard.len() - 3..],
        ["step 1", "16 of 48 at step 1", "saved 1"]
    );
}

/// Collects the steps of validations.
#[derive(Default)]
struct Validations(Vec<u64>);

impl Observer for Validations {
    fn on(&mut self, event: Event) -> ControlFlow<()> {
        if let Event::Validated { step, .. } = event {
            self.0.push(step);
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn patience_ends_the_training_after_one_validation_of_its_last_step() {
    let out = tempfile::tempdir().unwrap();
    let mut config = tiny_run(&out.path().join("run"));
    config.budget.steps = Some(40);
    // too high to learn
    config.schedule.learning_rate = 0.3;
    config.schedule.warmup = 1;
    config.validation.every = 1;
    config.validation.patience = Some(2);
    let mut observer = Validations::default();
    let summary = TrainRun::new(config)
        .unwrap()
        .start(&device(), &mut observer)
        .unwrap();
    assert!(!summary.interrupted && summary.steps < 40, "{summary:?}");
    let best = summary.best.expect("a best validation");
    assert_eq!(best.step + 2, summary.steps);
    assert_eq!(observer.0, (1..=summary.steps).collect::<Vec<u64>>());
}
