//! The data sets and the tokenizer of a run.

use std::path::PathBuf;

use crate::data::{DataError, Dataset, Layout, Likeness, Listing, Loaded, Problem};
use crate::image::Preprocess;
use crate::text::{SpecialNames, TokenKind, Tokenizer};
use crate::train::config::{DataConfig, RunConfig, TokenizerConfig};
use crate::train::observer::overlap;
use crate::train::{Note, Observer, RankError, Ranks, TrainError};

/// Reads the training set and the validation set.
pub fn data(
    config: &RunConfig,
    frame: Preprocess,
    ranks: &Ranks,
    observer: &mut dyn Observer,
) -> Result<(Dataset, Option<Dataset>), TrainError> {
    let data = &config.data;
    if let Some(path) = &data.text {
        return Ok((Dataset::from_lines(path)?, None));
    }
    let layout = data.layout();
    let validated = Layout {
        splits: vec![],
        ..layout.clone()
    };
    let train = Listing::read(&data.train, &layout)?;
    let validation = Listing::read(&data.validation, &validated)?;
    // a setting may be meant for one of them
    Listing::check(&[&train, &validation], &layout)?;
    ranks.check_listings(&[("training", &train), ("validation", &validation)])?;
    let train = load(data, train, &data.train, frame, ranks, observer)?;
    let (train, validation) = if data.validation.is_empty() {
        let share = data
            .validation_split
            .unwrap_or(DataConfig::VALIDATION_SPLIT);
        train.split(share, config.seed)
    } else {
        let paths = &data.validation;
        let validation = load(data, validation, paths, frame, ranks, observer)?;
        (
            without_overlap(data, train, &validation, observer)?,
            validation,
        )
    };
    Ok((
        train,
        Some(validation).filter(|validation| !validation.samples.is_empty()),
    ))
}

/// Decodes files into one data set, each of several ranks a part of the pictures.
fn load(
    data: &DataConfig,
    listing: Listing,
    paths: &[PathBuf],
    frame: Preprocess,
    ranks: &Ranks,
    observer: &mut dyn Observer,
) -> Result<Dataset, TrainError> {
    let Loaded {
        dataset,
        problems,
        notes,
    } = {
        let progress = observer.reading(paths);
        let sharing = ranks.sharing();
        listing
            .decode_among(frame, &data.layout(), data.strict, &*progress, sharing)
            .map_err(|error| match error {
                DataError::Sharing(error) => match error.downcast::<RankError>() {
                    Ok(lost) => TrainError::Rank(*lost),
                    Err(error) => DataError::Sharing(error).into(),
                },
                error => error.into(),
            })?
    };
    notes
        .into_iter()
        .for_each(|note| observer.note(&Note::Data(note)));
    report(data, problems, dataset.samples.len(), observer)?;
    Ok(dataset)
}

/// Reports the samples that cannot be used, or fails on the first when none may be left out.
pub fn report(
    data: &DataConfig,
    problems: Vec<Problem>,
    used: usize,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    match problems.first() {
        None => {}
        Some(problem) if data.strict => return Err(TrainError::Strict(problem.clone())),
        Some(_) => observer.note(&Note::LeftOut { problems, used }),
    }
    Ok(())
}

/// Fails where training pictures are also validation pictures; if that is allowed, leaves those
/// equal to the pixel out.
fn without_overlap(
    data: &DataConfig,
    train: Dataset,
    validation: &Dataset,
    observer: &mut dyn Observer,
) -> Result<Dataset, TrainError> {
    const SHOWN: usize = 5;
    let twins = train.overlap(validation);
    if twins.is_empty() {
        return Ok(train);
    }
    let exact = twins
        .iter()
        .filter(|twin| twin.likeness == Likeness::Exact)
        .count();
    if !data.allow_overlap {
        let pairs = twins.iter().take(SHOWN).map(|twin| {
            let equals = match twin.likeness {
                Likeness::Exact => "equals",
                _ => "nearly equals",
            };
            format!(
                "\n  {} {equals} {}",
                train.samples[twin.left].id, validation.samples[twin.right].id
            )
        });
        let more = if twins.len() > SHOWN { "\n  .." } else { "" };
        return Err(TrainError::Overlap(format!(
            "{}:{}{more}",
            overlap(twins.len(), exact),
            pairs.collect::<String>()
        )));
    }
    let (train, dropped) = train.without(validation);
    observer.note(&Note::Overlap {
        pictures: twins.len(),
        exact,
        dropped,
    });
    if train.samples.is_empty() {
        return Err(TrainError::Nothing(
            "no picture is left to train on: all are validation pictures".into(),
        ));
    }
    Ok(train)
}

/// Makes a tokenizer from the training captions, or reads one.
pub fn tokenizer(
    config: &TokenizerConfig,
    train: &Dataset,
    observer: &mut dyn Observer,
) -> Result<Tokenizer, TrainError> {
    let captions = || train.samples.iter().map(|sample| sample.caption.as_str());
    let vocab_size = |reason: String| TrainError::setting("tokenizer.vocab_size", reason);
    if let Some(path) = &config.file {
        if config.vocab_size.is_some() {
            return Err(vocab_size(
                "has no meaning for a tokenizer from a file".into(),
            ));
        }
        let names = SpecialNames {
            pad: config.pad_token.clone(),
            end: config.end_token.clone(),
        };
        let tokenizer = Tokenizer::load_named(path, &names)?;
        let unknown = captions()
            .filter(|caption| !tokenizer.unknown_parts(caption).is_empty())
            .count();
        if unknown > 0 {
            observer.note(&Note::UnknownText {
                captions: unknown,
                tokenizer: path.clone(),
            });
        }
        return Ok(tokenizer);
    }
    for (field, name) in [
        ("tokenizer.pad_token", &config.pad_token),
        ("tokenizer.end_token", &config.end_token),
    ] {
        if name.is_some() {
            let reason = "has no meaning without the file of a tokenizer";
            return Err(TrainError::setting(field, reason));
        }
    }
    match (config.kind, config.vocab_size) {
        (TokenKind::Characters, Some(_)) => Err(vocab_size(
            "has no meaning for characters, which are all kept".into(),
        )),
        // four special tokens and one word
        (TokenKind::Words, Some(size)) if size < 5 => {
            Err(vocab_size(format!("is {size} but must be at least 5")))
        }
        (TokenKind::Bpe, Some(size)) if size < 260 => Err(vocab_size(format!(
            "is {size} but must be at least 260 for byte pairs: four special tokens and the 256 bytes"
        ))),
        (kind, size) => Ok(Tokenizer::train(kind, captions(), size)),
    }
}
