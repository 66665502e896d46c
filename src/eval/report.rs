//! HTML report of an evaluation, as one self-contained file.

use std::fmt::{self, Display, Formatter, Write};
use std::io::Cursor;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{ImageFormat, RgbImage};

use super::{Evaluation, ScoredCaption, references};
use crate::data::{Dataset, Sample};
use crate::eval::metrics::Calibration;

/// An evaluation with what it was run on; its `Display` is the HTML document.
pub struct Report<'a> {
    /// Result to report.
    pub evaluation: &'a Evaluation,
    /// Data set that was evaluated.
    pub dataset: &'a Dataset,
    /// Name of the model.
    pub model: &'a str,
    /// Name of the data.
    pub data: &'a str,
    /// Name of the graphics adapter.
    pub adapter: &'a str,
    /// Beam width; 1 is greedy.
    pub beam: usize,
}

/// Number of wrong captions shown.
const WORST: usize = 20;
/// Maximum number of pictures on the contact sheet, so that the file stays at a few megabytes.
const SHEET: usize = 600;

/// Text with HTML's special characters escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --line: #dfe3ea; --ground: #fff; --card: #f7f8fa; --right: #14804a; --wrong: #b42318; --mark: #2f6fde; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaf0; --soft: #98a2b3; --line: #333a47; --ground: #14171d; --card: #1c2129; --right: #4cc38a; --wrong: #ff8577; --mark: #74a4f7; } }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.5rem 4rem; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; } p { margin: 0 0 .75rem; color: var(--soft); overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th { text-align: left; font-weight: 400; color: var(--soft); } th, td { padding: .3rem 2rem .3rem 0; border-bottom: 1px solid var(--line); } td { text-align: right; padding-right: 0; font-weight: 600; }
.top { display: flex; flex-wrap: wrap; gap: 1rem 5rem; align-items: flex-start; }
svg { max-width: 100%; } svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem; }
figure { margin: 0; padding: .75rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
figure img { display: block; width: 96px; height: 96px; margin: 0 auto .5rem; image-rendering: pixelated; background: #fff; }
figcaption { font-size: 13px; line-height: 1.35; overflow-wrap: anywhere; } figcaption div { margin-top: .15rem; } .truth, .note { color: var(--soft); } .note { font-size: 12px; font-variant-numeric: tabular-nums; }
.right { color: var(--right); } .wrong { color: var(--wrong); }
";

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let Report {
            evaluation,
            dataset,
            model,
            data,
            adapter,
            beam,
        } = self;
        let pairs: Vec<(&Sample, &ScoredCaption)> =
            dataset.samples.iter().zip(&evaluation.captions).collect();
        let search = if *beam == 1 {
            "greedy".into()
        } else {
            format!("beam of {beam}")
        };
        writeln!(
            f,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">"
        )?;
        writeln!(
            f,
            "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Evaluation of {}</title>",
            Escaped(model)
        )?;
        writeln!(
            f,
            "<style>{STYLE}</style>\n</head>\n<body>\n<h1>Evaluation of {}</h1>",
            Escaped(model)
        )?;
        writeln!(
            f,
            "<p>{} pictures of {}, {search}, on {}</p>",
            pairs.len(),
            Escaped(data),
            Escaped(adapter)
        )?;

        writeln!(f, "<div class=\"top\">\n<div>\n<h2>Scores</h2>\n<table>")?;
        for (name, value) in evaluation.lines() {
            writeln!(f, "<tr><th>{name}</th><td>{value}</td></tr>")?;
        }
        writeln!(f, "</table>\n</div>\n<div>\n<h2>Calibration</h2>")?;
        writeln!(
            f,
            "<p>Share of captions that are right, by the probability the model gave them</p>"
        )?;
        plot(f, &evaluation.calibration)?;
        writeln!(f, "</div>\n</div>")?;

        let mut worst: Vec<_> = pairs.iter().filter(|(_, scored)| !scored.exact).collect();
        worst.sort_by(|(_, a), (_, b)| b.probability.total_cmp(&a.probability));
        worst.truncate(WORST);
        if !worst.is_empty() {
            writeln!(
                f,
                "<h2>Confident and wrong</h2>\n<p>The {} wrong captions with the highest probability</p>",
                worst.len()
            )?;
            sheet(f, worst.into_iter())?;
        }
        let step = pairs.len().div_ceil(SHEET).max(1);
        let which = if step == 1 {
            "All pictures".into()
        } else {
            format!("One in {step} of {} pictures", pairs.len())
        };
        writeln!(
            f,
            "<h2>Contact sheet</h2>\n<p>{which}: truth, and the caption that was written</p>"
        )?;
        sheet(f, pairs.iter().step_by(step))?;
        writeln!(f, "</body>\n</html>")
    }
}

impl Evaluation {
    /// Names and values of all scores, formatted for display.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let number = |value: f64| format!("{value:.4}");
        let Evaluation { scores, .. } = self;
        vec![
            ("pictures", self.captions.len().to_string()),
            ("exact match", number(self.exact_match)),
            ("word F1", number(scores.word_f1)),
            ("BLEU-1", number(scores.bleu[0])),
            ("BLEU-2", number(scores.bleu[1])),
            ("BLEU-3", number(scores.bleu[2])),
            ("BLEU-4", number(scores.bleu[3])),
            ("ROUGE-L", number(scores.rouge_l)),
            ("CIDEr-D", number(scores.cider_d)),
            ("perplexity", number(self.perplexity)),
            ("calibration error", number(self.calibration.error)),
            ("captions/s", format!("{:.1}", self.captions_per_s)),
        ]
    }
}

/// Writes pictures with their true and written captions.
fn sheet<'a>(
    f: &mut Formatter,
    pairs: impl Iterator<Item = &'a (&'a Sample, &'a ScoredCaption)>,
) -> fmt::Result {
    writeln!(f, "<div class=\"sheet\">")?;
    for (sample, scored) in pairs {
        let mut truths = references(sample);
        let first = truths.next().unwrap_or_default();
        let more: Vec<&str> = truths.collect();
        let (class, mark) = if scored.exact {
            ("right", '✓')
        } else {
            ("wrong", '✗')
        };
        writeln!(
            f,
            "<figure title=\"{}\"><img alt=\"\" loading=\"lazy\" src=\"{}\">",
            Escaped(&sample.id),
            picture(sample)
        )?;
        write!(f, "<figcaption><div class=\"truth\"")?;
        if !more.is_empty() {
            write!(f, " title=\"{}\"", Escaped(&more.join("\n")))?;
        }
        writeln!(
            f,
            ">{}{}</div>",
            Escaped(first),
            if more.is_empty() {
                String::new()
            } else {
                format!(" (+{})", more.len())
            }
        )?;
        writeln!(
            f,
            "<div class=\"{class}\">{mark} {}</div>",
            Escaped(&scored.caption)
        )?;
        let (probability, f1) = (scored.probability, scored.word_f1);
        writeln!(
            f,
            "<div class=\"note\">p {probability:.3}, word F1 {f1:.2}</div></figcaption></figure>"
        )?;
    }
    writeln!(f, "</div>")
}

/// The preprocessed picture of a sample as a data URL.
fn picture(sample: &Sample) -> String {
    let side = (sample.rgb.len() / 3).isqrt() as u32;
    let mut png = Cursor::new(vec![]);
    let image =
        RgbImage::from_raw(side, side, sample.rgb.clone()).expect("a sample is a square of RGB");
    image
        .write_to(&mut png, ImageFormat::Png)
        .expect("RGB is written to memory");
    format!(
        "data:image/png;base64,{}",
        BASE64_STANDARD.encode(png.into_inner())
    )
}

/// Draws accuracy over probability: a bar for each bin's accuracy, a dot at its mean probability
/// whose area is the bin's share of captions, and the diagonal of perfect calibration.
fn plot(f: &mut Formatter, calibration: &Calibration) -> fmt::Result {
    const SIZE: f64 = 280.0;
    const LEFT: f64 = 40.0;
    const TOP: f64 = 10.0;
    let (x, y) = (
        |value: f64| LEFT + SIZE * value,
        |value: f64| TOP + SIZE * (1.0 - value),
    );
    let all: usize = calibration.bins.iter().map(|bin| bin.count).sum();
    writeln!(
        f,
        "<svg width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\">",
        LEFT + SIZE + 20.0,
        TOP + SIZE + 45.0
    )?;
    writeln!(
        f,
        "<title>Calibration: expected error {:.4}</title>",
        calibration.error
    )?;
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (across, down) = (x(tick), y(tick));
        writeln!(
            f,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{down}\" y2=\"{down}\" stroke=\"var(--line)\"/>",
            LEFT + SIZE
        )?;
        writeln!(
            f,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{tick}</text>",
            LEFT - 6.0,
            down + 4.0
        )?;
        writeln!(
            f,
            "<text x=\"{across}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            TOP + SIZE + 16.0
        )?;
    }
    for bin in calibration.bins.iter().filter(|bin| bin.count > 0) {
        let (from, to) = bin.range;
        let (width, height) = (SIZE * (to - from) - 3.0, SIZE * bin.accuracy);
        write!(
            f,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" ",
            x(from) + 1.5,
            y(bin.accuracy)
        )?;
        let title = format!(
            "{} captions, probability {:.3}, right {:.3}",
            bin.count, bin.probability, bin.accuracy
        );
        writeln!(
            f,
            "fill=\"var(--mark)\" fill-opacity=\".3\"><title>{title}</title></rect>"
        )?;
    }
    writeln!(
        f,
        "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"var(--soft)\" stroke-dasharray=\"4 4\"/>",
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    )?;
    for bin in calibration.bins.iter().filter(|bin| bin.count > 0) {
        let radius = 3.0 + 9.0 * (bin.count as f64 / all as f64).sqrt();
        writeln!(
            f,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"var(--mark)\"/>",
            x(bin.probability),
            y(bin.accuracy)
        )?;
    }
    writeln!(
        f,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">probability of the caption</text>",
        x(0.5),
        TOP + SIZE + 36.0
    )?;
    let turned = format!("rotate(-90 10 {})", y(0.5));
    writeln!(
        f,
        "<text x=\"10\" y=\"{}\" text-anchor=\"middle\" transform=\"{turned}\">share right</text>\n</svg>",
        y(0.5)
    )
}
