//! The model against PyTorch's recorded numbers: every `*.safetensors` in `tests/golden`, or in the
//! folder that `SEEMORE_GOLDEN` names. `golden.json` there explains the tensors and the
//! conventions.
//!
//! Run with `--nocapture` to see the largest deviations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};
use seemore::caption::{Generator, Sampling};
use seemore::device::Device;
use seemore::device::Plan;
use seemore::models::seemore::{Config, ProjectorConfig, TextConfig, VisionConfig, VisualTokens};
use seemore::models::{Logits, Model, ModelInfo, Part};
use seemore::nn::{AttentionScale, Context, Projection, Residual};
use seemore::ops::{GradScaler, IGNORE};
use seemore::train::{Batch, Gradients, TrainStep};
use seemore::train::{Decay, Moments, Optimizer, OptimizerConfig, Rule};

// The tolerances that golden.json suggests: float32 on a device sums in another order than PyTorch
// does.
const LOGITS: f64 = 2e-5;
const LOSS: f64 = 1e-5;
const ATTENTION: f64 = 1e-5;
const GRADIENT_RELATIVE: f64 = 1e-4;
const LOSSES: f64 = 1e-3;
const PARAMETER_RELATIVE: f64 = 1e-3;
const PARAMETER_OFF: f64 = 1e-4;
const PARAMETER_OFF_SHARE: f64 = 1e-3;

struct Golden {
    name: String,
    config: serde_json::Value,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Golden {
    fn all() -> Vec<Golden> {
        let dir = std::env::var_os("SEEMORE_GOLDEN")
            .map(PathBuf::from)
            .unwrap_or_else(|| "tests/golden".into());
        let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
            .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "safetensors")
            })
            .collect();
        files.sort();
        assert!(
            !files.is_empty(),
            "no recorded numbers in {}",
            dir.display()
        );
        files.iter().map(|path| Golden::read(path)).collect()
    }

    fn read(path: &Path) -> Golden {
        let bytes = std::fs::read(path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = metadata
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get("config"))
            .expect("a config in the metadata");
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let read = |view: safetensors::tensor::TensorView| -> Vec<f64> {
            let data = view.data();
            match view.dtype() {
                Dtype::F32 => data
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64)
                    .collect(),
                Dtype::F64 => data
                    .chunks_exact(8)
                    .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
                    .collect(),
                Dtype::I64 => data
                    .chunks_exact(8)
                    .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64)
                    .collect(),
                Dtype::U8 => data.iter().map(|&b| b as f64).collect(),
                other => panic!("{other:?} is not expected"),
            }
        };
        let tensors = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, (view.shape().to_vec(), read(view))))
            .collect();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        Golden {
            name,
            config: serde_json::from_str(config).unwrap(),
            tensors,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn values(&self, name: &str) -> &[f64] {
        &self
            .tensors
            .get(name)
            .unwrap_or_else(|| panic!("{}: no tensor {name}", self.name))
            .1
    }

    fn f32s(&self, name: &str) -> Vec<f32> {
        self.values(name)
            .iter()
            .map(|&value| value as f32)
            .collect()
    }

    /// Tokens; what PyTorch ignores (-100) as [`IGNORE`].
    fn tokens(&self, name: &str) -> Vec<u32> {
        self.values(name)
            .iter()
            .map(|&value| if value < 0.0 { IGNORE } else { value as u32 })
            .collect()
    }

    fn config(&self, variant: &str) -> Config {
        let number = |name: &str| {
            self.config[name]
                .as_u64()
                .unwrap_or_else(|| panic!("config has no {name}")) as usize
        };
        let (scale, residual, count_pads) = match variant {
            "orig" => (AttentionScale::Width, Residual::AfterLn2, true),
            "fixed" => (AttentionScale::Head, Residual::Prenorm, false),
            "headscale_origres" => (AttentionScale::Head, Residual::AfterLn2, true),
            "nembdscale_prenorm" => (AttentionScale::Width, Residual::Prenorm, true),
            other => panic!("unknown variant {other}"),
        };
        Config {
            vision: VisionConfig {
                image_size: number("img_size"),
                patch_size: number("patch_size"),
                width: number("image_embed_dim"),
                layers: number("num_blks"),
                heads: number("n_head"),
                ..VisionConfig::default()
            },
            projector: ProjectorConfig {
                kind: Projection::Mlp,
            },
            text: TextConfig {
                vocab_size: number("vocab_size"),
                context: number("max_pos"),
                width: number("n_embd"),
                layers: number("n_layer"),
                heads: number("n_head"),
            },
            dropout: 0.0,
            layernorm_eps: self.config["ln_eps"].as_f64().unwrap() as f32,
            visual_tokens: match self.config["visual"].as_str() {
                Some("cls") => VisualTokens::Cls,
                Some("patches") => VisualTokens::Patches,
                other => panic!("unknown visual {other:?}"),
            },
            attention_scale: scale,
            residual,
            count_pads,
        }
    }

    /// The variant's model with the recorded initial parameters.
    fn model(&self, device: &Device, variant: &str) -> Model {
        let model = Model::new(device, self.config(variant), 0).unwrap();
        let recorded = self
            .tensors
            .keys()
            .filter(|name| name.starts_with("param."))
            .count();
        assert_eq!(
            model.parameters().len(),
            recorded,
            "{}: number of parameters",
            self.name
        );
        for (name, tensor) in model.parameters() {
            let name = format!("param.{name}");
            assert_eq!(
                tensor.shape(),
                self.tensors[&name].0,
                "{}: {name}",
                self.name
            );
            tensor.write(&self.f32s(&name));
        }
        model
    }

    fn batch(&self, info: &ModelInfo) -> Batch {
        let targets = if info.count_pads {
            "in.targets_raw"
        } else {
            "in.targets_ignore"
        };
        let images = self.f32s("in.image");
        let pictures = images.len() / (3 * info.image_size() * info.image_size());
        Batch {
            images,
            ids: self.tokens("in.idx"),
            targets: self.tokens(targets),
            classes: vec![IGNORE; pictures],
            answers: None,
        }
    }

    /// Pictures, and text positions of each.
    fn sizes(&self) -> (usize, usize) {
        let shape = &self.tensors["in.idx"].0;
        (shape[0], shape[1])
    }
}

/// The largest difference; NaN if there is one.
fn largest(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    // in the total order NaN is the largest, where f64::max would pass over it
    got.iter()
        .zip(want)
        .map(|(&got, want)| (got as f64 - want).abs())
        .max_by(f64::total_cmp)
        .expect("something to compare")
}

/// Norm of the difference over the norm of the recorded values.
fn relative(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square: f64 = got
        .iter()
        .zip(want)
        .map(|(&got, want)| (got as f64 - want).powi(2))
        .sum();
    square.sqrt()
        / want
            .iter()
            .map(|want| want * want)
            .sum::<f64>()
            .sqrt()
            .max(1e-30)
}

fn device() -> Device {
    Device::open(None).unwrap_or_else(|error| panic!("{error}"))
}

fn optimizer(device: &Device, model: &Model, rule: Rule) -> Optimizer {
    let hyper = OptimizerConfig {
        rule,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        clip: 0.0,
        decay: Decay::All,
        moments: Moments::F32,
        ema: 0.0,
    };
    Optimizer::new(device, model.store(), hyper, GradScaler::default(), |_| {
        true
    })
    .unwrap()
}

#[test]
fn what_is_not_a_number_is_far_from_every_number() {
    for nan in [f32::NAN, -f32::NAN] {
        assert!(largest(&[1.0, nan, 2.0], &[1.0, 2.0, 5.0]).is_nan());
        assert!(relative(&[1.0, nan, 2.0], &[1.0, 2.0, 5.0]).is_nan());
    }
    assert!(largest(&[1.0], &[f64::NAN]).is_nan() && relative(&[1.0], &[f64::NAN]).is_nan());
}

#[test]
fn logits_loss_gradients_and_attention_are_pytorchs() {
    let device = device();
    for golden in Golden::all() {
        for variant in ["orig", "fixed", "headscale_origres", "nembdscale_prenorm"] {
            let model = golden.model(&device, variant);
            let info = model.info();
            let (batch, length) = golden.sizes();
            let numbers = golden.batch(info);

            let mut tape = device.tape();
            let t = &mut tape;
            let image = t.input(&[batch, 3, info.image_size(), info.image_size()]);
            let ids = t.input(&[batch, length]);
            let targets = t.input(&[batch * length]);
            let scale = t.input(&[1]);
            let mut c = Context::training(t, 0.0);
            c.maps = Some(vec![]);
            let logits = model.forward(&mut c, Some(image), ids, None, Logits::All);
            let maps = c.maps.take().unwrap();
            t.hold(logits);
            let text = t.slice_rows(logits, info.visual_tokens, length);
            let text = t.view(text, &[batch * length, info.vocab_size]);
            let loss = t.cross_entropy(text, targets, scale, 0.0);
            t.hold(loss);
            let one = t.fill(&[1], 1.0);
            t.backward(loss, one);
            let gradients = Gradients::new(&device, model.store()).unwrap();
            gradients.place(t, model.store(), |_| true);
            let plan = Plan::new(&device, tape).unwrap();
            plan.write(image, &numbers.images);
            plan.write(ids, &numbers.ids);
            plan.write(targets, &numbers.targets);
            plan.write(scale, &[1.0 / numbers.count() as f32]);
            plan.run().unwrap();

            let place = format!("{} {variant}", golden.name);
            let logits = largest(
                &plan.read(logits).unwrap(),
                golden.values(&format!("{variant}.logits")),
            );
            let loss = largest(
                &plan.read(loss).unwrap(),
                golden.values(&format!("{variant}.loss")),
            );
            println!("{place}: logits off by {logits:.1e}, loss by {loss:.1e}");
            assert!(logits <= LOGITS, "{place}: logits off by {logits}");
            assert!(loss <= LOSS, "{place}: loss off by {loss}");
            if !golden.has(&format!("{variant}.attn.dec.0")) {
                continue;
            }

            let mut worst = 0.0f64;
            assert_eq!(
                maps.len(),
                info.encoder.unwrap().layers + info.decoder.layers
            );
            for map in maps {
                let (part, prefix) = match map.part {
                    Part::Encoder => ("vit", "vit.blocks."),
                    _ => ("dec", "blocks."),
                };
                let index = map.layer.strip_prefix(prefix).unwrap();
                let map_values = plan.read(map.probabilities).unwrap();
                let name = format!(
                    "{variant}.attn.{part}.{}",
                    index.strip_suffix(".attn").unwrap()
                );
                let off = largest(&map_values, golden.values(&name));
                assert!(off <= ATTENTION, "{place}: {name} off by {off}");
                worst = worst.max(off);
            }
            println!("{place}: attention off by at most {worst:.1e}");

            let mut worst = (0.0f64, String::new());
            for (name, grad) in gradients.named() {
                let off = relative(
                    &grad.read().unwrap(),
                    golden.values(&format!("{variant}.grad.{name}")),
                );
                assert!(
                    off <= GRADIENT_RELATIVE,
                    "{place}: gradient of {name} off by {off} of its norm"
                );
                if off > worst.0 {
                    worst = (off, name.clone());
                }
            }
            println!(
                "{place}: gradients off by at most {:.1e} of their norm ({})",
                worst.0, worst.1
            );
        }
    }
}

#[test]
fn fifty_steps_and_the_tokens_after_them_are_pytorchs() {
    let device = device();
    for golden in Golden::all() {
        for (variant, kind, rule) in [
            ("orig", "adam", Rule::Adam),
            ("fixed", "adam", Rule::Adam),
            ("fixed", "adamw", Rule::Adamw),
        ] {
            let place = format!("{} {variant} {kind}", golden.name);
            let model = golden.model(&device, variant);
            let optimizer = optimizer(&device, &model, rule);
            let (batch, length) = golden.sizes();
            let step = TrainStep::new(&device, &model, &optimizer, batch, length, 1).unwrap();
            let numbers = [golden.batch(model.info())];

            check_tokens(&device, &golden, &model, &format!("{variant}.gen.init"));
            let losses = golden.values(&format!("{variant}.losses.{kind}"));
            let mut worst = 0.0f64;
            for (index, want) in losses.iter().enumerate() {
                let number = index as u64 + 1;
                step.run(&numbers, 0, 1e-3, 0.0).unwrap();
                let off = (step.loss().unwrap() as f64 - want).abs();
                assert!(off <= LOSSES, "{place}: loss of step {number} off by {off}");
                worst = worst.max(off);
                if [1, 10, 50].contains(&number) {
                    check_parameters(
                        &golden,
                        &model,
                        &place,
                        &format!("{variant}.{kind}{number}"),
                    );
                }
            }
            println!(
                "{place}: {} losses off by at most {worst:.1e}",
                losses.len()
            );
            if kind == "adam" {
                check_tokens(&device, &golden, &model, &format!("{variant}.gen.adam50"));
            }
        }
    }
}

/// Compares all parameters with what is recorded under `prefix`: all elements, or 256 samples
/// spread over them.
fn check_parameters(golden: &Golden, model: &Model, place: &str, prefix: &str) {
    let (mut worst, mut off_count, mut count) = (0.0f64, 0, 0);
    for (name, tensor) in model.parameters() {
        let want = golden.values(&format!("{prefix}.{name}"));
        let all: Vec<f32> = tensor.read().unwrap();
        let got: Vec<f32> = if want.len() == all.len() {
            all
        } else {
            let last = want.len() - 1;
            (0..want.len())
                .map(|i| all[(i as f64 * (all.len() - 1) as f64 / last as f64).round() as usize])
                .collect()
        };
        let off = relative(&got, want);
        assert!(
            off <= PARAMETER_RELATIVE,
            "{place}: {prefix}.{name} off by {off} of its norm"
        );
        worst = worst.max(off);
        off_count += got
            .iter()
            .zip(want)
            .filter(|(got, want)| (**got as f64 - **want).abs() > PARAMETER_OFF)
            .count();
        count += got.len();
    }
    assert!(
        off_count as f64 <= PARAMETER_OFF_SHARE * count as f64,
        "{place}: {off_count} of {count} elements of {prefix} are off"
    );
    println!(
        "{place}: {prefix} off by at most {worst:.1e} of a parameter's norm, {off_count} of {count} elements by more than 1e-4"
    );
}

/// Greedy tokens with the key/value cache, prompt included.
fn check_tokens(device: &Device, golden: &Golden, model: &Model, name: &str) {
    let prompt = golden.tokens("gen.prompt");
    let batch = golden.sizes().0;
    let (shape, _) = &golden.tensors[name];
    let (prompt_len, total) = (prompt.len() / batch, shape[1]);
    let mut generator =
        Generator::new(device, model, batch, prompt_len, total - prompt_len).unwrap();
    let written = generator
        .complete(
            &golden.f32s("in.image"),
            &prompt.chunks(prompt_len).collect::<Vec<_>>(),
            None,
            Sampling::GREEDY,
        )
        .unwrap();
    for (row, (prompt, written)) in prompt.chunks(prompt_len).zip(written).enumerate() {
        let got: Vec<u32> = prompt
            .iter()
            .copied()
            .chain(written.iter().map(|choice| choice.token))
            .take(total)
            .collect();
        assert_eq!(
            got,
            golden.tokens(name)[row * total..][..total],
            "{}: {name}, picture {row}",
            golden.name
        );
    }
}
