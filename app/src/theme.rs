//! Type scale, spacing, colours and icons of the window, and the widgets made of them.
//!
//! Pages take sizes and colours from here only, so that contrast is checked in one place.

mod action;
mod palette;

use std::sync::Arc;

use egui::style::ScrollStyle;
use egui::{
    Color32, Context, FontData, FontDefinitions, FontFamily, FontId, Frame, InnerResponse, Label,
    Margin, Response, RichText, Style, TextStyle, Theme, Ui, vec2,
};

pub use action::Action;
pub use lucide_icons::Icon;
pub use palette::Palette;

/// Size of text, in points.
pub const TEXT: f32 = 13.0;

/// Size of headings, in points.
pub const TITLE: f32 = 16.0;

/// Size of captions and of the headings of empty pages, in points.
pub const DISPLAY: f32 = 24.0;

/// Unit of the layout grid, in points: the space between related widgets.
pub const SPACE: f32 = 8.0;

/// Space between groups, in points.
pub const GAP: f32 = 16.0;

/// Height of buttons and fields, in points.
pub const CONTROL: f32 = 24.0;

/// Name of the icons' font family.
pub(crate) const ICONS: &str = "icons";

/// Sets the fonts, and the styles of the dark and the light theme.
pub fn apply(ctx: &Context) {
    ctx.set_fonts(fonts());
    for theme in [Theme::Dark, Theme::Light] {
        ctx.set_style_of(theme, style(theme));
    }
}

/// Returns the colours of the theme that a widget is drawn in.
pub fn colors(ui: &Ui) -> &'static Palette {
    Palette::of(ui.visuals().dark_mode)
}

/// Returns an icon as text in the icons' own font.
///
/// Beside a text, use [`Action`], whose accessible name leaves the icon out.
pub fn icon(icon: Icon) -> RichText {
    RichText::new(icon.unicode()).family(FontFamily::Name(ICONS.into()))
}

/// Returns the frame of a panel beside or above a page's content, with the margin of the content,
/// so that their first rows are aligned.
pub fn panel_frame(ui: &Ui) -> Frame {
    Frame::side_top_panel(ui.style()).inner_margin(SPACE)
}

/// Draws a group of widgets on a surface of its own.
pub fn card<R>(ui: &mut Ui, add: impl FnOnce(&mut Ui) -> R) -> InnerResponse<R> {
    card_frame(ui).show(ui, add)
}

/// Returns the frame of a [`card`].
pub fn card_frame(ui: &Ui) -> Frame {
    let colors = colors(ui);
    Frame::new()
        .fill(colors.card)
        .stroke((1.0, colors.edge))
        .corner_radius(SPACE)
        .inner_margin(Margin::same(12))
}

/// Draws the heading of a group.
pub fn title(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).heading().color(colors(ui).strong));
}

/// Draws secondary text, wrapped.
pub fn note(ui: &mut Ui, text: impl Into<String>) {
    ui.add(Label::new(RichText::new(text).weak()).wrap());
}

/// Draws a page that has nothing to show yet: what is missing, what to do, and the actions for it.
pub fn empty(ui: &mut Ui, symbol: Icon, heading: &str, text: &str, add: impl FnOnce(&mut Ui)) {
    ui.vertical_centered(|ui| {
        ui.add_space((ui.available_height() * 0.25).max(GAP));
        let colors = colors(ui);
        ui.label(icon(symbol).size(48.0).color(colors.weak));
        ui.add_space(SPACE);
        ui.label(RichText::new(heading).size(DISPLAY).color(colors.strong));
        ui.label(RichText::new(text).weak());
        ui.add_space(GAP);
        add(ui);
    });
}

/// Gives a text field the accessible name of a label that is not drawn beside it.
pub fn name_field(field: &Response, name: &str) {
    field
        .ctx
        .accesskit_node_builder(field.id, |node| node.set_label(name));
}

/// Returns the background of a word that a model chose with a probability from 0 to 1: none for
/// certain ones, warmer for less likely ones. Text over it keeps its contrast.
pub fn tint(colors: &Palette, probability: f32) -> Color32 {
    let doubt = 1.0 - probability.clamp(0.0, 1.0);
    colors.doubt.gamma_multiply(doubt * doubt)
}

fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    let icons = FontData::from_static(lucide_icons::LUCIDE_FONT_BYTES);
    fonts.font_data.insert(ICONS.into(), Arc::new(icons));
    let family = FontFamily::Name(ICONS.into());
    fonts.families.insert(family, vec![ICONS.into()]);
    fonts
}

fn style(theme: Theme) -> Style {
    let mut style = theme.default_style();
    let sizes = [
        (TextStyle::Small, TEXT),
        (TextStyle::Body, TEXT),
        (TextStyle::Button, TEXT),
        (TextStyle::Heading, TITLE),
    ];
    let sizes = sizes.map(|(style, size)| (style, FontId::proportional(size)));
    let monospace = (TextStyle::Monospace, FontId::monospace(TEXT));
    style.text_styles = sizes.into_iter().chain([monospace]).collect();
    style.spacing.item_spacing = vec2(SPACE, SPACE / 2.0);
    style.spacing.button_padding = vec2(SPACE, SPACE / 2.0);
    style.spacing.interact_size.y = CONTROL;
    style.spacing.window_margin = Margin::same(12);
    style.spacing.menu_margin = Margin::same(8);
    // bars beside the content instead of over its edge
    style.spacing.scroll = ScrollStyle {
        bar_width: SPACE,
        ..ScrollStyle::solid()
    };
    style.visuals = palette::visuals(theme);
    style
}
