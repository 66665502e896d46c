//! One file a page.

pub mod attention;
pub mod batch;
pub mod caption;
pub mod inspect;
pub mod train;
