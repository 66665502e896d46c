//! Chapter 15: the original's own job, with its losses in PyTorch beside ours.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{BLUE, Figure, GREY, ORANGE, folder};
use lesson::{DRAWINGS, cpu, drawings};
use seemore::data::Sample;
use seemore::models::load::{self, Values};
use seemore::models::seemore::Config;
use seemore::ops::GradScaler;
use seemore::train::{Batch, Optimizer, OptimizerConfig, Text, TrainStep};
use seemore::{Model, Preset, Tokenizer};

const PICTURES: usize = 4;
const LENGTH: usize = 16;
const RATE: f32 = 1e-3;
/// Losses that `docs/book/original.py` has recorded with PyTorch.
const RECORDED: &str = "docs/book/original.json";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    let config = Preset::SeemoreOriginal.config();

    // the CSV format: a column of pictures as base64, and a column of captions
    let data = drawings(96)?.samples;
    println!("{DRAWINGS}: {} pictures", data.len());
    // tokens are the characters of the captions, sorted, and padding
    let tokenizer = Tokenizer::plain(data.iter().flat_map(|sample| sample.caption.chars()));
    let (tokens, sun) = (tokenizer.vocab_size(), tokenizer.encode("sun"));
    println!("{tokens} tokens; \"sun\" is {sun:?}");
    let count = Model::new(&device, config, 1337)?.parameter_count();
    println!("parameters at 66 tokens: {count}");

    // the same with these tokens, and without dropout, whose random numbers differ
    let mut sizes = Config::original();
    (sizes.text.vocab_size, sizes.dropout) = (tokens, 0.0);
    let model = Model::new(&device, &sizes, 1337)?;
    let first = &data[..PICTURES];
    let text = |sample: &Sample| Text::new(&tokenizer, &sample.caption);
    let texts: Vec<Text> = first.iter().map(text).collect();
    let texts: Vec<&Text> = texts.iter().collect();
    let images = first.iter().flat_map(|s| s.normalised()).collect();
    let batch = Batch::new(images, &texts, LENGTH, tokenizer.pad(), true);
    save_for_pytorch(&model, &batch)?;

    // PyTorch's AdamW, without clipping
    let settings = OptimizerConfig {
        clip: 0.0,
        ..OptimizerConfig::default()
    };
    let scaler = GradScaler::default();
    let optimizer = Optimizer::new(&device, model.store(), settings, scaler, |_| true)?;
    let step = TrainStep::new(&device, &model, &optimizer, PICTURES, LENGTH, 1)?;
    let recorded: Vec<f32> = serde_json::from_str(&std::fs::read_to_string(RECORDED)?)?;
    let mut losses = vec![];
    for (number, theirs) in recorded.iter().enumerate() {
        step.run(std::slice::from_ref(&batch), number as u32, RATE, 0.0)?;
        losses.push(step.loss()?);
        if number % 5 == 0 {
            let ours = losses[number];
            println!("step {number:2}: loss {ours:.3}, PyTorch {theirs:.3}");
        }
    }
    let pairs = losses.iter().zip(&recorded);
    let off = pairs.map(|(a, b)| (a - b).abs() / b).fold(0.0, f32::max);
    println!("within 0.1 %: {}", off < 1e-3);

    let alt = "The losses of this project and of PyTorch over 21 steps lie on one curve";
    let mut figure = Figure::new("15_original", 560, 260, alt);
    figure.line(&[(40.0, 30.0), (40.0, 200.0), (530.0, 200.0)], GREY);
    let at = |(i, loss): (usize, &f32)| (40.0 + 23.0 * i as f32, 200.0 - 45.0 * loss);
    figure.line(&losses.iter().enumerate().map(at).collect::<Vec<_>>(), BLUE);
    for (x, y) in recorded.iter().enumerate().map(at) {
        figure.bar([x - 3.0, y - 3.0, 6.0, 6.0], ORANGE, 1.0);
    }
    figure.label(300.0, 60.0, "start", 13, BLUE, "line: this project");
    figure.label(300.0, 80.0, "start", 13, ORANGE, "squares: PyTorch");
    figure.center(285.0, 230.0, "loss over 21 steps");
    figure.save();
    Ok(())
}

/// Writes the initial parameters and the batch for `docs/book/original.py`.
fn save_for_pytorch(model: &Model, batch: &Batch) -> Result<(), Box<dyn std::error::Error>> {
    let mut values: Values = load::snapshot(model.parameters())?;
    let mut add = |name: &str, shape: &[usize], data| {
        values.insert(name.to_owned(), (shape.to_vec(), data));
    };
    let numbers = |ids: &[u32]| ids.iter().map(|&id| id as f32).collect::<Vec<f32>>();
    add("in.images", &[PICTURES, 3, 96, 96], batch.images.clone());
    add("in.ids", &[PICTURES, LENGTH], numbers(&batch.ids));
    add("in.targets", &[PICTURES, LENGTH], numbers(&batch.targets));
    load::write_values(&folder().join("original.safetensors"), &values, None)?;
    Ok(())
}
