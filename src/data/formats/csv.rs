//! CSV with base64 pictures: the columns of [`Layout`] and, where there is one, a column `concept`.

use std::path::Path;

use super::super::dataset::{DataError, Problem};
use super::{Encoded, Layout, Raw, Rows};

/// Every row is a sample, also where the picture is that of another row.
pub fn read(path: &Path, body: &[u8], layout: &Layout) -> Result<Rows, DataError> {
    let name = path.display().to_string();
    let read_error = |error: csv::Error| DataError::Read {
        path: name.clone(),
        reason: error.to_string(),
    };
    let format_error = |what: String| DataError::Format {
        path: name.clone(),
        what,
    };
    if body.trim_ascii().is_empty() {
        let (image, caption) = (&layout.image_column, &layout.caption_column);
        return Err(format_error(format!(
            "is empty: its first line must be the header `{image},{caption}`"
        )));
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(body);
    let headers = reader.byte_headers().map_err(read_error)?.clone();
    let mut places = Places::new(body);
    places.next(&headers);
    let headers: Vec<String> = headers
        .iter()
        .map(|header| String::from_utf8_lossy(header).trim().to_owned())
        .collect();
    let column = |wanted: &str| {
        if let Some(index) = headers.iter().position(|header| header == wanted) {
            return Ok(index);
        }
        for (separator, shown) in [(';', ";"), ('\t', "tab")] {
            if headers.iter().any(|header| header.contains(separator)) {
                return Err(format_error(format!(
                    "has columns that seem to be separated by `{shown}`: save it with commas"
                )));
            }
        }
        Err(DataError::NoColumn {
            path: name.clone(),
            column: wanted.to_owned(),
            have: headers
                .iter()
                .map(|header| format!("`{}`", header.chars().take(40).collect::<String>()))
                .collect::<Vec<_>>()
                .join(", "),
        })
    };
    let (image, caption) = (
        column(&layout.image_column)?,
        column(&layout.caption_column)?,
    );
    let concept = headers.iter().position(|header| header == "concept");

    let (mut raws, mut problems) = (vec![], vec![]);
    for record in reader.byte_records() {
        let record = record.map_err(read_error)?;
        let id = match places.next(&record) {
            (row, line) if row == line => format!("{name} row {row}"),
            (row, line) => format!("{name} row {row} (line {line})"),
        };
        let place = |column: &str| format!("{id}, column {column}");
        if record.len() > headers.len() {
            let what = format!(
                "it has {} of {} columns: put a caption with commas in quotes",
                record.len(),
                headers.len()
            );
            problems.push(Problem { place: id, what });
            continue;
        }
        let mut field =
            |index: usize, column: &str| match record.get(index).map(std::str::from_utf8) {
                Some(Ok(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                Some(Ok(_)) => {
                    problems.push(Problem {
                        place: place(column),
                        what: "it is empty".into(),
                    });
                    None
                }
                Some(Err(_)) => {
                    problems.push(Problem {
                        place: place(column),
                        what: "it is not UTF-8 text: save the file as UTF-8".into(),
                    });
                    None
                }
                None => {
                    let what = format!(
                        "it is missing: the row has {} of {} columns",
                        record.len(),
                        headers.len()
                    );
                    problems.push(Problem {
                        place: place(column),
                        what,
                    });
                    None
                }
            };
        let text = field(caption, &layout.caption_column);
        let data = field(image, &layout.image_column);
        // a row may do without a concept
        let given = concept.filter(|&index| {
            record
                .get(index)
                .is_some_and(|bytes| !bytes.trim_ascii().is_empty())
        });
        let concept = given.map(|index| field(index, "concept"));
        if let (Some(caption), Some(data), false) = (text, data, concept == Some(None)) {
            let (place, concept) = (place(&layout.image_column), concept.flatten());
            raws.push(Raw {
                id,
                place,
                image: Encoded::Base64(data),
                caption,
                others: vec![],
                concept,
            });
        }
    }
    Ok((raws, problems))
}

/// Counts rows and lines of a CSV file. The reader skips blank lines, which spreadsheets and editors count.
pub struct Places<'a> {
    bytes: &'a [u8],
    /// All before it has been counted.
    at: usize,
    row: usize,
    line: usize,
}

impl Places<'_> {
    pub fn new(bytes: &[u8]) -> Places<'_> {
        Places {
            bytes,
            at: 0,
            row: 0,
            line: 1,
        }
    }

    /// Line breaks from where the last count ended.
    fn breaks(&mut self, to: usize) -> usize {
        let ends_line = |i: &usize| match self.bytes[*i] {
            b'\n' => true,
            b'\r' => self.bytes.get(i + 1) != Some(&b'\n'),
            _ => false,
        };
        let count = (self.at..to).filter(ends_line).count();
        self.at = to;
        count
    }

    /// The row and the line, both from 1, where the next record starts.
    pub fn next(&mut self, record: &csv::ByteRecord) -> (usize, usize) {
        // the reader's position is where the record before ended, or between the two bytes of that line's end
        let mut end = record
            .position()
            .map_or(0, |position| position.byte() as usize);
        if end > 0 && self.bytes[end - 1] == b'\r' && self.bytes.get(end) == Some(&b'\n') {
            end += 1;
        }
        let blank = self.bytes[end..]
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        self.line += self.breaks(end);
        let blank = self.breaks(end + blank);
        self.line += blank;
        self.row += blank + 1;
        (self.row, self.line)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::super::super::dataset::Loaded;
    use super::super::tests::{load, png, written};
    use super::*;

    #[test]
    fn a_csv_in_the_originals_format_is_read_in_order() {
        let b64 = |shade| STANDARD.encode(png(shade));
        let wrapped = format!("data:image/png;base64,{}", b64(30));
        let text = format!(
            "\u{feff}b64string_images,caption\n{},red\n\"{wrapped}\n\",\"dark, red\"\n",
            b64(250)
        );
        let (_dir, path) = written("inputs.csv", text.as_bytes());
        let Loaded { dataset, problems } = load(&path, true).unwrap();
        assert!(problems.is_empty());
        let captions: Vec<_> = dataset
            .samples
            .iter()
            .map(|sample| sample.caption.as_str())
            .collect();
        assert_eq!(captions, ["red", "dark, red"]);
        assert_eq!(dataset.samples[0].rgb[..3], [250, 0, 0]);
        assert_eq!(dataset.samples[1].rgb.len(), 4 * 4 * 3);
        assert!(
            dataset.samples[1].id.ends_with("inputs.csv row 3"),
            "{}",
            dataset.samples[1].id
        );
    }

    #[test]
    fn bad_rows_are_named_by_row_and_column_and_the_rest_is_used() {
        let good = STANDARD.encode(png(9));
        let mut text = format!(
            "caption,b64string_images\nfine,{good}\nbroken,@@@\nno picture,{}\n",
            STANDARD.encode("words")
        )
        .into_bytes();
        text.extend(format!("  ,{good}\nshort\n\"\",\n").as_bytes());
        text.extend(b"bad \xff text,");
        text.extend(format!("{good}\n").as_bytes());
        let (_dir, path) = written("inputs.csv", &text);
        let Loaded { dataset, problems } = load(&path, false).unwrap();
        assert_eq!(dataset.samples.len(), 1);
        let list: Vec<String> = problems.iter().map(Problem::to_string).collect();
        let all = list.join("\n");
        for wanted in [
            "row 3, column b64string_images: it is not base64",
            "row 4, column b64string_images: it is not a picture",
            "row 5, column caption: it is empty",
            "row 6, column b64string_images: it is missing",
            "row 7, column caption: it is empty",
            "row 7, column b64string_images: it is empty",
            "row 8, column caption: it is not UTF-8",
        ] {
            assert!(all.contains(wanted), "no `{wanted}` in\n{all}");
        }
        assert_eq!(list.len(), 7);
        assert!(matches!(load(&path, true), Err(DataError::Strict(_))));
    }

    #[test]
    fn a_caption_with_a_bare_comma_is_not_cut() {
        let good = STANDARD.encode(png(9));
        let (_dir, path) = written(
            "inputs.csv",
            format!("b64string_images,caption\n{good},a red, round apple\n{good},fine\n")
                .as_bytes(),
        );
        let Loaded { dataset, problems } = load(&path, false).unwrap();
        assert_eq!((dataset.samples.len(), problems.len()), (1, 1));
        let text = problems[0].to_string();
        assert!(
            text.ends_with("row 2: it has 3 of 2 columns: put a caption with commas in quotes"),
            "{text}"
        );
    }

    #[test]
    fn rows_are_a_spreadsheets_and_lines_an_editors() {
        let good = STANDARD.encode(png(9));
        for end in ["\n", "\r\n", "\r"] {
            let rows = [
                "",
                "b64string_images,caption",
                "",
                "",
                "@,a",
                "@,\"b\n\nb\"",
                "@,c",
                "",
                "@,d",
                &format!("{good},e"),
            ];
            let (_dir, path) = written(
                "inputs.csv",
                rows.join(end).replace("\n\n", &end.repeat(2)).as_bytes(),
            );
            let Loaded { dataset, problems } = load(&path, false).unwrap();
            let places: Vec<_> = problems
                .iter()
                .map(|problem| problem.place.rsplit('/').next().unwrap().to_owned())
                .collect();
            let wanted = ["row 5", "row 6", "row 7 (line 9)", "row 9 (line 11)"];
            let wanted = wanted.map(|place| format!("inputs.csv {place}, column b64string_images"));
            assert_eq!(places, wanted, "{end:?}");
            assert!(
                dataset.samples[0].id.ends_with("row 10 (line 12)"),
                "{}",
                dataset.samples[0].id
            );
        }
    }

    #[test]
    fn unreadable_headers_say_what_to_save_instead() {
        let utf16: Vec<u8> = "\u{feff}b64string_images,caption\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let cases: [(&[u8], &str); 6] = [
            (b"", "is empty"),
            (b"\n\n", "is empty"),
            (
                b"b64string_images;caption\nx;y\n",
                "separated by `;`: save it with commas",
            ),
            (
                b"b64string_images\tcaption\nx\ty\n",
                "separated by `tab`: save it with commas",
            ),
            (&utf16, "save it as UTF-8"),
            (&utf16[2..], "save it as UTF-8"),
        ];
        for (bytes, wanted) in cases {
            let (_dir, path) = written("inputs.csv", bytes);
            let error = load(&path, false).unwrap_err().to_string();
            assert!(
                error.contains("inputs.csv") && error.contains(wanted),
                "{error}"
            );
        }
    }

    #[test]
    fn missing_files_and_columns_say_what_to_do() {
        assert!(
            load(Path::new("absent.csv"), false)
                .unwrap_err()
                .to_string()
                .contains("absent.csv")
        );
        let (_dir, path) = written("inputs.csv", b"image,text\nx,y\n");
        let error = load(&path, false).unwrap_err().to_string();
        assert!(
            error.contains("`image`, `text`") && error.contains("--image-column"),
            "{error}"
        );
        let (_dir, path) = written("inputs.csv", b"b64string_images,caption\n");
        assert!(matches!(load(&path, false), Err(DataError::Empty { .. })));
    }

    #[test]
    fn concepts_are_read_where_there_are_any() {
        let good = STANDARD.encode(png(9));
        let text = format!(
            "b64string_images,caption,concept\n{good},a red apple,apple\n{good},a pear, \n{good},short\n{good},an apple,a,pple\n"
        );
        let (_dir, path) = written(
            "inputs.csv",
            [text.as_bytes(), good.as_bytes(), b",bad,\xff\n"].concat(),
        );
        let Loaded { dataset, problems } = load(&path, false).unwrap();
        let concepts: Vec<_> = dataset
            .samples
            .iter()
            .map(|sample| (&sample.caption[..], sample.concept.as_deref()))
            .collect();
        assert_eq!(
            concepts,
            [
                ("a red apple", Some("apple")),
                ("a pear", None),
                ("short", None)
            ]
        );
        assert!(
            problems[0]
                .to_string()
                .ends_with("row 5: it has 4 of 3 columns: put a caption with commas in quotes"),
            "{problems:?}"
        );
        assert!(
            problems[1]
                .to_string()
                .contains("row 6, column concept: it is not UTF-8"),
            "{problems:?}"
        );
    }
}
