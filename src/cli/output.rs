//! Output of the program: free of control characters, and never lost silently.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::sync::OnceLock;

/// First error of standard output other than a closed pipe.
static FAILED: OnceLock<String> = OnceLock::new();

/// Prints a line on standard output, formatted as by `println!`.
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::output::say(&format!($($text)*)) };
}
/// Prints a line on standard error, formatted as by `eprintln!`.
macro_rules! errln {
    ($($text:tt)*) => { $crate::cli::output::tell(&format!($($text)*)) };
}
pub(super) use {errln, outln};

/// Returns a text with control characters other than line breaks and tabs as `\u{1b}`, so that no
/// file name or caption can steer the terminal.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            control if control.is_control() => {
                let _ = write!(shown, "{}", control.escape_unicode());
            }
            other => shown.push(other),
        }
    }
    shown
}

/// Like [`printable`] for a line of JSON, in which control characters are only within strings.
fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        match character.is_control() {
            true => {
                let _ = write!(shown, "\\u{:04x}", character as u32);
            }
            false => shown.push(character),
        }
    }
    shown
}

/// Remembers that standard output cannot be written. A closed pipe is no failure: its reader has
/// seen enough.
fn failed(error: &io::Error) {
    if error.kind() != ErrorKind::BrokenPipe {
        let _ = FAILED.set(error.to_string());
    }
}

/// Returns why standard output could not be written, if it could not.
pub fn failure() -> Option<&'static str> {
    FAILED.get().map(String::as_str)
}

/// Writes on standard output and remembers an error; breaks if nobody can read on.
pub fn print(text: &str) -> ControlFlow<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed(&error);
            ControlFlow::Break(())
        }
    }
}

/// Prints a line on standard output.
pub fn say(line: &str) {
    let _ = print(&format!("{}\n", printable(line)));
}

/// Prints a line of JSON on standard output.
pub fn say_json(json: &str) {
    let _ = print(&format!("{}\n", printable_json(json)));
}

/// Prints a line on standard error. There is nowhere to report that this fails.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_as_escapes() {
        assert_eq!(
            printable("a\u{1b}[2J\u{9b}1m\r\u{7f}\n\tz\u{e9}"),
            "a\\u{1b}[2J\\u{9b}1m\\u{d}\\u{7f}\n\tz\u{e9}"
        );
        let json = serde_json::json!({"a": "\u{1b}\u{9b}\u{7f}\n"}).to_string();
        let shown = printable_json(&json);
        assert!(!shown.contains(char::is_control), "{shown}");
        let back: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(back["a"], "\u{1b}\u{9b}\u{7f}\n");
    }
}
