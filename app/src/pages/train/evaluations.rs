//! What the model wrote of the same pictures at each validation: a row a picture, a column a validation.

use egui::{
    Color32, Label, Pos2, Rect, RichText, ScrollArea, Separator, Stroke, TextureHandle, Ui,
    UiBuilder, pos2, vec2,
};

use super::course::Evaluation;
use crate::work::training::Shown;

/// Points of a row, of a column, and of the row above them.
const ROW: f32 = 40.0;
const COLUMN: f32 = 146.0;
const HEADER: f32 = 38.0;
/// Points for the mark before a right caption.
const MARK: f32 = 14.0;
/// Points of a picture's side.
const SIDE: f32 = 36.0;

/// Draws the columns that are seen; the newest one is, until somebody scrolls.
pub fn show(ui: &mut Ui, shown: &[Shown], textures: &[TextureHandle], evaluations: &[Evaluation]) {
    let height = HEADER + ROW * shown.len() as f32;
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        let (_, truth) = ui.allocate_space(vec2(SIDE + COLUMN, height));
        cell(
            ui,
            Rect::from_min_size(truth.min, vec2(truth.width(), HEADER)),
            |ui| drop(ui.strong("True caption")),
        );
        for (row, (shown, texture)) in shown.iter().zip(textures).enumerate() {
            let rect = place(truth, 0.0, row);
            let picture = egui::Image::new((texture.id(), vec2(SIDE, SIDE)))
                .alt_text(format!("Picture: {}", shown.caption));
            cell(ui, Rect::from_min_size(rect.min, vec2(SIDE, ROW)), |ui| {
                drop(ui.add(picture).on_hover_text(&shown.id))
            });
            let text =
                Rect::from_min_size(rect.min + vec2(SIDE + 6.0, 0.0), vec2(COLUMN - 12.0, ROW));
            cell(ui, text, |ui| {
                drop(ui.add(Label::new(&shown.caption).truncate()))
            });
        }
        ui.add_sized(vec2(9.0, height), Separator::default().vertical());
        let area = ScrollArea::horizontal()
            .id_salt("evaluations")
            .stick_to_right(true)
            .auto_shrink([false, true]);
        area.show_viewport(ui, |ui, viewport| {
            ui.set_min_size(vec2(COLUMN * evaluations.len() as f32, height));
            let all = Rect::from_min_size(ui.min_rect().min, vec2(0.0, height));
            let first = (viewport.min.x / COLUMN).max(0.0) as usize;
            let seen = evaluations
                .iter()
                .enumerate()
                .skip(first)
                .take((viewport.width() / COLUMN) as usize + 2);
            for (number, evaluation) in seen {
                column(ui, all, number, evaluation, shown);
            }
        });
    });
}

fn column(ui: &mut Ui, all: Rect, number: usize, evaluation: &Evaluation, shown: &[Shown]) {
    let left = COLUMN * number as f32;
    let Evaluation {
        step,
        loss,
        exact_match,
        written,
    } = evaluation;
    let header = Rect::from_min_size(
        all.min + vec2(left + MARK, 0.0),
        vec2(COLUMN - MARK - 6.0, HEADER),
    );
    cell(ui, header, |ui| {
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            ui.strong(format!("step {step}"));
            let found = format!("{:.0} % right, loss {loss:.3}", 100.0 * exact_match);
            ui.add(Label::new(RichText::new(found).small()).truncate())
                .on_hover_text("Of all pictures that are validated on");
        });
    });
    for (row, (written, shown)) in written.iter().zip(shown).enumerate() {
        let rect = place(all, left, row);
        let text = if written.trim().is_empty() {
            RichText::new("(nothing)").weak()
        } else {
            RichText::new(written)
        };
        let correct = *written == shown.caption;
        let green = right(ui.visuals().dark_mode);
        if correct {
            check(ui, pos2(rect.left() + 5.0, rect.center().y), green);
        }
        let text = if correct { text.color(green) } else { text };
        cell(
            ui,
            Rect::from_min_size(rect.min + vec2(MARK, 0.0), vec2(COLUMN - MARK - 6.0, ROW)),
            |ui| drop(ui.add(Label::new(text).wrap()).on_hover_text(written)),
        );
    }
}

/// A mark, so that nobody needs to tell green from grey.
fn check(ui: &Ui, at: Pos2, color: Color32) {
    let points = [vec2(-4.0, 0.0), vec2(-1.0, 3.5), vec2(4.0, -4.0)].map(|offset| at + offset);
    ui.painter().line(points.to_vec(), Stroke::new(1.5, color));
}

/// The green of a caption that is the true one.
fn right(dark: bool) -> Color32 {
    if dark {
        Color32::from_rgb(110, 205, 130)
    } else {
        Color32::from_rgb(15, 115, 50)
    }
}

fn place(all: Rect, left: f32, row: usize) -> Rect {
    Rect::from_min_size(
        pos2(all.left() + left, all.top() + HEADER + ROW * row as f32),
        vec2(COLUMN, ROW),
    )
}

/// Contents at the left of a rectangle, halfway down it; what is larger is cut off.
fn cell(ui: &mut Ui, rect: Rect, contents: impl FnOnce(&mut Ui)) {
    let layout = egui::Layout::left_to_right(egui::Align::Center);
    // a child that moves nothing: the rectangle has its place already
    let mut child = ui.new_child(UiBuilder::new().max_rect(rect).layout(layout));
    child.set_clip_rect(rect.intersect(ui.clip_rect()));
    contents(&mut child);
}
