//! The inspect page: the dispatches that a program of the model records, and the model's parameters.

use std::time::Duration;

use egui::{CentralPanel, Panel, RichText, ScrollArea, Ui};
use egui_extras::{Column, TableBuilder};

use crate::desk::Desk;
use crate::work::inspection::{Inspection, Program};
use crate::worker::Order;

#[derive(Default)]
pub struct InspectPage {
    inspection: Option<Inspection>,
    waiting: bool,
    list: List,
    /// The order of the dispatches' rows, remade when it changes.
    rows: Vec<usize>,
    sorted: Sort,
}

#[derive(Clone, Copy, PartialEq, Default)]
enum List {
    #[default]
    Dispatches,
    Parameters,
}

#[derive(Clone, Copy, PartialEq, Default)]
enum Sort {
    #[default]
    Recorded,
    Kernel,
    Bytes,
    Time,
}

const PROGRAMS: [(Program, &str); 2] = [
    (Program::First, "Picture and first token"),
    (Program::Next, "Next token"),
];

impl InspectPage {
    pub fn take(&mut self, inspection: Inspection) {
        self.inspection = Some(inspection);
        self.waiting = false;
        self.sort();
    }

    /// The order could not be followed, or there is another model.
    pub fn forget(&mut self) {
        (self.inspection, self.waiting) = (None, false);
    }

    /// Sorts the rows anew; equal ones stay as they were recorded.
    fn sort(&mut self) {
        let Some(Inspection { calls, .. }) = &self.inspection else {
            return;
        };
        self.rows = (0..calls.len()).collect();
        match self.sorted {
            Sort::Recorded => {}
            Sort::Kernel => self
                .rows
                .sort_by_key(|&i| (calls[i].0.kernel, calls[i].0.entry)),
            Sort::Bytes => self
                .rows
                .sort_by_key(|&i| std::cmp::Reverse(calls[i].0.bytes())),
            Sort::Time => self.rows.sort_by_key(|&i| std::cmp::Reverse(calls[i].1)),
        }
    }

    pub fn ui(&mut self, ui: &mut Ui, desk: &mut Desk) {
        let ready = desk.models[0].is_some();
        if self.inspection.is_none() && !self.waiting && ready {
            self.order(desk, Program::First);
        }
        Panel::top("programs").show(ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                ui.label("Program");
                let shown = self
                    .inspection
                    .as_ref()
                    .map(|inspection| inspection.program);
                for (program, name) in PROGRAMS {
                    let button = egui::Button::selectable(shown == Some(program), name);
                    if ui.add_enabled(ready && !self.waiting, button).clicked() {
                        self.order(desk, program);
                    }
                }
                ui.separator();
                ui.selectable_value(&mut self.list, List::Dispatches, "Dispatches");
                ui.selectable_value(&mut self.list, List::Parameters, "Parameters");
                // last, so that nothing moves under the mouse when it comes
                if self.waiting {
                    ui.spinner();
                    ui.label("running it once");
                }
            });
            if let Some(inspection) = &self.inspection {
                ui.label(RichText::new(summary(inspection)).weak());
            }
            ui.add_space(2.0);
        });
        CentralPanel::default().show(ui, |ui| match (&self.inspection, self.list) {
            (None, _) => {
                let text = if ready {
                    "The program is on its way."
                } else {
                    "Load a model to see what it is made of."
                };
                ui.vertical_centered(|ui| {
                    ui.add_space(ui.available_height() * 0.3);
                    ui.label(text);
                });
            }
            // a narrow window scrolls to the times
            (Some(_), List::Dispatches) => {
                drop(ScrollArea::horizontal().show(ui, |ui| self.dispatches(ui)))
            }
            (Some(inspection), List::Parameters) => parameters(ui, inspection),
        });
    }

    fn order(&mut self, desk: &Desk, program: Program) {
        self.waiting = true;
        desk.worker.order(Order::Inspect(program));
    }

    fn dispatches(&mut self, ui: &mut Ui) {
        let Some(Inspection { calls, .. }) = &self.inspection else {
            return;
        };
        let mut sorted = self.sorted;
        let table = TableBuilder::new(ui)
            .striped(true)
            .column(Column::auto().at_least(46.0))
            .column(Column::initial(315.0))
            .columns(Column::remainder().at_least(150.0), 2);
        let table = table.columns(Column::auto().at_least(80.0), 3);
        let table = table.header(22.0, |mut header| {
            for (title, by) in [
                ("No.", Some(Sort::Recorded)),
                ("Kernel", Some(Sort::Kernel)),
                ("Reads", None),
                ("Writes", None),
            ]
            .into_iter()
            .chain([
                ("Workgroups", None),
                ("Bytes", Some(Sort::Bytes)),
                ("Time", Some(Sort::Time)),
            ]) {
                header.col(|ui| match by {
                    Some(by) => drop(
                        ui.selectable_value(&mut sorted, by, title)
                            .on_hover_text("Sort by this"),
                    ),
                    None => drop(ui.strong(title)),
                });
            }
        });
        table.body(|body| {
            body.rows(20.0, self.rows.len(), |mut row| {
                let number = self.rows[row.index()];
                let (call, time) = &calls[number];
                row.col(|ui| drop(ui.monospace((number + 1).to_string())));
                let name = RichText::new(format!("{}.{}", call.kernel, call.entry)).monospace();
                row.col(|ui| drop(ui.add(egui::Label::new(name).extend())));
                for shapes in [&call.reads, &call.writes] {
                    let text = shapes
                        .iter()
                        .map(|shape| dimensions(shape))
                        .collect::<Vec<_>>()
                        .join("  ");
                    row.col(|ui| {
                        drop(ui.add(egui::Label::new(RichText::new(text).monospace()).truncate()))
                    });
                }
                let [x, y, z] = call.grid;
                row.col(|ui| drop(ui.monospace(format!("{x} x {y} x {z}"))));
                row.col(|ui| drop(ui.monospace(bytes(call.bytes()))));
                row.col(|ui| drop(ui.monospace(time.map_or("not told".into(), micros))));
            });
        });
        if sorted != self.sorted {
            self.sorted = sorted;
            self.sort();
        }
    }
}

fn parameters(ui: &mut Ui, inspection: &Inspection) {
    let table = TableBuilder::new(ui)
        .striped(true)
        .column(Column::remainder())
        .columns(Column::auto().at_least(120.0), 3);
    let table = table.header(22.0, |mut header| {
        for title in ["Parameter", "Shape", "Elements", "Norm"] {
            header.col(|ui| drop(ui.strong(title)));
        }
    });
    table.body(|body| {
        body.rows(20.0, inspection.parameters.len(), |mut row| {
            let parameter = &inspection.parameters[row.index()];
            row.col(|ui| drop(ui.monospace(&parameter.name)));
            row.col(|ui| drop(ui.monospace(dimensions(&parameter.shape))));
            row.col(|ui| drop(ui.monospace(parameter.shape.iter().product::<usize>().to_string())));
            row.col(|ui| drop(ui.monospace(format!("{:.3}", parameter.norm))));
        });
    });
}

fn summary(inspection: &Inspection) -> String {
    let Inspection {
        calls,
        memory,
        parameters,
        ..
    } = inspection;
    let elements: usize = parameters
        .iter()
        .map(|parameter| parameter.shape.iter().product::<usize>())
        .sum();
    let time: Option<Duration> = calls.iter().map(|(_, time)| *time).sum();
    let time = time.map_or("the adapter does not tell times".into(), |time| {
        format!("{} in this run", micros(time))
    });
    format!(
        "{} dispatches, {time}; {} of buffers ({} without sharing); {} parameters in {} tensors",
        calls.len(),
        bytes(memory.total()),
        bytes(memory.unshared + memory.held),
        elements,
        parameters.len()
    )
}

/// As `64x36x192`; a single number for vectors.
fn dimensions(shape: &[usize]) -> String {
    shape
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join("x")
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

fn micros(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 10_000.0 {
        format!("{micros:.0} us")
    } else {
        format!("{:.1} ms", micros / 1e3)
    }
}
