//! `seemore track`: uploads tracking data that an MLflow server missed.

use std::path::PathBuf;

use clap::Args;

use super::say;
use crate::track::send_rest;

/// Arguments of `seemore track`.
#[derive(Args)]
pub struct TrackArgs {
    /// Run folder of a training with --track mlflow=URI
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Address of another server [default: the one given to train]
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
}

/// Runs `seemore track`.
pub fn run(args: &TrackArgs) -> anyhow::Result<()> {
    let address = send_rest(&args.dir, args.uri.as_deref())?;
    say(&format!("{} is complete at {address}", args.dir.display()));
    Ok(())
}
