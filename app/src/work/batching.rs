//! Captions for many pictures at once.

use std::path::PathBuf;

use rayon::prelude::*;
use seemore::caption::Captioner;
use seemore::image::Picture;

use super::captioning::Settings;

/// Pictures of a run.
#[derive(Debug, Clone)]
pub struct Job {
    /// The run that it is a part of.
    pub run: u64,
    /// With the numbers that the captions come back with.
    pub pictures: Vec<(usize, PathBuf)>,
    /// Pictures on the device at once; no job has more.
    pub at_once: usize,
    /// Of these, what the likeliest caption depends on: beginning, length and beams.
    pub settings: Settings,
}

/// A picture's caption, or why it has none.
pub type Captioned = (usize, Result<String, String>);

/// Captions all pictures of a job that can be read.
///
/// # Errors
/// What stands in the way of all of them, such as a model that is not there.
pub fn caption(captioner: Option<&mut Captioner>, job: &Job) -> anyhow::Result<Vec<Captioned>> {
    let Some(captioner) = captioner else {
        anyhow::bail!("no model is loaded: choose a checkpoint folder first")
    };
    let frame = captioner.config().frame();
    // whole pictures are held only while they are made small
    let read = |(number, path): &(usize, PathBuf)| {
        (
            *number,
            Picture::open(path).map(|picture| picture.framed(frame)),
        )
    };
    let (numbers, pictures): (Vec<usize>, Vec<_>) = job.pictures.par_iter().map(read).unzip();
    let mut readable = vec![];
    let troubles: Vec<Option<String>> = pictures
        .into_iter()
        .map(|picture| {
            picture
                .map(|picture| readable.push(picture))
                .err()
                .map(|error| error.to_string())
        })
        .collect();
    let Settings {
        prefix,
        most,
        beams,
        ..
    } = &job.settings;
    let mut captions = captioner
        .captions(&readable, job.at_once, prefix, *most, *beams)?
        .into_iter();
    let result = |trouble: Option<String>| match trouble {
        Some(trouble) => Err(trouble),
        None => Ok(format!(
            "{prefix}{}",
            captions
                .next()
                .expect("one for every picture that was read")
                .text
        )
        .trim()
        .to_owned()),
    };
    Ok(numbers
        .into_iter()
        .zip(troubles.into_iter().map(result))
        .collect())
}
