//! Pictures: decoding, resizing, cropping, augmentation, contact sheets and lettering.

mod augment;
mod crop;
mod decode;
mod filter;
pub mod lettering;
mod normalization;
mod picture;
mod preprocess;
mod resample;
mod resize;
mod sheet;
mod tiling;

pub use augment::{Augment, Strength, Subject};
pub(crate) use decode::read;
pub use decode::{ColorProfiles, MAX_BYTES, MAX_PIXELS, MAX_SIDE, PictureError};
pub use filter::Filter;
pub use normalization::Normalization;
pub use picture::Picture;
pub use preprocess::{MEAN, Preprocess, STD, normalise};
pub use resample::{Layout, resample, resample_planes, resample_window};
pub use sheet::{ContactSheet, Tile};
pub use tiling::{Area, PictureTile, TileGrid, TiledPicture, Tiling};
