//! Captions of the samples at each validation: a row per picture, a column per validation.

use egui::{
    Color32, Label, Pos2, Rect, RichText, ScrollArea, Separator, Stroke, TextureHandle, Ui,
    UiBuilder, pos2, vec2,
};

use crate::theme;
use crate::worker::{Sample, Validation};

/// Height of a row, in points.
const ROW: f32 = 40.0;
/// Smallest width of a column, in points.
const COLUMN: f32 = 160.0;
/// Height of the header, in points.
const HEADER: f32 = 38.0;
/// Space for the check mark of a correct caption, in points.
const MARK: f32 = 14.0;
/// Width and height of a picture, in points.
const SIDE: f32 = 36.0;

/// Draws the visible columns. The newest one is visible until the user scrolls.
pub fn show(
    ui: &mut Ui,
    samples: &[Sample],
    textures: &[Option<TextureHandle>],
    validations: &[Validation],
) {
    let height = HEADER + ROW * samples.len() as f32;
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        let (_, truth) = ui.allocate_space(vec2(SIDE + COLUMN, height));
        cell(
            ui,
            Rect::from_min_size(truth.min, vec2(truth.width(), HEADER)),
            |ui| drop(ui.strong("True caption")),
        );
        for (row, (sample, texture)) in samples.iter().zip(textures).enumerate() {
            let rect = place(truth, row);
            if let Some(texture) = texture {
                let picture = egui::Image::new((texture.id(), vec2(SIDE, SIDE)))
                    .alt_text(format!("Picture: {}", sample.caption));
                cell(ui, Rect::from_min_size(rect.min, vec2(SIDE, ROW)), |ui| {
                    drop(ui.add(picture).on_hover_text(&sample.id))
                });
            }
            let text =
                Rect::from_min_size(rect.min + vec2(SIDE + 6.0, 0.0), vec2(COLUMN - 12.0, ROW));
            cell(ui, text, |ui| {
                drop(ui.add(Label::new(&sample.caption).truncate()))
            });
        }
        ui.add_sized(vec2(9.0, height), Separator::default().vertical());
        // as many whole columns as fit: a part of one would show the ends of words
        let fitting = (ui.available_width() / COLUMN).floor().max(1.0);
        let width = match validations.len() as f32 > fitting {
            true => ui.available_width() / fitting,
            false => COLUMN,
        };
        let area = ScrollArea::horizontal()
            .id_salt("validations")
            .stick_to_right(true)
            .auto_shrink([false, true]);
        area.show_viewport(ui, |ui, viewport| {
            ui.set_min_size(vec2(width * validations.len() as f32, height));
            let origin = ui.min_rect().min;
            let visible = validations
                .iter()
                .enumerate()
                // the offset is rounded to pixels
                .skip((viewport.min.x / width + 0.05).max(0.0) as usize)
                .take(fitting as usize + 1);
            for (number, validation) in visible {
                let corner = origin + vec2(width * number as f32, 0.0);
                let rect = Rect::from_min_size(corner, vec2(width, height));
                column(ui, rect, validation, samples);
            }
        });
    });
}

fn column(ui: &mut Ui, column: Rect, validation: &Validation, samples: &[Sample]) {
    let Validation {
        step,
        loss,
        exact_match,
        captions,
    } = validation;
    let header = Rect::from_min_size(
        column.min + vec2(MARK, 0.0),
        vec2(column.width() - MARK - 6.0, HEADER),
    );
    cell(ui, header, |ui| {
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = theme::SPACE / 2.0;
                ui.strong(format!("Step {step}"));
                ui.label(RichText::new(format!("loss {loss:.3}")).weak())
                    .on_hover_text("Mean loss over all validation pictures");
            });
            ui.label(format!("{:.0} % correct", 100.0 * exact_match))
                .on_hover_text("Exact matches over all validation pictures");
        });
    });
    for (row, (caption, sample)) in captions.iter().zip(samples).enumerate() {
        let rect = place(column, row);
        let text = if caption.trim().is_empty() {
            RichText::new("(empty)").weak()
        } else {
            RichText::new(caption)
        };
        let correct = *caption == sample.caption;
        let green = theme::colors(ui).success;
        if correct {
            check(ui, pos2(rect.left() + 5.0, rect.center().y), green);
        }
        let text = if correct { text.color(green) } else { text };
        cell(
            ui,
            Rect::from_min_size(
                rect.min + vec2(MARK, 0.0),
                vec2(column.width() - MARK - 6.0, ROW),
            ),
            |ui| drop(ui.add(Label::new(text).wrap()).on_hover_text(caption)),
        );
    }
}

/// Draws a check mark, so that correct captions are not told by colour alone.
fn check(ui: &Ui, at: Pos2, color: Color32) {
    let points = [vec2(-4.0, 0.0), vec2(-1.0, 3.5), vec2(4.0, -4.0)].map(|offset| at + offset);
    ui.painter().line(points.to_vec(), Stroke::new(1.5, color));
}

/// Returns the place of a cell of a column.
fn place(column: Rect, row: usize) -> Rect {
    Rect::from_min_size(
        column.min + vec2(0.0, HEADER + ROW * row as f32),
        vec2(column.width(), ROW),
    )
}

/// Draws contents into a rectangle, aligned left and centred vertically, and clips them.
fn cell(ui: &mut Ui, rect: Rect, contents: impl FnOnce(&mut Ui)) {
    let layout = egui::Layout::left_to_right(egui::Align::Center);
    // a child ui, since the rectangle is already allocated
    let mut child = ui.new_child(UiBuilder::new().max_rect(rect).layout(layout));
    child.set_clip_rect(rect.intersect(ui.clip_rect()));
    contents(&mut child);
}
