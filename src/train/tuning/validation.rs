//! Validation of a pretrained model: loss of the answers, and exact match.

use std::ops::ControlFlow;

use super::{AnswerFeed, Exchange, TuneData};
use crate::caption::{Cancel, Caption, CaptionError, CaptionOptions, Session};
use crate::data::Dataset;
use crate::device::{Device, DeviceError, Plan};
use crate::graph::Var;
use crate::models::Model;
use crate::nn::Context;
use crate::text::Tokenizer;
use crate::train::loss::{Loss, Scale};
use crate::train::validation::Measured;
use crate::train::{AnswerSizes, TrainError};

/// Answers of a model to all samples of a data set.
pub struct Answers {
    /// Sum of the cross entropies of the tokens of the true answers, in nats.
    pub loss: f64,
    /// Number of those tokens.
    pub tokens: usize,
    /// The model's answer to each sample's question.
    pub written: Vec<Caption>,
}

/// Recorded passes that measure a pretrained model on a data set.
pub struct AnswerValidation {
    session: Session,
    scoring: Plan,
    loss: Loss,
    /// From what steps take in for a tile to the rows that the decoder does.
    rows: Plan,
    input: Var,
    output: Var,
    sizes: AnswerSizes,
    batch: usize,
    length: usize,
    options: CaptionOptions,
}

impl AnswerValidation {
    /// Maximum number of pictures at once while a model trains.
    pub const BATCH: usize = 8;

    /// Records the passes for at most `batch` pictures at once. Answers are greedy, and may have
    /// one and a half times as many tokens as the longest true one.
    ///
    /// # Errors
    /// Insufficient device memory for the passes.
    pub fn new(
        device: &Device,
        model: &Model,
        tokenizer: &Tokenizer,
        data: &TuneData,
        set: &Dataset,
        exchanges: &[Vec<Exchange>],
        batch: usize,
    ) -> Result<AnswerValidation, DeviceError> {
        let batch = batch.clamp(1, set.samples.len().max(1));
        let firsts = || exchanges.iter().filter_map(|of_sample| of_sample.first());
        let length = firsts().map(Exchange::len).max().unwrap_or(1);
        let longest = firsts().map(|it| it.targets.len()).max().unwrap_or(1);
        let tiles = set.samples.iter().map(|sample| data.shown(sample).tiles);
        let sizes = AnswerSizes {
            tiles: batch * tiles.max().unwrap_or(1),
            targets: batch * longest,
            encoded: data.encoded(),
        };
        let mut tape = model.tape(device);
        let mut c = Context::inference(&mut tape);
        let loss = Loss::of_answers(&mut c, model, batch, length, &sizes, 0.0);
        tape.hold(loss.value);
        let scoring = Plan::new(device, tape)?;

        let info = model.info();
        let (side, (count, width)) = (info.image_size(), info.encoder_row_shape());
        let mut tape = model.tape(device);
        let (input, output) = match sizes.encoded {
            true => {
                let input = tape.input(&[1, count, width]);
                let mut c = Context::inference(&mut tape);
                (input, model.project(&mut c, input).rows)
            }
            false => {
                let input = tape.input(&[1, 3, side, side]);
                let mut c = Context::inference(&mut tape);
                (input, model.encode(&mut c, input).rows)
            }
        };
        tape.hold(output);
        Ok(AnswerValidation {
            session: Session::new(device, model.clone(), tokenizer.clone()),
            scoring,
            loss,
            rows: Plan::new(device, tape)?,
            input,
            output,
            sizes,
            batch,
            length,
            options: CaptionOptions {
                max_tokens: longest + longest / 2,
                batch_size: batch,
                ..CaptionOptions::default()
            },
        })
    }

    /// Returns the options that answers are written with, to be changed.
    pub fn options_mut(&mut self) -> &mut CaptionOptions {
        &mut self.options
    }

    /// Measures the model's current parameters on the batches of one of several ranks, given its
    /// number and that of all; otherwise as [`answers`](Self::answers).
    ///
    /// # Errors
    /// As [`answers`](Self::answers).
    pub(in crate::train) fn measure(
        &self,
        data: &TuneData,
        set: &Dataset,
        exchanges: &[Vec<Exchange>],
        (rank, ranks): (usize, usize),
        on: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Measured>>, TrainError> {
        let mut measured = vec![];
        let all: Vec<usize> = (0..set.samples.len()).collect();
        for (number, samples) in all.chunks(self.batch).enumerate().skip(rank).step_by(ranks) {
            let answers = self.answers_of(data, set, exchanges, samples)?;
            let written = answers.written.iter();
            measured.push(Measured {
                batch: number,
                loss: answers.loss.to_bits(),
                tokens: answers.tokens,
                written: written
                    .map(|caption| caption.text.trim().to_owned())
                    .collect(),
            });
            let done = number * self.batch + samples.len();
            if done < set.samples.len() && on(done).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(measured))
    }

    /// Writes the answers of the model's current parameters to all samples of the data set that the
    /// passes were recorded for, and measures the true ones. Calls `on` between batches with the
    /// number of pictures that are done; returns `None` when it breaks.
    ///
    /// # Errors
    /// A device that failed, or features that were removed.
    pub fn answers(
        &self,
        data: &TuneData,
        set: &Dataset,
        exchanges: &[Vec<Exchange>],
        on: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<Answers>, TrainError> {
        let mut whole = Answers {
            loss: 0.0,
            tokens: 0,
            written: vec![],
        };
        let all: Vec<usize> = (0..set.samples.len()).collect();
        for samples in all.chunks(self.batch) {
            let part = self.answers_of(data, set, exchanges, samples)?;
            whole.loss += part.loss;
            whole.tokens += part.tokens;
            whole.written.extend(part.written);
            let done = whole.written.len();
            if done < set.samples.len() && on(done).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(whole))
    }

    /// Writes the answers to some samples, at most a batch of them.
    fn answers_of(
        &self,
        data: &TuneData,
        set: &Dataset,
        exchanges: &[Vec<Exchange>],
        samples: &[usize],
    ) -> Result<Answers, TrainError> {
        let model = self.session.model();
        let feed = AnswerFeed {
            model,
            data,
            exchanges,
            length: self.length,
            pad: self.session.tokenizer().pad(),
        };
        let per_tile: usize = self.scoring_tile();
        let pairs: Vec<(usize, usize)> = samples.iter().map(|&sample| (sample, 0)).collect();
        let batch = feed.batch(set, &pairs, true, &|_, tile, _| tile);
        self.loss.write(&self.scoring, &batch, Scale::SUM);
        let loss = self.scoring.run_and_read::<f32>(self.loss.value)?[0] as f64;

        let mut rows = vec![];
        let mut at = 0;
        for &sample in samples {
            let count = data.shown(&set.samples[sample]).tiles;
            let mut of_picture: Vec<f32> = vec![];
            for tile in batch.images[at..at + count * per_tile].chunks(per_tile) {
                self.rows.write(self.input, tile);
                of_picture.extend(self.rows.run_and_read::<f32>(self.output)?);
            }
            at += count * per_tile;
            rows.push(of_picture);
        }
        let questions = samples
            .iter()
            .map(|&sample| exchanges[sample][0].question().to_vec());
        let questions: Vec<Vec<u32>> = questions.collect();
        let written = self.session.captions_of_rows(
            &|index| Ok(rows[index].clone()),
            &questions,
            &self.options,
            &Cancel::new(),
        );
        let written = written.map_err(|error| match error {
            CaptionError::Device(error) => TrainError::Device(error),
            other => TrainError::Nothing(other.to_string()),
        })?;
        Ok(Answers {
            loss,
            tokens: batch.count(),
            written,
        })
    }

    /// Number of values that a step takes in for a tile.
    fn scoring_tile(&self) -> usize {
        debug_assert!(self.sizes.tiles > 0);
        self.rows.shape(self.input).iter().product()
    }
}
