//! Conversations as text.

use std::path::{Path, PathBuf};

use seemore::image::{Filter, Normalization, Picture, TileGrid, Tiling};
use seemore::models::{nanovlm, smolvlm};
use seemore::text::Tokenizer;
use seemore::text::chat::{ChatTemplate, Message, Part, Role, TemplateTokens};
use serde_json::Value;

use crate::{golden, tokenizers};

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

/// Returns a text with `REPEATED*COUNT` written out.
fn written_out(text: &str, repeated: &str) -> String {
    let mark = format!("{repeated}*");
    let mut parts = text.split(&mark);
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let digits = part.chars().take_while(char::is_ascii_digit).count();
        out += &repeated.repeat(part[..digits].parse().unwrap());
        out += &part[digits..];
    }
    out
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

/// Reads ids that are written as runs of one id and its count.
fn runs(list: &Value) -> Vec<u32> {
    let run = |run: &Value| vec![golden::size(&run[0]) as u32; golden::size(&run[1])];
    golden::list(list).iter().flat_map(run).collect()
}

/// Checks an expanded prompt against the recorded string and, with the real tokenizer, ids.
#[track_caller]
fn holds(case: &Value, prompt: &str, tokenizer: Option<&Tokenizer>) {
    assert_eq!(
        prompt,
        written_out(golden::text(&case["string"]), "<image>")
    );
    let ids = runs(&case["ids"]);
    assert_eq!(ids.len(), golden::size(&case["tokens"]));
    if let Some(tokenizer) = tokenizer {
        assert_eq!(tokenizer.encode(prompt), ids);
    }
}

#[test]
fn smolvlms_prompts_have_the_tokens_of_real_tiles() {
    let tokenizer = tokenizers::real("smolvlm");
    let tokens = smolvlm::prompt::TileTokens::default();
    golden::each("prompts", |dir| {
        let prompts = golden::json(dir.join("prompts.json"));
        let template = ChatTemplate::new(golden::text(&prompts["templates"]["smolvlm"])).unwrap();
        let render = |messages: &[Message]| {
            template
                .render(messages, &TemplateTokens::default(), true)
                .unwrap()
        };
        let question = render(&[Message::about_picture("Can you describe this image?")]);
        // the same models at other sizes
        let size = &prompts["smolvlm_sizes"][0];
        let side = golden::pair(&size["split_wh"]).0 / golden::size(&size["cols"]);
        let per_tile =
            |case: &Value| golden::size(&case["image_tokens"]) / golden::size(&case["tiles"]);
        let cases = golden::list(&prompts["smolvlm_prompts"]);
        for case in cases {
            let tokens_per_tile = per_tile(case);
            let (width, height) = golden::pair(&case["image_wh"]);
            let config = smolvlm::preprocess::PreprocessConfig {
                longest_edge: golden::size(&case["longest_edge"]),
                side,
                split: case["do_image_splitting"].as_bool().unwrap(),
                filter: Filter::Lanczos,
                normalization: Normalization::UNIT,
                image_seq_len: None,
            };
            let plan = config.plan(width, height, Tiling::Auto);
            assert_eq!(plan.tiles(), golden::size(&case["tiles"]));
            assert_eq!(
                plan.tiles() * tokens_per_tile,
                golden::size(&case["image_tokens"])
            );
            let prompt = tokens
                .expand(&question, &[plan.grid], tokens_per_tile)
                .unwrap();
            holds(case, &prompt, tokenizer.as_ref());
            if let Some(Tokenizer::Pretrained(tokenizer)) = &tokenizer {
                assert_eq!(tokens.check(tokenizer, plan.grid), Ok(()));
            }
        }
        let case = &prompts["smolvlm_two_images_unsplit"];
        let prompt = render(&messages(&case["messages"]));
        let whole = [TileGrid::default(); 2];
        let prompt = tokens.expand(&prompt, &whole, per_tile(&cases[0])).unwrap();
        holds(case, &prompt, tokenizer.as_ref());
        cases.len()
    });
}

#[test]
fn smolvlms_folders_give_its_expanded_prompts() {
    golden::each("smolvlm_tiny", |dir| {
        let reference = golden::json(dir.join("reference.json"));
        let tokens = smolvlm::prompt::TileTokens::default();
        let Tokenizer::Pretrained(tokenizer) = tokenizers::load(dir) else {
            panic!("not a pretrained tokenizer")
        };
        let mut held = 0;
        for layout in layouts(dir) {
            let config = smolvlm::preprocess::PreprocessConfig::load(&layout).unwrap();
            let template = ChatTemplate::load(&layout).unwrap();
            for (name, case) in reference["cases"].as_object().unwrap() {
                let tiling = match case["do_image_splitting"].as_bool().unwrap() {
                    true => Tiling::Auto,
                    false => Tiling::One,
                };
                let images = golden::list(&case["images"]).iter().map(golden::text);
                let grids: Vec<TileGrid> = images
                    .map(|image| {
                        let picture = Picture::open(&dir.join(image)).unwrap();
                        config.plan(picture.width, picture.height, tiling).grid
                    })
                    .collect();
                let messages = messages(&case["messages"]);
                let prompt = template.render(&messages, &TemplateTokens::default(), true);
                let per_tile = config.image_seq_len.unwrap();
                let prompt = tokens.expand(&prompt.unwrap(), &grids, per_tile).unwrap();
                assert_eq!(prompt, golden::text(&case["expanded_prompt"]), "{name}");
                let count = tokenizer.encode(&prompt).len();
                assert_eq!(count, golden::size(&case["tokens"]), "{name}");
                assert!(
                    grids
                        .iter()
                        .all(|grid| tokens.check(&tokenizer, *grid).is_ok())
                );
                held += 1;
            }
        }
        let (rows, columns) = (99, 99);
        assert!(
            tokens
                .check(&tokenizer, TileGrid { rows, columns })
                .is_err()
        );
        held
    });
}

#[test]
fn nanovlms_pictures_are_its_own_strings() {
    golden::each("prompts", |dir| {
        let prompts = golden::json(dir.join("prompts.json"));
        let places = (1..=9).flat_map(|row| (1..=9).map(move |column| (row, column)));
        let tokens = nanovlm::prompt::TileTokens {
            image: "<|image|>".into(),
            global: Some("<|global_image|>".into()),
            places: places
                .map(|(row, column)| {
                    (
                        format!("r{row}c{column}"),
                        format!("<row_{row}_col_{column}>"),
                    )
                })
                .collect(),
        };
        let cases = golden::list(&prompts["nanovlm_image_strings"]);
        for case in cases {
            let grids = golden::list(&case["grids_rows_cols"])
                .iter()
                .map(golden::pair);
            let grids: Vec<TileGrid> = grids
                .map(|(rows, columns)| TileGrid { rows, columns })
                .collect();
            let string = golden::text(&case["string"]);
            let want = written_out(string, "<|image|>");
            let tiles: usize = grids
                .iter()
                .map(|grid| 1 + grid.count() - usize::from(grid.count() == 1))
                .sum();
            let per_tile = want.matches("<|image|>").count() / tiles;
            assert_eq!(tokens.pictures(&grids, per_tile).unwrap(), want);
        }
        let want = golden::text(&prompts["nanovlm_2025_05"]["string"]);
        assert_eq!(nanovlm::prompt::question("{question}"), want);
        cases.len()
    });
}

#[test]
fn nanovlms_folders_give_its_prompts() {
    golden::each("nanovlm_tiny/tiled", |dir| {
        let reference = golden::json(dir.join("reference.json"));
        let config = nanovlm::prompt::PromptConfig::load(dir).unwrap();
        let (tokens, per_tile) = (config.tokens.unwrap(), config.tokens_per_tile.unwrap());
        let template = ChatTemplate::new(&config.chat_template.unwrap()).unwrap();
        let cases = ["tiles", "single"];
        for name in cases {
            let case = &reference[name];
            let (rows, columns) = (golden::size(&case["rows"]), golden::size(&case["cols"]));
            let chat = [Message::about_picture("What is this?")];
            let grids = [TileGrid { rows, columns }];
            let chat = tokens.expand(&chat, &grids, per_tile).unwrap();
            let prompt = template
                .render(&chat, &TemplateTokens::default(), true)
                .unwrap();
            assert_eq!(prompt, golden::text(&case["text"]), "{name}");
        }
        cases.len()
    });
    golden::each("nanovlm_tiny", |dir| {
        let reference = golden::json(dir.join("reference.json"));
        let config = nanovlm::prompt::PromptConfig::load(dir).unwrap();
        assert_eq!((config.tokens, config.chat_template), (None, None));
        let text = golden::text(&reference["v0"]["text"]);
        assert_eq!(nanovlm::prompt::question("What is this?"), text);
        1
    });
}
