//! The whole model in one file, to copy and change: an image encoder, a projector and a decoder,
//! their training and the writing of captions, on the ops of the library.
//!
//! `cargo run --release --example seemore` trains on the 48 drawings of `data/inputs.csv`, then
//! captions the 12 of `data/inputs_val.csv`, which it has not seen. It takes seconds on two CPU
//! cores. With `-- small` it learns three drawings only.

use std::error::Error;

use seemore::data::{Batches, Layout, Sample};
use seemore::device::DeviceError;
use seemore::nn::{Init, ParameterStore, Parameters};
use seemore::ops::{Activation, Attention, GradScaler};
use seemore::progress::Silent;
use seemore::text::TokenKind;
use seemore::train::{Batch, Gradients, Optimizer, OptimizerConfig, Text};
use seemore::{Dataset, Device, Plan, Tape, Tensor, Tokenizer, Var};

/// Side of a picture, and of a patch, in pixels.
const SIDE: usize = 48;
const PATCH: usize = 8;
/// Width of the rows and number of blocks, of the image encoder and of the decoder.
const VISION: (usize, usize) = (128, 3);
const DECODER: (usize, usize) = (64, 3);
const HEADS: usize = 4;
/// Positions of the decoder: the picture, then the text.
const CONTEXT: usize = 32;
const RATE: f32 = 2e-3;

type Made<T> = Result<T, DeviceError>;

/// Parameters of a linear layer, `weight: [out, in]`, or of a LayerNorm, `weight: [width]`.
struct Affine {
    weight: Tensor,
    bias: Tensor,
}

impl Affine {
    fn linear(p: &mut Parameters, name: &str, inputs: usize, outputs: usize) -> Made<Affine> {
        let init = Init::Uniform { inputs };
        let weight = p.create(&format!("{name}.weight"), &[outputs, inputs], init)?;
        let bias = p.create(&format!("{name}.bias"), &[outputs], init)?;
        Ok(Affine { weight, bias })
    }

    fn norm(p: &mut Parameters, name: &str, width: usize) -> Made<Affine> {
        let weight = p.create(&format!("{name}.weight"), &[width], Init::Ones)?;
        let bias = p.create(&format!("{name}.bias"), &[width], Init::Zeros)?;
        Ok(Affine { weight, bias })
    }

    /// `activation(x Wᵀ + b)`
    fn apply(&self, t: &mut Tape, x: Var, activation: Activation) -> Var {
        let (weight, bias) = (t.parameter(&self.weight), t.parameter(&self.bias));
        t.linear(x, weight, Some(bias), activation)
    }

    /// Mean 0 and variance 1 along the rows, then scaled and shifted.
    fn normalize(&self, t: &mut Tape, x: Var) -> Var {
        let (weight, bias) = (t.parameter(&self.weight), t.parameter(&self.bias));
        t.layernorm(x, weight, bias, 1e-5)
    }
}

/// Two layers with a GELU between them.
struct Mlp {
    up: Affine,
    down: Affine,
}

impl Mlp {
    fn new(p: &mut Parameters, inputs: usize, outputs: usize) -> Made<Mlp> {
        let up = Affine::linear(p, "up", inputs, 4 * inputs)?;
        let down = Affine::linear(p, "down", 4 * inputs, outputs)?;
        Ok(Mlp { up, down })
    }

    fn apply(&self, t: &mut Tape, x: Var) -> Var {
        let hidden = self.up.apply(t, x, Activation::Gelu);
        self.down.apply(t, hidden, Activation::None)
    }
}

/// `h = x + attention(norm(x))`, then `h + mlp(norm(h))`.
struct Block {
    norm1: Affine,
    norm2: Affine,
    qkv: Affine,
    out: Affine,
    mlp: Mlp,
    attention: Attention,
}

impl Block {
    fn new(p: &mut Parameters, width: usize, causal: bool) -> Made<Block> {
        Ok(Block {
            norm1: Affine::norm(p, "norm1", width)?,
            norm2: Affine::norm(p, "norm2", width)?,
            qkv: Affine::linear(p, "qkv", width, 3 * width)?,
            out: Affine::linear(p, "out", width, width)?,
            mlp: Mlp::new(p, width, width)?,
            attention: Attention {
                heads: HEADS,
                kv_heads: HEADS,
                scale: ((width / HEADS) as f32).powf(-0.5),
                causal,
                dropout: 0.0,
                rounded: false,
            },
        })
    }

    /// Maps `x: [batch, t, width]`. Keys and values are appended to the cache, if there is one,
    /// after the `past: [1]` positions that it holds, and the new positions attend to all of it.
    fn apply(&self, t: &mut Tape, x: Var, past: Var, cache: Option<&Tensor>) -> Var {
        let normal = self.norm1.normalize(t, x);
        let qkv = self.qkv.apply(t, normal, Activation::None);
        // the seed of dropout is not read without dropout
        let (seed, spec) = (past, &self.attention);
        let mixed = match cache.map(|cache| t.bind(cache)) {
            None => t.attention(qkv, qkv, past, seed, spec),
            Some(cache) => {
                // a cache has no gradient
                let qkv = t.detach(qkv, 1.0);
                t.attention_append(qkv, cache, past, seed, spec)
            }
        };
        let branch = self.out.apply(t, mixed, Activation::None);
        let h = t.add(x, branch);
        let normal = self.norm2.normalize(t, h);
        let branch = self.mlp.apply(t, normal);
        t.add(h, branch)
    }
}

fn blocks(p: &mut Parameters, (width, layers): (usize, usize), causal: bool) -> Made<Vec<Block>> {
    (0..layers)
        .map(|i| p.scope(i, |p| Block::new(p, width, causal)))
        .collect()
}

struct Model {
    patch: Affine,
    cls: Tensor,
    places: Tensor,
    encoder: Vec<Block>,
    image_norm: Affine,
    projector: Mlp,
    tokens: Tensor,
    positions: Tensor,
    decoder: Vec<Block>,
    text_norm: Affine,
    head: Affine,
}

impl Model {
    fn new(p: &mut Parameters, vocab: usize) -> Made<Model> {
        let (image, text) = (VISION.0, DECODER.0);
        let (small, rows) = (Init::Normal(0.02), 1 + (SIDE / PATCH).pow(2));
        Ok(Model {
            patch: Affine::linear(p, "patch", 3 * PATCH * PATCH, image)?,
            cls: p.create("cls", &[1, 1, image], small)?,
            places: p.create("places", &[rows, image], small)?,
            encoder: p.scope("encoder", |p| blocks(p, VISION, false))?,
            image_norm: Affine::norm(p, "image_norm", image)?,
            projector: p.scope("projector", |p| Mlp::new(p, image, text))?,
            tokens: p.create("tokens", &[vocab, text], small)?,
            positions: p.create("positions", &[CONTEXT, text], small)?,
            decoder: p.scope("decoder", |p| blocks(p, DECODER, true))?,
            text_norm: Affine::norm(p, "text_norm", text)?,
            head: Affine::linear(p, "head", text, vocab)?,
        })
    }

    /// Maps pictures `[batch, 3, side, side]` to a visual token each, `[batch, 1, width]`.
    fn look(&self, t: &mut Tape, images: Var, past: Var) -> Var {
        // ANCHOR: look
        let patches = t.patchify(images, PATCH);
        let patches = self.patch.apply(t, patches, Activation::None);
        let (cls, places) = (t.parameter(&self.cls), t.parameter(&self.places));
        let rows = t.concat_rows(cls, patches);
        let mut x = t.add(rows, places);
        for block in &self.encoder {
            x = block.apply(t, x, past, None);
        }
        let cls = t.slice_rows(x, 0, 1);
        let cls = self.image_norm.normalize(t, cls);
        self.projector.apply(t, cls)
        // ANCHOR_END: look
    }

    /// Maps tokens `ids: [batch, t]`, after a visual token if there is one, to the logits of what
    /// follows each of them: `[batch, t, vocab]`.
    fn read(
        &self,
        t: &mut Tape,
        visual: Option<Var>,
        ids: Var,
        past: Var,
        caches: &[Tensor],
    ) -> Var {
        // ANCHOR: read
        let count = t.shape(ids)[1];
        let (tokens, positions) = (t.parameter(&self.tokens), t.parameter(&self.positions));
        let mut x = t.embedding(tokens, ids);
        if let Some(visual) = visual {
            x = t.concat_rows(visual, x);
        }
        x = t.positions(x, positions, past);
        for (i, block) in self.decoder.iter().enumerate() {
            x = block.apply(t, x, past, caches.get(i));
        }
        let x = t.slice_rows(x, visual.is_some() as usize, count);
        let x = self.text_norm.normalize(t, x);
        self.head.apply(t, x, Activation::None)
        // ANCHOR_END: read
    }
}

/// Records one step, with its loss, gradients and update, and runs it `steps` times.
fn train(
    device: &Device,
    (model, store): (&Model, &ParameterStore),
    (samples, words): (&[Sample], &Tokenizer),
    (batch, steps): (usize, u64),
) -> Made<()> {
    let texts: Vec<Text> = samples
        .iter()
        .map(|s| Text::new(words, &s.caption))
        .collect();
    let length = texts.iter().map(Text::len).max().unwrap_or(1);
    let (config, scaler) = (OptimizerConfig::default(), GradScaler::default());
    let optimizer = Optimizer::new(device, store, config, scaler, |_| true)?;
    let mut tape = device.tape();
    let images = tape.input(&[batch, 3, SIDE, SIDE]);
    let ids = tape.input(&[batch, length]);
    let (targets, share) = (tape.input(&[batch * length]), tape.input(&[1]));
    let past = tape.input(&[1]);
    let visual = model.look(&mut tape, images, past);
    let logits = model.read(&mut tape, Some(visual), ids, past, &[]);
    let logits = tape.view(logits, &[batch * length, words.vocab_size()]);
    let loss = tape.cross_entropy(logits, targets, share, 0.0);
    tape.hold(loss);
    let scale = optimizer.scale(&mut tape);
    tape.backward(loss, scale);
    let gradients = Gradients::new(device, store)?;
    gradients.place(&mut tape, store, |_| true);
    let gradients = gradients.bind(&mut tape);
    let update = optimizer.record(&mut tape, &gradients, loss);
    let plan = Plan::new(device, tape)?;

    let order = Batches::new(samples.len(), batch, 1);
    for step in 0..steps {
        let chosen = order.indices(step);
        let pixels = chosen
            .iter()
            .flat_map(|&i| samples[i].normalised())
            .collect();
        let captions: Vec<&Text> = chosen.iter().map(|&i| &texts[i]).collect();
        // inputs are padded; the target of each token is the one after it, and of padding none
        let inputs = Batch::new(pixels, &captions, length, words.pad(), false);
        plan.write(images, &inputs.images);
        plan.write(ids, &inputs.ids);
        plan.write(targets, &inputs.targets);
        plan.write(share, &[1.0 / inputs.count() as f32]);
        // ten steps of warm-up, then down along half a cosine
        let turn = std::f32::consts::PI * step as f32 / steps as f32;
        let rate = RATE * ((step + 1) as f32 / 10.0).min(1.0) * 0.5 * (1.0 + turn.cos());
        plan.write(update.rate, &[rate]);
        plan.run()?;
        if (step + 1) % 20 == 0 {
            println!("step {}: loss {:.3}", step + 1, plan.read::<f32>(loss)?[0]);
        }
    }
    Ok(())
}

/// Writes the likeliest caption of a picture, token by token, with a key/value cache.
fn caption(device: &Device, model: &Model, words: &Tokenizer, sample: &Sample) -> Made<String> {
    let cache = |_: &Block| Tensor::zeros(device, &[1, CONTEXT, 2 * DECODER.0]);
    let caches = model.decoder.iter().map(cache).collect::<Made<Vec<_>>>()?;
    // one pass over the picture and the first token, and one over each token after it
    let record = |first: bool| {
        let mut tape = device.tape();
        let image = tape.input(&[1, 3, SIDE, SIDE]);
        let ids = tape.input(&[1, 1]);
        let past = tape.input(&[1]);
        let visual = first.then(|| model.look(&mut tape, image, past));
        let logits = model.read(&mut tape, visual, ids, past, &caches);
        let next = tape.argmax(logits);
        tape.hold(next);
        Ok::<_, DeviceError>((Plan::new(device, tape)?, image, ids, past, next))
    };
    let (first, further) = (record(true)?, record(false)?);
    first.0.write(first.1, &sample.normalised());
    let mut token = words.begin().expect("characters have a first token");
    let mut text = vec![];
    // the picture and the first token take positions 0 and 1
    // ANCHOR: write
    for past in [0].into_iter().chain(2..CONTEXT as u32) {
        let (plan, _, ids, cached, next) = if past == 0 { &first } else { &further };
        plan.write(*ids, &[token]);
        plan.write(*cached, &[past]);
        token = plan.run_and_read::<u32>(*next)?[0];
        if Some(token) == words.end() {
            break;
        }
        text.push(token);
    }
    // ANCHOR_END: write
    Ok(words.decode(&text))
}

fn load(path: &str) -> Result<Vec<Sample>, Box<dyn Error>> {
    let layout = Layout::default();
    let loaded = Dataset::load(path.as_ref(), SIDE, &layout, true, &Silent)?;
    Ok(loaded.dataset.samples)
}

fn main() -> Result<(), Box<dyn Error>> {
    let small = std::env::args().any(|argument| argument == "small");
    let (drawings, batch, steps) = if small { (3, 3, 40) } else { (48, 16, 200) };
    let samples = load("data/inputs.csv")?;
    let samples = &samples[..drawings];
    let captions = samples.iter().map(|sample| sample.caption.as_str());
    let words = Tokenizer::train(TokenKind::Characters, captions, None);

    let device = Device::best()?;
    println!("device: {}", device.describe());
    let build = |p: &mut Parameters| Model::new(p, words.vocab_size());
    let (model, store) = Parameters::build(&device, 1, build)?;
    let count: usize = store.named().iter().map(|(_, tensor)| tensor.len()).sum();
    println!("{count} parameters, {drawings} drawings, {steps} steps of {batch}");
    train(&device, (&model, &store), (samples, &words), (batch, steps))?;

    let unseen = load("data/inputs_val.csv")?;
    let shown = if small { samples } else { &unseen };
    let mut right = 0;
    for sample in shown {
        let written = caption(&device, &model, &words, sample)?;
        right += usize::from(written == sample.caption);
        println!("{}: {written}", sample.caption);
    }
    println!("{right} of {} captions are right", shown.len());
    Ok(())
}
