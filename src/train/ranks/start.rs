//! Checks that all ranks train the same thing.

use serde_json::{Map, Value};

use super::Ranks;
use crate::data::Listing;
use crate::device::{Device, DeviceError, Tensor};
use crate::train::{RunConfig, TrainError};

/// Pictures whose content is compared: the others are read by one rank alone.
const SAMPLE: usize = 64;

impl Ranks {
    /// Compares what each rank is configured to train.
    ///
    /// # Errors
    /// The first setting that differs, on all ranks; a rank that is lost.
    pub(crate) fn check_configuration(&self, config: &RunConfig) -> Result<(), TrainError> {
        if !self.are_several() {
            return Ok(());
        }
        let mut config = serde_json::to_value(config.stored()).expect("a configuration is data");
        if let Value::Object(settings) = &mut config {
            // rank 0 alone saves and reports
            settings.retain(|room, _| !["checkpoint", "log", "tracking"].contains(&room.as_str()));
            let version = Value::from(env!("CARGO_PKG_VERSION"));
            settings.insert("the version of seemore".into(), version);
        }
        self.check_equal(&config)
    }

    /// Compares what each rank has read and starts from, by fingerprints: `facts` with their names,
    /// the tensors of `state`, and the kind of device.
    ///
    /// # Errors
    /// The first one that differs, on all ranks; a rank that is lost; a device that failed.
    pub(crate) fn check_start(
        &self,
        facts: &[(&str, u64)],
        state: &[(String, Tensor)],
        device: &Device,
    ) -> Result<(), TrainError> {
        let fingerprint = |number: u64| Value::from(format!("{number:016x}"));
        let mut all: Map<String, Value> = facts
            .iter()
            .map(|&(name, fact)| (format!("the fingerprint of {name}"), fingerprint(fact)))
            .collect();
        let state = checksum(state)?;
        all.insert(
            "the fingerprint of the state".into(),
            fingerprint(state.into()),
        );
        // another kind of device rounds otherwise: copies of the model would drift apart
        all.insert("the device".into(), Value::from(kind(device)));
        self.check_equal(&Value::Object(all))
    }

    /// Compares what each rank finds to read: captions, names and sizes of the pictures, and the
    /// content of a few.
    ///
    /// # Errors
    /// The first listing that differs, on all ranks; a rank that is lost.
    pub(crate) fn check_listings(&self, listings: &[(&str, &Listing)]) -> Result<(), TrainError> {
        if !self.are_several() {
            return Ok(());
        }
        let fact = |(name, listing): &(&str, &Listing)| {
            let found = format!(
                "{} pictures, {:016x}",
                listing.records(),
                listing.fingerprint(SAMPLE)
            );
            (
                format!("the list of {name} pictures and captions"),
                Value::from(found),
            )
        };
        self.check_equal(&Value::Object(listings.iter().map(fact).collect()))
    }

    fn check_equal(&self, of_this: &Value) -> Result<(), TrainError> {
        let all = self.gather_texts(&of_this.to_string())?;
        let values = all.iter().map(|text| serde_json::from_str(text));
        let values: Vec<Value> = values.map(Result::unwrap_or_default).collect();
        for (rank, value) in values.iter().enumerate() {
            if let Some((field, first, other)) = difference(&values[0], value, "") {
                return Err(TrainError::RanksDiffer {
                    rank,
                    what: format!("{field} is {other} there, and {first} on rank 0"),
                });
            }
        }
        Ok(())
    }
}

/// Returns what decides how a device rounds, as far as it tells.
fn kind(device: &Device) -> String {
    let facts = device.facts().into_iter();
    // results do not depend on the number of threads
    let facts = facts.filter(|(name, _)| *name != "threads");
    let facts = facts.map(|(name, value)| format!(", {name}: {value}"));
    device.name().to_owned() + &facts.collect::<String>()
}

/// Returns the path of the first field that differs, and both values.
fn difference(a: &Value, b: &Value, path: &str) -> Option<(String, String, String)> {
    match (a, b) {
        (Value::Object(first), Value::Object(second)) => {
            let names = first.keys().chain(second.keys());
            names
                .filter_map(|name| {
                    let path = match path {
                        "" => name.clone(),
                        path => format!("{path}.{name}"),
                    };
                    let value = |of: &Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                    difference(&value(first), &value(second), &path)
                })
                .next()
        }
        _ if a == b => None,
        _ => Some((path.to_owned(), a.to_string(), b.to_string())),
    }
}

/// CRC-32 of all elements of tensors.
fn checksum(tensors: &[(String, Tensor)]) -> Result<u32, DeviceError> {
    const PIECE: usize = 1 << 20;
    let mut hash = crc32fast::Hasher::new();
    for (name, tensor) in tensors {
        hash.update(name.as_bytes());
        for piece in tensor.pieces(PIECE) {
            hash.update(bytemuck::cast_slice(&piece.read::<u32>()?));
        }
    }
    Ok(hash.finalize())
}
