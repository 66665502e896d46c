//! `seemore caption`: tokens, prompts and attention pictures.

use super::*;

#[test]
fn a_trained_model_captions_and_draws_attention() {
    let dir = tempfile::tempdir().unwrap();
    let printed = tiny_model(dir.path());
    assert!(
        printed.contains("step 60/60") && printed.contains("exact match"),
        "{printed}"
    );
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(dir.path().join("model").join(file).is_file(), "{file}");
    }

    let output = seemore(
        dir.path(),
        &[
            "caption",
            "squares/red0.png",
            "squares/blue1.png",
            "--model",
            "model",
        ],
    );
    assert_eq!(
        succeeds(&output),
        "squares/red0.png: red\nsquares/blue1.png: blue\n"
    );
    assert!(stderr(&output).contains("device: "));

    let output = seemore(
        dir.path(),
        &[
            "caption",
            "squares/green2.png",
            "--model",
            "model",
            "--attention",
            "look.png",
        ],
    );
    assert_eq!(succeeds(&output), "green\n");
    let picture = image::open(dir.path().join("look.png")).unwrap();
    assert!(picture.width() > 5 * 160 && picture.height() > 160);

    let mut child = spawn(dir.path(), &["caption", "-", "--model", "model"]);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&std::fs::read(dir.path().join("squares/grey3.png")).unwrap())
        .unwrap();
    assert_eq!(succeeds(&child.wait_with_output().unwrap()), "grey\n");
}

#[test]
fn tokenizers_are_words_bytes_or_files() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 4);
    for (name, _) in COLOURS {
        for shade in 0..4 {
            std::fs::write(
                dir.path().join(format!("squares/{name}{shade}.txt")),
                format!("a ({name}) square"),
            )
            .unwrap();
        }
    }
    let train = |extra: &[&str]| {
        let args = [
            "train",
            "--data",
            "squares",
            "--preset",
            "tiny",
            "--steps",
            "60",
            "--no-augment",
        ];
        seemore(dir.path(), &[&args[..], extra].concat())
    };
    let caption = |model: &str, extra: &[&str]| {
        let args = ["caption", "squares/red0.png", "--model", model];
        succeeds(&seemore(dir.path(), &[&args[..], extra].concat()))
    };
    succeeds(&train(&["--tokenizer", "words", "--out", "words"]));
    assert_eq!(caption("words", &[]), "a (red) square\n");
    assert_eq!(caption("words", &["--prompt", "a "]), "a (red) square\n");
    let output = seemore(
        dir.path(),
        &[
            "caption",
            "squares/red0.png",
            "--model",
            "words",
            "--prompt",
            "my",
            "--attention",
            "look.png",
        ],
    );
    succeeds(&output);
    assert!(
        stderr(&output).contains("vocabulary lacks parts of --prompt: \"my\""),
        "{}",
        stderr(&output)
    );

    succeeds(&train(&[
        "--tokenizer",
        "words/tokenizer.json",
        "--out",
        "file",
    ]));
    let tokenizer = |model: &str| {
        std::fs::read_to_string(dir.path().join(model).join("tokenizer.json")).unwrap()
    };
    assert_eq!(tokenizer("file"), tokenizer("words"));
    succeeds(&train(&[
        "--tokenizer",
        "bpe",
        "--vocab-size",
        "300",
        "--out",
        "bpe",
    ]));
    assert_eq!(caption("bpe", &[]), "a (red) square\n");
    // a resumed run keeps the tokenizer of its folder
    succeeds(&seemore(
        dir.path(),
        &["train", "--resume", "bpe", "--steps", "61"],
    ));
    fails(
        &seemore(
            dir.path(),
            &[
                "train",
                "--resume",
                "bpe",
                "--steps",
                "62",
                "--tokenizer",
                "words",
            ],
        ),
        2,
        &["--tokenizer"],
    );

    fails(&train(&["--tokenizer", "sounds"]), 2, &["sounds", "words"]);
    fails(&train(&["--tokenizer", "absent.json"]), 1, &["absent.json"]);
    fails(
        &train(&["--tokenizer", "words/config.json"]),
        1,
        &["config.json", "tokenizer"],
    );
    std::fs::write(dir.path().join("changes.json"), r#"{"flip": 2}"#).unwrap();
    let changed = |extra: &[&str]| {
        seemore(
            dir.path(),
            &[&["train", "--data", "squares"], extra].concat(),
        )
    };
    fails(
        &changed(&["--augment-config", "changes.json"]),
        1,
        &["changes.json", "flip"],
    );
    fails(
        &changed(&["--augment-config", "absent.json"]),
        1,
        &["absent.json"],
    );
    fails(&train(&["--vocab-size", "99"]), 1, &["--vocab-size"]);
    fails(
        &train(&["--tokenizer", "bpe", "--vocab-size", "99"]),
        1,
        &["99", "--vocab-size"],
    );
}

#[test]
fn unusable_pictures_and_models_are_named() {
    let dir = tempfile::tempdir().unwrap();
    tiny_model(dir.path());
    std::fs::write(dir.path().join("notes.png"), "no picture").unwrap();
    let output = seemore(
        dir.path(),
        &[
            "caption",
            "notes.png",
            "absent.png",
            "squares/red1.png",
            "--model",
            "model",
        ],
    );
    fails(&output, 1, &["notes.png", "absent.png", "2 of 3"]);
    assert!(stdout(&output).contains("squares/red1.png: red"));
    fails(
        &seemore(
            dir.path(),
            &["caption", "squares/red1.png", "--model", "nothing"],
        ),
        1,
        &["there is no model nothing", "seemore models"],
    );
    // without --model, the shipped model in a folder above the program is used
    let shipped = seemore(dir.path(), &["caption", "squares/red1.png"]);
    assert!(
        !succeeds(&shipped).trim().is_empty()
            && stderr(&shipped).contains("data/checkpoints/emoji"),
        "{}",
        stderr(&shipped)
    );
    fails(
        &seemore(
            dir.path(),
            &[
                "caption",
                "squares/red1.png",
                "--model",
                "model",
                "--top-p",
                "2",
            ],
        ),
        1,
        &["--top-p"],
    );

    let file = dir.path().join("model/model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    fails(
        &seemore(
            dir.path(),
            &["caption", "squares/red1.png", "--model", "model"],
        ),
        1,
        &["model.safetensors"],
    );
    std::fs::write(
        dir.path().join("model/config.json"),
        "{\"width\": \"wide\"}",
    )
    .unwrap();
    fails(
        &seemore(
            dir.path(),
            &["caption", "squares/red1.png", "--model", "model"],
        ),
        1,
        &["config.json"],
    );
}

#[test]
fn attention_pictures_are_not_overwritten_unasked() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    let run = |args: &[&str]| {
        seemore(
            dir.path(),
            &[&["caption", "--model", "model", "--max-tokens", "2"], args].concat(),
        )
    };
    succeeds(&seemore(
        dir.path(),
        &[
            "train", "--data", "squares", "--preset", "tiny", "--steps", "1", "--out", "model",
        ],
    ));
    let picture = "squares/red0.png";
    let before = std::fs::read(dir.path().join(picture)).unwrap();
    fails(
        &run(&[
            picture,
            "--attention",
            "squares/../squares/red0.png",
            "--overwrite",
        ]),
        1,
        &["red0.png", "another name"],
    );
    assert_eq!(std::fs::read(dir.path().join(picture)).unwrap(), before);
    fails(
        &run(&[picture, "--attention", "look.jpg"]),
        1,
        &["look.jpg", ".png"],
    );
    succeeds(&run(&[picture, "--attention", "look.png"]));
    fails(
        &run(&[picture, "--attention", "look.png"]),
        1,
        &["look.png", "--overwrite"],
    );
    succeeds(&run(&[picture, "--attention", "look.png", "--overwrite"]));

    std::fs::copy(
        dir.path().join(picture),
        dir.path().join("squares/red0.gif"),
    )
    .unwrap();
    succeeds(&run(&[
        picture,
        "squares/red0.gif",
        "--attention",
        "look.png",
    ]));
    assert!(
        dir.path().join("red0.png-look.png").is_file()
            && dir.path().join("red0.gif-look.png").is_file()
    );
    fails(
        &run(&[picture, picture, "--attention", "twice.png"]),
        1,
        &["two pictures"],
    );
}

#[test]
fn prompts_and_lengths_are_checked_before_output() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    succeeds(&seemore(
        dir.path(),
        &[
            "train", "--data", "squares", "--preset", "tiny", "--steps", "1", "--out", "model",
        ],
    ));
    let caption = ["caption", "squares/red0.png", "--model", "model"];
    let run = |args: &[&str]| seemore(dir.path(), &[&caption, args].concat());
    let output = run(&["--prompt", "rZd", "--max-tokens", "18446744073709551615"]);
    assert!(succeeds(&output).starts_with("rZd"));
    assert!(
        stderr(&output).contains("vocabulary lacks") && stderr(&output).contains("\"Z\""),
        "{}",
        stderr(&output)
    );
    let output = run(&["--prompt", &"red ".repeat(50)]);
    fails(&output, 1, &["room"]);
    assert_eq!(stdout(&output), "");
    let output = run(&["--attention", "absent/look.png", "--max-tokens", "1"]);
    fails(&output, 1, &["no folder absent"]);

    let mut child = spawn(dir.path(), &caption);
    // no one reads the output
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    succeeds(&output);
    assert!(
        !stderr(&output).contains("Broken pipe"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn without_the_parts_of_the_photo_captioner_the_model_of_drawings_says_what_it_knows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let picture = ["caption", "data/photographs/cat.jpg", "--device", "cpu"];
    let output = seemore(root, &picture);
    assert!(!succeeds(&output).trim().is_empty());
    let told = stderr(&output);
    assert!(told.contains("model: data/checkpoints/emoji"), "{told}");
    assert!(told.contains("knows drawings only"), "{told}");
    assert!(
        told.contains("`seemore get openai/clip-vit-base-patch16`")
            && told.contains("`seemore get HuggingFaceTB/SmolLM2-135M-Instruct`"),
        "{told}"
    );
}
