//! Captions several pictures at once.

use std::path::PathBuf;

use rayon::prelude::*;
use seemore::caption::{Cancel, CaptionOptions};
use seemore::image::Picture;

use super::{Event, Worker};
use crate::generation::GenerationSettings;
use crate::hint;

/// Number of pictures that are decoded at once, which bounds the memory on machines with many
/// processors: a photograph takes 100 MB.
const AT_ONCE: usize = 4;

/// Pictures of a run to caption. Its result is a [`BatchEvent`].
#[derive(Debug, Clone)]
pub struct BatchJob {
    /// Number of the run that the job belongs to.
    pub run: u64,
    /// Files to caption, each with a number that its caption comes back with.
    pub pictures: Vec<(usize, PathBuf)>,
    /// Number of pictures on the device at once; no job has more.
    pub batch_size: usize,
    /// Prefix, length and beams; the most likely caption depends on nothing else.
    pub settings: GenerationSettings,
    /// Cancels the job.
    pub cancel: Cancel,
}

/// Result of a [`BatchJob`].
#[derive(Debug, Clone)]
pub struct BatchEvent {
    /// Number of the run.
    pub run: u64,
    /// The captions, or why none could be written and what to do.
    pub captions: Result<Vec<BatchCaption>, String>,
}

/// The number of a picture with its caption, or with the reason why it has none.
pub type BatchCaption = (usize, Result<WrittenCaption, String>);

/// A caption that the model wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenCaption {
    /// The caption, with its prefix.
    pub text: String,
    /// Geometric mean of the probabilities of its tokens.
    pub confidence: f32,
}

impl BatchJob {
    /// Captions the pictures.
    pub(super) fn run(&self, worker: &mut Worker) {
        let captions = self
            .caption(worker)
            .map_err(|error| hint::explain(error.as_ref()));
        worker.events.send(Event::Batch(BatchEvent {
            run: self.run,
            captions,
        }));
    }

    /// Captions all pictures that can be read.
    fn caption(&self, worker: &mut Worker) -> anyhow::Result<Vec<BatchCaption>> {
        let session = worker.model(0)?;
        // each picture is reduced to the model's input right after decoding, to save memory
        let read = |(number, path): &(usize, PathBuf)| {
            let picture = Picture::open(path).map_err(|error| error.to_string());
            let input =
                |picture: Picture| session.input(&picture).map_err(|error| error.to_string());
            (*number, picture.and_then(input))
        };
        let parts = self.pictures.chunks(AT_ONCE);
        let (numbers, pictures): (Vec<usize>, Vec<_>) = parts
            .flat_map(|part| part.par_iter().map(read).collect::<Vec<_>>())
            .unzip();
        let mut readable = vec![];
        let errors: Vec<Option<String>> = pictures
            .into_iter()
            .map(|picture| picture.map(|picture| readable.push(picture)).err())
            .collect();
        let GenerationSettings {
            prefix,
            max_len,
            beams,
            ..
        } = &self.settings;
        let options = CaptionOptions {
            max_tokens: *max_len,
            beam: *beams,
            batch_size: self.batch_size,
            ..CaptionOptions::default()
        };
        let prompts = vec![prefix.as_str(); readable.len()];
        let mut captions = session
            .captions_of(&readable, &prompts, &options, &self.cancel)?
            .into_iter();
        // the prompt of a pretrained model is a question, which is no part of the answer
        let shown = match session.model().dialogue() {
            Some(_) => "",
            None => prefix.as_str(),
        };
        let result = |error: Option<String>| match error {
            Some(error) => Err(error),
            None => {
                let caption = captions.next().expect("one for every readable picture");
                Ok(WrittenCaption {
                    text: format!("{shown}{}", caption.text).trim().to_owned(),
                    confidence: caption.confidence(),
                })
            }
        };
        Ok(numbers
            .into_iter()
            .zip(errors.into_iter().map(result))
            .collect())
    }
}
