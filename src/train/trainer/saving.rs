//! What a training writes into its run folder.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use super::Trainer;
use crate::models::checkpoint::{self, CheckpointError};
use crate::models::{ModelConfig, Part};
use crate::nn::ParameterInfo;
use crate::train::config::OnNan;
use crate::train::{Event, Observer, Optimizer, Progress, State, TrainError, Tuned};

/// Makes the folder and checks that files can be written there.
pub(super) fn probe(dir: &Path) -> Result<(), TrainError> {
    checkpoint::make_folder(dir)?;
    let probe = dir.join(".seemore-probe");
    checkpoint::write_file(&probe, b"")?;
    std::fs::remove_file(&probe).map_err(|reason| CheckpointError::Write {
        path: probe.display().to_string(),
        reason,
    })?;
    Ok(())
}

impl Trainer<'_> {
    /// Returns the progress stored beside a state's tensors, after `seconds` of training.
    pub(super) fn progress(&self, seconds: f64) -> Progress {
        Progress {
            step: self.step,
            seconds,
            config: self.config.stored(),
            data: self.data,
            best: self.best,
            rate: self.rate,
            done: Some(self.limits.used(self.step, seconds)),
        }
    }

    /// Saves the model alone, into the folder `best` of the run folder.
    pub(super) fn save_best(&self) -> Result<(), TrainError> {
        let Some(dir) = self.out.as_ref().map(|out| out.join("best")) else {
            return Ok(());
        };
        self.write_description(&dir)?;
        self.write_result(&dir)
    }

    /// Writes what training does not change into a folder.
    fn write_description(&self, dir: &Path) -> Result<(), TrainError> {
        match self.tuning {
            Some(asked) => {
                checkpoint::save_tuned_description(dir, self.model, Some(&asked.question))?;
            }
            None => checkpoint::save_description(dir, self.model, Some(self.tokenizer))?,
        }
        Ok(())
    }

    /// Writes the parameters to validate into a folder.
    fn write_result(&self, dir: &Path) -> Result<(), TrainError> {
        let notes = checkpoint::step_note(Some(self.step));
        if let Some(asked) = self.tuning {
            let composed = matches!(self.model.config(), ModelConfig::Composition(_));
            // the rest is the base model's
            let changed = |info: &ParameterInfo| {
                Tuned::trains(&asked.tuned, info)
                    || info.is_adapter()
                    || composed && info.role.part == Part::Projector
            };
            let names: BTreeSet<&str> = self
                .model
                .store()
                .infos()
                .iter()
                .filter(|info| changed(info))
                .map(|info| info.name.as_str())
                .collect();
            let mut named = self.optimizer.result();
            named.retain(|(name, _)| names.contains(name.as_str()));
            return Ok(checkpoint::save_tuned(dir, self.model, &named, notes)?);
        }
        Ok(checkpoint::write_tensors(
            &dir.join("model.safetensors"),
            &self.optimizer.result(),
            notes,
        )?)
    }

    /// Saves the state, and after it the model that it gives.
    pub(super) fn save(
        &mut self,
        start: Instant,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let Some(dir) = self.out.clone() else {
            return Ok(());
        };
        let state = self.optimizer.state();
        // a model that diverged must not replace one that did not
        // codes of moments are no numbers
        let numbers = state
            .iter()
            .filter(|(name, _)| !Optimizer::holds_codes(name));
        let numbers: Vec<_> = numbers.cloned().collect();
        if let Some((name, _)) = checkpoint::first_not_finite(&numbers)? {
            return Err(TrainError::Diverged {
                what: format!("{name} is not finite at step {}", self.step),
                kept: self.kept(),
                guarded: self.config.guard.on_nan != OnNan::Stop,
            });
        }
        let progress = self.progress(self.before + start.elapsed().as_secs_f64());
        let keep = self.config.checkpoint.keep;
        State::write(&dir, &progress, &state, keep, !self.saved)?;
        if !self.saved {
            self.write_description(&dir)?;
            self.saved = true;
        }
        if !self.described {
            progress.config.save(&dir.join("run.toml"))?;
            self.described = true;
        }
        self.write_result(&dir)?;
        let json = serde_json::to_string_pretty(&progress).expect("progress is plain data");
        checkpoint::write_file(&dir.join("training.json"), json.as_bytes())?;
        // the caller decides what follows a save, not the observer
        let _ = observer.on(Event::Saved {
            step: self.step,
            dir: &dir,
        });
        Ok(())
    }
}
