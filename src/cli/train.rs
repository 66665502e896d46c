//! `seemore train` (and `train`): builds a run configuration from flags and files, and runs it.

mod flag;
mod flags;
mod ranks;
mod terminal;

use std::path::PathBuf;

use anyhow::bail;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::devices::DeviceArgs;
use crate::cli::output::errln;
use crate::train::{Ranks, RunConfig, TrainRun};
use flag::Flag;
pub(super) use flags::flag_of;
use ranks::Follower;
use terminal::Terminal;

/// Arguments of `train`: one for each setting of a run that the command line can change, and where
/// the others come from.
#[derive(Clone, Debug)]
pub struct TrainArgs {
    matches: ArgMatches,
    device: DeviceArgs,
}

/// Arguments that are not settings of the run.
fn others() -> [Arg; 7] {
    let folder = |name: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
    };
    [
        Arg::new("file")
            .value_name("run.toml")
            .value_parser(value_parser!(PathBuf))
            .conflicts_with_all(["like", "resume"])
            .help("Run configuration to start from; flags override it"),
        folder("resume")
            .conflicts_with("like")
            .help_heading("Continue and repeat")
            .help("Continue the training that wrote this run folder; its steps, limits and data may change"),
        folder("like")
            .help_heading("Continue and repeat")
            .help("Start a new training with the model, tokenizer and settings of this run folder"),
        Arg::new("save-config")
            .long("save-config")
            .value_name("FILE.toml")
            .value_parser(value_parser!(PathBuf))
            .help_heading("Continue and repeat")
            .help("Write the run configuration and exit; `train FILE.toml` runs it"),
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help_heading("Reports")
            .help("Report as JSON Lines on standard output"),
        Arg::new("help")
            .short('h')
            .long("help")
            .action(ArgAction::HelpShort)
            .help("Print the common options"),
        Arg::new("help-all")
            .long("help-all")
            .action(ArgAction::HelpLong)
            .help("Print all options"),
    ]
}

impl Args for TrainArgs {
    fn augment_args(command: Command) -> Command {
        let command = command.disable_help_flag(true);
        let command = flags::flags()
            .into_iter()
            .fold(command, |command, flag| command.arg(flag.arg));
        let command = others().into_iter().fold(command, Command::arg);
        DeviceArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        TrainArgs::augment_args(command)
    }
}

impl FromArgMatches for TrainArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<TrainArgs, clap::Error> {
        Ok(TrainArgs {
            matches: matches.clone(),
            device: DeviceArgs::from_arg_matches(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = TrainArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

impl TrainArgs {
    /// Returns the configuration that the arguments describe: that of a file or run folder, changed
    /// by the flags that are given.
    ///
    /// # Errors
    /// A file that cannot be read; as a [`clap::Error`], flags that do not go together.
    pub fn config(&self) -> anyhow::Result<RunConfig> {
        let path = |name: &str| self.matches.get_one::<PathBuf>(name);
        let (file, like, resume) = (path("file"), path("like"), path("resume"));
        let base = match (file, like, resume) {
            (Some(file), ..) => RunConfig::load(file)?,
            (_, Some(dir), _) => RunConfig::like(dir)?,
            (.., Some(dir)) => RunConfig::resume(dir)?,
            _ => RunConfig::default(),
        };
        let mut config = base.clone();
        let given: Vec<Flag> = flags::flags()
            .into_iter()
            .filter(|flag| flag.is_given(&self.matches))
            .collect();
        // limits given as flags replace all limits of the base
        if given.iter().any(|flag| flag.field.starts_with("budget.")) {
            config.budget = Default::default();
        }
        for flag in &given {
            (flag.set)(&self.matches, &mut config)?;
            if resume.is_some() && !config.continues(&base) {
                return Err(conflict(flag, "resume").into());
            }
        }
        let needs = |wanted: &str, fulfilled: bool, other: &str| match given
            .iter()
            .find(|flag| flag.field == wanted)
        {
            Some(flag) if !fulfilled => Err(missing(flag, other)),
            _ => Ok(()),
        };
        let tunes = config.model.base.is_some();
        for setting in [
            "tune.parts",
            "tune.rank",
            "tune.alpha",
            "tune.rslora",
            "tune.dropout",
            "tune.targets",
            "tune.style",
            "tune.prompt",
            "tune.tiles",
            "tune.fit",
            "tune.features",
            "tune.round",
        ] {
            needs(setting, tunes, "model")?;
        }
        needs("init.parts", config.init.load.is_some(), "load")?;
        needs(
            "validation.patience",
            config.validation.every > 0,
            "eval-every",
        )?;
        let tracks = !config.tracking.targets.is_empty();
        for setting in ["tracking.every", "tracking.experiment", "tracking.run"] {
            needs(setting, tracks, "track")?;
        }
        Ok(config)
    }
}

/// The error of a flag that cannot be given with another.
fn conflict(flag: &Flag, other: &str) -> clap::Error {
    with_context(
        ErrorKind::ArgumentConflict,
        ContextKind::PriorArg,
        flag,
        other,
    )
}

/// The error of a flag without another that it needs.
fn missing(flag: &Flag, other: &str) -> clap::Error {
    clap::Error::raw(
        ErrorKind::MissingRequiredArgument,
        format!("--{} needs --{other}\n", flag.name()),
    )
}

fn with_context(kind: ErrorKind, context: ContextKind, flag: &Flag, other: &str) -> clap::Error {
    let mut error = clap::Error::new(kind);
    let flags = [
        (ContextKind::InvalidArg, format!("--{}", flag.name())),
        (context, format!("--{other}")),
    ];
    for (kind, text) in flags {
        error.insert(kind, ContextValue::String(text));
    }
    error
}

/// Runs `train`.
pub fn run(args: &TrainArgs) -> anyhow::Result<()> {
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(error) => return Err(error),
        },
    };
    if let Some(path) = args.matches.get_one::<PathBuf>("save-config") {
        config.check()?;
        if path.exists() {
            let path = path.display();
            bail!("{path} already exists: give --save-config another name, or remove it first");
        }
        config.save(path)?;
        errln!("run configuration: {}", path.display());
        return Ok(());
    }
    let ranks = Ranks::join()?;
    let result = train(args, config, &ranks);
    ranks::leave(&ranks, result)
}

/// Trains, as one of `ranks`.
fn train(args: &TrainArgs, config: RunConfig, ranks: &Ranks) -> anyhow::Result<()> {
    let run = TrainRun::among(config, ranks)?;
    let device = args.device.open_among(ranks)?;
    if !ranks.is_first() {
        run.start(&device, &mut Follower::new(ranks))?;
        return Ok(());
    }
    let mut terminal = Terminal::new(args.matches.get_flag("json"), ranks);
    let summary = run.start(&device, &mut terminal)?;
    terminal.finish(&summary, run.out())
}

#[cfg(test)]
mod tests;
