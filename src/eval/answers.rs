//! Evaluation of a pretrained model, which is asked about each picture.

use std::ops::ControlFlow;
use std::time::Instant;

use super::{EvalOptions, Evaluation, ScoredCaptions};
use crate::caption::Session;
use crate::data::Dataset;
use crate::image::Augment;
use crate::progress::Progress;
use crate::train::tuning::{AnswerValidation, Sets, exchanges, read};
use crate::train::{Note, Observer, Ranks, RunConfig, TrainError};

impl Evaluation {
    /// Asks a pretrained model about the pictures of a data set, at most `limit` of them, and
    /// returns the samples, without pixels, with the evaluation.
    ///
    /// Of `config`, the [data](RunConfig::data) and the [question, tiles and
    /// features](RunConfig::tune) count; without a question the model is asked the one that it was
    /// trained with. Conversations ask their own first question. `observer` hears of rows that are
    /// left out; `progress` counts pictures.
    ///
    /// # Errors
    /// Data that cannot be read or holds nothing, a perplexity that is not finite, insufficient
    /// device memory for the batch, or a lost device.
    ///
    /// # Panics
    /// If the model is not a pretrained one.
    pub fn of_answers(
        session: &Session,
        config: &RunConfig,
        options: EvalOptions,
        limit: usize,
        observer: &mut dyn Observer,
        progress: &dyn Progress,
    ) -> Result<(Dataset, Evaluation), TrainError> {
        let (model, tokenizer) = (session.model(), session.tokenizer());
        let mut config = config.clone();
        config.augment = Augment::none();
        config.data.validation_split = Some(0.0);
        let Sets {
            train: mut set,
            data,
            ..
        } = read(
            &config,
            session.device(),
            model,
            &[],
            &Ranks::alone(),
            false,
            observer,
        )?;
        set.samples.truncate(limit);
        let tune = &config.tune;
        let question = match &tune.prompt {
            Some(question) => question,
            None => session.question(),
        };
        let fitting = exchanges(model, tokenizer, question, &data, set)?;
        let (set, asked, problems) = (fitting.set, fitting.exchanges, fitting.problems);
        match problems.first() {
            None => {}
            Some(problem) if config.data.strict => return Err(TrainError::Strict(problem.clone())),
            Some(_) => {
                let used = set.samples.len();
                observer.note(&Note::LeftOut { problems, used });
            }
        }
        if set.samples.is_empty() {
            return Err(TrainError::Nothing("no picture is left to evaluate".into()));
        }
        progress.set_total(set.samples.len() as u64);
        let device = session.device();
        let batch = options.batch;
        let mut passes =
            AnswerValidation::new(device, model, tokenizer, &data, &set, &asked, batch)?;
        let how = passes.options_mut();
        (how.beam, how.length_power) = (options.beam, options.length_power);
        how.max_tokens = options.max_tokens.unwrap_or(how.max_tokens);
        let begun = Instant::now();
        // the first batch compiles kernels
        let mut first = (0, begun);
        let mut done = 0;
        let on = &mut |written: usize| {
            if done == 0 {
                first = (written, Instant::now());
            }
            progress.advance((written - done) as u64);
            done = written;
            ControlFlow::Continue(())
        };
        let answers = passes.answers(&data, &set, &asked, on)?;
        let answers = answers.expect("nothing ends the evaluation");
        let timed = set.samples.len() - first.0;
        let captions_per_s = timed as f64 / first.1.elapsed().as_secs_f64().max(1e-9);
        let perplexity = (answers.loss / answers.tokens.max(1) as f64).exp();
        if !perplexity.is_finite() {
            let error = crate::caption::CaptionError::NotFinite { perplexity };
            return Err(TrainError::Nothing(error.to_string()));
        }
        let written = answers.written.into_iter();
        let written = written.map(|it| (it.text.trim().to_owned(), it.log_probability.exp()));
        let scored = ScoredCaptions::new(&set.samples, written.collect());
        let evaluation = Evaluation::new(scored, perplexity, captions_per_s);
        Ok((set, evaluation))
    }
}
