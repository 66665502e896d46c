//! Keys of the page.

use egui::{Key, Modifiers, Ui};

use super::{AS_INPUT, COPY, CaptionPage, Place, REGENERATE, REMOVE, STOP};
use crate::page::{Page, PageContext};

impl CaptionPage {
    /// Takes the keys of the page, unless a text field or a dialog takes them.
    pub(super) fn keys(&mut self, ui: &Ui, context: &mut PageContext) {
        if !context.shortcuts {
            return;
        }
        // also while a button has the focus, which the arrow keys would move otherwise
        let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        let arrows = [
            Key::ArrowDown,
            Key::ArrowUp,
            Key::ArrowRight,
            Key::ArrowLeft,
        ];
        // a slider takes them for itself
        let focused = ui.memory(|memory| memory.focused());
        let on_slider = focused.is_some_and(|id| self.sliders.contains(&id));
        let [down, up, right, left] = arrows.map(|key| !on_slider && pressed(key));
        if down || up || right || left {
            ui.memory_mut(|memory| memory.move_focus(egui::FocusDirection::None));
        }
        if down && self.selected + 1 < self.items.len() {
            self.select(self.selected + 1);
        }
        if up && self.selected > 0 {
            self.select(self.selected - 1);
        }
        for slot in 0..2 {
            let turns = &self.items[self.selected].threads[slot].turns;
            let places = turns.iter().enumerate().flat_map(|(turn, text)| {
                (0..text.tokens.len()).map(move |token| Place { turn, token })
            });
            let places: Vec<Place> = places.collect();
            let at = self.tokens[slot].and_then(|at| places.iter().position(|&it| it == at));
            if right && !places.is_empty() {
                let next = at.map_or(0, |at| (at + 1).min(places.len() - 1));
                self.tokens[slot] = Some(places[next]);
            }
            if left {
                self.tokens[slot] = at.and_then(|at| at.checked_sub(1)).map(|at| places[at]);
            }
        }
        for (key, action) in [
            (Key::R, REGENERATE),
            (Key::Escape, STOP),
            (Key::C, COPY),
            (Key::V, AS_INPUT),
            (Key::Delete, REMOVE),
        ] {
            if !self.items.is_empty() && pressed(key) {
                self.act(action, context);
            }
        }
    }
}
