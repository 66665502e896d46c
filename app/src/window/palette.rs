//! The command palette: everything that the window and its pages can do, by name.

use egui::{Event, Key, Modal, Modifiers, RichText, ScrollArea, TextEdit, ThemePreference, Ui};

use super::Window;
use crate::page::PageAction;
use crate::theme;
use crate::worker::Slot;

/// Entries about the theme.
pub const DARK: &str = "Use the dark theme";
pub const LIGHT: &str = "Use the light theme";

/// Action of the window when an entry is chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowCommand {
    /// Shows the page with an index.
    Page(usize),
    OpenPictures,
    OpenFolder,
    OpenSamples,
    Paste,
    ChooseModel(Slot),
    /// Runs on another device, named as [`Device::open`](seemore::device::Device::open) reads it.
    Device(Option<String>),
    Theme(ThemePreference),
    /// Takes an action of the page on screen.
    Act(String),
}

/// An entry.
struct Entry {
    name: String,
    keys: String,
    command: WindowCommand,
}

/// State of the palette.
#[derive(Default)]
pub struct Palette {
    shown: bool,
    query: String,
    highlighted: usize,
}

impl Palette {
    /// Shows the palette.
    pub fn open(&mut self) {
        *self = Palette {
            shown: true,
            ..Palette::default()
        };
    }

    /// Whether the palette is shown.
    pub fn is_shown(&self) -> bool {
        self.shown
    }

    /// Shows the palette, or hides it if it is shown.
    pub fn toggle(&mut self) {
        match self.shown {
            true => self.shown = false,
            false => self.open(),
        }
    }

    /// Appends text that was typed before the field had the focus, which it takes a frame to get.
    /// Returns whether there was any.
    fn take_early_text(&mut self, ui: &Ui) -> bool {
        let length = self.query.len();
        ui.input(|input| {
            for event in &input.events {
                if let Event::Text(text) = event {
                    self.query.push_str(text);
                }
            }
        });
        self.query.len() > length
    }

    /// Drops the entries whose name lacks a word of the query.
    fn retain_matches(&self, entries: &mut Vec<Entry>) {
        let query = self.query.to_lowercase();
        let words: Vec<&str> = query.split_whitespace().collect();
        entries.retain(|entry| {
            let name = entry.name.to_lowercase();
            words.iter().all(|word| name.contains(word))
        });
    }

    /// Highlights the next or the previous of `len` entries if that key was pressed.
    fn move_highlight(&mut self, [down, up]: [bool; 2], len: usize) {
        if down {
            self.highlighted += 1;
        }
        if up {
            self.highlighted = self.highlighted.saturating_sub(1);
        }
        self.highlighted = self.highlighted.min(len.saturating_sub(1));
    }
}

impl Window {
    /// Returns all entries: those of the page first, then the window's.
    fn entries(&self) -> Vec<Entry> {
        let entry = |name: &str, keys: &str, command| Entry {
            name: name.into(),
            keys: keys.into(),
            command,
        };
        let actions = self.pages[self.active].actions(&self.context);
        let actions = actions.into_iter();
        let mut entries: Vec<Entry> = actions
            .map(|PageAction { name, keys }| entry(&name, keys, WindowCommand::Act(name.clone())))
            .collect();
        entries.extend([
            entry("Open pictures...", "Ctrl+O", WindowCommand::OpenPictures),
            entry(
                "Open a folder...",
                "Ctrl+Shift+O",
                WindowCommand::OpenFolder,
            ),
            entry("Paste a picture or files", "Ctrl+V", WindowCommand::Paste),
            entry("Open the sample pictures", "", WindowCommand::OpenSamples),
            entry("Choose a model...", "Ctrl+L", WindowCommand::ChooseModel(0)),
            entry("Get a model...", "", WindowCommand::ChooseModel(0)),
            entry(
                "Compare with another model...",
                "",
                WindowCommand::ChooseModel(1),
            ),
            entry(DARK, "", WindowCommand::Theme(ThemePreference::Dark)),
            entry(LIGHT, "", WindowCommand::Theme(ThemePreference::Light)),
            entry(
                "Use the system's theme",
                "",
                WindowCommand::Theme(ThemePreference::System),
            ),
        ]);
        for (index, page) in self.pages.iter().enumerate() {
            let name = format!("Show the {} page", page.title());
            let keys = format!("Ctrl+{}", index + 1);
            entries.push(entry(&name, &keys, WindowCommand::Page(index)));
        }
        for (name, device) in self.device_choices() {
            let name = format!("Run on: {name}");
            entries.push(entry(&name, "", WindowCommand::Device(device)));
        }
        entries
    }

    /// Draws the palette.
    pub(super) fn show_palette(&mut self, ui: &Ui) {
        if !self.palette.shown {
            return;
        }
        if self.devices.is_none() {
            self.list_devices();
        }
        let mut entries = self.entries();
        let pressed = |key| {
            let key = |input: &mut egui::InputState| input.consume_key(Modifiers::NONE, key);
            ui.ctx().input_mut(key)
        };
        let moved = [Key::ArrowDown, Key::ArrowUp].map(pressed);
        let entered = pressed(Key::Enter);
        let mut clicked = None;
        let palette = &mut self.palette;
        let modal = Modal::new(egui::Id::unique("commands")).show(ui.ctx(), |ui| {
            ui.set_width(460.0);
            let field = TextEdit::singleline(&mut palette.query)
                .hint_text("Type a command")
                .desired_width(f32::INFINITY);
            let field = ui.add(field);
            theme::name_field(&field, "Command");
            let mut changed = field.changed();
            if !field.has_focus() {
                field.request_focus();
                changed |= palette.take_early_text(ui);
            }
            if changed {
                palette.highlighted = 0;
            }
            // after the text of this frame, which an Enter of the same frame is meant for
            palette.retain_matches(&mut entries);
            palette.move_highlight(moved, entries.len());
            ui.add_space(theme::SPACE);
            ScrollArea::vertical().max_height(380.0).show(ui, |ui| {
                ui.set_width(ui.available_width());
                for (index, entry) in entries.iter().enumerate() {
                    let highlighted = index == palette.highlighted;
                    let keys = RichText::new(&entry.keys).weak();
                    let button = egui::Button::selectable(highlighted, entry.name.as_str())
                        .right_text(keys)
                        .min_size(egui::vec2(ui.available_width(), 28.0));
                    let row = ui.add(button);
                    row.widget_info(|| {
                        let role = egui::Role::Button;
                        egui::WidgetInfo::selected(role, true, highlighted, &entry.name)
                    });
                    if highlighted && moved.contains(&true) {
                        row.scroll_to_me(None);
                    }
                    if row.clicked() {
                        clicked = Some(index);
                    }
                }
                if entries.is_empty() {
                    theme::note(ui, "No matches");
                }
            });
        });
        if modal.should_close() {
            palette.shown = false;
        }
        let chosen = clicked.or(entered.then_some(self.palette.highlighted));
        if let Some(entry) = chosen.and_then(|index| entries.into_iter().nth(index)) {
            self.palette.shown = false;
            self.run(entry.command);
        }
    }
}
