//! Pictures: decoding, resizing, cropping, augmentation, contact sheets and lettering.

mod augment;
mod crop;
mod decode;
pub mod lettering;
mod picture;
mod preprocess;
mod resize;
mod sheet;

pub use augment::{Augment, Strength, Subject};
pub(crate) use decode::read;
pub use decode::{MAX_BYTES, MAX_PIXELS, MAX_SIDE, PictureError};
pub use picture::Picture;
pub use preprocess::{MEAN, Preprocess, STD, normalise};
pub use sheet::{ContactSheet, Tile};
