//! Chat templates: conversations as the text that a model was trained on.
//!
//! Hugging Face's models carry a template in Jinja's language. Templates are untrusted programs:
//! they see the conversation only, and their time and memory are bounded.

mod date;
mod json;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, context};
use serde::{Deserialize, Serialize};

/// Reason why a conversation cannot be rendered. Messages include the cause, which is therefore not
/// reported as a source.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// File.
        path: String,
        /// Cause reported by the system.
        reason: std::io::Error,
    },
    /// A file holds no template where one is expected.
    #[error("{path}: {reason}")]
    Invalid {
        /// File.
        path: String,
        /// Description of the defect.
        reason: String,
    },
    /// A folder has no template.
    #[error(
        "{folder} has no chat template: it lies in chat_template.jinja, chat_template.json or tokenizer_config.json"
    )]
    Absent {
        /// Folder.
        folder: String,
    },
    /// The template is not in Jinja's language.
    #[error("{template} is damaged: {reason}; get the model's files again")]
    Syntax {
        /// The template, with the place that it is from.
        template: String,
        /// Description of the defect, with its line.
        reason: String,
    },
    /// The template fails on a conversation.
    #[error(
        "{template} refuses the conversation: {reason}; ask in another way, or get the model's files again"
    )]
    Render {
        /// The template, with the place that it is from.
        template: String,
        /// Message of the template, or description of its error.
        reason: String,
    },
    /// The conversation holds pictures, and the template takes text only.
    #[error(
        "the model's chat template takes no pictures; leave them out, or use a model that sees"
    )]
    NoPictures,
}

/// Author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

/// Part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    /// A picture. Its pixels are given apart from the conversation, in the order of these parts.
    Image,
    /// Text.
    Text {
        /// The text.
        text: String,
    },
}

impl Part {
    /// Creates a part of text.
    pub fn text(text: impl Into<String>) -> Part {
        Part::Text { text: text.into() }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its author.
    pub role: Role,
    /// Its text and pictures, in order.
    pub content: Vec<Part>,
}

impl Message {
    /// Creates a message.
    pub fn new(role: Role, content: Vec<Part>) -> Message {
        Message { role, content }
    }

    /// Creates a message of text only.
    pub fn text(role: Role, text: impl Into<String>) -> Message {
        Message::new(role, vec![Part::text(text)])
    }

    /// Creates a question about one picture, which stands before the text.
    pub fn about_picture(text: impl Into<String>) -> Message {
        Message::new(Role::User, vec![Part::Image, Part::text(text)])
    }

    /// Whether the message has a picture.
    pub fn has_pictures(&self) -> bool {
        self.content.contains(&Part::Image)
    }
}

/// Special tokens that templates may write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplateTokens {
    /// Begin of a text.
    pub bos: Option<String>,
    /// End of a text.
    pub eos: Option<String>,
    /// Padding.
    pub pad: Option<String>,
    /// Unknown text.
    pub unk: Option<String>,
}

impl TemplateTokens {
    /// Reads the tokens of a model's folder from `tokenizer_config.json`, and those that it lacks
    /// from `special_tokens_map.json`. A folder with neither has no tokens.
    ///
    /// # Errors
    /// A file that cannot be read or is not JSON.
    pub fn load(folder: &Path) -> Result<TemplateTokens, ChatError> {
        let mut tokens = TemplateTokens::default();
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = folder.join(name);
            if !path.exists() {
                continue;
            }
            let file: serde_json::Value = read_json(&path)?;
            // a token is its text or an object with more fields
            let token = |name: &str| {
                let token = &file[name];
                token
                    .as_str()
                    .or_else(|| token["content"].as_str())
                    .map(str::to_owned)
            };
            for (token, found) in [
                (&mut tokens.bos, token("bos_token")),
                (&mut tokens.eos, token("eos_token")),
                (&mut tokens.pad, token("pad_token")),
                (&mut tokens.unk, token("unk_token")),
            ] {
                *token = token.take().or(found);
            }
        }
        Ok(tokens)
    }
}

/// A model's template of conversations.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// The template with the place that it is from, for errors.
    name: String,
    /// Whether the template takes the text of a message as a string.
    strings: bool,
    /// Whether the template takes a message as a list of parts.
    parts: bool,
}

impl ChatTemplate {
    /// Name of the template in messages.
    const NAME: &'static str = "chat_template";

    /// Bound of a rendering in minijinja's fuel: instructions, and 64 bytes of memory each. This
    /// many take seconds and 256 MB.
    const FUEL: u64 = 4_000_000;

    /// Compiles a template.
    ///
    /// # Errors
    /// A source that is not in Jinja's language.
    pub fn new(source: &str) -> Result<ChatTemplate, ChatError> {
        ChatTemplate::named(source, "the chat template".to_owned())
    }

    /// Compiles a template. `name` stands for it in errors and says where it is from.
    ///
    /// # Errors
    /// A source that is not in Jinja's language.
    pub(crate) fn named(source: &str, name: String) -> Result<ChatTemplate, ChatError> {
        let syntax_error = |error| ChatError::Syntax {
            template: name.clone(),
            reason: describe(&error),
        };
        let mut environment = Environment::new();
        // as transformers sets them
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(syntax_error)?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(Self::FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", json::filter);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment
            .add_template_owned(Self::NAME, without_generation(source))
            .map_err(syntax_error)?;
        let mut template = ChatTemplate {
            environment,
            name,
            strings: false,
            parts: false,
        };
        template.strings = template.shows(Value::from(Self::PROBE));
        template.parts = template.shows(Value::from(Serde(&[Part::text(Self::PROBE)])));
        Ok(template)
    }

    /// Reads the template of a model's folder: `chat_template.jinja`, `chat_template.json`, or the
    /// field `chat_template` of `tokenizer_config.json`, in this order.
    ///
    /// # Errors
    /// A folder without a template, a file that cannot be read, or a damaged template.
    pub fn load(folder: &Path) -> Result<ChatTemplate, ChatError> {
        let in_file = |path: &Path, source: &str| {
            let name = format!("the chat template in {}", path.display());
            ChatTemplate::named(source, name)
        };
        let path = folder.join("chat_template.jinja");
        if path.exists() {
            return in_file(&path, &read(&path)?);
        }
        for name in ["chat_template.json", "tokenizer_config.json"] {
            let path = folder.join(name);
            if !path.exists() {
                continue;
            }
            let file: TemplateFile = read_json(&path)?;
            if let Some(source) = file.chat_template.and_then(Templates::default) {
                return in_file(&path, &source);
            }
        }
        Err(ChatError::Absent {
            folder: folder.display().to_string(),
        })
    }

    /// Renders a conversation. With `add_generation_prompt`, the text ends where the model is to
    /// continue as the assistant.
    ///
    /// # Errors
    /// A conversation that the template refuses, such as one with pictures for a model of text, or
    /// a defect of the template.
    pub fn render(
        &self,
        messages: &[Message],
        tokens: &TemplateTokens,
        add_generation_prompt: bool,
    ) -> Result<String, ChatError> {
        let content = |message: &Message| {
            // a template that shows neither form fails on its own, and says why
            if message.has_pictures() && self.strings && !self.parts {
                return Err(ChatError::NoPictures);
            }
            // what takes both forms is simplest with text as text
            let text = !message.has_pictures() && (self.strings || !self.parts);
            Ok(if text {
                plain_text(message)
            } else {
                Value::from(Serde(&message.content))
            })
        };
        let messages = messages.iter().map(|message| {
            let role = Value::from(Serde(&message.role));
            Ok(context! { role => role, content => content(message)? })
        });
        let messages = messages.collect::<Result<Vec<Value>, ChatError>>()?;
        self.fill(messages, tokens, add_generation_prompt)
            .map_err(|error| ChatError::Render {
                template: self.name.clone(),
                reason: describe(&error),
            })
    }

    /// Text that shows whether a template writes what it is given.
    const PROBE: &'static str = "c5cd4d2c";

    /// Whether a message with this content appears in the text, and not as a listing of its fields.
    fn shows(&self, content: Value) -> bool {
        let message = context! { role => "user", content };
        let text = self.fill(vec![message], &TemplateTokens::default(), false);
        text.is_ok_and(|text| {
            let fields = [r#""text""#, "'text'"];
            text.contains(Self::PROBE) && !fields.iter().any(|field| text.contains(field))
        })
    }

    fn fill(
        &self,
        messages: Vec<Value>,
        tokens: &TemplateTokens,
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        // an absent token is undefined, absent tools and documents are none
        let token = |token: &Option<String>| token.clone().map_or(Value::UNDEFINED, Value::from);
        let values = context! {
            messages,
            add_generation_prompt,
            tools => (),
            documents => (),
            bos_token => token(&tokens.bos),
            eos_token => token(&tokens.eos),
            pad_token => token(&tokens.pad),
            unk_token => token(&tokens.unk),
        };
        self.environment.get_template(Self::NAME)?.render(values)
    }
}

/// A file with a template in it.
#[derive(Deserialize)]
struct TemplateFile {
    chat_template: Option<Templates>,
}

/// One template, or several by name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl Templates {
    /// Returns the template for plain conversations.
    fn default(self) -> Option<String> {
        match self {
            Templates::One(template) => Some(template),
            Templates::Named(templates) => templates
                .into_iter()
                .find(|named| named.name == "default")
                .map(|named| named.template),
        }
    }
}

/// Joins the text of a message.
fn plain_text(message: &Message) -> Value {
    let texts = message.content.iter().map(|part| match part {
        Part::Text { text } => text.as_str(),
        Part::Image => "",
    });
    Value::from(texts.collect::<String>())
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(pattern: &str) -> Result<String, Error> {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    date::format(pattern, seconds).map_err(|reason| Error::new(ErrorKind::InvalidOperation, reason))
}

/// Formats an error with its causes.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Replaces the tags `generation` and `endgeneration`, by which transformers marks what the model
/// writes, by a condition that always holds.
fn without_generation(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        text += before;
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let inside = &tag[2..end];
        let name = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        text += &match name {
            "generation" => format!("{{%{}%}}", inside.replace(name, "if true")),
            "endgeneration" => format!("{{%{}%}}", inside.replace(name, "endif")),
            _ => format!("{{%{inside}%}}"),
        };
        rest = &tag[end + 2..];
    }
    text + rest
}

fn read(path: &Path) -> Result<String, ChatError> {
    std::fs::read_to_string(path).map_err(|reason| ChatError::Read {
        path: path.display().to_string(),
        reason,
    })
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ChatError> {
    serde_json::from_str(&read(path)?).map_err(|error| ChatError::Invalid {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{{'<' + message['role'] + '>' + message['content'] + '\n'}}\
        {% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}";

    const PARTS: &str = "{% for message in messages %}{{ message['role'] | capitalize }}:\
        {% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %};{% endfor %}";

    fn rendered(source: &str, messages: &[Message]) -> Result<String, ChatError> {
        ChatTemplate::new(source)?.render(messages, &TemplateTokens::default(), true)
    }

    #[test]
    fn text_is_a_string_or_a_list_as_the_template_wants() {
        let messages = [
            Message::new(Role::System, vec![Part::text("a"), Part::text("b")]),
            Message::text(Role::User, "c"),
        ];
        assert_eq!(
            rendered(CHATML, &messages).unwrap(),
            "<system>ab\n<user>c\n<assistant>"
        );
        assert_eq!(rendered(PARTS, &messages).unwrap(), "System:ab;User:c;");
        let either = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}\
            {% for p in m.content %}[{{ p.text or p.type }}]{% endfor %}{% endif %}{% endfor %}";
        let picture = Message::about_picture("d");
        assert_eq!(
            rendered(either, &[messages[1].clone(), picture.clone()]).unwrap(),
            "c[image][d]"
        );
        assert_eq!(
            rendered(PARTS, std::slice::from_ref(&picture)).unwrap(),
            "User:<image>d;"
        );
        assert!(matches!(
            rendered(CHATML, std::slice::from_ref(&picture)),
            Err(ChatError::NoPictures)
        ));
        // a template that would print the list itself
        let printed = "{{ messages[0].content }}";
        assert!(matches!(
            rendered(printed, &[picture]),
            Err(ChatError::NoPictures)
        ));
        assert_eq!(rendered(printed, &messages[1..]).unwrap(), "c");
    }

    #[test]
    fn templates_may_use_what_transformers_gives_them() {
        let chat = [
            Message::text(Role::User, " Hi \"ü\"\n"),
            Message::text(Role::Assistant, "x"),
        ];
        for (source, want) in [
            (
                "{{ messages[0].content.strip().split(' ')[0].lower() }}",
                "hi",
            ),
            (
                "{{ messages[0]['content'] | trim | tojson }}",
                r#""Hi \"ü\"""#,
            ),
            (
                "{{ messages[1] | tojson }}",
                r#"{"role": "assistant", "content": "x"}"#,
            ),
            (
                "{{ [1, none, true, 1.5] | tojson }}",
                "[1, null, true, 1.5]",
            ),
            (
                "{{ bos_token }}{{ eos_token }}|{{ tools is none }}|{{ documents is none }}",
                "|True|True",
            ),
            ("{% if bos_token is defined %}a{% else %}b{% endif %}", "b"),
            ("{{ messages[1:][0].role.startswith('ass') }}", "True"),
            (
                "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
                "2",
            ),
            (
                "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
                "user",
            ),
            ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f('a') }}", "<a>"),
            (
                "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
                "1",
            ),
            (
                "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}",
                "a1",
            ),
            ("{{ '<&>' }}{{ messages[0].content is string }}", "<&>True"),
            ("{{ strftime_now('%%') }}", "%"),
            // blocks on lines of their own leave nothing behind
            ("  {% if true %}\na\n  {% endif %}\nb\n", "a\nb"),
            (
                "a\n{%- generation -%}\n b\n{%- endgeneration %}\nc {% generation %}d{% endgeneration %}",
                "abc d",
            ),
        ] {
            assert_eq!(rendered(source, &chat).unwrap(), want, "{source}");
        }
    }

    #[test]
    fn special_tokens_are_written() {
        let template =
            ChatTemplate::new("{{ bos_token + messages[0].content + eos_token }}").unwrap();
        let tokens = TemplateTokens {
            bos: Some("<s>".into()),
            eos: Some("</s>".into()),
            ..TemplateTokens::default()
        };
        let chat = [Message::text(Role::User, "a")];
        assert_eq!(template.render(&chat, &tokens, false).unwrap(), "<s>a</s>");
        // a text that needs a token which is absent
        assert!(
            template
                .render(&chat, &TemplateTokens::default(), false)
                .is_err()
        );
    }

    #[test]
    fn defects_are_one_clear_error() {
        let chat = [Message::text(Role::User, "a")];
        for (source, reason) in [
            (
                "{{ raise_exception('roles must alternate') }}",
                "roles must alternate",
            ),
            ("{{ messages[0] | nonsense }}", "nonsense"),
            ("{{ strftime_now('%Q') }}", "%Q"),
            (
                "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
                "fuel",
            ),
            ("{{ 'x' * 100000000000 }}", ""),
        ] {
            let error = rendered(source, &chat).unwrap_err();
            assert!(matches!(error, ChatError::Render { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(reason) && !text.contains('\n'), "{text}");
        }
        for source in ["{% if %}", "{{ a", "{% for %}", "{% endgeneration %}"] {
            let error = ChatTemplate::new(source).unwrap_err();
            assert!(matches!(error, ChatError::Syntax { .. }), "{error}");
        }
    }

    #[test]
    fn templates_are_found_in_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let load = || {
            let chat = [Message::text(Role::User, "a")];
            ChatTemplate::load(dir.path())?.render(&chat, &TemplateTokens::load(dir.path())?, false)
        };
        assert!(matches!(load(), Err(ChatError::Absent { .. })));
        write(
            "tokenizer_config.json",
            r#"{"bos_token": {"content": "<b>"}}"#,
        );
        assert!(matches!(load(), Err(ChatError::Absent { .. })));
        let named = r#"{"bos_token": {"content": "<b>"}, "chat_template": [
            {"name": "tools", "template": "no"}, {"name": "default", "template": "{{ bos_token }}1"}]}"#;
        write("tokenizer_config.json", named);
        assert_eq!(load().unwrap(), "<b>1");
        write(
            "special_tokens_map.json",
            r#"{"bos_token": "<other>", "eos_token": "<e>"}"#,
        );
        write(
            "chat_template.json",
            r#"{"chat_template": "{{ bos_token + eos_token }}2"}"#,
        );
        assert_eq!(load().unwrap(), "<b><e>2");
        write("chat_template.jinja", "3");
        assert_eq!(load().unwrap(), "3");
        write("chat_template.jinja", "{% if %}");
        assert!(
            load()
                .unwrap_err()
                .to_string()
                .contains("chat_template.jinja")
        );
        std::fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
        write("chat_template.json", "{");
        assert!(
            load()
                .unwrap_err()
                .to_string()
                .contains("chat_template.json")
        );
    }
}
