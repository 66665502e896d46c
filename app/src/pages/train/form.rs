//! The form behind the fields: a run configuration, or another training whose settings are used.

use std::path::PathBuf;

use seemore::image::Augment;
use seemore::models::Preset;
use seemore::models::checkpoint;
use seemore::text::TokenKind;
use seemore::train::{BatchSize, Budget, RunConfig, Tuned};
use serde::{Deserialize, Serialize};

use crate::worker::{Overrides, RunRequest};

/// The contents of the fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// How the training starts.
    pub mode: Mode,
    /// Run folder of the training to copy or resume.
    pub folder: String,
    /// The configuration of a new training. Copied and resumed trainings use its budget and its
    /// intervals.
    pub config: RunConfig,
    /// The configuration of the tuning of a pretrained model.
    pub tuning: RunConfig,
}

/// How a training starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mode {
    /// With a new model.
    #[default]
    New,
    /// With a pretrained model.
    Tune,
    /// With a new model and the settings of another training.
    Copy,
    /// Where another training ended.
    Resume,
}

/// The form as it is stored. The configuration is TOML, the format of run files.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stored {
    mode: Mode,
    folder: String,
    config: String,
    tuning: String,
}

/// Learning rate for whole parts of a pretrained model, which large steps would damage.
const RATE_OF_PARTS: f64 = 5e-5;

impl Default for Form {
    fn default() -> Form {
        let mut config = RunConfig::default();
        (config.data.train, config.data.validation) = drawings();
        config.validation.every = 20;
        let mut tuning = RunConfig::default();
        tuning.validation.every = 20;
        tuning.model.base = Some(PathBuf::new());
        tuning.augment = Augment::none();
        // as on the command line
        tuning.tune.round = true;
        tuning.batch.size = BatchSize::Pictures(4);
        Form {
            mode: Mode::New,
            folder: String::new(),
            config,
            tuning,
        }
    }
}

impl From<&Form> for Stored {
    fn from(form: &Form) -> Stored {
        Stored {
            mode: form.mode,
            folder: form.folder.clone(),
            config: form.config.to_toml().unwrap_or_default(),
            tuning: form.tuning.to_toml().unwrap_or_default(),
        }
    }
}

impl From<Stored> for Form {
    /// Reads a stored form. A configuration that cannot be read, such as one of another version,
    /// becomes the default.
    fn from(stored: Stored) -> Form {
        let default = Form::default();
        let read = |text: String, default: RunConfig| {
            let text = Some(text).filter(|text| !text.is_empty());
            text.and_then(|text| RunConfig::from_toml(&text).ok())
                .unwrap_or(default)
        };
        Form {
            mode: stored.mode,
            folder: stored.folder,
            config: read(stored.config, default.config),
            tuning: read(stored.tuning, default.tuning),
        }
    }
}

impl Form {
    /// Sets the preset and the settings that it requires.
    pub fn set_preset(&mut self, preset: Preset) {
        let (kind, classes) = match preset {
            Preset::Emoji => (TokenKind::Words, 1.0),
            _ => (TokenKind::Characters, 0.0),
        };
        self.config.model.preset = preset;
        self.config.tokenizer.kind = kind;
        self.config.loss.classes = classes;
    }

    /// Returns the configuration that the fields edit.
    pub fn config_mut(&mut self) -> &mut RunConfig {
        match self.mode {
            Mode::Tune => &mut self.tuning,
            _ => &mut self.config,
        }
    }

    /// Returns the configuration of a training that does not take that of another one.
    pub fn own_config(&self) -> Option<&RunConfig> {
        match self.mode {
            Mode::New => Some(&self.config),
            Mode::Tune => Some(&self.tuning),
            Mode::Copy | Mode::Resume => None,
        }
    }

    /// Trains a part of the pretrained model or not, and sets a learning rate that suits.
    pub fn set_part(&mut self, part: Tuned, trains: bool) {
        let config = &mut self.tuning;
        let whole = |parts: &[Tuned]| {
            let wholes = [Tuned::Decoder, Tuned::All];
            wholes.iter().any(|whole| parts.contains(whole))
        };
        let before = whole(&config.tune.parts);
        config.tune.parts.retain(|other| *other != part);
        if trains {
            config.tune.parts.push(part);
        }
        match (before, whole(&config.tune.parts)) {
            (false, true) => config.schedule.learning_rate = RATE_OF_PARTS,
            (true, false) => {
                config.schedule.learning_rate = RunConfig::default().schedule.learning_rate;
            }
            _ => {}
        }
    }

    /// Returns what is missing to start, as advice.
    pub fn missing(&self) -> Option<&'static str> {
        let no_folder = self.folder.trim().is_empty();
        match self.mode {
            Mode::New if self.config.data.train.is_empty() => Some("Add training pictures."),
            Mode::Tune
                if self
                    .tuning
                    .model
                    .base
                    .as_ref()
                    .is_none_or(|base| base.as_os_str().is_empty()) =>
            {
                Some("Choose the model to fine-tune.")
            }
            Mode::Tune if self.tuning.data.train.is_empty() => Some("Add training pictures."),
            Mode::Copy if no_folder => {
                Some("Choose the folder of the training to copy the settings of.")
            }
            Mode::Resume if no_folder => Some("Choose the folder of the training to resume."),
            _ => None,
        }
    }

    /// Returns the training that the fields describe.
    pub fn request(&self) -> RunRequest {
        let folder = PathBuf::from(self.folder.trim());
        let config = &self.config;
        let overrides = Overrides {
            budget: Some(config.budget).filter(|budget| *budget != Budget::default()),
            validate_every: Some(config.validation.every),
            save_every: Some(config.checkpoint.every),
            out: config.checkpoint.out.clone(),
            overwrite: config.checkpoint.overwrite,
        };
        match self.mode {
            Mode::New => RunRequest::New(Box::new(config.clone())),
            Mode::Tune => RunRequest::New(Box::new(self.tuning.clone())),
            Mode::Copy => RunRequest::Copy { folder, overrides },
            Mode::Resume => RunRequest::Resume { folder, overrides },
        }
    }
}

/// Returns the settings of a configuration that differ from the defaults, as the text of a run
/// file.
pub fn run_file(config: &RunConfig) -> String {
    let lines = |config: &RunConfig| config.to_toml().unwrap_or_default();
    let (text, defaults) = (lines(config), lines(&RunConfig::default()));
    // the same line in another section is no default
    let sections = |text: &str| {
        let mut section = String::new();
        let mut settings = vec![];
        for line in text.lines().filter(|line| !line.is_empty()) {
            if line.starts_with('[') {
                section = line.to_owned();
            } else {
                settings.push((section.clone(), line.to_owned()));
            }
        }
        settings
    };
    let defaults = sections(&defaults);
    let mut file = String::new();
    let mut last = String::new();
    for (section, line) in sections(&text) {
        if defaults.contains(&(section.clone(), line.clone())) {
            continue;
        }
        if section != last {
            file += &format!("{section}\n");
            last = section;
        }
        file += &format!("{line}\n");
    }
    file
}

/// Returns the folder of the data that come with seemore.
fn data_folder() -> Option<PathBuf> {
    Some(checkpoint::shipped()?.ancestors().nth(2)?.to_owned())
}

/// Returns the shipped training and validation drawings, or nothing if they are not installed.
pub fn drawings() -> (Vec<PathBuf>, Vec<PathBuf>) {
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
        files(&[
            "noto",
            "noto-v1",
            "twemoji",
            "fluent",
            "emojione",
            "streamline",
        ]),
        files(&["fxemoji"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_forms_are_restored() {
        let mut form = Form {
            mode: Mode::Copy,
            folder: "runs/x".into(),
            ..Form::default()
        };
        form.set_preset(Preset::Emoji);
        form.config.budget.steps = Some(7);
        form.tuning.model.base = Some("smolvlm-256m".into());
        form.set_part(Tuned::Projector, true);
        assert_eq!(Form::from(Stored::from(&form)), form);
    }

    #[test]
    fn whole_parts_are_tuned_in_small_steps() {
        let mut form = Form::default();
        let rate = form.tuning.schedule.learning_rate;
        form.set_part(Tuned::Lora, true);
        assert_eq!(form.tuning.schedule.learning_rate, rate);
        form.set_part(Tuned::Decoder, true);
        assert_eq!(form.tuning.schedule.learning_rate, RATE_OF_PARTS);
        form.set_part(Tuned::Decoder, false);
        assert_eq!(form.tuning.tune.parts, [Tuned::Lora]);
        assert_eq!(form.tuning.schedule.learning_rate, rate);
    }

    #[test]
    fn unreadable_configurations_become_the_default() {
        let stored = Stored {
            config: "preset = \"unknown\"".into(),
            ..Stored::default()
        };
        assert_eq!(Form::from(stored).config, Form::default().config);
    }

    #[test]
    fn missing_settings_are_named() {
        let mut form = Form::default();
        form.config.data.train = vec![];
        assert!(form.missing().is_some_and(|text| text.contains("pictures")));
        form.mode = Mode::Tune;
        assert!(form.missing().is_some_and(|text| text.contains("model")));
        for mode in [Mode::Copy, Mode::Resume] {
            form.mode = mode;
            assert!(form.missing().is_some_and(|text| text.contains("folder")));
        }
    }

    #[test]
    fn run_file_holds_what_differs_from_the_defaults() {
        let mut config = RunConfig::default();
        assert_eq!(run_file(&config), "");
        config.model.preset = Preset::Tiny;
        config.budget.steps = Some(50);
        config.batch.accumulate = 2;
        let file = run_file(&config);
        assert_eq!(RunConfig::from_toml(&file).unwrap(), config);
        assert_eq!(file.lines().count(), 6, "{file}");
    }

    #[test]
    fn copied_and_resumed_trainings_keep_an_unset_budget() {
        let mut form = Form {
            mode: Mode::Resume,
            folder: " runs/x ".into(),
            ..Form::default()
        };
        let RunRequest::Resume { folder, overrides } = form.request() else {
            panic!("no request to resume")
        };
        assert_eq!((folder, overrides.budget), ("runs/x".into(), None));
        form.mode = Mode::Copy;
        form.config.budget.steps = Some(9);
        let RunRequest::Copy { overrides, .. } = form.request() else {
            panic!("no request to copy")
        };
        assert_eq!(overrides.budget, Some(form.config.budget));
    }
}
