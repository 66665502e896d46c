//! Helpers shared by the tests of the program.

// each test file uses a part of it
#![allow(dead_code)]

pub mod hub;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use image::{Rgb, RgbImage};

/// Folder for kernel measurements of these tests, apart from the user's.
pub fn cache() -> &'static str {
    concat!(env!("CARGO_TARGET_TMPDIR"), "/cache")
}

/// Runs `seemore` with the given arguments in `dir`.
pub fn seemore(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seemore"))
        .args(args)
        .current_dir(dir)
        .env("SEEMORE_CACHE", cache())
        // the model without --model must not depend on what this machine has
        .env("SEEMORE_WEIGHTS", Path::new(cache()).join("no-weights"))
        .env("HF_HOME", Path::new(cache()).join("no-hub"))
        .output()
        .unwrap()
}

/// Starts `seemore` with pipes for all that it reads and writes.
pub fn spawn(dir: &Path, args: &[&str]) -> Child {
    let piped = Stdio::piped;
    let mut command = Command::new(env!("CARGO_BIN_EXE_seemore"));
    command
        .args(args)
        .current_dir(dir)
        .env("SEEMORE_CACHE", cache())
        .stdin(piped())
        .stdout(piped())
        .stderr(piped())
        .spawn()
        .unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
pub fn succeeds(output: &Output) -> String {
    assert!(
        output.status.success(),
        "exit {:?}\n{}\n{}",
        output.status.code(),
        stdout(output),
        stderr(output)
    );
    stdout(output)
}

/// Fails with this exit code, a message with all of `words`, and no panic.
#[track_caller]
pub fn fails(output: &Output, code: i32, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

pub const COLOURS: [(&str, [u8; 3]); 4] = [
    ("red", [220, 30, 30]),
    ("green", [30, 180, 40]),
    ("blue", [30, 60, 220]),
    ("grey", [128; 3]),
];

/// A folder of plain squares, each with its colour's name as caption: `count` shades of each
/// colour.
pub fn squares(dir: &Path, count: u8) {
    std::fs::create_dir_all(dir).unwrap();
    for (name, colour) in COLOURS {
        for shade in 0..count {
            let rgb = Rgb(colour.map(|v| v.saturating_add(3 * shade)));
            RgbImage::from_pixel(20 + shade as u32, 24, rgb)
                .save(dir.join(format!("{name}{shade}.png")))
                .unwrap();
            std::fs::write(dir.join(format!("{name}{shade}.txt")), format!("{name}\n")).unwrap();
        }
    }
}

/// The losses that `train --json` printed, by their step.
pub fn losses(printed: &str) -> Vec<(u64, f64)> {
    let lines = printed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines
        .filter_map(|line| Some((line["step"].as_u64()?, line["loss"].as_f64()?)))
        .collect()
}
