//! The pages of the window, one file each.

pub mod attention;
pub mod batch;
pub mod caption;
pub mod inspect;
pub mod train;

use crate::page::Page;

/// Returns all pages in the order of their tabs. Ctrl and a page's number show it.
pub fn all() -> Vec<Box<dyn Page>> {
    vec![
        Box::<caption::CaptionPage>::default(),
        Box::<batch::BatchPage>::default(),
        Box::<attention::AttentionPage>::default(),
        Box::<train::TrainPage>::default(),
        Box::<inspect::InspectPage>::default(),
    ]
}
