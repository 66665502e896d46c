//! Adapters in the files of PEFT: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::safetensors::{Metadata, write_tensors};
use super::{CheckpointError, WeightFiles, make_folder, write_file};
use crate::device::Tensor;
use crate::nn::{LORA_A, LORA_B, LoraConfig, Targets};

/// Description of an adapter.
pub(super) const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Values of an adapter.
pub(super) const ADAPTER_MODEL: &str = "adapter_model.safetensors";

/// Prefix of the names of layers in PEFT's files.
const WRAPPER: &str = "base_model.model.";

/// Fields of other methods, which change what an adapter computes.
const UNSUPPORTED: &[&str] = &[
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "fan_in_fan_out",
    "lora_bias",
    "modules_to_save",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "megatron_config",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
];

/// Initialisations that change the weights of the base model, too.
const CHANGING: &[&str] = &["pissa", "olora", "corda", "loftq", "lora_ga"];

/// Names of the parameters of a layer's adapter.
pub(super) fn of_layer(module: &str) -> [String; 2] {
    [LORA_A, LORA_B].map(|end| format!("{module}.{end}"))
}

/// Whether a parameter belongs to an adapter.
pub(super) fn is_adapter(name: &str) -> bool {
    [LORA_A, LORA_B].iter().any(|end| name.ends_with(end))
}

/// Description of an adapter in PEFT's files.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Layers and sizes.
    pub config: LoraConfig,
    /// Model that the adapter is for, as the file names it.
    pub base: Option<String>,
}

/// Fields of `adapter_config.json`.
struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    fn get<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, CheckpointError> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(|error| self.wrong(field, error.to_string())),
        }
    }

    fn wrong(&self, field: &str, rule: impl Into<String>) -> CheckpointError {
        CheckpointError::AdapterKind {
            path: self.path.clone(),
            field: field.to_owned(),
            value: self.map.get(field).unwrap_or(&Value::Null).to_string(),
            rule: rule.into(),
        }
    }

    fn targets(&self, field: &str) -> Result<Option<Targets>, CheckpointError> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text == "all-linear" => Ok(Some(Targets::AllLinear)),
            Some(Value::String(text)) => Ok(Some(Targets::Pattern(text.clone()))),
            Some(_) => Ok(self.get(field)?.map(Targets::Names)),
        }
    }

    fn one_or_more<T: DeserializeOwned>(&self, field: &str) -> Result<Vec<T>, CheckpointError> {
        match self.map.get(field) {
            Some(Value::Array(_)) => Ok(self.get(field)?.unwrap_or_default()),
            _ => Ok(self.get(field)?.into_iter().collect()),
        }
    }
}

/// Whether a field of a configuration is as good as absent.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

impl Adapter {
    /// Reads the description of the adapter in a folder.
    ///
    /// # Errors
    /// A file that is absent or damaged, or a kind of adapter that is not supported; the message
    /// names the field.
    pub fn load(dir: &Path) -> Result<Adapter, CheckpointError> {
        let path = dir.join(ADAPTER_CONFIG);
        if !path.is_file() {
            return Err(CheckpointError::NotACheckpoint {
                path: dir.display().to_string(),
                missing: ADAPTER_CONFIG,
            });
        }
        let name = path.display().to_string();
        let text = std::fs::read(&path).map_err(|reason| CheckpointError::Read {
            path: name.clone(),
            reason,
        })?;
        let map = serde_json::from_slice(&text).map_err(|error| CheckpointError::Adapter {
            path: name.clone(),
            reason: format!("it is not the description of an adapter: {error}"),
        })?;
        let fields = Fields { path: name, map };
        Adapter::of(&fields)
    }

    fn of(fields: &Fields) -> Result<Adapter, CheckpointError> {
        let kind: Option<String> = fields.get("peft_type")?;
        if kind.as_deref() != Some("LORA") {
            return Err(fields.wrong("peft_type", "only LORA is supported"));
        }
        let bias: Option<String> = fields.get("bias")?;
        if bias.is_some_and(|bias| bias != "none") {
            return Err(fields.wrong("bias", "only none is supported"));
        }
        for field in UNSUPPORTED {
            if !fields.map.get(*field).is_none_or(is_off) {
                return Err(fields.wrong(field, "this is not supported"));
            }
        }
        if let Some(Value::String(init)) = fields.map.get("init_lora_weights")
            && CHANGING.iter().any(|begin| init.starts_with(begin))
        {
            let rule =
                "it changes the model's own weights: convert the adapter to a plain one with PEFT";
            return Err(fields.wrong("init_lora_weights", rule));
        }
        let rank = fields.get("r")?;
        let config = LoraConfig {
            rank: rank.ok_or_else(|| fields.wrong("r", "the rank is needed"))?,
            alpha: fields.get("lora_alpha")?.unwrap_or(8.0),
            rslora: fields.get("use_rslora")?.unwrap_or(false),
            dropout: fields.get("lora_dropout")?.unwrap_or(0.0),
            targets: fields
                .targets("target_modules")?
                .ok_or_else(|| fields.wrong("target_modules", "the layers must be named"))?,
            excluded: fields.targets("exclude_modules")?,
            layers: fields.one_or_more("layers_to_transform")?,
            layers_pattern: fields.one_or_more("layers_pattern")?,
            rank_pattern: fields.get("rank_pattern")?.unwrap_or_default(),
            alpha_pattern: fields.get("alpha_pattern")?.unwrap_or_default(),
        };
        config.check().map_err(|reason| CheckpointError::Adapter {
            path: fields.path.clone(),
            reason,
        })?;
        Ok(Adapter {
            config,
            base: fields.get("base_model_name_or_path")?,
        })
    }

    /// Opens the values of the adapter in a folder, by the names of the model's parameters.
    ///
    /// # Errors
    /// A file that is absent or damaged.
    pub(super) fn weights(dir: &Path) -> Result<WeightFiles, CheckpointError> {
        let path = dir.join(ADAPTER_MODEL);
        if !path.is_file() {
            let pickle = dir.join("adapter_model.bin");
            return Err(match pickle.is_file() {
                true => CheckpointError::Pickle {
                    path: pickle.display().to_string(),
                },
                false => CheckpointError::NotACheckpoint {
                    path: dir.display().to_string(),
                    missing: ADAPTER_MODEL,
                },
            });
        }
        WeightFiles::open_file(
            &path,
            |theirs| theirs.strip_prefix(WRAPPER).map(str::to_owned),
            |ours| format!("{WRAPPER}{ours}"),
        )
    }

    /// Returns the fields of `adapter_config.json`, as PEFT writes them.
    pub(super) fn fields(&self) -> Value {
        let LoraConfig {
            rank,
            alpha,
            rslora,
            dropout,
            targets,
            excluded,
            layers,
            layers_pattern,
            rank_pattern,
            alpha_pattern,
        } = &self.config;
        let named = |targets: &Targets| match targets {
            Targets::Pattern(pattern) => json!(pattern),
            Targets::Names(names) => json!(names),
            Targets::AllLinear => json!("all-linear"),
        };
        let whole = |patterns: &BTreeMap<String, f64>| -> Map<String, Value> {
            let number = |(name, value): (&String, &f64)| (name.clone(), number(*value));
            patterns.iter().map(number).collect()
        };
        let unless_empty = |empty: bool, value: Value| if empty { Value::Null } else { value };
        json!({
            "alpha_pattern": whole(alpha_pattern),
            "auto_mapping": null,
            "base_model_name_or_path": self.base,
            "bias": "none",
            "exclude_modules": excluded.as_ref().map(named),
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layer_replication": null,
            "layers_pattern": unless_empty(layers_pattern.is_empty(), json!(layers_pattern)),
            "layers_to_transform": unless_empty(layers.is_empty(), json!(layers)),
            "lora_alpha": number(*alpha),
            "lora_dropout": number(f64::from(*dropout)),
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": rank,
            "rank_pattern": rank_pattern,
            "revision": null,
            "target_modules": named(targets),
            "task_type": null,
            "use_dora": false,
            "use_rslora": rslora,
        })
    }
}

/// Writes a number as a whole one where it is one, as PEFT does.
fn number(value: f64) -> Value {
    match value == value.trunc() && value.abs() < 1e9 && value != 0.0 {
        true => json!(value as i64),
        false => json!(value),
    }
}

/// Writes an adapter into a folder, in PEFT's files. Of `named`, the parameters of a model by their
/// names, those of adapters are written.
///
/// # Errors
/// Names the file that cannot be written.
pub fn save_adapter(
    dir: &Path,
    adapter: &Adapter,
    named: &[(String, Tensor)],
) -> Result<(), CheckpointError> {
    make_folder(dir)?;
    let of_adapter = named.iter().filter(|(name, _)| is_adapter(name));
    let renamed: Vec<(String, Tensor)> = of_adapter
        .map(|(name, tensor)| (format!("{WRAPPER}{name}"), tensor.clone()))
        .collect();
    let notes = Metadata::from([("format".to_owned(), "pt".to_owned())]);
    write_tensors(&dir.join(ADAPTER_MODEL), &renamed, notes)?;
    let text = serde_json::to_string_pretty(&adapter.fields()).expect("fields are plain data");
    write_file(&dir.join(ADAPTER_CONFIG), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<Adapter, String> {
        let Value::Object(map) = value else {
            panic!("not an object")
        };
        let path = "adapter_config.json".to_owned();
        Adapter::of(&Fields { path, map }).map_err(|error| error.to_string())
    }

    fn plain() -> Value {
        json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]})
    }

    fn with(field: &str, value: Value) -> Value {
        let mut fields = plain();
        fields[field] = value;
        fields
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut adapter = read(plain()).unwrap();
        for targets in [
            Targets::AllLinear,
            Targets::Pattern(r".*\.q_proj".into()),
            Targets::Names(vec!["a".into(), "b".into()]),
        ] {
            adapter.config.targets = targets;
            adapter.config.alpha = 7.5;
            adapter.config.layers = vec![2];
            adapter.config.excluded = Some(Targets::Names(vec!["x".into()]));
            adapter.config.alpha_pattern.insert("k_proj".into(), 3.0);
            adapter.base = Some("org/name".into());
            assert_eq!(read(adapter.fields()).unwrap(), adapter);
        }
    }

    #[test]
    fn kinds_that_are_not_supported_are_named() {
        assert!(read(with("modules_to_save", json!([]))).is_ok());
        for (field, value) in [
            ("peft_type", json!("IA3")),
            ("bias", json!("all")),
            ("use_dora", json!(true)),
            ("modules_to_save", json!(["lm_head"])),
            ("init_lora_weights", json!("pissa_niter_4")),
            ("r", Value::Null),
            ("r", json!("four")),
            ("target_modules", Value::Null),
            ("lora_dropout", json!("much")),
        ] {
            let error = read(with(field, value)).unwrap_err();
            assert!(
                error.contains(field) && error.contains("adapter_config.json"),
                "{error}"
            );
        }
        assert!(
            read(with("target_modules", json!("(")))
                .unwrap_err()
                .contains("regular")
        );
        assert!(read(with("r", json!(0))).unwrap_err().contains("rank 0"));
    }
}
