use clap::{CommandFactory, Parser};

use super::*;
use crate::models::Preset;
use crate::train::BatchSize;

#[derive(Parser, Debug)]
#[command(name = "train")]
struct Train {
    #[command(flatten)]
    args: TrainArgs,
}

fn config(words: &[&str]) -> anyhow::Result<RunConfig> {
    Train::try_parse_from([&["train"], words].concat())?
        .args
        .config()
}

#[test]
fn no_flag_means_the_default_configuration() {
    assert_eq!(config(&[]).unwrap(), RunConfig::default());
    Train::command().debug_assert();
}

#[test]
fn flags_change_their_settings() {
    let config = config(&[
        "--preset",
        "tiny",
        "--batch",
        "auto",
        "--lr",
        "0.5",
        "--max-time",
        "2m",
        "--freeze",
        "encoder,decoder",
        "--no-augment",
        "--data",
        "a.csv",
        "b.csv,c.csv",
        "--keep",
        "3",
    ])
    .unwrap();
    assert_eq!(config.model.preset, Preset::Tiny);
    assert_eq!(config.batch.size, BatchSize::Auto);
    assert_eq!(config.schedule.learning_rate, 0.5);
    assert_eq!(config.budget.seconds, Some(120.0));
    assert_eq!(config.model.freeze.len(), 2);
    assert_eq!(config.augment, crate::image::Augment::none());
    assert_eq!(config.data.train.len(), 3);
    assert_eq!(config.checkpoint.keep, 3);
}

#[test]
fn flags_override_a_file_and_limits_replace_its_limits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.toml");
    std::fs::write(
        &path,
        "seed = 3\n[budget]\nsteps = 9\n[schedule]\nwarmup = 4\n",
    )
    .unwrap();
    let path = path.to_str().unwrap();
    let read = config(&[path, "--seed", "5"]).unwrap();
    assert_eq!(
        (read.seed, read.schedule.warmup, read.budget.steps),
        (5, 4, Some(9))
    );
    let timed = config(&[path, "--max-time", "3"]).unwrap();
    assert_eq!(
        (timed.budget.steps, timed.budget.seconds),
        (None, Some(3.0))
    );
}

#[test]
fn every_setting_has_a_flag_that_names_it() {
    let json = serde_json::to_value(RunConfig::default()).unwrap();
    for flag in flags::flags() {
        // optional settings are null and named all the same
        let found = flag
            .field
            .split('.')
            .try_fold(&json, |value, part| value.get(part));
        assert!(found.is_some(), "{} changes {}", flag.name(), flag.field);
        assert!(flag_of(flag.field).is_some(), "{} has no flag", flag.field);
    }
}

#[test]
fn flags_that_need_others_say_so() {
    for (words, needed) in [
        (vec!["--patience", "2"], "--eval-every"),
        (vec!["--load-parts", "decoder"], "--load"),
        (vec!["--track-every", "2"], "--track"),
    ] {
        let error = config(&words).unwrap_err();
        let usage = error.downcast_ref::<clap::Error>().expect("a usage error");
        assert_eq!(usage.exit_code(), 2);
        assert!(error.to_string().contains(needed), "{error}");
    }
}

#[test]
fn help_fits_two_screens_and_help_all_shows_every_flag() {
    let mut command = Train::command();
    let (short, long) = (
        command.render_help().to_string(),
        command.render_long_help().to_string(),
    );
    let lines = short.lines().count();
    assert!(lines <= 80, "{lines} lines\n{short}");
    for flag in flags::flags() {
        let name = format!("--{}", flag.name());
        assert!(long.contains(&name), "{name} is not in --help-all");
    }
    assert!(!short.contains("--beta2") && short.contains("--preset"));
}
