//! An MLflow server, through its REST API (2.0: <https://mlflow.org/docs/latest/rest-api.html>).
//!
//! All that is to be sent is first appended to a spool, `tracking/mlflow.jsonl` in the folder of the run, and sent from there by a thread: a
//! server that is slow, refuses or is dead costs training nothing. How far it was sent is kept in `tracking/mlflow.json`. What is sent twice
//! since the program ended in between does no harm: the server keeps a metric of the same step, time and value once.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Begin, End, Metrics, Track};
use crate::atomic_file;

/// What the run is called on the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// `seemore` without one.
    pub experiment: Option<String>,
    /// The name of the run's folder without one.
    pub run: Option<String>,
}

/// A line of the spool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    /// A new run.
    Begin {
        uri: String,
        experiment: String,
        run: String,
        time: u64,
        parameters: Vec<(String, String)>,
    },
    /// The run goes on.
    Resume {
        step: u64,
        time: u64,
    },
    Metrics {
        step: u64,
        time: u64,
        values: Vec<(String, Number)>,
    },
    /// A file, by its path as of the time when the run ended.
    Artifact {
        path: PathBuf,
        name: String,
    },
    End {
        status: String,
        time: u64,
    },
}

/// A number that may be none, which JSON does not have: MLflow takes these words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Other(String),
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        match value {
            value if value.is_nan() => Number::Other("NaN".into()),
            f64::INFINITY => Number::Other("Infinity".into()),
            f64::NEG_INFINITY => Number::Other("-Infinity".into()),
            value => Number::Finite(value),
        }
    }
}

/// How far the spool was sent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Sent {
    uri: String,
    run: Option<String>,
    artifacts: Option<String>,
    /// Bytes of the spool.
    bytes: u64,
}

/// Milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as u64)
}

/// What a request failed of.
enum Failure {
    /// The server may take it later.
    Later(String),
    /// The server will never take it.
    Never(String),
}

type Sending<T> = Result<T, Failure>;

/// Sends a spool.
struct Sender {
    agent: ureq::Agent,
    spool: PathBuf,
    position: PathBuf,
    sent: Sent,
    /// What the server refused, for the end.
    refused: Vec<String>,
    /// Grows with every part of a file and every answer: what does not move is dead.
    moved: Arc<AtomicU64>,
}

/// A file that counts what is read of it.
struct Counted {
    file: File,
    moved: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.moved.fetch_add(1, Ordering::Relaxed);
        self.file.read(buffer)
    }
}

/// Most metrics and parameters of one request, and characters of a parameter's value, as the server has it.
const MOST_METRICS: usize = 1000;
const MOST_PARAMETERS: usize = 100;
const MOST_CHARACTERS: usize = 6000;

impl Sender {
    fn new(folder: &Path) -> anyhow::Result<Sender> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_global(Some(Duration::from_secs(600)));
        let position = folder.join("mlflow.json");
        let sent = match std::fs::read_to_string(&position) {
            Ok(text) => serde_json::from_str(&text).with_context(|| {
                format!(
                    "{} is damaged: move it away to send all again",
                    position.display()
                )
            })?,
            Err(_) => Sent::default(),
        };
        Ok(Sender {
            agent: config.build().into(),
            spool: folder.join("mlflow.jsonl"),
            position,
            sent,
            refused: vec![],
            moved: Arc::default(),
        })
    }

    /// What says who asks, as MLflow's own client takes it from the environment.
    fn authorization() -> Option<String> {
        let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(token) = value("MLFLOW_TRACKING_TOKEN") {
            return Some(format!("Bearer {token}"));
        }
        let (user, password) = (
            value("MLFLOW_TRACKING_USERNAME")?,
            value("MLFLOW_TRACKING_PASSWORD").unwrap_or_default(),
        );
        Some(format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
        ))
    }

    fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Sending<Value> {
        let mut response = result.map_err(|error| Failure::Later(error.to_string()))?;
        let status = response.status().as_u16();
        let text = response
            .body_mut()
            .read_to_string()
            .map_err(|error| Failure::Later(error.to_string()))?;
        match status {
            200..300 => Ok(serde_json::from_str(&text).unwrap_or(Value::Null)),
            // not allowed, too many requests, broken: all may change
            401 | 403 | 408 | 429 | 500.. => Err(Failure::Later(format!("it answers {status}"))),
            _ => Err(Failure::Never(format!(
                "it answers {status}: {}",
                text.chars().take(300).collect::<String>()
            ))),
        }
    }

    fn post(&self, path: &str, body: &Value) -> Sending<Value> {
        let request = self
            .agent
            .post(format!("{}/api/2.0/mlflow/{path}", self.sent.uri))
            .header("content-type", "application/json");
        let request = Self::authorization()
            .into_iter()
            .fold(request, |request, value| {
                request.header("authorization", value)
            });
        Self::answer(request.send(body.to_string()))
    }

    /// The experiment of a name, made if it is not there.
    fn experiment(&self, name: &str) -> Sending<String> {
        let request = self
            .agent
            .get(format!(
                "{}/api/2.0/mlflow/experiments/get-by-name",
                self.sent.uri
            ))
            .query("experiment_name", name);
        let request = Self::authorization()
            .into_iter()
            .fold(request, |request, value| {
                request.header("authorization", value)
            });
        let id = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| Failure::Never("its answer has no experiment_id".into()))
        };
        match Self::answer(request.call()) {
            Ok(found) => id(&found["experiment"]["experiment_id"]),
            Err(Failure::Never(_)) => {
                id(&self.post("experiments/create", &json!({"name": name}))?["experiment_id"])
            }
            Err(later) => Err(later),
        }
    }

    fn begin(
        &mut self,
        experiment: &str,
        run: &str,
        time: u64,
        parameters: &[(String, String)],
    ) -> Sending<()> {
        if self.sent.run.is_none() {
            let experiment = self.experiment(experiment)?;
            let body = json!({"experiment_id": experiment, "run_name": run, "start_time": time, "tags": [
                {"key": "mlflow.runName", "value": run},
                {"key": "mlflow.source.name", "value": "seemore"},
            ]});
            let made = self.post("runs/create", &body)?;
            let info = &made["run"]["info"];
            let Some(id) = info["run_id"].as_str() else {
                return Err(Failure::Never("its answer has no run_id".into()));
            };
            (self.sent.run, self.sent.artifacts) = (
                Some(id.to_owned()),
                info["artifact_uri"].as_str().map(str::to_owned),
            );
            // before anything else goes wrong: another try must not make another run
            self.keep()
                .map_err(|error| Failure::Later(error.to_string()))?;
        }
        for part in parameters.chunks(MOST_PARAMETERS) {
            let parameters: Vec<Value> = part
                .iter()
                .map(|(key, value)| json!({"key": key, "value": value.chars().take(MOST_CHARACTERS).collect::<String>()}))
                .collect();
            self.log(json!({"params": parameters}))?;
        }
        Ok(())
    }

    fn run(&self) -> Sending<&str> {
        self.sent
            .run
            .as_deref()
            .ok_or_else(|| Failure::Never("the server refused the run itself".into()))
    }

    fn log(&self, mut body: Value) -> Sending<()> {
        body["run_id"] = json!(self.run()?);
        self.post("runs/log-batch", &body).map(drop)
    }

    fn artifact(&self, path: &Path, name: &str) -> Sending<()> {
        self.run()?;
        let place = self.sent.artifacts.as_deref().unwrap_or_default();
        let Some(folder) = place.strip_prefix("mlflow-artifacts:") else {
            let why = format!(
                "the server keeps files at {place}, where only its own client writes: start it with --serve-artifacts"
            );
            return Err(Failure::Never(why));
        };
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) = match opened {
            Ok((length, file)) => (
                length,
                Counted {
                    file,
                    moved: self.moved.clone(),
                },
            ),
            Err(error) => return Err(Failure::Never(format!("{}: {error}", path.display()))),
        };
        // with a host in it, as mlflow-artifacts://host/0/..; the host is the server's
        let folder = folder
            .strip_prefix("//")
            .and_then(|rest| rest.split_once('/'))
            .map_or(folder, |(_, folder)| folder);
        let url = format!(
            "{}/api/2.0/mlflow-artifacts/artifacts/{}/{name}",
            self.sent.uri,
            folder.trim_matches('/')
        );
        let request = self
            .agent
            .put(url)
            .header("content-type", "application/octet-stream")
            .header("content-length", length);
        let request = Self::authorization()
            .into_iter()
            .fold(request, |request, value| {
                request.header("authorization", value)
            });
        Self::answer(request.send(ureq::SendBody::from_owned_reader(file))).map(drop)
    }

    /// Sends lines of metrics together, and others one by one.
    fn send(&mut self, lines: &[Line]) -> Sending<()> {
        match &lines[0] {
            Line::Metrics { .. } => {
                let mut metrics = vec![];
                for line in lines {
                    let Line::Metrics { step, time, values } = line else {
                        continue;
                    };
                    metrics.extend(values.iter().map(|(key, value)| json!({"key": key, "value": value, "timestamp": time, "step": step})));
                }
                for part in metrics.chunks(MOST_METRICS) {
                    self.log(json!({"metrics": part}))?;
                }
                Ok(())
            }
            Line::Begin {
                uri,
                experiment,
                run,
                time,
                parameters,
            } => {
                self.sent.uri.clone_from(uri);
                self.begin(experiment, run, *time, parameters)
            }
            Line::Resume { .. } => self
                .post(
                    "runs/update",
                    &json!({"run_id": self.run()?, "status": "RUNNING"}),
                )
                .map(drop),
            Line::Artifact { path, name } => self.artifact(path, name),
            Line::End { status, time } => self
                .post(
                    "runs/update",
                    &json!({"run_id": self.run()?, "status": status, "end_time": time}),
                )
                .map(drop),
        }
    }

    fn keep(&self) -> std::io::Result<()> {
        atomic_file::write(
            &self.position,
            serde_json::to_string_pretty(&self.sent)?.as_bytes(),
        )
    }

    /// Sends all whole lines that are in the spool.
    ///
    /// # Errors
    /// Why the server did not take a line, which it may later.
    fn send_all(&mut self) -> Result<(), String> {
        let problem = |error: std::io::Error| error.to_string();
        loop {
            let mut spool = File::open(&self.spool).map_err(problem)?;
            spool
                .seek(SeekFrom::Start(self.sent.bytes))
                .map_err(problem)?;
            let (mut lines, mut bytes) = (vec![], 0);
            for text in BufReader::new(spool).split(b'\n') {
                let text = text.map_err(problem)?;
                // one that is only half there, as after a crash, ends nothing: it is not JSON
                let line = serde_json::from_slice::<Line>(&text);
                let together = match (lines.first(), &line) {
                    (None, _) => true,
                    (Some(Line::Metrics { .. }), Ok(Line::Metrics { .. })) => {
                        lines.len() < MOST_METRICS
                    }
                    _ => false,
                };
                if !together {
                    break;
                }
                bytes += text.len() as u64 + 1;
                match line {
                    Ok(line) => lines.push(line),
                    Err(_) => break,
                }
            }
            let length = std::fs::metadata(&self.spool).map_err(problem)?.len();
            if bytes == 0 || self.sent.bytes + bytes > length && lines.is_empty() {
                return Ok(());
            }
            if !lines.is_empty() {
                match self.send(&lines) {
                    Ok(()) => {}
                    Err(Failure::Later(why)) => return Err(why),
                    Err(Failure::Never(why)) => {
                        self.refused.push(why);
                    }
                }
            }
            self.sent.bytes += bytes;
            self.moved.fetch_add(1, Ordering::Relaxed);
            self.keep().map_err(problem)?;
        }
    }
}

/// What the thread tells training.
#[derive(Default)]
struct State {
    /// Why the server last refused, until it takes something.
    down: Option<String>,
    /// The spool is sent.
    done: bool,
    refused: Vec<String>,
}

/// A run on an MLflow server.
pub struct Mlflow {
    uri: String,
    names: Names,
    folder: PathBuf,
    name: String,
    resumed: bool,
    /// What an earlier part of the run has told of steps that come again.
    told: HashMap<(u64, String), Number>,
    spool: Option<File>,
    state: Arc<Mutex<State>>,
    moved: Arc<AtomicU64>,
    wake: Option<SyncSender<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Mlflow {
    /// `out` is the folder of the run; where it goes on, it does so in the same run of the server.
    pub fn new(uri: &str, names: &Names, out: &Path, resumed: bool) -> Mlflow {
        let name = out
            .file_name()
            .map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        Mlflow {
            uri: uri.to_owned(),
            names: names.clone(),
            folder: out.join("tracking"),
            name,
            resumed,
            told: HashMap::new(),
            spool: None,
            state: Arc::default(),
            moved: Arc::default(),
            wake: None,
            thread: None,
        }
    }

    fn push(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        let Some(spool) = &mut self.spool else {
            return Ok(());
        };
        let mut text = vec![];
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        spool.write_all(&text).with_context(|| {
            format!(
                "cannot write {}",
                self.folder.join("mlflow.jsonl").display()
            )
        })?;
        if let Some(wake) = &self.wake {
            // a thread that is busy looks again by itself
            let _ = wake.try_send(false);
        }
        Ok(())
    }
}

/// The numbers of steps after `step` that a spool holds.
fn told_after(spool: &Path, step: u64) -> std::io::Result<HashMap<(u64, String), Number>> {
    let mut told = HashMap::new();
    for text in BufReader::new(File::open(spool)?).split(b'\n') {
        if let Ok(Line::Metrics {
            step: of, values, ..
        }) = serde_json::from_slice(&text?)
            && of > step
        {
            told.extend(values.into_iter().map(|(name, value)| ((of, name), value)));
        }
    }
    Ok(told)
}

/// The longest pause between two tries of a server that does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the end of training waits for a server that neither answers nor takes a part of a file.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends what is in the spool whenever there is more. `true` says that no more will come.
fn follow(mut sender: Sender, wake: Receiver<bool>, state: Arc<Mutex<State>>) {
    let (mut pause, mut last) = (Duration::from_secs(1), false);
    loop {
        let result = sender.send_all();
        let mut known = state.lock().unwrap_or_else(|e| e.into_inner());
        known.refused.append(&mut sender.refused);
        known.down = result.err();
        let down = known.down.is_some();
        known.done = !down && last;
        drop(known);
        if last && !down {
            return;
        }
        pause = if down {
            (2 * pause).min(LONGEST_PAUSE)
        } else {
            Duration::from_secs(1)
        };
        if down {
            // others go on writing meanwhile
            let until = Instant::now() + if last { Duration::from_secs(1) } else { pause };
            loop {
                match wake.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(true) => {
                        last = true;
                        break;
                    }
                    Ok(false) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        } else {
            match wake.recv() {
                Ok(end) => last |= end,
                Err(_) => return,
            }
        }
    }
}

impl Track for Mlflow {
    fn begin(&mut self, begin: &Begin) -> anyhow::Result<()> {
        let spool = self.folder.join("mlflow.jsonl");
        let cannot = || format!("cannot write {}", spool.display());
        std::fs::create_dir_all(&self.folder).with_context(cannot)?;
        let goes_on = self.resumed && spool.exists();
        if !goes_on {
            for file in [&spool, &self.folder.join("mlflow.json")] {
                if file.exists() {
                    std::fs::remove_file(file).with_context(cannot)?;
                }
            }
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&spool)
            .with_context(cannot)?;
        if goes_on {
            self.told = told_after(&spool, begin.step)
                .with_context(|| format!("cannot read {}", spool.display()))?;
            // ends a line that a crash cut off
            file.write_all(b"\n").with_context(cannot)?;
        }
        self.spool = Some(file);
        let line = match goes_on {
            true => Line::Resume {
                step: begin.step,
                time: now(),
            },
            false => Line::Begin {
                uri: self.uri.clone(),
                experiment: self
                    .names
                    .experiment
                    .clone()
                    .unwrap_or_else(|| "seemore".into()),
                run: self.names.run.clone().unwrap_or_else(|| self.name.clone()),
                time: now(),
                parameters: begin.parameters.clone(),
            },
        };
        self.push(&[line])?;
        let mut sender = Sender::new(&self.folder)?;
        if goes_on {
            // the server may have moved
            sender.sent.uri.clone_from(&self.uri);
        }
        let (wake, woken) = sync_channel(1);
        let state = self.state.clone();
        self.moved = sender.moved.clone();
        self.wake = Some(wake);
        self.thread = Some(
            std::thread::Builder::new()
                .name("mlflow".into())
                .spawn(move || follow(sender, woken, state))?,
        );
        Ok(())
    }

    fn metrics(&mut self, step: u64, _seconds: f64, metrics: Metrics) -> anyhow::Result<()> {
        let mut values: Vec<_> = metrics
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Number::from(*value)))
            .collect();
        // a step that comes again after a crash is the same one if its first number, a loss, is: the server gets it once
        if let Some((name, value)) = values.first()
            && self.told.get(&(step, name.clone())) == Some(value)
        {
            values.retain(|(name, _)| !self.told.contains_key(&(step, name.clone())));
        }
        if values.is_empty() {
            Ok(())
        } else {
            self.push(&[Line::Metrics {
                step,
                time: now(),
                values,
            }])
        }
    }

    fn end(&mut self, end: End, folder: &Path) -> anyhow::Result<Option<String>> {
        let names = [
            "config.json",
            "tokenizer.json",
            "training.json",
            "model.safetensors",
        ];
        let there = names
            .iter()
            .map(|name| (folder.join(name), *name))
            .filter(|(path, _)| path.is_file());
        // found again from wherever it is sent later
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let mut lines: Vec<Line> = there
            .map(|(path, name)| Line::Artifact {
                path: whole(path),
                name: name.to_owned(),
            })
            .collect();
        let status = match end {
            End::Finished => "FINISHED",
            End::Stopped => "KILLED",
            End::Failed => "FAILED",
        };
        lines.push(Line::End {
            status: status.into(),
            time: now(),
        });
        self.push(&lines)?;
        let (Some(wake), Some(thread)) = (self.wake.take(), self.thread.take()) else {
            return Ok(None);
        };
        let (mut since, mut moved) = (Instant::now(), None);
        // one place in the channel, which a busy thread may not have emptied
        let mut told = false;
        while !thread.is_finished() && since.elapsed() < PATIENCE {
            told = told || wake.try_send(true).is_ok();
            let now = Some(self.moved.load(Ordering::Relaxed));
            if moved != now {
                (since, moved) = (Instant::now(), now);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if !state.done {
            let (why, out) = (
                state.down.as_deref().unwrap_or("it did not answer in time"),
                folder.display(),
            );
            return Ok(Some(format!(
                "note: not all was sent to {} ({why}); it is kept in {}. Send it with: seemore track {out}",
                self.uri,
                self.folder.display()
            )));
        }
        Ok(state.refused.first().map(|first| {
            format!(
                "warning: {} refused {} of what was sent: {first}",
                self.uri,
                state.refused.len()
            )
        }))
    }
}

/// Sends what is left of a run's spool, to another address if one is given. Returns the address.
///
/// # Errors
/// A folder without a spool, or a server that does not take it.
pub fn send_rest(out: &Path, uri: Option<&str>) -> anyhow::Result<String> {
    let folder = out.join("tracking");
    let mut sender = Sender::new(&folder)?;
    if !sender.spool.is_file() {
        return Err(anyhow!(
            "{} has no tracking/mlflow.jsonl: nothing of it was tracked by --track mlflow=URI",
            out.display()
        ));
    }
    let first = BufReader::new(File::open(&sender.spool)?)
        .lines()
        .next()
        .transpose()?
        .unwrap_or_default();
    let begin: Line = serde_json::from_str(&first)
        .with_context(|| format!("{} is damaged", sender.spool.display()))?;
    if let (Line::Begin { uri, .. }, true) = (&begin, sender.sent.uri.is_empty()) {
        sender.sent.uri.clone_from(uri);
    }
    if let Some(uri) = uri {
        sender.sent.uri = uri.trim_end_matches('/').to_owned();
        if sender.sent.run.is_none()
            && let Line::Begin {
                experiment,
                run,
                time,
                parameters,
                ..
            } = begin
        {
            let begun = sender.begin(&experiment, &run, time, &parameters);
            begun.map_err(|failure| match failure {
                Failure::Later(why) | Failure::Never(why) => {
                    anyhow!("{} does not take it: {why}", sender.sent.uri)
                }
            })?;
            sender.sent.bytes = first.len() as u64 + 1;
        }
    }
    let address = sender.sent.uri.clone();
    sender.send_all().map_err(|why| {
        anyhow!("{address} does not take it: {why}. It is kept; try again when the server is there")
    })?;
    match sender.refused.first() {
        Some(why) => Err(anyhow!(
            "{address} refused {} of what was sent: {why}",
            sender.refused.len()
        )),
        None => Ok(address),
    }
}
