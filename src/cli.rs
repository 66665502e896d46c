//! The command line of `seemore` and `train`.

mod bench;
mod caption;
mod chat;
mod compose;
mod data;
mod devices;
mod doctor;
mod eval;
#[cfg(feature = "hub")]
mod get;
mod hint;
mod import;
mod log;
mod merge;
mod model;
mod models;
mod output;
mod pack;
mod progress;
mod track;
pub mod train;
pub mod values;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::caption::CaptionError;
use crate::device::DeviceError;
use crate::models::checkpoint::{self, CheckpointError};
use crate::train::TrainError;
use output::{say, say_json, tell};

/// Declares the commands of `seemore`, one line each: help, name, arguments, and the function that
/// runs them.
macro_rules! commands {
    ($($(#[doc = $help:literal])+ $(#[cfg($when:meta)])? $(#[command($($more:tt)+)])? $name:ident($args:ty) => $run:path,)+) => {
        #[derive(Subcommand)]
        enum Command {
            $($(#[doc = $help])+ $(#[cfg($when)])? $(#[command($($more)+)])? $name($args),)+
        }

        impl Command {
            fn run(&self) -> anyhow::Result<()> {
                match self {
                    $($(#[cfg($when)])? Command::$name(args) => $run(args),)+
                }
            }
        }
    };
}

commands! {
    /// Train a captioner on captioned pictures
    Train(train::TrainArgs) => train::run,
    /// Caption pictures
    Caption(caption::CaptionArgs) => caption::run,
    /// Talk with a pretrained model, about pictures if it takes them
    Chat(chat::ChatArgs) => chat::run,
    /// Make a model out of a pretrained image encoder and language model, to be trained
    Compose(compose::ComposeArgs) => compose::run,
    /// Download a pretrained model from the Hugging Face Hub
    #[cfg(feature = "hub")]
    Get(get::GetArgs) => get::run,
    /// List pretrained models that are known and those on this machine
    Models(models::ModelsArgs) => models::run,
    /// Show statistics of captioned pictures
    Data(data::DataArgs) => data::run,
    /// Measure the captions of a model
    Eval(eval::EvalArgs) => eval::run,
    /// Write a tuned model as a plain one, with its adapter added to the weights
    Merge(merge::MergeArgs) => merge::run,
    /// Write a checkpoint to share: 16-bit, without the training state
    Pack(pack::PackArgs) => pack::run,
    /// Convert a state dict of the original seemore into a checkpoint folder
    Import(import::ImportArgs) => import::import,
    /// Convert a checkpoint folder into a state dict of the original seemore
    Export(import::ExportArgs) => import::export,
    /// Measure kernels, a training step, decoding and loading
    Bench(bench::BenchArgs) => bench::run,
    /// Upload tracking data that an MLflow server missed
    Track(track::TrackArgs) => track::run,
    /// List the devices that --device can choose, with the speed of each
    #[command(alias = "adapters")]
    Devices(devices::DevicesArgs) => devices::run,
    /// Check devices, drivers, folders and every kernel
    Doctor(doctor::DoctorArgs) => doctor::run,
}

/// A vision-language model that trains and runs in WGSL, on any GPU.
#[derive(Parser)]
#[command(name = "seemore", version)]
struct Seemore {
    #[command(subcommand)]
    command: Command,
}

/// Train a captioner on captioned pictures; an alias of `seemore train`.
#[derive(Parser)]
#[command(name = "train", version)]
struct Train {
    #[command(flatten)]
    args: train::TrainArgs,
}

/// Returns the folder for measurements of kernels: `SEEMORE_CACHE`, else `seemore` in the user's
/// cache folder.
pub(crate) fn cache_folder() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("SEEMORE_CACHE").filter(|folder| !folder.is_empty());
    named
        .map(std::path::PathBuf::from)
        .or_else(|| dirs::cache_dir().map(|folder| folder.join("seemore")))
}

/// The program `seemore`.
pub fn seemore() -> ExitCode {
    log::start();
    let parsed = help_on_a_screen(Seemore::command())
        .try_get_matches()
        .and_then(|matches| Seemore::from_arg_matches(&matches));
    match parsed {
        Ok(seemore) => finish(seemore.command.run()),
        Err(error) => usage(&error),
    }
}

/// Gives `--help` of all commands the compact form of `-h`, with all flags. `train` has its own.
fn help_on_a_screen(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|command| match command.get_name() {
        "train" => command,
        _ => help_on_a_screen(command)
            .mut_args(|arg| arg.hide_short_help(false))
            .disable_help_flag(true)
            .arg(
                Arg::new("help")
                    .short('h')
                    .long("help")
                    .action(ArgAction::HelpShort)
                    .help("Print help"),
            ),
    })
}

/// The program `train`.
pub fn train() -> ExitCode {
    log::start();
    match Train::try_parse() {
        Ok(train) => finish(train::run(&train.args)),
        Err(error) => usage(&error),
    }
}

/// Prints what clap says: help on standard output, or an error of usage.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        error.exit();
    }
    let text = error.render();
    let _ = match std::io::stdout().is_terminal() {
        true => output::print(&text.ansi().to_string()),
        false => output::print(&text.to_string()),
    };
    finish(Ok(()))
}

/// The checkpoint folder to use when no `--model` is given.
fn default_model() -> anyhow::Result<PathBuf> {
    checkpoint::default_folder().context(
        "no --model given, and neither data/checkpoints/emoji nor a checkpoint in runs/ is here: train one with `seemore train`",
    )
}

/// Prints an error with its hint, and returns the exit code: 0 for success, 2 without an adapter, 3
/// when the device failed or is too small, 1 for any other failure.
fn finish(result: anyhow::Result<()>) -> ExitCode {
    if let Err(error) = &result {
        failed(error);
    }
    if let Some(reason) = output::failure() {
        tell(&format!("error: cannot write to standard output: {reason}"));
        tell("hint: free some space, or send the output elsewhere");
    }
    match (&result, output::failure()) {
        (Err(error), _) => ExitCode::from(exit_code(error)),
        (Ok(()), Some(_)) => ExitCode::FAILURE,
        (Ok(()), None) => ExitCode::SUCCESS,
    }
}

/// Prints an error with its hint.
fn failed(error: &anyhow::Error) {
    tell(&format!("error: {error:#}"));
    if let Some(advice) = hint::advice(error) {
        tell(&format!("hint: {advice}"));
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match error.chain().find_map(of_device) {
        Some(Some(DeviceError::NoAdapter { .. } | DeviceError::UnknownAdapter { .. })) => 2,
        Some(_) => 3,
        None => 1,
    }
}

/// Returns whether an error comes from the device, and which, if it tells.
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
    fn device_failures_have_their_own_exit_code() {
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
                    parts: Some(2),
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
            (TrainError::Nothing("no".into()).into(), 1),
        ];
        for (error, code) in errors {
            assert_eq!(exit_code(&error), code, "{error:#}");
        }
    }
}
