//! Processor files of Hugging Face's models, which say how pictures become inputs.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::image::{Filter, Normalization};

/// Largest side of a tile or edge of a picture that a file may ask for, in pixels. Files are
/// untrusted, and a side of millions would take all memory.
pub(crate) const MAX_EDGE: usize = 8192;

/// Most tiles along an edge that a file may ask for.
pub(crate) const MAX_TILES: usize = 64;

/// Reason why the description of a model's preprocessing cannot be used. Every message names the
/// file.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// File.
        path: String,
        /// Reason given by the system.
        reason: std::io::Error,
    },
    /// The folder has no such description.
    #[error(
        "{folder} has neither preprocessor_config.json nor an image_processor in processor_config.json: download the model's files again"
    )]
    Absent {
        /// Folder.
        folder: String,
    },
    /// The file is not JSON, or a field has the wrong type.
    #[error("{path}: {reason}")]
    Syntax {
        /// File.
        path: String,
        /// Description of the defect, with the path of the field.
        reason: String,
    },
    /// A value is out of range or not supported.
    #[error("{path} has {field} = {value}: {rule}")]
    Field {
        /// File.
        path: String,
        /// Path of the field, such as `size.longest_edge`.
        field: String,
        /// Its value.
        value: String,
        /// Rule that the value breaks.
        rule: String,
    },
}

/// Reads a JSON file. Fields that `T` lacks are ignored.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ProcessorError> {
    let name = || path.display().to_string();
    let text = std::fs::read(path).map_err(|reason| ProcessorError::Read {
        path: name(),
        reason,
    })?;
    let mut json = serde_json::Deserializer::from_slice(&text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| ProcessorError::Syntax {
        path: name(),
        reason: error.to_string(),
    })
}

/// Content of `processor_config.json`. Transformers 5 keeps the image processor in it; earlier
/// versions keep it in `preprocessor_config.json`.
#[derive(Debug, Deserialize)]
struct ProcessorFile {
    image_processor: Option<Map<String, Value>>,
    image_seq_len: Option<usize>,
}

/// Description of an image processor with the place where it stands.
pub(crate) struct ProcessorFields<T> {
    /// Fields of the image processor.
    pub fields: T,
    /// Number of tokens of a tile, where the folder says it.
    pub image_seq_len: Option<usize>,
    /// Where the fields stand, for messages.
    pub source: Source,
}

/// File of fields, and the path of their parent in it.
pub(crate) struct Source {
    path: String,
    parent: &'static str,
}

impl<T: DeserializeOwned> ProcessorFields<T> {
    /// Reads the image processor of a folder, in either layout.
    pub fn load(folder: &Path) -> Result<ProcessorFields<T>, ProcessorError> {
        let (new, old) = (
            folder.join("processor_config.json"),
            folder.join("preprocessor_config.json"),
        );
        let file = match new.exists() {
            true => read(&new)?,
            false => ProcessorFile {
                image_processor: None,
                image_seq_len: None,
            },
        };
        let (path, parent, fields) = match file.image_processor {
            Some(fields) => (&new, "image_processor.", Value::Object(fields)),
            None if old.exists() => (&old, "", Value::Object(read(&old)?)),
            None => {
                return Err(ProcessorError::Absent {
                    folder: folder.display().to_string(),
                });
            }
        };
        let path = path.display().to_string();
        match serde_path_to_error::deserialize(fields) {
            Ok(fields) => Ok(ProcessorFields {
                fields,
                image_seq_len: file.image_seq_len,
                source: Source { path, parent },
            }),
            Err(error) => Err(ProcessorError::Syntax {
                reason: format!("{parent}{error}"),
                path,
            }),
        }
    }
}

impl Source {
    /// Fields of the top level of a file.
    pub fn file(path: &Path) -> Source {
        Source {
            path: path.display().to_string(),
            parent: "",
        }
    }

    /// Describes a wrong value.
    pub fn wrong(&self, field: &str, value: impl ToString, rule: &str) -> ProcessorError {
        ProcessorError::Field {
            path: self.path.clone(),
            field: format!("{}{field}", self.parent),
            value: value.to_string(),
            rule: rule.to_owned(),
        }
    }

    /// Checks an edge in pixels.
    pub fn edge(&self, field: &str, edge: usize) -> Result<usize, ProcessorError> {
        match edge {
            1..=MAX_EDGE => Ok(edge),
            _ => Err(self.wrong(field, edge, "it must be from 1 to 8192 pixels")),
        }
    }

    /// Checks that an edge has at most [`MAX_TILES`] tiles of `side` pixels.
    pub fn tiles(&self, field: &str, edge: usize, side: usize) -> Result<usize, ProcessorError> {
        if self.edge(field, edge)? > MAX_TILES * side {
            return Err(self.wrong(
                field,
                edge,
                &format!("that is over {MAX_TILES} tiles of {side} pixels"),
            ));
        }
        Ok(edge)
    }

    /// Checks that a step which is always done is not switched off.
    pub fn always(&self, field: &str, value: Option<bool>) -> Result<(), ProcessorError> {
        match value {
            Some(false) => Err(self.wrong(field, false, "leaving out this step is not supported")),
            _ => Ok(()),
        }
    }

    /// Reads the number of a filter.
    pub fn filter(&self, resample: u64) -> Result<Filter, ProcessorError> {
        let rule = "it must be 1 (Lanczos), 2 (bilinear) or 3 (bicubic)";
        Filter::from_pillow(resample).ok_or_else(|| self.wrong("resample", resample, rule))
    }

    /// Checks the constants of normalisation.
    pub fn normalization(
        &self,
        scale: f64,
        mean: &[f32],
        std: &[f32],
    ) -> Result<Normalization, ProcessorError> {
        let three = |field: &str, values: &[f32]| {
            <[f32; 3]>::try_from(values)
                .ok()
                .filter(|values| values.iter().all(|value| value.is_finite()))
                .ok_or_else(|| {
                    self.wrong(
                        field,
                        format!("{values:?}"),
                        "it must be three finite numbers",
                    )
                })
        };
        if !(scale.is_finite() && scale > 0.0) {
            return Err(self.wrong("rescale_factor", scale, "it must be above 0"));
        }
        let (mean, std) = (three("image_mean", mean)?, three("image_std", std)?);
        if std.iter().any(|std| *std <= 0.0) {
            return Err(self.wrong("image_std", format!("{std:?}"), "it must be above 0"));
        }
        Ok(Normalization { scale, mean, std })
    }
}
