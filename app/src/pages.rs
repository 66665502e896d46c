//! One file a page.

pub mod caption;
pub mod inspect;
