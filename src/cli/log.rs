//! Warnings and notes of the library on the terminal.

use tracing_subscriber::filter::LevelFilter;

/// Writes warnings and notes to standard error from here on.
pub(super) fn start() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(LevelFilter::INFO)
        .with_target(false)
        .without_time();
    // a program that embeds this one may have its own
    let _ = subscriber.try_init();
}
