//! Inputs of a pass for the pictures.

use crate::device::Plan;
use crate::graph::{Tape, Var};
use crate::models::{ImageFeatures, ImageTokens, Model, ModelInfo};
use crate::nn::Context;

/// Inputs of a pass for the pictures of its texts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pictures {
    /// `[batch, 3, side, side]`: the pass encodes them.
    Pixels(Var),
    /// Rows `[batch, rows, width]` that were encoded before and stand in front of the texts.
    InFront(Var),
    /// Rows that were encoded before and take places of the texts.
    InText {
        /// `[image rows, width]`, those of all texts.
        rows: Var,
        /// `[image rows]`: the row of the texts that each takes the place of, counted over the
        /// batch.
        places: Var,
        /// Token that marks the places.
        placeholder: u32,
    },
}

impl Pictures {
    /// Records the inputs for `batch` texts that have `image_rows` places for rows of images, all
    /// together. Returns `None` if the model takes no pictures or the texts have no places for
    /// them.
    pub(super) fn new(
        tape: &mut Tape,
        info: &ModelInfo,
        batch: usize,
        image_rows: usize,
    ) -> Option<Pictures> {
        let (side, width) = (info.image_size(), info.decoder.width);
        if info.image_tokens == ImageTokens::None {
            return None;
        }
        if !info.encodes_apart() {
            return Some(Pictures::Pixels(tape.input(&[batch, 3, side, side])));
        }
        let Some(placeholder) = info.placeholder else {
            let rows = tape.input(&[batch, info.visual_tokens, width]);
            return Some(Pictures::InFront(rows));
        };
        (image_rows > 0).then(|| Pictures::InText {
            rows: tape.input(&[image_rows, width]),
            places: tape.input(&[image_rows]),
            placeholder: placeholder.token,
        })
    }

    /// Returns the rows that were encoded before, if the pass takes them in.
    pub(super) fn rows(self) -> Option<Var> {
        match self {
            Pictures::Pixels(_) => None,
            Pictures::InFront(rows) | Pictures::InText { rows, .. } => Some(rows),
        }
    }

    /// Records what the decoder takes in.
    pub(super) fn features(self, c: &mut Context, model: &Model) -> ImageFeatures {
        match self {
            Pictures::Pixels(image) => model.encode(c, image),
            Pictures::InFront(rows) => ImageFeatures::of_rows(rows),
            Pictures::InText { rows, places, .. } => {
                c.image_places = Some(places);
                ImageFeatures::of_rows(rows)
            }
        }
    }

    /// Writes the pictures of texts that are padded to `tokens`: pixels `[n, 3, side, side]`, or the
    /// encoded rows of all pictures in the order of their places.
    ///
    /// # Panics
    /// With another number of pictures than texts, or of rows than places.
    pub(super) fn write(self, plan: &Plan, images: &[f32], texts: &[&[u32]], tokens: usize) {
        let mut images = images.to_vec();
        match self {
            Pictures::Pixels(v) | Pictures::InFront(v) => {
                let capacity: usize = plan.shape(v).iter().product();
                let each = capacity / plan.shape(v)[0];
                assert_eq!(
                    images.len(),
                    texts.len() * each,
                    "one picture for each prompt"
                );
                images.resize(capacity, 0.0);
                plan.write(v, &images);
            }
            Pictures::InText {
                rows,
                places,
                placeholder,
            } => {
                let at = |(row, text): (usize, &&[u32])| {
                    let found = places_of(text, placeholder);
                    let found = found.map(|place| (row * tokens + place) as u32);
                    found.collect::<Vec<_>>()
                };
                let mut taken: Vec<u32> = texts.iter().enumerate().flat_map(at).collect();
                let (count, width) = (plan.shape(rows)[0], plan.shape(rows)[1]);
                assert_eq!(
                    images.len(),
                    taken.len() * width,
                    "a row for each place in the prompts"
                );
                assert!(taken.len() <= count, "more rows than were recorded");
                taken.resize(count, u32::MAX);
                images.resize(count * width, 0.0);
                plan.write(rows, &images);
                plan.write(places, &taken);
            }
        }
    }
}

/// Returns the places of a token in a text.
pub(crate) fn places_of(text: &[u32], token: u32) -> impl Iterator<Item = usize> {
    let marked = text.iter().enumerate().filter(move |(_, id)| **id == token);
    marked.map(|(place, _)| place)
}
