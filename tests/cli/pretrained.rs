//! `seemore caption` and `chat` with pretrained models, and what is wrong with some.

use std::path::PathBuf;
use std::process::Output;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::gguf::{self, Key};
use super::*;

/// Folder of recorded models of the repository.
fn golden(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/hf");
    Path::new(folder).join(name)
}

/// A folder with a copy of a recorded model as `model`, and a wide picture as `wide.png`.
struct Place(tempfile::TempDir);

impl Place {
    fn of(name: &str) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.file("model")).unwrap();
        for entry in std::fs::read_dir(golden(name)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_file() && !name.starts_with("reference") {
                std::fs::copy(&path, place.file("model").join(name)).unwrap();
            }
        }
        std::fs::copy(golden("smolvlm_tiny/image0.png"), place.file("wide.png")).unwrap();
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        seemore(self.0.path(), args)
    }

    /// Captions the picture with a model.
    fn caption(&self, model: &str, more: &[&str]) -> Output {
        let args = [
            "caption",
            "wide.png",
            "--model",
            model,
            "--device",
            "cpu",
            "--max-tokens",
            "4",
        ];
        self.run(&[&args[..], more].concat())
    }

    /// Fails to caption with an error in one sentence, and an advice if there is more to say.
    #[track_caller]
    fn refuses(&self, model: &str, more: &[&str], words: &[&str]) {
        let output = self.caption(model, more);
        fails(&output, 1, words);
        assert_eq!(stdout(&output), "");
        let told = stderr(&output);
        let errors = told.lines().filter(|line| line.starts_with("error: "));
        let summary = "1 of 1 pictures were not captioned";
        let errors: Vec<&str> = errors.filter(|line| !line.contains(summary)).collect();
        assert_eq!(errors.len(), 1, "{told}");
    }

    /// Changes a JSON file of the model.
    fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let path = self.file("model").join(name);
        let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
    }

    /// Changes the tensors of the model, all of 32-bit floats.
    fn edit_weights(&self, change: impl FnOnce(&mut Vec<(String, Vec<usize>, Vec<u8>)>)) {
        let path = self.file("model/model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.tensors().into_iter();
        let mut tensors = tensors
            .map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec()))
            .collect();
        change(&mut tensors);
        let views = tensors.iter().map(|(name, shape, data)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), data).unwrap();
            (name.as_str(), view)
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 513000\n";

#[test]
fn pictures_are_captioned_and_explained() {
    let place = Place::of("smolvlm_tiny");
    let output = place.caption("model", &["--attention", "look.png"]);
    let caption = succeeds(&output);
    assert!(
        stderr(&output).contains("first token after"),
        "{}",
        stderr(&output)
    );
    let picture = image::open(place.file("look.png")).unwrap().to_rgb8();
    // the plain picture, and a panel for each of four tokens
    assert!(picture.width() > 5 * 160 && picture.height() > 160);
    // a panel differs from the plain picture where there is heat
    let plain = |x: u32, y: u32| picture.get_pixel(8 + x, 8 + y);
    let heated = |x: u32, y: u32| picture.get_pixel(2 * 8 + 160 + x, 8 + y);
    let changed = (0..160).flat_map(|y| (0..160).map(move |x| (x, y)));
    let changed = changed.filter(|&(x, y)| plain(x, y) != heated(x, y));
    assert!(changed.count() > 160 * 80);

    // several pictures, in several tiles
    std::fs::copy(place.file("wide.png"), place.file("again.png")).unwrap();
    let output = place.caption("model", &["again.png"]);
    let name = |name: &str| format!("{name}: {}", caption.trim_start());
    assert_eq!(succeeds(&output), name("wide.png") + &name("again.png"));
    let told = stderr(&output);
    assert!(
        told.contains("[1/2] wide.png") && told.contains("[2/2] again.png"),
        "{told}"
    );
    assert!(!told.contains("image tokens"), "{told}");
    let output = place.caption("model", &["again.png", "--tiles", "auto"]);
    succeeds(&output);
    let told = stderr(&output);
    assert_eq!(
        told.matches("3 tiles, 48 image tokens of ").count(),
        2,
        "{told}"
    );
    // the second picture is the first one, whose rows are known
    assert_eq!(told.matches("to encode").count(), 1, "{told}");
}

#[test]
fn gguf_models_need_their_image_encoder_for_pictures() {
    let place = Place::of("smolvlm_tiny");
    let folder = golden("smolvlm_tiny");
    let want = succeeds(&place.caption("model", &[]));
    std::fs::create_dir(place.file("gguf")).unwrap();
    gguf::write_text(&folder, &place.file("gguf/text.gguf"));
    for model in ["gguf", "gguf/text.gguf"] {
        place.refuses(
            model,
            &[],
            &["text.gguf", "takes text only", "mmproj file", "--mmproj"],
        );
    }
    let chat = [
        "chat",
        "--model",
        "gguf",
        "--device",
        "cpu",
        "--prompt",
        "Hi",
        "--max-tokens",
        "2",
    ];
    succeeds(&place.run(&chat));
    fails(
        &place.run(&[&chat[..], &["wide.png"]].concat()),
        1,
        &["mmproj"],
    );

    gguf::write_encoder(&folder, &place.file("encoder.gguf"));
    let named = ["--mmproj", "encoder.gguf"];
    assert_eq!(succeeds(&place.caption("gguf", &named)), want);
    std::fs::copy(place.file("encoder.gguf"), place.file("gguf/mmproj-a.gguf")).unwrap();
    for model in ["gguf", "gguf/text.gguf"] {
        assert_eq!(succeeds(&place.caption(model, &[])), want);
    }
    // two of a kind: neither is guessed
    std::fs::copy(place.file("encoder.gguf"), place.file("gguf/mmproj-b.gguf")).unwrap();
    let words = [
        "image encoders",
        "mmproj-a.gguf",
        "mmproj-b.gguf",
        "--mmproj",
    ];
    place.refuses("gguf", &[], &words);
    assert_eq!(
        succeeds(&place.caption("gguf", &["--mmproj", "gguf/mmproj-b.gguf"])),
        want
    );
    std::fs::copy(place.file("gguf/text.gguf"), place.file("gguf/other.gguf")).unwrap();
    let words = [
        "language models",
        "text.gguf",
        "other.gguf",
        "name the file of one",
    ];
    place.refuses("gguf", &named, &words);
    assert_eq!(succeeds(&place.caption("gguf/other.gguf", &named)), want);

    place.refuses(
        "encoder.gguf",
        &[],
        &["encoder.gguf", "image encoder", "language model"],
    );
    let words = ["text.gguf", "not an image encoder", "mmproj"];
    place.refuses("gguf/text.gguf", &["--mmproj", "gguf/text.gguf"], &words);
    place.refuses(
        "model",
        &named,
        &["model is not in a GGUF file", "encoder.gguf"],
    );
}

#[test]
fn damaged_gguf_files_are_named() {
    let place = Place::of("smolvlm_tiny");
    let (folder, path) = (golden("smolvlm_tiny"), place.file("text.gguf"));
    gguf::write_text(&folder, &path);
    let whole = std::fs::read(&path).unwrap();
    for length in [whole.len() / 2, 2000] {
        std::fs::write(&path, &whole[..length]).unwrap();
        place.refuses(
            "text.gguf",
            &[],
            &["text.gguf", "not a valid GGUF", "again"],
        );
    }
    std::fs::write(&path, POINTER).unwrap();
    place.refuses(
        "text.gguf",
        &[],
        &["text.gguf", "Git LFS pointer", "git lfs pull"],
    );
    std::fs::write(&path, "PK\x03\x04 and more").unwrap();
    place.refuses("text.gguf", &[], &["text.gguf", "pickle", "safetensors"]);
    std::fs::write(&path, "nothing of the kind").unwrap();
    place.refuses("text.gguf", &[], &["text.gguf", "not a GGUF file"]);
    let keys = [("general.architecture", Key::Text("mamba".into()))];
    gguf::write(&path, &keys, &[]);
    place.refuses("text.gguf", &[], &["text.gguf", "mamba", "llama"]);
}

#[test]
fn tensors_of_gguf_files_are_named_as_they_are_there() {
    let place = Place::of("smolvlm_tiny");
    let folder = golden("smolvlm_tiny");
    gguf::write_text(&folder, &place.file("text.gguf"));
    gguf::write_encoder(&folder, &place.file("mmproj.gguf"));
    // a name of the same length, so that all offsets stay
    let rename = |file: &str, from: &str, to: &str| {
        let path = place.file(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes
            .windows(from.len())
            .position(|part| part == from.as_bytes());
        let at = at.unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(path, bytes).unwrap();
    };
    rename("text.gguf", "blk.1.ffn_up.weight", "blk.7.ffn_up.weight");
    place.refuses(
        "text.gguf",
        &[],
        &["text.gguf", "no tensor `blk.1.ffn_up.weight`"],
    );
    rename("text.gguf", "blk.7.ffn_up.weight", "blk.1.ffn_uq.weight");
    place.refuses(
        "text.gguf",
        &[],
        &["text.gguf", "does not ask for", "blk.1.ffn_uq.weight"],
    );
    rename("text.gguf", "blk.1.ffn_uq.weight", "blk.1.ffn_up.weight");
    rename("mmproj.gguf", "v.blk.0.ln2.bias", "v.blk.9.ln2.bias");
    place.refuses(
        "text.gguf",
        &[],
        &["mmproj.gguf", "no tensor `v.blk.0.ln2.bias`"],
    );
}

#[test]
fn models_of_text_refuse_pictures() {
    let place = Place::of("llama_tiny");
    place.refuses("model", &[], &["text only", "image encoder"]);
    let chat = [
        "chat",
        "--model",
        "model",
        "--device",
        "cpu",
        "--prompt",
        "Hi",
        "--max-tokens",
        "2",
    ];
    succeeds(&place.run(&chat));
    fails(
        &place.run(&[&chat[..], &["wide.png"]].concat()),
        1,
        &["text only"],
    );
    let file = golden("llama_tiny/gguf/q8_0.gguf");
    place.refuses(file.to_str().unwrap(), &[], &["text only"]);
}

#[test]
fn models_that_take_one_picture_need_it() {
    let place = Place::of("nanovlm_tiny");
    succeeds(&place.caption("model", &[]));
    let chat = [
        "chat",
        "--model",
        "model",
        "--device",
        "cpu",
        "--prompt",
        "Hi",
        "--max-tokens",
        "2",
    ];
    fails(
        &place.run(&chat),
        1,
        &["one picture at a time", "0 were given"],
    );
    succeeds(&place.run(&[&chat[..], &["wide.png"]].concat()));
    let two = [&chat[..], &["wide.png", "wide.png"]].concat();
    fails(
        &place.run(&two),
        1,
        &["one picture at a time", "2 were given"],
    );
}

#[test]
fn folders_that_are_no_model_say_what_is_missing() {
    let place = Place::of("smolvlm_tiny");
    std::fs::create_dir(place.file("empty")).unwrap();
    place.refuses("empty", &[], &["empty", "no config.json", "GGUF file"]);
    place.refuses("absent", &[], &["absent"]);
    let words = ["model.safetensors", "give the folder"];
    place.refuses("model/model.safetensors", &[], &words);
    let model = place.file("model");
    std::fs::remove_file(model.join("config.json")).unwrap();
    place.refuses("model", &[], &["model", "no config.json"]);

    let place = Place::of("smolvlm_tiny");
    let model = place.file("model");
    std::fs::remove_file(model.join("model.safetensors")).unwrap();
    place.refuses("model", &[], &["model", "no model.safetensors"]);
    std::fs::write(model.join("training_args.bin"), "PK\x03\x04").unwrap();
    place.refuses("model", &[], &["no model.safetensors"]);
    for name in [
        "pytorch_model.bin",
        "model.pt",
        "pytorch_model-00001-of-00002.bin",
    ] {
        std::fs::write(model.join(name), "PK\x03\x04").unwrap();
        place.refuses("model", &[], &[name, "pickle", "safetensors"]);
        std::fs::remove_file(model.join(name)).unwrap();
    }
    let place = Place::of("smolvlm_tiny");
    std::fs::remove_file(place.file("model/tokenizer.json")).unwrap();
    place.refuses("model", &[], &["tokenizer.json"]);
    std::fs::write(place.file("model/tokenizer.json"), POINTER).unwrap();
    place.refuses("model", &[], &["tokenizer.json", "Git LFS pointer"]);
}

#[test]
fn damaged_weights_are_named() {
    let place = Place::of("smolvlm_tiny");
    let path = place.file("model/model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for length in [whole.len() - 1, whole.len() / 2, 100, 3] {
        std::fs::write(&path, &whole[..length]).unwrap();
        place.refuses("model", &[], &["model.safetensors", "not a valid", "again"]);
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let bytes = format!("{} of {} bytes", whole.len() / 2, whole.len());
    place.refuses("model", &[], &["cut off", &bytes]);
    std::fs::write(&path, POINTER).unwrap();
    place.refuses(
        "model",
        &[],
        &["model.safetensors", "Git LFS pointer", "git lfs pull"],
    );
    for pickle in [
        &b"PK\x03\x04\0\0\x08\x08"[..],
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j",
    ] {
        std::fs::write(&path, pickle).unwrap();
        place.refuses(
            "model",
            &[],
            &["model.safetensors", "Python pickle", "save"],
        );
    }
}

#[test]
fn weights_of_another_model_are_named() {
    let name = "model.text_model.layers.1.mlp.up_proj.weight";
    type Tensors = Vec<(String, Vec<usize>, Vec<u8>)>;
    fn at<'a>(tensors: &'a mut Tensors, name: &str) -> &'a mut (String, Vec<usize>, Vec<u8>) {
        let found = tensors.iter_mut().find(|tensor| tensor.0 == name);
        found.unwrap()
    }
    let refuses = |change: &dyn Fn(&mut Tensors), words: &[&str]| {
        let place = Place::of("smolvlm_tiny");
        place.edit_weights(|tensors| change(tensors));
        place.refuses("model", &[], &[&["model.safetensors"], words].concat());
    };
    refuses(
        &|tensors| tensors.retain(|tensor| tensor.0 != name),
        &["no tensor", name],
    );
    refuses(
        &|tensors| tensors.push(("extra.weight".into(), vec![1], vec![0; 4])),
        &["does not ask for", "extra.weight"],
    );
    refuses(
        &|tensors| at(tensors, name).1.reverse(),
        &[name, "[48, 88]", "[88, 48]"],
    );
    for value in [f32::NAN, f32::INFINITY] {
        refuses(
            &|tensors| at(tensors, name).2[40..44].copy_from_slice(&value.to_le_bytes()),
            &[name, "NaN or infinite", "damaged"],
        );
    }
    let place = Place::of("llama_tiny/sharded_bf16");
    let shard = "model-00002-of-00004.safetensors";
    std::fs::remove_file(place.file("model").join(shard)).unwrap();
    place.refuses(
        "model",
        &[],
        &["model.safetensors.index.json", shard, "download"],
    );
}

#[test]
fn other_architectures_are_named() {
    let place = Place::of("smolvlm_tiny");
    place.edit("config.json", |config| {
        config["model_type"] = json!("qwen2_vl")
    });
    place.refuses(
        "model",
        &[],
        &["config.json", "qwen2_vl", "idefics3", "llama", "nanoVLM"],
    );
    let place = Place::of("clip_tiny");
    place.refuses(
        "model",
        &[],
        &[
            "config.json",
            "clip_vision_model",
            "image encoder",
            "SmolVLM",
        ],
    );
}

#[test]
fn prompts_that_do_not_fit_say_what_helps() {
    let place = Place::of("smolvlm_tiny");
    place.edit("config.json", |config| {
        config["text_config"]["max_position_embeddings"] = json!(64);
    });
    succeeds(&place.caption("model", &["--prompt", "Can you describe this image?"]));
    let question = [
        "--prompt",
        "Can you describe this image?",
        "--tiles",
        "auto",
    ];
    let words = [
        "80 positions",
        "48 of them for pictures",
        "room for 64",
        "fewer tiles",
        "--tiles",
    ];
    place.refuses("model", &question, &words);
    let long = "describe ".repeat(60);
    place.refuses(
        "model",
        &["--prompt", &long],
        &["positions", "room for 64", "shorten"],
    );
    let token = ["--prompt", "What is <image>?"];
    place.refuses(
        "model",
        &token,
        &["2 places for pictures", "1 pictures", "image token"],
    );

    // more tiles than the vocabulary has tokens for
    let place = Place::of("smolvlm_tiny");
    place.edit("processor_config.json", |config| {
        config["image_processor"]["size"]["longest_edge"] = json!(512);
    });
    succeeds(&place.caption("model", &["--tiles", "4"]));
    let words = ["8 columns", "<row_1_col_5>", "fewer tiles", "--tiles"];
    place.refuses("model", &["--tiles", "auto"], &words);
}

#[test]
fn templates_that_fail_are_named() {
    let place = Place::of("smolvlm_tiny");
    let template = place.file("model/chat_template.jinja");
    for (source, reason) in [
        (
            "{{ raise_exception('no questions today') }}",
            "no questions today",
        ),
        (
            "{% for part in messages[0].content %}{{ part.text | nonsense }}{% endfor %}",
            "nonsense",
        ),
        ("{% if %}", "damaged"),
        ("{{ messages[0].content }}", "takes no pictures"),
    ] {
        std::fs::write(&template, source).unwrap();
        let output = place.caption("model", &[]);
        fails(&output, 1, &["chat template", reason]);
        if reason != "takes no pictures" {
            fails(&output, 1, &["chat_template.jinja"]);
        }
    }
    // ones that forget the picture, or all that is asked
    for source in [
        "{% for part in messages[0].content %}{{ part.text }}{% endfor %}",
        "{{ messages[0].role }}",
    ] {
        std::fs::write(&template, source).unwrap();
        let words = ["0 places for pictures", "chat template has none"];
        fails(&place.caption("model", &[]), 1, &words);
    }
}

#[test]
fn what_only_models_trained_here_can_do_is_refused() {
    for (name, picture) in [("smolvlm_tiny", true), ("llama_tiny", false)] {
        let place = Place::of(name);
        squares(&place.file("squares"), 1);
        let cpu = ["--device", "cpu"];
        let eval = ["eval", "--data", "squares", "--model", "model"];
        let measured = place.run(&[&eval[..], &cpu].concat());
        match picture {
            true => assert!(succeeds(&measured).contains("perplexity")),
            false => fails(&measured, 1, &["takes text only"]),
        }
        let words = ["config.json", "pretrained model", "trained here"];
        let train = ["train", "--data", "squares", "--steps", "1", "--out", "run"];
        let config = ["--config", "model/config.json"];
        fails(&place.run(&[&train[..], &config, &cpu].concat()), 1, &words);
        fails(&place.run(&["pack", "model", "--out", "packed"]), 1, &words);
        assert!(!place.file("packed").exists());
        let bench = ["bench", "decode", "--config", "model/config.json"];
        fails(&place.run(&[&bench[..], &cpu].concat()), 1, &words);
        assert!(!picture || place.caption("model", &[]).status.success());
    }
}

#[test]
fn flags_of_pretrained_models_are_refused_for_others() {
    let place = Place::of("smolvlm_tiny");
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/data/checkpoints/emoji");
    for flags in [
        ["--style", "short"],
        ["--tiles", "auto"],
        ["--quantize", "q8_0"],
    ] {
        place.refuses(own, &flags, &[flags[0], "pretrained models"]);
    }
    place.refuses(
        own,
        &["--mmproj", "wide.png"],
        &["emoji", "GGUF", "wide.png"],
    );
    let both = place.caption("model", &["--style", "short", "--prompt", "What is it?"]);
    fails(&both, 2, &["--style", "--prompt"]);
}
