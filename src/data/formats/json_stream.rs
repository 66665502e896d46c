//! Reads of large or damaged JSON: lists up to the first defect, and chosen fields of objects.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Replaces `NaN` and `Infinity`, which Python writes and JSON does not have, by `null`.
pub fn without_nan(text: Vec<u8>) -> Vec<u8> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let holds = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
    if !holds(WORDS[1]) && !holds(WORDS[2]) {
        return text;
    }
    let (mut replaced, mut rest, mut quoted) = (Vec::with_capacity(text.len()), &text[..], false);
    while let [first, after @ ..] = rest {
        let word = WORDS.iter().find(|word| !quoted && rest.starts_with(word));
        if let Some(word) = word {
            replaced.extend(b"null");
            rest = &rest[word.len()..];
            continue;
        }
        replaced.push(*first);
        rest = after;
        match first {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                replaced.extend(rest.first());
                rest = rest.get(1..).unwrap_or_default();
            }
            // a text that is never closed ends with its line
            b'\n' => quoted = false,
            _ => {}
        }
    }
    replaced
}

/// Reads the elements of a list. Those before a defect are returned with it.
pub fn elements(body: &[u8]) -> (Vec<Value>, Option<serde_json::Error>) {
    let mut values = vec![];
    let mut json = serde_json::Deserializer::from_slice(body);
    let end = Elements(&mut values)
        .deserialize(&mut json)
        .and_then(|()| json.end());
    (values, end.err())
}

/// Reads the elements of the list that an object has under the key `name`.
pub fn elements_of(body: &[u8], name: &str) -> (Vec<Value>, Option<serde_json::Error>) {
    let mut values = vec![];
    let mut json = serde_json::Deserializer::from_slice(body);
    let seed = Member {
        name,
        values: &mut values,
    };
    let end = seed.deserialize(&mut json).and_then(|()| json.end());
    (values, end.err())
}

/// Returns the keys of an object, those before a defect.
pub fn keys(body: &[u8]) -> Vec<String> {
    let mut keys = vec![];
    let mut json = serde_json::Deserializer::from_slice(body);
    // a defect ends the keys, and the reader of the format reports it
    let _ = Keys(&mut keys).deserialize(&mut json);
    keys
}

/// Chosen fields of an object, in the order of the choice; `None` for what is no object.
pub type Fields = Option<Vec<Option<Value>>>;

/// Key of a list, the fields to take of its objects, and the objects if the key is there.
pub type List<'k> = (&'k str, &'k [String], Option<Vec<Fields>>);

/// Reads lists of objects under keys of an object: `lists` names each key and the fields to take,
/// and gets the objects.
pub fn lists<'k>(body: &[u8], lists: &mut [List<'k>]) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(body);
    Lists(lists).deserialize(&mut json)?;
    json.end()
}

struct Elements<'v>(&'v mut Vec<Value>);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element()? {
            self.0.push(value);
        }
        Ok(())
    }
}

struct Member<'v> {
    name: &'v str,
    values: &'v mut Vec<Value>,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == self.name {
                map.next_value_seed(Elements(self.values))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Keys<'v>(&'v mut Vec<String>);

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.0.push(key);
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

struct Lists<'l, 'k>(&'l mut [List<'k>]);

impl<'de> DeserializeSeed<'de> for Lists<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Lists<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.0.iter_mut().find(|(name, ..)| *name == key) {
                Some((_, fields, objects)) => {
                    let objects = objects.get_or_insert_default();
                    map.next_value_seed(Objects { fields, objects })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Objects<'l> {
    fields: &'l [String],
    objects: &'l mut Vec<Fields>,
}

impl<'de> DeserializeSeed<'de> for Objects<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(object) = list.next_element_seed(Chosen(self.fields))? {
            self.objects.push(object);
        }
        Ok(())
    }
}

/// Takes chosen fields of an object and accepts anything else.
struct Chosen<'l>(&'l [String]);

impl<'de> DeserializeSeed<'de> for Chosen<'_> {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Fields, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Chosen<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut found = vec![None; self.0.len()];
        while let Some(key) = map.next_key::<String>()? {
            match self.0.iter().position(|name| *name == key) {
                Some(place) => found[place] = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Fields, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Fields, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Fields, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Fields, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Fields, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Fields, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Fields, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_lacks_become_null() {
        let text = br#"{"a": NaN, "b": "NaN \" Infinity", "c": [-Infinity, Infinity, 1]}"#;
        let wanted = br#"{"a": null, "b": "NaN \" Infinity", "c": [null, null, 1]}"#;
        assert_eq!(without_nan(text.to_vec()), wanted);
        assert_eq!(without_nan(b"{\"a\": 1}".to_vec()), b"{\"a\": 1}");
        assert_eq!(without_nan(b"\"NaN\nNaN\\".to_vec()), b"\"NaN\nnull\\");
    }

    #[test]
    fn elements_before_a_defect_are_kept() {
        let (values, error) = elements(b"[{\"a\": 1}, 2,\n{\"a\": ");
        assert_eq!(values.len(), 2);
        assert_eq!(error.unwrap().line(), 2);
        let (values, error) = elements(b"[1, 2]");
        assert!(values.len() == 2 && error.is_none());
        let (values, error) = elements_of(b"{\"b\": {\"c\": []}, \"a\": [1, 2, x", "a");
        assert!(values.len() == 2 && error.is_some());
        assert_eq!(
            keys(b"{\"a\": [1], \"b\": {\"c\": 1}, \"d\""),
            ["a", "b", "d"]
        );
    }

    #[test]
    fn chosen_fields_are_taken_and_others_passed() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        let (images, captions) = (names(&["id", "file"]), names(&["caption"]));
        let mut found = [
            ("images", &images[..], None),
            ("notes", &captions[..], None),
        ];
        let body = br#"{"info": [1], "images": [{"file": "a", "x": {}, "id": 1}, 3, [null], "s", {}, true, 1.5, null, -1]}"#;
        lists(body, &mut found).unwrap();
        let images = found[0].2.as_ref().unwrap();
        assert_eq!(images.len(), 9);
        assert_eq!(images[0], Some(vec![Some(1.into()), Some("a".into())]));
        assert_eq!((&images[1], &images[4]), (&None, &Some(vec![None, None])));
        assert!(found[1].2.is_none());
        assert!(lists(b"{\"images\": [{]}", &mut [("images", &[], None)]).is_err());
    }
}
