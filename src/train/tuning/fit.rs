//! Start of a composition's training: what becomes of the embedding of the whole picture, fitted to
//! the training answers.
//!
//! Of a picture with the normalised embedding `x` the layer to the decoder should give the mean `t`
//! of the token embeddings of its answer, each token weighted by `ln(answers / answers with it)`, so
//! that words that many answers share count little. The weights `W` are those of a ridge regression
//! on centred values (Hoerl and Kennard, 1970), `W = TᵀX (XᵀX + λI)⁻¹`, scaled so that what they give
//! varies as much as `t`: regression shrinks what it is unsure of. The names that the embedding can be
//! given, of one or several questions, are found by [`names`]; those of some sets by sums of the
//! patches' rows and the histogram of colours, too.

mod names;
mod regression;
mod words;

use std::ops::Range;

use rayon::prelude::*;

use self::names::Discriminant;
use self::regression::Regression;
use self::words::Words;
use super::{Exchange, TuneData};
use crate::data::Dataset;
use crate::device::{Device, Tensor};
use crate::models::composition::{
    self, EMBEDDING_LAYER, EMBEDDING_NORM, NAME_TOKENS, NameSet, names_layer,
};
use crate::models::pretrained::thirds;
use crate::models::{Model, ModelConfig};
use crate::ops::id_digits;
use crate::train::{NamedSet, Note, Observer, TrainError};

/// Pictures with questions and answers.
pub(crate) struct Answered<'a> {
    pub set: &'a Dataset,
    /// Token ids of the questions and answers of each sample.
    pub exchanges: &'a [Vec<Exchange>],
}

impl Answered<'_> {
    /// Tokens of the first answer about each picture, with the one that ends it.
    fn targets(&self) -> impl Iterator<Item = Vec<u32>> {
        let first = |all: &Vec<Exchange>| all.first().map(|first| first.targets.clone());
        self.exchanges
            .iter()
            .map(move |all| first(all).unwrap_or_default())
    }
}

/// Fits the layers to the training set, and tells `observer` how much of the answers they explain.
/// Names are answers in the training set and in `further`; those of a set without a question are
/// answers to `question`.
///
/// # Errors
/// A model without those layers, pictures without features, a question without answers, or a device
/// that failed.
pub(crate) fn fit(
    model: &Model,
    device: &Device,
    train: &Answered,
    further: Option<&Answered>,
    question: &str,
    data: &TuneData,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let failed = |reason: String| TrainError::setting("tune.fit", reason);
    let tensor = |layer: &str, end: &str| model.store().get(&format!("{layer}{end}"));
    let both = |layer: &str| Some((tensor(layer, ".weight")?, tensor(layer, ".bias")?));
    let (Some((weight, bias)), Some((gain, shift)), ModelConfig::Composition(config)) =
        (both(EMBEDDING_LAYER), both(EMBEDDING_NORM), model.config())
    else {
        return Err(failed(
            "needs a composition with a position of the whole picture, whose projector trains"
                .into(),
        ));
    };
    let all = || [Some(train), further].into_iter().flatten();
    let samples: Vec<_> = all().flat_map(|it| &it.set.samples).collect();
    let summaries = samples.par_iter().map(|sample| {
        let features = data.features(sample)?;
        Ok(Summary::of(&features, config))
    });
    let summaries: Vec<Summary> = summaries.collect::<Result<_, String>>().map_err(failed)?;
    let targets: Vec<Vec<u32>> = all().flat_map(Answered::targets).collect();
    let answers: Vec<&[u32]> = targets.iter().map(|answer| without_end(answer)).collect();

    let trained = train.set.samples.len();
    let words = Words::read(model, device, &targets[..trained])?;
    let (gain, shift): (Vec<f32>, Vec<f32>) = (gain.read()?, shift.read()?);
    let normed = summaries[..trained].iter();
    let normed = normed.map(|it| normalised(&it.embedding, &gain, &shift));
    let means = answers[..trained].iter().map(|answer| words.mean(answer));
    let fitted = Regression::new(&normed.collect::<Vec<_>>(), &means.collect::<Vec<_>>());
    weight.write(&fitted.weights);
    bias.write(&fitted.bias);

    let end = targets.iter().find_map(|answer| answer.last());
    let end = *end.ok_or_else(|| failed("finds no answers".into()))?;
    let mut named = vec![];
    for (number, set) in config.projector.names.iter().enumerate() {
        let asked = set.question.as_deref().unwrap_or(question);
        let asks = |place: &usize| {
            // a caption answers the question of all captions
            let turn = samples[*place].turns.first();
            turn.map_or(question, |turn| &turn.question) == asked && !answers[*place].is_empty()
        };
        let places: Vec<usize> = (0..samples.len()).filter(asks).collect();
        let layer = names_layer(number);
        let tokens = tensor(&layer, NAME_TOKENS);
        let (Some(logits), Some(tokens)) = (both(&layer), tokens) else {
            return Err(failed(format!("needs the layer {layer} in the model")));
        };
        let layers = NameLayers {
            set,
            logits,
            tokens,
        };
        let answers: Vec<&[u32]> = places.iter().map(|&at| answers[at]).collect();
        let inputs = places.iter().map(|&at| summaries[at].inputs(set));
        let Some((names, right)) = layers.fit(&answers, &inputs.collect::<Vec<_>>(), end) else {
            return Err(failed(format!(
                "finds no answer to \"{asked}\" among the data: `tune.fit_data` names more"
            )));
        };
        named.push(NamedSet {
            question: asked.to_owned(),
            names,
            right,
        });
    }
    observer.note(&Note::Fitted {
        pictures: trained,
        explained: fitted.explained,
        named,
    });
    Ok(())
}

/// The layers of a set of names.
struct NameLayers<'a> {
    set: &'a NameSet,
    /// Weight and bias of the layer that gives each name's logit.
    logits: (&'a Tensor, &'a Tensor),
    /// Ids of the tokens of each name, as digits.
    tokens: &'a Tensor,
}

impl NameLayers<'_> {
    /// Finds the most frequent answers about pictures, and the layer that tells them apart by
    /// `inputs`; `end` follows names of fewer tokens than rows. Returns the number of names and the
    /// share of held-out pictures that are named rightly, or `None` without answers.
    fn fit(
        &self,
        answers: &[&[u32]],
        inputs: &[Vec<f64>],
        end: u32,
    ) -> Option<(usize, Option<f64>)> {
        let (names, of) = names::frequent(answers, self.set.names);
        if names.is_empty() {
            return None;
        }
        let known = inputs.iter().zip(&of);
        let known = known.filter_map(|(it, name)| Some((it.as_slice(), (*name)?)));
        let (inputs, of): (Vec<&[f64]>, Vec<usize>) = known.unzip();
        // captions are of any picture, and other questions have one of their answers
        let open = self.set.question.is_none();
        let fitted = Discriminant::new(&inputs, &of, names.len(), self.set.names, open);
        let (weight, bias) = self.logits;
        weight.write(&fitted.weights);
        bias.write(&fitted.bias);
        let spelt = (0..self.set.names).flat_map(|name| {
            let name = names.get(name).copied().unwrap_or_default();
            (0..self.set.rows).map(move |place| name.get(place).copied().unwrap_or(end))
        });
        let tokens: Vec<f32> = spelt.flat_map(id_digits).collect();
        self.tokens.write(&tokens);
        Some((names.len(), fitted.right))
    }
}

/// Values of a picture as a whole.
struct Summary {
    /// The encoder's embedding.
    embedding: Vec<f32>,
    /// Sum of the rows of its patches; empty where no set of names needs it.
    patches: Vec<f32>,
    /// Sums of the rows of its patches in thirds of the picture, one behind the other; empty where no
    /// set of names needs them.
    thirds: Vec<f32>,
    /// Histogram of its colours; empty where no set of names needs it.
    colors: Vec<f32>,
}

impl Summary {
    /// Reads the features of a picture, or of its last tile: rows of patches, an embedding, colours.
    fn of(features: &[f32], config: &composition::Config) -> Summary {
        let colors = features.len() - config.color_values();
        let embedding = colors - config.projector.embedding;
        let (squares, inputs) = (config.tile_squares(), config.projector_inputs());
        let first = embedding - squares * inputs;
        let sum = |squares: Range<usize>| {
            let mut sum = vec![0.0; config.encoder.vision.hidden_size];
            let rows = &features[first + squares.start * inputs..first + squares.end * inputs];
            for row in rows.chunks_exact(sum.len()) {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            sum
        };
        let sets = || config.projector.names.iter();
        let parts = match sets().any(|set| set.thirds) {
            true => thirds(squares).to_vec(),
            false => vec![],
        };
        let whole = sets().any(|set| set.patches).then_some(0..squares);
        Summary {
            embedding: features[embedding..colors].to_vec(),
            patches: whole.map(sum).unwrap_or_default(),
            thirds: parts.into_iter().flat_map(sum).collect(),
            colors: features[colors..].to_vec(),
        }
    }

    /// Returns the inputs of the layer that gives the logits of a set.
    fn inputs(&self, set: &NameSet) -> Vec<f64> {
        let mut inputs = direction(&self.embedding);
        if set.patches {
            inputs.extend(direction(&self.patches));
        }
        if set.thirds {
            inputs.extend(direction(&self.thirds));
        }
        if set.colors {
            inputs.extend(direction(&self.colors));
        }
        inputs
    }
}

/// Tokens of an answer without the one that ends it.
fn without_end(answer: &[u32]) -> &[u32] {
    &answer[..answer.len().saturating_sub(1)]
}

/// A vector of length 1.
fn direction(x: &[f32]) -> Vec<f64> {
    let squares = x.iter().map(|&x| f64::from(x).powi(2));
    let length = squares.sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    x.iter().map(|&x| f64::from(x) / length).collect()
}

/// LayerNorm of an embedding.
fn normalised(x: &[f32], gain: &[f32], shift: &[f32]) -> Vec<f64> {
    const EPS: f64 = 1e-5;
    let count = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let squares = x.iter().map(|&x| (f64::from(x) - mean).powi(2));
    let scale = (squares.sum::<f64>() / count + EPS).sqrt().recip();
    let each = x.iter().zip(gain).zip(shift);
    each.map(|((&x, &gain), &shift)| {
        (f64::from(x) - mean) * scale * f64::from(gain) + f64::from(shift)
    })
    .collect()
}
