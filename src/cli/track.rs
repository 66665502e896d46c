//! `seemore track`: sends what an MLflow server has not got yet of a training.

use std::path::PathBuf;

use clap::Args;

use super::say;
use crate::track::send_rest;

#[derive(Args)]
pub struct TrackArgs {
    /// Folder of a training that was tracked with --track mlflow=URI
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Send it to this server, instead of the one that was given to train
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
}

pub fn run(args: &TrackArgs) -> anyhow::Result<()> {
    let address = send_rest(&args.dir, args.uri.as_deref())?;
    say(&format!("all of {} is at {address}", args.dir.display()));
    Ok(())
}
