//! Chapter 5: the image encoder and its CLS row.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{BLUE, Figure, GREEN, GREY, ORANGE};
use lesson::{compute, cpu, difference, drawings, parameters, row, values};
use seemore::nn::{
    AttentionScale, BlockShape, Context, Init, Linear, Parameters, Residual, Transformer,
};

const SIDE: usize = 32;
const PATCH: usize = 8;
const PATCHES: usize = (SIDE / PATCH) * (SIDE / PATCH);
const WIDTH: usize = 64;
const HEADS: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    let shape = BlockShape {
        width: WIDTH,
        heads: HEADS,
        scale: AttentionScale::Head.factor(WIDTH, HEADS),
        causal: false,
        residual: Residual::Prenorm,
        eps: 1e-5,
    };
    let ((patch, cls, pos, blocks), store) = Parameters::build(&device, 3, |p| {
        let patch = Linear::new(p, "patch", 3 * PATCH * PATCH, WIDTH, true)?;
        let cls = p.create("cls", &[1, 1, WIDTH], Init::Normal(1.0))?;
        let pos = p.create("pos", &[1 + PATCHES, WIDTH], Init::Normal(0.5))?;
        Ok((patch, cls, pos, Transformer::new(p, 2, shape, "ln")?))
    })?;
    println!("parameters: {}", parameters(&store));

    // the CLS row after the encoder, with the patches in a given order
    let encode = |image: &[f32], order: &[u32], positions: bool| {
        compute(&device, |t| {
            let image = values(t, &[1, 3, SIDE, SIDE], image);
            let pixels = t.patchify(image, PATCH);
            let pixels = t.view(pixels, &[PATCHES, 3 * PATCH * PATCH]);
            let order = t.constant(order);
            let shuffled = t.embedding(pixels, order);
            let shuffled = t.view(shuffled, &[1, PATCHES, 3 * PATCH * PATCH]);
            let mut c = Context::inference(t);
            let patches = patch.forward(&mut c, shuffled);
            let (cls, pos) = (c.parameter(&cls), c.parameter(&pos));
            let mut x = c.tape.concat_rows(cls, patches);
            if positions {
                x = c.tape.add(x, pos);
            }
            [blocks.first_rows(&mut c, x, 1)]
        })
    };
    let drawings = drawings(SIDE)?.samples;
    let flower = drawings[1].normalised();
    let in_order: Vec<u32> = (0..PATCHES as u32).collect();
    let reversed: Vec<u32> = in_order.iter().rev().copied().collect();
    let [row_of_flower] = encode(&flower, &in_order, true)?;
    println!("rows into the blocks: 1 CLS row + {PATCHES} patches");
    let first = row(&row_of_flower[..4], 2);
    println!("CLS row after them: {WIDTH} numbers, first {first}");

    for (name, positions) in [("without positions", false), ("with positions", true)] {
        let [plain] = encode(&flower, &in_order, positions)?;
        let [mixed] = encode(&flower, &reversed, positions)?;
        let changed = difference(&plain, &mixed);
        println!("patches reversed, {name}: the CLS row changes by up to {changed:.3}");
    }
    let [row_of_key] = encode(&drawings[6].normalised(), &in_order, true)?;
    let changed = difference(&row_of_flower, &row_of_key);
    println!("another picture: it changes by up to {changed:.3}");

    let alt = "Sixteen patches, a CLS token in front of them, positions added to all, two blocks and a \
               LayerNorm; of the seventeen rows that come out, the CLS row goes on";
    let mut figure = Figure::new("05_encoder", 700, 250, alt);
    for i in 0..17 {
        let x = 30.0 + 37.0 * i as f32;
        let (name, color) = if i == 0 { ("CLS", ORANGE) } else { ("p", BLUE) };
        figure.boxed([x, 30.0, 33.0, 28.0], color, name);
        figure.label(x + 16.5, 78.0, "middle", 11, GREY, &format!("+{i}"));
    }
    for (i, name) in ["block 0", "block 1", "LayerNorm"].iter().enumerate() {
        figure.boxed([30.0, 90.0 + 32.0 * i as f32, 625.0, 26.0], GREEN, name);
    }
    figure.arrow((46.0, 182.0), (46.0, 205.0), ORANGE);
    figure.boxed([30.0, 207.0, 80.0, 28.0], ORANGE, "CLS row");
    let text = "in a block every row attends to all rows; the CLS row gathers the picture";
    figure.text(125.0, 226.0, text);
    figure.save();
    Ok(())
}
