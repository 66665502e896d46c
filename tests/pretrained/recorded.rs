//! What a model computed when it was recorded, and how close it must come again.

use std::path::{Path, PathBuf};

use crate::golden::{self, Recorded};

/// Tensors and facts of a folder's `reference.safetensors` and `reference.json`.
pub struct Reference {
    pub folder: PathBuf,
    pub facts: serde_json::Value,
    tensors: Recorded,
}

impl Reference {
    pub fn open(folder: &Path) -> Reference {
        Reference {
            folder: folder.to_owned(),
            facts: golden::json(folder.join("reference.json")),
            tensors: Recorded::open(folder.join("reference.safetensors")),
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.tensors.names()
    }

    pub fn holds(&self, name: &str) -> bool {
        self.tensors.holds(name)
    }

    #[track_caller]
    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.tensors.tensor(name).1
    }

    /// Ids, or labels of which those that do not count are -100.
    #[track_caller]
    pub fn labels(&self, name: &str) -> Vec<i32> {
        self.tensors.tensor(name).1
    }

    #[track_caller]
    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.tensors.tensor(name).1
    }

    #[track_caller]
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.tensors.tensor(name).1
    }

    /// Holds activations against a recording: at most 2e-5 of the largest magnitude off, which
    /// counts as at least 1.
    #[track_caller]
    pub fn hold(&self, name: &str, got: &[f32]) {
        let want = self.floats(name);
        let largest = want.iter().fold(1f32, |largest, x| largest.max(x.abs()));
        let name = format!("{}: {name}", self.folder.display());
        golden::close(&name, got, &want, 2e-5 * largest);
    }
}
