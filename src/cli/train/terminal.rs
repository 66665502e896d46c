//! A training that is followed on a terminal.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Listener, Ready};
use crate::cli::data::reading;
use crate::cli::say;
use crate::train::{Event, Footprint, Summary, ValidationResult};
use crate::train::{Spike, Steps};

/// Says what happens: a bar on a terminal, lines elsewhere, JSON when asked for.
pub struct Terminal {
    json: bool,
    /// While it trains.
    bar: Option<ProgressBar>,
    /// Set by Ctrl-C.
    stop: Arc<AtomicBool>,
}

impl Terminal {
    pub fn new(json: bool) -> Terminal {
        Terminal {
            json,
            bar: None,
            stop: Arc::default(),
        }
    }

    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// Something that went wrong while training goes on.
    fn warning(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    pub fn finish(&self, summary: &Summary, out: &Path) -> anyhow::Result<()> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = summary.elapsed.as_secs_f64();
        let (val_loss, exact_match) = match &summary.verdict {
            Some(verdict) => (Some(verdict.loss), Some(verdict.exact_match)),
            None => (None, None),
        };
        if self.json {
            let line = json!({"final": true, "val_loss": val_loss, "exact_match": exact_match, "steps": summary.steps, "seconds": seconds, "waiting_ms": milliseconds(summary.waiting), "model": out});
            say(&line.to_string());
            return Ok(());
        }
        if summary.interrupted {
            say(&format!(
                "stopped after {} steps; go on with: train --resume {}",
                summary.steps,
                out.display()
            ));
            return Ok(());
        }
        if let Some(verdict) = &summary.verdict {
            const SHOWN: usize = 24;
            let width = verdict
                .captions
                .iter()
                .take(SHOWN)
                .map(|(_, truth, _)| truth.chars().count())
                .max()
                .unwrap_or(0)
                .max(4);
            say(&format!("\n   {:width$}  written", "true"));
            for (_, truth, written) in verdict.captions.iter().take(SHOWN) {
                say(&format!(
                    "{}  {truth:width$}  {written}",
                    if truth == written { "✓" } else { "✗" }
                ));
            }
            if verdict.captions.len() > SHOWN {
                say(&format!(
                    "   .. and {} more",
                    verdict.captions.len() - SHOWN
                ));
            }
            let right = verdict
                .captions
                .iter()
                .filter(|(_, truth, written)| truth == written)
                .count();
            say(&format!(
                "{right} of {} captions of pictures never trained on are right to the letter",
                verdict.captions.len()
            ));
        }
        let waiting = milliseconds(summary.waiting);
        say(&format!(
            "{} steps in {seconds:.1} s, {waiting:.1} ms a step waiting for pictures; model in {}",
            summary.steps,
            out.display()
        ));
        say(&format!(
            "try: seemore caption PICTURE --model {}",
            out.display()
        ));
        Ok(())
    }
}

impl Listener for Terminal {
    fn note(&mut self, text: &str) {
        eprintln!("{text}");
    }

    fn reading(&mut self, path: &Path) -> ProgressBar {
        reading(path, self.json)
    }

    fn ready(&mut self, ready: &Ready) -> anyhow::Result<()> {
        eprintln!(
            "model: {} parameters, {} tokens; {} pictures to train on, {} to validate on",
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
        eprintln!(
            "memory: {} parameters, {} gradients and moments, {} for a step; {}",
            mega(parameters),
            mega(optimizer),
            mega(step),
            free.map_or(
                "the adapter does not tell what it has left".into(),
                |free| format!("{} left", mega(free))
            )
        );
        self.bar = (!self.json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template("{wide_bar} {msg}").expect("the template is constant"),
            );
            bar
        });
        // until now it ends the program at once: there is nothing to save
        let flag = self.stop.clone();
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::Relaxed) {
                // the second time: at once
                std::process::exit(130);
            }
            eprintln!("\nfinishing this step and saving; Ctrl-C again stops at once");
        })
        .context("cannot listen for Ctrl-C")
    }

    fn on(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Submitted { .. } => {
                return if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            }
            Event::Started { after, kernels } => {
                if self.json {
                    self.line(&json!({"first_step_seconds": after.as_secs_f64(), "kernels": kernels}).to_string());
                } else {
                    eprintln!("first step after {:.1} s, {kernels} kernels compiled", after.as_secs_f64());
                }
            }
            Event::Step { step, steps, loss, gradient_norm, learning_rate, tokens_per_s, waiting, elapsed, left, steps_so_far } => {
                if self.json {
                    let (waiting_ms, seconds) = (milliseconds(waiting), elapsed.as_secs_f64());
                    let Steps { skipped, scale, .. } = steps_so_far;
                    let line = json!({"step": step, "loss": loss, "gradient_norm": gradient_norm, "lr": learning_rate, "tokens_per_s": tokens_per_s, "waiting_ms": waiting_ms, "seconds": seconds, "skipped": skipped, "loss_scale": scale});
                    self.line(&line.to_string());
                    return ControlFlow::Continue(());
                }
                let of = steps.map_or(String::new(), |steps| format!("/{steps}"));
                let left = HumanDuration(Duration::from_secs(left.as_secs()));
                let skipped = match steps_so_far.skipped {
                    0 => String::new(),
                    skipped => format!("  {skipped} skipped (loss scale {})", steps_so_far.scale),
                };
                let text =
                    format!("step {step}{of}  loss {loss:.4}  lr {learning_rate:.2e}  {tokens_per_s:.0} tokens/s{skipped}  {left} left");
                match &self.bar {
                    Some(bar) => {
                        let whole = elapsed.as_secs_f64() / (elapsed.as_secs_f64() + left.0.as_secs_f64()).max(1e-9);
                        bar.set_position((1000.0 * whole) as u64);
                        bar.set_message(text);
                    }
                    None => self.line(&text),
                }
            }
            Event::Validating { .. } => {}
            Event::Validated { step, verdict } => {
                let ValidationResult { loss, exact_match, .. } = verdict;
                if self.json {
                    self.line(&json!({"step": step, "val_loss": loss, "exact_match": exact_match}).to_string());
                } else {
                    self.line(&format!("step {step}  validation loss {loss:.4}  exact match {:.1} %", 100.0 * exact_match));
                }
            }
            Event::Saved { step, dir } => {
                if !self.json {
                    self.line(&format!("step {step}  saved {}", dir.display()));
                }
            }
            Event::SaveFailed { step, error } => {
                self.warning(&format!("step {step}  NOT SAVED: {error}; training goes on, and the save before is still there"))
            }
            Event::Spike { spike: Spike { step, loss, mean }, count } => {
                self.warning(&format!("step {step}  the loss jumped to {loss:.4} from {mean:.4} on average (spike {count} so far)"));
            }
            Event::Skipped { step, what } => self.warning(&format!("step {step}  left out: {what}")),
            Event::RolledBack { step, to, rate, what } => {
                self.warning(&format!("step {step}  {what}; back to step {to} with the learning rate times {rate}"));
            }
        }
        ControlFlow::Continue(())
    }
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}
