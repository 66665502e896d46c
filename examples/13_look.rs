//! Chapter 13: where the model looks, and what covering a part does. `11_train` trains the model.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{BLUE, Figure, GREEN, ORANGE};
use lesson::{THREE, begin, correlation, cpu, drawing, png, row, trained};
use seemore::Picture;
use seemore::caption::{Generator, ranked};
use seemore::device::DeviceError;
use seemore::explain::Heads;

const SIDE: usize = 96;
/// Patches in a row of the picture, and pixels of a patch at the drawing's own size.
const GRID: usize = 4;
const PATCH: usize = SIDE / GRID;

/// The picture with one patch painted white.
// ANCHOR: covered
fn covered(picture: &Picture, patch: usize) -> Picture {
    let mut rgb = picture.rgb.clone();
    let (top, left) = (patch / GRID * PATCH, patch % GRID * PATCH);
    for y in top..top + PATCH {
        rgb[3 * (y * SIDE + left)..3 * (y * SIDE + left + PATCH)].fill(255);
    }
    Picture { rgb, ..*picture }
}
// ANCHOR_END: covered

/// Shares of the largest value, for drawing.
fn scaled(values: &[f32]) -> Vec<f32> {
    let most = values.iter().copied().fold(1e-9, f32::max);
    values.iter().map(|value| value.max(0.0) / most).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    let session = trained(&device)?;
    let mut generator = Generator::new(&device, session.model(), 1, 1, 1)?;
    let begin = begin(&session);
    let alt = "Three drawings in rows, with the patches that the CLS row attends to, those that \
               matter by the gradient, and those whose covering makes the caption less likely";
    let mut figure = Figure::new("13_look", 640, 540, alt);
    for (i, truth) in THREE.iter().enumerate() {
        let picture = drawing(truth)?;
        let caption = session.caption(&picture)?;
        let (maps, relevance) = session.attention(&picture, "", &caption.tokens)?;
        let last = maps.encoder.last().expect("an encoder with layers");
        let attention = last.row(0, Heads::Mean)[1..].to_vec();

        // the probability of the first letter, with each patch covered in turn
        let mut probability = |picture: &Picture| {
            let input = picture.resize(session.info().image_size()).normalised();
            let logits = generator.start(&input, &[&[begin]])?.remove(0);
            let mut choices = ranked(&logits).into_iter();
            let first = choices.find(|choice| choice.token == caption.tokens[0]);
            Ok::<f32, DeviceError>(first.map_or(0.0, |choice| choice.probability))
        };
        let whole = probability(&picture)?;
        let mut drops = vec![];
        for patch in 0..GRID * GRID {
            drops.push(100.0 * (whole - probability(&covered(&picture, patch))?));
        }
        println!(
            "{truth}: {:?}, first letter {:.1} %",
            caption.text,
            100.0 * whole
        );
        println!("  attention of the CLS row, and points lost when a patch is covered:");
        for (attention, drops) in attention.chunks(GRID).zip(drops.chunks(GRID)) {
            println!("  {}   | {}", row(attention, 2), row(drops, 1));
        }
        let close = [&attention, &relevance[0]].map(|heat| correlation(heat, &drops));
        println!(
            "  correlation with it: attention {:.1}, gradient {:.1}",
            close[0], close[1]
        );

        let y = 45.0 + 165.0 * i as f32;
        let heats = [vec![], attention, relevance[0].clone(), drops];
        for (j, heat) in heats.iter().enumerate() {
            let at = (30.0 + 150.0 * j as f32, y);
            figure.picture(at, 130.0, &png(truth)?);
            let color = [BLUE, BLUE, GREEN, ORANGE][j];
            figure.heat(at, 32.5, GRID, &scaled(heat), color);
        }
    }
    let names = ["picture", "attention", "gradient x input", "covering"];
    for (i, name) in names.iter().enumerate() {
        figure.center(95.0 + 150.0 * i as f32, 32.0, name);
    }
    figure.save();
    Ok(())
}
