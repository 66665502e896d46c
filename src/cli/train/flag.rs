//! A flag and the setting that it changes.

use std::fmt::Display;

use clap::builder::{IntoResettable, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use crate::cli::values::named;
use crate::named::Named;
use crate::train::RunConfig;

/// Changes a configuration by the value of a flag.
type Set = Box<dyn Fn(&ArgMatches, &mut RunConfig) -> anyhow::Result<()>>;

/// A flag of `train`.
pub struct Flag {
    /// What clap knows of it.
    pub arg: Arg,
    /// Dotted path of the setting in [`RunConfig`].
    pub field: &'static str,
    /// Changes a configuration by the flag, which must be given.
    pub set: Set,
}

/// A setting by its path, made by [`field!`].
pub struct Field<T> {
    pub path: &'static str,
    pub of: fn(&mut RunConfig) -> &mut T,
}

/// The setting at a path such as `optimizer.clip`.
macro_rules! field {
    ($first:ident $(. $rest:ident)*) => {
        $crate::cli::train::flag::Field {
            path: concat!(stringify!($first) $(, ".", stringify!($rest))*),
            of: |config| &mut config.$first $(. $rest)*,
        }
    };
}
pub(super) use field;

impl Flag {
    /// A flag that changes a setting by a function of its own.
    pub fn custom(
        arg: Arg,
        field: &'static str,
        set: impl Fn(&ArgMatches, &mut RunConfig) -> anyhow::Result<()> + 'static,
    ) -> Flag {
        Flag {
            arg,
            field,
            set: Box::new(set),
        }
    }

    /// The name without dashes.
    pub fn name(&self) -> &str {
        self.arg.get_id().as_str()
    }

    /// Whether the flag is on the command line.
    pub fn is_given(&self, matches: &ArgMatches) -> bool {
        matches.value_source(self.name()) == Some(ValueSource::CommandLine)
    }

    /// Shows the flag with `--help-all` only.
    pub fn rare(self) -> Flag {
        self.with(|arg| arg.hide_short_help(true))
    }

    /// Changes the argument.
    pub fn with(mut self, change: impl FnOnce(Arg) -> Arg) -> Flag {
        self.arg = change(self.arg);
        self
    }
}

/// An argument with a help text.
pub fn arg(name: &'static str, value_name: &'static str, help: impl Into<String>) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value_name)
        .help(help.into())
}

/// A flag with a value; its help names the default of the setting.
pub fn value<T: Clone + Display + Send + Sync + 'static>(
    name: &'static str,
    value_name: &'static str,
    field: Field<T>,
    parser: impl IntoResettable<ValueParser>,
    help: &str,
) -> Flag {
    let default = (field.of)(&mut RunConfig::default()).clone();
    let arg = arg(name, value_name, format!("{help} [default: {default}]"));
    Flag::custom(
        arg.value_parser(parser),
        field.path,
        move |matches, config| {
            *(field.of)(config) = matches.get_one::<T>(name).expect("it is given").clone();
            Ok(())
        },
    )
}

/// A flag with a text; the help says what holds without it.
pub fn text(
    name: &'static str,
    value_name: &'static str,
    field: Field<String>,
    help: &str,
) -> Flag {
    Flag::custom(
        arg(name, value_name, help),
        field.path,
        move |matches, config| {
            *(field.of)(config) = matches
                .get_one::<String>(name)
                .expect("it is given")
                .clone();
            Ok(())
        },
    )
}

/// A flag with a value whose setting is optional; the help says what holds without it.
pub fn optional<T: Clone + Send + Sync + 'static>(
    name: &'static str,
    value_name: &'static str,
    field: Field<Option<T>>,
    parser: impl IntoResettable<ValueParser>,
    help: &str,
) -> Flag {
    Flag::custom(
        arg(name, value_name, help).value_parser(parser),
        field.path,
        move |matches, config| {
            *(field.of)(config) = matches.get_one::<T>(name).cloned();
            Ok(())
        },
    )
}

/// A flag with one of the named values of an enum; its help names the default of the setting.
pub fn choice<T: Named>(
    name: &'static str,
    value_name: &'static str,
    field: Field<T>,
    help: &str,
) -> Flag {
    let default = (field.of)(&mut RunConfig::default()).name();
    let arg = arg(name, value_name, format!("{help} [default: {default}]"));
    Flag::custom(
        arg.value_parser(named::<T>()),
        field.path,
        move |matches, config| {
            *(field.of)(config) = *matches.get_one::<T>(name).expect("it is given");
            Ok(())
        },
    )
}

/// A flag with a list of values.
pub fn list<T: Clone + Send + Sync + 'static>(
    name: &'static str,
    value_name: &'static str,
    field: Field<Vec<T>>,
    parser: impl IntoResettable<ValueParser>,
    help: &str,
) -> Flag {
    Flag::custom(
        arg(name, value_name, help)
            .value_parser(parser)
            .action(ArgAction::Append),
        field.path,
        move |matches, config| {
            *(field.of)(config) = matches
                .get_many::<T>(name)
                .expect("it is given")
                .cloned()
                .collect();
            Ok(())
        },
    )
}

/// A flag without a value that sets a setting to `value`.
pub fn switch(name: &'static str, field: Field<bool>, value: bool, help: &str) -> Flag {
    let arg = Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help.to_owned());
    Flag::custom(arg, field.path, move |_, config| {
        *(field.of)(config) = value;
        Ok(())
    })
}
