//! Tables of pictures and captions: CSV, TSV and other delimiters, with any columns. Cells hold
//! base64, data URLs or the names of picture files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use std::path::Path;

use super::super::error::DataError;
use super::super::record::Record;
use super::{Definition, columns, contents, save, table};

pub const DEFINITION: Definition = Definition {
    name: "csv-embedded",
    description: "CSV or TSV with pictures or their names, and captions",
    detect: |input| input.is_text(),
    read: |input, layout| table::read(input, layout, false),
    write: Some(write),
};

/// Embeds the pictures.
fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let concepts = records.iter().any(|record| record.concept.is_some());
    let mut rows = vec![];
    for record in records {
        let picture = STANDARD.encode(contents(record)?);
        for caption in record.captions() {
            let concept = record.concept.clone().unwrap_or_default();
            let mut row = vec![picture.clone(), caption.to_owned(), concept];
            row.truncate(2 + concepts as usize);
            rows.push(row);
        }
    }
    let mut header = vec![columns::IMAGES[0], columns::CAPTIONS[0], columns::CONCEPT];
    header.truncate(2 + concepts as usize);
    save(path, &encode(b',', &header, &rows))?;
    Ok(vec![])
}

/// Encodes a table.
pub fn encode(delimiter: u8, header: &[&str], rows: &[Vec<String>]) -> Vec<u8> {
    const IN_MEMORY: &str = "writing to memory cannot fail";
    let mut csv = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .from_writer(vec![]);
    csv.write_record(header).expect(IN_MEMORY);
    for row in rows {
        csv.write_record(row).expect(IN_MEMORY);
    }
    csv.into_inner().expect(IN_MEMORY)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{lines, load, png, written};
    use super::super::super::{Dataset, Layout, Loaded};
    use super::*;
    use crate::hint::{Hint, Hinted};
    use crate::progress::Silent;

    #[test]
    fn reads_the_format_of_the_original_in_order() {
        let b64 = |shade| STANDARD.encode(png(shade));
        let wrapped = format!("data:image/png;base64,{}", b64(30));
        let text = format!(
            "\u{feff}b64string_images,caption\n{},red\n\"{wrapped}\n\",\"dark, red\"\n",
            b64(250)
        );
        let (_dir, path) = written("inputs.csv", text.as_bytes());
        let Loaded {
            dataset, problems, ..
        } = load(&path, true).unwrap();
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
        let Loaded {
            dataset, problems, ..
        } = load(&path, false).unwrap();
        assert_eq!(dataset.samples.len(), 1);
        let all = lines(&problems);
        for wanted in [
            "row 3, column b64string_images: `@@@` is neither a picture's name nor base64",
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
        let Loaded {
            dataset, problems, ..
        } = load(&path, false).unwrap();
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
            let Loaded {
                dataset, problems, ..
            } = load(&path, false).unwrap();
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
            (b"one;two\nx;y\n", "`one`, `two`"),
            (b"one\ttwo\nx\ty\n", "`one`, `two`"),
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
        let (_dir, path) = written("inputs.csv", b"picture,label\nx,y\n");
        let error = load(&path, false).unwrap_err();
        assert!(error.to_string().contains("`picture`, `label`"), "{error}");
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
        let Loaded {
            dataset, problems, ..
        } = load(&path, false).unwrap();
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

    #[test]
    fn reads_names_under_any_columns_and_delimiters() {
        let cases = [
            "filename,license,description\na.png,CC0,one\nb.png,CC0,two\n",
            "sep=;\r\nImage;Text\r\na.png;one\r\nb.png;two\r\n",
            "id\ttext\timg_path\n1\tone\t.\\a.png\n2\ttwo\tB.PNG\n",
            "image_name| comment_number| comment\na.png| 0| one\nb.png| 0| two\n",
            "caption^image\none^a.png\ntwo^/home/me/b.png\n",
            "a.png,one\nb.png,two\n",
            "one\ta.png\ntwo\tb.png",
            "a.png|x|one\nb.png|y|two\n",
        ];
        for text in cases {
            let (dir, path) = written("list.data", text);
            std::fs::write(dir.path().join("a.png"), png(1)).unwrap();
            std::fs::write(dir.path().join("b.png"), png(2)).unwrap();
            let Loaded {
                dataset, problems, ..
            } = load(&path, false).unwrap();
            let all: Vec<_> = dataset
                .samples
                .iter()
                .map(|sample| (sample.rgb[0], &sample.caption[..]))
                .collect();
            assert_eq!(
                (all, problems),
                (vec![(1, "one"), (2, "two")], vec![]),
                "{text}"
            );
        }
    }

    #[test]
    fn columns_can_be_named_or_numbered() {
        let text = "x,y,z\nno,one,a.png\nno,two,b.png\n";
        let (dir, path) = written("list.csv", text);
        std::fs::write(dir.path().join("a.png"), png(1)).unwrap();
        for (image, caption, good) in [
            ("z", "y", true),
            ("Z", "2", true),
            ("w", "y", false),
            ("z", "4", false),
        ] {
            let layout = Layout {
                image_column: Some(image.into()),
                caption_column: Some(caption.into()),
                ..Layout::default()
            };
            let loaded = Dataset::load(&path, 4, &layout, false, &Silent);
            match loaded {
                Ok(Loaded {
                    dataset, problems, ..
                }) => {
                    assert!(
                        good && dataset.samples[0].caption == "one",
                        "{image} {caption}"
                    );
                    assert!(
                        problems[0]
                            .to_string()
                            .contains("row 3, column z: its picture")
                    );
                }
                Err(error) => assert!(!good && error.hint() == Some(Hint::NameColumns), "{error}"),
            }
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_its_row_alone() {
        let good = STANDARD.encode(png(9));
        let text =
            format!("image,caption\n{good},one\n{good},\"two\n{good},three\n{good},\"four, 4\"\n");
        let (_dir, path) = written("inputs.csv", text);
        let Loaded {
            dataset, problems, ..
        } = load(&path, false).unwrap();
        let captions: Vec<&str> = dataset.samples.iter().map(|it| &it.caption[..]).collect();
        assert_eq!(captions, ["one", "three", "four, 4"]);
        assert!(
            lines(&problems).ends_with("row 3: the quote that opens here is never closed: it would take in the next 2 lines"),
            "{problems:?}"
        );
    }

    #[test]
    fn rows_of_one_picture_and_lists_are_several_captions() {
        let text = "filename,raw,split\na.png,\"[\"\"one\"\", \"\"two\"\"]\",train\na.png,three,train\nb.png,four,test\n";
        let (dir, path) = written("flickr_annotations_30k.csv", text);
        std::fs::write(dir.path().join("a.png"), png(1)).unwrap();
        std::fs::write(dir.path().join("b.png"), png(2)).unwrap();
        let Loaded { dataset, notes, .. } = load(&path, true).unwrap();
        assert_eq!(dataset.samples.len(), 2);
        assert_eq!(dataset.samples[0].others, ["two", "three"]);
        assert!(
            notes[0].contains("parts: test 1, train 2; all are read"),
            "{notes:?}"
        );
        let part = |name: &str| {
            let layout = Layout {
                splits: vec![name.into()],
                ..Layout::default()
            };
            Dataset::load(&path, 4, &layout, true, &Silent)
        };
        assert_eq!(part("Test").unwrap().dataset.samples[0].caption, "four");
        let error = part("val").unwrap_err().to_string();
        assert!(
            error.contains("no part `val`") && error.contains("`test`, `train`"),
            "{error}"
        );
    }
}
