//! Values of templates as JSON, in the form of Python's `json.dumps`.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// The filter `tojson` of transformers: unlike Jinja's own, it escapes no HTML. Takes `indent`,
/// `separators`, `ensure_ascii` and `sort_keys`.
pub fn filter(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let comma = if indent.is_some() { "," } else { ", " };
    let (comma, colon) = match separators.as_deref() {
        None => (comma.to_owned(), ": ".to_owned()),
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        Some(_) => {
            let reason = "separators of tojson must be two strings";
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        }
    };
    let writer = Writer {
        comma,
        colon,
        indent,
        ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
        sort: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    let mut text = String::new();
    writer.write(value, 0, &mut text)?;
    Ok(text)
}

struct Writer {
    comma: String,
    colon: String,
    indent: Option<usize>,
    /// Whether characters beyond ASCII are escaped.
    ascii: bool,
    /// Whether the keys of objects are sorted.
    sort: bool,
}

impl Writer {
    /// Nesting beyond which a value is refused.
    const DEPTH: usize = 100;

    fn write(&self, value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
        let wrong = |reason| Err(Error::new(ErrorKind::InvalidOperation, reason));
        if depth > Self::DEPTH {
            return wrong(format!(
                "a value is nested over {} levels deep",
                Self::DEPTH
            ));
        }
        match value.kind() {
            ValueKind::None => *text += "null",
            ValueKind::Bool => *text += if value.is_true() { "true" } else { "false" },
            ValueKind::Number => *text += &value.to_string(),
            ValueKind::String => self.string(value.as_str().unwrap_or_default(), text),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items(['[', ']'], &items, depth, text, |item, text| {
                    self.write(item, depth + 1, text)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort();
                }
                self.items(['{', '}'], &keys, depth, text, |key, text| {
                    self.string(&key.to_string(), text);
                    *text += &self.colon;
                    self.write(&value.get_item(key)?, depth + 1, text)
                })?;
            }
            kind => return wrong(format!("{kind} cannot be written as JSON")),
        }
        Ok(())
    }

    fn items(
        &self,
        [open, close]: [char; 2],
        items: &[Value],
        depth: usize,
        text: &mut String,
        write: impl Fn(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |depth: usize, text: &mut String| {
            if let Some(indent) = self.indent.filter(|_| !items.is_empty()) {
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent * depth));
            }
        };
        text.push(open);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                *text += &self.comma;
            }
            line(depth + 1, text);
            write(item, text)?;
        }
        line(depth, text);
        text.push(close);
        Ok(())
    }

    fn string(&self, string: &str, text: &mut String) {
        let quoted = serde_json::to_string(string).expect("a string is plain data");
        if !self.ascii {
            *text += &quoted;
            return;
        }
        for character in quoted.chars() {
            if matches!(character, ' '..='~') {
                text.push(character);
            } else {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    *text += &format!("\\u{unit:04x}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    #[test]
    fn values_are_written_as_in_python() {
        let mut environment = Environment::new();
        environment.add_filter("tojson", super::filter);
        let written = |options: &str| {
            let source = format!("{{{{ value | tojson({options}) }}}}");
            let list = vec![context! { b => 1, a => "é😀\u{1}" }, context! {}];
            environment.render_str(&source, context! { value => list })
        };
        // the results of Python's json.dumps(value, ensure_ascii=False, ..)
        for (options, want) in [
            ("", r#"[{"b": 1, "a": "é😀\u0001"}, {}]"#),
            (
                "ensure_ascii=true",
                r#"[{"b": 1, "a": "\u00e9\ud83d\ude00\u0001"}, {}]"#,
            ),
            ("separators=[',', ':']", r#"[{"b":1,"a":"é😀\u0001"},{}]"#),
            ("sort_keys=true", r#"[{"a": "é😀\u0001", "b": 1}, {}]"#),
            (
                "indent=2",
                "[\n  {\n    \"b\": 1,\n    \"a\": \"é😀\\u0001\"\n  },\n  {}\n]",
            ),
        ] {
            assert_eq!(written(options).unwrap(), want, "{options}");
        }
        assert!(written("nonsense=1").is_err());
        assert!(
            environment
                .render_str("{{ missing | tojson }}", ())
                .is_err()
        );
    }
}
