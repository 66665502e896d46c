//! A question about a picture and its answer, as tokens.

use super::TuneData;
use crate::data::{Dataset, Problem, Sample};
use crate::image::TileGrid;
use crate::models::{DialogueError, Model};
use crate::text::Tokenizer;
use crate::text::chat::{Message, Part, Role};
use crate::train::TrainError;

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Tokens of the question and the answer, without the last.
    pub ids: Vec<u32>,
    /// Tokens of the answer, its end included.
    pub targets: Vec<u32>,
}

impl Exchange {
    /// Returns what a model is asked about a picture with this grid of tiles, and how it should
    /// answer.
    ///
    /// # Panics
    /// If the model is not a pretrained one.
    pub fn new(
        model: &Model,
        tokenizer: &Tokenizer,
        question: &str,
        grid: TileGrid,
        answer: &str,
    ) -> Result<Exchange, DialogueError> {
        let dialogue = model.dialogue().expect("a pretrained model");
        let content = vec![Part::Image, Part::text(question)];
        let messages = [Message::new(Role::User, content)];
        let (asked, rest) = dialogue.answered(&messages, &[grid], answer)?;
        let mut ids = tokenizer.encode(&asked);
        let mut targets = tokenizer.encode(&rest);
        // a template may go on behind the end of a turn
        match targets.iter().position(|id| dialogue.ends().contains(id)) {
            Some(end) => targets.truncate(end + 1),
            None => targets.extend(dialogue.ends().first()),
        }
        ids.extend(&targets);
        ids.pop();
        Ok(Exchange { ids, targets })
    }

    /// Number of positions that the text takes.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Tokens of the question.
    pub fn question(&self) -> &[u32] {
        &self.ids[..self.first() + 1]
    }

    /// Position whose logits predict the first token of the answer.
    pub fn first(&self) -> usize {
        (self.ids.len() + 1).saturating_sub(self.targets.len() + 1)
    }
}

/// Samples whose captions fit a model.
pub struct Fitting {
    /// The samples.
    pub set: Dataset,
    /// Samples that were left out, with the reason.
    pub problems: Vec<Problem>,
    /// Exchanges of each sample: one for each caption.
    pub exchanges: Vec<Vec<Exchange>>,
}

/// Returns the data set without samples whose captions are too long for the model, those samples as
/// problems, and the exchanges of the others.
pub fn exchanges(
    model: &Model,
    tokenizer: &Tokenizer,
    question: &str,
    data: &TuneData,
    set: Dataset,
) -> Result<Fitting, TrainError> {
    let (mut samples, mut problems, mut all) = (vec![], vec![], vec![]);
    let room = model.room();
    for sample in set.samples {
        let of_sample = of(model, tokenizer, question, data, &sample)?;
        match of_sample.iter().map(Exchange::len).find(|&len| len > room) {
            Some(positions) => {
                let what = format!(
                    "question and caption take {positions} positions and the model has room for {room}: use a shorter caption or fewer tiles"
                );
                problems.push(Problem::new(sample.id, what));
            }
            None => {
                samples.push(sample);
                all.push(of_sample);
            }
        }
    }
    let set = Dataset {
        side: set.side,
        samples,
    };
    Ok(Fitting {
        set,
        problems,
        exchanges: all,
    })
}

fn of(
    model: &Model,
    tokenizer: &Tokenizer,
    question: &str,
    data: &TuneData,
    sample: &Sample,
) -> Result<Vec<Exchange>, TrainError> {
    let grid = data.shown(sample).grid;
    let captions = [&sample.caption].into_iter().chain(&sample.others);
    let made = captions.map(|caption| Exchange::new(model, tokenizer, question, grid, caption));
    made.collect::<Result<_, _>>()
        .map_err(|error| TrainError::Question {
            id: sample.id.clone(),
            error,
        })
}
