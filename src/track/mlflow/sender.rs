//! Sending the spool, and remembering how far it was sent.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::TrackError;
use super::client::{Client, Failure, Reply};
use super::spool::{Entry, SPOOL};
use crate::atomic_file;

/// Name of the file that holds the position in the spool.
pub const POSITION: &str = "mlflow.json";

/// Limits of the server: metrics and parameters in one request, characters of a parameter's value.
const MAX_METRICS: usize = 1000;
const MAX_PARAMETERS: usize = 100;
const MAX_CHARACTERS: usize = 6000;

/// How far the spool was sent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Position {
    /// Address of the server.
    pub uri: String,
    /// Identifier of the run, once the server has created it.
    pub run: Option<String>,
    /// URI of the run's artifacts.
    artifacts: Option<String>,
    /// Number of bytes of the spool that were sent.
    pub bytes: u64,
}

/// Sends a spool.
pub struct Sender {
    client: Client,
    pub spool: PathBuf,
    position: PathBuf,
    pub sent: Position,
    /// Reasons of the requests that the server refused.
    pub refused: Vec<String>,
}

impl Sender {
    /// Opens the spool in a run's tracking folder.
    pub fn new(folder: &Path) -> Result<Sender, TrackError> {
        let position = folder.join(POSITION);
        let sent = match std::fs::read_to_string(&position) {
            Ok(text) => serde_json::from_str(&text).map_err(|reason| TrackError::Damaged {
                path: position.clone(),
                reason,
            })?,
            Err(_) => Position::default(),
        };
        Ok(Sender {
            client: Client::new(),
            spool: folder.join(SPOOL),
            position,
            sent,
            refused: vec![],
        })
    }

    /// Counter that grows while data flow; see [`Client::activity`].
    pub fn activity(&self) -> &Arc<AtomicU64> {
        &self.client.activity
    }

    fn post(&self, endpoint: &str, body: &Value) -> Reply<Value> {
        self.client.post(&self.sent.uri, endpoint, body)
    }

    /// Returns the identifier of an experiment, which is created if it does not exist.
    fn experiment(&self, name: &str) -> Reply<String> {
        let id = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| Failure::Refused("its answer has no experiment_id".into()))
        };
        let endpoint = "experiments/get-by-name";
        match self
            .client
            .get(&self.sent.uri, endpoint, "experiment_name", name)
        {
            Ok(found) => id(&found["experiment"]["experiment_id"]),
            Err(Failure::Refused(_)) => {
                id(&self.post("experiments/create", &json!({"name": name}))?["experiment_id"])
            }
            Err(retry) => Err(retry),
        }
    }

    /// Creates the run, unless that was done before, and sends its parameters.
    pub fn begin(
        &mut self,
        experiment: &str,
        run: &str,
        time: u64,
        parameters: &[(String, String)],
    ) -> Reply<()> {
        if self.sent.run.is_none() {
            let experiment = self.experiment(experiment)?;
            let body = json!({
                "experiment_id": experiment,
                "run_name": run,
                "start_time": time,
                "tags": [
                    {"key": "mlflow.runName", "value": run},
                    {"key": "mlflow.source.name", "value": "seemore"},
                ],
            });
            let created = self.post("runs/create", &body)?;
            let info = &created["run"]["info"];
            let Some(id) = info["run_id"].as_str() else {
                return Err(Failure::Refused("its answer has no run_id".into()));
            };
            (self.sent.run, self.sent.artifacts) = (
                Some(id.to_owned()),
                info["artifact_uri"].as_str().map(str::to_owned),
            );
            // saved before anything else can fail: a retry must not create another run
            self.save_position()
                .map_err(|error| Failure::Retry(error.to_string()))?;
        }
        for part in parameters.chunks(MAX_PARAMETERS) {
            let parameter = |(key, value): &(String, String)| {
                let value: String = value.chars().take(MAX_CHARACTERS).collect();
                json!({"key": key, "value": value})
            };
            let parameters: Vec<Value> = part.iter().map(parameter).collect();
            self.log(json!({"params": parameters}))?;
        }
        Ok(())
    }

    fn run(&self) -> Reply<&str> {
        self.sent
            .run
            .as_deref()
            .ok_or_else(|| Failure::Refused("the server refused the run itself".into()))
    }

    fn log(&self, mut body: Value) -> Reply<()> {
        body["run_id"] = json!(self.run()?);
        self.post("runs/log-batch", &body).map(drop)
    }

    fn update(&self, mut body: Value) -> Reply<()> {
        body["run_id"] = json!(self.run()?);
        self.post("runs/update", &body).map(drop)
    }

    fn artifact(&self, path: &Path, name: &str) -> Reply<()> {
        self.run()?;
        let place = self.sent.artifacts.as_deref().unwrap_or_default();
        let Some(folder) = place.strip_prefix("mlflow-artifacts:") else {
            let why = format!(
                "the server keeps artifacts at {place}, where only its own client can write: start it with --serve-artifacts"
            );
            return Err(Failure::Refused(why));
        };
        // a host in it, as in mlflow-artifacts://host/0/.., is that of the server
        let folder = folder
            .strip_prefix("//")
            .and_then(|rest| rest.split_once('/'))
            .map_or(folder, |(_, folder)| folder);
        let artifact = format!("{}/{name}", folder.trim_matches('/'));
        self.client.put(&self.sent.uri, &artifact, path)
    }

    /// Sends entries: several of metrics together, or a single one of another kind.
    fn send(&mut self, entries: &[Entry]) -> Reply<()> {
        match &entries[0] {
            Entry::Metrics { .. } => {
                let mut metrics = vec![];
                for entry in entries {
                    let Entry::Metrics { step, time, values } = entry else {
                        continue;
                    };
                    metrics.extend(values.iter().map(|(key, value)| {
                        json!({"key": key, "value": value, "timestamp": time, "step": step})
                    }));
                }
                for part in metrics.chunks(MAX_METRICS) {
                    self.log(json!({"metrics": part}))?;
                }
                Ok(())
            }
            Entry::Begin {
                uri,
                experiment,
                run,
                time,
                parameters,
            } => {
                self.sent.uri.clone_from(uri);
                self.begin(experiment, run, *time, parameters)
            }
            Entry::Resume { .. } => self.update(json!({"status": "RUNNING"})),
            Entry::Artifact { path, name } => self.artifact(path, name),
            Entry::End { status, time } => self.update(json!({"status": status, "end_time": time})),
        }
    }

    fn save_position(&self) -> std::io::Result<()> {
        atomic_file::write(
            &self.position,
            serde_json::to_string_pretty(&self.sent)?.as_bytes(),
        )
    }

    /// Sends all complete lines of the spool.
    ///
    /// # Errors
    /// The reason why the server did not accept an entry, which it may accept later.
    pub fn send_all(&mut self) -> Result<(), String> {
        let problem = |error: std::io::Error| error.to_string();
        loop {
            let mut spool = File::open(&self.spool).map_err(problem)?;
            spool
                .seek(SeekFrom::Start(self.sent.bytes))
                .map_err(problem)?;
            let (mut entries, mut bytes) = (vec![], 0);
            for text in BufReader::new(spool).split(b'\n') {
                let text = text.map_err(problem)?;
                // an incomplete line, left by a crash, is not JSON and is skipped
                let entry = serde_json::from_slice::<Entry>(&text);
                let together = match (entries.first(), &entry) {
                    (None, _) => true,
                    (Some(Entry::Metrics { .. }), Ok(Entry::Metrics { .. })) => {
                        entries.len() < MAX_METRICS
                    }
                    _ => false,
                };
                if !together {
                    break;
                }
                bytes += text.len() as u64 + 1;
                match entry {
                    Ok(entry) => entries.push(entry),
                    Err(_) => break,
                }
            }
            let length = std::fs::metadata(&self.spool).map_err(problem)?.len();
            if bytes == 0 || self.sent.bytes + bytes > length && entries.is_empty() {
                return Ok(());
            }
            if !entries.is_empty() {
                match self.send(&entries) {
                    Ok(()) => {}
                    Err(Failure::Retry(why)) => return Err(why),
                    Err(Failure::Refused(why)) => self.refused.push(why),
                }
            }
            self.sent.bytes += bytes;
            self.activity().fetch_add(1, Ordering::Relaxed);
            self.save_position().map_err(problem)?;
        }
    }
}
