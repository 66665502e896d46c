//! Options of a training, and the arguments that they stand for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use seemore::models::checkpoint;

/// Options of a training.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Form {
    pub kind: Kind,
    /// Folder of the training to resume or to copy the settings of.
    pub folder: String,
    pub data: Vec<PathBuf>,
    /// Validation pictures; if empty, a tenth of the training pictures.
    pub val_data: Vec<PathBuf>,
    pub allow_overlap: bool,
    /// Names of values on the command line.
    pub preset: String,
    pub tokenizer: String,
    pub augment: String,
    pub until: Until,
    pub steps: u64,
    pub epochs: f64,
    pub minutes: f64,
    pub batch_size: usize,
    pub learning_rate: f64,
    pub class_loss: f32,
    pub eval_every: u64,
    /// Steps between saves; 0 saves only at the end.
    pub save_every: u64,
    /// Output folder; if empty, the first free one in `runs/`.
    pub out: String,
    /// Further flags, separated by spaces.
    pub more: String,
}

/// How a training starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    #[default]
    New,
    /// A new model with the options and data of another training.
    Like,
    /// Continues another training.
    Resume,
}

/// What ends a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Until {
    #[default]
    Default,
    Steps,
    Epochs,
    Minutes,
}

impl Default for Form {
    fn default() -> Form {
        let (data, val_data) = shipped();
        Form {
            kind: Kind::New,
            folder: String::new(),
            data,
            val_data,
            allow_overlap: false,
            preset: "seemore".into(),
            tokenizer: "characters".into(),
            augment: "light".into(),
            until: Until::Default,
            steps: 200,
            epochs: 20.0,
            minutes: 10.0,
            batch_size: 16,
            learning_rate: 1e-3,
            class_loss: 0.0,
            eval_every: 20,
            save_every: 0,
            out: String::new(),
            more: String::new(),
        }
    }
}

/// Returns the folder of the data that come with seemore.
fn data_folder() -> Option<PathBuf> {
    Some(checkpoint::shipped()?.ancestors().nth(2)?.to_owned())
}

/// Returns the shipped training and validation drawings, or nothing if they are not installed.
pub fn shipped() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let file = |name: &str| {
        data_folder()
            .map(|folder| folder.join(name))
            .filter(|path| path.is_file())
            .into_iter()
            .collect()
    };
    (file("inputs.csv"), file("inputs_val.csv"))
}

/// Returns the shipped training and validation emoji.
pub fn emoji() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let files = |names: &[&str]| {
        let folder = data_folder().unwrap_or_default().join("emoji");
        names
            .iter()
            .map(|name| folder.join(name).with_extension("csv"))
            .collect()
    };
    (
        files(&["noto", "noto-v1", "twemoji", "fluent", "emojione"]),
        files(&["fxemoji"]),
    )
}

impl Form {
    /// Sets the preset and the options that it requires.
    pub fn choose(&mut self, preset: String) {
        let (tokenizer, class_loss) = if preset == "emoji" {
            ("words", 1.0)
        } else {
            ("characters", 0.0)
        };
        (self.tokenizer, self.class_loss, self.preset) = (tokenizer.into(), class_loss, preset);
    }

    /// Returns what is missing to start, as advice.
    pub fn missing(&self) -> Option<&'static str> {
        match self.kind {
            Kind::New if self.data.is_empty() => Some("Add training pictures."),
            Kind::Like if self.folder.trim().is_empty() => {
                Some("Choose the folder of the training to copy the settings of.")
            }
            Kind::Resume if self.folder.trim().is_empty() => {
                Some("Choose the folder of the training to resume.")
            }
            _ => None,
        }
    }

    /// Returns the arguments of the `train` command.
    pub fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![];
        let mut flag = |name: &str, values: &[OsString]| {
            words.push(name.into());
            words.extend_from_slice(values);
        };
        let paths = |paths: &[PathBuf]| paths.iter().map(OsString::from).collect::<Vec<_>>();
        let folder = [self.folder.trim().into()];
        match self.kind {
            Kind::Resume => flag("--resume", &folder),
            Kind::Like => flag("--like", &folder),
            Kind::New => {
                flag("--data", &paths(&self.data));
                if !self.val_data.is_empty() {
                    flag("--val-data", &paths(&self.val_data));
                }
                if self.allow_overlap {
                    flag("--allow-overlap", &[]);
                }
                flag("--preset", &[self.preset.clone().into()]);
                flag("--tokenizer", &[self.tokenizer.clone().into()]);
                flag("--batch-size", &[self.batch_size.to_string().into()]);
                flag("--lr", &[self.learning_rate.to_string().into()]);
                flag("--augment", &[self.augment.clone().into()]);
                if self.class_loss > 0.0 {
                    flag("--class-loss", &[self.class_loss.to_string().into()]);
                }
            }
        }
        match self.until {
            Until::Default => {}
            Until::Steps => flag("--steps", &[self.steps.to_string().into()]),
            Until::Epochs => flag("--epochs", &[self.epochs.to_string().into()]),
            Until::Minutes => flag("--max-time", &[format!("{}m", self.minutes).into()]),
        }
        flag("--eval-every", &[self.eval_every.to_string().into()]);
        if self.save_every > 0 {
            flag("--save-every", &[self.save_every.to_string().into()]);
        }
        if !self.out.trim().is_empty() && self.kind != Kind::Resume {
            flag("--out", &[self.out.trim().into()]);
        }
        words.extend(self.more.split_whitespace().map(OsString::from));
        words
    }
}

/// Returns the command as text that a shell understands.
pub fn command_line(words: &[OsString]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%\\".contains(c);
    let quoted = |word: &OsString| match word.to_string_lossy() {
        word if !word.is_empty() && word.chars().all(plain) => word.into_owned(),
        word => format!("'{}'", word.replace('\'', r"'\''")),
    };
    std::iter::once("train".to_owned())
        .chain(words.iter().map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the arguments that resume the training in a folder.
pub fn resume(folder: &Path) -> Vec<OsString> {
    vec!["--resume".into(), folder.into()]
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use seemore::cli::train::TrainArgs;
    use seemore::cli::values::Named;
    use seemore::models::seemore::Preset;

    use super::*;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Flags {
        #[command(flatten)]
        _args: TrainArgs,
    }

    fn form() -> Form {
        Form {
            data: vec!["a.csv".into(), "more pictures".into()],
            val_data: vec!["b.csv".into()],
            ..Form::default()
        }
    }

    #[test]
    fn every_form_yields_valid_arguments() {
        let mut forms = vec![
            form(),
            Form {
                val_data: vec![],
                allow_overlap: true,
                more: " --seed 7  --clip 0 ".into(),
                ..form()
            },
        ];
        for until in [Until::Steps, Until::Epochs, Until::Minutes] {
            for kind in [Kind::New, Kind::Like, Kind::Resume] {
                forms.push(Form {
                    until,
                    kind,
                    folder: "runs/x".into(),
                    save_every: 5,
                    ..form()
                });
            }
        }
        for (_, preset, _) in Preset::VALUES {
            let mut form = form();
            form.choose((*preset).into());
            forms.push(form);
        }
        for form in forms {
            let words = form.words();
            assert!(form.missing().is_none());
            Flags::try_parse_from(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }

    #[test]
    fn missing_options_are_named() {
        assert!(
            Form {
                data: vec![],
                ..form()
            }
            .missing()
            .is_some_and(|text| text.contains("pictures"))
        );
        for kind in [Kind::Like, Kind::Resume] {
            assert!(
                Form { kind, ..form() }
                    .missing()
                    .is_some_and(|text| text.contains("folder"))
            );
        }
    }

    #[test]
    fn command_line_is_quoted_for_a_shell() {
        let line = command_line(&form().words());
        assert!(
            line.starts_with(
                "train --data a.csv 'more pictures' --val-data b.csv --preset seemore "
            ),
            "{line}"
        );
        assert_eq!(command_line(&["it's".into()]), r"train 'it'\''s'");
        assert_eq!(
            command_line(&resume(Path::new("runs/x"))),
            "train --resume runs/x"
        );
    }
}
