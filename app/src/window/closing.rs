//! The question before the window closes while something is not saved.

use egui::{Context, Id, Modal, ViewportCommand};

use crate::page::Page;

/// Holds the window open until the user has decided.
#[derive(Default)]
pub struct Closing {
    /// Edits that would be lost, one line for each page.
    unsaved: Vec<String>,
    /// Whether the user wants to lose them.
    confirmed: bool,
}

impl Closing {
    /// Cancels a request to close the window if a page has unsaved work.
    pub fn guard(&mut self, ctx: &Context, pages: &mut [Box<dyn Page>]) {
        if self.confirmed || !ctx.input(|input| input.viewport().close_requested()) {
            return;
        }
        self.unsaved = pages.iter_mut().filter_map(|page| page.unsaved()).collect();
        if !self.unsaved.is_empty() {
            ctx.send_viewport_cmd(ViewportCommand::CancelClose);
        }
    }

    /// Asks whether to close the window without saving.
    pub fn ask(&mut self, ctx: &Context) {
        if self.unsaved.is_empty() {
            return;
        }
        let mut stay = false;
        let modal = Modal::new(Id::unique("unsaved question")).show(ctx, |ui| {
            ui.set_max_width(420.0);
            ui.heading("Close without saving?");
            for unsaved in &self.unsaved {
                ui.label(unsaved);
            }
            ui.add_space(8.0);
            ui.horizontal(|ui| {
                stay = ui.button("Keep open").clicked();
                if ui.button("Close and lose edits").clicked() {
                    self.confirmed = true;
                    ui.ctx().send_viewport_cmd(ViewportCommand::Close);
                }
            });
        });
        if stay || self.confirmed || modal.should_close() {
            self.unsaved.clear();
        }
    }
}
