//! A training that is followed on a terminal.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::ranks::say_awaited;
use crate::cli::data::{cut, reading};
use crate::cli::output::errln;
use crate::cli::progress::Reading;
use crate::cli::{hint, say, say_json};
use crate::progress::Progress;
use crate::train::{
    Event, Footprint, Note, Observer, ObserverError, Ranks, Ready, Spike, Steps, Summary, Traffic,
    ValidationResult,
};

/// Captions shown after the last validation.
const SHOWN: usize = 24;

/// Signals within this time are one.
const SAME: Duration = Duration::from_millis(500);

/// Shows a training: a bar on a terminal, lines elsewhere, JSON on request.
pub struct Terminal {
    json: bool,
    /// Shown while it trains.
    bar: Option<ProgressBar>,
    /// Set by Ctrl-C, and by the signals that ask a program to end or whose terminal is closed.
    stop: Arc<AtomicBool>,
    ranks: Ranks,
}

impl Terminal {
    pub fn new(json: bool, ranks: &Ranks) -> Terminal {
        Terminal {
            json,
            bar: None,
            stop: Arc::default(),
            ranks: ranks.clone(),
        }
    }

    /// Prints a line on standard output.
    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None if self.json => say_json(line),
            None => say(line),
        }
    }

    /// Prints a line on standard error.
    fn warning(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| errln!("{text}")),
            None => errln!("{text}"),
        }
    }

    /// Prints the outcome of a training in the run folder `out`.
    pub fn finish(&self, summary: &Summary, out: &Path) -> anyhow::Result<()> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let (seconds, waiting) = (summary.elapsed.as_secs_f64(), milliseconds(summary.waiting));
        let validation = summary.validation.as_ref();
        if self.json {
            let line = json!({
                "final": true,
                "val_loss": validation.map(|result| result.loss),
                "exact_match": validation.map(|result| result.exact_match),
                "steps": summary.steps,
                "seconds": seconds,
                "waiting_ms": waiting,
                "model": out,
            });
            say_json(&line.to_string());
            return Ok(());
        }
        if summary.interrupted {
            say(&format!(
                "stopped after {} steps; continue with: train --resume {}",
                summary.steps,
                out.display()
            ));
            return Ok(());
        }
        if let Some(result) = validation {
            captions(result);
        }
        say(&format!(
            "{} steps in {seconds:.1} s, {waiting:.1} ms per step waiting for pictures; model in {}",
            summary.steps,
            out.display()
        ));
        say(&format!(
            "try: seemore caption PICTURE --model {}",
            out.display()
        ));
        Ok(())
    }

    /// Prints the loss of a step.
    fn step(&self, event: Event) {
        let Event::Step {
            step,
            steps,
            loss,
            gradient_norm,
            learning_rate,
            tokens_per_s,
            waiting,
            exchange,
            elapsed,
            left,
            steps_so_far,
        } = event
        else {
            return;
        };
        let Steps { skipped, scale, .. } = steps_so_far;
        if self.json {
            let mut line = json!({
                "step": step,
                "loss": loss,
                "gradient_norm": gradient_norm,
                "lr": learning_rate,
                "tokens_per_s": tokens_per_s,
                "waiting_ms": milliseconds(waiting),
                "seconds": elapsed.as_secs_f64(),
                "skipped": skipped,
                "loss_scale": scale,
            });
            if exchange != Traffic::default() {
                line["exchange_ms"] = milliseconds(exchange.time).into();
                line["exchange_bytes"] = exchange.bytes.into();
            }
            self.line(&line.to_string());
            return;
        }
        let of = steps.map_or(String::new(), |steps| format!("/{steps}"));
        let left = Duration::from_secs(left.as_secs());
        let skipped = match skipped {
            0 => String::new(),
            skipped => format!("  {skipped} skipped (loss scale {scale})"),
        };
        let text = format!(
            "step {step}{of}  loss {loss:.4}  lr {learning_rate:.2e}  {tokens_per_s:.0} tokens/s{skipped}  {} left",
            HumanDuration(left)
        );
        match &self.bar {
            Some(bar) => {
                let whole = (elapsed + left).as_secs_f64().max(1e-9);
                bar.set_position((1000.0 * elapsed.as_secs_f64() / whole) as u64);
                bar.set_message(text);
            }
            None => self.line(&text),
        }
    }
}

impl Observer for Terminal {
    fn note(&mut self, note: &Note) {
        self.warning(&hint::note(note));
    }

    fn reading(&mut self, files: &[PathBuf]) -> Box<dyn Progress> {
        let first = files.first().map_or(Path::new(""), PathBuf::as_path);
        Box::new(Reading(reading(first, self.json)))
    }

    fn ready(&mut self, ready: &Ready) -> Result<(), ObserverError> {
        errln!(
            "model: {} parameters, {} tokens; {} training pictures, {} validation pictures",
            ready.parameters,
            ready.tokens,
            ready.train.samples.len(),
            ready
                .validation
                .map_or(0, |validation| validation.samples.len()),
        );
        let Footprint {
            parameters,
            optimizer,
            step,
            free,
            ..
        } = ready.footprint;
        let mega = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        errln!(
            "memory: {} parameters, {} gradients and moments, {} per step; {}",
            mega(parameters),
            mega(optimizer),
            mega(step),
            free.map_or(
                "the adapter does not report its free memory".into(),
                |free| format!("{} free", mega(free))
            )
        );
        self.bar = (!self.json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template("{wide_bar} {msg}").expect("the template is constant"),
            );
            bar
        });
        // before this, Ctrl-C ends the program at once: there is nothing to save
        listen(&self.stop, &self.ranks)
    }

    fn on(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Submitted { .. } if self.stop.load(Ordering::Relaxed) => {
                return ControlFlow::Break(());
            }
            Event::Submitted { .. } => {}
            Event::Started { after, kernels } => {
                let seconds = after.as_secs_f64();
                if self.json {
                    let line = json!({"first_step_seconds": seconds, "kernels": kernels});
                    self.line(&line.to_string());
                } else {
                    let compiled = match kernels {
                        0 => String::new(),
                        kernels => format!(", {kernels} kernels compiled"),
                    };
                    self.warning(&format!("first step after {seconds:.1} s{compiled}"));
                }
            }
            Event::Step { .. } => self.step(event),
            Event::Validated { step, result } => {
                let ValidationResult {
                    loss, exact_match, ..
                } = result;
                if self.json {
                    let line = json!({"step": step, "val_loss": loss, "exact_match": exact_match});
                    self.line(&line.to_string());
                } else {
                    self.line(&format!(
                        "step {step}  validation loss {loss:.4}  exact match {:.1} %",
                        100.0 * exact_match
                    ));
                }
            }
            Event::Saved { step, dir } if !self.json => {
                self.line(&format!("step {step}  saved {}", dir.display()));
            }
            Event::SaveFailed { step, error } => self.warning(&format!(
                "step {step}  NOT SAVED: {error}; training continues, and the last save is kept"
            )),
            Event::Spike {
                spike: Spike { step, loss, mean },
                count,
            } => self.warning(&format!(
                "step {step}  the loss jumped to {loss:.4} from a mean of {mean:.4} (spike {count} so far)"
            )),
            Event::Skipped { step, what } => {
                self.warning(&format!("step {step}  skipped: {what}"));
            }
            Event::RolledBack {
                step,
                to,
                rate,
                what,
            } => self.warning(&format!(
                "step {step}  {what}; back to step {to} with the learning rate times {rate}"
            )),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Sets a flag on Ctrl-C and the signals that ask a program to end; rank 0 tells the user. A second
/// signal ends the program.
pub fn listen(flag: &Arc<AtomicBool>, ranks: &Ranks) -> Result<(), ObserverError> {
    let (flag, ranks) = (flag.clone(), ranks.clone());
    let mut first = None;
    ctrlc::set_handler(move || {
        flag.store(true, Ordering::Relaxed);
        match first {
            None => {
                first = Some(Instant::now());
                if ranks.is_first() {
                    errln!("\nfinishing this step and saving; Ctrl-C again stops at once");
                }
                say_awaited(&ranks);
            }
            // systems that end a session send several signals at once
            Some(first) if first.elapsed() < SAME => {}
            Some(_) => std::process::exit(130),
        }
    })
    .map_err(|error| format!("cannot listen for Ctrl-C: {error}").into())
}

/// Prints true and written captions side by side.
fn captions(result: &ValidationResult) {
    let shown = result.captions.iter().take(SHOWN);
    let width = shown
        .clone()
        .map(|(_, truth, _)| cut(truth).chars().count())
        .max()
        .unwrap_or(0)
        .max(4);
    say(&format!("\n   {:width$}  written", "true"));
    for (_, truth, written) in shown {
        let mark = if truth == written { "✓" } else { "✗" };
        say(&format!("{mark}  {:width$}  {}", cut(truth), cut(written)));
    }
    let count = result.captions.len();
    if count > SHOWN {
        say(&format!("   .. and {} more", count - SHOWN));
    }
    let right = result
        .captions
        .iter()
        .filter(|(_, truth, written)| truth == written)
        .count();
    say(&format!(
        "{right} of {count} captions of validation pictures match exactly"
    ));
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}
