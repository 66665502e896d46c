//! REST client of an MLflow server.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Failure of a request.
pub enum Failure {
    /// The server may accept the request later.
    Retry(String),
    /// The server will never accept the request.
    Refused(String),
}

/// Result of a request.
pub type Reply<T> = Result<T, Failure>;

/// Sends requests to MLflow servers.
pub struct Client {
    agent: ureq::Agent,
    /// Counts the uploaded chunks and the replies, so that a stalled connection can be detected.
    pub activity: Arc<AtomicU64>,
}

/// A file that counts reads.
struct Counted {
    file: File,
    activity: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.activity.fetch_add(1, Ordering::Relaxed);
        self.file.read(buffer)
    }
}

impl Client {
    pub fn new() -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_global(Some(Duration::from_secs(600)));
        Client {
            agent: config.build().into(),
            activity: Arc::default(),
        }
    }

    /// Posts a JSON body to an endpoint of the REST API 2.0.
    pub fn post(&self, uri: &str, endpoint: &str, body: &Value) -> Reply<Value> {
        let request = self
            .agent
            .post(format!("{uri}/api/2.0/mlflow/{endpoint}"))
            .header("content-type", "application/json");
        reply(authorized(request).send(body.to_string()))
    }

    /// Gets an endpoint of the REST API 2.0 with one query parameter.
    pub fn get(&self, uri: &str, endpoint: &str, name: &str, value: &str) -> Reply<Value> {
        let request = self
            .agent
            .get(format!("{uri}/api/2.0/mlflow/{endpoint}"))
            .query(name, value);
        reply(authorized(request).call())
    }

    /// Uploads a file as an artifact.
    pub fn put(&self, uri: &str, artifact: &str, path: &Path) -> Reply<()> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) =
            opened.map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))?;
        let file = Counted {
            file,
            activity: self.activity.clone(),
        };
        let request = self
            .agent
            .put(format!(
                "{uri}/api/2.0/mlflow-artifacts/artifacts/{artifact}"
            ))
            .header("content-type", "application/octet-stream")
            .header("content-length", length);
        reply(authorized(request).send(ureq::SendBody::from_owned_reader(file))).map(drop)
    }
}

/// Adds the credentials of the environment, as MLflow's own client does.
fn authorized<B>(request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let header = match variable("MLFLOW_TRACKING_TOKEN") {
        Some(token) => Some(format!("Bearer {token}")),
        None => variable("MLFLOW_TRACKING_USERNAME").map(|user| {
            let password = variable("MLFLOW_TRACKING_PASSWORD").unwrap_or_default();
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        }),
    };
    match header {
        Some(header) => request.header("authorization", header),
        None => request,
    }
}

fn reply(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Reply<Value> {
    let mut response = result.map_err(|error| Failure::Retry(error.to_string()))?;
    let status = response.status().as_u16();
    let text = response
        .body_mut()
        .read_to_string()
        .map_err(|error| Failure::Retry(error.to_string()))?;
    match status {
        200..300 => Ok(serde_json::from_str(&text).unwrap_or(Value::Null)),
        // not authorized, too many requests, server errors: all may pass
        401 | 403 | 408 | 429 | 500.. => {
            Err(Failure::Retry(format!("it answers with status {status}")))
        }
        _ => Err(Failure::Refused(format!(
            "it answers with status {status}: {}",
            text.chars().take(300).collect::<String>()
        ))),
    }
}
