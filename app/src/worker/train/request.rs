//! A training to start, and the settings it starts with.

use std::path::PathBuf;

use seemore::train::{Budget, RunConfig, TrainError};

/// A training to start.
#[derive(Debug, Clone, PartialEq)]
pub enum RunRequest {
    /// Train a new model.
    New(Box<RunConfig>),
    /// Train a new model with the settings of another training.
    Copy {
        /// Run folder of the other training.
        folder: PathBuf,
        /// Settings that differ.
        overrides: Overrides,
    },
    /// Continue another training in its folder.
    Resume {
        /// Run folder of the training.
        folder: PathBuf,
        /// Settings that differ.
        overrides: Overrides,
    },
}

/// Settings that replace those of another training. `None` keeps them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// When training ends.
    pub budget: Option<Budget>,
    /// Steps between validations.
    pub validate_every: Option<u64>,
    /// Steps between saves.
    pub save_every: Option<u64>,
    /// Run folder to save to; the first free one in `runs/` if not given. A resumed training stays
    /// in its folder.
    pub out: Option<PathBuf>,
    /// Whether a checkpoint in `out` may be replaced.
    pub overwrite: bool,
}

impl RunRequest {
    /// Returns the folder that the training resumes in, if it resumes one.
    pub fn resumes(&self) -> Option<&PathBuf> {
        match self {
            RunRequest::Resume { folder, .. } => Some(folder),
            _ => None,
        }
    }

    /// Returns the configuration of the run, which for other trainings' settings is read from their
    /// folder.
    ///
    /// # Errors
    /// If the folder holds no training that can be copied or resumed.
    pub fn config(self) -> Result<RunConfig, TrainError> {
        match self {
            RunRequest::New(config) => Ok(*config),
            RunRequest::Copy { folder, overrides } => {
                let mut config = RunConfig::like(&folder)?.stored();
                config.checkpoint.out.clone_from(&overrides.out);
                config.checkpoint.overwrite = overrides.overwrite;
                overrides.apply(&mut config);
                Ok(config)
            }
            RunRequest::Resume { folder, overrides } => {
                let mut config = RunConfig::resume(&folder)?;
                overrides.apply(&mut config);
                Ok(config)
            }
        }
    }
}

impl Overrides {
    fn apply(&self, config: &mut RunConfig) {
        if let Some(budget) = self.budget {
            config.budget = budget;
        }
        if let Some(steps) = self.validate_every {
            config.validation.every = steps;
        }
        if let Some(steps) = self.save_every {
            config.checkpoint.every = steps;
        }
    }
}
