//! The current picture at the size of the page, with zoom.

use std::path::{Path, PathBuf};

use egui::{
    Color32, Context, CornerRadius, Mesh, Rect, Role, Sense, Shape, TextureHandle, Ui, Vec2,
    WidgetInfo, pos2, vec2,
};
use seemore::image::Picture;

use crate::heat;
use crate::loader::Loader;
use crate::pictures::fitted;
use crate::theme::{self, Action, Icon};

/// Longest edge of a texture, in pixels.
const LONGEST: usize = 3072;

/// Number of pictures that are kept, for going back and forth.
const KEPT: usize = 3;

/// Largest magnification of the fitting size.
const MAX_ZOOM: f32 = 40.0;

/// The picture viewer.
pub struct Preview {
    loader: Loader<PathBuf, Result<Decoded, String>>,
    /// Loaded pictures, the one used last at the end.
    loaded: Vec<(PathBuf, Result<Loaded, String>)>,
    /// Picture that the zoom is for.
    shown: Option<PathBuf>,
    /// Magnification of the fitting size.
    zoom: f32,
    /// Offset of the picture's centre from that of the view, in points.
    offset: Vec2,
}

/// A picture at the size of its texture.
struct Decoded {
    picture: Picture,
    /// Width and height of the file's picture, in pixels.
    size: [usize; 2],
}

struct Loaded {
    texture: TextureHandle,
    /// Width and height of the file's picture, in pixels.
    size: [usize; 2],
}

impl Preview {
    /// Returns a viewer without a picture.
    pub fn new(ctx: &Context) -> Preview {
        let drawn = ctx.clone();
        Preview {
            loader: Loader::new(ctx, 1, move |path: &PathBuf| {
                // some drivers take small textures only
                let most = drawn.input(|input| input.max_texture_side);
                let picture = Picture::open(path).map_err(|error| error.to_string())?;
                let size = [picture.width, picture.height];
                let picture = fitted(picture, LONGEST.min(most));
                Ok(Decoded { picture, size })
            }),
            loaded: vec![],
            shown: None,
            zoom: 1.0,
            offset: Vec2::ZERO,
        }
    }

    /// Returns the width and height of the file's picture, in pixels, once it is loaded.
    pub fn size(&self, path: &Path) -> Option<[usize; 2]> {
        let (_, loaded) = self.loaded.iter().find(|(known, _)| known == path)?;
        loaded.as_ref().ok().map(|loaded| loaded.size)
    }

    /// Draws a picture over the available space.
    pub fn show(&mut self, ui: &mut Ui, path: &Path) {
        self.load(ui.ctx(), path);
        if self.shown.as_deref() != Some(path) {
            self.shown = Some(path.to_owned());
            (self.zoom, self.offset) = (1.0, Vec2::ZERO);
        }
        let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, "Picture"));
        ui.painter()
            .rect_filled(rect, CornerRadius::same(4), theme::colors(ui).field);
        let found = self.loaded.iter().find(|(known, _)| known == path);
        match found {
            Some((_, Ok(loaded))) => {
                let size = vec2(loaded.size[0] as f32, loaded.size[1] as f32);
                let texture = loaded.texture.id();
                let fit = (rect.size() / size).min_elem();
                self.navigate(ui, rect, &response, fit);
                let drawn = size * fit * self.zoom;
                let slack = ((drawn - rect.size()) / 2.0).max(Vec2::ZERO);
                self.offset = self.offset.clamp(-slack, slack);
                let place = Rect::from_center_size(rect.center() + self.offset, drawn);
                let mut mesh = Mesh::with_texture(texture);
                let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
                mesh.add_rect_with_uv(place, whole, Color32::WHITE);
                ui.painter_at(rect).add(Shape::mesh(mesh));
            }
            Some((_, Err(message))) => {
                let text = egui::RichText::new(message).color(ui.visuals().error_fg_color);
                ui.put(rect.shrink(16.0), egui::Label::new(text).wrap());
            }
            None => drop(ui.put(
                Rect::from_center_size(rect.center(), vec2(24.0, 24.0)),
                egui::Spinner::new(),
            )),
        }
    }

    /// Draws the buttons that zoom.
    pub fn buttons(&mut self, ui: &mut Ui) {
        ui.spacing_mut().item_spacing.x = theme::SPACE / 2.0;
        ui.spacing_mut().button_padding.x = theme::SPACE / 2.0;
        let fit = ui.add(Action::new(Icon::Maximize, "Fit").icon_only());
        if fit
            .on_hover_text("Show the whole picture (double-click)")
            .clicked()
        {
            (self.zoom, self.offset) = (1.0, Vec2::ZERO);
        }
        for (icon, name, factor) in [
            (Icon::ZoomIn, "Zoom in", 1.25),
            (Icon::ZoomOut, "Zoom out", 0.8),
        ] {
            if ui.add(Action::new(icon, name).icon_only()).clicked() {
                self.magnify(factor, Vec2::ZERO);
            }
        }
        ui.add_space(theme::SPACE / 2.0);
        ui.label(format!("{:.0} %", 100.0 * self.zoom))
            .on_hover_text("Magnification of the size that fits. Scroll to zoom, drag to move.");
    }

    fn navigate(&mut self, ui: &Ui, rect: Rect, response: &egui::Response, fit: f32) {
        if response.double_clicked() {
            // the whole picture, or one pixel of it on one of the screen
            let pixels = 1.0 / (fit * ui.ctx().pixels_per_point());
            let fitting = self.zoom == 1.0;
            (self.zoom, self.offset) = (1.0, Vec2::ZERO);
            if fitting {
                self.magnify(pixels.max(2.0), Vec2::ZERO);
            }
        }
        if response.dragged() {
            self.offset += response.drag_delta();
        }
        if let Some(at) = response.hover_pos() {
            let (scroll, pinch) =
                ui.input(|input| (input.smooth_scroll_delta().y, input.zoom_delta()));
            let factor = pinch * (scroll * 0.005).exp();
            if factor != 1.0 {
                self.magnify(factor, at - rect.center());
            }
        }
    }

    /// Zooms around a point, given by its offset from the centre of the view.
    fn magnify(&mut self, factor: f32, around: Vec2) {
        let zoom = (self.zoom * factor).clamp(1.0, MAX_ZOOM);
        self.offset = around + (self.offset - around) * (zoom / self.zoom);
        self.zoom = zoom;
    }

    fn load(&mut self, ctx: &Context, path: &Path) {
        while let Some((path, decoded)) = self.loader.poll() {
            let loaded = decoded.map(|Decoded { picture, size }| Loaded {
                texture: heat::texture(ctx, "preview", &picture),
                size,
            });
            self.loaded.push((path, loaded));
        }
        match self.loaded.iter().position(|(known, _)| known == path) {
            Some(place) => {
                let used = self.loaded.remove(place);
                self.loaded.push(used);
                self.loader.request(std::iter::empty());
            }
            None => self.loader.request(std::iter::once(path.to_owned())),
        }
        let surplus = self.loaded.len().saturating_sub(KEPT);
        self.loaded.drain(..surplus);
    }
}
