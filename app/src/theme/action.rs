//! Buttons with an icon.

use egui::{Button, Response, RichText, Role, Ui, Vec2, Widget, WidgetInfo, vec2};

use super::{CONTROL, Icon, TEXT, colors, icon};

/// A button with an icon in front of its label. Its accessible name is the label alone.
#[must_use = "add it to a ui"]
pub struct Action<'a> {
    icon: Icon,
    label: &'a str,
    primary: bool,
    icon_only: bool,
    selected: bool,
    min_size: Vec2,
}

impl<'a> Action<'a> {
    /// Returns a plain button.
    pub fn new(icon: Icon, label: &'a str) -> Action<'a> {
        Action {
            icon,
            label,
            primary: false,
            icon_only: false,
            selected: false,
            min_size: vec2(0.0, CONTROL),
        }
    }

    /// Marks the main action of a page, of which there is one.
    pub fn primary(mut self) -> Self {
        self.primary = true;
        self
    }

    /// Shows the icon alone. The label is the accessible name and the tooltip.
    pub fn icon_only(mut self) -> Self {
        self.icon_only = true;
        self
    }

    /// Draws the button as one that is switched on.
    pub fn selected(mut self, selected: bool) -> Self {
        self.selected = selected;
        self
    }

    /// Sets the smallest size, in points.
    pub fn min_size(mut self, size: Vec2) -> Self {
        self.min_size = size;
        self
    }
}

impl Widget for Action<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let colors = colors(ui);
        let symbol = icon(self.icon).size(TEXT + 3.0);
        let button = match (self.primary, self.icon_only) {
            (true, _) => {
                let text = RichText::new(self.label).color(colors.on_accent);
                Button::new((symbol.color(colors.on_accent), text))
                    .fill(colors.accent)
                    .stroke((1.0, colors.accent))
            }
            (false, true) => Button::new(symbol).frame_when_inactive(self.selected),
            (false, false) => Button::new((symbol, self.label)),
        };
        let button = button.selected(self.selected).min_size(self.min_size);
        let response = ui.add(button);
        let enabled = ui.is_enabled();
        response.widget_info(|| match self.selected {
            true => WidgetInfo::selected(Role::Button, enabled, true, self.label),
            false => WidgetInfo::labeled(Role::Button, enabled, self.label),
        });
        match self.icon_only {
            true => response.on_hover_text(self.label),
            false => response,
        }
    }
}
