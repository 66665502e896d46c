//! The command line of `seemore` and `train`.

mod bench;
mod caption;
mod data;
mod doctor;
mod eval;
mod hint;
mod import;
mod pack;
mod progress;
mod track;
pub mod train;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::caption::CaptionError;
use crate::device::Tuner;
use crate::device::{Device, DeviceError};
use crate::models::checkpoint::{self, CheckpointError};
use crate::ops;
use crate::train::TrainError;

/// A vision-language model that trains and runs in WGSL, on any GPU.
#[derive(Parser)]
#[command(name = "seemore", version)]
struct Seemore {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a captioner on pictures with captions
    Train(Box<train::TrainArgs>),
    /// Write captions for pictures
    Caption(caption::CaptionArgs),
    /// Look at files of pictures with captions
    Data(data::DataArgs),
    /// Measure how good a model's captions are
    Eval(eval::EvalArgs),
    /// Make a checkpoint to share: half as large, without the state of training
    Pack(pack::PackArgs),
    /// Turn a state dict of the original seemore (safetensors) into a checkpoint folder
    Import(import::ImportArgs),
    /// Turn a checkpoint folder into a state dict of the original seemore
    Export(import::ExportArgs),
    /// Measure kernels, a training step, decoding and loading
    Bench(bench::BenchArgs),
    /// Send what an MLflow server that was not there has not got yet of a training
    Track(track::TrackArgs),
    /// List the graphics adapters that --adapter can choose
    Adapters,
    /// Look whether everything is there and works: adapters, limits, folders, every kernel against its reference
    Doctor(doctor::DoctorArgs),
}

/// Train a captioner on pictures with captions: the same as `seemore train`.
#[derive(Parser)]
#[command(name = "train", version)]
struct Train {
    #[command(flatten)]
    args: train::TrainArgs,
}

/// Which device runs.
#[derive(Args, Clone)]
struct AdapterArgs {
    /// Graphics adapter, by its number in `seemore adapters` or a part of its name [default: the environment's WGPU_ADAPTER_NAME, else discrete GPU, integrated GPU, software]
    #[arg(long, value_name = "INDEX|NAME")]
    adapter: Option<String>,
    /// Choose between the forms of a kernel by a fixed rule, not by what they were measured to take on this adapter. Measurements are kept in the user's cache folder, or where the environment's SEEMORE_CACHE says
    #[arg(long)]
    no_autotune: bool,
}

impl AdapterArgs {
    /// Opens the device, says on stderr which it is, and lets kernels be chosen.
    fn open(&self) -> Result<Device, DeviceError> {
        Ok(self.tuned(&self.device()?))
    }

    /// Opens the device and says on stderr which it is.
    fn device(&self) -> Result<Device, DeviceError> {
        let device = Device::open(self.adapter.as_deref())?;
        eprintln!("adapter: {}", device.describe());
        Ok(device)
    }

    /// The same device, on which kernels are chosen as the flags say.
    fn tuned(&self, device: &Device) -> Device {
        match self.no_autotune {
            true => device.clone(),
            false => device.choosing(Arc::new(Tuner::new(
                device,
                cache_folder(),
                &ops::tuned_sources(),
            ))),
        }
    }
}

/// Returns the folder for measurements of kernels: `SEEMORE_CACHE`, else `seemore` in the user's cache folder.
pub(crate) fn cache_folder() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("SEEMORE_CACHE").filter(|folder| !folder.is_empty());
    named
        .map(std::path::PathBuf::from)
        .or_else(|| dirs::cache_dir().map(|folder| folder.join("seemore")))
}

/// The program `seemore`.
pub fn seemore() -> ExitCode {
    finish(match Seemore::parse().command {
        Command::Train(args) => train::run(&args),
        Command::Caption(args) => caption::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Import(args) => import::import(&args),
        Command::Export(args) => import::export(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Track(args) => track::run(&args),
        Command::Adapters => adapters(),
        Command::Doctor(args) => doctor::run(&args),
    })
}

/// The program `train`.
pub fn train() -> ExitCode {
    finish(train::run(&Train::parse().args))
}

fn adapters() -> anyhow::Result<()> {
    let adapters = Device::adapters();
    if adapters.is_empty() {
        Device::open(None)?;
    }
    adapters.iter().for_each(|line| say(&line.to_string()));
    Ok(())
}

/// The checkpoint folder to use when no `--model` is given.
fn default_model() -> anyhow::Result<PathBuf> {
    checkpoint::default_folder().context(
        "no --model given, and neither data/checkpoints/emoji nor a checkpoint in runs/ is here: train one with `seemore train`",
    )
}

/// Prints a line; a reader that closed the pipe does not end the work.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// 0 for success, 2 where there is no adapter to run on, 3 where the device failed or is too small, 1 for every other failure.
fn finish(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error:#}");
    if let Some(advice) = hint::advice(&error) {
        eprintln!("hint: {advice}");
    }
    ExitCode::from(exit_code(&error))
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match error.chain().find_map(of_device) {
        Some(Some(DeviceError::NoAdapter { .. } | DeviceError::UnknownAdapter { .. })) => 2,
        Some(_) => 3,
        None => 1,
    }
}

/// Whether an error is of the device, and which, where one says.
fn of_device<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<Option<&'a DeviceError>> {
    let of_checkpoint = |error: &'a CheckpointError| match error {
        CheckpointError::Device(error) => Some(Some(error)),
        _ => None,
    };
    if let Some(error) = cause.downcast_ref::<DeviceError>() {
        return Some(Some(error));
    }
    match cause.downcast_ref::<TrainError>() {
        Some(TrainError::Device(error)) => return Some(Some(error)),
        Some(TrainError::Checkpoint(error)) => return of_checkpoint(error),
        Some(TrainError::Memory { .. }) => return Some(None),
        _ => {}
    }
    match cause.downcast_ref::<CaptionError>() {
        Some(CaptionError::Device(error)) => return Some(Some(error)),
        Some(CaptionError::Checkpoint(error)) => return of_checkpoint(error),
        _ => {}
    }
    cause
        .downcast_ref::<CheckpointError>()
        .and_then(of_checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_device_have_an_exit_code_of_their_own_wherever_they_come_from() {
        let lost = || DeviceError::Lost("gone".into());
        let errors: [(anyhow::Error, u8); 7] = [
            (lost().into(), 3),
            (TrainError::Device(lost()).into(), 3),
            (
                anyhow::Error::from(CheckpointError::Device(lost())).context("--model x"),
                3,
            ),
            (
                CaptionError::Checkpoint(CheckpointError::Device(lost())).into(),
                3,
            ),
            (
                TrainError::Memory {
                    need: 2,
                    have: 1,
                    free: 1,
                    adapter: "a".into(),
                    parts: 2,
                }
                .into(),
                3,
            ),
            (
                TrainError::Device(DeviceError::NoAdapter {
                    advice: String::new(),
                })
                .into(),
                2,
            ),
            (TrainError::Options("no".into()).into(), 1),
        ];
        for (error, code) in errors {
            assert_eq!(exit_code(&error), code, "{error:#}");
        }
    }
}
