//! Merged models: adapters added to the weights, and tuned tensors in place of the base model's, in a
//! plain folder as Hugging Face's programs read it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use serde_json::{Map, Value, json};

use super::peft::{is_adapter, of_layer};
use super::{CheckpointError, Opened, WeightFiles, make_folder, referred, tuned, write_file};
use crate::atomic_file;
use crate::models::{ModelConfig, composition};
use crate::nn::LoraConfig;
use crate::ops::Encoding;

/// Folder of the merged decoder inside that of a merged composition.
const DECODER: &str = "decoder";

/// Result of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// Number of layers whose adapters were added to their weights.
    pub adapters: usize,
    /// Number of tensors that were written.
    pub tensors: usize,
}

/// Writes the model in a folder as a plain one into the folder `out`, which is created: with adapters
/// added to the weights they belong to. Tensors keep their types; quantised ones become f16.
///
/// A composition becomes one whose decoder, merged and plain, lies in its folder.
///
/// # Errors
/// A folder that is not a tuned model or has nothing to merge, an `out` that has a model, or a file
/// that cannot be read or written.
pub fn merge(dir: &Path, out: &Path) -> Result<Merged, CheckpointError> {
    if ["config.json", "model.safetensors", DECODER]
        .iter()
        .any(|name| out.join(name).exists())
    {
        return Err(CheckpointError::Occupied {
            path: out.display().to_string(),
        });
    }
    let missing = CheckpointError::NotAdaptable {
        path: dir.display().to_string(),
    };
    let opened = Opened::open(dir, None, None)?.ok_or(missing)?;
    let lora = opened.lora.clone();
    let mut merging = Merging {
        weights: opened.weights,
        lora,
    };
    make_folder(out)?;
    let nothing = || CheckpointError::NothingToMerge {
        path: dir.display().to_string(),
    };
    if let ModelConfig::Composition(config) = opened.config {
        return merge_composition(dir, out, config, &mut merging)?.ok_or_else(nothing);
    }
    if tuned::base(dir)?.is_none() && merging.lora.is_none() {
        return Err(nothing());
    }
    check_described(&opened.root)?;
    let merged = merging.write(&out.join("model.safetensors"), &|name, _| !is_adapter(name))?;
    describe(&opened.root, out)?;
    Ok(merged)
}

/// Merges a composition; returns `None` if there is nothing to merge.
fn merge_composition(
    dir: &Path,
    out: &Path,
    config: composition::Config,
    merging: &mut Merging,
) -> Result<Option<Merged>, CheckpointError> {
    let own = dir.join("model.safetensors").display().to_string();
    let is_decoder = |name: &str| {
        !["vision_model.", "visual_projection.", "projector."]
            .iter()
            .any(|part| name.starts_with(part))
    };
    let changed: Vec<(String, bool)> = merging
        .weights
        .names()
        .filter(|(name, _)| !is_adapter(name))
        .map(|(name, path)| (name.to_owned(), path == own || merging.adapts(name)))
        .collect();
    let tunes_decoder = changed
        .iter()
        .any(|(name, changed)| *changed && is_decoder(name));
    if !tunes_decoder && merging.lora.is_none() {
        return Ok(None);
    }
    let mut config = composition::Config {
        encoder: composition::EncoderPart {
            model: composition::reference_from(dir, &config.encoder.model, out),
            ..config.encoder
        },
        ..config
    };
    let mut merged = Merged {
        adapters: 0,
        tensors: 0,
    };
    if tunes_decoder {
        let base = referred(dir, &config.decoder.model)?;
        check_described(&base)?;
        let folder = out.join(DECODER);
        make_folder(&folder)?;
        let weights = folder.join("model.safetensors");
        let whole = merging.write(&weights, &|name, _| is_decoder(name) && !is_adapter(name))?;
        merged.adapters += whole.adapters;
        merged.tensors += whole.tensors;
        describe(&base, &folder)?;
        config.decoder.model = DECODER.to_owned();
    } else {
        config.decoder.model = composition::reference_from(dir, &config.decoder.model, out);
    }
    let kept: BTreeMap<&str, bool> = changed
        .iter()
        .map(|(name, it)| (name.as_str(), *it))
        .collect();
    let rest = merging.write(&out.join("model.safetensors"), &|name, _| {
        !is_decoder(name) && kept.get(name).copied().unwrap_or(false)
    })?;
    merged.adapters += rest.adapters;
    merged.tensors += rest.tensors;
    let template = dir.join("chat_template.jinja");
    if template.is_file() {
        copy(&template, &out.join("chat_template.jinja"))?;
    }
    let described = ModelConfig::from(config);
    write_file(&out.join("config.json"), described.to_json().as_bytes())?;
    Ok(Some(merged))
}

/// Checks that a model has files that describe the merged one.
fn check_described(base: &Path) -> Result<(), CheckpointError> {
    match base.join("config.json").is_file() {
        true => Ok(()),
        false => Err(CheckpointError::Adapter {
            path: base.display().to_string(),
            reason: "its model is in a GGUF file, which has no files of Hugging Face to describe the merged one: tune the folder that the GGUF was made from".into(),
        }),
    }
}

/// Copies the files that describe a model, without its weights.
fn describe(base: &Path, out: &Path) -> Result<(), CheckpointError> {
    let read = |reason| CheckpointError::Read {
        path: base.display().to_string(),
        reason,
    };
    let entries = std::fs::read_dir(base).map_err(read)?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file() && is_description(path))
        .collect();
    // last, so that a folder that was begun is no model
    files.sort_by_key(|path| path.ends_with("config.json"));
    for file in files {
        if let Some(name) = file.file_name() {
            copy(&file, &out.join(name))?;
        }
    }
    Ok(())
}

fn is_description(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    matches!(ending, Some("json" | "jinja" | "txt"))
        && !name.ends_with(".index.json")
        && !name.starts_with("adapter_")
}

fn copy(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    let bytes = std::fs::read(from).map_err(|reason| CheckpointError::Read {
        path: from.display().to_string(),
        reason,
    })?;
    write_file(to, &bytes)
}

/// Weights with adapters beside them.
struct Merging {
    weights: WeightFiles,
    lora: Option<LoraConfig>,
}

/// Product of an adapter's matrices, a row of which is added to a row of the weights.
struct Product {
    /// `[rank, inputs]`.
    a: Vec<f32>,
    /// `[outputs, rank]`, times the scale.
    b: Vec<f32>,
    rank: usize,
}

impl Product {
    /// Adds row `row` to `values`.
    fn add(&self, row: usize, values: &mut [f32]) {
        let factors = &self.b[row * self.rank..][..self.rank];
        for (factor, a) in factors.iter().zip(self.a.chunks(values.len())) {
            for (value, a) in values.iter_mut().zip(a) {
                *value += factor * a;
            }
        }
    }
}

impl Merging {
    /// Whether a weight has an adapter.
    fn adapts(&self, name: &str) -> bool {
        let module = name.strip_suffix(".weight");
        let names = module.map(of_layer);
        names.is_some_and(|[a, _]| self.weights.names().any(|(name, _)| name == a))
    }

    /// Reads a whole tensor.
    fn whole(&mut self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let mut all = vec![];
        self.weights.each_rows(name, &mut |_, values| {
            all.extend(values);
            Ok(())
        })?;
        Ok(all)
    }

    fn product(&mut self, name: &str) -> Result<Option<Product>, CheckpointError> {
        if !self.adapts(name) {
            return Ok(None);
        }
        let (Some(module), Some(lora)) = (name.strip_suffix(".weight"), self.lora.clone()) else {
            return Ok(None);
        };
        let [a, b] = of_layer(module);
        let scale = lora.scale_of(module) as f32;
        let mut factors = self.whole(&b)?;
        factors.iter_mut().for_each(|factor| *factor *= scale);
        Ok(Some(Product {
            rank: self.weights.layout(&a).0[0],
            a: self.whole(&a)?,
            b: factors,
        }))
    }

    /// Writes the tensors that `wanted` accepts into a safetensors file, merged.
    fn write(
        &mut self,
        path: &Path,
        wanted: &dyn Fn(&str, &str) -> bool,
    ) -> Result<Merged, CheckpointError> {
        let names = self
            .weights
            .names()
            .filter(|(name, file)| wanted(name, file));
        let names: Vec<String> = names.map(|(name, _)| name.to_owned()).collect();
        let (mut header, mut at) = (Map::new(), 0);
        header.insert("__metadata__".into(), json!({"format": "pt"}));
        for name in &names {
            let (shape, encoding) = self.weights.layout(name);
            let bytes = shape.iter().product::<usize>() * kind(encoding).1;
            let entry = json!({
                "dtype": kind(encoding).0, "shape": shape, "data_offsets": [at, at + bytes],
            });
            header.insert(name.clone(), entry);
            at += bytes;
        }
        let mut text = Value::Object(header).to_string();
        while !text.len().is_multiple_of(8) {
            text.push(' ');
        }
        let mut merged = Merged {
            adapters: 0,
            tensors: names.len(),
        };
        let failed = |reason: std::io::Error| CheckpointError::Write {
            path: path.display().to_string(),
            reason,
        };
        let mut result = Ok(());
        let written = atomic_file::write_with(path, |file| {
            file.write_all(&(text.len() as u64).to_le_bytes())?;
            file.write_all(text.as_bytes())?;
            for name in &names {
                if let Err(error) = self.write_tensor(name, file, &mut merged, &failed) {
                    result = Err(error);
                    return Err(std::io::Error::other("see the result"));
                }
            }
            Ok(())
        });
        result?;
        written.map_err(failed)?;
        Ok(merged)
    }

    fn write_tensor(
        &mut self,
        name: &str,
        file: &mut impl Write,
        merged: &mut Merged,
        failed: &dyn Fn(std::io::Error) -> CheckpointError,
    ) -> Result<(), CheckpointError> {
        let product = self.product(name)?;
        merged.adapters += product.is_some() as usize;
        let (shape, encoding) = self.weights.layout(name);
        let cols: usize = shape[1..].iter().product();
        self.weights.each_rows(name, &mut |first, mut values| {
            if let Some(product) = &product {
                for (row, values) in values.chunks_mut(cols.max(1)).enumerate() {
                    product.add(first + row, values);
                }
            }
            file.write_all(&bytes(&values, encoding)).map_err(failed)
        })
    }
}

/// Type of a tensor in a merged file, and its size in bytes.
fn kind(encoding: Encoding) -> (&'static str, usize) {
    match encoding {
        Encoding::F32 => ("F32", 4),
        Encoding::Bf16 => ("BF16", 2),
        _ => ("F16", 2),
    }
}

fn bytes(values: &[f32], encoding: Encoding) -> Vec<u8> {
    let values = values.iter();
    match encoding {
        Encoding::F32 => values.flat_map(|value| value.to_le_bytes()).collect(),
        Encoding::Bf16 => values
            .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
            .collect(),
        _ => values
            .flat_map(|&value| f16::from_f32(value).to_le_bytes())
            .collect(),
    }
}
