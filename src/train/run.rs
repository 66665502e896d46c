//! Assembles a training from its configuration: data, tokenizer, model, trainer, trackers.

mod init;
mod lock;
mod read;
mod tune;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch_search::largest_batch;
use super::config::{BatchSize, RunConfig};
use super::tracking::Tracked;
use super::trainer::Setup;
use super::{Concepts, Note, Observer, Ranks, Ready, State, Summary, Text, TrainError, Trainer};
use crate::data::Dataset;
use crate::device::Device;
use crate::graph::Always;
use crate::models::{Model, ModelConfig, Overrides, checkpoint};
use crate::text::Tokenizer;
use crate::track::{self, End, Names, Target};
pub use lock::FolderLock;
pub(super) use read::{Listings, listings, report};

/// A training that can be started.
///
/// ```no_run
/// use seemore::device::Device;
/// use seemore::models::Preset;
/// use seemore::train::{RunConfig, TrainRun};
///
/// let mut config = RunConfig::default();
/// config.model.preset = Preset::Tiny;
/// config.data.train = vec!["pictures".into()];
/// let device = Device::open(None)?;
/// let summary = TrainRun::new(config)?.start(&device, &mut ())?;
/// println!("{} steps", summary.steps);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TrainRun {
    config: RunConfig,
    out: PathBuf,
    /// Whether the run folder was made for this run.
    made: bool,
    ranks: Ranks,
}

impl TrainRun {
    /// Checks what can be checked without data and device, and makes the run folder if it is a
    /// numbered one.
    ///
    /// # Errors
    /// A setting out of range, or a run folder that cannot be used.
    pub fn new(config: RunConfig) -> Result<TrainRun, TrainError> {
        TrainRun::among(config, &Ranks::alone())
    }

    /// Like [`new`](Self::new), for a training that all of `ranks` take part in, with the same
    /// configuration. Rank 0 reports and saves.
    ///
    /// # Errors
    /// As [`new`](Self::new); a configuration that differs between ranks, or a rank that is lost.
    pub fn among(mut config: RunConfig, ranks: &Ranks) -> Result<TrainRun, TrainError> {
        config.check()?;
        config.data.resolve()?;
        ranks.check_configuration(&config)?;
        let (out, made) = match ranks.is_first() {
            true => out_folder(&config)?,
            false => (PathBuf::new(), false),
        };
        let out = ranks.text_of_first(&out.to_string_lossy())?.into();
        Ok(TrainRun {
            config,
            out,
            made,
            ranks: ranks.clone(),
        })
    }

    /// The run folder.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Adds a tracker, for example one with a file in the run folder.
    pub fn track(&mut self, target: Target) {
        let targets = &mut self.config.tracking.targets;
        if !targets.contains(&target) {
            targets.push(target);
        }
    }

    /// The configuration, with the data that it means named.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Reads the data, makes the model or loads it, trains it, and reports to `observer` and the
    /// configured trackers.
    ///
    /// Kernel variants are chosen as `device` chooses them.
    ///
    /// # Errors
    /// Data, files, settings or a device that cannot be used; a training that diverged.
    pub fn start(
        &self,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Summary, TrainError> {
        if !self.ranks.is_first() {
            return self.train(device, observer);
        }
        let made = self.made || !self.out.exists();
        checkpoint::make_folder(&self.out)?;
        let lock = FolderLock::acquire(&self.out)?;
        // another training may have ended there since the first check
        check_free(&self.config)?;
        let result = self.follow(device, observer);
        drop(lock);
        if made && result.is_err() {
            // stays if it holds anything
            let _ = std::fs::remove_dir(&self.out);
        }
        result
    }

    /// Trains and reports to the trackers.
    fn follow(&self, device: &Device, observer: &mut dyn Observer) -> Result<Summary, TrainError> {
        let tracking = &self.config.tracking;
        if tracking.targets.is_empty() {
            return self.train(device, observer);
        }
        let names = Names {
            experiment: tracking.experiment.clone(),
            run: tracking.run.clone(),
        };
        let checkpoint = &self.config.checkpoint;
        let trackers = track::trackers(
            &tracking.targets,
            &names,
            &self.out,
            checkpoint.resume.is_some(),
            checkpoint.overwrite,
        )?;
        let mut tracked = Tracked::new(observer, trackers, tracking.every);
        let result = self.train(device, &mut tracked);
        let end = match &result {
            Ok(summary) if summary.interrupted => End::Stopped,
            Ok(_) => End::Finished,
            Err(_) => End::Failed,
        };
        for notice in tracked.end(end, &self.out) {
            observer.note(&Note::Tracker(notice));
        }
        result
    }

    fn train(&self, device: &Device, observer: &mut dyn Observer) -> Result<Summary, TrainError> {
        if let Some(base) = &self.config.model.base {
            return self.tune(base, device, observer);
        }
        let mut config = self.config.clone();
        let resumed = match &config.checkpoint.resume {
            Some(dir) => Some((dir.clone(), State::newest(dir)?)),
            None => None,
        };
        if let Some((dir, state)) = &resumed
            && !config.continues(&state.progress.config)
        {
            return Err(TrainError::differs(dir));
        }
        // the folder that model sizes and tokens come from
        let from = resumed.as_ref().map(|(dir, _)| dir.as_path());
        let mut model = self.model_config(from)?;
        let (train, validation) =
            read::data(&config, model.info().preprocess, &self.ranks, observer)?;
        let tokenizer = match from {
            Some(dir) => Tokenizer::load(&dir.join("tokenizer.json"))?,
            None => read::tokenizer(&config.tokenizer, &train, observer)?,
        };
        if resumed.is_none() {
            let classified = config.loss.classes > 0.0;
            model.apply(&Overrides {
                vocab_size: Some(vocab_size(&tokenizer)),
                classes: classified.then(|| Concepts::new(&train).len()),
                ..Overrides::default()
            })?;
        }
        let sizes = model;
        let model = Model::new(device, &sizes, config.seed)?;
        let (train, validation) = fitting(
            &config,
            train,
            validation,
            model.room(),
            &tokenizer,
            observer,
        )?;
        let setup = Setup {
            device,
            model: &model,
            tokenizer: &tokenizer,
            train: &train,
            validation: validation.as_ref(),
            tuning: None,
            ranks: &self.ranks,
        };
        settle_batch(setup, &mut config, observer)?;
        if let (Some(dir), None) = (&config.init.load, &resumed) {
            init::load(dir, &config.init.parts, &model, observer)?;
        }
        self.train_loaded(setup, &config, &sizes, resumed, observer)
    }

    /// Trains from the state to resume, if any, once everything is loaded.
    fn train_loaded(
        &self,
        setup: Setup,
        config: &RunConfig,
        sizes: &ModelConfig,
        resumed: Option<(PathBuf, State)>,
        observer: &mut dyn Observer,
    ) -> Result<Summary, TrainError> {
        let out = self.ranks.is_first().then(|| self.out.clone());
        let mut trainer = Trainer::new(setup, config.clone(), out)?;
        let limit = trainer.limits().steps;
        let warmup = config.schedule.warmup;
        if let Some(steps) = limit.filter(|&steps| steps <= warmup) {
            observer.note(&Note::ShortOfWarmup { steps, warmup });
        }
        if let Some((dir, state)) = resumed {
            trainer.resume(state)?;
            let steps = trainer.step();
            if limit.is_some_and(|limit| limit <= steps) {
                return Err(TrainError::AlreadyTrained { dir, steps });
            }
        }
        trainer.check_start()?;
        let ready = Ready {
            parameters: setup.model.parameter_count(),
            tokens: setup.tokenizer.vocab_size(),
            train: setup.train,
            validation: setup.validation,
            step: trainer.step(),
            config,
            model: sizes,
            out: &self.out,
            adapter: setup.device.adapter(),
            footprint: trainer.footprint(),
        };
        observer.ready(&ready).map_err(TrainError::Observer)?;
        trainer.run(observer)
    }

    /// The sizes of the model, from the resumed folder, a file or the preset.
    fn model_config(&self, resumed: Option<&Path>) -> Result<ModelConfig, TrainError> {
        let model = &self.config.model;
        let file = resumed.map(|dir| dir.join("config.json"));
        let mut config = match file.as_ref().or(model.file.as_ref()) {
            Some(path) => ModelConfig::load_trainable(path)?,
            None => model.preset.config(),
        };
        config.apply(&Overrides {
            dropout: model.dropout.filter(|_| resumed.is_none()),
            ..Overrides::default()
        })?;
        Ok(config)
    }
}

/// Sets a batch size that is to be found by trying to the largest that fits.
fn settle_batch(
    setup: Setup,
    config: &mut RunConfig,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    share_batch(setup.ranks, config, observer)?;
    if config.batch.size == BatchSize::Auto {
        // what is only measured is not worth tuning for
        let untuned = setup.device.choosing(Arc::new(Always("")));
        let setup = Setup {
            device: &untuned,
            validation: None,
            ..setup
        };
        let pictures = largest_batch(setup, config, observer)?;
        // what fits all ranks
        let all = setup.ranks.gather(vec![pictures as u32])?;
        let all = all.iter().flatten().map(|&pictures| pictures as usize);
        let pictures = all.min().unwrap_or(pictures);
        config.batch.size = BatchSize::Pictures(pictures);
    }
    Ok(())
}

/// Makes a batch of at least as many parts as there are ranks.
fn share_batch(
    ranks: &Ranks,
    config: &mut RunConfig,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    if !ranks.are_several() {
        return Ok(());
    }
    let ranks = ranks.size();
    let batch = &mut config.batch;
    batch.accumulate = batch.accumulate.max(ranks);
    if let BatchSize::Pictures(pictures) = batch.size
        && !pictures.is_multiple_of(batch.accumulate)
    {
        let reason = format!(
            "is {pictures}, which {ranks} ranks cannot share equally: give a multiple of {ranks}"
        );
        return Err(TrainError::setting("batch.size", reason));
    }
    observer.note(&Note::Ranks {
        ranks,
        parts: batch.accumulate,
        format: batch.allreduce,
    });
    Ok(())
}

/// Leaves out captions that are longer than the model's context.
fn fitting(
    config: &RunConfig,
    train: Dataset,
    validation: Option<Dataset>,
    room: usize,
    tokenizer: &Tokenizer,
    observer: &mut dyn Observer,
) -> Result<(Dataset, Option<Dataset>), TrainError> {
    let length = |caption: &str| Text::new(tokenizer, caption).len();
    let mut fit = |data: Dataset| -> Result<Dataset, TrainError> {
        let (data, problems) = data.without_long_captions(room, length);
        read::report(&config.data, problems, data.samples.len(), observer)?;
        Ok(data)
    };
    let mut train = fit(train)?;
    train.mark_variants();
    if train.samples.is_empty() {
        return Err(TrainError::Nothing("no caption is left to train on".into()));
    }
    let validation = validation.map(fit).transpose()?;
    Ok((
        train,
        validation.filter(|validation| !validation.samples.is_empty()),
    ))
}

/// Tokens that the model distinguishes: those of the tokenizer, of words and byte pairs rounded up
/// to a multiple of 64, which makes the products with the vocabulary faster. The tokens beyond the
/// tokenizer's are never targets.
fn vocab_size(tokenizer: &Tokenizer) -> usize {
    match tokenizer {
        Tokenizer::Characters(_) => tokenizer.vocab_size(),
        _ => tokenizer.vocab_size().next_multiple_of(64),
    }
}

/// Fails if the run folder that is named holds a checkpoint that must not be replaced.
fn check_free(config: &RunConfig) -> Result<(), TrainError> {
    let checkpoint = &config.checkpoint;
    // tuning replaces what describes another model
    let described = ["adapter_model.safetensors", "config.json", "base.json"];
    let described = described.iter().filter(|_| config.model.base.is_some());
    let mut files = described.chain(&["model.safetensors"]);
    match &checkpoint.out {
        Some(out)
            if !checkpoint.overwrite
                && checkpoint.resume.as_ref() != Some(out)
                && files.any(|name| out.join(name).exists()) =>
        {
            Err(TrainError::OutputExists(out.clone()))
        }
        _ => Ok(()),
    }
}

/// The run folder, and whether it was made; never one that another training uses or that holds a
/// checkpoint, unless that may be replaced.
fn out_folder(config: &RunConfig) -> Result<(PathBuf, bool), TrainError> {
    let checkpoint = &config.checkpoint;
    match (&checkpoint.out, &checkpoint.resume) {
        (None, Some(resume)) => {
            FolderLock::probe(resume)?;
            Ok((resume.clone(), false))
        }
        (Some(out), _) => {
            FolderLock::probe(out)?;
            check_free(config)?;
            Ok((out.clone(), false))
        }
        (None, None) => {
            let name = serde_json::to_value(config.model.preset)
                .expect("presets are serialized by their names");
            let name = match config.model.base {
                Some(_) => "tuned",
                None => name.as_str().unwrap_or("run"),
            };
            let failed = |dir: &Path, reason| TrainError::Folder {
                dir: dir.to_owned(),
                reason,
            };
            let runs = Path::new("runs");
            std::fs::create_dir_all(runs).map_err(|reason| failed(runs, reason))?;
            let mut numbered = (1..).map(|number| runs.join(format!("{name}-{number}")));
            let free = numbered.find_map(|dir| match std::fs::create_dir(&dir) {
                Ok(()) => Some(Ok((dir, true))),
                // also when another run has just taken it
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => None,
                Err(error) => Some(Err(failed(&dir, error))),
            });
            free.expect("there is always a next number")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_checkpoint_is_not_replaced_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().to_owned();
        checkpoint::write_file(&out.join("model.safetensors"), b"").unwrap();
        let mut config = RunConfig::default();
        config.checkpoint.out = Some(out.clone());
        assert!(matches!(
            out_folder(&config),
            Err(TrainError::OutputExists(_))
        ));
        config.checkpoint.resume = Some(out.clone());
        assert_eq!(out_folder(&config).unwrap(), (out.clone(), false));
        config.checkpoint.resume = None;
        config.checkpoint.overwrite = true;
        assert_eq!(out_folder(&config).unwrap(), (out.clone(), false));
    }
}
