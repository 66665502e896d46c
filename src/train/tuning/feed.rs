//! Batches of questions about pictures with their answers.

use super::{Exchange, TuneData};
use crate::data::{Dataset, Sample};
use crate::image::{Augment, Picture};
use crate::models::Model;
use crate::train::{AnswerPlaces, Batch};

/// Changes a tile `[3, side, side]` of the picture at a place of a batch; the tile's bytes are
/// known for some models.
type ChangeAt<'a> = dyn Fn(usize, Vec<f32>, Option<&Picture>) -> Vec<f32> + 'a;

/// Source of batches for a pretrained model.
pub struct AnswerFeed<'a> {
    pub model: &'a Model,
    pub data: &'a TuneData,
    /// Exchanges of each sample, at least one; successive draws take them in turn.
    pub exchanges: &'a [Vec<Exchange>],
    /// Positions that texts are padded to.
    pub length: usize,
    pub pad: u32,
}

impl AnswerFeed<'_> {
    /// Makes the batch of samples, of each of which the exchange of this number is taken. `change`
    /// changes the tiles of the picture at a place of the batch. Without `pictures` the batch has
    /// only texts.
    ///
    /// # Panics
    /// If the features of a picture were removed.
    pub fn batch(
        &self,
        set: &Dataset,
        samples: &[(usize, usize)],
        pictures: bool,
        change: &ChangeAt,
    ) -> Batch {
        let info = self.model.info();
        let (mut images, mut ids, mut targets) = (vec![], vec![], vec![]);
        let mut places = AnswerPlaces::default();
        let all = info.visual_tokens + self.length;
        for (place, &(sample, number)) in samples.iter().enumerate() {
            let exchange = &self.exchanges[sample][number];
            let changed = |tile: Vec<f32>, picture: Option<&Picture>| change(place, tile, picture);
            if pictures {
                let input = self.data.input(self.model, &set.samples[sample], &changed);
                images.extend(input.unwrap_or_else(|error| panic!("{error}")));
            }
            if let Some(placeholder) = info.placeholder {
                let marked = exchange.ids.iter().zip(0..);
                let marked = marked.filter(|(id, _)| **id == placeholder.token);
                places
                    .pictures
                    .extend(marked.map(|(_, at): (_, usize)| (place * self.length + at) as u32));
            }
            let first = place * all + info.visual_tokens;
            let at = exchange.places.iter().map(|at| (first + at) as u32);
            places.targets.extend(at);
            targets.extend(&exchange.targets);
            ids.extend(&exchange.ids);
            ids.resize((place + 1) * self.length, self.pad);
        }
        Batch {
            images,
            ids,
            targets,
            classes: vec![],
            answers: Some(places),
        }
    }
}

/// Applies an augmentation to the only tile of a picture. Returns the tile as it is where the model
/// has no bytes of it.
pub fn augmented(
    augment: &Augment,
    model: &Model,
    tile: Vec<f32>,
    shown: Option<&Picture>,
    sample: &Sample,
    [seed, step, draw]: [u64; 3],
) -> Vec<f32> {
    let (Some(shown), Some(dialogue)) = (shown, model.dialogue()) else {
        return tile;
    };
    if *augment == Augment::none() {
        return tile;
    }
    let subject = crate::image::Subject {
        rgb: &shown.rgb,
        caption: &sample.caption,
        varies: sample.varies,
    };
    let alone = None::<crate::image::Subject>;
    let rgb = augment.changed(subject, alone, shown.width, seed, step, draw);
    dialogue.normalised(&rgb)
}
