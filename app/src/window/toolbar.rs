//! The rail of pages on the left, and the bar at the top: opening pictures, models, the device and
//! the theme.

use egui::{
    Align, Align2, FontFamily, FontId, Layout, Popup, Response, Role, Sense, StrokeKind,
    ThemePreference, Ui, WidgetInfo, vec2,
};

use super::Window;
use super::palette::{self, WindowCommand};
use crate::theme::{self, Action, Icon};
use crate::worker::{Slot, model_name};

/// Width of the bar below which actions show no labels, in points.
const COMPACT: f32 = 960.0;

impl Window {
    /// Draws the pages to choose from.
    pub(super) fn rail(&mut self, ui: &mut Ui) {
        ui.add_space(theme::SPACE);
        ui.vertical_centered(|ui| {
            ui.spacing_mut().item_spacing.y = theme::SPACE / 2.0;
            for (index, page) in self.pages.iter().enumerate() {
                let selected = self.active == index;
                let tab = tab(ui, page.icon(), page.title(), selected);
                if tab.on_hover_text(format!("Ctrl+{}", index + 1)).clicked() {
                    self.active = index;
                }
            }
        });
    }

    /// Draws the bar.
    pub(super) fn toolbar(&mut self, ui: &mut Ui) {
        let compact = ui.available_width() < COMPACT;
        let action = |icon, label| match compact {
            true => Action::new(icon, label).icon_only(),
            false => Action::new(icon, label),
        };
        ui.horizontal(|ui| {
            let width = if compact { 110.0 } else { 150.0 };
            let entered = self.path.show(ui, "Path", "File or folder to open", width);
            if let Some(path) = entered {
                self.path.text.clear();
                self.open_paths(vec![path]);
            }
            if ui
                .add(action(Icon::FileImage, "Open..."))
                .on_hover_text("Open pictures (Ctrl+O). They can be dropped on the window too.")
                .clicked()
            {
                self.open_pictures();
            }
            if ui
                .add(action(Icon::FolderOpen, "Folder..."))
                .on_hover_text("Open all pictures in a folder (Ctrl+Shift+O)")
                .clicked()
            {
                self.open_folder();
            }
            let paste = Action::new(Icon::ClipboardPaste, "Paste").icon_only();
            if ui
                .add(paste)
                .on_hover_text("Paste a picture or files (Ctrl+V)")
                .clicked()
            {
                self.paste();
            }
            let samples = Action::new(Icon::Sparkles, "Samples").icon_only();
            if ui
                .add(samples)
                .on_hover_text("Open drawings that the shipped model was not trained on")
                .clicked()
            {
                self.open_samples();
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                self.theme_button(ui);
                let palette = Action::new(Icon::Command, "Commands").icon_only();
                if ui.add(palette).on_hover_text("Ctrl+K").clicked() {
                    self.palette.open();
                }
                self.device_chip(ui);
                self.model_chip(ui, 1, compact);
                self.model_chip(ui, 0, compact);
            });
        });
    }

    /// Draws the button that shows the dark or the light theme.
    fn theme_button(&self, ui: &mut Ui) {
        let dark = ui.visuals().dark_mode;
        let (icon, label, theme) = match dark {
            true => (Icon::Sun, palette::LIGHT, ThemePreference::Light),
            false => (Icon::Moon, palette::DARK, ThemePreference::Dark),
        };
        if ui.add(Action::new(icon, label).icon_only()).clicked() {
            ui.ctx().set_theme(theme);
        }
    }

    /// Draws the device, with the others to choose from.
    fn device_chip(&mut self, ui: &mut Ui) {
        let name = self.adapter.as_deref().unwrap_or("Opening...");
        // the name itself follows in the status bar
        let short = match &self.adapter {
            None => "Opening...",
            Some(name) if name.contains("(CPU") || name.contains("on the CPU") => "CPU",
            Some(_) => "GPU",
        };
        let button = ui.add(Action::new(Icon::Cpu, short));
        let button = button.on_hover_text(format!("Device: {name}"));
        if button.clicked() && self.devices.is_none() {
            self.list_devices();
        }
        let mut chosen = None;
        Popup::menu(&button).show(|ui| {
            ui.set_min_width(260.0);
            theme::title(ui, "Run on");
            let busy = self.pages.iter().any(|page| page.status().is_some());
            if busy {
                theme::note(ui, "The device can be changed when the training has ended.");
            }
            ui.add_enabled_ui(!busy, |ui| {
                let current = self.device();
                for (name, device) in self.device_choices() {
                    let selected = current == device.as_deref();
                    if ui.selectable_label(selected, name).clicked() {
                        chosen = Some(device);
                    }
                }
            });
            if self.devices.is_none() {
                ui.spinner();
            }
        });
        if let Some(device) = chosen {
            self.run(WindowCommand::Device(device));
        }
    }

    /// Draws a slot's model as a chip that says what it is good for.
    fn model_chip(&mut self, ui: &mut Ui, slot: Slot, compact: bool) {
        let model = &self.context.models[slot];
        let name = model.folder.as_deref().map(model_name);
        let subject = model.info.as_ref().map(|info| info.subject.label());
        let label = match (&name, subject, slot) {
            (Some(name), Some(subject), 0) if !compact => format!("{name}: {subject}"),
            (Some(name), ..) => name.clone(),
            (None, _, 0) => "Model...".into(),
            (None, ..) => "Compare with...".into(),
        };
        let details = match (&model.info, slot) {
            (Some(info), _) => format!(
                "{}\n{}\n{:.1} million parameters, {} tokens, {side} x {side} pixels",
                info.folder.display(),
                info.subject.label(),
                info.parameters as f64 / 1e6,
                info.vocab_size,
                side = info.image_size
            ),
            (None, 0) => "Choose a model (Ctrl+L)".into(),
            (None, _) => "Choose a second model, shown side by side".into(),
        };
        let loading = model.loading;
        let icon = [Icon::Box, Icon::Columns2][slot];
        let longest = if compact { 16 } else { 36 };
        let label: String = match label.chars().count() > longest {
            true => label
                .chars()
                .take(longest - 2)
                .chain("..".chars())
                .collect(),
            false => label,
        };
        let chip = match compact && slot == 1 && name.is_none() {
            true => Action::new(icon, &label).icon_only(),
            false => Action::new(icon, &label),
        };
        let chip = ui.add(chip);
        if chip.on_hover_text(details).clicked() {
            self.show_models(slot);
        }
        if loading {
            ui.spinner();
        }
    }
}

/// Draws a page's button in the rail: an icon above its title.
fn tab(ui: &mut Ui, icon: Icon, title: &str, selected: bool) -> Response {
    let (rect, response) = ui.allocate_exact_size(vec2(68.0, 54.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, selected, title));
    let colors = theme::colors(ui);
    let (fill, color) = match (selected, response.hovered()) {
        (true, _) => (Some(colors.selected), colors.on_selected),
        (false, true) => (Some(colors.hovered), colors.strong),
        (false, false) => (None, colors.text),
    };
    let painter = ui.painter();
    if let Some(fill) = fill {
        painter.rect_filled(rect, theme::SPACE, fill);
    }
    if response.has_focus() {
        painter.rect_stroke(rect, theme::SPACE, (2.0, colors.link), StrokeKind::Inside);
    }
    let font = FontId::new(20.0, FontFamily::Name(theme::ICONS.into()));
    let at = rect.center() - vec2(0.0, 9.0);
    painter.text(at, Align2::CENTER_CENTER, icon.unicode(), font, color);
    let font = FontId::proportional(theme::TEXT);
    let at = rect.center() + vec2(0.0, 15.0);
    painter.text(at, Align2::CENTER_CENTER, title, font, color);
    response
}
