//! Messages in a corner of the window.

use egui::{Align2, Color32, Context, Frame, Label, RichText, vec2};

use crate::theme::{self, Action, Icon, Palette};

/// Maximum number of messages on screen; the oldest is dropped first.
const MAX_MESSAGES: usize = 4;

/// Kind of a message, which decides its colour and how long it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Success,
    Warning,
    Error,
}

impl Kind {
    /// Seconds that a message stays on screen.
    fn seconds(self) -> f64 {
        match self {
            Kind::Success => 6.0,
            Kind::Warning => 12.0,
            Kind::Error => 30.0,
        }
    }

    fn look(self, colors: &Palette) -> (Icon, Color32) {
        match self {
            Kind::Success => (Icon::CircleCheck, colors.success),
            Kind::Warning => (Icon::TriangleAlert, colors.warning),
            Kind::Error => (Icon::CircleX, colors.error),
        }
    }
}

struct Toast {
    kind: Kind,
    message: String,
    /// Time at which it disappears, in the context's seconds; `None` before it is drawn.
    until: Option<f64>,
}

/// Messages that disappear after a time that depends on their kind, or when they are closed. They
/// stay while the pointer is on them.
#[derive(Default)]
pub struct Toasts(Vec<Toast>);

impl Toasts {
    /// Shows what has failed and what to do.
    pub fn add(&mut self, message: impl Into<String>) {
        self.push(Kind::Error, message.into());
    }

    /// Shows what needs attention.
    pub fn warn(&mut self, message: impl Into<String>) {
        self.push(Kind::Warning, message.into());
    }

    /// Shows what has been done.
    pub fn success(&mut self, message: impl Into<String>) {
        self.push(Kind::Success, message.into());
    }

    /// Adds a message. One that repeats the newest one only stays longer.
    fn push(&mut self, kind: Kind, message: String) {
        match self.0.last_mut() {
            Some(last) if (last.kind, &last.message) == (kind, &message) => last.until = None,
            _ => self.0.push(Toast {
                kind,
                message,
                until: None,
            }),
        }
        let surplus = self.0.len().saturating_sub(MAX_MESSAGES);
        self.0.drain(..surplus);
    }

    /// Draws the messages above everything else.
    pub fn show(&mut self, ctx: &Context) {
        if self.0.is_empty() {
            return;
        }
        let now = ctx.input(|input| input.time);
        let mut closed = None;
        let area = egui::Area::new(egui::Id::unique("messages"))
            .anchor(Align2::RIGHT_BOTTOM, vec2(-12.0, -40.0))
            .show(ctx, |ui| {
                for (i, toast) in self.0.iter().enumerate() {
                    let (icon, color) = toast.kind.look(theme::colors(ui));
                    Frame::popup(ui.style())
                        .stroke((1.5, color))
                        .show(ui, |ui| {
                            ui.set_max_width(420.0);
                            ui.horizontal(|ui| {
                                ui.label(theme::icon(icon).color(color).size(theme::TITLE));
                                let close = Action::new(Icon::X, "Close").icon_only();
                                if ui.add(close).clicked() {
                                    closed = Some(i);
                                }
                                ui.add(Label::new(RichText::new(&toast.message)).wrap());
                            });
                        });
                }
            });
        if let Some(i) = closed {
            self.0.remove(i);
        }
        if area.response.contains_pointer() {
            // the time starts again when the pointer leaves
            self.0.iter_mut().for_each(|toast| toast.until = None);
        } else {
            self.0
                .retain(|toast| toast.until.is_none_or(|until| until > now));
            for toast in &mut self.0 {
                toast.until.get_or_insert(now + toast.kind.seconds());
            }
        }
        let next = self.0.iter().filter_map(|toast| toast.until);
        if let Some(next) = next.reduce(f64::min) {
            let wait = std::time::Duration::from_secs_f64((next - now).max(0.01));
            ctx.request_repaint_after(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws the messages at a time, in seconds, and returns how many are left.
    fn shown_at(toasts: &mut Toasts, ctx: &Context, time: f64) -> usize {
        let input = egui::RawInput {
            time: Some(time),
            ..egui::RawInput::default()
        };
        let mut output = ctx.run_ui(input, |ui| toasts.show(ui.ctx()));
        output.textures_delta.clear();
        toasts.0.len()
    }

    #[test]
    fn messages_disappear_after_the_time_of_their_kind() {
        let ctx = Context::default();
        theme::apply(&ctx);
        let mut toasts = Toasts::default();
        toasts.success("Saved a.png.");
        toasts.add("cannot read b.png");
        assert_eq!(shown_at(&mut toasts, &ctx, 100.0), 2);
        assert_eq!(shown_at(&mut toasts, &ctx, 105.0), 2);
        assert_eq!(shown_at(&mut toasts, &ctx, 107.0), 1);
        assert_eq!(toasts.0[0].message, "cannot read b.png");
        // a message that is repeated stays longer
        toasts.add("cannot read b.png");
        assert_eq!(shown_at(&mut toasts, &ctx, 125.0), 1);
        assert_eq!(shown_at(&mut toasts, &ctx, 140.0), 1);
        assert_eq!(shown_at(&mut toasts, &ctx, 156.0), 0);
    }

    #[test]
    fn kinds_have_colours_of_their_own() {
        for dark in [true, false] {
            let colors = Palette::of(dark);
            let success = Kind::Success.look(colors).1;
            assert!(success.g() > success.r(), "success is green");
            let error = Kind::Error.look(colors).1;
            assert!(error.r() > error.g(), "errors are red");
        }
    }
}
