//! Heat maps over pictures, small maps to choose from, and the colour scale.

use egui::{
    Color32, ColorImage, Context, Rect, Response, Sense, TextureHandle, TextureOptions, Ui, Vec2,
    pos2, vec2,
};
use seemore::explain::ColorMap;
use seemore::explain::heatmap;
use seemore::image::Picture;

use crate::page::HeatStyle;

/// A picture under a heat map, cached as two textures.
#[derive(Default)]
pub struct HeatView {
    picture: Option<(u64, TextureHandle)>,
    heat: Option<(u64, TextureHandle)>,
}

/// A picture and the heat over it.
pub struct Layers<'a> {
    /// The picture, and a number that differs for different pictures.
    pub picture: (u64, &'a Picture),
    /// Whether its pixels are shown as squares.
    pub sharp: bool,
    /// One value per patch of a square grid that is stretched over the picture; empty for none.
    pub heat: &'a [f32],
    /// A number that differs for different heat.
    pub heat_key: u64,
}

impl HeatView {
    /// Draws a picture under its heat. Where the heat is cold, the picture shows.
    pub fn show(&mut self, ui: &mut Ui, size: Vec2, layers: &Layers, style: HeatStyle) -> Response {
        let Layers {
            picture: (key, picture),
            sharp,
            heat,
            heat_key,
        } = layers;
        if self.picture.as_ref().is_none_or(|(known, _)| known != key) {
            let image = ColorImage::from_rgb([picture.width, picture.height], &picture.rgb);
            let options = match sharp {
                true => TextureOptions::NEAREST,
                false => TextureOptions::LINEAR,
            };
            self.picture = Some((*key, ui.ctx().load_texture("picture", image, options)));
        }
        let texture = &self.picture.as_ref().expect("made above").1;
        let image = egui::Image::new((texture.id(), size))
            .corner_radius(4)
            .sense(Sense::hover())
            .alt_text("Model input");
        let response = ui.add(image);
        if !heat.is_empty() {
            let key =
                heat_key ^ (style.colors as u64) << 56 ^ (style.opacity.to_bits() as u64) << 24;
            if self.heat.as_ref().is_none_or(|(known, _)| *known != key) {
                let image = tinted(heat, style);
                let texture = ui.ctx().load_texture("heat", image, TextureOptions::LINEAR);
                self.heat = Some((key, texture));
            }
            let texture = &self.heat.as_ref().expect("made above").1;
            let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
            ui.painter()
                .image(texture.id(), response.rect, whole, Color32::WHITE);
        }
        response
    }
}

/// Returns heat as an image whose opacity follows it.
fn tinted(heat: &[f32], style: HeatStyle) -> ColorImage {
    let grid = (heat.len() as f64).sqrt() as usize;
    let pixel = |share: f32| {
        let [r, g, b] = style.colors.color(share).map(|v| v as u8);
        let alpha = (255.0 * style.opacity * share).round() as u8;
        Color32::from_rgba_unmultiplied(r, g, b, alpha)
    };
    let pixels = heatmap::stretched(heat).into_iter().map(pixel).collect();
    ColorImage::new([grid, grid], pixels)
}

/// Returns the largest size with a picture's proportions within the given one.
pub fn fit(picture: [usize; 2], within: Vec2) -> Vec2 {
    let [width, height] = picture.map(|side| side.max(1) as f32);
    let scale = (within.x / width).min(within.y / height);
    vec2((width * scale).max(1.0), (height * scale).max(1.0))
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
