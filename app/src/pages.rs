//! One file a page.

pub mod attention;
pub mod caption;
pub mod inspect;
pub mod train;
