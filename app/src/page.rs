//! The trait of pages, and the state that pages share with the window.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::Storage;
use egui::{Context, Ui};
use seemore::caption::CaptionToken;
use seemore::explain::ColorMap;
use serde::{Deserialize, Serialize};

use crate::generation::GenerationSettings;
use crate::pictures::PictureSource;
use crate::theme::Icon;
use crate::toasts::Toasts;
use crate::worker::{Event, ModelInfo, Slot, WorkerHandle};

/// A page of the window.
///
/// A new page is a file in `pages/` that implements this trait, and an entry in the registry in
/// `pages.rs`.
pub trait Page {
    /// Returns the name on the page's tab.
    fn title(&self) -> &'static str;

    /// Returns the icon on the page's tab.
    fn icon(&self) -> Icon;

    /// Draws the page into the space below the toolbar.
    fn ui(&mut self, ui: &mut Ui, context: &mut PageContext);

    /// Handles an event, also while another page is shown.
    fn handle(&mut self, _event: &Event, _context: &mut PageContext) {}

    /// Opens files that were dropped on the page. Returns whether it did; if not, the window opens
    /// them as pictures.
    fn drop_files(&mut self, _files: &[PathBuf], _context: &mut PageContext) -> bool {
        false
    }

    /// Returns text for the status bar, shown on every page.
    fn status(&self) -> Option<String> {
        None
    }

    /// Returns the page's entries in the command palette.
    fn actions(&self, _context: &PageContext) -> Vec<PageAction> {
        vec![]
    }

    /// Takes one of the [`actions`](Page::actions), given its name.
    fn act(&mut self, _name: &str, _context: &mut PageContext) {}

    /// Restores what [`save`](Page::save) stored.
    fn restore(&mut self, _storage: &dyn Storage) {}

    /// Stores what the page keeps between starts, under a key of its own.
    fn save(&self, _storage: &mut dyn Storage) {}

    /// Returns what would be lost if the program ended now, as a sentence.
    fn unsaved(&mut self) -> Option<String> {
        None
    }

    /// Prepares for the end of the program. Returns whether the worker has work that it must finish
    /// first.
    fn close(&mut self) -> bool {
        false
    }
}

/// An entry of a page in the command palette.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageAction {
    /// Name in the imperative, such as "Copy the caption".
    pub name: String,
    /// Its keys as text; empty for none.
    pub keys: &'static str,
}

impl PageAction {
    /// Returns an entry with a name and the text of its keys.
    pub fn new(name: impl Into<String>, keys: &'static str) -> PageAction {
        let name = name.into();
        PageAction { name, keys }
    }
}

/// State shared by the pages and the window.
pub struct PageContext {
    /// The egui context, for textures and repaints.
    pub egui: Context,
    /// The worker thread.
    pub worker: WorkerHandle,
    /// The chosen model, and the one it is compared with.
    pub models: [ModelSlot; 2],
    /// The picture that is selected on the caption page.
    pub selection: Option<Selection>,
    /// How captions are generated.
    pub generation: GenerationSettings,
    /// How heat maps are drawn.
    pub heat: HeatStyle,
    /// Messages to the user.
    pub(crate) toasts: Toasts,
    /// Actions for the window to take after the page was drawn.
    pub requests: Vec<Request>,
    /// Whether the page that is called is the one on screen.
    pub visible: bool,
    /// Whether the page on screen takes single keys: no text field has the focus, and no dialog is
    /// shown.
    pub shortcuts: bool,
}

impl PageContext {
    /// Returns the loaded model in a slot.
    pub fn model(&self, slot: Slot) -> Option<&ModelInfo> {
        self.models[slot].info.as_ref()
    }
}

/// A model that was asked for, and the one that is loaded.
#[derive(Debug, Clone, Default)]
pub struct ModelSlot {
    /// Folder of the model that was asked for.
    pub folder: Option<PathBuf>,
    /// The loaded model.
    pub info: Option<ModelInfo>,
    /// Whether the model that was asked for is being loaded.
    pub loading: bool,
}

/// A picture and the caption that the chosen model has written so far.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Where the picture can be read.
    pub source: Arc<PictureSource>,
    /// Text that the caption starts with, or the question that it answers.
    pub prompt: String,
    /// Tokens of the caption.
    pub tokens: Vec<CaptionToken>,
}

/// How heat maps are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeatStyle {
    /// Colour map.
    pub colors: ColorMap,
    /// Opacity over the picture, 0 to 1.
    pub opacity: f32,
}

impl Default for HeatStyle {
    fn default() -> HeatStyle {
        HeatStyle {
            colors: ColorMap::default(),
            opacity: 0.6,
        }
    }
}

/// An action that a page asks the window to take.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Let the user choose pictures to open.
    OpenPictures,
    /// Open the sample pictures.
    OpenSamples,
    /// Load the model in a folder and show the caption page.
    UseModel(PathBuf),
    /// Show the Batch page with some picture files, each with a caption for it if it has none;
    /// empty for no caption.
    OpenInBatch(Vec<(PathBuf, String)>),
    /// Show the models to choose from for a slot, and those that can be downloaded.
    ChooseModel(Slot),
}
