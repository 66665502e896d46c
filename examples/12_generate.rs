//! Chapter 12: generation, and the KV cache. `11_train` trains the model.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use std::ops::ControlFlow;

use figure::{BLUE, Figure, GREY};
use lesson::{begin, compute, cpu, difference, drawing, trained, values};
use seemore::CaptionOptions;
use seemore::caption::{Generator, ranked};
use seemore::models::Logits;
use seemore::nn::Context;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    let session = trained(&device)?;
    let picture = drawing("penguin")?;
    let mut ids = vec![begin(&session)];
    let mut text = String::new();
    let caption = session.stream(&picture, &CaptionOptions::default(), &mut |token| {
        let (other, probability) = &token.others[0];
        let chosen = token.choice.probability;
        let letter = &token.text;
        println!("{text:8} -> {letter:?} {chosen:.2}, second {other:?} {probability:.2}");
        text.push_str(&token.text);
        ids.push(token.choice.token);
        ControlFlow::Continue(())
    })?;
    println!("caption: {:?}", caption.text);

    // one new position a token with the cache, all positions again without it
    let side = session.info().image_size();
    let input = picture.resize(side).normalised();
    let model = session.model();
    let mut cached = Generator::new(&device, model, 1, 1, ids.len())?;
    let (mut off, mut without, mut first) = (0f32, 0, vec![]);
    for length in 1..=ids.len() {
        let logits = match length {
            1 => cached.start(&input, &[&ids[..1]])?,
            _ => cached.next(&ids[length - 1..length])?.expect("room"),
        };
        let [again] = compute(&device, |t| {
            let image = values(t, &[1, 3, side, side], &input);
            let tokens = t.constant(&ids[..length]);
            let tokens = t.view(tokens, &[1, length]);
            let mut c = Context::inference(t);
            let features = Some(model.encode(&mut c, image));
            [model.decode(&mut c, features, tokens, None, Logits::Last)]
        })?;
        off = off.max(difference(&logits[0], &again));
        without += 1 + length;
        if length == 1 {
            first = logits[0].clone();
        }
    }
    let with = cached.past();
    println!("decoder positions computed: {with} with the cache, {without} without");
    println!("largest difference of the logits: {off:.3}");

    // a temperature divides the logits before the softmax
    let alt = "Probabilities of all letters at three temperatures: higher ones spread them";
    let mut figure = Figure::new("12_generate", 540, 300, alt);
    let tokenizer = session.tokenizer();
    for (i, temperature) in [0.5, 1.0, 3.0].into_iter().enumerate() {
        let scaled: Vec<f32> = first.iter().map(|logit| logit / temperature).collect();
        let choices = ranked(&scaled);
        let (letter, likeliest) = (
            tokenizer.decode(&[choices[0].token]),
            choices[0].probability,
        );
        let others = 1.0 - likeliest;
        println!("temperature {temperature}: {letter:?} {likeliest:.2}, all others {others:.2}");
        let y = 110.0 + 75.0 * i as f32;
        // the tokens before 4 are no letters
        for choice in choices.iter().filter(|choice| choice.token >= 4) {
            let (x, height) = (54.0 + 24.0 * choice.token as f32, 55.0 * choice.probability);
            figure.bar([x, y - height, 18.0, height + 1.0], BLUE, 0.8);
            let letter = tokenizer.decode(&[choice.token]);
            figure.label(x + 9.0, 276.0, "middle", 12, GREY, &letter);
        }
        figure.text(25.0, y, &format!("temperature {temperature}"));
    }
    figure.text(30.0, 35.0, "probability of the first letter of penguin");
    figure.save();
    Ok(())
}
