//! Entry point of the desktop app.

#![deny(unsafe_code)]

use std::path::PathBuf;

use clap::Parser;
use seemore_app::{StartOptions, Window, file_dialog};

/// Caption pictures, see where the model looks, and train models
#[derive(Parser)]
#[command(name = "seemore-app", version)]
struct Args {
    /// Pictures or folders to open
    pictures: Vec<PathBuf>,
    /// Folder, GGUF file or name of a model [default: the last one used, else the model that comes
    /// with seemore]
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Device: auto (a GPU, else the CPU), gpu, cpu, cpu:THREADS, or an adapter by its number in
    /// `seemore devices` or a part of its name [env: SEEMORE_DEVICE] [default: auto]
    #[arg(long, alias = "adapter", value_name = "DEVICE")]
    device: Option<String>,
    /// Select kernel variants by a fixed rule instead of measuring them on this adapter
    #[arg(long)]
    no_autotune: bool,
}

fn main() -> eframe::Result {
    let args = Args::parse();
    let viewport = egui::ViewportBuilder::default()
        .with_inner_size([1100.0, 760.0])
        .with_min_inner_size([880.0, 600.0]);
    let options = eframe::NativeOptions {
        viewport,
        ..Default::default()
    };
    let start = StartOptions {
        pictures: args.pictures,
        model: args.model,
        device: args.device,
        autotune: !args.no_autotune,
        system_dialogs: file_dialog::available(),
    };
    eframe::run_native(
        "seemore",
        options,
        Box::new(|c| Ok(Box::new(Window::new(c, start)))),
    )
}
