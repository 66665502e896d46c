//! Forward and backward passes over recorded inputs.

use std::collections::BTreeMap;

use seemore::device::{Device, Plan};
use seemore::models::clip::Clip;
use seemore::models::{Logits, Model};
use seemore::nn::{Context, Part};
use seemore::ops::IGNORE;

/// The CPU and the first graphics adapter: what both compute is held.
pub fn devices() -> Vec<Device> {
    let open = |name| Device::open(Some(name)).unwrap_or_else(|error| panic!("{error}"));
    vec![open("cpu"), open("0")]
}

/// What the model takes in.
pub struct Inputs<'a> {
    /// Normalised tiles `[n, 3, side, side]`; empty without a picture.
    pub tiles: &'a [f32],
    /// Ids of one text.
    pub ids: &'a [u32],
}

impl Inputs<'_> {
    fn tile_count(&self, model: &Model) -> usize {
        let side = model.info().image_size();
        self.tiles.len() / (3 * side * side)
    }

    /// Places in the text that the rows of the tiles take.
    pub fn places(&self, model: &Model) -> Vec<u32> {
        let Some(placeholder) = model.info().placeholder else {
            return vec![];
        };
        let places = self.ids.iter().zip(0..);
        let places = places.filter(|(id, _)| **id == placeholder.token);
        places.map(|(_, place)| place).collect()
    }
}

/// Intermediate values, attention of the decoder as `text.attn0` and so on, and logits, by name.
pub type Values = BTreeMap<String, Vec<f32>>;

/// Runs a model without caches and returns everything it computes.
pub fn forward(device: &Device, model: &Model, inputs: &Inputs) -> Values {
    let (tiles, side) = (inputs.tile_count(model), model.info().image_size());
    let places = inputs.places(model);
    let mut tape = device.tape();
    let image = (tiles > 0).then(|| tape.input(&[tiles, 3, side, side]));
    let ids = tape.input(&[1, inputs.ids.len()]);
    let at = (tiles > 0 && !places.is_empty()).then(|| tape.input(&[places.len()]));
    let mut c = Context::inference(&mut tape);
    (c.states, c.maps, c.image_places) = (Some(vec![]), Some(vec![]), at);
    let logits = model.forward(&mut c, image, ids, None, Logits::All);
    let (states, maps) = (c.states.take().unwrap(), c.maps.take().unwrap());
    tape.hold(logits);
    let plan = Plan::new(device, tape).unwrap();
    if let Some(image) = image {
        plan.write(image, inputs.tiles);
    }
    if let Some(at) = at {
        plan.write(at, &places);
    }
    plan.write(ids, inputs.ids);
    plan.run().unwrap();
    let mut values = Values::new();
    for (name, state) in states {
        values.insert(name, plan.read(state).unwrap());
    }
    let decoder = maps.iter().filter(|map| map.part == Part::Decoder);
    for (layer, map) in decoder.enumerate() {
        let probabilities = plan.read(map.probabilities).unwrap();
        values.insert(format!("text.attn{layer}"), probabilities);
    }
    values.insert("logits".into(), plan.read(logits).unwrap());
    values
}

/// Mean cross-entropy of the text's logits against `targets`, one for each id of the text and
/// negative where none counts, and the gradient of every parameter by name.
pub fn backward(device: &Device, model: &Model, inputs: &Inputs, targets: &[i32]) -> (f32, Values) {
    let (tiles, side) = (inputs.tile_count(model), model.info().image_size());
    let places = inputs.places(model);
    let mut tape = device.tape();
    let image = (tiles > 0).then(|| tape.input(&[tiles, 3, side, side]));
    let ids = tape.input(&[1, inputs.ids.len()]);
    let at = (tiles > 0 && !places.is_empty()).then(|| tape.input(&[places.len()]));
    let (wanted, scale, one) = (
        tape.input(&[targets.len()]),
        tape.input(&[1]),
        tape.input(&[1]),
    );
    let mut c = Context::training(&mut tape, 0.0);
    c.image_places = at;
    let logits = model.forward(&mut c, image, ids, None, Logits::Text);
    let loss = tape.cross_entropy(logits, wanted, scale, 0.0);
    tape.hold(loss);
    tape.backward(loss, one);
    let store = model.store();
    let flats = store.zeros(device).unwrap();
    for (parameter, tensor) in tape.parameters() {
        let grad = tape.grad(parameter).expect("every parameter takes part");
        tape.place(grad, &store.counterpart(&tensor, &flats).unwrap());
    }
    let plan = Plan::new(device, tape).unwrap();
    if let Some(image) = image {
        plan.write(image, inputs.tiles);
    }
    if let Some(at) = at {
        plan.write(at, &places);
    }
    let count = targets.iter().filter(|target| **target >= 0).count();
    let target = |&target: &i32| u32::try_from(target).unwrap_or(IGNORE);
    plan.write(ids, inputs.ids);
    plan.write(wanted, &targets.iter().map(target).collect::<Vec<_>>());
    plan.write(scale, &[1.0 / count as f32]);
    plan.write(one, &[1f32]);
    plan.run().unwrap();
    let loss: Vec<f32> = plan.read(loss).unwrap();
    let grads = store.named_in(&flats).into_iter();
    let grads = grads.map(|(name, grad)| (name, grad.read().unwrap()));
    (loss.iter().sum(), grads.collect())
}

/// Embeds pictures `[n, 3, side, side]` and returns everything that the encoder computes, attention
/// as `attn0` and so on, and with `direction` the gradient of every parameter.
pub fn embed(
    device: &Device,
    clip: &Clip,
    pixels: &[f32],
    direction: Option<&[f32]>,
) -> (Values, Values) {
    let side = clip.config().vision.image_size;
    let mut tape = device.tape();
    let image = tape.input(&[pixels.len() / (3 * side * side), 3, side, side]);
    let mut c = match direction {
        Some(_) => Context::training(&mut tape, 0.0),
        None => Context::inference(&mut tape),
    };
    (c.states, c.maps) = (Some(vec![]), Some(vec![]));
    let embeddings = clip.encoder().embed(&mut c, image);
    let (states, maps) = (c.states.take().unwrap(), c.maps.take().unwrap());
    tape.hold(embeddings);
    let flats = clip.store().zeros(device).unwrap();
    let wanted = direction.map(|direction| {
        let shape = tape.shape(embeddings).to_vec();
        let wanted = tape.input(&shape);
        tape.backward(embeddings, wanted);
        for (parameter, tensor) in tape.parameters() {
            let grad = tape.grad(parameter).expect("every parameter takes part");
            tape.place(grad, &clip.store().counterpart(&tensor, &flats).unwrap());
        }
        (wanted, direction)
    });
    let plan = Plan::new(device, tape).unwrap();
    plan.write(image, pixels);
    if let Some((wanted, direction)) = wanted {
        plan.write(wanted, direction);
    }
    plan.run().unwrap();
    let mut values = Values::new();
    for (name, state) in states {
        values.insert(name, plan.read(state).unwrap());
    }
    for (layer, map) in maps.iter().enumerate() {
        values.insert(
            format!("attn{layer}"),
            plan.read(map.probabilities).unwrap(),
        );
    }
    values.insert("image_embeds".into(), plan.read(embeddings).unwrap());
    let grads = match wanted {
        Some(_) => {
            let named = clip.store().named_in(&flats).into_iter();
            named
                .map(|(name, grad)| (name, grad.read().unwrap()))
                .collect()
        }
        None => Values::new(),
    };
    (values, grads)
}
