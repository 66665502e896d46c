//! Objects of JSON that describe a picture and its captions, in whichever words.

use serde_json::{Map, Value};

use super::super::error::{DataError, Problem};
use super::super::record::{Encoded, Record, caption_text};
use super::super::sample::Turn;
use super::coco::identifier;
use super::columns;
use super::layout::{Layout, Setting, Splits};
use super::picture_files::Pictures;
use super::{Input, Rows};
use crate::hint::Hint;

/// Fields of conversations: a list of turns.
const TURNS: [&str; 3] = ["conversations", "messages", "conversation"];

/// Fields with the answer to a single question.
const ANSWERS: [&str; 4] = ["response", "answer", "output", "completion"];

/// Required form of an entry.
const WANTED: &str = "an object with `image` and `caption` or `captions`";

type Object = Map<String, Value>;

/// Collects the entries of a file.
pub struct Entries<'a> {
    layout: &'a Layout,
    name: String,
    pictures: Pictures<'a>,
    splits: Splits<'a>,
    rows: Rows,
    /// Number of conversations with more than one answer.
    longer: usize,
    /// Conversation of the entry that is being read.
    turns: Vec<Turn>,
}

impl<'a> Entries<'a> {
    pub fn new(input: &Input<'a>, layout: &'a Layout) -> Entries<'a> {
        Entries {
            layout,
            name: input.name(),
            pictures: Pictures::new(input.path, layout),
            splits: Splits::new(layout),
            rows: Rows::default(),
            longer: 0,
            turns: vec![],
        }
    }

    pub fn problem(&mut self, problem: Problem) {
        self.rows.problems.push(problem);
    }

    /// Adds the entry at a place such as `file.jsonl line 7`.
    pub fn add(&mut self, id: &str, entry: &Value) {
        self.add_with(id, entry, None);
    }

    /// Adds an entry whose picture, if it is given, is not among its fields.
    pub fn add_with(&mut self, id: &str, entry: &Value, image: Option<Encoded>) {
        match self.record(id, entry, image) {
            Ok(Some(record)) => self.rows.records.push(record),
            Ok(None) => {}
            Err(problem) => self.problem(problem),
        }
    }

    fn record(
        &mut self,
        id: &str,
        entry: &Value,
        image: Option<Encoded>,
    ) -> Result<Option<Record>, Problem> {
        let Value::Object(entry) = entry else {
            let what = if id.contains(" line ") {
                "a line"
            } else {
                "an entry"
            };
            return Err(Problem::new(id, format!("{what} must be {WANTED}")));
        };
        let split = field(entry, columns::SPLIT).and_then(Value::as_str);
        if !self.splits.take(split) {
            return Ok(None);
        }
        let name = match image {
            Some(_) => String::new(),
            None => self.image(id, entry)?,
        };
        self.turns.clear();
        let captions = self.captions(id, entry)?;
        let image = match image {
            Some(image) => image,
            None if name.trim().is_empty() => return Err(Problem::new(id, "`image` is empty")),
            None => self.pictures.interpret(id, &name)?,
        };
        let concept = field(entry, columns::CONCEPT)
            .and_then(Value::as_str)
            .map(|concept| concept.trim().to_owned())
            .filter(|concept| !concept.is_empty());
        let image_id = ["image_id", "img_id", "imgid"]
            .iter()
            .find_map(|name| identifier(field(entry, name)?));
        Ok(Some(Record {
            concept,
            image_id,
            turns: std::mem::take(&mut self.turns),
            ..Record::new(id, format!("{id}, `image`"), image, captions)
        }))
    }

    /// The value of a field that the layout names; `None` if it names none.
    fn given<'v>(
        id: &str,
        entry: &'v Object,
        name: &Option<String>,
    ) -> Result<Option<&'v Value>, Problem> {
        let Some(name) = name else { return Ok(None) };
        let found = at_path(entry, name);
        found.map(Some).ok_or_else(|| {
            let have: Vec<String> = entry
                .keys()
                .take(20)
                .map(|key| format!("`{key}`"))
                .collect();
            let what = format!(
                "it has no field `{name}`; its fields are {}",
                have.join(", ")
            );
            Problem {
                hint: Some(Hint::NameColumns),
                ..Problem::new(id, what)
            }
        })
    }

    fn captions(&mut self, id: &str, entry: &Object) -> Result<Vec<String>, Problem> {
        let captions = match Self::given(id, entry, &self.layout.caption_column)? {
            Some(value) => self.texts(value),
            None => self.usual_texts(entry),
        };
        let Some(texts) = captions else {
            return Err(Problem::new(
                id,
                "it has no caption: add `caption` or `captions`",
            ));
        };
        let captions: Vec<String> = texts.iter().filter_map(|text| caption_text(text)).collect();
        match captions.is_empty() {
            true => Err(Problem::new(id, "the caption is empty")),
            false => Ok(captions),
        }
    }

    /// The name or the content of the picture.
    fn image(&self, id: &str, entry: &Object) -> Result<String, Problem> {
        let problem = |what: String| Problem::new(id, what);
        let value =
            Self::given(id, entry, &self.layout.image_column)?.or_else(|| usual_image(entry));
        let images = match value {
            Some(value) => pictures_of(value),
            None => TURNS
                .iter()
                .filter_map(|turns| field(entry, turns))
                .flat_map(pictures_in_turns)
                .collect(),
        };
        match &images[..] {
            [] if value.is_none() => {
                Err(problem("missing field `image`: it names no picture".into()))
            }
            [] => Err(problem("`image` is no text".into())),
            [one] => Ok(one.clone()),
            several => Err(problem(format!(
                "it has {} pictures, and a sample has one",
                several.len()
            ))),
        }
    }

    /// The captions under the usual names: `caption` together with `captions`, else a conversation,
    /// else the other names.
    fn usual_texts(&mut self, entry: &Object) -> Option<Vec<String>> {
        let both: Vec<&Value> = ["caption", "captions"]
            .iter()
            .filter_map(|name| field(entry, name))
            .filter(|value| !value.is_null() && **value != Value::Array(vec![]))
            .collect();
        if !both.is_empty() {
            return Some(
                both.into_iter()
                    .filter_map(|value| self.texts(value))
                    .flatten()
                    .collect(),
            );
        }
        let turns = TURNS.iter().find_map(|name| field(entry, name));
        if let Some(turns) = turns.and_then(Value::as_array) {
            return self.answer(turns).map(|answer| vec![answer]);
        }
        let names = columns::CAPTIONS.iter().chain(&ANSWERS);
        let mut values = names.filter_map(|name| field(entry, name));
        values.find_map(|value| self.texts(value))
    }

    /// The texts of a field: one, or a list of texts or of objects that hold them.
    fn texts(&mut self, value: &Value) -> Option<Vec<String>> {
        match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Object(_) => Some(vec![text_in(value)?]),
            Value::Array(list) if list.iter().any(|turn| role(turn).is_some()) => {
                Some(vec![self.answer(list)?])
            }
            Value::Array(list) => {
                let texts: Vec<String> = list.iter().filter_map(text_in).collect();
                (!texts.is_empty()).then_some(texts)
            }
            _ => None,
        }
    }

    /// The first answer of a conversation, which is kept in `turns`.
    fn answer(&mut self, turns: &[Value]) -> Option<String> {
        self.turns = conversation(turns);
        self.longer += (self.turns.len() > 1) as usize;
        self.turns.first().map(|turn| turn.answer.clone())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// A part of the data set is wanted that the file does not have.
    pub fn finish(mut self) -> Result<Rows, DataError> {
        let Rows { used, notes, .. } = &mut self.rows;
        self.pictures.finish(used, notes);
        used.extend([Setting::ImageColumn, Setting::CaptionColumn]);
        if self.longer > 0 {
            notes.push(format!(
                "{} conversations have several answers; the first is the caption, and tuning a pretrained model trains on all",
                self.longer
            ));
        }
        self.splits.finish(&self.name, &mut self.rows)?;
        Ok(self.rows)
    }
}

/// Whether an object is an entry by the names of its fields.
pub fn is_entry(names: &[String]) -> bool {
    // `images` is also a field of COCO
    let pictures = columns::IMAGES.iter().filter(|name| **name != "images");
    let mut known = pictures
        .chain(&columns::CAPTIONS)
        .chain(&TURNS)
        .chain(&ANSWERS);
    known.any(|known| names.iter().any(|name| columns::alike(name, known)))
}

/// Returns a field by its name, or by one that is alike.
pub fn field<'a>(entry: &'a Object, name: &str) -> Option<&'a Value> {
    entry.get(name).or_else(|| {
        let mut fields = entry.iter();
        fields
            .find(|(key, _)| columns::alike(key, name))
            .map(|(_, value)| value)
    })
}

/// Returns a field by its name, or by names of nested objects with dots between.
fn at_path<'a>(entry: &'a Object, path: &str) -> Option<&'a Value> {
    if let Some(value) = field(entry, path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    match field(entry, first)? {
        Value::Object(inner) => at_path(inner, rest),
        _ => None,
    }
}

fn usual_image(entry: &Object) -> Option<&Value> {
    let mut values = columns::IMAGES.iter().filter_map(|name| field(entry, name));
    values.find(|value| !value.is_null())
}

/// The names or contents of pictures that a field gives.
fn pictures_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        // an identifier that is the name without its ending
        Value::Number(number) => vec![number.to_string()],
        Value::Array(list) => list.iter().flat_map(pictures_of).collect(),
        Value::Object(inner) => {
            let names = [
                "bytes",
                "base64",
                "data",
                "path",
                "file_name",
                "filename",
                "url",
                "image",
            ];
            let mut values = names.iter().filter_map(|name| field(inner, name));
            values
                .find(|value| !value.is_null())
                .map_or(vec![], pictures_of)
        }
        _ => vec![],
    }
}

/// The pictures in the contents of messages: `{"type": "image", "image": ..}` or `image_url`.
fn pictures_in_turns(turns: &Value) -> Vec<String> {
    let contents = turns.as_array().into_iter().flatten();
    let parts = contents
        .filter_map(|turn| turn.get("content")?.as_array())
        .flatten();
    let image = |part: &Value| {
        let part = part.as_object()?;
        let names = ["image", "image_url", "path", "url"];
        let is_text = field(part, "type").is_some_and(|kind| kind == "text");
        let value = names.iter().find_map(|name| field(part, name))?;
        (!is_text).then(|| pictures_of(value))
    };
    parts.filter_map(image).flatten().collect()
}

/// Speaker of a turn.
fn role(turn: &Value) -> Option<String> {
    let turn = turn.as_object()?;
    let role = field(turn, "from").or_else(|| field(turn, "role"))?;
    Some(role.as_str()?.trim().to_lowercase())
}

fn is_answer(role: &str) -> bool {
    ["gpt", "assistant", "model", "bot", "chatgpt", "ai"].contains(&role)
}

/// Returns the questions of a conversation with their answers. A question may be of several turns,
/// such as one of the system and one of the user.
fn conversation(turns: &[Value]) -> Vec<Turn> {
    let mut all = vec![];
    let mut question: Vec<String> = vec![];
    for turn in turns {
        let (Some(role), Some(text)) = (role(turn), said(turn)) else {
            continue;
        };
        match is_answer(&role) {
            true => {
                if let Some(answer) = caption_text(&text) {
                    let question = std::mem::take(&mut question).join("\n");
                    all.push(Turn { question, answer });
                }
            }
            false => question.extend(caption_text(&text.replace("<image>", ""))),
        }
    }
    all
}

/// Text of a turn.
fn said(turn: &Value) -> Option<String> {
    let turn = turn.as_object()?;
    let value = ["value", "content", "text"]
        .iter()
        .find_map(|name| field(turn, name))?;
    match value {
        Value::Array(parts) => {
            let texts: Vec<String> = parts.iter().filter_map(text_in).collect();
            Some(texts.join("\n"))
        }
        other => text_in(other),
    }
}

/// The text of a text, or of an object that holds one, such as `{"raw": ..}`.
pub fn text_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(inner) => {
            let names = [
                "raw", "caption", "text", "sentence", "value", "content", "comment",
            ];
            let text = names.iter().find_map(|name| field(inner, name)?.as_str());
            let words = || {
                let words = field(inner, "tokens")?.as_array()?.iter();
                Some(
                    words
                        .filter_map(Value::as_str)
                        .collect::<Vec<_>>()
                        .join(" "),
                )
            };
            text.map(str::to_owned).or_else(words)
        }
        _ => None,
    }
}
