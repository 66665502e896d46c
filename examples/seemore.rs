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
use seemore::ops::{Activation, Attention, GradScaler, IGNORE};
use seemore::progress::Silent;
use seemore::text::TokenKind;
use seemore::train::{Gradients, Optimizer, OptimizerConfig, Update};
use seemore::{Dataset, Device, Plan, Tape, Tensor, Tokenizer, Var};

/// Side of a picture, and of a patch, in pixels.
const SIDE: usize = 48;
const PATCH: usize = 8;
/// Sizes of the image encoder and of the decoder.
const VISION: Stack = Stack(128, 3);
const TEXT: Stack = Stack(64, 3);
const HEADS: usize = 4;
/// Positions of the decoder: the picture, then the text.
const CONTEXT: usize = 32;
const RATE: f32 = 2e-3;

/// Width of the rows, and number of blocks.
#[derive(Clone, Copy)]
struct Stack(usize, usize);

type Made<T> = Result<T, DeviceError>;

/// A recorded forward pass: the tape, and what all layers share.
struct Pass<'a> {
    tape: &'a mut Tape,
    training: bool,
    /// Number of positions that the caches hold before this pass.
    past: Var,
    /// Seed of dropout, which this model does without.
    seed: Var,
}

impl<'a> Pass<'a> {
    fn new(tape: &'a mut Tape, training: bool) -> Pass<'a> {
        let (past, seed) = (tape.input(&[1]), tape.input(&[1]));
        Pass {
            tape,
            training,
            past,
            seed,
        }
    }

    /// A parameter as a value, with a gradient in training.
    fn weight(&mut self, tensor: &Tensor) -> Var {
        match self.training {
            true => self.tape.parameter(tensor),
            false => self.tape.bind(tensor),
        }
    }
}

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
    fn apply(&self, pass: &mut Pass, x: Var, activation: Activation) -> Var {
        let (weight, bias) = (pass.weight(&self.weight), pass.weight(&self.bias));
        pass.tape.linear(x, weight, Some(bias), activation)
    }

    /// Mean 0 and variance 1 along the rows, then scaled and shifted.
    fn normalize(&self, pass: &mut Pass, x: Var) -> Var {
        let (weight, bias) = (pass.weight(&self.weight), pass.weight(&self.bias));
        pass.tape.layernorm(x, weight, bias, 1e-5)
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

    fn apply(&self, pass: &mut Pass, x: Var) -> Var {
        let hidden = self.up.apply(pass, x, Activation::Gelu);
        self.down.apply(pass, hidden, Activation::None)
    }
}

/// `h = x + attention(norm(x))`, then `h + mlp(norm(h))`.
struct Block {
    norms: [Affine; 2],
    qkv: Affine,
    out: Affine,
    mlp: Mlp,
    attention: Attention,
}

impl Block {
    fn new(p: &mut Parameters, width: usize, causal: bool) -> Made<Block> {
        Ok(Block {
            norms: [
                Affine::norm(p, "norm1", width)?,
                Affine::norm(p, "norm2", width)?,
            ],
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

    /// Maps `x: [batch, t, width]`. Keys and values are appended to the cache, if there is one, and
    /// the new positions attend to all of it.
    fn apply(&self, pass: &mut Pass, x: Var, cache: Option<&Tensor>) -> Var {
        let normal = self.norms[0].normalize(pass, x);
        let qkv = self.qkv.apply(pass, normal, Activation::None);
        let (past, seed) = (pass.past, pass.seed);
        let mixed = match cache.map(|cache| pass.tape.bind(cache)) {
            None => pass.tape.attention(qkv, qkv, past, seed, &self.attention),
            Some(cache) => pass
                .tape
                .attention_append(qkv, cache, past, seed, &self.attention),
        };
        let branch = self.out.apply(pass, mixed, Activation::None);
        let h = pass.tape.add(x, branch);
        let normal = self.norms[1].normalize(pass, h);
        let branch = self.mlp.apply(pass, normal);
        pass.tape.add(h, branch)
    }
}

fn blocks(p: &mut Parameters, Stack(width, layers): Stack, causal: bool) -> Made<Vec<Block>> {
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
        let (Stack(image, _), Stack(text, _)) = (VISION, TEXT);
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
            decoder: p.scope("decoder", |p| blocks(p, TEXT, true))?,
            text_norm: Affine::norm(p, "text_norm", text)?,
            head: Affine::linear(p, "head", text, vocab)?,
        })
    }

    /// Maps pictures `[batch, 3, side, side]` to a visual token each, `[batch, 1, width]`.
    fn look(&self, pass: &mut Pass, images: Var) -> Var {
        let patches = pass.tape.patchify(images, PATCH);
        let patches = self.patch.apply(pass, patches, Activation::None);
        let (cls, places) = (pass.weight(&self.cls), pass.weight(&self.places));
        let rows = pass.tape.concat_rows(cls, patches);
        let mut x = pass.tape.add(rows, places);
        for block in &self.encoder {
            x = block.apply(pass, x, None);
        }
        let cls = pass.tape.slice_rows(x, 0, 1);
        let cls = self.image_norm.normalize(pass, cls);
        self.projector.apply(pass, cls)
    }

    /// Maps tokens `ids: [batch, t]`, after a visual token if there is one, to the logits of what
    /// follows each of them: `[batch, t, vocab]`.
    fn read(&self, pass: &mut Pass, visual: Option<Var>, ids: Var, caches: &[Tensor]) -> Var {
        let (count, past) = (pass.tape.shape(ids)[1], pass.past);
        let (tokens, positions) = (pass.weight(&self.tokens), pass.weight(&self.positions));
        let mut x = pass.tape.embedding(tokens, ids);
        if let Some(visual) = visual {
            x = pass.tape.concat_rows(visual, x);
        }
        x = pass.tape.positions(x, positions, past);
        for (i, block) in self.decoder.iter().enumerate() {
            x = block.apply(pass, x, caches.get(i));
        }
        let x = pass.tape.slice_rows(x, visual.is_some() as usize, count);
        let x = self.text_norm.normalize(pass, x);
        self.head.apply(pass, x, Activation::None)
    }
}

/// Records the forward pass, the loss, the gradients and the update of one step.
struct Training {
    plan: Plan,
    images: Var,
    ids: Var,
    targets: Var,
    /// One over the number of targets.
    share: Var,
    loss: Var,
    update: Update,
}

impl Training {
    fn new(
        device: &Device,
        (model, store): (&Model, &ParameterStore),
        [batch, length, vocab]: [usize; 3],
    ) -> Made<Training> {
        let (config, scaler) = (OptimizerConfig::default(), GradScaler::default());
        let optimizer = Optimizer::new(device, store, config, scaler, |_| true)?;
        let mut tape = device.tape();
        let (images, ids) = (
            tape.input(&[batch, 3, SIDE, SIDE]),
            tape.input(&[batch, length]),
        );
        let (targets, share) = (tape.input(&[batch * length]), tape.input(&[1]));
        let mut pass = Pass::new(&mut tape, true);
        let visual = model.look(&mut pass, images);
        let logits = model.read(&mut pass, Some(visual), ids, &[]);
        let logits = tape.view(logits, &[batch * length, vocab]);
        let loss = tape.cross_entropy(logits, targets, share, 0.0);
        tape.hold(loss);
        let scale = optimizer.scale(&mut tape);
        tape.backward(loss, scale);
        let gradients = Gradients::new(device, store)?;
        gradients.place(&mut tape, store, |_| true);
        let gradients = gradients.bind(&mut tape);
        let update = optimizer.record(&mut tape, &gradients, loss);
        let plan = Plan::new(device, tape)?;
        Ok(Training {
            plan,
            images,
            ids,
            targets,
            share,
            loss,
            update,
        })
    }

    /// Takes one step with these samples, and returns the loss before it.
    fn step(&self, samples: &[&Sample], words: &Tokenizer, length: usize, rate: f32) -> Made<f32> {
        let (mut pixels, mut ids, mut targets) = (vec![], vec![], vec![]);
        for sample in samples {
            pixels.extend(sample.normalised());
            let text = words.encode(&sample.caption);
            // the target of each token is the one after it
            let inputs = words.begin().into_iter().chain(text.iter().copied());
            ids.extend(inputs.chain(std::iter::repeat(words.pad())).take(length));
            let wanted = text.iter().copied().chain(words.end());
            targets.extend(wanted.chain(std::iter::repeat(IGNORE)).take(length));
        }
        let count = targets.iter().filter(|target| **target != IGNORE).count();
        self.plan.write(self.images, &pixels);
        self.plan.write(self.ids, &ids);
        self.plan.write(self.targets, &targets);
        self.plan.write(self.share, &[1.0 / count as f32]);
        self.plan.write(self.update.rate, &[rate]);
        Ok(self.plan.run_and_read(self.loss)?[0])
    }
}

/// Writes the likeliest caption of a picture, token by token, with a key/value cache.
fn caption(device: &Device, model: &Model, words: &Tokenizer, sample: &Sample) -> Made<String> {
    let cache = |_: &Block| Tensor::zeros(device, &[1, CONTEXT, 2 * TEXT.0]);
    let caches = model.decoder.iter().map(cache).collect::<Made<Vec<_>>>()?;
    // one pass over the picture and the first token, and one over each token after it
    let record = |first: bool| {
        let mut tape = device.tape();
        let image = tape.input(&[1, 3, SIDE, SIDE]);
        let ids = tape.input(&[1, 1]);
        let mut pass = Pass::new(&mut tape, false);
        let past = pass.past;
        let visual = first.then(|| model.look(&mut pass, image));
        let logits = model.read(&mut pass, visual, ids, &caches);
        let next = tape.argmax(logits);
        tape.hold(next);
        Ok::<_, DeviceError>((Plan::new(device, tape)?, image, ids, past, next))
    };
    let (first, further) = (record(true)?, record(false)?);
    first.0.write(first.1, &sample.normalised());
    let (mut text, mut token) = (
        vec![],
        words.begin().expect("characters have a first token"),
    );
    // the picture and the first token take positions 0 and 1
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
    Ok(words.decode(&text))
}

fn load(path: &str) -> Result<Vec<Sample>, Box<dyn Error>> {
    let layout = Layout::default();
    Ok(Dataset::load(path.as_ref(), SIDE, &layout, true, &Silent)?
        .dataset
        .samples)
}

fn main() -> Result<(), Box<dyn Error>> {
    let small = std::env::args().any(|argument| argument == "small");
    let (drawings, batch, steps) = if small { (3, 3, 40) } else { (48, 16, 200) };
    let samples = load("data/inputs.csv")?;
    let samples = &samples[..drawings];
    let captions = samples.iter().map(|sample| sample.caption.as_str());
    let length = 1 + captions
        .clone()
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0);
    let words = Tokenizer::train(TokenKind::Characters, captions, None);
    let vocab = words.vocab_size();

    let device = Device::best()?;
    println!("device: {}", device.describe());
    let (model, store) = Parameters::build(&device, 1, |p| Model::new(p, vocab))?;
    let count: usize = store.named().iter().map(|(_, tensor)| tensor.len()).sum();
    println!("{count} parameters, {drawings} drawings, {steps} steps of {batch}");
    let training = Training::new(&device, (&model, &store), [batch, length, vocab])?;
    let order = Batches::new(drawings, batch, 1);
    for step in 0..steps {
        let chosen: Vec<&Sample> = order
            .indices(step)
            .into_iter()
            .map(|i| &samples[i])
            .collect();
        // ten steps of warm-up, then down along half a cosine
        let turn = std::f32::consts::PI * step as f32 / steps as f32;
        let rate = RATE * ((step + 1) as f32 / 10.0).min(1.0) * 0.5 * (1.0 + turn.cos());
        let loss = training.step(&chosen, &words, length, rate)?;
        if (step + 1) % 20 == 0 {
            println!("step {}: loss {loss:.3}", step + 1);
        }
    }

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
