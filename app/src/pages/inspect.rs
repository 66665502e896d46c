//! The Inspect page: the dispatches of a program and the parameters of the model.

mod job;

use std::time::Duration;

use egui::{CentralPanel, Label, Panel, RichText, ScrollArea, Ui};
use egui_extras::{Column, TableBuilder};

pub use job::{InspectEvent, InspectJob, Inspection, Parameter, Program};

use crate::format::{bytes, count, micros};
use crate::page::{Page, PageContext};
use crate::theme::Icon;
use crate::worker::Event;

/// The Inspect page.
#[derive(Default)]
pub struct InspectPage {
    inspection: Option<Inspection>,
    waiting: bool,
    table: Table,
    /// Order of the rows in the table of dispatches.
    rows: Vec<usize>,
    sorted: Sort,
}

#[derive(Clone, Copy, PartialEq, Default)]
enum Table {
    #[default]
    Dispatches,
    Parameters,
}

/// Column that the dispatches are sorted by.
#[derive(Clone, Copy, PartialEq, Default)]
enum Sort {
    #[default]
    Recorded,
    Kernel,
    Bytes,
    Time,
}

const PROGRAMS: [(Program, &str); 2] = [
    (Program::FirstToken, "Picture and first token"),
    (Program::NextToken, "Next token"),
];

/// Columns of the table of dispatches, some of which it can be sorted by.
const COLUMNS: [(&str, Option<Sort>); 7] = [
    ("No.", Some(Sort::Recorded)),
    ("Kernel", Some(Sort::Kernel)),
    ("Inputs", None),
    ("Outputs", None),
    ("Workgroups", None),
    ("Bytes", Some(Sort::Bytes)),
    ("Time", Some(Sort::Time)),
];

impl Page for InspectPage {
    fn title(&self) -> &'static str {
        "Inspect"
    }

    fn icon(&self) -> Icon {
        Icon::Microscope
    }

    fn handle(&mut self, event: &mut Event, context: &mut PageContext) {
        if let Event::ModelLoaded { slot: 0, .. } | Event::Stopped(_) = event {
            (self.inspection, self.waiting) = (None, false);
        }
        match event.take::<InspectEvent>() {
            Some(Ok(inspection)) => {
                (self.inspection, self.waiting) = (Some(*inspection), false);
                self.sort();
            }
            Some(Err(message)) => {
                (self.inspection, self.waiting) = (None, false);
                context.toasts.add(message);
            }
            None => {}
        }
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PageContext) {
        let ready = context.model(0).is_some();
        if self.inspection.is_none() && !self.waiting && ready {
            self.run(context, Program::FirstToken);
        }
        Panel::top("programs").show(ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                ui.label("Program");
                let shown = self.inspection.as_ref().map(|shown| shown.program);
                for (program, name) in PROGRAMS {
                    let button = egui::Button::selectable(shown == Some(program), name);
                    if ui.add_enabled(ready && !self.waiting, button).clicked() {
                        self.run(context, program);
                    }
                }
                ui.separator();
                ui.selectable_value(&mut self.table, Table::Dispatches, "Dispatches");
                ui.selectable_value(&mut self.table, Table::Parameters, "Parameters");
                // last, so that nothing moves when it appears
                if self.waiting {
                    ui.spinner();
                    ui.label("Profiling...");
                }
            });
            if let Some(inspection) = &self.inspection {
                ui.label(RichText::new(summary(inspection)).weak());
            }
            ui.add_space(2.0);
        });
        CentralPanel::default().show(ui, |ui| match (&self.inspection, self.table) {
            (None, _) => {
                let text = if ready {
                    "Profiling the model..."
                } else {
                    "Choose a model to inspect it."
                };
                ui.vertical_centered(|ui| {
                    ui.add_space(ui.available_height() * 0.3);
                    ui.label(text);
                });
            }
            // a narrow window scrolls to the times
            (Some(_), Table::Dispatches) => {
                ScrollArea::horizontal().show(ui, |ui| self.dispatches(ui));
            }
            (Some(inspection), Table::Parameters) => parameters(ui, inspection),
        });
    }
}

impl InspectPage {
    fn run(&mut self, context: &PageContext, program: Program) {
        self.waiting = true;
        context.worker.send(InspectJob { program });
    }

    /// Sorts the rows; equal ones keep the order in which they were recorded.
    fn sort(&mut self) {
        let Some(Inspection { dispatches, .. }) = &self.inspection else {
            return;
        };
        self.rows = (0..dispatches.len()).collect();
        let dispatch = |&i: &usize| &dispatches[i].0;
        match self.sorted {
            Sort::Recorded => {}
            Sort::Kernel => self
                .rows
                .sort_by_key(|i| (dispatch(i).kernel, dispatch(i).entry)),
            Sort::Bytes => self
                .rows
                .sort_by_key(|i| std::cmp::Reverse(dispatch(i).bytes())),
            Sort::Time => self
                .rows
                .sort_by_key(|&i| std::cmp::Reverse(dispatches[i].1)),
        }
    }

    fn dispatches(&mut self, ui: &mut Ui) {
        let Some(Inspection { dispatches, .. }) = &self.inspection else {
            return;
        };
        let mut sorted = self.sorted;
        let table = TableBuilder::new(ui)
            .striped(true)
            .column(Column::auto().at_least(46.0))
            .column(Column::initial(315.0))
            .columns(Column::remainder().at_least(150.0), 2)
            .columns(Column::auto().at_least(80.0), 3);
        let table = table.header(22.0, |mut header| {
            for (title, by) in COLUMNS {
                header.col(|ui| match by {
                    Some(by) => drop(
                        ui.selectable_value(&mut sorted, by, title)
                            .on_hover_text("Sort by this column"),
                    ),
                    None => drop(ui.strong(title)),
                });
            }
        });
        table.body(|body| {
            body.rows(20.0, self.rows.len(), |mut row| {
                let number = self.rows[row.index()];
                let (dispatch, time) = &dispatches[number];
                row.col(|ui| drop(ui.monospace((number + 1).to_string())));
                let name = format!("{}.{}", dispatch.kernel, dispatch.entry);
                row.col(|ui| drop(ui.add(Label::new(RichText::new(name).monospace()).extend())));
                for shapes in [&dispatch.reads, &dispatch.writes] {
                    let shapes: Vec<_> = shapes.iter().map(|shape| dimensions(shape)).collect();
                    let text = RichText::new(shapes.join("  ")).monospace();
                    row.col(|ui| drop(ui.add(Label::new(text).truncate())));
                }
                let [x, y, z] = dispatch.grid;
                row.col(|ui| drop(ui.monospace(format!("{x} x {y} x {z}"))));
                row.col(|ui| drop(ui.monospace(bytes(dispatch.bytes()))));
                row.col(|ui| drop(ui.monospace(time.map_or("n/a".into(), micros))));
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
            row.col(|ui| drop(ui.monospace(elements(parameter).to_string())));
            row.col(|ui| drop(ui.monospace(format!("{:.3}", parameter.norm))));
        });
    });
}

/// Returns a line with the totals of the program and the model.
fn summary(inspection: &Inspection) -> String {
    let Inspection {
        dispatches,
        memory,
        parameters,
        ..
    } = inspection;
    let time: Option<Duration> = dispatches.iter().map(|(_, time)| *time).sum();
    let time = time.map_or("GPU timing unavailable".into(), |time| {
        format!("{} in one run", micros(time))
    });
    format!(
        "{} dispatches, {time}; {} of buffers ({} without sharing); {} in {}",
        dispatches.len(),
        bytes(memory.total()),
        bytes(memory.unshared + memory.held),
        count(parameters.iter().map(elements).sum(), "parameter"),
        count(parameters.len(), "tensor")
    )
}

fn elements(parameter: &Parameter) -> usize {
    parameter.shape.iter().product()
}

/// Formats a shape like `64x36x192`.
fn dimensions(shape: &[usize]) -> String {
    let dimensions: Vec<_> = shape.iter().map(usize::to_string).collect();
    dimensions.join("x")
}
