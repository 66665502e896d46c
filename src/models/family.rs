//! Registry of model families.

use std::fmt::Debug;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::config::{Tagged, VERSION, from_fields};
use super::load::WeightRules;
use super::pretrained::Fields;
use super::{
    ConfigError, ModelInfo, Overrides, VisionLanguage, composition, emoji, llama, nanovlm, seemore,
    smolvlm, upgrade,
};
use crate::device::DeviceError;
use crate::nn::Parameters;

/// Configuration of a model family: the values that decide the arithmetic of a model and the shapes
/// of its parameters.
pub trait FamilyConfig: Debug {
    /// Returns the properties that code for all families needs.
    fn info(&self) -> ModelInfo;

    /// Checks that a model can be built.
    ///
    /// # Errors
    /// Names the first field whose value is out of range or does not fit the others.
    fn check(&self) -> Result<(), ConfigError>;

    /// Replaces the values that `overrides` holds.
    fn apply(&mut self, overrides: &Overrides);

    /// Returns the multiply-adds of the matrix products in a forward pass over one image and `text`
    /// tokens.
    fn multiply_adds(&self, text: usize) -> f64;

    /// Returns the multiply-adds of the matrix products in the image encoder and what connects it to
    /// the decoder, for one image; 0 where they are not told apart.
    fn encoder_multiply_adds(&self) -> f64 {
        0.0
    }

    /// Returns what the files of pretrained models have beside the tensors of the layers.
    fn weight_rules(&self) -> WeightRules {
        WeightRules::default()
    }

    /// Regular expression of the names of all linear layers of the decoder's blocks, of a pretrained
    /// family.
    fn adapter_targets(&self) -> Option<String> {
        None
    }

    /// Creates the layers.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the parameters.
    fn build(&self, p: &mut Parameters) -> Result<Box<dyn VisionLanguage>, DeviceError>;
}

macro_rules! families {
    ($($(#[$doc:meta])* $family:ident($module:ident)),* $(,)?) => {
        /// Configuration of a model of any family, stored as `config.json`.
        ///
        /// The file holds the `family`, the `version` of the format and the fields of the family's
        /// configuration. Fields that are absent take the family's default values. Files of version
        /// 1, which had no tag and one flat list of fields, are upgraded when they are read.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ModelConfig {
            $($(#[$doc])* $family($module::Config)),*
        }

        impl ModelConfig {
            /// Names of all families, as in `config.json`.
            pub const FAMILIES: &[&str] = &[$(stringify!($module)),*];

            /// Name of the family, as in `config.json`.
            pub fn family(&self) -> &'static str {
                match self { $(ModelConfig::$family(_) => stringify!($module)),* }
            }

            fn inner(&self) -> &dyn FamilyConfig {
                match self { $(ModelConfig::$family(config) => config),* }
            }

            fn inner_mut(&mut self) -> &mut dyn FamilyConfig {
                match self { $(ModelConfig::$family(config) => config),* }
            }

            fn from_family(family: &str, fields: Map<String, Value>) -> Result<Self, ConfigError> {
                match family {
                    $(stringify!($module) => from_fields(fields).map(ModelConfig::$family),)*
                    _ => Err(ConfigError::Family { family: family.to_owned() }),
                }
            }
        }

        impl Serialize for ModelConfig {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let (family, version) = (self.family(), VERSION);
                match self {
                    $(ModelConfig::$family(config) => {
                        Tagged { family, version, config }.serialize(serializer)
                    }),*
                }
            }
        }

        $(
            impl From<$module::Config> for ModelConfig {
                fn from(config: $module::Config) -> ModelConfig {
                    ModelConfig::$family(config)
                }
            }

            impl From<&$module::Config> for ModelConfig {
                fn from(config: &$module::Config) -> ModelConfig {
                    ModelConfig::$family(config.clone())
                }
            }
        )*
    };
}

// one line per family
families! {
    /// Vision transformer, projector and decoder.
    Seemore(seemore),
    /// Recipe for drawings with few examples each.
    Emoji(emoji),
    /// SmolVLM and SmolVLM2.
    Smolvlm(smolvlm),
    /// nanoVLM.
    Nanovlm(nanovlm),
    /// Llama-type language models: text only.
    Llama(llama),
    /// Pretrained image encoder and decoder, with a projector trained here.
    Composition(composition),
}

/// Architectures of Hugging Face's files that are known, by the `model_type` of their
/// `config.json`.
pub const ARCHITECTURES: &[&str] = &["idefics3", "smolvlm", "llama"];

/// Architectures that encode pictures and write no text.
const ENCODERS: &[&str] = &[
    "clip",
    "clip_vision_model",
    "siglip",
    "siglip_vision_model",
    "idefics3_vision",
    "smolvlm_vision",
];

impl ModelConfig {
    /// Reads a configuration from the fields of a `config.json` of any known version, without
    /// checking it.
    ///
    /// # Errors
    /// Names an unknown family, version or field, or a value of the wrong type.
    pub fn from_json(value: Value) -> Result<ModelConfig, ConfigError> {
        let Value::Object(mut fields) = value else {
            return Err(ConfigError::Syntax("it is not a JSON object".into()));
        };
        if let Some(config) = ModelConfig::from_huggingface(&fields)? {
            return Ok(config);
        }
        if upgrade::is_flat(&fields) {
            return upgrade::upgrade(fields);
        }
        let version = fields.remove("version");
        if let Some(version) = version.filter(|version| *version != VERSION) {
            return Err(ConfigError::Version {
                version: version.to_string(),
            });
        }
        match fields.remove("family") {
            None => ModelConfig::from_family("seemore", fields),
            Some(Value::String(family)) => ModelConfig::from_family(&family, fields),
            Some(other) => Err(ConfigError::Family {
                family: other.to_string(),
            }),
        }
    }

    /// Reads the configuration of a pretrained model from the fields of its `config.json`. Returns
    /// `None` for a file of this library.
    fn from_huggingface(fields: &Map<String, Value>) -> Result<Option<ModelConfig>, ConfigError> {
        if fields.contains_key("family") {
            return Ok(None);
        }
        // nanoVLM's files name no architecture
        let of_nanovlm = fields.contains_key("lm_hidden_dim");
        let fields = Fields::new(fields);
        if of_nanovlm {
            return nanovlm::Config::from_huggingface(&fields).map(|config| Some(config.into()));
        }
        if !fields.has("model_type") && !fields.has("architectures") {
            return Ok(None);
        }
        let model_type: String = fields.value("model_type", None)?;
        match model_type.as_str() {
            "idefics3" | "smolvlm" => {
                smolvlm::Config::from_huggingface(&fields).map(|config| Some(config.into()))
            }
            "llama" => llama::Config::from_huggingface(&fields).map(|config| Some(config.into())),
            _ if ENCODERS.contains(&model_type.as_str()) => {
                Err(ConfigError::EncoderOnly { model_type })
            }
            _ => Err(ConfigError::Architecture { model_type }),
        }
    }

    /// Whether models of the family come from files of other programs.
    pub fn is_pretrained(&self) -> bool {
        !matches!(self, ModelConfig::Seemore(_) | ModelConfig::Emoji(_))
    }

    /// Returns the properties that code for all families needs.
    pub fn info(&self) -> ModelInfo {
        self.inner().info()
    }

    /// Checks that a model can be built; see [`FamilyConfig::check`].
    ///
    /// # Errors
    /// Names the first field whose value is out of range or does not fit the others.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.inner().check()
    }

    /// Replaces the values that `overrides` holds, and checks the result.
    ///
    /// # Errors
    /// See [`check`](Self::check).
    pub fn apply(&mut self, overrides: &Overrides) -> Result<(), ConfigError> {
        self.inner_mut().apply(overrides);
        self.check()
    }

    /// Returns the multiply-adds of the matrix products in a forward pass over one image and `text`
    /// tokens.
    pub fn multiply_adds(&self, text: usize) -> f64 {
        self.inner().multiply_adds(text)
    }

    /// Returns the multiply-adds of the matrix products in the image encoder and what connects it to
    /// the decoder, for one image; 0 where they are not told apart.
    pub fn encoder_multiply_adds(&self) -> f64 {
        self.inner().encoder_multiply_adds()
    }

    /// Regular expression of the names of the layers that get adapters unless others are named: all
    /// linear layers of the decoder's blocks. `None` for models that are not pretrained.
    pub fn adapter_targets(&self) -> Option<String> {
        self.inner().adapter_targets()
    }

    /// Returns what the files of pretrained models have beside the tensors of the layers.
    pub(super) fn weight_rules(&self) -> WeightRules {
        self.inner().weight_rules()
    }

    /// Creates the layers; see [`FamilyConfig::build`].
    pub(super) fn build(&self, p: &mut Parameters) -> Result<Box<dyn VisionLanguage>, DeviceError> {
        self.inner().build(p)
    }
}

impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ModelConfig, D::Error> {
        ModelConfig::from_json(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl From<&ModelConfig> for ModelConfig {
    fn from(config: &ModelConfig) -> ModelConfig {
        config.clone()
    }
}
