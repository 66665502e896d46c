//! Reads and writes Parquet tables through their rows.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::{Field, Row};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::Type;
use serde_json::{Map, Value, json};

use super::super::columns::{self, position};
use super::super::entry::Entries;
use super::super::layout::Layout;
use super::super::{Binary, Input, Rows, contents, save};
use crate::data::error::{DataError, Problem};
use crate::data::record::{Encoded, Record};
use crate::panics;

/// Rows of a group that are written together.
const GROUP: usize = 1000;

/// Advice about a damaged table.
const AGAIN: &str = "download it again, or convert it with the program that wrote it";

pub fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    // the crate panics on some damaged tables
    panics::caught(|| rows(input, layout)).unwrap_or_else(|| {
        Err(DataError::Format {
            path: input.name(),
            what: format!("is a damaged Parquet table: {AGAIN}"),
        })
    })
}

fn rows(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    let name = input.name();
    let format_error = |what: String| DataError::Format {
        path: name.clone(),
        what,
    };
    let failed =
        |error: ParquetError| format_error(format!("is a damaged Parquet table: {error}; {AGAIN}"));
    let reader: Box<dyn FileReader> = match input.binary().expect("detection found a table") {
        Binary::File(path) => {
            let file = File::open(path).map_err(|error| DataError::Read {
                path: name.clone(),
                reason: error.to_string(),
            })?;
            Box::new(SerializedFileReader::new(file).map_err(failed)?)
        }
        Binary::Memory(bytes) => {
            let bytes = Bytes::copy_from_slice(bytes);
            Box::new(SerializedFileReader::new(bytes).map_err(failed)?)
        }
    };
    let schema = reader.metadata().file_metadata().schema_descr();
    let fields = schema.root_schema().get_fields().to_vec();
    let names: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
    let image = position(&names, layout.image_column.as_deref(), &columns::IMAGES);
    // conversations and the like are found by the entries
    let caption = position(&names, layout.caption_column.as_deref(), &columns::CAPTIONS);
    let has_turns = ["conversations", "messages"]
        .iter()
        .any(|turns| names.iter().any(|name| name == turns));
    let missing = match (image, caption) {
        (None, _) => Some((&layout.image_column, "pictures")),
        (_, None) if layout.caption_column.is_some() || !has_turns => {
            Some((&layout.caption_column, "captions"))
        }
        _ => None,
    };
    if let Some((given, what)) = missing {
        let column = match given {
            Some(given) => format!("column `{given}`"),
            None => format!("column of {what} that is known by its name"),
        };
        let have: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        return Err(DataError::NoColumn {
            path: name,
            column,
            have: have.join(", "),
        });
    }
    let image = image.unwrap_or_default();
    // other columns may be large, or of kinds that rows do not have
    let wanted = |index: usize| {
        let known = [
            columns::CONCEPT,
            columns::SPLIT,
            "conversations",
            "messages",
            "image_id",
        ];
        index == image
            || Some(index) == caption
            || columns::CAPTIONS.contains(&&names[index].to_lowercase()[..])
            || known.contains(&&names[index][..])
    };
    let chosen = (0..fields.len())
        .filter(|&index| wanted(index))
        .map(|index| fields[index].clone());
    let projection = Type::group_type_builder(schema.root_schema().name())
        .with_fields(chosen.collect())
        .build()
        .map_err(failed)?;
    let mut entries = Entries::new(input, layout);
    let mut rows = reader.get_row_iter(Some(projection)).map_err(failed)?;
    for number in 1u64.. {
        let id = format!("{name} row {number}");
        // rows before the damage are read
        let reason = match panics::caught(|| rows.next()) {
            Some(Some(Ok(row))) => {
                add(&mut entries, &id, row, &names[image]);
                continue;
            }
            Some(None) => break,
            Some(Some(Err(error))) => format!(": {error}"),
            None => String::new(),
        };
        let what = format!("the table is damaged{reason}; nothing after it is read: {AGAIN}");
        entries.problem(Problem::new(id, what));
        break;
    }
    entries.finish()
}

/// Adds a row: the picture by itself, since its bytes are no text, and the other columns.
fn add(entries: &mut Entries, id: &str, row: Row, image: &str) {
    let mut object = Map::new();
    let mut picture = None;
    for (name, field) in row.into_columns() {
        if name == image {
            match embedded(&field) {
                Some(found) => picture = Some(found),
                None => {
                    object.insert(name, value(&field));
                }
            }
        } else {
            object.insert(name, value(&field));
        }
    }
    entries.add_with(id, &Value::Object(object), picture);
}

/// The bytes of a picture: a binary column, or `{"bytes", "path"}` as `datasets` writes.
fn embedded(field: &Field) -> Option<Encoded> {
    match field {
        // text without that annotation may be a name
        Field::Bytes(bytes) if !is_name(bytes.data()) => Some(Encoded::Bytes {
            name: String::new(),
            bytes: bytes.data().to_vec(),
        }),
        Field::Group(row) => {
            let of = |wanted: &str| {
                let mut fields = row.get_column_iter();
                fields
                    .find(|(name, _)| *name == wanted)
                    .map(|(_, field)| field)
            };
            let Some(Field::Bytes(bytes)) = of("bytes") else {
                return None;
            };
            let name = match of("path") {
                Some(Field::Str(path)) => path.clone(),
                Some(Field::Bytes(path)) => String::from_utf8_lossy(path.data()).into_owned(),
                _ => String::new(),
            };
            Some(Encoded::Bytes {
                name,
                bytes: bytes.data().to_vec(),
            })
        }
        Field::ListInternal(list) if list.len() == 1 => embedded(&list.elements()[0]),
        _ => None,
    }
}

/// Whether bytes are a short text, as no picture is.
fn is_name(bytes: &[u8]) -> bool {
    bytes.len() <= 1024 && std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'))
}

/// Turns a column's value into that of an entry.
fn value(field: &Field) -> Value {
    match field {
        Field::Str(text) => text.clone().into(),
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned().into(),
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float(value) => (*value as f64).into(),
        Field::Double(value) => (*value).into(),
        Field::Group(row) => {
            let fields = row.get_column_iter();
            Value::Object(
                fields
                    .map(|(name, field)| (name.clone(), value(field)))
                    .collect(),
            )
        }
        Field::ListInternal(list) => Value::Array(list.elements().iter().map(value).collect()),
        _ => Value::Null,
    }
}

/// Writes the pictures with their bytes, as `datasets` does.
pub fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let several = records.iter().any(|record| !record.others.is_empty());
    let concepts = records.iter().any(|record| record.concept.is_some());
    let failed = |error: ParquetError| DataError::Write {
        path: path.display().to_string(),
        reason: std::io::Error::other(error),
    };
    let captions = match several {
        true => {
            "optional group captions (LIST) { repeated group list { optional binary element (STRING); } }"
        }
        false => "optional binary text (STRING);",
    };
    let concept = if concepts {
        "optional binary concept (STRING);"
    } else {
        ""
    };
    let schema = format!(
        "message schema {{ optional group image {{ optional binary bytes; optional binary path (STRING); }} {captions} {concept} }}"
    );
    let schema = Arc::new(parse_message_type(&schema).map_err(failed)?);
    let text = json!({"dtype": "string", "_type": "Value"});
    let mut features = json!({"image": {"_type": "Image"}});
    match several {
        true => features["captions"] = json!([text]),
        false => features["text"] = text.clone(),
    }
    if concepts {
        features["concept"] = text;
    }
    let features = json!({"info": {"features": features}}).to_string();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_key_value_metadata(Some(vec![KeyValue::new("huggingface".into(), features)]))
        .build();
    let mut writer =
        SerializedFileWriter::new(vec![], schema, Arc::new(properties)).map_err(failed)?;
    for records in records.chunks(GROUP) {
        let mut columns = vec![];
        let mut pictures = vec![];
        for record in records {
            pictures.push(ByteArray::from(contents(record)?));
        }
        let count = records.len();
        columns.push((pictures, vec![2; count], vec![]));
        let name = |record: &Record| record.file_name();
        let paths: Vec<Option<String>> = records.iter().map(name).collect();
        let levels = paths.iter().map(|path| 1 + path.is_some() as i16).collect();
        let values = paths
            .iter()
            .flatten()
            .map(|path| path.as_str().into())
            .collect();
        columns.push((values, levels, vec![]));
        let texts: Vec<ByteArray> = records
            .iter()
            .flat_map(Record::captions)
            .map(ByteArray::from)
            .collect();
        let firsts = records
            .iter()
            .flat_map(|record| record.captions().enumerate());
        let repetition: Vec<i16> = firsts.map(|(number, _)| (number > 0) as i16).collect();
        match several {
            true => columns.push((texts, vec![3; repetition.len()], repetition)),
            false => columns.push((texts, vec![1; count], vec![])),
        }
        if concepts {
            let levels = records
                .iter()
                .map(|record| record.concept.is_some() as i16)
                .collect();
            let values = records
                .iter()
                .filter_map(|record| record.concept.as_deref());
            columns.push((values.map(ByteArray::from).collect(), levels, vec![]));
        }
        let mut group = writer.next_row_group().map_err(failed)?;
        for (values, definition, repetition) in columns {
            let column = group.next_column().map_err(failed)?;
            let mut column = column.expect("there are as many columns as in the schema");
            let repetition = Some(&repetition[..]).filter(|levels| !levels.is_empty());
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, Some(&definition), repetition)
                .map_err(failed)?;
            column.close().map_err(failed)?;
        }
        group.close().map_err(failed)?;
    }
    save(path, &writer.into_inner().map_err(failed)?)?;
    Ok(vec![])
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use crate::data::testing::{gzip, load, written};
    use crate::data::{DataError, Loaded};

    /// Tables that pyarrow 26 wrote: pictures of 8 x 8 pixels, as `datasets` keeps them.
    const HUB: &[u8] = include_bytes!("testdata/hub.parquet");
    const CHAT: &[u8] = include_bytes!("testdata/chat.parquet");
    const ZSTANDARD: &[u8] = include_bytes!("testdata/zstd.parquet");

    #[test]
    fn reads_tables_of_the_hub() {
        for (name, bytes) in [("0.parquet", HUB.to_vec()), ("0.parquet.gz", gzip(HUB))] {
            let (_dir, path) = written(name, bytes);
            let Loaded {
                dataset, problems, ..
            } = load(&path, true).unwrap();
            let all: Vec<_> = dataset
                .samples
                .iter()
                .map(|it| (it.rgb[0], &it.caption[..]))
                .collect();
            assert_eq!(
                (all, problems),
                (vec![(10, "one"), (30, "two")], vec![]),
                "{name}"
            );
            let picture = dataset.samples[1].picture.as_ref().unwrap();
            assert_eq!(picture.to_str(), Some("1.png"));
        }
        let (_dir, path) = written("0.parquet", CHAT);
        assert_eq!(load(&path, true).unwrap().dataset.samples[0].caption, "msg");
        // its pictures are names, which are known once it is decompressed
        let (_dir, path) = written("0.parquet", ZSTANDARD);
        let error = load(&path, true).unwrap_err().to_string();
        assert!(
            error.contains("row 1") && error.contains("a.png"),
            "{error}"
        );
    }

    #[test]
    fn damaged_tables_never_panic() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for table in [HUB, CHAT, ZSTANDARD] {
            for _ in 0..300 {
                let mut bytes = table.to_vec();
                for _ in 0..random.random_range(1..5) {
                    let place = random.random_range(0..bytes.len());
                    bytes[place] = random.random();
                }
                let (_dir, path) = written("0.parquet", bytes);
                if let Err(error) = load(&path, false) {
                    assert!(error.to_string().contains("0.parquet"), "{error}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for length in [4, 40, HUB.len() - 9] {
            let (_dir, path) = written("0.parquet", &HUB[..length]);
            let error = load(&path, false).unwrap_err();
            assert!(
                matches!(&error, DataError::Format { what, .. } if what.contains("damaged")),
                "{error}"
            );
        }
    }
}
