//! Introduction of the book: the parts of the model, and how many parameters each has.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{BLUE, Figure, GREEN, GREY, ORANGE, PURPLE};
use lesson::{cpu, png};
use seemore::models::Part;
use seemore::{Model, Preset};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    for (name, preset) in [("tiny", Preset::Tiny), ("seemore", Preset::Seemore)] {
        let model = Model::new(&device, preset.config(), 1)?;
        println!("{name}: {} parameters", model.parameter_count());
        for part in [Part::Encoder, Part::Projector, Part::Decoder] {
            let infos = model
                .store()
                .infos()
                .iter()
                .filter(|info| info.role.part == part);
            let count: usize = infos.map(|info| info.shape.iter().product::<usize>()).sum();
            println!("  {part:?}: {count}");
        }
    }

    let alt =
        "The way from a picture to a caption: patches, image encoder, projector, decoder, letters";
    let mut figure = Figure::new("00_model", 760, 230, alt);
    figure.picture((25.0, 60.0), 80.0, &png("sunflower")?);
    for i in 0..=4 {
        let at = 20.0 * i as f32;
        figure.line(&[(25.0 + at, 60.0), (25.0 + at, 140.0)], GREY);
        figure.line(&[(25.0, 60.0 + at), (105.0, 60.0 + at)], GREY);
    }
    figure.center(65.0, 165.0, "patches");
    let parts = [
        ("image encoder", BLUE),
        ("projector", GREEN),
        ("decoder", ORANGE),
    ];
    for (i, (name, color)) in parts.into_iter().enumerate() {
        let x = 145.0 + 165.0 * i as f32;
        figure.arrow((x - 36.0, 100.0), (x - 3.0, 100.0), GREY);
        figure.boxed([x, 70.0, 125.0, 60.0], color, name);
    }
    let notes = ["a summary", "a visual token", "the next letter"];
    for (i, note) in notes.into_iter().enumerate() {
        figure.center(207.0 + 165.0 * i as f32, 165.0, note);
    }
    figure.arrow((604.0, 100.0), (637.0, 100.0), GREY);
    figure.boxed([640.0, 84.0, 100.0, 32.0], PURPLE, "s u n f l o ..");
    figure.line(&[(690.0, 120.0), (690.0, 200.0), (537.0, 200.0)], GREY);
    figure.arrow((537.0, 200.0), (537.0, 174.0), GREY);
    figure.label(
        613.0,
        218.0,
        "middle",
        12,
        GREY,
        "each letter is read again",
    );
    figure.save();
    Ok(())
}
