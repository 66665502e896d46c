//! Start of a composition's training: what becomes of the embedding of the whole picture, fitted to
//! the training answers.
//!
//! Of a picture with the normalised embedding `x` the layer to the decoder should give the mean `t`
//! of the token embeddings of its answer, each token weighted by `ln(answers / answers with it)`, so
//! that words that many answers share count little. The weights `W` are those of a ridge regression
//! on centred values (Hoerl and Kennard, 1970), `W = TᵀX (XᵀX + λI)⁻¹`, scaled so that what they give
//! varies as much as `t`: regression shrinks what it is unsure of. The names that the embedding can be
//! given are found by [`names`].

mod names;
mod regression;
mod words;

use rayon::prelude::*;

use self::names::Discriminant;
use self::regression::Regression;
use self::words::Words;
use super::{Exchange, TuneData};
use crate::data::{Dataset, Sample};
use crate::device::{Device, Tensor};
use crate::models::Model;
use crate::models::composition::{
    EMBEDDING_LAYER, EMBEDDING_NORM, NAME_LOGITS, NAME_ROWS, NAME_WORDS,
};
use crate::train::{Note, Observer, TrainError};

/// Fits the layers to the training set, and tells `observer` how much of the answers they explain.
/// Names are the answers to `question`.
///
/// # Errors
/// A model without those layers, pictures without features, or a device that failed.
pub(crate) fn fit(
    model: &Model,
    device: &Device,
    set: &Dataset,
    exchanges: &[Vec<Exchange>],
    question: &str,
    data: &TuneData,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let failed = |reason: String| TrainError::setting("tune.fit", reason);
    let tensor = |layer: &str, end: &str| model.store().get(&format!("{layer}{end}"));
    let both = |layer: &str| Some((tensor(layer, ".weight")?, tensor(layer, ".bias")?));
    let (Some((weight, bias)), Some((gain, shift))) = (both(EMBEDDING_LAYER), both(EMBEDDING_NORM))
    else {
        return Err(failed(
            "needs a composition with a position of the whole picture, whose projector trains"
                .into(),
        ));
    };
    let inputs = model.info().embedding;
    let embeddings = set.samples.par_iter();
    let embeddings = embeddings.map(|sample| data.embedding(sample, inputs));
    let embeddings: Vec<Vec<f32>> = embeddings.collect::<Result<_, String>>().map_err(failed)?;
    let first = |all: &Vec<Exchange>| -> Vec<u32> {
        let first = all.first();
        first.map_or(vec![], |first| first.targets.clone())
    };
    let targets: Vec<Vec<u32>> = exchanges.iter().map(first).collect();
    let words = Words::read(model, device, &targets)?;
    let answers: Vec<&[u32]> = targets.iter().map(|answer| without_end(answer)).collect();

    let (gain, shift): (Vec<f32>, Vec<f32>) = (gain.read()?, shift.read()?);
    let normed = embeddings.iter().map(|it| normalised(it, &gain, &shift));
    let means = answers.iter().map(|answer| words.mean(answer));
    let fitted = Regression::new(&normed.collect::<Vec<_>>(), &means.collect::<Vec<_>>());
    weight.write(&fitted.weights);
    bias.write(&fitted.bias);

    let named = match (both(NAME_LOGITS), tensor(NAME_WORDS, "")) {
        (Some(logits), Some(table)) => {
            let layers = NameLayers { logits, table };
            let asks = |sample: &Sample| match sample.turns.first() {
                Some(turn) => turn.question == question,
                None => true,
            };
            let asked = set.samples.iter().map(asks).collect::<Vec<_>>();
            let found = layers.fit(&words, &targets, &embeddings, &asked);
            Some(found.ok_or_else(|| {
                failed(format!(
                    "finds no answer to \"{question}\" among the training data"
                ))
            })?)
        }
        _ => None,
    };
    observer.note(&Note::Fitted {
        pictures: answers.len(),
        explained: fitted.explained,
        named,
    });
    Ok(())
}

/// The layers that name what an embedding is of.
struct NameLayers<'a> {
    /// Weight and bias of the layer that gives each name's logit.
    logits: (&'a Tensor, &'a Tensor),
    /// Token embeddings of each name.
    table: &'a Tensor,
}

impl NameLayers<'_> {
    /// Finds the most frequent answers among the `asked` samples, and the layer that tells them
    /// apart. Returns the number of names and the share of samples that it names right, or `None`
    /// without answers.
    fn fit(
        &self,
        words: &Words,
        targets: &[Vec<u32>],
        embeddings: &[Vec<f32>],
        asked: &[bool],
    ) -> Option<(usize, f64)> {
        let answered = targets
            .iter()
            .enumerate()
            .map(|(at, answer)| (at, without_end(answer)))
            .filter(|&(at, answer)| asked[at] && !answer.is_empty());
        let (places, answers): (Vec<usize>, Vec<&[u32]>) = answered.unzip();
        let (weight, bias) = self.logits;
        let capacity = bias.len();
        let (names, of) = names::frequent(&answers, capacity);
        if names.is_empty() {
            return None;
        }
        let known = places.iter().zip(&of);
        let known = known.filter_map(|(&at, name)| Some((at, (*name)?)));
        let (places, of): (Vec<usize>, Vec<usize>) = known.unzip();
        let directions = places.iter().map(|&at| direction(&embeddings[at]));
        let directions: Vec<Vec<f64>> = directions.collect();
        let directions: Vec<&[f64]> = directions.iter().map(Vec::as_slice).collect();
        let fitted = Discriminant::new(&directions, &of, names.len(), capacity);
        weight.write(&fitted.weights);
        bias.write(&fitted.bias);
        let end = targets.iter().find_map(|answer| answer.last());
        let end = *end.expect("answers have ends");
        let mut spelt = vec![0.0; self.table.len()];
        let rows = spelt.chunks_exact_mut(NAME_ROWS * words.width);
        for (name, rows) in names.iter().zip(rows) {
            for (place, row) in rows.chunks_exact_mut(words.width).enumerate() {
                let id = name.get(place).copied().unwrap_or(end);
                row.copy_from_slice(words.embedding(id));
            }
        }
        self.table.write(&spelt);
        Some((names.len(), fitted.right))
    }
}

/// Tokens of an answer without the one that ends it.
fn without_end(answer: &[u32]) -> &[u32] {
    &answer[..answer.len().saturating_sub(1)]
}

/// An embedding of length 1.
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
