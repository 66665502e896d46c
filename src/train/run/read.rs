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
    let Listings { train, validation } = listings(data, ranks)?;
    let train = load(data, train, &data.train, frame, ranks, observer)?;
    let (train, validation) = match validation {
        None => train.split(data.validation_share(), config.seed),
        Some((validation, paths)) => {
            let validation = load(data, validation, paths, frame, ranks, observer)?;
            (
                without_overlap(data, train, &validation, observer)?,
                validation,
            )
        }
    };
    Ok((
        train,
        Some(validation).filter(|validation| !validation.samples.is_empty()),
    ))
}

/// Captions to train on and to validate on.
pub struct Listings<'a> {
    pub train: Listing,
    /// With its files; `None` if a fraction of the training pictures is validated on.
    pub validation: Option<(Listing, &'a [PathBuf])>,
}

/// Reads the captions of the training set and of the validation set, the same ones on all ranks.
pub fn listings<'a>(data: &'a DataConfig, ranks: &Ranks) -> Result<Listings<'a>, TrainError> {
    const PARTS: &str = "data.validation_splits";
    let layout = data.layout();
    let shared = Layout {
        splits: vec![],
        ..layout.clone()
    };
    let parts = |splits: &[String]| Layout {
        splits: splits.to_vec(),
        ..Layout::default()
    };
    let train = Listing::read(&data.train, &layout)?;
    let paths = match data.validation.is_empty() {
        false => &data.validation,
        true if !data.validation_splits.is_empty() => {
            if data.splits.is_empty() {
                let parts = "is empty, so the parts to validate on would be trained on";
                return Err(TrainError::setting("data.splits", parts));
            }
            &data.train
        }
        true => {
            Listing::check(&[&train], &layout)?;
            ranks.check_listings(&[("training", &train)])?;
            let validation = None;
            return Ok(Listings { train, validation });
        }
    };
    let validated = Layout {
        splits: data.validation_splits.clone(),
        ..layout.clone()
    };
    let validation = Listing::read(paths, &validated)?;
    // a setting may be meant for one of them
    Listing::check(&[&train, &validation], &shared)?;
    Listing::check(&[&train], &parts(&data.splits))?;
    let names = || -> Vec<String> {
        paths
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    };
    if Listing::check(&[&validation], &parts(&data.validation_splits)).is_err() {
        let reason = format!("does not apply: {} has no such parts", names().join(", "));
        return Err(TrainError::setting(PARTS, reason));
    }
    let found = validation.parts();
    if !data.splits.is_empty() && data.validation_splits.is_empty() && found.len() > 1 {
        let found: Vec<String> = found.iter().map(|part| format!("`{part}`")).collect();
        let reason = format!(
            "is not given, and {} has the parts {}: name those to validate on",
            names().join(", "),
            found.join(", ")
        );
        return Err(TrainError::setting(PARTS, reason));
    }
    ranks.check_listings(&[("training", &train), ("validation", &validation)])?;
    let validation = Some((validation, &paths[..]));
    Ok(Listings { train, validation })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes rows of pictures with their part; every picture is a file of its own.
    fn written(folder: &std::path::Path, name: &str, parts: &[&str]) -> PathBuf {
        let mut lines = String::new();
        for (number, part) in parts.iter().enumerate() {
            let picture = format!("{name}-{number}.png");
            std::fs::write(folder.join(&picture), b"x").unwrap();
            let split = match *part {
                "" => String::new(),
                part => format!(r#", "split": "{part}""#),
            };
            lines += &format!("{{\"image\": \"{picture}\", \"caption\": \"c\"{split}}}\n");
        }
        let path = folder.join(name);
        std::fs::write(&path, lines).unwrap();
        path
    }

    #[test]
    fn parts_are_chosen_for_training_and_validation() {
        let dir = tempfile::tempdir().unwrap();
        let all = ["train", "train", "train", "validation", "test", "test"];
        let divided = written(dir.path(), "all.jsonl", &all);
        let one = written(dir.path(), "one.jsonl", &["val", "val"]);
        let whole = written(dir.path(), "whole.jsonl", &["", "", "", ""]);
        let read = |train: &PathBuf, splits: &[&str], validation: &[&PathBuf], parts: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
            let data = DataConfig {
                train: vec![train.clone()],
                splits: names(splits),
                validation: validation.iter().map(|&path| path.clone()).collect(),
                validation_splits: names(parts),
                ..DataConfig::default()
            };
            let read = listings(&data, &Ranks::alone()).map_err(|error| error.to_string())?;
            let validation = read.validation.map(|(listing, _)| listing.records());
            Ok::<_, String>((read.train.records(), validation))
        };
        for (train, splits, validation, parts, expected) in [
            (&divided, &["train"][..], &[][..], &[][..], (3, None)),
            (&divided, &["train"], &[], &["val"], (3, Some(1))),
            (
                &divided,
                &["train"],
                &[&divided],
                &["val", "test"],
                (3, Some(3)),
            ),
            (&divided, &["train"], &[&one], &[], (3, Some(2))),
            (&divided, &["train"], &[&whole], &[], (3, Some(4))),
            (&whole, &[], &[&divided], &["test"], (4, Some(2))),
            (&whole, &[], &[&divided], &[], (4, Some(6))),
        ] {
            assert_eq!(read(train, splits, validation, parts), Ok(expected));
        }
        for (train, splits, validation, parts, words) in [
            // which part of the validation files is meant is not known
            (
                &divided,
                &["train"][..],
                &[&divided][..],
                &[][..],
                "`test`, `train`, `validation`",
            ),
            (&divided, &[], &[], &["val"], "would be trained on"),
            (
                &divided,
                &["train"],
                &[&divided],
                &["dev2"],
                "no part `dev2`",
            ),
            (
                &divided,
                &["train"],
                &[&whole],
                &["val"],
                "whole.jsonl has no such parts",
            ),
            (
                &whole,
                &["train"],
                &[&divided],
                &["val"],
                "whole.jsonl is not divided",
            ),
        ] {
            let error = read(train, splits, validation, parts).unwrap_err();
            assert!(error.contains(words), "no `{words}` in: {error}");
        }
    }
}
