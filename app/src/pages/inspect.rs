//! The Inspect page: the dispatches of a program and the parameters of the model.

use std::sync::Arc;
use std::time::Duration;

use egui::{Align, Button, CentralPanel, Label, Layout, Panel, RichText, ScrollArea, Ui, vec2};
use egui_extras::{Column, TableBuilder};

use crate::format::{bytes, count, micros};
use crate::page::{Page, PageContext, Request};
use crate::theme::{self, Action, Icon};
use crate::worker::{Command, Event, Inspection, Parameter, Program};

/// The Inspect page.
#[derive(Default)]
pub struct InspectPage {
    inspection: Option<Arc<Inspection>>,
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

/// Columns of the table of dispatches, some of which it can be sorted by, and whether they hold
/// numbers.
const COLUMNS: [(&str, Option<Sort>, bool); 7] = [
    ("No.", Some(Sort::Recorded), true),
    ("Kernel", Some(Sort::Kernel), false),
    ("Inputs", None, false),
    ("Outputs", None, false),
    ("Workgroups", None, true),
    ("Memory, kB", Some(Sort::Bytes), true),
    ("Time, \u{b5}s", Some(Sort::Time), true),
];

impl Page for InspectPage {
    fn title(&self) -> &'static str {
        "Inspect"
    }

    fn icon(&self) -> Icon {
        Icon::Microscope
    }

    fn handle(&mut self, event: &Event, context: &mut PageContext) {
        match event {
            Event::ModelLoaded { slot: 0, .. } | Event::Stopped(_) => {
                (self.inspection, self.waiting) = (None, false);
            }
            Event::Inspected(Ok(inspection)) => {
                (self.inspection, self.waiting) = (Some(inspection.clone()), false);
                self.sort();
            }
            Event::Inspected(Err(message)) => {
                (self.inspection, self.waiting) = (None, false);
                context.toasts.add(message);
            }
            _ => {}
        }
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PageContext) {
        let ready = context.model(0).is_some();
        if self.inspection.is_none() && !self.waiting && ready {
            self.run(context, Program::FirstToken);
        }
        let programs = Panel::top("programs").frame(theme::panel_frame(ui));
        programs.show(ui, |ui| {
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
        });
        CentralPanel::default().show(ui, |ui| match (&self.inspection, self.table) {
            (None, _) => empty(ui, context, ready),
            // a narrow window scrolls to the times
            (Some(_), Table::Dispatches) => {
                ScrollArea::horizontal()
                    .auto_shrink(false)
                    .show(ui, |ui| self.dispatches(ui));
            }
            (Some(inspection), Table::Parameters) => parameters(ui, inspection),
        });
    }
}

impl InspectPage {
    fn run(&mut self, context: &PageContext, program: Program) {
        self.waiting = true;
        context.worker.send(Command::Inspect(program));
    }

    /// Sorts the rows; equal ones keep the order in which they were recorded.
    fn sort(&mut self) {
        let Some(inspection) = &self.inspection else {
            return;
        };
        let dispatches = &inspection.dispatches;
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
        let Some(inspection) = &self.inspection else {
            return;
        };
        let dispatches = &inspection.dispatches;
        let mut sorted = self.sorted;
        let longest = dispatches.iter().filter_map(|(_, time)| *time).max();
        let longest = longest.unwrap_or_default().as_secs_f32();
        let table = TableBuilder::new(ui)
            .striped(true)
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Column::exact(46.0))
            .column(Column::initial(300.0))
            .columns(Column::remainder().at_least(140.0), 2)
            .column(Column::initial(110.0))
            .columns(Column::initial(96.0), 2);
        let table = table.header(22.0, |mut header| {
            for (title, by, numbers) in COLUMNS {
                header.col(|ui| {
                    cell(ui, numbers, |ui| match by {
                        Some(by) if heading(ui, title, sorted == by) => sorted = by,
                        Some(_) => {}
                        None => drop(ui.strong(title)),
                    })
                });
            }
        });
        table.body(|body| {
            body.rows(20.0, self.rows.len(), |mut row| {
                let number = self.rows[row.index()];
                let (dispatch, time) = &dispatches[number];
                row.col(|ui| figure(ui, (number + 1).to_string()));
                let name = format!("{}.{}", dispatch.kernel, dispatch.entry);
                row.col(|ui| drop(ui.add(Label::new(RichText::new(name).monospace()).extend())));
                for shapes in [&dispatch.reads, &dispatch.writes] {
                    let shapes: Vec<_> = shapes.iter().map(|shape| dimensions(shape)).collect();
                    let text = RichText::new(shapes.join("  ")).monospace();
                    row.col(|ui| drop(ui.add(Label::new(text).truncate())));
                }
                let [x, y, z] = dispatch.grid;
                row.col(|ui| figure(ui, format!("{x} x {y} x {z}")));
                row.col(|ui| figure(ui, format!("{:.1}", dispatch.bytes() as f64 / 1e3)));
                row.col(|ui| match time {
                    None => figure(ui, "n/a".into()),
                    Some(time) => {
                        bar(ui, time.as_secs_f32() / longest.max(f32::MIN_POSITIVE));
                        figure(ui, format!("{:.0}", time.as_secs_f64() * 1e6));
                    }
                });
            });
        });
        if sorted != self.sorted {
            self.sorted = sorted;
            self.sort();
        }
    }
}

fn empty(ui: &mut Ui, context: &mut PageContext, ready: bool) {
    let (heading, text) = match ready {
        true => ("Profiling the model...", "Every dispatch is run and timed."),
        false => ("No model", "Choose a model to inspect it."),
    };
    theme::empty(ui, Icon::Microscope, heading, text, |ui| {
        let choose = Action::new(Icon::Box, "Choose a model...").primary();
        if !ready && ui.add(choose).clicked() {
            context.requests.push(Request::ChooseModel(0));
        }
    });
}

fn parameters(ui: &mut Ui, inspection: &Inspection) {
    let table = TableBuilder::new(ui)
        .striped(true)
        .cell_layout(Layout::left_to_right(Align::Center))
        .column(Column::remainder())
        .columns(Column::initial(130.0), 3);
    let table = table.header(22.0, |mut header| {
        for (title, numbers) in [
            ("Parameter", false),
            ("Shape", true),
            ("Elements", true),
            ("Norm", true),
        ] {
            header.col(|ui| cell(ui, numbers, |ui| drop(ui.strong(title))));
        }
    });
    table.body(|body| {
        body.rows(20.0, inspection.parameters.len(), |mut row| {
            let parameter = &inspection.parameters[row.index()];
            row.col(|ui| drop(ui.monospace(&parameter.name)));
            row.col(|ui| figure(ui, dimensions(&parameter.shape)));
            row.col(|ui| figure(ui, elements(parameter).to_string()));
            row.col(|ui| figure(ui, format!("{:.3}", parameter.norm)));
        });
    });
}

/// Draws a cell; numbers are aligned right.
fn cell(ui: &mut Ui, numbers: bool, contents: impl FnOnce(&mut Ui)) {
    match numbers {
        true => {
            ui.with_layout(Layout::right_to_left(Align::Center), contents)
                .inner
        }
        false => contents(ui),
    }
}

fn figure(ui: &mut Ui, text: String) {
    cell(ui, true, |ui| drop(ui.monospace(text)));
}

/// Draws the title of a column. Returns whether it was clicked.
fn heading(ui: &mut Ui, title: &str, sorted: bool) -> bool {
    let text = RichText::new(title).strong();
    let text = match sorted {
        true => text.underline(),
        false => text,
    };
    ui.add(Button::new(text).frame(false))
        .on_hover_text("Sort by this column")
        .clicked()
}

/// Draws a share of a cell's width behind its text.
fn bar(ui: &Ui, share: f32) {
    let mut rect = ui.max_rect().shrink2(vec2(0.0, 2.0));
    rect.min.x = rect.max.x - share * rect.width();
    ui.painter()
        .rect_filled(rect, 2.0, theme::colors(ui).selected);
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
