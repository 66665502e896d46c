//! The command line: exit codes, messages, files.

mod caption;
mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod configuration;
mod data;
mod devices;
mod eval;
mod files;
mod forms;
#[cfg(feature = "hub")]
mod get;
mod gguf;
mod nothing_lost;
mod pretrained;
mod train;
mod tuning;

use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::Command;

use common::{COLOURS, fails, losses, seemore, spawn, squares, stderr, stdout, succeeds};
use image::{Rgb, RgbImage};

fn tiny_model(dir: &Path) -> String {
    squares(&dir.join("squares"), 4);
    succeeds(&seemore(
        dir,
        &[
            "train",
            "--data",
            "squares",
            "--preset",
            "tiny",
            "--steps",
            "60",
            "--no-augment",
            "--out",
            "model",
        ],
    ))
}
