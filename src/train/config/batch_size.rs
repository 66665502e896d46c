//! A number of pictures, or as many as fit.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Pictures in one optimizer step. In a file: a number, or `"auto"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// The largest batch that fits the device's memory and the data.
    Auto,
    /// This number of pictures.
    Pictures(usize),
}

impl std::fmt::Display for BatchSize {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            BatchSize::Auto => f.write_str("auto"),
            BatchSize::Pictures(pictures) => pictures.fmt(f),
        }
    }
}

impl std::str::FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Result<BatchSize, String> {
        match text.parse() {
            Ok(pictures) => Ok(BatchSize::Pictures(pictures)),
            Err(_) if text == "auto" => Ok(BatchSize::Auto),
            Err(_) => Err("expected a number of pictures, or auto".into()),
        }
    }
}

impl Serialize for BatchSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            BatchSize::Auto => to.serialize_str("auto"),
            BatchSize::Pictures(pictures) => to.serialize_u64(*pictures as u64),
        }
    }
}

impl<'de> Deserialize<'de> for BatchSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<BatchSize, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Value {
            Pictures(usize),
            Word(String),
        }
        match Value::deserialize(from)? {
            Value::Pictures(pictures) => Ok(BatchSize::Pictures(pictures)),
            Value::Word(word) => word.parse().map_err(de::Error::custom),
        }
    }
}
