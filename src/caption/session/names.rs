//! Names that a composition is given for a picture.

use super::{ModelInput, Session};
use crate::caption::CaptionError;
use crate::caption::passes::NameRelevancePass;
use crate::device::DeviceError;
use crate::models::composition::{NAME_TOKENS, NameSet, names_layer};
use crate::ops::id_of;
use crate::text::Style;

/// Answers to a question about a picture, out of a set that a composition was trained with.
#[derive(Debug, Clone, PartialEq)]
pub struct NameRanking {
    /// Question that they answer; `None` for that of captions.
    pub question: Option<String>,
    /// Answers, the most probable first.
    pub names: Vec<RankedName>,
}

impl NameRanking {
    /// Probability of the first answer below which it is more often wrong than right.
    pub(super) const SURE: f32 = 0.5;

    /// Whether the first answer is more probably wrong than right.
    pub fn is_unsure(&self) -> bool {
        let first = self.names.first();
        first.is_some_and(|first| first.probability < Self::SURE)
    }
}

/// An answer and how probable it is.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedName {
    /// Text of the answer. One that fills all positions of its set may have been cut, so it ends before
    /// its last comma.
    pub text: String,
    /// Probability that it would be right if it were the first: how often first answers of this
    /// logit were right about pictures that were held out when training found the names, some of
    /// them with all others of their name. Those of several answers do not sum to 1.
    pub probability: f32,
}

/// Names of a set, as text.
pub(super) type NameTexts = Vec<String>;

impl Session {
    /// Returns the answers that a composition is given for a picture: of each of its sets of names
    /// the `limit` most probable ones. Other models have none.
    ///
    /// # Errors
    /// A picture that was preprocessed for another model, or a failed device.
    pub fn names(
        &self,
        input: &ModelInput,
        limit: usize,
    ) -> Result<Vec<NameRanking>, CaptionError> {
        let sets = 0..self.model().name_sets().len();
        sets.map(|set| self.ranking(input, set, limit)).collect()
    }

    /// Returns the most probable answers of a set of names.
    fn ranking(
        &self,
        input: &ModelInput,
        set: usize,
        limit: usize,
    ) -> Result<NameRanking, CaptionError> {
        let encoded = self.encoded(input, &mut |_| ())?;
        let (logits, texts) = (&encoded.names[set], &self.name_texts()?[set]);
        // layers have room for more names than training found
        let named = (0..logits.len()).filter(|&name| !texts[name].is_empty());
        let mut order: Vec<usize> = named.collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let ranked = order.into_iter().take(limit).map(|name| RankedName {
            text: texts[name].clone(),
            probability: probability(logits[name]),
        });
        Ok(NameRanking {
            question: self.model().name_sets()[set].question.clone(),
            names: ranked.collect(),
        })
    }

    /// Returns the answers to the question of captions, see [`names`](Self::names), if that is what
    /// a prompt asks: the model's own question, or that of a [`Style`].
    ///
    /// # Errors
    /// See [`names`](Self::names).
    pub fn caption_names(
        &self,
        input: &ModelInput,
        prompt: &str,
        limit: usize,
    ) -> Result<Option<NameRanking>, CaptionError> {
        let set = self.asked_set(prompt);
        set.map(|set| self.ranking(input, set, limit)).transpose()
    }

    /// Number of the set of names that answer the question of captions.
    fn caption_set(&self) -> Option<usize> {
        let sets = self.model().name_sets().iter();
        sets.map(|set| &set.question).position(Option::is_none)
    }

    /// Number of that set if a prompt asks for a caption.
    fn asked_set(&self, prompt: &str) -> Option<usize> {
        let family = self.model().config().family();
        let mut styles = Style::ALL.iter().map(|style| style.prompt(family));
        let asks = prompt.is_empty()
            || prompt == self.question()
            || styles.any(|question| question == prompt);
        self.caption_set().filter(|_| asks)
    }

    /// Returns the probability that the name which a caption follows is right; `None` for prompts
    /// that ask for something else, and for models without names.
    pub(super) fn name_probability(
        &self,
        input: &ModelInput,
        prompt: &str,
    ) -> Result<Option<f32>, CaptionError> {
        let Some(set) = self.asked_set(prompt) else {
            return Ok(None);
        };
        let encoded = self.encoded(input, &mut |_| ())?;
        let highest = encoded.names[set].iter().copied();
        Ok(Some(probability(highest.fold(f32::MIN, f32::max))))
    }

    /// Returns the texts of the names of all sets.
    fn name_texts(&self) -> Result<&[NameTexts], CaptionError> {
        if let Some(texts) = self.0.names.get() {
            return Ok(texts);
        }
        let read = |(number, set): (usize, &NameSet)| -> Result<NameTexts, DeviceError> {
            let name = format!("{}{NAME_TOKENS}", names_layer(number));
            let tensor = self.model().store().get(&name);
            let digits: Vec<f32> = tensor.expect("a set of names has tokens").read()?;
            let ends = self.ends();
            let text = |digits: &[f32]| {
                let ids = digits.as_chunks::<2>().0.iter();
                let ids = ids.map(|[high, low]| id_of([*high, *low]));
                let ids: Vec<u32> = ids.take_while(|id| !ends.contains(id)).collect();
                let text = self.tokenizer().decode(&ids);
                // longer names are cut, perhaps behind a comma
                let whole = text.rsplit_once(',').filter(|_| ids.len() == set.rows);
                whole
                    .map_or(text.as_str(), |(whole, _)| whole)
                    .trim()
                    .to_owned()
            };
            Ok(digits.chunks(2 * set.rows).map(text).collect())
        };
        let all = self.model().name_sets().iter().enumerate().map(read);
        let all = all.collect::<Result<Vec<_>, _>>()?;
        Ok(self.0.names.get_or_init(|| all))
    }

    /// Returns the share of each patch of the tiles of a picture in the name that answers the
    /// question of captions; nothing for models without such names, and for those whose names are told
    /// apart by more than the embedding.
    pub(super) fn name_relevance(&self, input: &ModelInput) -> Result<Vec<Vec<f32>>, CaptionError> {
        let Some(set) = self.caption_set() else {
            return Ok(vec![]);
        };
        let names = &self.model().name_sets()[set];
        if names.patches || names.thirds || names.colors {
            return Ok(vec![]);
        }
        let encoded = self.encoded(input, &mut |_| ())?;
        if let Some(found) = encoded.relevance.get() {
            return Ok(found.clone());
        }
        let logits = &encoded.names[set];
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        let (device, model) = (&self.0.device, &self.0.model);
        let found = self.0.name_relevance.with(
            |recorded| *recorded == set,
            || Ok::<_, DeviceError>((set, NameRelevancePass::new(device, model, set)?)),
            |pass| {
                let of = |rows: &Vec<f32>| pass.run(rows, best.unwrap_or(0));
                encoded
                    .last_block
                    .iter()
                    .map(of)
                    .collect::<Result<Vec<_>, _>>()
            },
        )?;
        Ok(encoded.relevance.get_or_init(|| found).clone())
    }
}

/// Logistic function.
fn probability(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}
