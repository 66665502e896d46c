//! Hints of the library in the words of the command line.

use std::error::Error;

use crate::caption::CaptionError;
use crate::data::{DataError, Problem};
use crate::device::DeviceError;
use crate::graph::RecordError;
use crate::hint::{Hint, Hinted};
use crate::models::library::LocateError;
use crate::models::{CheckpointError, ConfigError};
use crate::track::{Notice, TrackError};
use crate::train::{Note, TrainError};

/// Returns the advice for the first error of a chain that has a hint.
pub fn advice(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(hint).map(|hint| words(&hint))
}

/// Returns the advice for the first of several problems that has a hint.
pub fn advice_on(problems: &[Problem]) -> Option<String> {
    problems
        .iter()
        .find_map(|problem| problem.hint.as_ref())
        .map(words)
}

/// Words a remark about a training, with its hint.
pub fn note(note: &Note) -> String {
    match (note, note.hint()) {
        (Note::Tracker(tracked), _) => notice(tracked),
        (_, Some(hint)) => format!("{note}\nhint: {}", words(&hint)),
        (_, None) => note.to_string(),
    }
}

/// Words a notice of tracking, with its hint.
fn notice(notice: &Notice) -> String {
    let kind = match notice {
        Notice::Pending { .. } => "note",
        Notice::Failed(_) => "warning",
    };
    match notice.hint() {
        Some(hint) => format!("{kind}: {notice}; {}", words(&hint)),
        None => format!("{kind}: {notice}"),
    }
}

/// Returns the hint of an error, whichever type of the library it has.
fn hint(cause: &(dyn Error + 'static)) -> Option<Hint> {
    let types = [
        of::<TrainError>,
        of::<CaptionError>,
        of::<CheckpointError>,
        of::<ConfigError>,
        of::<DeviceError>,
        of::<RecordError>,
        of::<DataError>,
        of::<TrackError>,
        of::<LocateError>,
    ];
    types.iter().find_map(|of| of(cause))
}

fn of<E: Hinted + 'static>(cause: &(dyn Error + 'static)) -> Option<Hint> {
    cause.downcast_ref::<E>()?.hint()
}

/// Words a hint with the flags of the command line.
pub fn words(hint: &Hint) -> String {
    match hint {
        Hint::SmallerBatch => "use a smaller --batch-size or a smaller --preset".into(),
        Hint::LessMemory { parts } => {
            format!("use --accumulate {parts}, --checkpoint-activations or a smaller --batch-size")
        }
        Hint::OtherDevice => "choose another device with --device: `seemore devices` lists them, and cpu needs no driver".into(),
        Hint::Resume => "go on from the last save with --resume".into(),
        Hint::Stabilize { guarded: true } => {
            "use a lower --lr, a longer --warmup or a smaller --clip".into()
        }
        Hint::Stabilize { guarded: false } => {
            "use a lower --lr, a longer --warmup or a smaller --clip, or let --on-nan skip or roll back such steps"
                .into()
        }
        Hint::LeaveOut(field) => match super::train::flag_of(field) {
            Some(flag) => format!("leave out --{flag}"),
            None => format!("remove `{field}` from the run configuration"),
        },
        Hint::NameColumns => "name the columns with --image-column and --caption-column".into(),
        Hint::ImagesFolder => "give the folder of the pictures with --images".into(),
        Hint::OutputExists => "choose another output, or add --overwrite".into(),
        Hint::NotStrict => "leave out --strict to skip rows that cannot be used".into(),
        Hint::TrackRun => "train with --track mlflow=URI".into(),
        Hint::SendTracking { run } => {
            format!("send them later with: seemore track {}", run.display())
        }
        Hint::Setting(field) => match super::train::flag_of(field) {
            Some(flag) => format!("set --{flag}"),
            None => format!("change `{field}` in the run configuration"),
        },
        Hint::SameData => "give the same --data, --val-data and --val-split".into(),
        Hint::AllowOverlap => {
            "remove them from one side, or add --allow-overlap to leave equal ones out of training"
                .into()
        }
        Hint::RunExists => {
            "choose another --out, add --overwrite, or continue its training with --resume".into()
        }
        Hint::SaveOften => "save on the way with --save-every".into(),
        Hint::OtherParts => {
            "give the --preset or --config of that checkpoint, or other --load-parts".into()
        }
        Hint::GivePrompt => "give the beginning of the caption with --prompt".into(),
        Hint::AddTokenizer => {
            "copy the tokenizer that it was trained with into the folder, or import it again with --characters".into()
        }
        Hint::StartFrom => "start a new training from this model with --load".into(),
        Hint::GiveBudget => "give --steps, --epochs or --max-time".into(),
        Hint::ExampleConfig => {
            "train with --preset tiny, which writes an example as config.json".into()
        }
        Hint::CheckpointFolder => {
            "give the folder that `seemore train --out DIR` has written, the folder of a pretrained model with its config.json, or a GGUF file".into()
        }
        Hint::FewerTiles => "give a smaller number to --tiles; 1 is the picture alone".into(),
        Hint::NameEncoder => "give the mmproj file to --mmproj".into(),
        Hint::FetchAgain => {
            "download or copy the file again; a training can go on from an earlier save in states/".into()
        }
        Hint::RaiseTimeout => "raise the time limit with the variable SEEMORE_TIMEOUT".into(),
        Hint::DownloadModel { name } => format!("download it with: seemore get {name}"),
        Hint::ChooseModel => "`seemore models` lists the models".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_the_first_hint_of_an_error_chain() {
        let exists = TrackError::Exists {
            path: "rows.csv".into(),
        };
        let error = anyhow::Error::from(exists).context("tracking failed");
        assert!(advice(&error).unwrap().contains("--overwrite"));
        assert_eq!(advice(&anyhow::anyhow!("no hint")), None);
    }

    #[test]
    fn words_the_hint_of_a_notice() {
        let pending = Notice::Pending {
            address: "http://localhost:5000".into(),
            reason: "refused".into(),
            kept: "run/tracking".into(),
            run: "run".into(),
        };
        let text = notice(&pending);
        assert!(
            text.starts_with("note: ") && text.ends_with("seemore track run"),
            "{text}"
        );
    }
}
