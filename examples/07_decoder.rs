//! Chapter 7: the causal decoder.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{BLUE, Figure, GREY};
use lesson::{attention, compute, cpu, difference, row, values};
use seemore::nn::{
    AttentionScale, BlockShape, Context, EMBEDDING_STD, Embedding, Init, Linear, Parameters,
    Positions, Residual, Transformer,
};
use seemore::ops::check::random_f32;

const TOKENS: [&str; 5] = ["picture", "<s>", "k", "e", "y"];
const WIDTH: usize = 32;
const HEADS: usize = 4;
const VOCAB: usize = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    // whom each position may attend to: those before it, and itself
    let [shares] = compute(&device, |t| {
        let qkv = values(t, &[1, 5, 6], &random_f32(30, 4));
        let past = t.input(&[1]);
        [t.attention_probabilities(qkv, qkv, past, &attention(1, 2, true))]
    })?;
    for (token, shares) in TOKENS.iter().zip(shares.chunks(5)) {
        println!("{token:8} {}", row(shares, 2));
    }

    let shape = BlockShape {
        width: WIDTH,
        heads: HEADS,
        scale: AttentionScale::Head.factor(WIDTH, HEADS),
        causal: true,
        residual: Residual::Prenorm,
        eps: 1e-5,
    };
    let ((tok, pos, blocks, head), _) = Parameters::build(&device, 3, |p| {
        let init = Init::Normal(EMBEDDING_STD);
        Ok((
            Embedding::new(p, "tok", VOCAB, WIDTH, init)?,
            Positions::new(p, "pos", 16, WIDTH, init)?,
            Transformer::new(p, 2, shape, "ln_f")?,
            Linear::new(p, "lm_head", WIDTH, VOCAB, true)?,
        ))
    })?;
    let visual = random_f32(WIDTH, 5);
    let decode = |visual: &[f32], ids: [u32; 4]| {
        compute(&device, |t| {
            let (visual, ids) = (values(t, &[1, 1, WIDTH], visual), t.constant(&ids));
            let ids = t.view(ids, &[1, 4]);
            let mut c = Context::inference(t);
            let text = tok.forward(&mut c, ids);
            let x = c.tape.concat_rows(visual, text);
            let x = pos.forward(&mut c, x);
            let x = blocks.forward(&mut c, x, None);
            [head.forward(&mut c, x)]
        })
    };
    let [logits] = decode(&visual, [1, 10, 4, 24])?;
    println!("logits: 5 positions of {VOCAB} numbers");
    let compare = |name: &str, other: &[f32]| {
        let by_position = logits.chunks(VOCAB).zip(other.chunks(VOCAB));
        let changes: Vec<f32> = by_position.map(|(a, b)| difference(a, b)).collect();
        println!("{name}: positions change by {}", row(&changes, 2));
    };
    compare("another last token", &decode(&visual, [1, 10, 4, 25])?[0]);
    compare(
        "another picture   ",
        &decode(&random_f32(WIDTH, 6), [1, 10, 4, 24])?[0],
    );

    let alt = "Five positions, the picture first, and the matrix of shares: everything above the diagonal is zero";
    let mut figure = Figure::new("07_decoder", 690, 310, alt);
    figure.shares((100.0, 50.0), &TOKENS, &shares, BLUE);
    figure.center(210.0, 296.0, "nobody attends to what comes later");
    for (i, (token, next)) in TOKENS[1..].iter().zip(["k", "e", "y", "</s>"]).enumerate() {
        let y = 95.0 + 44.0 * i as f32;
        figure.boxed([420.0, y, 60.0, 30.0], BLUE, token);
        figure.arrow((490.0, y + 15.0), (560.0, y + 15.0), GREY);
        figure.boxed([570.0, y, 60.0, 30.0], BLUE, next);
    }
    figure.center(525.0, 60.0, "each position predicts the next token");
    figure.save();
    Ok(())
}
