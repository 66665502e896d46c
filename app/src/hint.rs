//! Errors and their hints, in the words of the window.

use std::error::Error;

use seemore::caption::CaptionError;
use seemore::hint::{Hint, Hinted};
use seemore::train::TrainError;

/// Returns the text that the window shows for an error: the message, then what to do.
pub fn explain(error: &anyhow::Error) -> String {
    let message = format!("{error:#}");
    match error.chain().find_map(hint_of) {
        Some(hint) => {
            let message = message.trim_end_matches('.');
            format!("{message}. {}", advice(&hint))
        }
        None => message,
    }
}

/// Returns the hint of an error of the library.
fn hint_of(error: &(dyn Error + 'static)) -> Option<Hint> {
    if let Some(error) = error.downcast_ref::<TrainError>() {
        return error.hint();
    }
    error.downcast_ref::<CaptionError>()?.hint()
}

/// Words a hint as what to do in the window.
pub fn advice(hint: &Hint) -> String {
    match hint {
        Hint::SmallerBatch => "Lower Batch size, or choose a smaller preset.".into(),
        Hint::LessMemory { parts } => format!(
            "Lower Batch size, set Gradient accumulation to {parts}, or turn on Recompute activations."
        ),
        Hint::OtherDevice => "Start the app with another adapter: seemore-app --adapter.".into(),
        Hint::Resume => "Choose Resume to continue from the last saved state.".into(),
        Hint::Stabilize => "Lower Learning rate, raise Warm-up, or set Gradient clipping.".into(),
        Hint::NameColumns => "Set Picture column and Caption column.".into(),
        Hint::ImagesFolder => "Set Picture folder to the folder that holds the pictures.".into(),
        Hint::OutputExists => "Choose another folder under Output, or turn on Overwrite.".into(),
        Hint::NotStrict => "Turn on Skip unusable rows.".into(),
        Hint::AllowOverlap => {
            "Remove them from one side, or turn on Skip duplicates across sets.".into()
        }
        Hint::RunExists => "Choose another folder under Output, or choose Resume.".into(),
        Hint::SameData => "Choose the training and validation pictures of that run.".into(),
        Hint::GivePrompt => "Enter a text under Prefix.".into(),
        Hint::AddTokenizer => {
            "Copy the tokenizer.json that the model was trained with into its folder.".into()
        }
        Hint::StartFrom => "Choose New model and start from this one.".into(),
        Hint::GiveBudget => "Set Train for to steps, epochs or minutes.".into(),
        Hint::RaiseTimeout => {
            "Set the environment variable SEEMORE_TIMEOUT to more seconds and start the app again."
                .into()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_no_flags_of_the_command_line() {
        let hints = [
            Hint::SmallerBatch,
            Hint::LessMemory { parts: 4 },
            Hint::Resume,
            Hint::Stabilize,
            Hint::NameColumns,
            Hint::ImagesFolder,
            Hint::OutputExists,
            Hint::NotStrict,
            Hint::GivePrompt,
            Hint::StartFrom,
            Hint::GiveBudget,
        ];
        for hint in hints {
            let advice = advice(&hint);
            assert!(!advice.contains("--") && advice.ends_with('.'), "{advice}");
        }
    }
}
