//! Trainings of several ranks: the result of one process, and the end of all when one is lost.
//!
//! Ranks are threads here, and processes under `mpirun` in `mpi.rs`, which the feature `mpi` adds.

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "mpi")]
mod mpi;

use std::path::Path;

use seemore::Device;
use seemore::graph::Precision;
use seemore::models::Preset;
use seemore::train::{BatchSize, OnNan, Ranks, RunConfig, Schedule, Summary, TrainError, TrainRun};

/// A training of the smallest model in which everything is random that can be.
fn config(out: &Path) -> RunConfig {
    let mut config = RunConfig::default();
    config.model.preset = Preset::Tiny;
    config.model.dropout = Some(0.1);
    config.optimizer.ema = 0.9;
    config.budget.steps = Some(4);
    config.schedule.warmup = 2;
    config.data.train = vec!["data/inputs.csv".into()];
    config.data.validation = vec!["data/inputs_val.csv".into()];
    config.batch.size = BatchSize::Pictures(12);
    config.checkpoint.out = Some(out.to_owned());
    config
}

/// Trains as one of `ranks`.
fn train(config: RunConfig, ranks: &Ranks) -> Result<Summary, TrainError> {
    let device = Device::open(Some("cpu:1"))?;
    let result = TrainRun::among(config, ranks)?.start(&device, &mut ());
    if result.is_ok() {
        ranks.leave()?;
    }
    result
}

/// Trains on `count` ranks, each a thread; returns what each of them returns.
fn train_on(count: usize, config: &RunConfig) -> Vec<Result<Summary, TrainError>> {
    std::thread::scope(|scope| {
        let ranks = Ranks::threads(count).into_iter();
        let threads: Vec<_> = ranks
            .map(|ranks| scope.spawn(move || train(config.clone(), &ranks)))
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.collect()
    })
}

fn model(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("model.safetensors")).unwrap()
}

#[test]
fn ranks_give_the_result_of_accumulation() {
    let dir = tempfile::tempdir().unwrap();
    // with 4 parts, 3 ranks compute two of them while one is idle
    for (count, parts) in [(2, 2), (3, 3), (4, 4), (3, 4)] {
        let mut one = config(&dir.path().join(format!("one-{parts}")));
        one.checkpoint.overwrite = true;
        one.batch.accumulate = parts;
        let alone = train(one.clone(), &Ranks::alone()).unwrap();
        let several = RunConfig {
            checkpoint: config(&dir.path().join(format!("{count}-of-{parts}"))).checkpoint,
            ..one.clone()
        };
        let captions = |summary: &Summary| summary.validation.as_ref().unwrap().captions.clone();
        for summary in train_on(count, &several) {
            let summary = summary.unwrap();
            assert_eq!(summary.loss.to_bits(), alone.loss.to_bits());
            let [here, there] = [&summary, &alone].map(|it| it.validation.as_ref().unwrap().loss);
            assert_eq!(here.to_bits(), there.to_bits());
            assert_eq!(captions(&summary), captions(&alone));
        }
        let [one, several] = [one, several].map(|run| model(&run.checkpoint.out.unwrap()));
        assert!(one == several, "{count} ranks, {parts} parts");
    }
}

#[test]
fn any_number_of_ranks_resumes_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, run] = ["whole", "run"].map(|name| dir.path().join(name));
    let mut uninterrupted = config(&whole);
    uninterrupted.batch.accumulate = 4;
    uninterrupted.budget.steps = Some(8);
    // the learning rate of the others would follow the number of steps
    uninterrupted.schedule.shape = Schedule::Constant;
    train(uninterrupted.clone(), &Ranks::alone()).unwrap();
    for (steps, count) in [(2, 4), (4, 2), (6, 1), (8, 3)] {
        let mut part = match steps {
            2 => uninterrupted.clone(),
            _ => RunConfig::resume(&run).unwrap(),
        };
        part.checkpoint.out = Some(run.clone());
        part.budget.steps = Some(steps);
        for summary in train_on(count, &part) {
            assert_eq!(summary.unwrap().steps, steps);
        }
    }
    assert!(model(&whole) == model(&run));
}

#[test]
fn all_ranks_roll_back_and_give_up_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut diverging = config(&dir.path().join("one"));
    diverging.schedule.learning_rate = 1e30;
    diverging.budget.steps = Some(20);
    diverging.log.every = 1;
    diverging.guard.on_nan = OnNan::Rollback;
    diverging.batch.accumulate = 2;
    let alone = train(diverging.clone(), &Ranks::alone()).unwrap_err();
    diverging.checkpoint.out = Some(dir.path().join("two"));
    let errors = train_on(2, &diverging);
    let errors: Vec<String> = errors
        .into_iter()
        .map(|result| result.unwrap_err().to_string())
        .collect();
    assert!(errors[0].contains("after 5 rollbacks"), "{errors:?}");
    // what rank 0 reports, without what only it knows
    assert!(errors[0].contains(errors[1].trim_end()), "{errors:?}");
    let step = |text: &str| text.split("at step ").nth(1).unwrap().chars().next();
    assert_eq!(step(&errors[0]), step(&alone.to_string()));
}

#[test]
fn half_precision_exchanges_half_the_bytes_and_differs() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, format: Precision| {
        let mut config = config(&dir.path().join(name));
        config.batch.allreduce = format;
        let sent: Vec<(u64, f32)> = std::thread::scope(|scope| {
            let threads: Vec<_> = Ranks::threads(2)
                .into_iter()
                .map(|ranks| {
                    let config = config.clone();
                    scope.spawn(move || {
                        let loss = train(config, &ranks).unwrap().loss;
                        (ranks.traffic().bytes, loss)
                    })
                })
                .collect();
            let results = threads.into_iter().map(|thread| thread.join().unwrap());
            results.collect()
        });
        (sent[0], model(&dir.path().join(name)))
    };
    let ((whole, loss), exact) = run("f32", Precision::F32);
    let ((half, near), rounded) = run("f16", Precision::F16);
    assert!(exact != rounded);
    assert!((loss - near).abs() < 0.01, "{loss} and {near}");
    let ratio = half as f64 / whole as f64;
    assert!((0.5..0.51).contains(&ratio), "{half} of {whole} bytes");
}

#[test]
fn a_batch_that_ranks_cannot_share_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for result in train_on(5, &config(&dir.path().join("run"))) {
        let error = result.unwrap_err().to_string();
        let want = "batch.size is 12, which 5 ranks cannot share equally: give a multiple of 5";
        assert_eq!(error, want);
    }
}
