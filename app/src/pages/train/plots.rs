//! Plots of the loss and the learning rate.

use std::ops::RangeInclusive;

use egui::{Color32, Role, Ui, WidgetInfo};
use egui_plot::{
    Corner, GridInput, GridMark, HoverPosition, Legend, Line, MarkerShape, Plot, PlotPoints, Points,
};

use super::history::History;
use crate::format::short;

/// Colours of the training and the validation loss.
const LOSSES: [Color32; 2] = [
    Color32::from_rgb(66, 140, 214),
    Color32::from_rgb(226, 118, 40),
];
/// Colour of the learning rate.
const RATE: Color32 = Color32::from_rgb(60, 160, 105);
/// Height of a plot, in points.
const HEIGHT: f32 = 165.0;

/// Draws both plots side by side, or below each other in a narrow window. `log` selects a
/// logarithmic loss axis.
pub fn show(ui: &mut Ui, history: &History, log: &mut bool) {
    let columns = if ui.available_width() < 480.0 { 1 } else { 2 };
    ui.columns(columns, |columns| {
        let left = &mut columns[0];
        left.horizontal(|ui| {
            ui.set_min_height(ui.spacing().interact_size.y);
            ui.strong("Loss");
            ui.checkbox(log, "Logarithmic")
                .on_hover_text("Use a logarithmic axis, which spreads small losses");
        });
        losses(left, history, *log);
        let right = columns.last_mut().expect("there is at least one");
        right.horizontal(|ui| {
            ui.set_min_height(ui.spacing().interact_size.y);
            ui.strong("Learning rate");
        });
        let label = format!(
            "Learning rate curve{}",
            history
                .learning_rate
                .last()
                .map_or(String::new(), |rate| format!(", last {}", short(rate)))
        );
        plot(right, "learning rate", &label, false, None, |plot| {
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

fn losses(ui: &mut Ui, history: &History, log: bool) {
    let last = |name: &str, value: Option<f64>| {
        value.map_or(String::new(), |value| format!(", {name} {value:.4}"))
    };
    let label = format!(
        "Loss curves{}{}",
        last("training", history.loss.last()),
        last("validation", history.validation_loss.last())
    );
    // losses fall, so this corner is empty
    plot(
        ui,
        "loss",
        &label,
        log,
        Some(Legend::default().position(Corner::RightTop)),
        |plot| {
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
        },
    );
}

/// Draws a plot of values over steps. `label` describes it for screen readers; with `log`, values
/// are decimal logarithms.
fn plot(
    ui: &mut Ui,
    name: &str,
    label: &str,
    log: bool,
    legend: Option<Legend>,
    draw: impl FnOnce(&mut egui_plot::PlotUi),
) {
    let number = move |value: f64| if log { 10f64.powf(value) } else { value };
    let plot = Plot::new((name, log))
        .height(HEIGHT)
        .x_axis_label("step")
        .y_axis_min_width(46.0)
        .include_x(0.0)
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
    let plot = if let Some(legend) = legend {
        plot.legend(legend)
    } else {
        plot
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
