//! A caption, token by token.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use seemore::caption::Sampling;
use seemore::caption::{CaptionToken, Whole};
use seemore::image::Picture;

use crate::worker::{Bench, Report, Slot};

/// How a caption is wanted.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Settings {
    /// 0 takes the likeliest token every time.
    pub temperature: f32,
    /// Only the so many likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability.
    pub top_p: f32,
    pub seed: u64,
    /// Most tokens.
    pub most: usize,
    /// What the caption starts with.
    pub prefix: String,
    /// Hypotheses of a beam search shown below the caption; 1 for none.
    pub beams: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 1,
            most: 40,
            prefix: String::new(),
            beams: 1,
        }
    }
}

/// A picture to caption. Jobs are numbered upwards.
#[derive(Debug, Clone)]
pub struct Job {
    pub number: u64,
    pub slot: Slot,
    pub picture: Arc<Picture>,
    pub settings: Settings,
}

/// Pixels of a side of the picture that heat is drawn over.
pub const SHOWN: usize = 320;

/// How a job goes on.
#[derive(Debug)]
pub enum Progress {
    /// The part of the picture that the model sees, [`SHOWN`] pixels wide and high.
    Shown(Picture),
    Token(CaptionToken),
    /// Whole captions found by a beam, the likeliest first.
    Beams(Vec<Whole>),
    Ended {
        seconds: f64,
        stopped: bool,
    },
}

/// Writes a caption, and reports each of its tokens.
pub fn caption(bench: &mut Bench, job: Job) -> anyhow::Result<()> {
    let Job {
        number,
        slot,
        picture,
        settings,
    } = job;
    let (stopped, out) = (bench.stopped, bench.report);
    let stop = || stopped.load(Ordering::Relaxed) >= number;
    let report = |progress| {
        out(Report::Caption {
            job: number,
            progress,
        })
    };
    let Some(captioner) = &mut bench.captioners[slot] else {
        anyhow::bail!("no model is loaded: choose a checkpoint folder first")
    };
    let start = Instant::now();
    let Settings {
        temperature,
        top_k,
        top_p,
        seed,
        most,
        prefix,
        beams,
    } = settings;
    if !stop() {
        report(Progress::Shown(captioner.shown(&picture).resize(SHOWN)));
        let sampling = Sampling {
            temperature,
            top_k,
            top_p,
            seed,
        };
        let looks = captioner.looks();
        captioner.caption(&picture, &prefix, most, sampling, looks, &mut |written| {
            report(Progress::Token(written.clone()));
            !stop()
        })?;
    }
    if beams > 1 && !stop() {
        report(Progress::Beams(
            captioner.likeliest(&picture, &prefix, most, beams, 0.0)?,
        ));
    }
    report(Progress::Ended {
        seconds: start.elapsed().as_secs_f64(),
        stopped: stop(),
    });
    Ok(())
}
