//! Trains a small captioner on a folder of pictures with captions:
//! `cargo run --release --example train -- FOLDER`. Without a folder, on the drawings in `data/`.

use std::ops::ControlFlow;

use seemore::device::Device;
use seemore::models::Preset;
use seemore::train::{Event, Observer, RunConfig, TrainRun};

struct Losses;

impl Observer for Losses {
    fn on(&mut self, event: Event) -> ControlFlow<()> {
        if let Event::Step { step, loss, .. } = event {
            println!("step {step}: loss {loss:.3}");
        }
        ControlFlow::Continue(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = RunConfig::default();
    config.model.preset = Preset::Tiny;
    config.data.train = std::env::args_os().skip(1).map(Into::into).collect();
    config.budget.steps = Some(200);
    let run = TrainRun::new(config)?;
    let summary = run.start(&Device::open(None)?, &mut Losses)?;
    println!("{} steps; model in {}", summary.steps, run.out().display());
    Ok(())
}
