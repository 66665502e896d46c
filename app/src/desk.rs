//! What the pages share while one of them is drawn.

use std::sync::Arc;

use seemore::caption::CaptionToken;
use seemore::explain::ColorMap;
use seemore::image::Picture;

use crate::toasts::Toasts;
use crate::worker::{Loaded, Worker};

pub struct Desk<'a> {
    pub worker: &'a Worker,
    /// The chosen model, and the one it is compared with.
    pub models: [Option<&'a Loaded>; 2],
    /// The picture chosen on the caption page.
    pub selected: Option<&'a Selected>,
    /// Of heat.
    pub colors: &'a mut ColorMap,
    pub toasts: &'a mut Toasts,
}

/// A picture with what the chosen model has written of it so far.
#[derive(Debug, Clone)]
pub struct Selected {
    pub picture: Arc<Picture>,
    /// What the caption was begun with.
    pub prompt: String,
    pub tokens: Vec<CaptionToken>,
}
