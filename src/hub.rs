//! Downloads of models from the Hugging Face Hub, into the cache that its own programs use.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use sha2::{Digest, Sha256};

use crate::models::library;
use crate::progress::Progress;

/// Files beside the weights that models need. Others of a repository, such as exports to other
/// formats, are not downloaded.
const DESCRIPTION: &[&str] = &[
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
];

/// Reason why a model cannot be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The Hub cannot be reached, or refuses.
    #[error("cannot download {what} of {repository}: {reason}")]
    Download {
        /// Repository.
        repository: String,
        /// File, or what was asked for.
        what: String,
        /// Cause.
        reason: String,
    },
    /// The repository has no weights that this library reads.
    #[error("{repository} has no weights as safetensors or GGUF; it has {files}")]
    NoWeights {
        /// Repository.
        repository: String,
        /// Its files.
        files: String,
    },
    /// Of several GGUF files it is not clear which are wanted.
    #[error(
        "{repository} has several GGUF files: choose those with one of {choices} in their names"
    )]
    Several {
        /// Repository.
        repository: String,
        /// Their names.
        choices: String,
    },
    /// A downloaded file has other contents than the Hub says.
    #[error(
        "{path} was downloaded with other contents than the Hub says (SHA-256 {have}, not {want}): it was removed, download it again"
    )]
    Checksum {
        /// File.
        path: String,
        /// Its checksum.
        have: String,
        /// Checksum on the Hub.
        want: String,
    },
    /// A downloaded file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// File.
        path: String,
        /// Cause reported by the system.
        reason: std::io::Error,
    },
}

/// A file of a repository that is to be downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Name.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of large files; small ones have none.
    sha256: Option<String>,
}

/// A repository on the Hub.
pub struct Repository {
    name: String,
    api: Api,
    repo: ApiRepo,
}

impl Repository {
    /// Returns a handle. Nothing is read from the network yet. The Hub's address and the user's token
    /// are those of its own programs: `HF_ENDPOINT`, `HF_TOKEN` and their files.
    ///
    /// # Errors
    /// A client that cannot be built.
    pub fn new(name: &str) -> Result<Repository, HubError> {
        let mut builder = ApiBuilder::from_env().with_progress(false).with_retries(3);
        if let Some(cache) = library::cache_folder() {
            builder = builder.with_cache_dir(cache);
        }
        let api = builder
            .build()
            .map_err(|error| failure(name, "the list of files", &error))?;
        Ok(Repository {
            name: name.to_owned(),
            repo: api.model(name.to_owned()),
            api,
        })
    }

    /// Returns the files that a model needs. `chosen` is a part of the names of the GGUF files to
    /// take, where there are several.
    ///
    /// # Errors
    /// A Hub that cannot be reached, or a repository without weights that this library reads.
    pub fn files(&self, chosen: Option<&str>) -> Result<Vec<RemoteFile>, HubError> {
        let info = self.repo.info();
        let info = info.map_err(|error| failure(&self.name, "the list of files", &error))?;
        let names: Vec<String> = info
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .collect();
        let wanted = wanted(&self.name, &names, chosen)?;
        let describe = |name: String| {
            let metadata = self.api.metadata(&self.repo.url(&name));
            let metadata = metadata.map_err(|error| failure(&self.name, &name, &error))?;
            Ok(RemoteFile {
                bytes: metadata.size() as u64,
                // small files have git's checksum, of 40 digits
                sha256: (metadata.etag().len() == 64).then(|| metadata.etag().to_owned()),
                name,
            })
        };
        wanted.into_iter().map(describe).collect()
    }

    /// Downloads a file unless the cache has it, continues what was begun before, and verifies its
    /// checksum. `progress` counts bytes.
    ///
    /// # Errors
    /// A Hub that cannot be reached, or contents that differ from the Hub's.
    pub fn download(
        &self,
        file: &RemoteFile,
        progress: &dyn Progress,
    ) -> Result<PathBuf, HubError> {
        let cached = library::cache_folder()
            .and_then(|cache| library::snapshot(&cache, &self.name))
            .map(|folder| folder.join(&file.name));
        if let Some(path) = cached.filter(|path| size(path) == Some(file.bytes)) {
            progress.advance(file.bytes);
            return Ok(path);
        }
        let path = self.repo.download_with_progress(
            &file.name,
            Reporter {
                progress,
                before: 0,
            },
        );
        let path = path.map_err(|error| failure(&self.name, &file.name, &error))?;
        let Some(want) = &file.sha256 else {
            return Ok(path);
        };
        let have = sha256(&path).map_err(|reason| HubError::Read {
            path: path.display().to_string(),
            reason,
        })?;
        if have != *want {
            // the link and what it points to
            let _ = std::fs::canonicalize(&path).map(std::fs::remove_file);
            let _ = std::fs::remove_file(&path);
            return Err(HubError::Checksum {
                path: path.display().to_string(),
                have,
                want: want.clone(),
            });
        }
        Ok(path)
    }
}

/// Size of a file, links followed.
fn size(path: &Path) -> Option<u64> {
    Some(std::fs::metadata(path).ok()?.len())
}

fn failure(repository: &str, what: &str, error: &ApiError) -> HubError {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        cause = error.source();
    }
    HubError::Download {
        repository: repository.to_owned(),
        what: what.to_owned(),
        reason,
    }
}

/// Chooses the files of a model among those of a repository.
fn wanted(
    repository: &str,
    names: &[String],
    chosen: Option<&str>,
) -> Result<Vec<String>, HubError> {
    // files in folders are exports to other formats
    let top = || names.iter().filter(|name| !name.contains('/'));
    let ends = |name: &str, ending: &str| name.to_ascii_lowercase().ends_with(ending);
    let mut weights: Vec<&String> = match chosen {
        None => top().filter(|name| ends(name, ".safetensors")).collect(),
        Some(_) => vec![],
    };
    if weights.is_empty() {
        weights = top().filter(|name| ends(name, ".gguf")).collect();
        if let Some(part) = chosen {
            let part = part.to_ascii_lowercase();
            weights.retain(|name| name.to_ascii_lowercase().contains(&part));
        }
        let language = weights
            .iter()
            .filter(|name| !name.to_ascii_lowercase().contains("mmproj"));
        if language.count() > 1 {
            let choices: Vec<&str> = weights.iter().map(|name| name.as_str()).collect();
            return Err(HubError::Several {
                repository: repository.to_owned(),
                choices: choices.join(", "),
            });
        }
    }
    if weights.is_empty() {
        return Err(HubError::NoWeights {
            repository: repository.to_owned(),
            files: names.join(", "),
        });
    }
    let description = top().filter(|name| DESCRIPTION.contains(&name.as_str()));
    Ok(description.chain(weights).cloned().collect())
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Passes the bytes of a download on.
struct Reporter<'a> {
    progress: &'a dyn Progress,
    /// Bytes that were reported before the download was tried again.
    before: usize,
}

impl hf_hub::api::Progress for Reporter<'_> {
    fn init(&mut self, _size: usize, _name: &str) {}

    fn update(&mut self, size: usize) {
        self.before += size;
        self.progress.advance(size as u64);
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn weights_and_descriptions_are_chosen_among_the_files_of_a_repository() {
        let files = names(&[
            "README.md",
            "config.json",
            "model.safetensors",
            "onnx/model.onnx",
            "onnx/config.json",
            "tokenizer.json",
        ]);
        assert_eq!(
            wanted("a/b", &files, None).unwrap(),
            ["config.json", "tokenizer.json", "model.safetensors"]
        );
        let files = names(&[
            "m-Q8_0.gguf",
            "m-f16.gguf",
            "mmproj-m-Q8_0.gguf",
            "mmproj-m-f16.gguf",
        ]);
        assert!(matches!(
            wanted("a/b", &files, None),
            Err(HubError::Several { .. })
        ));
        assert_eq!(
            wanted("a/b", &files, Some("q8_0")).unwrap(),
            ["m-Q8_0.gguf", "mmproj-m-Q8_0.gguf"]
        );
        let error = wanted("a/b", &names(&["pytorch_model.bin"]), None).unwrap_err();
        assert!(error.to_string().contains("pytorch_model.bin"), "{error}");
    }
}
