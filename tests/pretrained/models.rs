//! Tiny models of each family against what PyTorch recorded.

use seemore::caption::{Generator, Sampling};
use seemore::device::Device;
use seemore::models::Model;
use seemore::models::checkpoint::{self, KeepWeights};
use seemore::models::clip::Clip;

use crate::golden::{self, folders};
use crate::pass::{Inputs, backward, devices, embed, forward};
use crate::recorded::Reference;

fn load(device: &Device, folder: &std::path::Path, keep: KeepWeights) -> Model {
    match checkpoint::load_with(device, folder, keep) {
        Ok((model, _)) => model,
        Err(error) => panic!("{error}"),
    }
}

/// Holds everything that was recorded under `prefix` and that the model computes, and returns the
/// number of recordings held.
fn hold_forward(
    device: &Device,
    model: &Model,
    recorded: &Reference,
    prefix: &str,
    inputs: &Inputs,
    renamed: &[(&str, &str)],
) -> usize {
    let values = forward(device, model, inputs);
    let mut held = 0;
    for (name, got) in &values {
        let theirs = renamed.iter().find(|(ours, _)| ours == name);
        let name = format!(
            "{prefix}{}",
            theirs.map_or(name.as_str(), |(_, theirs)| theirs)
        );
        if recorded.holds(&name) {
            recorded.hold(&name, got);
            held += 1;
        }
    }
    recorded.hold(&format!("{prefix}logits"), &values["logits"]);
    held
}

/// Writes the recorded number of tokens with a key/value cache, each the likeliest.
fn hold_tokens(
    device: &Device,
    model: &Model,
    recorded: &Reference,
    name: &str,
    images: &[f32],
    ids: &[u32],
) {
    let want = recorded.ids(name);
    let mut generator = Generator::new(device, model, 1, ids.len(), want.len()).unwrap();
    let written = generator
        .complete(images, &[ids], None, Sampling::GREEDY)
        .unwrap();
    let got: Vec<u32> = written[0].iter().map(|choice| choice.token).collect();
    assert_eq!(got, want, "{}: {name}", recorded.folder.display());
}

/// Holds loss and gradients against those recorded under `prefix`.
fn hold_training(
    recorded: &Reference,
    prefix: &str,
    loss: f32,
    grads: &crate::pass::Values,
    stored: &[(&str, &str)],
) {
    let want = recorded.floats(&format!("{prefix}loss"))[0];
    assert!(
        (loss - want).abs() <= 1e-5,
        "{prefix}loss: {loss}, recorded {want}"
    );
    let begin = format!("{prefix}grad.");
    let mut held = 0;
    let names = recorded.names();
    for name in names.iter().filter_map(|name| name.strip_prefix(&begin)) {
        let ours = stored.iter().find(|(theirs, _)| *theirs == name);
        let ours = ours.map_or(name, |(_, ours)| ours);
        let want = recorded.floats(&format!("{begin}{name}"));
        let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
        // a bias of the keys changes no probability: its gradient is 0 but for rounding
        let floor = if name.ends_with("k_proj.bias") {
            1e-6
        } else {
            1e-7
        };
        let allowed = 1e-4 * largest + floor;
        let got = grads
            .get(ours)
            .unwrap_or_else(|| panic!("no gradient of {ours}"));
        golden::close(name, got, &want, allowed);
        held += 1;
    }
    assert!(held > 3, "{prefix}: only {held} gradients held");
}

fn encoded(device: &Device, model: &Model, inputs: &Inputs) -> Vec<f32> {
    forward(device, model, inputs)["connector"].clone()
}

#[test]
fn smolvlm_computes_what_pytorch_does() {
    for folder in folders("smolvlm_tiny") {
        let recorded = Reference::open(&folder);
        let renamed = [("vision.norm", "vision.post_layernorm")];
        for device in devices() {
            let model = load(&device, &folder, KeepWeights::AsStored);
            for case in recorded.facts["cases"].as_object().unwrap().keys() {
                let prefix = format!("{case}.");
                let tiles = tiles(&recorded, &prefix);
                let ids = recorded.ids(&format!("{prefix}input_ids"));
                let inputs = Inputs {
                    tiles: &tiles,
                    ids: &ids,
                };
                let held = hold_forward(&device, &model, &recorded, &prefix, &inputs, &renamed);
                assert!(held > 3, "{case}: only {held} recordings held");
                let rows = encoded(&device, &model, &inputs);
                let name = format!("{prefix}greedy_new_tokens");
                hold_tokens(&device, &model, &recorded, &name, &rows, &ids);
            }
        }
    }
}

/// Recorded tiles of a case, as floats or as bytes.
fn tiles(recorded: &Reference, prefix: &str) -> Vec<f32> {
    let floats = format!("{prefix}pixel_values");
    if recorded.holds(&floats) {
        return recorded.floats(&floats);
    }
    let value = |byte: u8| (byte as f32 / 255.0 - 0.5) / 0.5;
    let bytes = recorded.bytes(&format!("{prefix}pixel_values_u8"));
    bytes.into_iter().map(value).collect()
}

#[test]
fn smolvlm_reads_legacy_files_and_those_of_smolvlm2() {
    for folder in folders("smolvlm_tiny") {
        let recorded = Reference::open(&folder);
        let legacy = folder.join("legacy");
        if legacy.is_dir() {
            for device in devices() {
                let model = load(&device, &legacy, KeepWeights::AsStored);
                for case in ["one", "split"] {
                    let name = format!("legacy.{case}.logits");
                    if !recorded.holds(&name) {
                        continue;
                    }
                    let tiles = tiles(&recorded, &format!("{case}."));
                    let ids = recorded.ids(&format!("{case}.input_ids"));
                    let inputs = Inputs {
                        tiles: &tiles,
                        ids: &ids,
                    };
                    let values = forward(&device, &model, &inputs);
                    recorded.hold(&name, &values["logits"]);
                }
            }
        }
        let second = folder.join("smolvlm2/config.json");
        if second.is_file() {
            let dir = tempfile::tempdir().unwrap();
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() && !path.ends_with("reference.safetensors") {
                    let name = path.file_name().unwrap();
                    std::fs::copy(&path, dir.path().join(name)).unwrap();
                }
            }
            std::fs::copy(second, dir.path().join("config.json")).unwrap();
            let device = &devices()[0];
            let model = load(device, dir.path(), KeepWeights::AsStored);
            let tiles = tiles(&recorded, "one.");
            let ids = recorded.ids("one.input_ids");
            let inputs = Inputs {
                tiles: &tiles,
                ids: &ids,
            };
            let values = forward(device, &model, &inputs);
            recorded.hold("one.logits", &values["logits"]);
        }
    }
}

#[test]
fn smolvlm_has_the_gradients_of_pytorch() {
    for folder in folders("smolvlm_tiny") {
        let recorded = Reference::open(&folder);
        let tiles = tiles(&recorded, "split.");
        let ids = recorded.ids("train.input_ids");
        // logits predict the next label
        let labels = recorded.labels("train.labels");
        let targets: Vec<i32> = labels[1..].iter().copied().chain([-100]).collect();
        for device in devices() {
            let model = load(&device, &folder, KeepWeights::Trained);
            let inputs = Inputs {
                tiles: &tiles,
                ids: &ids,
            };
            let (loss, grads) = backward(&device, &model, &inputs, &targets);
            hold_training(&recorded, "train.", loss, &grads, &[]);
        }
    }
}

#[test]
fn nanovlm_computes_what_pytorch_does() {
    for folder in folders("nanovlm_tiny") {
        for (folder, prefixes) in [
            (folder.clone(), &[""][..]),
            (folder.join("tiled"), &["tiles.", "single."][..]),
        ] {
            if !folder.join("reference.json").is_file() {
                continue;
            }
            let recorded = Reference::open(&folder);
            for device in devices() {
                let model = load(&device, &folder, KeepWeights::AsStored);
                for prefix in prefixes {
                    let tiles = recorded.floats(&format!("{prefix}image"));
                    let ids = recorded.ids(&format!("{prefix}input_ids"));
                    let inputs = Inputs {
                        tiles: &tiles,
                        ids: &ids,
                    };
                    let renamed = [("vision.norm", "vision.layer_norm")];
                    let held = hold_forward(&device, &model, &recorded, prefix, &inputs, &renamed);
                    assert!(held > 2, "{prefix}: only {held} recordings held");
                    let rows = encoded(&device, &model, &inputs);
                    let name = format!("{prefix}greedy_new_tokens");
                    hold_tokens(&device, &model, &recorded, &name, &rows, &ids);
                }
            }
        }
    }
}

#[test]
fn nanovlm_has_the_gradients_of_pytorch() {
    for folder in folders("nanovlm_tiny") {
        for (folder, image, prefix) in [
            (folder.clone(), "image", "train."),
            (folder.join("tiled"), "tiles.image", "tiles.train."),
        ] {
            if !folder.join("reference.json").is_file() {
                continue;
            }
            let recorded = Reference::open(&folder);
            let tiles = recorded.floats(image);
            let ids = recorded.ids(&format!("{prefix}input_ids"));
            let targets = recorded.labels(&format!("{prefix}targets"));
            for device in devices() {
                let model = load(&device, &folder, KeepWeights::Trained);
                let inputs = Inputs {
                    tiles: &tiles,
                    ids: &ids,
                };
                let (loss, grads) = backward(&device, &model, &inputs, &targets);
                let tied = [("decoder.head.weight", "decoder.token_embedding.weight")];
                hold_training(&recorded, prefix, loss, &grads, &tied);
            }
        }
    }
}

#[test]
fn llama_computes_what_pytorch_does() {
    for folder in folders("llama_tiny") {
        let recorded = Reference::open(&folder);
        for device in devices() {
            let model = load(&device, &folder, KeepWeights::AsStored);
            let last = model.info().decoder.layers;
            for text in 0.. {
                let name = format!("narrow.{text}.input_ids");
                if !recorded.holds(&name) {
                    break;
                }
                let (ids, prefix) = (recorded.ids(&name), format!("safetensors.{text}."));
                let inputs = Inputs {
                    tiles: &[],
                    ids: &ids,
                };
                let values = forward(&device, &model, &inputs);
                let hold = |theirs: &str, ours: &str| {
                    recorded.hold(&format!("{prefix}{theirs}"), &values[ours]);
                };
                hold("hidden0", "inputs_embeds");
                for layer in 1..last {
                    hold(
                        &format!("hidden{layer}"),
                        &format!("text.layer{}", layer - 1),
                    );
                }
                hold(&format!("hidden{last}"), "text.norm");
                for layer in 0..last {
                    hold(&format!("attn{layer}"), &format!("text.attn{layer}"));
                }
                hold("logits", "logits");
                let name = format!("{prefix}greedy_new_tokens");
                hold_tokens(&device, &model, &recorded, &name, &[], &ids);
            }
        }
    }
}

#[test]
fn llama_reads_every_kind_of_gguf() {
    for folder in folders("llama_tiny") {
        let recorded = Reference::open(&folder);
        let files = std::fs::read_dir(folder.join("gguf"));
        let Ok(files) = files else {
            continue;
        };
        for file in files {
            let path = file.unwrap().path();
            let kind = path.file_stem().unwrap().to_str().unwrap().to_owned();
            for device in devices() {
                let model = load(&device, &path, KeepWeights::AsStored);
                for text in 0.. {
                    let prefix = format!("{kind}.{text}.");
                    if !recorded.holds(&format!("{prefix}logits")) {
                        assert!(text > 0, "{kind}: nothing is recorded");
                        break;
                    }
                    let ids = ["wide", "narrow"].map(|model| format!("{model}.{text}.input_ids"));
                    let ids = recorded.ids(&ids[!kind.starts_with("wide") as usize]);
                    let inputs = Inputs {
                        tiles: &[],
                        ids: &ids,
                    };
                    let values = forward(&device, &model, &inputs);
                    recorded.hold(&format!("{prefix}logits"), &values["logits"]);
                    let name = format!("{prefix}greedy_new_tokens");
                    hold_tokens(&device, &model, &recorded, &name, &[], &ids);
                }
            }
        }
    }
}

#[test]
fn llama_reads_weights_in_several_files() {
    for folder in folders("llama_tiny") {
        let sharded = folder.join("sharded_bf16");
        if !sharded.is_dir() {
            continue;
        }
        let recorded = Reference::open(&folder);
        for device in devices() {
            let model = load(&device, &sharded, KeepWeights::AsStored);
            for text in 0.. {
                let name = format!("narrow.{text}.input_ids");
                if !recorded.holds(&name) {
                    break;
                }
                let ids = recorded.ids(&name);
                let inputs = Inputs {
                    tiles: &[],
                    ids: &ids,
                };
                let values = forward(&device, &model, &inputs);
                let prefix = format!("sharded_bf16.{text}.");
                recorded.hold(&format!("{prefix}logits"), &values["logits"]);
                let name = format!("{prefix}greedy_new_tokens");
                hold_tokens(&device, &model, &recorded, &name, &[], &ids);
            }
        }
    }
}

#[test]
fn llama_has_the_gradients_of_pytorch() {
    for folder in folders("llama_tiny") {
        let recorded = Reference::open(&folder);
        let ids = recorded.ids("narrow.0.input_ids");
        let targets: Vec<i32> = ids[1..].iter().map(|&id| id as i32).chain([-100]).collect();
        for device in devices() {
            let model = load(&device, &folder, KeepWeights::Trained);
            let inputs = Inputs {
                tiles: &[],
                ids: &ids,
            };
            let (loss, grads) = backward(&device, &model, &inputs, &targets);
            hold_training(&recorded, "train.", loss, &grads, &[]);
        }
    }
}

#[test]
fn clip_computes_what_pytorch_does() {
    for folder in folders("clip_tiny") {
        let recorded = Reference::open(&folder);
        let pixels = recorded.floats("pixel_values");
        for device in devices() {
            let clip = Clip::load(&device, &folder, KeepWeights::AsStored).unwrap();
            let (values, _) = embed(&device, &clip, &pixels, None);
            let mut held = 0;
            for (ours, theirs) in [
                ("vision.embeddings", "embeddings"),
                ("vision.pre_layernorm", "pre_layrnorm"),
                ("post_layernorm_of_cls", "post_layernorm_of_cls"),
                ("image_embeds", "image_embeds"),
            ] {
                recorded.hold(theirs, &values[ours]);
            }
            for layer in 0..clip.config().vision.num_hidden_layers {
                recorded.hold(
                    &format!("layer{layer}"),
                    &values[&format!("vision.layer{layer}")],
                );
                let name = format!("attn{layer}");
                if recorded.holds(&name) {
                    // of the first picture
                    let want = recorded.floats(&name).len();
                    recorded.hold(&name, &values[&name][..want]);
                    held += 1;
                }
            }
            assert!(held > 0, "no attention held");
        }
    }
}

#[test]
fn clip_has_the_gradients_of_pytorch() {
    for folder in folders("clip_tiny") {
        let recorded = Reference::open(&folder);
        let pixels = recorded.floats("pixel_values");
        let direction = recorded.floats("train.direction");
        for device in devices() {
            let clip = Clip::load(&device, &folder, KeepWeights::Trained).unwrap();
            let (values, grads) = embed(&device, &clip, &pixels, Some(&direction));
            let products = values["image_embeds"].iter().zip(&direction);
            let loss = products.map(|(x, d)| x * d).sum();
            hold_training(&recorded, "train.", loss, &grads, &[]);
        }
    }
}
