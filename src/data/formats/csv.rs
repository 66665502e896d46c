//! CSV with base64 pictures: the columns of [`Layout`] and an optional column `concept`.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::captioned::Captioned;
use super::super::error::{DataError, Problem};
use super::super::record::{Encoded, Record};
use super::row_numbers::RowNumbers;
use super::{Definition, Input, Layout, Rows, read_file, save};

pub const DEFINITION: Definition = Definition {
    description: "CSV with base64 pictures and captions",
    detect: |input| input.body.is_some(),
    read,
    write,
};

/// Returns a record for each row, including rows that repeat a picture.
fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    let (name, body) = (input.name(), input.text());
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
    let mut numbers = RowNumbers::new(body);
    numbers.next(&headers);
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
                    "seems to separate its columns by `{shown}`: save it with commas"
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

    let (mut records, mut problems) = (vec![], vec![]);
    for record in reader.byte_records() {
        let record = record.map_err(read_error)?;
        let id = match numbers.next(&record) {
            (row, line) if row == line => format!("{name} row {row}"),
            (row, line) => format!("{name} row {row} (line {line})"),
        };
        let place = |column: &str| format!("{id}, column {column}");
        if record.len() > headers.len() {
            let what = format!(
                "it has {} fields for {} columns: put a caption with commas in quotes",
                record.len(),
                headers.len()
            );
            problems.push(Problem::new(id, what));
            continue;
        }
        let mut field =
            |index: usize, column: &str| match record.get(index).map(std::str::from_utf8) {
                Some(Ok(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                Some(Ok(_)) => {
                    problems.push(Problem::new(place(column), "it is empty"));
                    None
                }
                Some(Err(_)) => {
                    problems.push(Problem::new(
                        place(column),
                        "it is not UTF-8 text: save the file as UTF-8",
                    ));
                    None
                }
                None => {
                    let what = format!(
                        "it is missing: the row has {} fields for {} columns",
                        record.len(),
                        headers.len()
                    );
                    problems.push(Problem::new(place(column), what));
                    None
                }
            };
        let text = field(caption, &layout.caption_column);
        let data = field(image, &layout.image_column);
        // the concept of a row may be empty
        let given = concept.filter(|&index| {
            record
                .get(index)
                .is_some_and(|bytes| !bytes.trim_ascii().is_empty())
        });
        let concept = given.map(|index| field(index, "concept"));
        if let (Some(caption), Some(data), false) = (text, data, concept == Some(None)) {
            let (place, concept) = (place(&layout.image_column), concept.flatten());
            records.push(Record {
                id,
                place,
                image: Encoded::Base64(data),
                caption,
                others: vec![],
                concept,
            });
        }
    }
    Ok((records, problems))
}

fn write(path: &Path, rows: &[Captioned]) -> Result<(), DataError> {
    let embed = |Captioned { picture, caption }: &Captioned| {
        Ok([STANDARD.encode(read_file(picture)?), caption.clone()])
    };
    let Layout {
        image_column,
        caption_column,
        ..
    } = Layout::default();
    save(
        path,
        &table([image_column, caption_column], rows.iter().map(embed))?,
    )
}

/// Encodes a table of two columns.
pub fn table(
    header: [String; 2],
    rows: impl Iterator<Item = Result<[String; 2], DataError>>,
) -> Result<Vec<u8>, DataError> {
    const IN_MEMORY: &str = "writing to memory cannot fail";
    let mut csv = csv::Writer::from_writer(vec![]);
    csv.write_record(header).expect(IN_MEMORY);
    for row in rows {
        csv.write_record(row?).expect(IN_MEMORY);
    }
    Ok(csv.into_inner().expect(IN_MEMORY))
}

#[cfg(test)]
mod tests {
    use super::super::super::Loaded;
    use super::super::super::testing::{lines, load, png, written};
    use super::*;
    use crate::hint::{Hint, Hinted};

    #[test]
    fn reads_the_format_of_the_original_in_order() {
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
    fn reports_bad_rows_by_row_and_column_and_uses_the_rest() {
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
        let all = lines(&problems);
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
        assert_eq!(problems.len(), 7);
        assert!(matches!(load(&path, true), Err(DataError::Strict(_))));
    }

    #[test]
    fn rejects_unquoted_commas_in_captions() {
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
            text.ends_with(
                "row 2: it has 3 fields for 2 columns: put a caption with commas in quotes"
            ),
            "{text}"
        );
    }

    #[test]
    fn counts_rows_as_spreadsheets_and_lines_as_editors() {
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
    fn rejects_unreadable_headers() {
        let utf16: Vec<u8> = "\u{feff}b64string_images,caption\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let cases: [(&[u8], &str); 6] = [
            (b"", "is empty"),
            (b"\n\n", "is empty"),
            (
                b"b64string_images;caption\nx;y\n",
                "columns by `;`: save it with commas",
            ),
            (
                b"b64string_images\tcaption\nx\ty\n",
                "columns by `tab`: save it with commas",
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
    fn reports_missing_files_and_columns() {
        assert!(
            load(Path::new("absent.csv"), false)
                .unwrap_err()
                .to_string()
                .contains("absent.csv")
        );
        let (_dir, path) = written("inputs.csv", b"image,text\nx,y\n");
        let error = load(&path, false).unwrap_err();
        assert!(error.to_string().contains("`image`, `text`"), "{error}");
        assert_eq!(error.hint(), Some(Hint::NameColumns));
        let (_dir, path) = written("inputs.csv", b"b64string_images,caption\n");
        assert!(matches!(load(&path, false), Err(DataError::Empty { .. })));
    }

    #[test]
    fn reads_optional_concepts() {
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
            problems[0].to_string().ends_with(
                "row 5: it has 4 fields for 3 columns: put a caption with commas in quotes"
            ),
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
