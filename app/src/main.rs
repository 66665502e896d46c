//! Opens the window.

#![deny(unsafe_code)]

use std::path::PathBuf;

use clap::Parser;
use seemore_app::{Start, Window};

/// Captions for pictures, as they are written, and where the model looks
#[derive(Parser)]
#[command(name = "seemore-app", version)]
struct Args {
    /// Pictures or folders to open
    pictures: Vec<PathBuf>,
    /// Checkpoint folder [default: the model that comes with seemore]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Graphics adapter for the model, by its number in `seemore adapters` or a part of its name
    #[arg(long, value_name = "INDEX|NAME")]
    adapter: Option<String>,
}

fn main() -> eframe::Result {
    let Args {
        pictures,
        model,
        adapter,
    } = Args::parse();
    let viewport = egui::ViewportBuilder::default()
        .with_inner_size([1100.0, 760.0])
        .with_min_inner_size([640.0, 480.0]);
    let options = eframe::NativeOptions {
        viewport,
        ..Default::default()
    };
    let start = Start {
        pictures,
        model,
        adapter,
    };
    eframe::run_native(
        "seemore",
        options,
        Box::new(|c| Ok(Box::new(Window::new(c, start)))),
    )
}
