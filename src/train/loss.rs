//! The loss of a batch: one recorded pass for training and validation.

use serde::{Deserialize, Serialize};

use super::{AnswerSizes, Batch};
use crate::device::Plan;
use crate::graph::Var;
use crate::models::{Logits, Model};
use crate::nn::Context;
use crate::ops::IGNORE;

/// What a step minimizes: `captions` times the mean cross entropy of caption tokens plus `classes`
/// times that of the pictures' concepts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Weight of the caption loss.
    pub captions: f32,
    /// Weight of the class loss; 0 without a class head.
    pub classes: f32,
    /// Label smoothing: probability mass of the target that is spread over all tokens or concepts.
    pub smoothing: f32,
    /// Whether pictures are shown; otherwise the decoder learns from text alone.
    pub pictures: bool,
}

impl Objective {
    /// Mean cross entropy of caption tokens.
    pub const CAPTIONS: Objective = Objective {
        captions: 1.0,
        classes: 0.0,
        smoothing: 0.0,
        pictures: true,
    };
}

impl Default for Objective {
    fn default() -> Objective {
        Objective::CAPTIONS
    }
}

/// The recorded forward pass over a batch of fixed size, up to its loss.
pub(crate) struct Loss {
    image: Option<Var>,
    /// Position of the text: where it would be after a picture, also without one.
    past: Option<(Var, u32)>,
    captions: Option<Captions>,
    classes: Option<Targets>,
    answers: Option<Places>,
    /// `[1]`: sum of the parts, each its scale times the cross entropy summed over its targets.
    pub value: Var,
}

/// Places of pictures and answers in the texts.
struct Places {
    /// `[rows of all tiles]`, unless pictures stand in front of the texts.
    pictures: Option<Var>,
    /// `[targets]`.
    targets: Var,
}

struct Captions {
    ids: Var,
    targets: Targets,
}

struct Targets {
    targets: Var,
    scale: Var,
    weight: f32,
}

impl Targets {
    fn input(c: &mut Context, count: usize, weight: f32) -> Targets {
        Targets {
            targets: c.tape.input(&[count]),
            scale: c.tape.input(&[1]),
            weight,
        }
    }

    fn write(&self, plan: &Plan, targets: &[u32], scale: f32) {
        plan.write(self.targets, targets);
        plan.write(self.scale, &[self.weight * scale]);
    }
}

impl Loss {
    /// Records the pass for `batch` pictures with `length` text positions.
    ///
    /// # Panics
    /// If the objective has no part.
    pub fn record(
        c: &mut Context,
        model: &Model,
        batch: usize,
        length: usize,
        objective: &Objective,
    ) -> Loss {
        let info = model.info();
        let image = objective.pictures.then(|| {
            c.tape
                .input(&[batch, 3, info.image_size(), info.image_size()])
        });
        let mut features = image.map(|image| model.encode(c, image));
        let classes = features
            .as_mut()
            .filter(|_| objective.classes > 0.0)
            .and_then(|features| model.classify(c, features));
        let mut parts = vec![];
        let captions = (objective.captions > 0.0).then(|| {
            let ids = c.tape.input(&[batch, length]);
            let targets = Targets::input(c, batch * length, objective.captions);
            let logits = model.decode(c, features, ids, None, Logits::Text);
            let logits = c.tape.view(logits, &[batch * length, info.vocab_size]);
            parts.push(c.tape.cross_entropy(
                logits,
                targets.targets,
                targets.scale,
                objective.smoothing,
            ));
            Captions { ids, targets }
        });
        let classes = classes.map(|logits| {
            let targets = Targets::input(c, batch, objective.classes);
            parts.push(c.tape.cross_entropy(
                logits,
                targets.targets,
                targets.scale,
                objective.smoothing,
            ));
            targets
        });
        let value = parts
            .into_iter()
            .reduce(|a, b| c.tape.add(a, b))
            .expect("the objective has a part");
        let past = (!objective.pictures).then_some((c.past, info.visual_tokens as u32));
        Loss {
            image,
            past,
            captions,
            classes,
            answers: None,
            value,
        }
    }

    /// Records the pass for `batch` questions about pictures with their answers, of at most `length`
    /// positions each. Only the tokens of the answers count, and only their logits are computed.
    pub fn of_answers(
        c: &mut Context,
        model: &Model,
        batch: usize,
        length: usize,
        sizes: &AnswerSizes,
        smoothing: f32,
    ) -> Loss {
        let info = model.info();
        let tiles = sizes.tiles;
        let (rows, width) = info.encoder_row_shape();
        let places = info.placeholder.map(|it| tiles * it.rows);
        let image = (tiles > 0).then(|| match sizes.encoded {
            true => c.tape.input(&[tiles, rows, width]),
            false => c
                .tape
                .input(&[tiles, 3, info.image_size(), info.image_size()]),
        });
        let pictures = image.and(places).map(|places| c.tape.input(&[places]));
        c.image_places = pictures;
        let features = image.map(|image| match sizes.encoded {
            true => model.project(c, image),
            false => model.encode(c, image),
        });
        let ids = c.tape.input(&[batch, length]);
        let at = c.tape.input(&[sizes.targets]);
        let targets = Targets::input(c, sizes.targets, 1.0);
        let logits = model.decode(c, features, ids, None, Logits::Rows(at));
        let logits = c.tape.view(logits, &[sizes.targets, info.vocab_size]);
        let value = c
            .tape
            .cross_entropy(logits, targets.targets, targets.scale, smoothing);
        Loss {
            image,
            past: None,
            captions: Some(Captions { ids, targets }),
            classes: None,
            answers: Some(Places {
                pictures,
                targets: at,
            }),
            value,
        }
    }

    /// Writes the inputs of the next run; the cross entropy of each part is multiplied by its scale
    /// and weight.
    ///
    /// # Panics
    /// With more pictures, positions or targets than were recorded.
    pub fn write(&self, plan: &Plan, batch: &Batch, scale: Scale) {
        if let Some(places) = &self.answers {
            return self.write_answers(places, plan, batch, scale);
        }
        if let Some(image) = self.image {
            plan.write(image, &batch.images);
        }
        if let Some((past, visual)) = self.past {
            plan.write(past, &[visual]);
        }
        if let Some(Captions { ids, targets }) = &self.captions {
            plan.write(*ids, &batch.ids);
            targets.write(plan, &batch.targets, scale.captions);
        }
        if let Some(targets) = &self.classes {
            targets.write(plan, &batch.classes, scale.classes);
        }
    }
}

impl Loss {
    fn write_answers(&self, places: &Places, plan: &Plan, batch: &Batch, scale: Scale) {
        let Some(Captions { ids, targets }) = &self.captions else {
            unreachable!("answers have texts")
        };
        let at = batch.answers.as_ref().expect("a batch of answers");
        if let Some(image) = self.image {
            plan.write(image, &filled(plan, image, &batch.images, 0.0));
        }
        if let Some(pictures) = places.pictures {
            let unused = u32::MAX;
            plan.write(pictures, &filled(plan, pictures, &at.pictures, unused));
        }
        let last = u32::MAX;
        plan.write(
            places.targets,
            &filled(plan, places.targets, &at.targets, last),
        );
        plan.write(*ids, &filled(plan, *ids, &batch.ids, 0));
        let wanted = filled(plan, targets.targets, &batch.targets, IGNORE);
        targets.write(plan, &wanted, scale.captions);
    }
}

/// Returns values with `rest` behind them, as many as an input takes.
fn filled<T: Copy>(plan: &Plan, input: Var, values: &[T], rest: T) -> Vec<T> {
    let count: usize = plan.shape(input).iter().product();
    assert!(
        values.len() <= count,
        "{} values for an input of {count}",
        values.len()
    );
    let mut values = values.to_vec();
    values.resize(count, rest);
    values
}

/// Factors of summed cross entropies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Factor of the caption loss.
    pub captions: f32,
    /// Factor of the class loss.
    pub classes: f32,
}

impl Scale {
    /// Sums instead of means.
    pub const SUM: Scale = Scale {
        captions: 1.0,
        classes: 1.0,
    };

    /// Means over all targets of `batches` together.
    pub fn mean(batches: &[Batch]) -> Scale {
        let over = |count: fn(&Batch) -> usize| {
            1.0 / batches.iter().map(count).sum::<usize>().max(1) as f32
        };
        Scale {
            captions: over(Batch::count),
            classes: over(Batch::classified),
        }
    }
}
