//! Conversations as text.

use std::path::{Path, PathBuf};

use seemore::text::chat::{ChatTemplate, Message, Part, Role, TemplateTokens};
use serde_json::Value;

use crate::golden;

/// Reads a conversation in Hugging Face's form.
fn messages(list: &Value) -> Vec<Message> {
    let part = |part: &Value| match golden::text(&part["type"]) {
        "image" => Part::Image,
        "text" => Part::text(golden::text(&part["text"])),
        kind => panic!("unknown part {kind}"),
    };
    let message = |message: &Value| {
        let content = match &message["content"] {
            Value::String(text) => vec![Part::text(text)],
            parts => golden::list(parts).iter().map(part).collect(),
        };
        let role = match golden::text(&message["role"]) {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            role => panic!("unknown role {role}"),
        };
        Message::new(role, content)
    };
    golden::list(list).iter().map(message).collect()
}

/// Layouts of a folder of a model: its own, and the one of earlier versions.
fn layouts(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let layouts = [dir.to_owned(), dir.join("legacy")];
    layouts.into_iter().filter(|layout| layout.exists())
}

#[test]
fn templates_render_as_in_transformers() {
    golden::each("prompts", |dir| {
        let prompts = golden::json(dir.join("prompts.json"));
        let cases = golden::list(&prompts["template_cases"]);
        for case in cases {
            let source = golden::text(&prompts["templates"][golden::text(&case["template"])]);
            let template = ChatTemplate::new(source).unwrap();
            let generate = case["add_generation_prompt"].as_bool().unwrap();
            let messages = messages(&case["messages"]);
            let got = template.render(&messages, &TemplateTokens::default(), generate);
            assert_eq!(got.unwrap(), golden::text(&case["string"]));
        }
        cases.len()
    });
}

#[test]
fn smolvlms_folders_render_its_prompts() {
    golden::each("smolvlm_tiny", |dir| {
        let reference = golden::json(dir.join("reference.json"));
        let mut held = 0;
        for layout in layouts(dir) {
            let template = ChatTemplate::load(&layout).unwrap();
            let tokens = TemplateTokens::load(&layout).unwrap();
            assert!(tokens.bos.is_some() && tokens.eos.is_some());
            for case in reference["cases"].as_object().unwrap().values() {
                let prompt = template.render(&messages(&case["messages"]), &tokens, true);
                assert_eq!(prompt.unwrap(), golden::text(&case["prompt"]));
                held += 1;
            }
            // the answer that training learns
            let case = &reference["train"];
            let question = &reference["cases"]["split"]["messages"];
            let mut chat = messages(question);
            chat.push(Message::text(
                Role::Assistant,
                golden::text(&case["answer"]),
            ));
            let text = template.render(&chat, &tokens, false).unwrap();
            assert_eq!(text, golden::text(&case["text"]));
        }
        held
    });
}

#[test]
fn llamas_folder_renders_chatml() {
    golden::each("llama_tiny", |dir| {
        let reference = golden::json(dir.join("reference.json"));
        let template = ChatTemplate::load(dir).unwrap();
        let tokens = TemplateTokens::load(dir).unwrap();
        let chats = golden::list(&reference["texts"]).iter().map(golden::text);
        let mut held = 0;
        for text in chats {
            // texts that are conversations of one question
            let Some(question) = text
                .strip_prefix("<|im_start|>user\n")
                .and_then(|rest| rest.strip_suffix("<|im_end|>\n<|im_start|>assistant\n"))
            else {
                continue;
            };
            let chat = [Message::text(Role::User, question)];
            assert_eq!(template.render(&chat, &tokens, true).unwrap(), text);
            held += 1;
        }
        held
    });
}
