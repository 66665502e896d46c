//! Errors and their hints, in the words of the window.

use std::error::Error;

use seemore::caption::CaptionError;
use seemore::data::DataError;
use seemore::device::DeviceError;
use seemore::hint::{Hint, Hinted};
use seemore::models::library::LocateError;
use seemore::track::TrackError;
use seemore::train::TrainError;

/// Returns the text that the window shows for an error: what happened, then what to do.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    let chain = || std::iter::successors(Some(error), |&error| error.source());
    // the library calls a setting by its place in a run file
    let text = |error: &(dyn Error + 'static)| match error.downcast_ref() {
        Some(TrainError::Setting { field, reason }) => match label(field) {
            Some(label) => format!("{label} {}", in_labels(reason)),
            None => error.to_string(),
        },
        _ => error.to_string(),
    };
    let message = chain().map(text).collect::<Vec<_>>().join(": ");
    match chain().find_map(hint_of).and_then(|hint| advice(&hint)) {
        Some(advice) => format!("{}. {advice}", message.trim_end_matches('.')),
        None => message,
    }
}

/// Returns the hint of an error of the library.
fn hint_of(error: &(dyn Error + 'static)) -> Option<Hint> {
    fn hint<E: Hinted + 'static>(error: &(dyn Error + 'static)) -> Option<Hint> {
        error.downcast_ref::<E>()?.hint()
    }
    // transparent wrappers do not show in the chain of sources
    if let Some(TrainError::Device(error)) = error.downcast_ref() {
        return error.hint();
    }
    if let Some(CaptionError::Device(error)) = error.downcast_ref() {
        return error.hint();
    }
    hint::<TrainError>(error)
        .or_else(|| hint::<DeviceError>(error))
        .or_else(|| hint::<CaptionError>(error))
        .or_else(|| hint::<DataError>(error))
        .or_else(|| hint::<TrackError>(error))
        .or_else(|| hint::<LocateError>(error))
}

/// Words a hint as what to do in the window; `None` if the window has nothing to change.
pub fn advice(hint: &Hint) -> Option<String> {
    Some(match hint {
        Hint::SmallerBatch => "Lower Batch size, or choose a smaller Preset.".into(),
        Hint::LessMemory { parts } => format!(
            "Set Gradient accumulation to {parts}, turn on Recompute activations, or lower Batch size."
        ),
        Hint::OtherDevice => "Start the app with another device, such as `--device cpu`.".into(),
        Hint::Resume => "Choose Resume to continue from the last saved state.".into(),
        Hint::Stabilize { guarded: true } => {
            "Lower Learning rate, raise Warm-up, or set Gradient clipping.".into()
        }
        Hint::Stabilize { guarded: false } => {
            "Lower Learning rate, raise Warm-up, set Gradient clipping, or change Non-finite loss."
                .into()
        }
        Hint::NameColumns => {
            "Set Picture column and Caption column to the names in the file.".into()
        }
        Hint::ImagesFolder => "Set Picture folder to the folder of the pictures.".into(),
        Hint::OutputExists => "Choose another Output, or turn on Overwrite.".into(),
        Hint::RunExists => {
            "Choose another Output, turn on Overwrite, or choose Resume to continue the training."
                .into()
        }
        Hint::NotStrict => "Turn on Skip unusable rows.".into(),
        Hint::AllowOverlap => {
            "Turn on Skip duplicates across sets to leave them out of training.".into()
        }
        Hint::SameData => "Choose the training's own pictures, or start a New model.".into(),
        Hint::SaveOften => "Set Save every, so that later runs can be resumed.".into(),
        Hint::GivePrompt => "Enter a text under Prefix.".into(),
        Hint::AddTokenizer => {
            "Copy the tokenizer.json that the model was trained with into its folder.".into()
        }
        Hint::StartFrom => "Choose Copy settings to train a new model like this one.".into(),
        Hint::GiveBudget => "Set Train for to more steps, epochs or minutes.".into(),
        Hint::ExampleConfig => "Train a Preset, which writes an example as config.json.".into(),
        Hint::CheckpointFolder => "Open a folder that a training has written.".into(),
        Hint::DownloadModel { name } => format!("Download {name} under Get a model."),
        Hint::ChooseModel => "Choose one under Model.".into(),
        Hint::RaiseTimeout => {
            "Set the environment variable SEEMORE_TIMEOUT to more seconds and restart the app."
                .into()
        }
        Hint::Setting(path) => format!("Change {}.", label(path)?),
        Hint::LeaveOut(path) => format!("Clear {}.", label(path)?),
        _ => return None,
    })
}

/// Settings of a run configuration with their labels on the Train page.
const LABELS: [(&str, &str); 33] = [
    ("data.train", "Training pictures"),
    ("data.validation", "Validation pictures"),
    ("data.image_column", "Picture column"),
    ("data.caption_column", "Caption column"),
    ("data.images", "Picture folder"),
    ("model.preset", "Preset"),
    ("model.file", "Preset"),
    ("tokenizer.kind", "Tokenizer"),
    ("budget.steps", "Number of steps"),
    ("budget.epochs", "Number of epochs"),
    ("budget.seconds", "Time limit"),
    ("batch.size", "Batch size"),
    ("batch.accumulate", "Gradient accumulation"),
    ("schedule.learning_rate", "Learning rate"),
    ("schedule.warmup", "Warm-up"),
    ("optimizer.clip", "Gradient clipping"),
    ("optimizer.weight_decay", "Weight decay"),
    ("loss.classes", "Class loss"),
    ("loss.label_smoothing", "Label smoothing"),
    ("validation.patience", "Patience"),
    ("checkpoint.out", "Output"),
    ("log.every", "Report every"),
    ("model.base", "Model"),
    ("tune", "Rank and Alpha"),
    ("tune.parts", "Trained parts"),
    ("tune.rank", "Rank"),
    ("tune.alpha", "Alpha"),
    ("tune.style", "Caption style"),
    ("tune.prompt", "Question"),
    ("tune.tiles", "Tiles"),
    ("checkpoint.resume", "Resume"),
    ("validation.every", "Validate every"),
    ("checkpoint.every", "Save every"),
];

/// Returns a text in which settings in backquotes have their labels.
fn in_labels(text: &str) -> String {
    LABELS.iter().fold(text.to_owned(), |text, (path, label)| {
        text.replace(&format!("`{path}`"), label)
    })
}

/// Returns the label of a setting of a run configuration, given its dotted path, if the Train page
/// has a field for it.
fn label(path: &str) -> Option<&'static str> {
    let known = LABELS.iter().find(|(known, _)| *known == path);
    known.map(|(_, label)| *label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_follows_the_message() {
        let error = DeviceError::Lost("the driver was reset".into());
        let message = explain(&error);
        assert!(message.starts_with(&error.to_string()), "{message}");
    }

    #[test]
    fn settings_are_called_by_their_labels() {
        let error = TrainError::Setting {
            field: "batch.accumulate",
            reason: "is 3, which does not divide `batch.size`".into(),
        };
        assert_eq!(
            explain(&error),
            "Gradient accumulation is 3, which does not divide Batch size. Change Gradient \
             accumulation."
        );
    }

    #[test]
    fn advice_names_labels_instead_of_flags() {
        let hints = [
            Hint::SmallerBatch,
            Hint::LessMemory { parts: 4 },
            Hint::Resume,
            Hint::Stabilize { guarded: false },
            Hint::LeaveOut("data.image_column"),
            Hint::NameColumns,
            Hint::ImagesFolder,
            Hint::OutputExists,
            Hint::RunExists,
            Hint::NotStrict,
            Hint::AllowOverlap,
            Hint::GivePrompt,
            Hint::StartFrom,
            Hint::GiveBudget,
            Hint::Setting("batch.size"),
        ];
        for hint in hints {
            let advice = advice(&hint).unwrap();
            assert!(!advice.contains("--") && advice.ends_with('.'), "{advice}");
        }
        assert_eq!(advice(&Hint::Setting("init.parts")), None);
    }
}
