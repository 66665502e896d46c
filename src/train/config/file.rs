//! Configurations as TOML and JSON.

use std::path::Path;

use super::RunConfig;
use crate::models::checkpoint;
use crate::train::TrainError;

impl RunConfig {
    /// Reads a TOML file, or a JSON file by its ending.
    ///
    /// # Errors
    /// A file that cannot be read, or whose text is not a configuration.
    pub fn load(path: &Path) -> Result<RunConfig, TrainError> {
        let text = std::fs::read_to_string(path).map_err(|reason| TrainError::Read {
            path: path.to_owned(),
            reason,
        })?;
        let json = path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        let parsed = if json {
            serde_json::from_str(&text).map_err(|error| error.to_string())
        } else {
            RunConfig::from_toml(&text).map_err(|error| error.to_string())
        };
        parsed.map_err(|reason| TrainError::Parse {
            path: path.to_owned(),
            reason,
        })
    }

    /// Writes the configuration as a TOML file, atomically.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let text = self.to_toml().map_err(|error| TrainError::Parse {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(checkpoint::write_file(path, text.as_bytes())?)
    }

    /// Parses TOML.
    ///
    /// # Errors
    /// Text that is not TOML, has unknown names or values of other types.
    pub fn from_toml(text: &str) -> Result<RunConfig, toml::de::Error> {
        toml::from_str(text)
    }

    /// Formats the configuration as TOML.
    ///
    /// # Errors
    /// Numbers beyond the range of TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// A seed as a number, or as a string where it is beyond the integers of TOML.
pub(super) mod seed {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(seed: &u64, to: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*seed) {
            Ok(seed) => to.serialize_i64(seed),
            Err(_) => to.serialize_str(&seed.to_string()),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Value {
            Number(u64),
            Text(String),
        }
        match Value::deserialize(from)? {
            Value::Number(seed) => Ok(seed),
            Value::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

/// An augmentation by its name where it has one, else as a table.
pub(super) mod augment {
    use serde::de::value::MapAccessDeserializer;
    use serde::de::{self, MapAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::image::{Augment, Strength};

    const NAMES: [(&str, Strength); 3] = [
        ("none", Strength::None),
        ("light", Strength::Light),
        ("strong", Strength::Strong),
    ];

    pub fn serialize<S: Serializer>(augment: &Augment, to: S) -> Result<S::Ok, S::Error> {
        let named = NAMES
            .iter()
            .find(|(_, strength)| Augment::from(*strength) == *augment);
        match named {
            Some((name, _)) => to.serialize_str(name),
            None => augment.serialize(to),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Augment, D::Error> {
        from.deserialize_any(NameOrTable)
    }

    /// Unlike an untagged enum, keeps the error about an unknown name inside the table.
    struct NameOrTable;

    impl<'de> Visitor<'de> for NameOrTable {
        type Value = Augment;

        fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
            f.write_str("none, light, strong or a table of augmentations")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<Augment, E> {
            NAMES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, strength)| Augment::from(*strength))
                .ok_or_else(|| E::custom(format!("{name} is not one of none, light and strong")))
        }

        fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Augment, A::Error> {
            Augment::deserialize(MapAccessDeserializer::new(table))
        }
    }
}

/// Tracking targets in the form in which they are parsed.
pub(super) mod targets {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::track::Target;

    pub fn serialize<S: Serializer>(targets: &[Target], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(targets.iter().map(|target| match target {
            Target::Csv(path) => format!("csv={}", path.display()),
            Target::TensorBoard(dir) => format!("tensorboard={}", dir.display()),
            Target::Mlflow(uri) => format!("mlflow={uri}"),
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Target>, D::Error> {
        Vec::<String>::deserialize(from)?
            .iter()
            .map(|text| text.parse().map_err(de::Error::custom))
            .collect()
    }
}
