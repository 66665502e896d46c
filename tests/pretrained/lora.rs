//! Adapters of the tiny SmolVLM against what PEFT recorded.

use std::path::Path;

use seemore::device::Device;
use seemore::graph::Precision;
use seemore::models::Model;
use seemore::models::checkpoint::{
    Adapter, CheckpointError, KeepWeights, LoadOptions, load_options, read_values, save_adapter,
};
use seemore::nn::{Context, LoraConfig, Targets};
use seemore::ops::GradScaler;
use seemore::train::{
    AnswerPlaces, AnswerSizes, Batch, Gradients, Optimizer, OptimizerConfig, StepSizes, TrainStep,
};

use crate::golden::{self, each};
use crate::pass::{Inputs, devices, forward};
use crate::recorded::Reference;

/// What PEFT puts in front of a layer's name.
const WRAPPER: &str = "base_model.model.";

/// Largest difference of losses and adapters after ten steps.
const TRAINED: f32 = 1e-4;

fn load(device: &Device, base: &Path, adapter: &Path) -> Model {
    let options = LoadOptions {
        adapter: Some(adapter),
        ..LoadOptions::default()
    };
    match load_options(device, base, &options) {
        Ok((model, _)) => model,
        Err(error) => panic!("{error}"),
    }
}

/// The base model of a folder of adapters.
fn base(folder: &Path) -> std::path::PathBuf {
    let facts = golden::json(folder.join("reference.json"));
    folder.join(golden::text(&facts["base"]))
}

/// The fixed batch, and its sizes.
fn batch(model: &Model, recorded: &Reference, base: &Reference) -> (Batch, StepSizes) {
    let placeholder = model.info().placeholder.unwrap();
    let ids = recorded.ids("batch.input_ids");
    let labels = recorded.labels("batch.labels");
    let value = |byte: u8| (byte as f32 / 255.0 - 0.5) / 0.5;
    let second = recorded.bytes("batch.row1_pixel_values_u8");
    let mut images = base.floats("split.pixel_values");
    images.extend(second.into_iter().map(value));
    let places = ids
        .iter()
        .zip(0..)
        .filter(|(id, _)| **id == placeholder.token);
    let rows = golden::list(&recorded.facts["tiles_per_row"]).len();
    // logits predict the next label
    let labelled = (0..labels.len()).filter(|&at| labels[at] >= 0);
    let targets: Vec<usize> = labelled.collect();
    let answers = AnswerPlaces {
        pictures: places.map(|(_, place)| place).collect(),
        targets: targets.iter().map(|&at| at as u32 - 1).collect(),
    };
    let tiles = golden::list(&recorded.facts["tiles_per_row"]);
    let sizes = StepSizes {
        batch: rows,
        length: ids.len() / rows,
        precision: Precision::F32,
        answers: Some(AnswerSizes {
            // room for more, as of a batch whose pictures have fewer tiles than others
            tiles: tiles.iter().map(golden::size).sum::<usize>() + 1,
            targets: targets.len() + 3,
            encoded: false,
        }),
        ..StepSizes::default()
    };
    let batch = Batch {
        images,
        ids,
        targets: targets.iter().map(|&at| labels[at] as u32).collect(),
        classes: vec![],
        answers: Some(answers),
    };
    (batch, sizes)
}

/// Rows that the encoder passes to the projector, for tiles one at a time.
fn encoder_rows(device: &Device, model: &Model, tiles: &[f32]) -> Vec<f32> {
    let side = model.info().image_size();
    let mut tape = device.tape();
    let image = tape.input(&[1, 3, side, side]);
    let rows = model.encoder_rows(&mut Context::inference(&mut tape), image);
    tape.hold(rows);
    let plan = seemore::device::Plan::new(device, tape).unwrap();
    let encode = |tile: &[f32]| -> Vec<f32> {
        plan.write(image, tile);
        plan.run_and_read(rows).unwrap()
    };
    tiles.chunks(3 * side * side).flat_map(encode).collect()
}

/// Holds the gradients of adapters that were recorded under `prefix`.
fn hold_gradients(
    device: &Device,
    model: &Model,
    recorded: &Reference,
    prefix: &str,
    batch: &Batch,
    sizes: &StepSizes,
) -> usize {
    let answers = sizes.answers.unwrap();
    let info = model.info();
    let mut tape = device.tape();
    let side = info.image_size();
    let image = tape.input(&[answers.tiles, 3, side, side]);
    let places = batch.answers.as_ref().unwrap();
    let at = tape.input(&[places.pictures.len()]);
    let (ids, rows) = (
        tape.input(&[sizes.batch, sizes.length]),
        tape.input(&[places.targets.len()]),
    );
    let (wanted, scale, one) = (
        tape.input(&[places.targets.len()]),
        tape.input(&[1]),
        tape.input(&[1]),
    );
    let mut c = Context::training(&mut tape, 0.0);
    let frozen = model.store().iter().filter(|(info, _)| !info.is_adapter());
    c.frozen = frozen.map(|(_, tensor)| tensor.clone()).collect();
    let used = batch.images.len() / (3 * side * side);
    let tiles = c.tape.view(image, &[1, answers.tiles, 3 * side * side]);
    let tiles = c.tape.slice_rows(tiles, 0, used);
    let tiles = c.tape.view(tiles, &[used, 3, side, side]);
    c.image_places = Some(at);
    let features = model.encode(&mut c, tiles);
    let at_rows = seemore::models::Logits::Rows(rows);
    let logits = model.decode(&mut c, Some(features), ids, None, at_rows);
    let loss = tape.cross_entropy(logits, wanted, scale, 0.0);
    tape.backward(loss, one);
    let gradients = Gradients::new(device, model.store()).unwrap();
    gradients.place(&mut tape, model.store(), |info| info.is_adapter());
    let plan = seemore::device::Plan::new(device, tape).unwrap();
    let mut images = batch.images.clone();
    images.resize(answers.tiles * 3 * side * side, 0.0);
    plan.write(image, &images);
    plan.write(at, &places.pictures);
    plan.write(ids, &batch.ids);
    plan.write(rows, &places.targets);
    plan.write(wanted, &batch.targets);
    plan.write(scale, &[1.0 / batch.targets.len() as f32]);
    plan.write(one, &[1f32]);
    plan.run().unwrap();
    let mut held = 0;
    for (name, gradient) in gradients.named() {
        let theirs = format!("{prefix}{WRAPPER}{name}");
        if !recorded.holds(&theirs) {
            continue;
        }
        let want = recorded.floats(&theirs);
        let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
        let got: Vec<f32> = gradient.read().unwrap();
        golden::close(&theirs, &got, &want, 1e-4 * largest + 1e-7);
        held += 1;
    }
    held
}

/// Holds the values of a model's adapter against a recorded one.
fn hold_adapter(model: &Model, folder: &Path, tolerance: f32) -> usize {
    let values = read_values(&folder.join("adapter_model.safetensors")).unwrap();
    for (theirs, (_, want)) in &values {
        let name = theirs.strip_prefix(WRAPPER).unwrap();
        let tensor = model.store().get(name).unwrap();
        let got: Vec<f32> = tensor.read().unwrap();
        golden::close(theirs, &got, want, tolerance);
    }
    values.len()
}

#[test]
fn ten_steps_of_an_adapter_are_those_of_peft() {
    each("lora_tiny", |folder| {
        let base = base(folder);
        let (recorded, of_base) = (Reference::open(folder), Reference::open(&base));
        let facts = &recorded.facts["optimizer"];
        let number = |field: &str| facts[field].as_f64().unwrap();
        let mut held = 0;
        for device in devices() {
            for encoded in [false, true] {
                let model = load(&device, &base, &folder.join("adapter_init"));
                let (mut batch, mut sizes) = batch(&model, &recorded, &of_base);
                held += hold_gradients(&device, &model, &recorded, "step1.grad.", &batch, &sizes);
                if encoded {
                    batch.images = encoder_rows(&device, &model, &batch.images);
                    sizes.answers.as_mut().unwrap().encoded = true;
                }
                let config = OptimizerConfig {
                    beta1: facts["betas"][0].as_f64().unwrap(),
                    beta2: facts["betas"][1].as_f64().unwrap(),
                    eps: number("eps"),
                    weight_decay: number("weight_decay"),
                    clip: 0.0,
                    ..OptimizerConfig::default()
                };
                let trains = |info: &seemore::nn::ParameterInfo| info.is_adapter();
                let scaler = GradScaler::default();
                let optimizer =
                    Optimizer::new(&device, model.store(), config, scaler, trains).unwrap();
                let step = TrainStep::record(&device, &model, &optimizer, &sizes, &trains)
                    .unwrap()
                    .plan(&device)
                    .unwrap();
                let before = frozen_values(&model);
                let losses = golden::list(&recorded.facts["losses"]);
                for (index, want) in losses.iter().enumerate() {
                    let batches = std::slice::from_ref(&batch);
                    step.run(batches, index as u32, number("lr") as f32, 0.0)
                        .unwrap();
                    let (loss, want) = (step.loss().unwrap(), want.as_f64().unwrap() as f32);
                    let off = (loss - want).abs();
                    assert!(off <= TRAINED, "loss {index}: {loss}, recorded {want}");
                    let done = folder.join(format!("adapter_step{}", index + 1));
                    if done.is_dir() {
                        held += hold_adapter(&model, &done, TRAINED);
                    }
                    if index == 0 && !encoded {
                        let grads = ("step2.grad.", &batch, &sizes);
                        held +=
                            hold_gradients(&device, &model, &recorded, grads.0, grads.1, grads.2);
                    }
                }
                assert!(frozen_values(&model) == before, "frozen weights changed");
            }
        }
        held
    });
}

/// Values of the parameters that are kept in f32 and belong to no adapter.
fn frozen_values(model: &Model) -> Vec<Vec<f32>> {
    let parameters = model.store().iter();
    let frozen = parameters.filter(|(info, _)| !info.is_adapter());
    frozen.map(|(_, tensor)| tensor.read().unwrap()).collect()
}

#[test]
fn adapters_give_the_logits_that_peft_recorded() {
    each("lora_tiny", |folder| {
        let base = base(folder);
        let (recorded, of_base) = (Reference::open(folder), Reference::open(&base));
        let (tiles, ids) = (
            of_base.floats("split.pixel_values"),
            of_base.ids("split.input_ids"),
        );
        let mut held = 0;
        for (adapter, name) in [
            ("adapter_step10", "step10.logits"),
            ("adapter_list_rslora", "list_rslora.logits"),
        ] {
            if !folder.join(adapter).is_dir() || !recorded.holds(name) {
                continue;
            }
            for device in devices() {
                let model = load(&device, &base, &folder.join(adapter));
                let inputs = Inputs {
                    tiles: &tiles,
                    ids: &ids,
                };
                recorded.hold(name, &forward(&device, &model, &inputs)["logits"]);
                held += 1;
            }
        }
        held
    });
}

#[test]
fn adapters_are_written_as_they_were_read() {
    each("lora_tiny", |folder| {
        let device = &devices()[0];
        let base = base(folder);
        let mut held = 0;
        for name in ["adapter_step10", "adapter_list_rslora"] {
            let from = folder.join(name);
            if !from.is_dir() {
                continue;
            }
            let model = load(device, &base, &from);
            let adapter = Adapter::load(&from).unwrap();
            let dir = tempfile::tempdir().unwrap();
            save_adapter(dir.path(), &adapter, model.parameters()).unwrap();
            assert_eq!(Adapter::load(dir.path()).unwrap(), adapter);
            let read = |folder: &Path| read_values(&folder.join("adapter_model.safetensors"));
            let (want, got) = (read(&from).unwrap(), read(dir.path()).unwrap());
            assert!(want == got, "{name}");
            held += got.len();
        }
        held
    });
}

#[test]
fn adapters_of_other_models_are_refused() {
    each("lora_tiny", |folder| {
        let device = &devices()[0];
        let error = |base: &Path, adapter: &Path| {
            let options = LoadOptions {
                adapter: Some(adapter),
                ..LoadOptions::default()
            };
            match load_options(device, base, &options) {
                Ok(_) => panic!("it was loaded"),
                Err(error) => error.to_string(),
            }
        };
        let adapter = folder.join("adapter_init");
        for other in golden::folders("llama_tiny") {
            let text = error(&other, &adapter);
            assert!(text.contains("target"), "{text}");
        }
        let text = error(&base(folder), folder);
        assert!(text.contains("adapter_config.json"), "{text}");
        // other layers than the description names
        let dir = tempfile::tempdir().unwrap();
        let model = "adapter_model.safetensors";
        std::fs::copy(adapter.join(model), dir.path().join(model)).unwrap();
        let mut fields = golden::json(adapter.join("adapter_config.json"));
        fields["target_modules"] = serde_json::json!(["q_proj"]);
        let config = dir.path().join("adapter_config.json");
        std::fs::write(&config, fields.to_string()).unwrap();
        let text = error(&base(folder), dir.path());
        assert!(text.contains(model) && text.contains(WRAPPER), "{text}");
        std::fs::remove_file(dir.path().join(model)).unwrap();
        assert!(error(&base(folder), dir.path()).contains(model));
        1
    });
}

#[test]
fn new_adapters_change_nothing_until_they_are_trained() {
    for folder in golden::folders("llama_tiny") {
        let recorded = Reference::open(&folder);
        for keep in [KeepWeights::AsStored, KeepWeights::Trained] {
            let device = &devices()[0];
            let config = LoraConfig {
                rank: 3,
                ..LoraConfig::new(Targets::AllLinear)
            };
            let options = LoadOptions {
                new_adapters: Some((&config, 5)),
                keep,
                ..LoadOptions::default()
            };
            let (model, _) = load_options(device, &folder, &options).unwrap();
            let adapted = model
                .store()
                .infos()
                .iter()
                .filter(|info| info.is_adapter());
            let layers = model.info().decoder.layers;
            assert_eq!(adapted.count(), 2 * 7 * layers);
            let ids = recorded.ids("narrow.0.input_ids");
            let inputs = Inputs {
                tiles: &[],
                ids: &ids,
            };
            let logits = &forward(device, &model, &inputs)["logits"];
            recorded.hold("safetensors.0.logits", logits);
        }
        let nothing = LoraConfig::new(Targets::Names(vec!["absent".into()]));
        let options = LoadOptions {
            new_adapters: Some((&nothing, 5)),
            ..LoadOptions::default()
        };
        let refused = load_options(&devices()[0], &folder, &options).map(drop);
        assert!(
            matches!(refused, Err(CheckpointError::Adapter { .. })),
            "{refused:?}"
        );
    }
}
