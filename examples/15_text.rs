//! Chapter 15, second part: the decoder learns from plain text before it sees a picture.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use std::path::PathBuf;

use figure::folder;
use lesson::{DRAWINGS, Losses, cpu};
use seemore::image::Augment;
use seemore::models::Part;
use seemore::train::Schedule;
use seemore::{Preset, RunConfig, TrainRun};

/// Any file of UTF-8 text; every line is a sample.
const TEXT: &str = "LICENSE-APACHE";

/// A training of a small model, in a folder of its own that is replaced.
fn config(name: &str, steps: u64) -> RunConfig {
    let mut config = RunConfig::default();
    config.model.preset = Preset::Tiny;
    config.data.validation_split = Some(0.0);
    config.augment = Augment::none();
    config.schedule.shape = Schedule::Constant;
    config.log.every = 1;
    config.budget.steps = Some(steps);
    config.checkpoint.out = Some(folder().join(name));
    config.checkpoint.overwrite = true;
    config
}

fn losses(config: RunConfig) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let mut losses = Losses(vec![]);
    TrainRun::new(config)?.start(&cpu()?, &mut losses)?;
    Ok(losses.0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // the decoder alone, on the lines of a text
    // ANCHOR: text
    let mut on_text = config("text", 60);
    on_text.data.text = Some(TEXT.into());
    let text = losses(on_text)?;
    // ANCHOR_END: text
    println!(
        "{TEXT}: loss {:.2} at step 1, {:.2} at step 60",
        text[0], text[59]
    );

    // pictures, with the decoder of that run or a fresh one, and the same tokens
    let captions = |name: &str, start: Option<PathBuf>| {
        let mut run = config(name, 20);
        run.data.train = vec![DRAWINGS.into()];
        run.tokenizer.file = Some(folder().join("text/tokenizer.json"));
        run.init.load = start;
        run.init.parts = vec![Part::Decoder];
        losses(run)
    };
    let fresh = captions("fresh", None)?;
    let taught = captions("taught", Some(folder().join("text")))?;
    for step in [1, 5, 20] {
        let (fresh, taught) = (fresh[step - 1], taught[step - 1]);
        println!("captions, step {step:2}: loss {fresh:.2} fresh, {taught:.2} after the text");
    }
    Ok(())
}
