//! Pictures from the clipboard, which egui itself does not read.

use seemore::image::Picture;

/// Returns the picture on the clipboard, over white.
pub fn picture() -> Result<Picture, String> {
    let image = arboard::Clipboard::new().and_then(|mut clipboard| clipboard.get_image());
    let image = image.map_err(|error| {
        format!("The clipboard holds no picture ({error}). Copy one first, or open its file.")
    })?;
    let over_white = |value: u8, alpha: u8| {
        let (value, alpha) = (value as u32, alpha as u32);
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let rgb = image
        .bytes
        .chunks_exact(4)
        .flat_map(|p| [p[0], p[1], p[2]].map(|value| over_white(value, p[3])))
        .collect();
    Ok(Picture {
        width: image.width,
        height: image.height,
        rgb,
    })
}
