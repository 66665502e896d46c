//! Assembles the tuning of a pretrained model.

use std::path::Path;

use super::{TrainRun, settle_batch};
use crate::device::Device;
use crate::models::checkpoint::{KeepWeights, LoadOptions, Parts, load_options};
use crate::models::{Model, ModelConfig, library};
use crate::text::Tokenizer;
use crate::train::config::{RunConfig, Tuned};
use crate::train::run::report;
use crate::train::trainer::{Asked, Setup};
use crate::train::tuning::{Answered, Sets, exchanges, fit, read};
use crate::train::{Observer, State, Summary, TrainError};

impl TrainRun {
    /// Loads the base model, reads the data, trains, and reports to `observer`.
    pub(super) fn tune(
        &self,
        base: &Path,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Summary, TrainError> {
        let mut config = self.config.clone();
        let resumed = match &config.checkpoint.resume {
            Some(dir) => Some((dir.clone(), State::newest(dir)?)),
            None => None,
        };
        if let Some((dir, state)) = &resumed
            && !config.continues(&state.progress.config)
        {
            return Err(TrainError::differs(dir));
        }
        let folder = library::locate(base)?;
        let same = |path: &Path| std::fs::canonicalize(path).ok();
        if same(&folder).is_some() && same(&folder) == same(&self.out) {
            return Err(TrainError::setting(
                "checkpoint.out",
                "is the folder of the model to tune: choose another one",
            ));
        }
        let (model, tokenizer, tuned) = load(&config, device, &folder)?;
        let fits = config.tune.fit && resumed.is_none();
        let sets = read(&config, device, &model, &tuned, &self.ranks, fits, observer)?;
        let Sets {
            train,
            validation,
            further,
            data,
        } = sets;
        let question = config.tune.question(model.config().family()).to_owned();
        let mut asked = |set| {
            let fitting = exchanges(&model, &tokenizer, &question, &data, set)?;
            let used = fitting.set.samples.len();
            report(&config.data, fitting.problems, used, observer)?;
            Ok::<_, TrainError>((fitting.set, fitting.exchanges))
        };
        let (mut train, of_train) = asked(train)?;
        train.mark_variants();
        if train.samples.is_empty() {
            return Err(TrainError::Nothing("no caption is left to train on".into()));
        }
        let validation = validation.map(&mut asked).transpose()?;
        let (validation, of_validation) = validation.unzip();
        let further = further.map(&mut asked).transpose()?;
        let asked = Asked {
            data,
            tuned,
            train: of_train,
            validation: of_validation.unwrap_or_default(),
            question,
        };
        if fits {
            let further = further
                .as_ref()
                .map(|(set, exchanges)| Answered { set, exchanges });
            fit(
                &model,
                device,
                &Answered {
                    set: &train,
                    exchanges: &asked.train,
                },
                further.as_ref(),
                &asked.question,
                &asked.data,
                observer,
            )?;
        }
        let setup = Setup {
            device,
            model: &model,
            tokenizer: &tokenizer,
            train: &train,
            validation: validation.as_ref().filter(|set| !set.samples.is_empty()),
            tuning: Some(&asked),
            ranks: &self.ranks,
        };
        settle_batch(setup, &mut config, observer)?;
        self.train_loaded(setup, &config, model.config(), resumed, observer)
    }
}

/// Loads the model of a run, with new adapters where they are trained and it has none.
fn load(
    config: &RunConfig,
    device: &Device,
    folder: &Path,
) -> Result<(Model, Tokenizer, Vec<Tuned>), TrainError> {
    let described = crate::models::checkpoint::describe(folder)?;
    let Some((family, adapted)) = described else {
        return Err(TrainError::setting(
            "model.base",
            format!(
                "is {}, which is not a pretrained model: continue its training with `checkpoint.resume`, or start from its weights with `init.load`",
                folder.display()
            ),
        ));
    };
    let composed = matches!(family, ModelConfig::Composition(_));
    let tuned = config.tune.parts_of(composed, adapted);
    let lora = config.tune.lora(&family);
    let weights = Tuned::weights(&tuned);
    let options = LoadOptions {
        new_adapters: tuned.contains(&Tuned::Lora).then_some((&lora, config.seed)),
        keep: KeepWeights::TrainedParts(Parts {
            // a composition's folder holds its projector, also where that does not train
            projector: weights.projector || composed,
            ..weights
        }),
        ..LoadOptions::default()
    };
    let (model, tokenizer) = load_options(device, folder, &options)?;
    let model = model.rounding(config.tune.round);
    let takes = model
        .dialogue()
        .is_some_and(|dialogue| dialogue.takes_pictures());
    match tokenizer {
        Some(tokenizer) if takes => Ok((model, tokenizer, tuned)),
        _ => Err(TrainError::setting(
            "model.base",
            "takes text only, and captions are of pictures: choose a model with an image encoder",
        )),
    }
}
