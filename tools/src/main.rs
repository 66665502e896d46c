//! Builds the shipped data sets from public drawings.

#![deny(unsafe_code)]

mod composition;
mod drawing;
mod emoji;
mod icons;
mod inputs;
mod labels;
mod names;
mod photo;
mod role;
mod scene;
mod words;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Builds the data sets that ship with seemore.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write inputs.csv and inputs_val.csv: 12 everyday concepts drawn by five artists.
    Inputs {
        /// Folder of the npm packages.
        #[arg(long, default_value = "node_modules")]
        packages: PathBuf,
        /// Output folder, created if necessary.
        #[arg(long, default_value = "data")]
        out: PathBuf,
        /// Side of the square pictures, in pixels.
        #[arg(long, default_value_t = 96, value_parser = clap::value_parser!(u32).range(8..=2048))]
        side: u32,
    },
    /// Write the captioned emoji art: six training files, one development file and two test files.
    Emoji {
        /// Folder of the npm packages.
        #[arg(long, default_value = "node_modules")]
        packages: PathBuf,
        /// Output folder, created if necessary.
        #[arg(long, default_value = "data/emoji")]
        out: PathBuf,
        /// Side of the square pictures, in pixels.
        #[arg(long, default_value_t = emoji::SHIPPED_SIDE, value_parser = clap::value_parser!(u32).range(8..=2048))]
        side: u32,
    },
    /// Write the drawings that the captioner of photographs learns from, with questions and answers.
    Photo {
        /// Folder of the npm packages.
        #[arg(long, default_value = "node_modules")]
        packages: PathBuf,
        /// Output folder, created if necessary; takes about a gigabyte.
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Inputs {
            packages,
            out,
            side,
        } => inputs::write(&packages, &out, side),
        Command::Emoji {
            packages,
            out,
            side,
        } => emoji::write(&packages, &out, side),
        Command::Photo { packages, out } => photo::write(&packages, &out),
    }
}
