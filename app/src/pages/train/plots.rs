//! The curves of a training.

use std::ops::RangeInclusive;

use egui::{Color32, Role, Ui, WidgetInfo};
use egui_plot::{
    Corner, GridInput, GridMark, HoverPosition, Legend, Line, MarkerShape, Plot, PlotPoints, Points,
};

use super::course::Course;

/// Of the pictures to train on and of those that are validated on.
const LOSSES: [Color32; 2] = [
    Color32::from_rgb(66, 140, 214),
    Color32::from_rgb(226, 118, 40),
];
const RATE: Color32 = Color32::from_rgb(60, 160, 105);
const HEIGHT: f32 = 165.0;

/// Both plots beside each other; `log` is whether the losses are drawn by their logarithms.
pub fn show(ui: &mut Ui, course: &Course, log: &mut bool) {
    // below each other where they would be narrow
    let columns = if ui.available_width() < 480.0 { 1 } else { 2 };
    ui.columns(columns, |columns| {
        let left = &mut columns[0];
        left.horizontal(|ui| {
            ui.set_min_height(ui.spacing().interact_size.y);
            ui.strong("Loss");
            ui.checkbox(log, "logarithmic")
                .on_hover_text("Draw small losses as large as they matter");
        });
        losses(left, course, *log);
        let right = columns.last_mut().expect("there is at least one");
        right.horizontal(|ui| {
            ui.set_min_height(ui.spacing().interact_size.y);
            ui.strong("Learning rate");
        });
        let said = format!(
            "Curve of the learning rate{}",
            course
                .learning_rate
                .last()
                .map_or(String::new(), |rate| format!(", now {}", short(rate)))
        );
        plot(right, "learning rate", &said, false, None, |plot| {
            plot.line(
                Line::new(
                    "learning rate",
                    PlotPoints::new(course.learning_rate.points(false)),
                )
                .color(RATE)
                .width(2.0),
            );
        });
    });
}

fn losses(ui: &mut Ui, course: &Course, log: bool) {
    let said = |name: &str, value: Option<f64>| {
        value.map_or(String::new(), |value| format!(", {name} {value:.4}"))
    };
    let said = format!(
        "Curves of the loss{}{}",
        said("training", course.loss.last()),
        said("validation", course.validation.last())
    );
    // losses fall, so that this corner is free
    plot(
        ui,
        "loss",
        &said,
        log,
        Some(Legend::default().position(Corner::RightTop)),
        |plot| {
            plot.line(
                Line::new("training", PlotPoints::new(course.loss.points(log)))
                    .color(LOSSES[0])
                    .width(1.5),
            );
            let validation = course.validation.points(log);
            plot.line(
                Line::new("validation", PlotPoints::new(validation.clone()))
                    .color(LOSSES[1])
                    .width(2.0),
            );
            // one validation is no line yet
            plot.points(
                Points::new("validation", PlotPoints::new(validation))
                    .color(LOSSES[1])
                    .shape(MarkerShape::Circle)
                    .radius(3.0),
            );
        },
    );
}

fn plot(
    ui: &mut Ui,
    name: &str,
    said: &str,
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
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, said));
}

/// The logarithms of 1, 2 and 5, and of these times each power of 10.
fn decades(input: GridInput) -> Vec<GridMark> {
    let (least, most) = input.bounds;
    let marks = |decade: i32| {
        [(1.0, 1.0), (2.0, 0.3), (5.0, 0.3)].map(|(value, step_size)| GridMark {
            value: decade as f64 + f64::log10(value),
            step_size,
        })
    };
    let all = (least.floor() as i32..=most.ceil() as i32).flat_map(marks);
    all.filter(|mark| (least..=most).contains(&mark.value))
        .collect()
}

/// Three digits, with an exponent where zeros would hide them.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.1e}"),
        size => {
            let decimals = (2 - size.log10().floor() as i32).max(0) as usize;
            let text = format!("{value:.decimals$}");
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_of_logarithms_is_marked_within_its_decades() {
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

    #[test]
    fn numbers_at_the_axes_are_short() {
        let texts = [0.0, 0.5, 3.4567, 1e-4, 0.001, 12.0, 1234.5, 0.0314159].map(short);
        assert_eq!(
            texts,
            [
                "0", "0.5", "3.46", "1.0e-4", "0.001", "12", "1234", "0.0314"
            ]
        );
    }
}
