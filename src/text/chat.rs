//! Chat templates: messages as the text that a model was trained on.
//!
//! Hugging Face's models bring their template as Jinja, which this module renders as transformers
//! does.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::Serialize;

/// Steps after which a template is taken for one that does not end. Templates take a few for each
/// part of a message.
const FUEL: u64 = 1_000_000;

/// Reason why a template cannot be read or rendered. Messages include the cause, which is therefore
/// not reported as a source.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// Path of the file.
        path: String,
        /// Cause reported by the system.
        reason: std::io::Error,
    },
    /// The file does not hold a template where it should.
    #[error("{path} has no chat template in the field `chat_template`")]
    Absent {
        /// Path of the file.
        path: String,
    },
    /// The template is not valid Jinja, or fails on these messages.
    #[error("the chat template of {path} fails: {reason}")]
    Template {
        /// Path of the file.
        path: String,
        /// Description of the defect, with its line.
        reason: String,
    },
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture, in the order in which pictures are given.
    Image,
}

impl From<&str> for Part {
    fn from(text: &str) -> Part {
        Part::Text { text: text.into() }
    }
}

/// What one side says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who says it: `system`, `user` or `assistant`.
    pub role: String,
    /// Text and pictures, in order.
    pub content: Vec<Part>,
}

impl Message {
    /// A message of the user.
    pub fn user(content: Vec<Part>) -> Message {
        Message {
            role: "user".into(),
            content,
        }
    }

    /// A message of the model.
    pub fn assistant(text: &str) -> Message {
        Message {
            role: "assistant".into(),
            content: vec![text.into()],
        }
    }

    /// A message that sets the model's task.
    pub fn system(text: &str) -> Message {
        Message {
            role: "system".into(),
            content: vec![text.into()],
        }
    }

    /// The texts of the message, one after the other.
    pub fn text(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text { text } => text.clone(),
            Part::Image => String::new(),
        };
        self.content.iter().map(text).collect()
    }
}

/// Special tokens by the names that templates know them under.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateTokens {
    /// Begin of a text: `bos_token`.
    pub begin: Option<String>,
    /// End of a text: `eos_token`.
    pub end: Option<String>,
    /// Padding: `pad_token`.
    pub pad: Option<String>,
    /// Unknown text: `unk_token`.
    pub unknown: Option<String>,
}

/// A chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// File that it comes from, for errors.
    path: String,
    /// Whether it takes messages as lists of parts; otherwise as texts.
    parts: bool,
}

impl ChatTemplate {
    const NAME: &'static str = "chat";

    /// Compiles a template. `path` stands for its file in errors.
    ///
    /// # Errors
    /// A template that is not valid Jinja.
    pub fn new(source: &str, path: &str) -> Result<ChatTemplate, ChatError> {
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build().expect("these options are compatible"));
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let added = environment.add_template_owned(Self::NAME, source.to_owned());
        added.map_err(|error| failure(path, &error))?;
        Ok(ChatTemplate {
            environment,
            path: path.to_owned(),
            parts: source.contains("['type']")
                || source.contains("[\"type\"]")
                || source.contains(".type"),
        })
    }

    /// Reads the template of a model folder, if it has one: `chat_template.jinja`, else the field
    /// `chat_template` of `chat_template.json`, `tokenizer_config.json`, `processor_config.json` or,
    /// for nanoVLM, `lm_chat_template` of `config.json`.
    ///
    /// # Errors
    /// A file that cannot be read, or a template that is not valid Jinja.
    pub fn load(dir: &Path) -> Result<Option<ChatTemplate>, ChatError> {
        let path = dir.join("chat_template.jinja");
        if path.is_file() {
            let name = path.display().to_string();
            let source = std::fs::read_to_string(&path).map_err(|reason| ChatError::Read {
                path: name.clone(),
                reason,
            })?;
            return ChatTemplate::new(&source, &name).map(Some);
        }
        for (file, field) in [
            ("chat_template.json", "chat_template"),
            ("tokenizer_config.json", "chat_template"),
            ("processor_config.json", "chat_template"),
            ("config.json", "lm_chat_template"),
        ] {
            let path = dir.join(file);
            if !path.is_file() {
                continue;
            }
            let name = path.display().to_string();
            let text = std::fs::read(&path).map_err(|reason| ChatError::Read {
                path: name.clone(),
                reason,
            })?;
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
            match template_of(&value[field]) {
                Some(source) => return ChatTemplate::new(source, &name).map(Some),
                None if file == "chat_template.json" => {
                    return Err(ChatError::Absent { path: name });
                }
                None => (),
            }
        }
        Ok(None)
    }

    /// Renders messages. With `ask` the text ends where the model is to go on.
    ///
    /// # Errors
    /// A template that fails on these messages, or does not end.
    pub fn render(
        &self,
        messages: &[Message],
        tokens: &TemplateTokens,
        ask: bool,
    ) -> Result<String, ChatError> {
        let message = |message: &Message| match self.parts {
            true => Value::from(Serde(message)),
            false => context! { role => message.role.clone(), content => message.text() },
        };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let text = |token: &Option<String>| token.clone().unwrap_or_default();
        let template = self.environment.get_template(Self::NAME);
        let rendered = template.and_then(|template| {
            template.render(context! {
                messages => messages,
                add_generation_prompt => ask,
                bos_token => text(&tokens.begin),
                eos_token => text(&tokens.end),
                pad_token => text(&tokens.pad),
                unk_token => text(&tokens.unknown),
            })
        });
        rendered.map_err(|error| failure(&self.path, &error))
    }
}

/// Returns the text of a template, or the one named `default` of a list.
fn template_of(value: &serde_json::Value) -> Option<&str> {
    value.as_str().or_else(|| {
        let named = value.as_array()?.iter();
        let mut default = named.filter(|entry| entry["name"] == "default");
        default.next()?["template"].as_str()
    })
}

fn failure(path: &str, error: &minijinja::Error) -> ChatError {
    let reason = match (error.detail(), error.line()) {
        (Some(detail), Some(line)) => format!("{detail} (line {line})"),
        (None, Some(line)) => format!("{} (line {line})", error.kind()),
        (Some(detail), None) => detail.to_owned(),
        (None, None) => error.kind().to_string(),
    };
    ChatError::Template {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[Message]) -> Result<String, ChatError> {
        let tokens = TemplateTokens {
            begin: Some("<s>".into()),
            end: Some("</s>".into()),
            ..TemplateTokens::default()
        };
        ChatTemplate::new(source, "model")?.render(messages, &tokens, true)
    }

    #[test]
    fn recorded_templates_give_the_recorded_texts() {
        let text = std::fs::read("tests/golden/hf/prompts/prompts.json").unwrap();
        let recorded: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let cases = recorded["template_cases"].as_array().unwrap();
        assert!(cases.len() > 3);
        for case in cases {
            let name = case["template"].as_str().unwrap();
            let source = recorded["templates"][name].as_str().unwrap();
            let message = |message: &serde_json::Value| Message {
                role: message["role"].as_str().unwrap().into(),
                content: match &message["content"] {
                    serde_json::Value::String(text) => vec![text.as_str().into()],
                    parts => parts.as_array().unwrap().iter().map(part).collect(),
                },
            };
            let messages: Vec<Message> =
                case["messages"].as_array().unwrap().iter().map(message).collect();
            let ask = case["add_generation_prompt"].as_bool().unwrap();
            let template = ChatTemplate::new(source, name).unwrap();
            let got = template.render(&messages, &TemplateTokens::default(), ask).unwrap();
            assert_eq!(got, case["string"].as_str().unwrap(), "{name}");
        }
    }

    fn part(part: &serde_json::Value) -> Part {
        match part["type"].as_str().unwrap() {
            "image" => Part::Image,
            _ => part["text"].as_str().unwrap().into(),
        }
    }

    #[test]
    fn templates_may_use_what_transformers_gives_them() {
        let source = "{%- for m in messages -%}\n  {{ bos_token + m.content.strip().upper() }}\n\
            {%- if loop.last %}{{ eos_token }}{% break %}{% endif -%}\n{%- endfor -%}";
        let messages = [Message {
            role: "user".into(),
            content: vec![" hello ".into()],
        }];
        assert_eq!(render(source, &messages).unwrap(), "<s>HELLO</s>");
        assert_eq!(
            render("{{ messages[0]['content'] | tojson }}", &messages).unwrap(),
            "\" hello \""
        );
    }

    #[test]
    fn defects_are_one_sentence_that_names_the_file_and_the_line() {
        let error = |source: &str| render(source, &[]).unwrap_err().to_string();
        for (source, words) in [
            ("{% for %}", "line 1"),
            ("\n{{ raise_exception('no roles') }}", "no roles (line 2)"),
            ("{{ nothing.at.all }}", "undefined"),
            ("{% for i in range(100000) %}{% for j in range(100000) %}{{ i }}{% endfor %}{% endfor %}", ""),
        ] {
            let message = error(source);
            assert!(
                message.starts_with("the chat template of model fails: ") && message.contains(words),
                "{message}"
            );
        }
    }
}
