//! Tables with a picture and its captions on each row, whatever the columns and delimiters.

use std::borrow::Cow;
use std::path::Path;

use super::super::error::{DataError, Problem};
use super::super::record::caption_text;
use super::columns::{self, position};
use super::layout::{Layout, Setting, Splits};
use super::merge::Merge;
use super::open_quotes::without_open_quotes;
use super::picture_files::{Pictures, is_picture};
use super::row_numbers::RowNumbers;
use super::{Input, Rows};

/// Delimiters of tables, the likeliest first.
const DELIMITERS: [u8; 8] = *b",\t;|^~\x1f\x01";

/// Longest cell that is taken for the name of a picture where there is no header.
const LONGEST_NAME: usize = 1024;

/// Which columns hold what.
struct Columns {
    delimiter: u8,
    /// Names for messages; numbers where there is no header.
    names: Vec<String>,
    has_header: bool,
    image: usize,
    captions: Vec<usize>,
    concept: Option<usize>,
    split: Option<usize>,
}

/// Returns the fields of the first row.
fn first_row(body: &[u8], delimiter: u8) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .has_headers(false)
        .from_reader(body);
    let row = reader.byte_records().next().and_then(Result::ok);
    let field = |field: &[u8]| {
        String::from_utf8_lossy(field)
            .trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
            .to_owned()
    };
    row.map_or(vec![], |row| row.iter().map(field).collect())
}

/// Returns the columns of captions: the given one, else the first usual one, else those that are
/// numbered, such as `caption_1`.
fn caption_columns(names: &[String], layout: &Layout) -> Vec<usize> {
    if let Some(column) = position(names, layout.caption_column.as_deref(), &columns::CAPTIONS) {
        return vec![column];
    }
    if layout.caption_column.is_some() {
        return vec![];
    }
    let numbered = |name: &str| {
        let name = name.to_lowercase();
        let rest = ["caption", "text", "sentence", "comment"]
            .iter()
            .find_map(|stem| name.strip_prefix(stem));
        rest.is_some_and(|rest| {
            let digits = rest.trim_start_matches(['_', ' ', '-']);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    (0..names.len())
        .filter(|&column| numbered(&names[column]))
        .collect()
}

/// The delimiters to try for a file, the likeliest first.
fn delimiters(extension: &str) -> impl Iterator<Item = u8> {
    let first = matches!(extension, "tsv" | "tab").then_some(b'\t');
    first.into_iter().chain(DELIMITERS)
}

impl Columns {
    fn find(
        name: &str,
        extension: &str,
        body: &[u8],
        layout: &Layout,
    ) -> Result<Columns, DataError> {
        let mut widest: (u8, Vec<String>) = (b',', vec![]);
        for delimiter in delimiters(extension) {
            let names = first_row(body, delimiter);
            let image = position(&names, layout.image_column.as_deref(), &columns::IMAGES);
            let mut captions = caption_columns(&names, layout);
            captions.retain(|&column| Some(column) != image);
            let file = |column: usize| is_picture(Path::new(&names[column]));
            if let (Some(image), false) = (image, captions.is_empty())
                && !file(image)
            {
                return Ok(Columns {
                    delimiter,
                    image,
                    captions,
                    has_header: true,
                    concept: position(&names, None, &[columns::CONCEPT]),
                    split: position(&names, None, &[columns::SPLIT]),
                    names,
                });
            }
            if names.len() > widest.1.len() {
                widest = (delimiter, names);
            }
        }
        let by_number = |given: &Option<String>| {
            given
                .as_ref()
                .is_none_or(|given| given.parse::<usize>().is_ok())
        };
        if by_number(&layout.image_column) && by_number(&layout.caption_column) {
            let all = delimiters(extension);
            if let Some(columns) = all
                .into_iter()
                .find_map(|delimiter| Self::without_header(delimiter, body, layout))
            {
                return Ok(columns);
            }
        }
        let names = widest.1;
        let missing = |given: &Option<String>, what: &str| match given {
            Some(given) => format!("column `{given}`"),
            None => format!("column of {what} that is known by its name"),
        };
        let has_image =
            position(&names, layout.image_column.as_deref(), &columns::IMAGES).is_some();
        let column = match has_image {
            true => missing(&layout.caption_column, "captions"),
            false => missing(&layout.image_column, "pictures"),
        };
        let shown = |name: &String| format!("`{}`", name.chars().take(40).collect::<String>());
        Err(DataError::NoColumn {
            path: name.to_owned(),
            column,
            have: names.iter().map(shown).collect::<Vec<_>>().join(", "),
        })
    }

    /// A table that starts with its first picture.
    fn without_header(delimiter: u8, body: &[u8], layout: &Layout) -> Option<Columns> {
        let fields = first_row(body, delimiter);
        let files: Vec<usize> = (0..fields.len())
            .filter(|&column| {
                let field = &fields[column];
                field.len() <= LONGEST_NAME && is_picture(Path::new(field))
            })
            .collect();
        let number = |given: &Option<String>| {
            let number: usize = given.as_ref()?.parse().ok()?;
            (1..=fields.len()).contains(&number).then(|| number - 1)
        };
        let image = match &files[..] {
            _ if layout.image_column.is_some() => number(&layout.image_column)?,
            [one] => *one,
            _ => return None,
        };
        let caption = match layout.caption_column {
            Some(_) => number(&layout.caption_column)?,
            None => (0..fields.len()).rev().find(|&column| column != image)?,
        };
        Some(Columns {
            delimiter,
            names: (1..=fields.len())
                .map(|number| number.to_string())
                .collect(),
            has_header: false,
            image,
            captions: vec![caption],
            concept: None,
            split: None,
        })
    }
}

/// Whether the first row of a text names a column of pictures and one of captions.
pub fn has_header(input: &Input, layout: &Layout) -> bool {
    let (_, body) = announced(input.text());
    Columns::find("", &input.extension, body, layout).is_ok()
}

/// Splits off the line with which Excel announces a delimiter.
fn announced(body: &[u8]) -> (Option<u8>, &[u8]) {
    let Some(rest) = body.strip_prefix(b"sep=") else {
        return (None, body);
    };
    match rest {
        [delimiter, b'\r', b'\n', rest @ ..] | [delimiter, b'\n', rest @ ..] => {
            (Some(*delimiter), rest)
        }
        _ => (None, body),
    }
}

/// Parses a list of texts as Python prints it: `['a', "b's"]`.
fn python_list(cell: &str) -> Option<Vec<String>> {
    let mut rest = cell.strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut texts = vec![];
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (mut text, mut end) = (String::new(), None);
        let mut characters = rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    other => text.push(other),
                },
                other if other == quote => {
                    end = Some(at + 1);
                    break;
                }
                other => text.push(other),
            }
        }
        texts.push(text);
        rest = rest[end?..].trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => {}
            None => return None,
        }
    }
    Some(texts)
}

/// Turns the cell of a caption into captions: a list of texts, of JSON or Python, is several.
fn captions_of(cell: &str) -> Vec<String> {
    let list: Option<Vec<String>> = cell
        .starts_with('[')
        .then(|| {
            serde_json::from_str(cell)
                .ok()
                .or_else(|| python_list(cell))
        })
        .flatten();
    let all = list.unwrap_or_else(|| vec![cell.to_owned()]);
    all.iter().filter_map(|text| caption_text(text)).collect()
}

/// Reads a table. `joined` takes further fields of a row for a part of the caption, which is the
/// last column. Rows that name the same picture file give it several captions.
pub fn read(input: &Input, layout: &Layout, joined: bool) -> Result<Rows, DataError> {
    let (name, body) = (input.name(), input.text());
    if body.trim_ascii().is_empty() {
        let image = layout.image_column.as_deref().unwrap_or(columns::IMAGES[0]);
        let caption = layout
            .caption_column
            .as_deref()
            .unwrap_or(columns::CAPTIONS[0]);
        return Err(DataError::Format {
            path: name,
            what: format!("is empty: its first line must be a header such as `{image},{caption}`"),
        });
    }
    let (_, body) = announced(body);
    let columns = Columns::find(&name, &input.extension, body, layout)?;
    let (body, open): (Cow<[u8]>, _) = without_open_quotes(body, columns.delimiter);
    let mut rows = Merge::new(Pictures::new(input.path, layout));
    let place = |row: usize, line: usize| match row == line {
        true => format!("{name} row {row}"),
        false => format!("{name} row {row} (line {line})"),
    };
    for open in &open {
        let reach = match open.lines {
            0 => String::new(),
            1 => ": it would take in the next line".to_owned(),
            lines => format!(": it would take in the next {lines} lines"),
        };
        rows.problem(Problem::new(
            place(open.row, open.line),
            format!("the quote that opens here is never closed{reach}"),
        ));
    }
    let mut splits = Splits::new(layout);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(columns.delimiter)
        .flexible(true)
        .has_headers(false)
        .from_reader(&*body);
    let mut numbers = RowNumbers::new(&body);
    for (index, record) in reader.byte_records().enumerate() {
        let record = record.map_err(|error| DataError::Read {
            path: name.clone(),
            reason: error.to_string(),
        })?;
        let (row, line) = numbers.next(&record);
        if index == 0 && columns.has_header {
            continue;
        }
        let id = place(row, line);
        columns.row(&record, &id, joined, &mut splits, &mut rows);
    }
    let mut rows = rows.finish();
    rows.used
        .extend([Setting::ImageColumn, Setting::CaptionColumn]);
    splits.finish(&name, &mut rows)?;
    Ok(rows)
}

impl Columns {
    /// Reads a row.
    fn row(
        &self,
        record: &csv::ByteRecord,
        id: &str,
        joined: bool,
        splits: &mut Splits,
        rows: &mut Merge,
    ) {
        let (have, want) = (record.len(), self.names.len());
        let last = want - 1;
        let joins = joined && self.captions == [last];
        if have > want && !joins {
            let what = format!(
                "it has {have} fields for {want} columns: put a caption with {} in quotes",
                match self.delimiter {
                    b',' => "commas".to_owned(),
                    other => format!("`{}`", other.escape_ascii()),
                }
            );
            return rows.problem(Problem::new(id, what));
        }
        // a single blank field is a line of white space
        if have == 1 && record[0].trim_ascii().is_empty() && want > 1 {
            return;
        }
        let place = |column: usize| format!("{id}, column {}", self.names[column]);
        let problem = |column: usize, what: String| Problem::new(place(column), what);
        let field = |column: usize| -> Result<String, Problem> {
            let bytes = match joins && column == last && have > want {
                true => {
                    let parts: Vec<&[u8]> = record.iter().skip(last).collect();
                    Cow::Owned(parts.join(&self.delimiter))
                }
                false => Cow::Borrowed(record.get(column).ok_or_else(|| {
                    problem(
                        column,
                        format!("it is missing: the row has {have} fields for {want} columns"),
                    )
                })?),
            };
            let text = std::str::from_utf8(&bytes).map_err(|_| {
                problem(
                    column,
                    "it is not UTF-8 text: save the file as UTF-8".to_owned(),
                )
            })?;
            Ok(text.trim().to_owned())
        };
        let filled = |text: Result<String, Problem>, column: usize| match text {
            Ok(text) if text.is_empty() => Err(problem(column, "it is empty".to_owned())),
            other => other,
        };
        // a cell without a value is no problem here
        let optional = |column: Option<usize>| match column.filter(|&column| column < have) {
            Some(column) => field(column).map(|text| Some(text).filter(|text| !text.is_empty())),
            None => Ok(None),
        };
        match optional(self.split) {
            Ok(split) if !splits.take(split.as_deref()) => return,
            Ok(_) => {}
            Err(found) => return rows.problem(found),
        }
        let mut captions = vec![];
        let mut failed = false;
        for &column in &self.captions {
            match filled(field(column), column).map(|cell| captions_of(&cell)) {
                Ok(found) if found.is_empty() => {
                    rows.problem(problem(column, "it is empty".to_owned()));
                    failed = true;
                }
                Ok(found) => captions.extend(found),
                // of several columns some may be empty
                Err(_) if self.captions.len() > 1 => {}
                Err(found) => {
                    rows.problem(found);
                    failed = true;
                }
            }
        }
        if captions.is_empty() && !failed {
            rows.problem(Problem::new(id, "it has no caption"));
            failed = true;
        }
        let (image, concept) = (
            filled(field(self.image), self.image),
            optional(self.concept),
        );
        match (image, concept) {
            (Ok(image), Ok(concept)) if !failed => {
                rows.add(id, &place(self.image), &image, captions, concept)
            }
            (image, concept) => {
                image
                    .err()
                    .into_iter()
                    .for_each(|found| rows.problem(found));
                concept
                    .err()
                    .into_iter()
                    .for_each(|found| rows.problem(found));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_cells_are_several_captions() {
        let cases: [(&str, &[&str]); 8] = [
            ("['a', \"b's\", 'c\\'d']", &["a", "b's", "c'd"]),
            ("[\"a\", \"b\"]", &["a", "b"]),
            ("['a',]", &["a"]),
            ("[]", &[]),
            ("[a, b]", &["[a, b]"]),
            ("['a' 'b']", &["['a' 'b']"]),
            ("['a", &["['a"]),
            ("[sic] a dog", &["[sic] a dog"]),
        ];
        for (cell, wanted) in cases {
            assert_eq!(captions_of(cell), wanted, "{cell}");
        }
    }
}
