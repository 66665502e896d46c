//! Downloads of models from the Hugging Face Hub, into the cache that its own programs use.

mod fetch;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde::Deserialize;
use sha2::{Digest, Sha256};

pub use fetch::FetchObserver;

use crate::atomic_file;
use crate::models::{ConfigError, library};
use crate::progress::Progress;

/// Files beside the weights that models need. Others of a repository, such as exports to other
/// formats, are not downloaded.
pub const DESCRIPTION: &[&str] = &[
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

/// Address of the Hub.
const ENDPOINT: &str = "https://huggingface.co";

/// Times that a download is continued after the connection broke.
const RETRIES: usize = 3;

/// Time within which the Hub must answer the question for a repository's files.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reason why a model cannot be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The user has no folder for the cache.
    #[error("there is no folder for downloads: the user has no home folder")]
    NoCache,
    /// The Hub cannot be reached, or the connection broke.
    #[error("cannot download {what} of {repository}: {reason}")]
    Download {
        /// Repository.
        repository: String,
        /// File, or what was asked for.
        what: String,
        /// Cause.
        reason: String,
    },
    /// The Hub has no such repository, or does not show it.
    #[error(
        "{endpoint} has no repository {repository}, or it is not public (status {status}): check the name; the token of a user who may read it belongs into the variable HF_TOKEN"
    )]
    NoRepository {
        /// Address of the Hub.
        endpoint: String,
        /// Repository.
        repository: String,
        /// Status of HTTP.
        status: u16,
    },
    /// Another program is downloading the same file.
    #[error("another program is downloading {what} of {repository}: wait for it")]
    Locked {
        /// Repository.
        repository: String,
        /// File.
        what: String,
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
        "{path} was downloaded with other contents than the Hub says ({have}, not {want}): it was removed, download it again"
    )]
    Checksum {
        /// File.
        path: String,
        /// Its SHA-256 or size.
        have: String,
        /// SHA-256 or size on the Hub.
        want: String,
    },
    /// The disk has too little space.
    #[error("the download takes {wanted} MB, and the disk of {folder} has {free} MB left")]
    NoSpace {
        /// Size of what is missing, in megabytes.
        wanted: u64,
        /// Folder on the disk.
        folder: String,
        /// Free space, in megabytes.
        free: u64,
    },
    /// The model is of a family that this library does not know.
    #[error("{path}: {error}")]
    Architecture {
        /// Configuration of the model.
        path: String,
        /// Error that names what is unknown.
        error: Box<ConfigError>,
    },
    /// The download was stopped; what has arrived is kept.
    #[error("the download was stopped")]
    Stopped,
    /// A file of the cache cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// File.
        path: String,
        /// Cause reported by the system.
        reason: std::io::Error,
    },
    /// A file of the cache cannot be written.
    #[error("cannot write {path}: {reason}")]
    Write {
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
    /// Name of its contents in the cache.
    blob: String,
}

/// Description of a repository on the Hub.
#[derive(Deserialize)]
struct Answer {
    /// Latest revision.
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: u64,
    #[serde(rename = "blobId", default)]
    blob_id: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

/// The latest revision of a repository on the Hub, and its copy in the cache.
pub struct Repository {
    name: String,
    repo: ApiRepo,
    revision: String,
    siblings: Vec<Sibling>,
    /// Folder of the repository in the cache.
    folder: PathBuf,
}

impl Repository {
    /// Asks the Hub for a repository's files. The address, the cache and the user's token are those
    /// of the Hub's own programs: `HF_ENDPOINT`, `HF_HUB_CACHE` and `HF_TOKEN`, or `HF_HOME`.
    ///
    /// # Errors
    /// A Hub that cannot be reached, or a repository that it does not show.
    pub fn connect(name: &str) -> Result<Repository, HubError> {
        let cache = library::cache_folder().ok_or(HubError::NoCache)?;
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let token = variable("HF_TOKEN").or_else(|| {
            let text = std::fs::read_to_string(library::hub_folder()?.join("token")).ok()?;
            Some(text.trim().to_owned()).filter(|token| !token.is_empty())
        });
        Repository::connect_to(name, &endpoint, &cache, token)
    }

    /// As [`connect`](Self::connect), with the address of the Hub, the folder of the cache and the
    /// user's token.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_to(
        name: &str,
        endpoint: &str,
        cache: &Path,
        token: Option<String>,
    ) -> Result<Repository, HubError> {
        const WHAT: &str = "the list of files";
        let failed = |reason: String| HubError::Download {
            repository: name.to_owned(),
            what: WHAT.to_owned(),
            reason,
        };
        let endpoint = endpoint.trim_end_matches('/');
        let api = ApiBuilder::from_cache(Cache::new(cache.to_owned()))
            .with_endpoint(endpoint.to_owned())
            .with_token(token)
            .with_progress(false)
            .with_retries(RETRIES)
            .build()
            .map_err(|error| failure(name, WHAT, &error))?;
        let request = api.model(name.to_owned()).info_request();
        let request = request.query("blobs", "true").config();
        // a status is an answer, which needs words of its own
        let request = request.http_status_as_error(false);
        let request = request.timeout_global(Some(PATIENCE)).build();
        let mut response = request.call().map_err(|error| failed(chain(&error)))?;
        match response.status().as_u16() {
            200 => {}
            status @ (401 | 403 | 404) => {
                return Err(HubError::NoRepository {
                    endpoint: endpoint.to_owned(),
                    repository: name.to_owned(),
                    status,
                });
            }
            status => return Err(failed(format!("{endpoint} answers with status {status}"))),
        }
        let text = response.body_mut().read_to_string();
        let text = text.map_err(|error| failed(chain(&error)))?;
        let unclear = |reason: &str| failed(format!("{endpoint} gives no list of files: {reason}"));
        let answer: Answer =
            serde_json::from_str(&text).map_err(|error| unclear(&error.to_string()))?;
        // it becomes the name of a folder
        if answer.sha.is_empty() || !answer.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(unclear("its revision is not a hash"));
        }
        // one revision for all files, whatever is uploaded meanwhile
        let repo = Repo::with_revision(name.to_owned(), RepoType::Model, answer.sha.clone());
        Ok(Repository {
            name: name.to_owned(),
            repo: api.repo(repo),
            revision: answer.sha,
            siblings: answer.siblings,
            folder: library::repository_folder(cache, name),
        })
    }

    /// Returns the files that a model needs. `chosen` is a part of the names of the GGUF files to
    /// take, where there are several.
    ///
    /// # Errors
    /// A repository without weights that this library reads.
    pub fn files(&self, chosen: Option<&str>) -> Result<Vec<RemoteFile>, HubError> {
        let names: Vec<String> = self
            .siblings
            .iter()
            .map(|file| file.rfilename.clone())
            .collect();
        let wanted = wanted(&self.name, &names, chosen)?;
        let describe = |name: String| {
            let file = self.siblings.iter().find(|file| file.rfilename == name);
            let file = file.expect("the names are those of the files");
            match &file.lfs {
                Some(lfs) => RemoteFile {
                    name,
                    bytes: lfs.size,
                    sha256: Some(lfs.sha256.to_ascii_lowercase()),
                    blob: lfs.sha256.clone(),
                },
                None => RemoteFile {
                    name,
                    bytes: file.size,
                    sha256: None,
                    blob: file.blob_id.clone(),
                },
            }
        };
        Ok(wanted.into_iter().map(describe).collect())
    }

    /// Returns the folder of the revision's files in the cache.
    pub fn snapshot(&self) -> PathBuf {
        self.folder.join("snapshots").join(&self.revision)
    }

    /// Whether the cache has a file in full.
    pub fn has(&self, file: &RemoteFile) -> bool {
        size(&self.snapshot().join(&file.name)) == Some(file.bytes)
            || size(&self.blob(file)) == Some(file.bytes)
    }

    /// Returns where the cache keeps the contents of a file.
    fn blob(&self, file: &RemoteFile) -> PathBuf {
        let blobs = self.folder.join("blobs");
        match file.blob.chars().all(|c| c.is_ascii_alphanumeric()) {
            true => blobs.join(&file.blob),
            false => blobs,
        }
    }

    /// Downloads a file unless the cache has it, continues what was begun before, and verifies its
    /// size, and of large files the checksum. `progress` counts bytes.
    ///
    /// # Errors
    /// A connection that breaks, contents that differ from the Hub's, or a cache that cannot be
    /// written.
    pub fn download(
        &self,
        file: &RemoteFile,
        progress: &dyn Progress,
    ) -> Result<PathBuf, HubError> {
        let (path, blob) = (self.snapshot().join(&file.name), self.blob(file));
        let write = |path: &Path| {
            let path = path.display().to_string();
            move |reason: std::io::Error| HubError::Write { path, reason }
        };
        if size(&path) == Some(file.bytes) {
            progress.advance(file.bytes);
            return Ok(path);
        }
        // a link to nothing, or a file that was cut off
        if path.symlink_metadata().is_ok() {
            std::fs::remove_file(&path).map_err(write(&path))?;
        }
        // another revision has the same contents
        if size(&blob) == Some(file.bytes) {
            link(&blob, &path).map_err(write(&path))?;
            progress.advance(file.bytes);
            return Ok(path);
        }
        let part = blob.with_extension("part");
        shorten(&part, file.bytes).map_err(write(&part))?;
        let reporter = Reporter::new(progress);
        let got = self.repo.download_with_progress(&file.name, reporter);
        let path = got.map_err(|error| failure(&self.name, &file.name, &error))?;
        self.verify(&path, file)?;
        Ok(path)
    }

    /// Removes a downloaded file that differs from the Hub's.
    fn verify(&self, path: &Path, file: &RemoteFile) -> Result<(), HubError> {
        let read = |reason| HubError::Read {
            path: path.display().to_string(),
            reason,
        };
        let bytes = std::fs::metadata(path).map_err(read)?.len();
        let (have, want) = match &file.sha256 {
            Some(want) if bytes == file.bytes => (
                format!("SHA-256 {}", sha256(path).map_err(read)?),
                format!("SHA-256 {want}"),
            ),
            _ => (format!("{bytes} bytes"), format!("{} bytes", file.bytes)),
        };
        if have == want {
            return Ok(());
        }
        // the link and what it points to
        let _ = std::fs::canonicalize(path).map(std::fs::remove_file);
        let _ = std::fs::remove_file(path);
        Err(HubError::Checksum {
            path: path.display().to_string(),
            have,
            want,
        })
    }

    /// Makes the revision the one that the cache gives for the repository. Called when all files
    /// are downloaded, so that the cache never gives a part of a model.
    ///
    /// # Errors
    /// A cache that cannot be written.
    pub fn finish(&self) -> Result<(), HubError> {
        let refs = self.folder.join("refs");
        let main = refs.join("main");
        let written = std::fs::create_dir_all(&refs)
            .and_then(|()| atomic_file::write(&main, self.revision.as_bytes()));
        written.map_err(|reason| HubError::Write {
            path: main.display().to_string(),
            reason,
        })?;
        // the client names every revision that it downloads
        let _ = std::fs::remove_file(refs.join(&self.revision));
        Ok(())
    }
}

/// Size of a file, links followed.
fn size(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}

/// Makes a part of a download shorter than the whole, which the client cannot continue otherwise.
fn shorten(part: &Path, whole: u64) -> std::io::Result<()> {
    match size(part) {
        // the download ended and its file was not put in place
        Some(bytes) if bytes == whole && whole > 0 => {
            File::options().write(true).open(part)?.set_len(whole - 1)
        }
        Some(bytes) if bytes > whole => std::fs::remove_file(part),
        _ => Ok(()),
    }
}

/// Gives the contents in `blob` the name `path`, two folders deeper.
fn link(blob: &Path, path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    #[cfg(unix)]
    {
        let name = blob.file_name().unwrap_or_default();
        std::os::unix::fs::symlink(Path::new("../../blobs").join(name), path)
    }
    // links by name take rights that users of other systems rarely have
    #[cfg(not(unix))]
    std::fs::hard_link(blob, path)
}

/// Message of an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn failure(repository: &str, what: &str, error: &ApiError) -> HubError {
    let (repository, what) = (repository.to_owned(), what.to_owned());
    match error {
        ApiError::LockAcquisition(_) => HubError::Locked { repository, what },
        error => HubError::Download {
            repository,
            what,
            reason: chain(error),
        },
    }
}

/// Chooses the files of a model among those of a repository.
fn wanted(
    repository: &str,
    names: &[String],
    chosen: Option<&str>,
) -> Result<Vec<String>, HubError> {
    // files in folders are exports to other formats
    let top = || names.iter().filter(|name| !name.contains(['/', '\\']));
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
    let digits = hasher.finalize();
    Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Passes the bytes of a download on.
struct Reporter<'a> {
    progress: &'a dyn Progress,
    /// Bytes of the file since the download began or was continued, those before included.
    bytes: usize,
    /// Bytes that were passed on.
    reported: usize,
}

impl<'a> Reporter<'a> {
    fn new(progress: &'a dyn Progress) -> Reporter<'a> {
        Reporter {
            progress,
            bytes: 0,
            reported: 0,
        }
    }
}

impl hf_hub::api::Progress for Reporter<'_> {
    /// Called again whenever the download is continued; the bytes there follow as an update.
    fn init(&mut self, _size: usize, _name: &str) {
        self.bytes = 0;
    }

    fn update(&mut self, size: usize) {
        self.bytes += size;
        if self.bytes > self.reported {
            self.progress.advance((self.bytes - self.reported) as u64);
            self.reported = self.bytes;
        }
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
        let files = names(&["config.json", "..\\x.safetensors", "model.safetensors"]);
        assert_eq!(
            wanted("a/b", &files, None).unwrap(),
            ["config.json", "model.safetensors"]
        );
    }

    #[test]
    fn bytes_of_a_continued_download_count_once() {
        use hf_hub::api::Progress as _;

        #[derive(Default)]
        struct Count(AtomicU64);
        impl Progress for Count {
            fn advance(&self, bytes: u64) {
                self.0.fetch_add(bytes, Relaxed);
            }
        }
        let count = Count::default();
        let mut reporter = Reporter::new(&count);
        reporter.init(100, "a");
        // 40 bytes of an earlier run, and 30 until the connection breaks
        for (begin, rest) in [(40, 30), (70, 30)] {
            reporter.init(100, "a");
            reporter.update(begin);
            reporter.update(rest);
        }
        assert_eq!(count.0.load(Relaxed), 100);
    }

    #[test]
    fn parts_are_shorter_than_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("a.part");
        assert!(shorten(&part, 3).is_ok());
        for (have, left) in [("ab", Some(2)), ("abc", Some(2)), ("abcd", None)] {
            std::fs::write(&part, have).unwrap();
            shorten(&part, 3).unwrap();
            assert_eq!(size(&part), left, "{have}");
        }
    }
}
