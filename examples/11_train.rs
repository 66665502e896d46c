//! Chapter 11: training on three pictures until the model speaks.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use std::path::Path;

use figure::{Figure, GREY, ORANGE, folder};
use lesson::{DRAWINGS, Losses, THREE, cpu, drawing, png};
use seemore::image::Augment;
use seemore::train::Schedule;
use seemore::{Preset, RunConfig, Session, TrainRun};

/// Writes the rows of the three pictures into a file of their own.
fn three_pictures(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut file = csv::Writer::from_path(path)?;
    file.write_record(["b64string_images", "caption"])?;
    let mut left = THREE.to_vec();
    for row in csv::Reader::from_path(DRAWINGS)?.records() {
        let row = row?;
        if let Some(i) = left.iter().position(|caption| *caption == &row[1]) {
            left.remove(i);
            file.write_record(&row)?;
        }
    }
    Ok(file.flush()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    let (data, out) = (folder().join("three.csv"), folder().join("three"));
    three_pictures(&data)?;
    // ANCHOR: config
    let mut config = RunConfig::default();
    config.model.preset = Preset::Tiny;
    config.data.train = vec![data];
    config.data.validation_split = Some(0.0);
    config.augment = Augment::none();
    config.schedule.learning_rate = 3e-3;
    config.schedule.shape = Schedule::Constant;
    config.log.every = 1;
    config.checkpoint.out = Some(out.clone());
    config.checkpoint.overwrite = true;
    // ANCHOR_END: config

    let mut losses = Losses(vec![]);
    for steps in [4, 8, 12, 24] {
        if steps > 4 {
            config = RunConfig::resume(&out)?;
        }
        config.budget.steps = Some(steps);
        TrainRun::new(config)?.start(&device, &mut losses)?;
        config = RunConfig::default();
        let session = Session::load(&device, &out)?;
        let loss = losses.0.last().expect("steps were taken");
        println!("after {steps:2} steps, loss {loss:.2}:");
        for truth in THREE {
            println!("  {truth}: {:?}", session.caption(&drawing(truth)?)?.text);
        }
    }

    let alt = "Three drawings, and the loss over 24 steps, which falls from three to a quarter";
    let mut figure = Figure::new("11_train", 680, 240, alt);
    for (i, caption) in THREE.iter().enumerate() {
        figure.picture((30.0 + 90.0 * i as f32, 50.0), 80.0, &png(caption)?);
        figure.center(70.0 + 90.0 * i as f32, 155.0, caption);
    }
    figure.line(&[(340.0, 30.0), (340.0, 200.0), (660.0, 200.0)], GREY);
    let points = losses.0.iter().enumerate();
    let points = points.map(|(i, loss)| (340.0 + 13.0 * i as f32, 200.0 - 45.0 * loss));
    figure.line(&points.collect::<Vec<_>>(), ORANGE);
    figure.center(500.0, 224.0, "loss over 24 steps");
    figure.save();
    Ok(())
}
