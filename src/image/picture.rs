//! Decoded pictures.

/// A picture in 8-bit RGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width, in pixels.
    pub width: usize,
    /// Height, in pixels.
    pub height: usize,
    /// Pixels `[height, width, 3]`, row by row.
    pub rgb: Vec<u8>,
}
