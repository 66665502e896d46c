//! Colours of the dark and the light theme.

use egui::style::WidgetVisuals;
use egui::{Color32, CornerRadius, Stroke, Theme, Visuals};

/// Colours of a theme.
#[derive(Debug, Clone, PartialEq)]
pub struct Palette {
    /// Background of pages.
    pub page: Color32,
    /// Background of cards, menus and dialogs.
    pub card: Color32,
    /// Background of text fields.
    pub field: Color32,
    /// Background of buttons.
    pub button: Color32,
    /// Background of buttons under the pointer.
    pub hovered: Color32,
    /// Decorative edge of cards and separators.
    pub edge: Color32,
    /// Outline of controls.
    pub outline: Color32,
    /// Text.
    pub text: Color32,
    /// Headings and text of selected importance.
    pub strong: Color32,
    /// Secondary text.
    pub weak: Color32,
    /// Background of the main action.
    pub accent: Color32,
    /// Text of the main action.
    pub on_accent: Color32,
    /// Background of what is selected.
    pub selected: Color32,
    /// Text of what is selected.
    pub on_selected: Color32,
    /// Links and focus.
    pub link: Color32,
    /// Text about what has succeeded.
    pub success: Color32,
    /// Text about what needs attention.
    pub warning: Color32,
    /// Text about what has failed.
    pub error: Color32,
    /// Background of an unlikely word, see [`tint`](super::tint).
    pub doubt: Color32,
}

const DARK: Palette = Palette {
    page: Color32::from_rgb(20, 22, 27),
    card: Color32::from_rgb(29, 32, 39),
    field: Color32::from_rgb(14, 16, 20),
    button: Color32::from_rgb(41, 46, 56),
    hovered: Color32::from_rgb(54, 61, 74),
    edge: Color32::from_rgb(52, 57, 67),
    outline: Color32::from_rgb(118, 127, 143),
    text: Color32::from_rgb(224, 228, 235),
    strong: Color32::WHITE,
    weak: Color32::from_rgb(165, 173, 186),
    accent: Color32::from_rgb(44, 104, 226),
    on_accent: Color32::WHITE,
    selected: Color32::from_rgb(36, 66, 122),
    on_selected: Color32::from_rgb(228, 237, 255),
    link: Color32::from_rgb(122, 171, 255),
    success: Color32::from_rgb(92, 207, 138),
    warning: Color32::from_rgb(243, 186, 82),
    error: Color32::from_rgb(255, 138, 128),
    doubt: Color32::from_rgb(132, 66, 12),
};

const LIGHT: Palette = Palette {
    page: Color32::from_rgb(243, 244, 247),
    card: Color32::WHITE,
    field: Color32::WHITE,
    button: Color32::from_rgb(249, 250, 252),
    hovered: Color32::from_rgb(230, 234, 241),
    edge: Color32::from_rgb(214, 218, 226),
    outline: Color32::from_rgb(116, 124, 138),
    text: Color32::from_rgb(30, 34, 42),
    strong: Color32::BLACK,
    weak: Color32::from_rgb(80, 88, 101),
    accent: Color32::from_rgb(29, 90, 214),
    on_accent: Color32::WHITE,
    selected: Color32::from_rgb(207, 223, 253),
    on_selected: Color32::from_rgb(15, 42, 97),
    link: Color32::from_rgb(24, 80, 196),
    success: Color32::from_rgb(17, 107, 58),
    warning: Color32::from_rgb(128, 78, 0),
    error: Color32::from_rgb(176, 28, 28),
    doubt: Color32::from_rgb(255, 190, 120),
};

impl Palette {
    /// Returns the colours of the dark or the light theme.
    pub fn of(dark: bool) -> &'static Palette {
        match dark {
            true => &DARK,
            false => &LIGHT,
        }
    }
}

/// Returns egui's visuals in the colours of a theme.
pub(super) fn visuals(theme: Theme) -> Visuals {
    let c = Palette::of(theme == Theme::Dark);
    let mut visuals = theme.default_visuals();
    let widget = |fill, edge, text| WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: Stroke::new(1.0, edge),
        fg_stroke: Stroke::new(1.5, text),
        corner_radius: CornerRadius::same(6),
        expansion: 0.0,
    };
    let widgets = &mut visuals.widgets;
    widgets.noninteractive = widget(c.card, c.edge, c.text);
    widgets.inactive = widget(c.button, c.outline, c.text);
    // of check boxes and of the rails of sliders, which have no outline
    widgets.inactive.bg_fill = c.edge;
    widgets.hovered = widget(c.hovered, c.link, c.strong);
    widgets.active = widget(c.hovered, c.strong, c.strong);
    widgets.open = widget(c.hovered, c.outline, c.text);
    visuals.selection.bg_fill = c.selected;
    visuals.selection.stroke = Stroke::new(1.0, c.on_selected);
    visuals.text_cursor.stroke = Stroke::new(2.0, c.link);
    visuals.weak_text_color = Some(c.weak);
    visuals.hyperlink_color = c.link;
    visuals.faint_bg_color = c.card;
    visuals.extreme_bg_color = c.field;
    visuals.code_bg_color = c.button;
    visuals.warn_fg_color = c.warning;
    visuals.error_fg_color = c.error;
    (visuals.window_fill, visuals.panel_fill) = (c.card, c.page);
    visuals.window_stroke = Stroke::new(1.0, c.edge);
    visuals.slider_trailing_fill = true;
    visuals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::tint;

    /// Relative luminance (WCAG 2.2), 0 to 1.
    fn luminance(color: Color32) -> f64 {
        let linear = |value: u8| match value as f64 / 255.0 {
            v if v <= 0.04045 => v / 12.92,
            v => ((v + 0.055) / 1.055).powf(2.4),
        };
        0.2126 * linear(color.r()) + 0.7152 * linear(color.g()) + 0.0722 * linear(color.b())
    }

    /// Contrast ratio (WCAG 2.2), 1 to 21.
    fn contrast(a: Color32, b: Color32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn contrast_is_that_of_the_guideline() {
        assert!((contrast(Color32::BLACK, Color32::WHITE) - 21.0).abs() < 1e-9);
        // the lightest grey that reaches 4.5 on white
        let grey = contrast(Color32::from_gray(0x76), Color32::WHITE);
        assert!((grey - 4.54).abs() < 0.01, "{grey}");
    }

    /// Collects the pairs of colours that have too little contrast.
    fn failures(theme: Theme) -> Vec<String> {
        let (c, v) = (Palette::of(theme == Theme::Dark), visuals(theme));
        let mut failures = vec![];
        let mut check = |name: String, front, back, least| {
            let ratio = contrast(front, back);
            if ratio < least {
                failures.push(format!("{theme:?}: {name} {ratio:.2} < {least}"));
            }
        };
        let surfaces = [("page", c.page), ("card", c.card), ("field", c.field)];
        for (surface, back) in surfaces {
            check(format!("text on {surface}"), c.text, back, 7.0);
            for (name, front) in [
                ("weak", c.weak),
                ("link", c.link),
                ("success", c.success),
                ("warning", c.warning),
                ("error", c.error),
            ] {
                check(format!("{name} on {surface}"), front, back, 4.5);
            }
            check(format!("outline on {surface}"), c.outline, back, 3.0);
            check(format!("accent on {surface}"), c.accent, back, 3.0);
        }
        let states = [
            ("label", v.widgets.noninteractive),
            ("button", v.widgets.inactive),
            ("hovered button", v.widgets.hovered),
            ("pressed button", v.widgets.active),
            ("open button", v.widgets.open),
        ];
        for (name, state) in states {
            let (text, fill) = (state.text_color(), state.weak_bg_fill);
            check(format!("text of {name}"), text, fill, 4.5);
            if name != "label" {
                // what separates a control from the surface that it lies on
                check(
                    format!("edge of {name}"),
                    state.bg_stroke.color,
                    c.page,
                    3.0,
                );
                check(
                    format!("edge of {name}"),
                    state.bg_stroke.color,
                    c.card,
                    3.0,
                );
            }
        }
        check("main action".into(), c.on_accent, c.accent, 4.5);
        let selection = v.selection;
        check(
            "selection".into(),
            selection.stroke.color,
            selection.bg_fill,
            4.5,
        );
        check("text in a selection".into(), c.text, selection.bg_fill, 4.5);
        for percent in 0..=100 {
            let back = c.card.blend(tint(c, percent as f32 / 100.0));
            check(format!("word of {percent} %"), c.text, back, 4.5);
            let back = c.page.blend(tint(c, percent as f32 / 100.0));
            check(
                format!("word of {percent} % on the page"),
                c.text,
                back,
                4.5,
            );
        }
        failures
    }

    #[test]
    fn text_and_controls_have_enough_contrast_in_both_themes() {
        let failures: Vec<String> = [Theme::Dark, Theme::Light]
            .into_iter()
            .flat_map(failures)
            .collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}
