//! `seemore compose`: a new model out of a pretrained image encoder and language model.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::values::named;
use crate::models::composition::{self, CHATML, NameSet, ProjectorConfig, Recipe};
use crate::nn::Projection;

#[derive(Args)]
pub struct ComposeArgs {
    /// Image encoder: a CLIP folder, or a name of `seemore models`
    #[arg(long, value_name = "MODEL", default_value = "clip-b16")]
    encoder: PathBuf,
    /// Language model of Llama's type: a folder, a GGUF file, or a name of `seemore models`
    #[arg(long, value_name = "MODEL", default_value = "smollm2-135m")]
    decoder: PathBuf,
    /// Folder to write; the models stay where they are and are referred to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Layers between encoder and decoder
    #[arg(long, value_name = "KIND", default_value = "linear", value_parser = named::<Projection>())]
    projector: Projection,
    /// Patches along the side of a square that becomes one position of the decoder
    #[arg(long, value_name = "PATCHES", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pixel_shuffle: u16,
    /// Leave out the normalisation in front of the projector
    #[arg(long)]
    no_norm: bool,
    /// Leave out the position of the picture as a whole: the encoder's embedding of it
    #[arg(long)]
    patches_only: bool,
    /// Answers that a picture can be given, the most probable of which stands in the prompt: their
    /// number, or with the question that they answer and the positions of each as in
    /// "Who is it?=16x2", once for each question; `seemore train --fit` finds them in its data. Append
    /// +patches, +thirds (patches by third of the picture) or +colors to tell answers apart by these,
    /// too
    #[arg(
        long,
        value_name = "[QUESTION=]NUMBER[xPOSITIONS][+patches][+thirds][+colors]",
        conflicts_with = "patches_only"
    )]
    names: Vec<NameSet>,
    /// Number of the encoder's blocks after which patches are taken [default: all but the last]
    #[arg(long, value_name = "BLOCKS")]
    layers: Option<usize>,
    /// Chat template in place of the language model's own; chatml for that of SmolLM2 without its
    /// system message, which shortens every prompt
    #[arg(long, value_name = "FILE|chatml")]
    chat_template: Option<PathBuf>,
    /// Seed of the projector's initial values
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    seed: u64,
}

pub fn run(args: &ComposeArgs) -> anyhow::Result<()> {
    let template = args.chat_template.as_ref().map(|path| {
        if path.as_os_str() == "chatml" {
            return Ok(CHATML.to_owned());
        }
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    });
    let recipe = Recipe {
        projector: ProjectorConfig {
            kind: args.projector,
            pixel_shuffle_factor: args.pixel_shuffle.into(),
            norm: !args.no_norm,
            embedding: 0,
            names: args.names.clone(),
        },
        whole_picture: !args.patches_only,
        layers: args.layers,
        chat_template: template.transpose()?,
        seed: args.seed,
        ..Recipe::new(&args.encoder, &args.decoder)
    };
    let config = composition::create(&args.out, &recipe)?;
    println!(
        "{}: {} and {}, {} image tokens; the projector is not trained",
        args.out.display(),
        config.encoder.model,
        config.decoder.model,
        config.tile_rows(),
    );
    eprintln!(
        "train it with: seemore train --model {} --data FILES",
        args.out.display()
    );
    Ok(())
}
