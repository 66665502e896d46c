//! Names under which columns of tables and fields of JSON hold pictures and captions.

/// Usual names of the picture, the surest first.
pub const IMAGES: [&str; 26] = [
    "b64string_images",
    "image",
    "file_name",
    "filename",
    "file",
    "image_path",
    "image_file",
    "image_name",
    "imagepath",
    "filepath",
    "file_path",
    "path",
    "img",
    "img_path",
    "img_file",
    "image_bytes",
    "image_base64",
    "image_b64",
    "base64",
    "picture",
    "photo",
    "images",
    "jpg",
    "png",
    "image_id",
    "name",
];

/// Usual names of the caption, the surest first.
pub const CAPTIONS: [&str; 19] = [
    "caption",
    "captions",
    "text",
    "description",
    "descriptions",
    "sentence",
    "sentences",
    "comment",
    "alt_text",
    "alt",
    "caption_str",
    "caption_text",
    "txt",
    "prompt",
    "tags",
    "tag",
    "title",
    "texts",
    "raw",
];

/// Name of the concept.
pub const CONCEPT: &str = "concept";

/// Name of the part of the data set.
pub const SPLIT: &str = "split";

/// Whether two names are alike but for case, spaces and punctuation: `Image Path` and `image_path`.
pub fn alike(a: &str, b: &str) -> bool {
    let letters = |name: &str| {
        let letters = name.chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect::<String>()
    };
    a.eq_ignore_ascii_case(b) || {
        let (a, b) = (letters(a), letters(b));
        !a.is_empty() && a == b
    }
}

/// Finds a column: by its given name as it is, then by one that is alike, then by its number from 1;
/// or, if none is given, by the first usual name that a column is alike.
pub fn position(columns: &[String], given: Option<&str>, usual: &[&str]) -> Option<usize> {
    let in_any_case = |wanted: &str| columns.iter().position(|column| alike(column, wanted));
    match given {
        Some(given) => {
            let exact = columns.iter().position(|column| column == given);
            let number = || {
                let number: usize = given.parse().ok()?;
                (1..=columns.len()).contains(&number).then(|| number - 1)
            };
            exact.or_else(|| in_any_case(given.trim())).or_else(number)
        }
        None => usual.iter().find_map(|name| in_any_case(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_number_or_custom() {
        let columns = ["Id", "Text", "FileName", "caption "].map(str::to_owned);
        assert_eq!(position(&columns, None, &IMAGES), Some(2));
        assert_eq!(position(&columns, None, &CAPTIONS), Some(3));
        assert_eq!(position(&columns, Some("text"), &CAPTIONS), Some(1));
        assert_eq!(position(&columns, Some("4"), &CAPTIONS), Some(3));
        assert_eq!(position(&columns, Some("5"), &CAPTIONS), None);
        assert_eq!(
            position(&["x".into(), "Image Path".into()], None, &IMAGES),
            Some(1)
        );
        assert!(!alike("", "-") && !alike("a1", "a2") && alike("alt-text", "Alt Text"));
        assert_eq!(position(&columns, Some("caption"), &CAPTIONS), Some(3));
    }
}
