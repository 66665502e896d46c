//! A server that answers as the Hugging Face Hub does, on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// A file of the repository.
#[derive(Clone)]
pub struct HubFile {
    pub name: String,
    pub bytes: Vec<u8>,
    /// Whether it lies in large file storage, with a checksum.
    large: bool,
    /// What is sent in place of `bytes`.
    pub sent: Option<Vec<u8>>,
    /// Bytes after which the connection breaks, each time that the file is asked for.
    pub cuts: Vec<usize>,
    /// Time that the server waits after every 16 KiB.
    pub pause: Duration,
}

impl HubFile {
    pub fn small(name: &str, bytes: impl Into<Vec<u8>>) -> HubFile {
        HubFile {
            name: name.into(),
            bytes: bytes.into(),
            large: false,
            sent: None,
            cuts: vec![],
            pause: Duration::ZERO,
        }
    }

    pub fn large(name: &str, bytes: impl Into<Vec<u8>>) -> HubFile {
        HubFile {
            large: true,
            ..HubFile::small(name, bytes)
        }
    }

    /// SHA-256 of a large file, and as many digits as git has of a small one.
    pub fn digest(&self) -> String {
        let digest = Sha256::digest(&self.bytes);
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        match self.large {
            true => digits,
            false => digits[..40].to_owned(),
        }
    }
}

/// What the server has, and what it was asked for.
pub struct State {
    /// Name of the repository.
    pub repository: String,
    /// Revision of the repository.
    pub revision: String,
    pub files: Vec<HubFile>,
    /// Path and range of each request, such as `/cdn/model.safetensors bytes=0-`.
    pub requests: Vec<String>,
    /// Values of the header `Authorization`.
    pub tokens: Vec<String>,
}

impl State {
    /// The file of a name.
    pub fn file(&mut self, name: &str) -> &mut HubFile {
        let mut files = self.files.iter_mut();
        files.find(|file| file.name == name).unwrap()
    }
}

/// A running server with one repository.
pub struct Hub {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

pub const REPOSITORY: &str = "org/tiny";

impl Hub {
    /// Starts a server of [`REPOSITORY`], which runs until the tests end.
    pub fn start(revision: &str, files: Vec<HubFile>) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Hub::serve(listener, REPOSITORY, revision, files)
    }

    /// Starts a server of a repository, which runs until the tests end.
    pub fn serve(
        listener: TcpListener,
        repository: &str,
        revision: &str,
        files: Vec<HubFile>,
    ) -> Hub {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            repository: repository.into(),
            revision: revision.into(),
            files,
            requests: vec![],
            tokens: vec![],
        }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // a client that is gone
                let _ = answer(stream.unwrap(), address, &shared);
            }
        });
        Hub { address, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Address in the form of `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }
}

/// Reads one request and answers it.
fn answer(mut stream: TcpStream, address: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut range, mut token) = (None, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "range" => range = Some(value.trim().to_owned()),
            "authorization" => token = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut state = state.lock().unwrap();
    let asked = match &range {
        Some(range) => format!("{path} {range}"),
        None => path.clone(),
    };
    state.requests.push(asked);
    state.tokens.extend(token);

    let parts: Vec<&str> = path.trim_start_matches('/').split(['/', '?']).collect();
    let known = |org: &str, name: &str| format!("{org}/{name}") == state.repository;
    let mut pause = Duration::ZERO;
    let (status, headers, body, cut) = match parts[..] {
        ["api", "models", org, name, ..] if known(org, name) => {
            let headers = "content-type: application/json\r\n".to_owned();
            (200, headers, description(&state), None)
        }
        [org, repository, "resolve", revision, name] if known(org, repository) => {
            let found = state.files.iter().find(|file| file.name == name);
            match found.filter(|_| revision == state.revision) {
                None => (404, String::new(), vec![], None),
                Some(file) => (302, redirection(file, revision, address), vec![], None),
            }
        }
        ["cdn", name] => {
            let revision = state.revision.clone();
            let file = state.file(name);
            pause = file.pause;
            content(file, &revision, range.as_deref())
        }
        _ => (401, String::new(), b"{\"error\": \"no\"}".to_vec(), None),
    };
    drop(state);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} .\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
    )?;
    for piece in body[..cut.unwrap_or(length).min(length)].chunks(16 << 10) {
        stream.write_all(piece)?;
        stream.flush()?;
        std::thread::sleep(pause);
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // an end before the client has read everything would reset the connection
    let _ = reader.read_to_end(&mut vec![]);
    Ok(())
}

/// The Hub's description of the repository.
fn description(state: &State) -> Vec<u8> {
    let files = state.files.iter().map(|file| {
        let mut entry = serde_json::json!({
            "rfilename": file.name, "size": file.bytes.len(), "blobId": "0".repeat(40),
        });
        if file.large {
            let lfs = serde_json::json!({
                "sha256": file.digest(), "size": file.bytes.len(), "pointerSize": 127,
            });
            entry["lfs"] = lfs;
        } else {
            entry["blobId"] = file.digest().into();
        }
        entry
    });
    let files: Vec<serde_json::Value> = files.collect();
    let whole = serde_json::json!({
        "id": state.repository, "sha": state.revision, "private": false, "siblings": files,
    });
    whole.to_string().into_bytes()
}

/// Headers that send a client on to the contents of a file. Small files have a relative address.
fn redirection(file: &HubFile, revision: &str, address: SocketAddr) -> String {
    let (name, digest) = (&file.name, file.digest());
    let common = format!("x-repo-commit: {revision}\r\n");
    match file.large {
        true => format!(
            "{common}location: http://{address}/cdn/{name}\r\nx-linked-etag: \"{digest}\"\r\n"
        ),
        false => format!("{common}location: /cdn/{name}\r\netag: \"{digest}\"\r\n"),
    }
}

/// Status, headers, bytes and end of the connection for a range of a file.
fn content(
    file: &mut HubFile,
    revision: &str,
    range: Option<&str>,
) -> (u16, String, Vec<u8>, Option<usize>) {
    let etag = file.digest();
    let bytes = file.sent.as_ref().unwrap_or(&file.bytes);
    let all = bytes.len();
    let (first, last) = match range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
    {
        Some((first, last)) => (
            first.parse().unwrap(),
            last.parse().unwrap_or(all - 1).min(all - 1),
        ),
        None => (0, all - 1),
    };
    if first >= all {
        return (
            416,
            format!("content-range: bytes */{all}\r\n"),
            vec![],
            None,
        );
    }
    let body = bytes[first..=last].to_vec();
    // asking for one byte is asking for the size
    let cut = match body.len() > 1 && !file.cuts.is_empty() {
        true => Some(file.cuts.remove(0)),
        false => None,
    };
    let headers = format!(
        "etag: \"{etag}\"\r\nx-repo-commit: {revision}\r\ncontent-range: bytes {first}-{last}/{all}\r\n"
    );
    (206, headers, body, cut)
}
