//! Pictures and files from the clipboard.

use std::path::PathBuf;

use egui::{ColorImage, Event};
use seemore::image::Picture;

/// Content of the clipboard that can be opened.
pub enum Pasted {
    /// A picture, over white.
    Picture(Picture),
    /// Files that were copied in a file manager, or their paths as text.
    Files(Vec<PathBuf>),
}

/// Returns what is on the clipboard.
///
/// # Errors
/// A clipboard without a picture or files, in words for the user.
pub fn read() -> Result<Pasted, String> {
    let failed = |error: arboard::Error| {
        format!("The clipboard holds no picture ({error}). Copy one first, or open its file.")
    };
    let mut clipboard = arboard::Clipboard::new().map_err(failed)?;
    let files = clipboard.get().file_list().unwrap_or_default();
    if !files.is_empty() {
        return Ok(Pasted::Files(files));
    }
    match clipboard.get_image() {
        Ok(image) => Ok(Pasted::Picture(over_white(
            [image.width, image.height],
            image.bytes.as_chunks::<4>().0.iter().copied(),
        ))),
        Err(error) => {
            let files = paths(&clipboard.get_text().unwrap_or_default());
            match files.is_empty() {
                true => Err(failed(error)),
                false => Ok(Pasted::Files(files)),
            }
        }
    }
}

/// Returns what the system's paste keys have delivered. Text is taken only if it names files, and
/// not while a text field has the focus.
pub fn pasted(events: &[Event], typing: bool) -> Option<Pasted> {
    events.iter().find_map(|event| match event {
        Event::PasteImage(image) => Some(Pasted::Picture(of_image(image))),
        Event::Paste(text) if !typing => {
            let files = paths(text);
            (!files.is_empty()).then_some(Pasted::Files(files))
        }
        _ => None,
    })
}

fn of_image(image: &ColorImage) -> Picture {
    let pixels = image
        .pixels
        .iter()
        .map(|pixel| pixel.to_srgba_unmultiplied());
    over_white(image.size, pixels)
}

fn over_white([width, height]: [usize; 2], pixels: impl Iterator<Item = [u8; 4]>) -> Picture {
    let over_white = |value: u8, alpha: u8| {
        let (value, alpha) = (value as u32, alpha as u32);
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let rgb = pixels
        .flat_map(|p| [p[0], p[1], p[2]].map(|value| over_white(value, p[3])))
        .collect();
    Picture { width, height, rgb }
}

/// Returns the existing files that a text names, one a line, as paths or `file:` addresses.
fn paths(text: &str) -> Vec<PathBuf> {
    let path = |line: &str| match line.strip_prefix("file://") {
        Some(address) => PathBuf::from(unescaped(address)),
        None => PathBuf::from(line),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let paths = lines.map(path);
    paths
        .filter(|path| path.is_absolute() && path.exists())
        .collect()
}

/// Returns an address with `%20` and the like replaced by what they stand for.
fn unescaped(address: &str) -> String {
    let bytes = address.as_bytes();
    let mut plain = vec![];
    let mut at = 0;
    while at < bytes.len() {
        let digits = address.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_taken_for_files_that_exist() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a b.png");
        std::fs::write(&file, "").unwrap();
        let address = format!("file://{}", file.display()).replace(' ', "%20");
        for text in [address, file.display().to_string()] {
            let text = format!("{text}\n/no/such/file.png\nwords");
            assert_eq!(paths(&text), std::slice::from_ref(&file));
            let events = [Event::Paste(text)];
            assert!(matches!(pasted(&events, false), Some(Pasted::Files(_))));
            assert!(pasted(&events, true).is_none());
        }
    }

    #[test]
    fn pasted_pictures_lie_over_white() {
        let image = ColorImage::new(
            [1, 1],
            vec![egui::Color32::from_rgba_unmultiplied(0, 0, 0, 0)],
        );
        let events = [Event::PasteImage(image.into())];
        let Some(Pasted::Picture(picture)) = pasted(&events, true) else {
            panic!("a picture is taken whatever has the focus")
        };
        assert_eq!(picture.rgb, [255; 3]);
    }
}
