//! Messages in a corner of the window.

use egui::{Align2, Color32, Context, Frame, RichText, Stroke, vec2};

/// Maximum number of messages on screen; the oldest is dropped first.
const MAX_MESSAGES: usize = 4;

/// Messages that stay on screen until they are closed.
#[derive(Default)]
pub struct Toasts(Vec<String>);

impl Toasts {
    /// Shows a message, unless it repeats the newest one.
    pub fn add(&mut self, message: impl Into<String>) {
        let message = message.into();
        if self.0.last() != Some(&message) {
            self.0.push(message);
        }
        let surplus = self.0.len().saturating_sub(MAX_MESSAGES);
        self.0.drain(..surplus);
    }

    /// Draws the messages above everything else.
    pub fn show(&mut self, ctx: &Context) {
        let mut closed = None;
        egui::Area::new(egui::Id::unique("messages"))
            .anchor(Align2::RIGHT_BOTTOM, vec2(-12.0, -40.0))
            .show(ctx, |ui| {
                for (i, message) in self.0.iter().enumerate() {
                    let edge = Stroke::new(1.0, Color32::from_rgb(200, 70, 60));
                    Frame::popup(ui.style()).stroke(edge).show(ui, |ui| {
                        ui.set_max_width(420.0);
                        ui.horizontal(|ui| {
                            if ui
                                .small_button("Close")
                                .on_hover_text("Close this message")
                                .clicked()
                            {
                                closed = Some(i);
                            }
                            ui.add(egui::Label::new(RichText::new(message)).wrap());
                        });
                    });
                }
            });
        if let Some(i) = closed {
            self.0.remove(i);
        }
    }
}
