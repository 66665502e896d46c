//! Trainings of this and earlier sessions: their run folders, read in the background.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use egui::{Button, CollapsingHeader, Context, RichText, Ui};
use seemore::train::{FolderLock, Progress};

use super::curve::Curve;
use super::plots;
use crate::background::Background;
use crate::worker::{METRICS, StoredValidation};

/// Folder in which run folders are made.
const RUNS: &str = "runs";

/// Maximum number of interrupted runs that are offered.
const OFFERED: usize = 3;

/// A training that has saved its state.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoredRun {
    /// Run folder.
    pub folder: PathBuf,
    /// Number of steps.
    pub step: u64,
    /// Whether a part of its budget is left.
    pub interrupted: bool,
    /// When it was saved, if the system tells.
    pub saved: Option<SystemTime>,
    /// Training loss.
    pub loss: Curve,
    /// Validation loss.
    pub validation_loss: Curve,
    /// Learning rate.
    pub learning_rate: Curve,
    /// Validations with the captions of their samples.
    pub validations: Vec<StoredValidation>,
}

impl StoredRun {
    /// Reads a run folder; `None` if no training has saved there, or one is running there.
    pub fn read(folder: &Path) -> Option<StoredRun> {
        let saved = folder.join("training.json").metadata().ok()?;
        let progress = Progress::load(folder).ok()?;
        FolderLock::probe(folder).ok()?;
        let text = std::fs::read_to_string(folder.join(METRICS)).unwrap_or_default();
        let [loss, validation_loss, learning_rate] =
            ["loss", "val_loss", "learning_rate"].map(|name| column(&text, name));
        Some(StoredRun {
            folder: folder.to_owned(),
            step: progress.step,
            // without states there is nothing to resume
            interrupted: progress.is_interrupted() && folder.join("states").is_dir(),
            saved: saved.modified().ok(),
            loss,
            validation_loss,
            learning_rate,
            validations: StoredValidation::read(folder),
        })
    }

    /// Returns the name of the run folder.
    pub fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or(self.folder.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

/// Returns a column of a file with metrics over its column of steps.
fn column(text: &str, name: &str) -> Curve {
    let mut curve = Curve::default();
    let mut lines = text.lines();
    let place = |header: &str, wanted: &str| header.split(',').position(|name| name == wanted);
    let header = lines.next().unwrap_or_default();
    let (Some(step), Some(value)) = (place(header, "step"), place(header, name)) else {
        return curve;
    };
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
        // a cell is empty where a row has no such figure
        if let (Ok(step), Ok(value)) = (cell(step).parse(), cell(value).parse()) {
            curve.push(step, value);
        }
    }
    curve
}

/// Request of the user for a run.
pub enum Action {
    /// Continue the training in a folder.
    Resume(PathBuf),
    /// Load its model.
    Use(PathBuf),
}

/// The runs that are known, the newest first.
#[derive(Default)]
pub struct Runs {
    found: Vec<StoredRun>,
    reading: Background<(u64, Vec<StoredRun>)>,
    /// Number of times that the folders were asked for; an earlier answer may come later.
    asked: u64,
    /// Run folders outside of the usual one.
    pub elsewhere: Vec<PathBuf>,
    /// Folders of the runs whose curves are drawn.
    overlaid: Vec<PathBuf>,
    /// Folders of interrupted runs that the user does not want to be reminded of.
    pub dismissed: Vec<PathBuf>,
}

impl Runs {
    /// Reads the run folders again.
    pub fn refresh(&mut self, ctx: &Context) {
        self.asked += 1;
        let asked = self.asked;
        let elsewhere = self.elsewhere.clone();
        self.reading.run(ctx, move || {
            let within = std::fs::read_dir(RUNS).into_iter().flatten().flatten();
            let mut folders: Vec<PathBuf> = within.map(|entry| entry.path()).collect();
            folders.extend(elsewhere);
            folders.sort();
            folders.dedup();
            let mut found: Vec<StoredRun> = folders
                .iter()
                .filter_map(|folder| StoredRun::read(folder))
                .collect();
            found.sort_by(|a, b| b.saved.cmp(&a.saved).then_with(|| a.folder.cmp(&b.folder)));
            Some((asked, found))
        });
    }

    /// Takes what was read, and reads the run folders when the page is first shown.
    pub fn poll(&mut self, ctx: &Context) {
        if self.asked == 0 {
            self.refresh(ctx);
        }
        while let Some((asked, found)) = self.reading.poll() {
            if asked == self.asked {
                self.found = found;
            }
        }
    }

    /// Returns the run in a folder.
    pub fn get(&self, folder: &Path) -> Option<&StoredRun> {
        self.found.iter().find(|run| run.folder == folder)
    }

    /// Returns the runs whose curves are drawn, except that of the page's training.
    pub fn overlaid(&self, own: Option<&PathBuf>) -> Vec<&StoredRun> {
        self.overlaid
            .iter()
            .filter(|folder| Some(*folder) != own)
            .filter_map(|folder| self.get(folder))
            .collect()
    }

    /// Offers to resume interrupted runs.
    pub fn offers(&mut self, ui: &mut Ui) -> Option<Action> {
        let mut action = None;
        let mut dismissed = None;
        let offered = self
            .found
            .iter()
            .filter(|run| run.interrupted && !self.dismissed.contains(&run.folder));
        for run in offered.take(OFFERED) {
            ui.horizontal_wrapped(|ui| {
                let name = run.name();
                ui.label(format!("{name} was interrupted at step {}.", run.step))
                    .on_hover_text(run.folder.display().to_string());
                if ui
                    .button(format!("Resume {name}"))
                    .on_hover_text("Continue where the training was stopped")
                    .clicked()
                {
                    action = Some(Action::Resume(run.folder.clone()));
                }
                if ui
                    .button(format!("Dismiss {name}"))
                    .on_hover_text("The run stays in the list")
                    .clicked()
                {
                    dismissed = Some(run.folder.clone());
                }
            });
        }
        self.dismissed.extend(dismissed);
        action
    }

    /// Draws the list of runs.
    pub fn list(&mut self, ui: &mut Ui, running: bool) -> Option<Action> {
        if self.found.is_empty() {
            return None;
        }
        let mut action = None;
        CollapsingHeader::new(format!("Runs ({})", self.found.len()))
            .default_open(true)
            .show(ui, |ui| {
                for run in &self.found {
                    ui.horizontal(|ui| row(ui, run, &mut self.overlaid, running, &mut action));
                }
            });
        action
    }
}

fn row(
    ui: &mut Ui,
    run: &StoredRun,
    overlaid: &mut Vec<PathBuf>,
    running: bool,
    action: &mut Option<Action>,
) {
    let place = overlaid.iter().position(|folder| *folder == run.folder);
    let mut shown = place.is_some();
    let has_curve = run.loss.last().is_some();
    let check = ui
        .add_enabled(has_curve, egui::Checkbox::new(&mut shown, run.name()))
        .on_hover_text(format!("Draw the losses of {}", run.folder.display()))
        .on_disabled_hover_text("It has not written its losses");
    match (check.changed(), place) {
        (true, Some(place)) => drop(overlaid.remove(place)),
        (true, None) => overlaid.push(run.folder.clone()),
        _ => {}
    }
    if let Some(place) = place {
        plots::dot(ui, plots::color(place));
    }
    let last = |name: &str, curve: &Curve| {
        curve
            .last()
            .map_or(String::new(), |loss| format!(", {name} {loss:.3}"))
    };
    let text = format!(
        "{}step {}{}{}",
        if run.interrupted {
            "interrupted at "
        } else {
            ""
        },
        run.step,
        last("loss", &run.loss),
        last("validation", &run.validation_loss)
    );
    ui.label(RichText::new(text).weak());
    if run.interrupted
        && ui
            .add_enabled(!running, Button::new("Resume").small())
            .clicked()
    {
        *action = Some(Action::Resume(run.folder.clone()));
    }
    if ui
        .small_button("Use")
        .on_hover_text("Load its model")
        .clicked()
    {
        *action = Some(Action::Use(run.folder.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_become_curves() {
        let text = "step,seconds,loss,learning_rate,val_loss\n1,0.1,3.5,0.1,\n2,0.2,3.0,0.2,2.5\n";
        assert_eq!(column(text, "loss").points(false), [[1.0, 3.5], [2.0, 3.0]]);
        assert_eq!(column(text, "val_loss").points(false), [[2.0, 2.5]]);
        assert_eq!(column("", "loss").last(), None);
    }

    #[test]
    fn folders_without_a_training_are_no_runs() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(StoredRun::read(dir.path()), None);
        std::fs::write(dir.path().join("training.json"), "damaged").unwrap();
        assert_eq!(StoredRun::read(dir.path()), None);
    }
}
