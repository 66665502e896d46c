//! What a training writes into its run folder.

use std::path::Path;
use std::time::Instant;

use super::Trainer;
use crate::models::checkpoint::{self, CheckpointError};
use crate::train::config::OnNan;
use crate::train::{Event, Observer, Progress, State, TrainError};

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
        }
    }

    /// Saves the model alone, into the folder `best` of the run folder.
    pub(super) fn save_best(&self) -> Result<(), TrainError> {
        let Some(dir) = self.out.as_ref().map(|out| out.join("best")) else {
            return Ok(());
        };
        checkpoint::save_description(&dir, self.model, Some(self.tokenizer))?;
        self.write_result(&dir)
    }

    /// Writes the parameters to validate into a folder.
    fn write_result(&self, dir: &Path) -> Result<(), TrainError> {
        Ok(checkpoint::write_tensors(
            &dir.join("model.safetensors"),
            &self.optimizer.result(),
            checkpoint::step_note(Some(self.step)),
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
        if let Some((name, _)) = checkpoint::first_not_finite(&state)? {
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
            checkpoint::save_description(&dir, self.model, Some(self.tokenizer))?;
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
