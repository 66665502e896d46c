//! Vision-language models that train and run in WGSL compute shaders, on any GPU that
//! [wgpu](https://docs.rs/wgpu) reaches, and on a software driver where there is none. No CUDA, no
//! Python.
//!
//! # Caption a picture
//!
//! A [`Session`] loads a model and writes captions: whole, token by token, or for many pictures at
//! once.
//!
//! ```
//! use seemore::{Device, Picture, Session};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // a yellow disc on white; `Picture::open` reads files
//! let disc = |i: usize| ((i % 48) as f32 - 24.0).hypot((i / 48) as f32 - 24.0) < 20.0;
//! let rgb = (0..48 * 48).flat_map(|i| if disc(i) { [255, 200, 40] } else { [255; 3] });
//! let picture = Picture { width: 48, height: 48, rgb: rgb.collect() };
//!
//! let device = Device::best()?;
//! let session = Session::load(&device, "data/checkpoints/emoji")?;
//! let caption = session.caption(&picture)?;
//! assert!(!caption.text.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # Train a model
//!
//! A [`RunConfig`] describes a training, and a [`TrainRun`] is the only place that assembles one.
//! Events of the run go to an [`Observer`](train::Observer).
//!
//! ```
//! use seemore::{Device, Preset, RunConfig, TrainRun, train::Observer};
//!
//! struct Quiet;
//! impl Observer for Quiet {}
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let out = folder.path().join("run");
//! let mut config = RunConfig::default();
//! config.model.preset = Preset::Tiny;
//! config.data.train = vec!["data/inputs.csv".into()];
//! config.budget.steps = Some(2);
//! config.checkpoint.out = Some(out);
//!
//! let run = TrainRun::new(config)?;
//! let summary = run.start(&Device::best()?, &mut Quiet)?;
//! assert_eq!(summary.steps, 2);
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! Modules record dispatches on a [`Tape`]; [`backward`](Tape::backward) appends more; a
//! [`Program`](graph::Program) gives their values memory by liveness; a [`Plan`] runs it on a
//! [`Device`]. Recording knows no device, and a device knows no model.
//!
//! | module | what it holds |
//! |---|---|
//! | [`graph`] | what is computed: kernels, the tape, gradients, the program |
//! | [`ops`] | one file per op: recording, gradient, f64 reference |
//! | [`device`] | where it runs: devices, tensors, plans, the executor trait |
//! | [`nn`] | layers and parameters |
//! | [`models`] | model families and checkpoints |
//! | [`text`], [`image`], [`data`] | tokenizers, pictures, data sets |
//! | [`train`], [`track`] | training, and following it |
//! | [`caption`], [`explain`], [`eval`] | captions, where the model looked, how good it is |
//!
//! # Features
//!
//! `wgpu` has the devices, `mlflow` the tracking on MLflow servers, `hub` the download of pretrained
//! models, and `cli` the programs
//! `seemore` and `train`. All are on by default; `mpi`, for trainings of several machines, is not. A
//! program that uses the library wants
//! `default-features = false, features = ["wgpu"]`.

#![deny(unsafe_code)]

pub mod atomic_file;
pub mod caption;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod data;
pub mod device;
pub mod eval;
pub mod explain;
mod file_kind;
pub mod graph;
pub mod hint;
#[cfg(feature = "hub")]
pub mod hub;
pub mod image;
pub mod models;
pub mod named;
pub mod nn;
pub mod ops;
#[cfg(feature = "parquet")]
mod panics;
pub mod progress;
pub mod text;
pub mod track;
pub mod train;

pub use caption::{Caption, CaptionOptions, Session};
pub use data::Dataset;
pub use device::{Device, Plan, Tensor};
pub use graph::{Tape, Var};
pub use image::Picture;
pub use models::{Model, ModelConfig, Preset};
pub use text::Tokenizer;
pub use train::{RunConfig, TrainRun};
