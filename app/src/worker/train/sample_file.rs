//! Captions of the samples at every validation, kept in the run folder for later sessions.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// File in the run folder, with a JSON object for each validation.
const FILE: &str = "samples.jsonl";

/// Result of a validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Step after which it ran.
    pub step: u64,
    /// Mean loss.
    pub loss: f32,
    /// Share of captions that equal the true ones.
    pub exact_match: f64,
    /// Generated caption of each sample.
    pub captions: Vec<String>,
}

/// A validation as the file keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredValidation {
    /// Pictures that were captioned, as [`Sample::id`](super::Sample::id) names them.
    pub ids: Vec<String>,
    /// The result.
    #[serde(flatten)]
    pub validation: Validation,
}

impl StoredValidation {
    /// Adds the validation to the file of a run folder.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn append(&self, folder: &Path) -> std::io::Result<()> {
        let path = folder.join(FILE);
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let line = serde_json::to_string(self)?;
        // one write, so that a kill leaves whole lines
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// Reads the validations of a run folder; unreadable lines are left out. Where steps were
    /// repeated after a resume, the later ones count.
    pub fn read(folder: &Path) -> Vec<StoredValidation> {
        let text = std::fs::read_to_string(folder.join(FILE)).unwrap_or_default();
        let mut found: Vec<StoredValidation> = vec![];
        for line in text.lines() {
            if let Ok(stored) = serde_json::from_str::<StoredValidation>(line) {
                found.retain(|before| before.validation.step < stored.validation.step);
                found.push(stored);
            }
        }
        found
    }
}

/// Empties the file of a run folder, if there is one, for a training that begins.
///
/// # Errors
/// A file that cannot be written.
pub fn clear(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(FILE);
    if path.exists() {
        File::create(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(step: u64, caption: &str) -> StoredValidation {
        StoredValidation {
            ids: vec!["val.csv row 2".into()],
            validation: Validation {
                step,
                loss: 0.3,
                exact_match: 0.5,
                captions: vec![caption.into()],
            },
        }
    }

    #[test]
    fn repeated_steps_replace_the_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        assert!(StoredValidation::read(folder.path()).is_empty());
        clear(folder.path()).unwrap();
        for (step, caption) in [(10, "a"), (20, "b\n\"c\""), (30, "d"), (20, "e")] {
            stored(step, caption).append(folder.path()).unwrap();
        }
        assert_eq!(
            StoredValidation::read(folder.path()),
            [stored(10, "a"), stored(20, "e")]
        );
        clear(folder.path()).unwrap();
        assert!(StoredValidation::read(folder.path()).is_empty());
    }
}
