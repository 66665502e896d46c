//! Heat maps over pictures, small maps to choose from, and the colour scale.

use egui::{
    Color32, ColorImage, Context, Response, Sense, TextureHandle, TextureOptions, Ui, pos2, vec2,
};
use seemore::explain::ColorMap;
use seemore::explain::heatmap;
use seemore::image::Picture;

use crate::page::HeatStyle;

/// A picture under a heat map, cached as a texture.
#[derive(Default)]
pub struct HeatView {
    texture: Option<(u64, TextureHandle)>,
}

impl HeatView {
    /// Draws a square picture, `side` points wide, under `heat`: one value per patch, or none for
    /// the picture alone.
    ///
    /// The texture is remade when `key` changes, so it must differ for different pictures, heat
    /// maps and styles.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        side: f32,
        picture: &Picture,
        heat: &[f32],
        style: HeatStyle,
        key: u64,
    ) -> Response {
        if self.texture.as_ref().is_none_or(|(known, _)| *known != key) {
            let image = heatmap::overlay(picture, heat, style.colors, style.opacity);
            let image = ColorImage::from_rgb([picture.width, picture.height], image.as_raw());
            self.texture = Some((
                key,
                ui.ctx()
                    .load_texture("model input", image, TextureOptions::LINEAR),
            ));
        }
        let texture = &self.texture.as_ref().expect("made above").1;
        let image = egui::Image::new((texture.id(), vec2(side, side)))
            .sense(Sense::hover())
            .alt_text("Model input");
        ui.add(image)
    }
}

/// A selectable square with a small heat map, or with the last word of `name` if the heat map is
/// empty. `heat` is called only if the square is in view: models have hundreds of maps.
pub fn small(
    ui: &mut Ui,
    heat: impl FnOnce() -> Vec<f32>,
    colors: ColorMap,
    side: f32,
    selected: bool,
    name: &str,
) -> Response {
    let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::click());
    response.widget_info(|| egui::WidgetInfo::selected(egui::Role::Button, true, selected, name));
    if !ui.is_rect_visible(rect) {
        return response;
    }
    let heat = heat();
    let visuals = ui.style().interact_selectable(&response, selected);
    let grid = (heat.len() as f64).sqrt() as usize;
    let inner = rect.shrink(2.0);
    let max = heat.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let mut mesh = egui::Mesh::default();
    for (patch, &value) in heat.iter().enumerate() {
        let step = inner.width() / grid as f32;
        let corner = inner.min + vec2((patch % grid) as f32, (patch / grid) as f32) * step;
        let [r, g, b] = colors.color(value / max).map(|v| v as u8);
        mesh.add_colored_rect(
            egui::Rect::from_min_size(corner, vec2(step, step)),
            Color32::from_rgb(r, g, b),
        );
    }
    let last = name.rsplit(' ').next().unwrap_or(name);
    if heat.is_empty() {
        ui.painter().rect_filled(rect, 4.0, visuals.weak_bg_fill);
        ui.painter().text(
            rect.center(),
            egui::Align2::CENTER_CENTER,
            last,
            egui::FontId::proportional(11.0),
            visuals.text_color(),
        );
    } else {
        ui.painter().add(mesh);
    }
    let edge = if selected {
        egui::Stroke::new(2.0, ui.visuals().strong_text_color())
    } else {
        visuals.bg_stroke
    };
    ui.painter()
        .rect_stroke(rect, 2.0, edge, egui::StrokeKind::Inside);
    response.on_hover_text(name)
}

/// The colour scale between the lowest and the highest share of a patch.
pub fn legend(ui: &mut Ui, heat: &[f32], colors: ColorMap, width: f32) {
    if heat.is_empty() {
        return;
    }
    let (min, max) = heat
        .iter()
        .fold((f32::MAX, 0f32), |(min, max), &v| (min.min(v), max.max(v)));
    ui.horizontal(|ui| {
        ui.monospace(format!("{:.1} %", 100.0 * min));
        let (rect, _) = ui.allocate_exact_size(vec2(width, 12.0), Sense::hover());
        let steps = 64;
        for i in 0..steps {
            let [r, g, b] = colors
                .color((i as f32 + 0.5) / steps as f32)
                .map(|v| v as u8);
            let x = |i: usize| rect.left() + rect.width() * i as f32 / steps as f32;
            let strip = egui::Rect::from_min_max(
                pos2(x(i), rect.top()),
                pos2(x(i + 1) + 0.5, rect.bottom()),
            );
            ui.painter()
                .rect_filled(strip, 0.0, Color32::from_rgb(r, g, b));
        }
        ui.monospace(format!("{:.1} %", 100.0 * max));
    });
}

/// Uploads a picture as a texture.
pub fn texture(ctx: &Context, name: &str, picture: &Picture) -> TextureHandle {
    let image = ColorImage::from_rgb([picture.width, picture.height], &picture.rgb);
    ctx.load_texture(name, image, TextureOptions::LINEAR)
}
