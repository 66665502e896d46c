//! Questions about a picture and their answers, as tokens.

use super::TuneData;
use crate::data::{Dataset, Problem, Sample, Turn};
use crate::image::TileGrid;
use crate::models::{DialogueError, Model};
use crate::text::Tokenizer;
use crate::text::chat::{Message, Part, Role};
use crate::train::TrainError;

/// A conversation of one or several questions with their answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Tokens of the questions and the answers, without the last.
    pub ids: Vec<u32>,
    /// Tokens of the answers, with their ends.
    pub targets: Vec<u32>,
    /// Positions whose logits predict them.
    pub places: Vec<usize>,
}

impl Exchange {
    /// Returns what a model is asked about a picture with this grid of tiles, and how it should
    /// answer. A conversation ends in front of a question that the template does not put behind the
    /// turns before it as they were.
    ///
    /// # Panics
    /// If the model is not a pretrained one, or there is no turn.
    pub fn new(
        model: &Model,
        tokenizer: &Tokenizer,
        turns: &[Turn],
        grid: TileGrid,
    ) -> Result<Exchange, DialogueError> {
        let dialogue = model.dialogue().expect("a pretrained model");
        let (mut ids, mut targets, mut places) = (vec![], vec![], vec![]);
        let (mut messages, mut before) = (vec![], String::new());
        for turn in turns {
            let picture = messages.is_empty().then_some(Part::Image);
            let content = picture.into_iter().chain([Part::text(&turn.question)]);
            messages.push(Message::new(Role::User, content.collect()));
            let (asked, rest) = dialogue.answered(&messages, &[grid], &turn.answer)?;
            let Some(added) = asked.strip_prefix(&before) else {
                break;
            };
            ids.extend(tokenizer.encode(added));
            let mut answer = tokenizer.encode(&rest);
            // a template may go on behind the end of a turn
            let behind = match answer.iter().position(|id| dialogue.ends().contains(id)) {
                Some(end) => answer.split_off(end + 1),
                None => {
                    answer.extend(dialogue.ends().first());
                    vec![]
                }
            };
            places.extend((0..answer.len()).map(|at| ids.len() - 1 + at));
            ids.extend(&answer);
            ids.extend(behind);
            targets.extend(answer);
            messages.push(Message::text(Role::Assistant, &turn.answer));
            before = asked + &rest;
        }
        ids.truncate(places.last().map_or(0, |last| last + 1));
        Ok(Exchange {
            ids,
            targets,
            places,
        })
    }

    /// Number of positions that the text takes.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Tokens of the first question.
    pub fn question(&self) -> &[u32] {
        let first = self.places.first();
        &self.ids[..first.map_or(self.ids.len(), |first| first + 1)]
    }
}

/// Samples whose captions fit a model.
pub struct Fitting {
    /// The samples.
    pub set: Dataset,
    /// Samples that were left out, with the reason.
    pub problems: Vec<Problem>,
    /// Exchanges of each sample: its conversation, or one for each caption.
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
    let asked = captions.map(|caption| Turn {
        question: question.to_owned(),
        answer: caption.clone(),
    });
    let conversations: Vec<Vec<Turn>> = match sample.turns.is_empty() {
        true => asked.map(|turn| vec![turn]).collect(),
        false => vec![sample.turns.clone()],
    };
    let made = conversations.iter();
    let made = made.map(|turns| Exchange::new(model, tokenizer, turns, grid));
    made.collect::<Result<_, _>>()
        .map_err(|error| TrainError::Question {
            id: sample.id.clone(),
            error,
        })
}
