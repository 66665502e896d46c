//! Plots of the loss and the learning rate.

use std::ops::RangeInclusive;

use egui::{Color32, Role, Ui, WidgetInfo};
use egui_plot::{GridInput, GridMark, HoverPosition, Line, MarkerShape, Plot, PlotPoints, Points};

use super::curve::Curve;
use super::history::History;
use crate::format::short;
use crate::theme;

/// Colours of the training and the validation loss.
const LOSSES: [Color32; 2] = [
    Color32::from_rgb(66, 140, 214),
    Color32::from_rgb(226, 118, 40),
];
/// Colour of the learning rate.
const RATE: Color32 = Color32::from_rgb(60, 160, 105);
/// Height of a plot, in points.
const HEIGHT: f32 = 165.0;
/// Colours of other runs.
const OTHERS: [Color32; 6] = [
    Color32::from_rgb(150, 110, 200),
    Color32::from_rgb(190, 160, 40),
    Color32::from_rgb(200, 90, 150),
    Color32::from_rgb(70, 170, 180),
    Color32::from_rgb(140, 140, 140),
    Color32::from_rgb(170, 100, 70),
];

/// Curves of another run, drawn beside those of the page's training.
pub struct Overlay<'a> {
    /// Name of the run.
    pub name: &'a str,
    /// Training loss.
    pub loss: &'a Curve,
    /// Validation loss.
    pub validation_loss: &'a Curve,
}

/// Draws a dot in the colour of a curve.
pub fn dot(ui: &mut Ui, color: Color32) {
    let side = ui.text_style_height(&egui::TextStyle::Small);
    let (rect, _) = ui.allocate_exact_size(egui::vec2(side, side), egui::Sense::hover());
    ui.painter().circle_filled(rect.center(), side / 3.0, color);
}

/// Returns the colour of another run.
pub fn color(number: usize) -> Color32 {
    OTHERS[number % OTHERS.len()]
}

/// Draws both plots side by side, or below each other in a narrow window. `log` selects a
/// logarithmic loss axis; the losses of `others` are drawn beside those of the training.
pub fn show(ui: &mut Ui, history: &History, others: &[Overlay], log: &mut bool) {
    let beside = ui.available_width() >= 480.0;
    ui.columns(if beside { 2 } else { 1 }, |columns| {
        let left = &mut columns[0];
        row(left, |ui| {
            ui.strong("Loss");
            ui.checkbox(log, "Logarithmic")
                .on_hover_text("Use a logarithmic axis, which spreads small losses");
        });
        // above the plot, where it hides no curve
        row(left, |ui| {
            for (name, color) in ["training", "validation"].into_iter().zip(LOSSES) {
                dot(ui, color);
                ui.label(name);
            }
        });
        losses(left, history, others, *log);
        let right = columns.last_mut().expect("there is at least one");
        row(right, |ui| drop(ui.strong("Learning rate")));
        // as high as the legend of the other plot
        if beside {
            row(right, |_| {});
        }
        let label = format!(
            "Learning rate curve{}",
            history
                .learning_rate
                .last()
                .map_or(String::new(), |rate| format!(", last {}", short(rate)))
        );
        let steps = history.learning_rate.steps();
        plot(right, "learning rate", &label, false, steps, |plot| {
            plot.line(
                Line::new(
                    "learning rate",
                    PlotPoints::new(history.learning_rate.points(false)),
                )
                .color(RATE)
                .width(2.0),
            );
        });
    });
}

/// Draws a row above a plot, of the same height in both columns.
fn row(ui: &mut Ui, add: impl FnOnce(&mut Ui)) {
    ui.horizontal(|ui| {
        ui.set_min_height(theme::CONTROL);
        add(ui);
    });
}

fn losses(ui: &mut Ui, history: &History, others: &[Overlay], log: bool) {
    let last = |name: &str, value: Option<f64>| {
        value.map_or(String::new(), |value| format!(", {name} {value:.4}"))
    };
    let label = format!(
        "Loss curves{}{}",
        last("training", history.loss.last()),
        last("validation", history.validation_loss.last())
    );
    let curves = others.iter().map(|other| other.loss);
    let steps = curves
        .chain([&history.loss])
        .filter_map(Curve::steps)
        .reduce(|[a, b], [c, d]| [a.min(c), b.max(d)]);
    plot(ui, "loss", &label, log, steps, |plot| {
        for (number, other) in others.iter().enumerate() {
            let line = |name: &str, curve: &Curve, width: f32| {
                let name = format!("{} {name}", other.name);
                Line::new(name, PlotPoints::new(curve.points(log)))
                    .color(color(number))
                    .width(width)
            };
            plot.line(line("training", other.loss, 1.0));
            plot.line(line("validation", other.validation_loss, 2.0));
        }
        plot.line(
            Line::new("training", PlotPoints::new(history.loss.points(log)))
                .color(LOSSES[0])
                .width(1.5),
        );
        let validation = history.validation_loss.points(log);
        plot.line(
            Line::new("validation", PlotPoints::new(validation.clone()))
                .color(LOSSES[1])
                .width(2.0),
        );
        // a single validation is not a line yet
        plot.points(
            Points::new("validation", PlotPoints::new(validation))
                .color(LOSSES[1])
                .shape(MarkerShape::Circle)
                .radius(3.0),
        );
    });
}

/// Returns the step that an axis begins at: 0 unless a curve begins much later, as that of a resumed
/// training whose first part is not known.
fn first_step([first, last]: [f64; 2]) -> f64 {
    match first > 0.1 * last {
        true => first,
        false => 0.0,
    }
}

/// Draws a plot of values over `steps`, the first and the last one. `label` describes it for screen
/// readers; with `log`, values are decimal logarithms.
fn plot(
    ui: &mut Ui,
    name: &str,
    label: &str,
    log: bool,
    steps: Option<[f64; 2]>,
    draw: impl FnOnce(&mut egui_plot::PlotUi),
) {
    let number = move |value: f64| if log { 10f64.powf(value) } else { value };
    let plot = Plot::new((name, log))
        .height(HEIGHT)
        .x_axis_label("step")
        .y_axis_min_width(46.0)
        .include_x(steps.map_or(0.0, first_step))
        .allow_scroll(false)
        .allow_drag(false)
        .allow_zoom(false)
        .y_axis_formatter(move |mark: GridMark, _: &RangeInclusive<f64>| short(number(mark.value)))
        .label_formatter(move |at| match at {
            HoverPosition::NearDataPoint {
                plot_name,
                position,
                ..
            } => Some(format!(
                "{plot_name}\nstep {:.0}\n{}",
                position.x,
                short(number(position.y))
            )),
            HoverPosition::Elsewhere { .. } => None,
        });
    let plot = if log {
        plot.y_grid_spacer(decades)
    } else {
        plot.include_y(0.0)
    };
    let response = plot.show(ui, draw).response;
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, label));
}

/// Returns the marks of a logarithmic axis: 1, 2 and 5 times each power of 10.
fn decades(input: GridInput) -> Vec<GridMark> {
    let (min, max) = input.bounds;
    let marks = |decade: i32| {
        [(1.0, 1.0), (2.0, 0.3), (5.0, 0.3)].map(|(value, step_size)| GridMark {
            value: decade as f64 + f64::log10(value),
            step_size,
        })
    };
    let all = (min.floor() as i32..=max.ceil() as i32).flat_map(marks);
    all.filter(|mark| (min..=max).contains(&mark.value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_begins_where_a_resumed_training_does() {
        assert_eq!(first_step([1.0, 200.0]), 0.0);
        assert_eq!(first_step([5_000.0, 5_100.0]), 5_000.0);
    }

    #[test]
    fn logarithmic_axis_is_marked_at_1_2_and_5() {
        let marks = decades(GridInput {
            bounds: (-0.5, 1.1),
            base_step_size: 0.1,
        });
        let values: Vec<String> = marks
            .iter()
            .map(|mark| short(10f64.powf(mark.value)))
            .collect();
        assert_eq!(values, ["0.5", "1", "2", "5", "10"]);
    }
}
