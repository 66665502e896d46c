//! Helpers of the book's examples: a device, small matrices, the shipped pictures.

// each example uses a part of it
#![allow(dead_code)]

use std::ops::ControlFlow;

use seemore::data::Layout;
use seemore::device::DeviceError;
use seemore::nn::ParameterStore;
use seemore::ops::Attention;
use seemore::progress::Silent;
use seemore::train::{Event, Observer};
use seemore::{Dataset, Device, Picture, Plan, Session, Tape, Var};

/// The shipped drawings with their captions, from the repository's root.
pub const DRAWINGS: &str = "data/inputs.csv";

/// The CPU: the numbers of the book do not depend on the reader's graphics card. One thread, as
/// more would mostly wait for each other with models of this size.
pub fn cpu() -> Result<Device, DeviceError> {
    Device::open(Some("cpu:1"))
}

/// Records a computation, runs it, and returns its results.
pub fn compute<const N: usize>(
    device: &Device,
    record: impl FnOnce(&mut Tape) -> [Var; N],
) -> Result<[Vec<f32>; N], DeviceError> {
    let mut tape = device.tape();
    let results = record(&mut tape);
    results.iter().for_each(|&result| tape.hold(result));
    let plan = Plan::new(device, tape)?;
    plan.run()?;
    let mut read = [const { vec![] }; N];
    for (values, result) in read.iter_mut().zip(results) {
        *values = plan.read(result)?;
    }
    Ok(read)
}

/// Fixed numbers in a shape.
pub fn values(tape: &mut Tape, shape: &[usize], data: &[f32]) -> Var {
    let flat = tape.constant(data);
    tape.view(flat, shape)
}

/// The shipped drawings at a side in pixels.
pub fn drawings(side: usize) -> Result<Dataset, Box<dyn std::error::Error>> {
    let layout = Layout::default();
    Ok(Dataset::load(DRAWINGS.as_ref(), side, &layout, true, &Silent)?.dataset)
}

/// The PNG file of the first drawing with this caption, in base64, as the CSV file holds it.
pub fn png(caption: &str) -> Result<String, Box<dyn std::error::Error>> {
    for row in csv::Reader::from_path(DRAWINGS)?.records() {
        let row = row?;
        if &row[1] == caption {
            return Ok(row[0].to_owned());
        }
    }
    Err(format!("{DRAWINGS} has no {caption:?}").into())
}

/// Numbers with a fixed number of decimals, one space between them.
pub fn row(values: &[f32], decimals: usize) -> String {
    let width = decimals + 3;
    let number = |value: &f32| {
        // -0.004 would be printed as -0.00
        let rounded = format!("{value:.decimals$}")
            .parse::<f32>()
            .unwrap_or(*value)
            + 0.0;
        format!("{rounded:width$.decimals$}")
    };
    values.iter().map(number).collect::<Vec<_>>().join(" ")
}

/// Largest difference of two lists.
pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Number of values of all parameters.
pub fn parameters(store: &ParameterStore) -> usize {
    store.named().iter().map(|(_, tensor)| tensor.len()).sum()
}

/// Attention with as many keys as queries, and the usual scale for heads of this width.
pub fn attention(heads: usize, head_width: usize, causal: bool) -> Attention {
    Attention {
        heads,
        kv_heads: heads,
        scale: (head_width as f32).powf(-0.5),
        causal,
        dropout: 0.0,
        rounded: false,
    }
}

/// Captions of the three pictures that chapters 11 to 13 train on and look at.
pub const THREE: [&str; 3] = ["sunflower", "key", "penguin"];

/// The model that chapter 11 has trained, with its device.
pub fn trained(device: &Device) -> Result<Session, String> {
    let model = crate::figure::folder().join("three");
    Session::load(device, &model)
        .map_err(|error| format!("{error}. `cargo run --example 11_train` trains this model"))
}

/// The first drawing with a caption, at its own size.
pub fn drawing(caption: &str) -> Result<Picture, Box<dyn std::error::Error>> {
    let sample = drawings(96)?
        .samples
        .into_iter()
        .find(|sample| sample.caption == caption);
    let rgb = sample
        .ok_or_else(|| format!("{DRAWINGS} has no {caption:?}"))?
        .rgb;
    Ok(Picture {
        width: 96,
        height: 96,
        rgb,
    })
}

/// Correlation of two lists: 1 where they rise together, 0 where they have nothing in common.
pub fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f32, f32) -> f32| -> f32 {
        a.iter()
            .zip(b)
            .map(|(x, y)| f(x - mean_a, y - mean_b))
            .sum()
    };
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// The token that begins every text of a model trained here.
pub fn begin(session: &Session) -> u32 {
    session
        .tokenizer()
        .begin()
        .expect("character tokens have one")
}

/// Keeps the loss of every step.
pub struct Losses(pub Vec<f32>);

impl Observer for Losses {
    fn on(&mut self, event: Event) -> ControlFlow<()> {
        if let Event::Step { loss, .. } = event {
            self.0.push(loss);
        }
        ControlFlow::Continue(())
    }
}
