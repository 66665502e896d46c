//! The check of the pictures and captions before a training: counts, problems and samples.

use std::path::PathBuf;
use std::time::Duration;

use egui::{ColorImage, Image, Label, ProgressBar, RichText, TextureHandle, TextureOptions, Ui};
use seemore::data::{Across, FileStats, Layout, Stats};
use seemore::train::DataConfig;

use super::fields::short_path;
use crate::background::Background;
use crate::format::{bytes, count};
use crate::hint;
use crate::progress::Counter;

/// Number of pictures on the sheet.
const SAMPLES: usize = 24;

/// Number of problems that are listed.
const LISTED: usize = 6;

/// The data of a training, as far as the check reads them.
#[derive(Debug, Clone, PartialEq)]
struct Subject {
    paths: Vec<PathBuf>,
    layout: Layout,
}

impl Subject {
    fn of(data: &DataConfig) -> Subject {
        Subject {
            paths: [&data.train[..], &data.validation[..]].concat(),
            layout: data.layout(),
        }
    }
}

/// Counts, problems and samples that a check has found.
struct Report {
    stats: Stats,
    /// Pixels of the sheet.
    sheet: ColorImage,
    texture: Option<TextureHandle>,
}

/// The check that is shown or runs.
#[derive(Default)]
pub struct DataCheck {
    checks: Background<(Subject, Result<Report, String>)>,
    running: Option<(Subject, Counter)>,
    checked: Option<(Subject, Result<Report, String>)>,
}

impl DataCheck {
    /// Starts a check.
    pub fn start(&mut self, ui: &Ui, data: &DataConfig) {
        let (subject, progress) = (Subject::of(data), Counter::default());
        self.running = Some((subject.clone(), progress.clone()));
        self.checks.run(ui.ctx(), move || {
            let read = Stats::read(&subject.paths, &subject.layout, SAMPLES, &progress);
            let report = read.map(|(stats, sheet)| {
                let sheet = sheet.draw();
                let size = [sheet.width() as usize, sheet.height() as usize];
                Report {
                    stats,
                    sheet: ColorImage::from_rgb(size, sheet.as_raw()),
                    texture: None,
                }
            });
            let report = report.map_err(|error| hint::explain(&error));
            Some((subject, report))
        });
    }

    /// Takes the result of a check.
    pub fn poll(&mut self) {
        while let Some((subject, report)) = self.checks.poll() {
            // another check may have been started since
            if self
                .running
                .as_ref()
                .is_some_and(|(running, _)| *running == subject)
            {
                self.running = None;
                self.checked = Some((subject, report));
            }
        }
    }

    /// Whether a check runs.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether these data were checked and can be read.
    pub fn has_passed(&self, data: &DataConfig) -> bool {
        self.checked
            .as_ref()
            .is_some_and(|(subject, report)| *subject == Subject::of(data) && report.is_ok())
    }

    /// Whether there is something to show.
    pub fn has_report(&self) -> bool {
        self.running.is_some() || self.checked.is_some()
    }

    /// Draws the progress or the result.
    pub fn show(&mut self, ui: &mut Ui) {
        if let Some((_, progress)) = &self.running {
            let (done, total) = progress.get().unwrap_or((0, 0));
            let share = done as f32 / total.max(1) as f32;
            ui.add(ProgressBar::new(share).text(format!("Checking pictures: {done} of {total}")));
            ui.ctx().request_repaint_after(Duration::from_millis(100));
            return;
        }
        match &mut self.checked {
            None => {}
            Some((_, Err(message))) => {
                ui.colored_label(ui.visuals().error_fg_color, &*message);
            }
            Some((_, Ok(report))) => {
                report.stats.files.iter().for_each(|stats| file(ui, stats));
                report
                    .stats
                    .across
                    .iter()
                    .for_each(|across| shared(ui, across));
                let texture = report.texture.get_or_insert_with(|| {
                    ui.ctx().load_texture(
                        "samples of the data",
                        report.sheet.clone(),
                        TextureOptions::LINEAR,
                    )
                });
                let size = texture.size_vec2();
                let scale = (ui.available_width() / size.x).min(1.0);
                let image = Image::new((texture.id(), size * scale));
                ui.add(image.alt_text("Samples of the data"));
            }
        }
    }
}

fn file(ui: &mut Ui, stats: &FileStats) {
    ui.horizontal_wrapped(|ui| {
        ui.strong(short_path(&stats.file))
            .on_hover_text(stats.file.display().to_string());
        let words = stats.words;
        let text = format!(
            "{}, {}, {}; {} to {} words, {} in the middle",
            count(stats.pictures, "picture"),
            count(stats.captions, "caption"),
            bytes(stats.bytes),
            words.min,
            words.max,
            words.median,
        );
        ui.label(text);
    });
    let repeats = stats.repeats.exact + stats.repeats.near;
    if repeats > 0 {
        ui.label(RichText::new(format!("{} in it twice", count(repeats, "picture"))).weak());
    }
    for note in &stats.notes {
        ui.add(Label::new(RichText::new(note).weak()).wrap());
    }
    if stats.left_out == 0 {
        return;
    }
    let color = ui.visuals().error_fg_color;
    ui.colored_label(
        color,
        format!("{} cannot be used:", count(stats.left_out, "row")),
    );
    for problem in stats.problems.iter().take(LISTED) {
        ui.add(Label::new(RichText::new(problem).color(color)).wrap());
    }
    if stats.left_out > LISTED {
        ui.colored_label(color, format!("and {} more", stats.left_out - LISTED));
    }
}

fn shared(ui: &mut Ui, across: &Across) {
    let number = across.duplicates.exact + across.duplicates.near;
    let text = format!(
        "{} of {} also in {}. Turn on Skip duplicates across sets to leave them out of training.",
        count(number, "picture"),
        short_path(&across.file),
        short_path(&across.other)
    );
    ui.add(Label::new(RichText::new(text).color(ui.visuals().warn_fg_color)).wrap());
}
