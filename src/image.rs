//! Pictures: decoding, orientation, resizing, lettering.

pub mod lettering;
mod picture;

pub(crate) use picture::{Bounds, read};
pub use picture::{
    DEVIATION, MAX_BYTES, MAX_PIXELS, MAX_SIDE, MEAN, Picture, PictureError, Preprocess, normalise,
};
