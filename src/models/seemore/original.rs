//! Conversion of checkpoints of the original seemore, which are PyTorch state dicts as safetensors.

use std::path::Path;

use super::{Config, ProjectorConfig, TextConfig, VisionConfig, VisualTokens};
use crate::models::load::Values;
use crate::nn::Projection;

/// Error about a checkpoint of the original seemore.
#[derive(Debug, thiserror::Error)]
pub enum OriginalError {
    /// A tensor is absent.
    #[error("{path} is not a state dict of the original seemore: it has no `{name}`")]
    Missing {
        /// File.
        path: String,
        /// Name of the tensor.
        name: String,
    },
    /// A tensor has an unexpected shape.
    #[error("{path}: `{name}` has shape {have:?}, where {want} was expected")]
    Shape {
        /// File.
        path: String,
        /// Name of the tensor.
        name: String,
        /// Shape of the tensor.
        have: Vec<usize>,
        /// Description of the expected shape.
        want: String,
    },
    /// There are tensors that the original does not have.
    #[error("{path} has tensors that the original seemore does not have: {names}")]
    Unknown {
        /// File.
        path: String,
        /// Names of the first ones.
        names: String,
    },
    /// A model cannot be exported because the original has another structure.
    #[error("only a model with the original's structure can be exported to it: {0}")]
    Structure(String),
}

/// Layers of a block that are whole tensors in both formats: our name, the original's name.
const BLOCK: [(&str, &str); 5] = [
    ("ln1", "ln1"),
    ("ln2", "ln2"),
    ("attn.proj", "attn.proj"),
    ("fc1", "ffn.0"),
    ("fc2", "ffn.2"),
];

/// Query, key and value, one matrix here and one per head in the original: our name, the original's
/// name.
const HEADS: [(&str, &str); 3] = [("q", "query"), ("k", "key"), ("v", "value")];

/// Names of tensors outside the blocks: ours, the original's.
fn outside() -> Vec<(String, String)> {
    let (encoder, decoder) = ("vision_encoder", "decoder");
    let mut names = vec![
        ("vit.cls".to_string(), format!("{encoder}.cls_token")),
        ("vit.pos".into(), format!("{encoder}.pos_embedding")),
        (
            "tok.weight".into(),
            format!("{decoder}.token_embedding_table.weight"),
        ),
        (
            "pos.weight".into(),
            format!("{decoder}.position_embedding_table.weight"),
        ),
    ];
    for kind in ["weight", "bias"] {
        for (ours, theirs) in [
            ("vit.patch", format!("{encoder}.patch_embedding.conv")),
            ("vit.ln", format!("{encoder}.layer_norm")),
            ("proj1", format!("{decoder}.image_projection.net.0")),
            ("proj2", format!("{decoder}.image_projection.net.2")),
            ("ln_f", format!("{decoder}.ln_f")),
            ("lm_head", format!("{decoder}.lm_head")),
        ] {
            names.push((format!("{ours}.{kind}"), format!("{theirs}.{kind}")));
        }
    }
    names
}

/// Names of the whole tensors inside block `i` of a stack: ours, the original's.
fn inside(stack: &Stack, i: usize) -> Vec<(String, String)> {
    let kinds = ["weight", "bias"];
    BLOCK
        .iter()
        .flat_map(|(ours, theirs)| {
            kinds.map(|kind| {
                (
                    format!("{}.{i}.{ours}.{kind}", stack.ours),
                    format!("{}.{i}.{theirs}.{kind}", stack.theirs),
                )
            })
        })
        .collect()
}

/// Stack of blocks, in the encoder or the decoder.
struct Stack {
    ours: &'static str,
    theirs: &'static str,
    layers: usize,
    heads: usize,
}

impl Stack {
    fn head(&self, layer: usize, head: usize, matrix: &str) -> String {
        format!("{}.{layer}.attn.heads.{head}.{matrix}.weight", self.theirs)
    }
}

/// Takes off the prefix that wrappers put before the names of all tensors, such as `module.` of
/// DistributedDataParallel, `_orig_mod.` of `torch.compile`, or `model.`; several may follow each
/// other. Returns the values with the prefix, which is empty if there is none.
pub fn without_prefix(values: Values) -> (Values, String) {
    let known = "vision_encoder.patch_embedding.conv.weight";
    let prefix = values.keys().find_map(|name| {
        let prefix = name.strip_suffix(known)?;
        prefix.ends_with('.').then(|| prefix.to_owned())
    });
    let Some(prefix) = prefix.filter(|_| !values.contains_key(known)) else {
        return (values, String::new());
    };
    // names without it are of something else, and are reported as unknown
    let rename = |(name, value): (String, _)| match name.strip_prefix(&prefix) {
        Some(rest) => (rest.to_owned(), value),
        None => (name, value),
    };
    (values.into_iter().map(rename).collect(), prefix)
}

/// Converts a state dict of the original, read from `path`: derives the configuration from the
/// tensors' shapes, and returns the values under our names.
///
/// The configuration has the original's arithmetic ([`Config::original`]).
///
/// # Errors
/// Returns an error when a tensor is absent, unknown or of an unexpected shape.
pub fn import_original(path: &Path, mut values: Values) -> Result<(Config, Values), OriginalError> {
    let path = path.display().to_string();
    let shape = |values: &Values, name: &str, axes: usize| -> Result<Vec<usize>, OriginalError> {
        let (shape, _) = values.get(name).ok_or_else(|| OriginalError::Missing {
            path: path.clone(),
            name: name.to_string(),
        })?;
        if shape.len() != axes {
            let want = format!("{axes} axes");
            return Err(OriginalError::Shape {
                path: path.clone(),
                name: name.to_string(),
                have: shape.clone(),
                want,
            });
        }
        Ok(shape.clone())
    };
    let count = |values: &Values, name: &dyn Fn(usize) -> String| {
        (0..).take_while(|&i| values.contains_key(&name(i))).count()
    };

    let patch_name = "vision_encoder.patch_embedding.conv.weight";
    let patch = shape(&values, patch_name, 4)?;
    let pos_name = "vision_encoder.pos_embedding";
    let pos = shape(&values, pos_name, 3)?;
    let side = ((pos[1].saturating_sub(1)) as f64).sqrt() as usize;
    if side == 0 || side * side + 1 != pos[1] {
        let want = "[1, patches + 1, width] with a square number of patches".to_string();
        return Err(OriginalError::Shape {
            path,
            name: pos_name.into(),
            have: pos,
            want,
        });
    }
    let tokens = shape(&values, "decoder.token_embedding_table.weight", 2)?;
    let context = shape(&values, "decoder.position_embedding_table.weight", 2)?[0];
    let stack = |ours, theirs: &'static str| -> Result<Stack, OriginalError> {
        let layers = count(&values, &|i| format!("{theirs}.{i}.ln1.weight"));
        let heads = count(&values, &|i| {
            format!("{theirs}.0.attn.heads.{i}.query.weight")
        });
        if layers == 0 || heads == 0 {
            let name = format!(
                "{theirs}.0.{}",
                if layers == 0 {
                    "ln1.weight"
                } else {
                    "attn.heads.0.query.weight"
                }
            );
            return Err(OriginalError::Missing {
                path: path.clone(),
                name,
            });
        }
        Ok(Stack {
            ours,
            theirs,
            layers,
            heads,
        })
    };
    let vision = stack("vit.blocks", "vision_encoder.blocks")?;
    let decoder = stack("blocks", "decoder.blocks")?;
    let config = Config {
        vision: VisionConfig {
            image_size: side * patch[2],
            patch_size: patch[2],
            width: patch[0],
            layers: vision.layers,
            heads: vision.heads,
            cls_token: true,
            classes: 0,
        },
        projector: ProjectorConfig {
            kind: Projection::Mlp,
        },
        text: TextConfig {
            vocab_size: tokens[0],
            context,
            width: tokens[1],
            layers: decoder.layers,
            heads: decoder.heads,
        },
        ..Config::original()
    };

    let mut take = |name: &str| {
        values.remove(name).ok_or_else(|| OriginalError::Missing {
            path: path.clone(),
            name: name.into(),
        })
    };
    let mut ours = Values::new();
    for (our, their) in outside() {
        ours.insert(our, take(&their)?);
    }
    for stack in [&vision, &decoder] {
        for layer in 0..stack.layers {
            for (our, their) in inside(stack, layer) {
                ours.insert(our, take(&their)?);
            }
            for (our, their) in HEADS {
                let (mut rows, mut data, mut width) = (0, vec![], 0);
                for head in 0..stack.heads {
                    let name = stack.head(layer, head, their);
                    let (shape, values) = take(&name)?;
                    if shape.len() != 2 || (head > 0 && shape[1] != width) {
                        let want = "[head width, width]".to_string();
                        return Err(OriginalError::Shape {
                            path: path.clone(),
                            name,
                            have: shape,
                            want,
                        });
                    }
                    rows += shape[0];
                    width = shape[1];
                    data.extend(values);
                }
                ours.insert(
                    format!("{}.{layer}.attn.{our}.weight", stack.ours),
                    (vec![rows, width], data),
                );
            }
        }
    }
    if !values.is_empty() {
        let names: Vec<_> = values.keys().take(5).map(String::as_str).collect();
        return Err(OriginalError::Unknown {
            path,
            names: names.join(", "),
        });
    }
    Ok((config, ours))
}

/// Returns the original's name of our tensor, with `*` for the head where the original has one
/// tensor per head.
pub fn original_name(name: &str) -> Option<String> {
    if let Some((_, theirs)) = outside().into_iter().find(|(ours, _)| ours == name) {
        return Some(theirs);
    }
    let (stack, rest) = match name.strip_prefix("vit.blocks.") {
        Some(rest) => ("vision_encoder.blocks", rest),
        None => ("decoder.blocks", name.strip_prefix("blocks.")?),
    };
    let (layer, rest) = rest.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    if let Some((_, theirs)) = BLOCK.iter().find(|(ours, _)| *ours == part) {
        return Some(format!("{stack}.{layer}.{theirs}.{kind}"));
    }
    let (_, theirs) = HEADS
        .iter()
        .find(|(ours, _)| part.strip_prefix("attn.") == Some(*ours))?;
    Some(format!("{stack}.{layer}.attn.heads.*.{theirs}.{kind}"))
}

/// Converts our values to a state dict of the original: the inverse of [`import_original`], bit for
/// bit.
///
/// Only the structure must be the original's; for the arithmetic see
/// [`Config::differences_from_original`].
///
/// # Errors
/// Names what the original does not have.
pub fn export_original(config: &Config, mut values: Values) -> Result<Values, OriginalError> {
    if config.visual_tokens != VisualTokens::Cls {
        return Err(OriginalError::Structure(
            "its visual tokens are not the encoder's CLS row".into(),
        ));
    }
    if config.projector.kind != Projection::Mlp {
        return Err(OriginalError::Structure(
            "its projector is not the MLP".into(),
        ));
    }
    let mut take = |name: &str| {
        values
            .remove(name)
            .ok_or_else(|| OriginalError::Structure(format!("there is no `{name}`")))
    };
    let mut theirs = Values::new();
    for (our, their) in outside() {
        theirs.insert(their, take(&our)?);
    }
    let vision = Stack {
        ours: "vit.blocks",
        theirs: "vision_encoder.blocks",
        layers: config.vision.layers,
        heads: config.vision.heads,
    };
    let decoder = Stack {
        ours: "blocks",
        theirs: "decoder.blocks",
        layers: config.text.layers,
        heads: config.text.heads,
    };
    for stack in [&vision, &decoder] {
        for layer in 0..stack.layers {
            for (our, their) in inside(stack, layer) {
                theirs.insert(their, take(&our)?);
            }
            for (our, their) in HEADS {
                let (shape, data) = take(&format!("{}.{layer}.attn.{our}.weight", stack.ours))?;
                let rows = shape[0] / stack.heads;
                for (head, values) in data.chunks(rows * shape[1]).enumerate() {
                    theirs.insert(
                        stack.head(layer, head, their),
                        (vec![rows, shape[1]], values.to_vec()),
                    );
                }
            }
        }
    }
    match values.keys().next() {
        None => Ok(theirs),
        Some(name) => Err(OriginalError::Structure(format!(
            "it has no place for `{name}`"
        ))),
    }
}
