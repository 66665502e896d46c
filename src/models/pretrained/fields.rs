//! Fields of a model's configuration file, read one by one with errors that name them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::models::ConfigError;

/// A JSON object of a configuration file, and where it stands there.
///
/// Files of Hugging Face have many fields that do not matter here, and leave out those with the
/// default values of their library: each reader names the fields it needs.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    /// Path of the object in the file, with a dot behind it unless it is the file itself.
    path: String,
    map: &'a Map<String, Value>,
}

/// Largest size of a file that is taken for one: sums and products of a few do not overflow.
const LARGEST: usize = (1 << 24) - 1;

impl<'a> Fields<'a> {
    pub(crate) fn new(map: &'a Map<String, Value>) -> Fields<'a> {
        Fields {
            path: String::new(),
            map,
        }
    }

    /// Returns the path of a field in the file.
    fn name(&self, field: &str) -> String {
        format!("{}{field}", self.path)
    }

    /// Returns where the object stands: its path with a dot behind it, or nothing.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns whether the field is there and not null.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.map.get(field).is_some_and(|value| !value.is_null())
    }

    /// Returns an error about the value of a field.
    pub(crate) fn wrong(
        &self,
        field: &str,
        value: impl ToString,
        rule: impl Into<String>,
    ) -> ConfigError {
        ConfigError::field(&self.name(field), value, rule)
    }

    /// Returns the value of a field, or `default` if it is absent or null.
    pub(crate) fn value<T: DeserializeOwned>(
        &self,
        field: &str,
        default: Option<T>,
    ) -> Result<T, ConfigError> {
        if !self.has(field) {
            return default.ok_or_else(|| ConfigError::Absent {
                field: self.name(field),
            });
        }
        let value = &self.map[field];
        T::deserialize(value).map_err(|error| self.wrong(field, value, error.to_string()))
    }

    /// Returns a positive whole number.
    pub(crate) fn size(&self, field: &str, default: Option<usize>) -> Result<usize, ConfigError> {
        let value = self.value(field, default)?;
        match value {
            1..=LARGEST => Ok(value),
            _ => Err(self.wrong(field, value, format!("it must be from 1 to {LARGEST}"))),
        }
    }

    /// Returns a positive number.
    pub(crate) fn float(&self, field: &str, default: Option<f64>) -> Result<f64, ConfigError> {
        let value = self.value(field, default)?;
        match value > 0.0 && value.is_finite() {
            true => Ok(value),
            false => Err(self.wrong(field, value, "it must be positive")),
        }
    }

    pub(crate) fn flag(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        self.value(field, Some(default))
    }

    /// Checks that a field, if present, has the only value that is supported.
    pub(crate) fn same<T: DeserializeOwned + PartialEq + Serialize + Clone>(
        &self,
        field: &str,
        only: T,
    ) -> Result<(), ConfigError> {
        let value = self.value(field, Some(only.clone()))?;
        let text = |value: &T| serde_json::to_string(value).unwrap_or_default();
        match value == only {
            true => Ok(()),
            false => Err(self.wrong(
                field,
                text(&value),
                format!("only {} is supported", text(&only)),
            )),
        }
    }

    /// Returns the object in a field, if it is there.
    pub(crate) fn object(&self, field: &str) -> Result<Option<Fields<'a>>, ConfigError> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields {
                path: format!("{}.", self.name(field)),
                map,
            })),
            Some(other) => Err(self.wrong(field, other, "it must be an object")),
        }
    }
}
