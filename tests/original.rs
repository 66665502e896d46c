//! The original: its size, and its checkpoints in and out, bit for bit.

use std::collections::BTreeMap;

use safetensors::SafeTensors;
use seemore::device::Device;
use seemore::device::Plan;
use seemore::models::load::{self, Values};
use seemore::models::seemore::{
    Config, TextConfig, VisionConfig, export_original, import_original, original_name,
};
use seemore::models::{Logits, Model, Preset};
use seemore::nn::{AttentionScale, Context, Residual};

/// The state dict that the original would have for our parameter `name`: written down anew from its
/// class definitions.
fn original_state(config: &Config, named: &Values) -> Values {
    let mut state = Values::new();
    for (name, (shape, data)) in named {
        let (block, rest) = match name.strip_prefix("vit.blocks.") {
            Some(rest) => (Some(("vision_encoder.blocks", config.vision.heads)), rest),
            None => match name.strip_prefix("blocks.") {
                Some(rest) => (Some(("decoder.blocks", config.text.heads)), rest),
                None => (None, name.as_str()),
            },
        };
        let Some((stack, heads)) = block else {
            let outside = BTreeMap::from([
                ("vit.cls", "vision_encoder.cls_token"),
                ("vit.pos", "vision_encoder.pos_embedding"),
                (
                    "vit.patch.weight",
                    "vision_encoder.patch_embedding.conv.weight",
                ),
                ("vit.patch.bias", "vision_encoder.patch_embedding.conv.bias"),
                ("vit.ln.weight", "vision_encoder.layer_norm.weight"),
                ("vit.ln.bias", "vision_encoder.layer_norm.bias"),
                ("proj1.weight", "decoder.image_projection.net.0.weight"),
                ("proj1.bias", "decoder.image_projection.net.0.bias"),
                ("proj2.weight", "decoder.image_projection.net.2.weight"),
                ("proj2.bias", "decoder.image_projection.net.2.bias"),
                ("tok.weight", "decoder.token_embedding_table.weight"),
                ("pos.weight", "decoder.position_embedding_table.weight"),
                ("ln_f.weight", "decoder.ln_f.weight"),
                ("ln_f.bias", "decoder.ln_f.bias"),
                ("lm_head.weight", "decoder.lm_head.weight"),
                ("lm_head.bias", "decoder.lm_head.bias"),
            ]);
            state.insert(outside[name.as_str()].into(), (shape.clone(), data.clone()));
            continue;
        };
        let (layer, rest) = rest.split_once('.').unwrap();
        let letter = rest
            .strip_prefix("attn.")
            .and_then(|rest| rest.strip_suffix(".weight"));
        if let Some(word) = letter.and_then(|letter| {
            BTreeMap::from([("q", "query"), ("k", "key"), ("v", "value")]).remove(letter)
        }) {
            let rows = shape[0] / heads;
            for head in 0..heads {
                let values = data[head * rows * shape[1]..(head + 1) * rows * shape[1]].to_vec();
                state.insert(
                    format!("{stack}.{layer}.attn.heads.{head}.{word}.weight"),
                    (vec![rows, shape[1]], values),
                );
            }
            continue;
        }
        let rest = rest.replace("fc1", "ffn.0").replace("fc2", "ffn.2");
        state.insert(
            format!("{stack}.{layer}.{rest}"),
            (shape.clone(), data.clone()),
        );
    }
    state
}

fn device() -> Device {
    Device::open(None).unwrap_or_else(|error| panic!("{error}"))
}

fn sample(device: &Device) -> (Config, Values) {
    let tiny = Config::tiny();
    let config = Config {
        vision: VisionConfig {
            heads: 4,
            ..tiny.vision
        },
        text: TextConfig {
            context: 40,
            vocab_size: 23,
            heads: 2,
            ..tiny.text
        },
        ..tiny
    };
    let model = Model::new(device, &config, 11).unwrap();
    let named = load::snapshot(model.parameters()).unwrap();
    (config, named)
}

#[test]
fn sizes_are_read_from_shapes_and_values_come_back_bit_for_bit() {
    let (config, named) = sample(&device());
    let state = original_state(&config, &named);
    let path = std::path::Path::new("state.safetensors");
    let (imported, values) = import_original(path, state.clone()).unwrap();
    assert_eq!(values, named);
    let expected = Config {
        attention_scale: AttentionScale::Width,
        residual: Residual::AfterLn2,
        count_pads: true,
        dropout: imported.dropout,
        ..config
    };
    assert_eq!(imported, expected);
    assert_eq!(export_original(&imported, values).unwrap(), state);
    // and every name of ours is told in theirs
    for name in named.keys() {
        let theirs = original_name(name)
            .unwrap_or_else(|| panic!("no name for {name}"))
            .replace('*', "0");
        assert!(state.contains_key(&theirs), "{name}: {theirs}");
    }
}

/// The golden parameters under the original's names, imported, give the logits that PyTorch
/// recorded for the original.
#[test]
fn the_default_model_has_the_original_parameter_count() {
    let device = device();
    let model = Model::new(&device, Preset::Seemore.config(), 0).unwrap();
    assert_eq!(model.parameter_count(), 12_907_970);
}

#[test]
fn an_imported_state_dict_has_the_originals_logits() {
    let device = device();
    let bytes = std::fs::read("tests/golden/tiny_cls.safetensors").unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        bytemuck::pod_collect_to_vec(golden.tensor(name).unwrap().data())
    };
    let named: Values = golden
        .names()
        .into_iter()
        .filter_map(|name| {
            Some((
                name.strip_prefix("param.")?.to_owned(),
                (golden.tensor(name).unwrap().shape().to_vec(), floats(name)),
            ))
        })
        .collect();
    let heads = golden.tensor("orig.attn.vit.0").unwrap().shape()[1];
    let mut written_for = Config::default();
    (written_for.vision.heads, written_for.text.heads) = (heads, heads);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.safetensors");
    load::write_values(&path, &original_state(&written_for, &named), None).unwrap();

    let (config, values) = import_original(&path, load::read_values(&path).unwrap()).unwrap();
    let model = Model::new(&device, &config, 0).unwrap();
    load::restore(model.parameters(), &values, &path).unwrap();
    let ids: Vec<i64> = bytemuck::pod_collect_to_vec(golden.tensor("in.idx").unwrap().data());
    let [batch, length] = golden.tensor("in.idx").unwrap().shape()[..] else {
        panic!("ids have two axes")
    };
    let mut tape = device.tape();
    let image = tape.input(&[batch, 3, config.vision.image_size, config.vision.image_size]);
    let text = tape.input(&[batch, length]);
    let logits = model.forward(
        &mut Context::inference(&mut tape),
        Some(image),
        text,
        None,
        Logits::All,
    );
    tape.hold(logits);
    let plan = Plan::new(&device, tape).unwrap();
    plan.write(image, &floats("in.image"));
    plan.write(
        text,
        &ids.into_iter().map(|id| id as u32).collect::<Vec<_>>(),
    );
    plan.run().unwrap();
    let got: Vec<f32> = plan.read(logits).unwrap();
    let off = got
        .iter()
        .zip(floats("orig.logits"))
        .map(|(got, want)| (got - want).abs())
        .fold(0.0, f32::max);
    assert!(
        got.len() == floats("orig.logits").len() && off <= 2e-5,
        "off by {off}"
    );
}

#[test]
fn files_keep_every_bit() {
    let (_, mut named) = sample(&device());
    named.insert(
        "odd values".into(),
        (
            vec![5],
            vec![
                0.0,
                -0.0,
                f32::MIN_POSITIVE / 2.0,
                f32::MIN,
                f32::from_bits(1),
            ],
        ),
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("values.safetensors");
    load::write_values(&path, &named, None).unwrap();
    let bits = |values: &Values| -> Vec<(String, Vec<usize>, Vec<u32>)> {
        values
            .iter()
            .map(|(name, (shape, data))| {
                (
                    name.clone(),
                    shape.clone(),
                    data.iter().map(|v| v.to_bits()).collect(),
                )
            })
            .collect()
    };
    assert_eq!(bits(&load::read_values(&path).unwrap()), bits(&named));

    named.insert("diverged".into(), (vec![2], vec![1.0, f32::NAN]));
    load::write_values(&path, &named, None).unwrap();
    let error = load::read_values(&path).unwrap_err().to_string();
    assert!(error.contains("`diverged`"), "{error}");
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    let (config, named) = sample(&device());
    let state = original_state(&config, &named);
    let path = std::path::Path::new("state.safetensors");
    let message = |state: Values| import_original(path, state).unwrap_err().to_string();

    let mut without = state.clone();
    without.remove("decoder.ln_f.bias");
    let text = message(without);
    assert!(
        text.contains("state.safetensors") && text.contains("decoder.ln_f.bias"),
        "{text}"
    );

    let mut with = state.clone();
    with.insert("decoder.rope".into(), (vec![1], vec![1.0]));
    assert!(message(with).contains("decoder.rope"));

    let mut reshaped = state;
    reshaped.get_mut("vision_encoder.pos_embedding").unwrap().0 = vec![1, 8, 1];
    assert!(message(reshaped).contains("square number of patches"));
}

#[test]
fn a_saved_model_loads_equal_and_a_damaged_one_says_what_is_wrong() {
    let device = device();
    let (config, _) = sample(&device);
    let model = Model::new(&device, &config, 5).unwrap();
    let dir = tempfile::tempdir().unwrap();
    load::save(dir.path(), &model, None).unwrap();
    let (loaded, tokenizer) = load::load(&device, dir.path()).unwrap();
    assert!(tokenizer.is_none());
    assert_eq!(
        load::snapshot(loaded.parameters()).unwrap(),
        load::snapshot(model.parameters()).unwrap()
    );

    let file = dir.path().join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    let error = |device: &Device| match load::load(device, dir.path()) {
        Ok(_) => panic!("it loaded"),
        Err(error) => error.to_string(),
    };
    std::fs::write(&file, &whole[..whole.len() - 100]).unwrap();
    assert!(error(&device).contains("model.safetensors"));

    let mut values = load::snapshot(model.parameters()).unwrap();
    values.remove("vit.cls");
    load::write_values(&file, &values, None).unwrap();
    assert!(error(&device).contains("vit.cls"));
    values.insert("vit.cls".into(), (vec![1, 1, 2], vec![0.0; 2]));
    load::write_values(&file, &values, None).unwrap();
    let text = error(&device);
    assert!(
        text.contains("vit.cls") && text.contains("[1, 1, 2]"),
        "{text}"
    );

    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    assert!(error(&device).contains("config.json"));
}
