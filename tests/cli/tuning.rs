//! `seemore compose`, `train` on pretrained models, and `merge`.

use std::path::PathBuf;

use super::*;

/// Folder of recorded models of the repository.
fn golden(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/hf");
    Path::new(folder).join(name)
}

/// A composition of the tiny models in the folder `composed`.
fn compose(dir: &Path) -> String {
    let (encoder, decoder) = (golden("clip_tiny"), golden("llama_tiny"));
    let args = [
        "compose",
        "--encoder",
        encoder.to_str().unwrap(),
        "--decoder",
        decoder.to_str().unwrap(),
        "--out",
        "composed",
        "--projector",
        "mlp",
    ];
    succeeds(&seemore(dir, &args))
}

/// Arguments that tune a model on squares of one colour each.
fn tuning<'a>(model: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = [
        "train",
        "--model",
        model,
        "--data",
        "squares",
        "--val-split",
        "0.25",
        "--device",
        "cpu",
        "--batch-size",
        "2",
        "--feature-cache",
        "features",
        "--out",
        out,
    ];
    [&args[..], more].concat()
}

#[test]
fn a_composition_is_made_tuned_asked_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    squares(&dir.join("squares"), 1);
    let told = compose(dir);
    assert!(told.contains("10 image tokens"), "{told}");

    let first = seemore(dir, &tuning("composed", "one", &["--steps", "4"]));
    let told = succeeds(&first) + &stderr(&first);
    let kept = "features of 4 pictures, 4 of them encoded now: ";
    assert!(told.contains(kept), "{told}");
    let more = ["--steps", "4", "--tune", "projector,lora", "--rank", "2"];
    let second = seemore(dir, &tuning("one", "two", &more));
    let told = succeeds(&second) + &stderr(&second);
    assert!(told.contains("features of 4 pictures, 0 of them"), "{told}");
    assert!(dir.join("two/adapter_model.safetensors").is_file());
    let again = seemore(
        dir,
        &[
            "train", "--resume", "two", "--steps", "6", "--device", "cpu",
        ],
    );
    succeeds(&again);

    let merged = succeeds(&seemore(dir, &["merge", "two", "--out", "merged"]));
    assert!(merged.contains("14 of them with an adapter"), "{merged}");
    let caption = |model: &str| {
        let picture = first_picture(&dir.join("squares"));
        let args = [
            "caption",
            &picture,
            "--model",
            model,
            "--device",
            "cpu",
            "--max-tokens",
            "5",
        ];
        succeeds(&seemore(dir, &args))
    };
    assert_eq!(caption("two"), caption("merged"));
}

fn first_picture(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let pictures = files.filter(|path| path.extension().is_some_and(|ending| ending == "png"));
    pictures.min().unwrap().display().to_string()
}

#[test]
fn what_cannot_be_composed_tuned_or_merged_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    squares(&dir.join("squares"), 1);
    compose(dir);
    let (encoder, decoder) = (golden("clip_tiny"), golden("llama_tiny"));
    let parts = |encoder: &str, decoder: &str, out: &str| {
        let args = [
            "compose",
            "--encoder",
            encoder,
            "--decoder",
            decoder,
            "--out",
            out,
        ];
        seemore(dir, &args)
    };
    let (encoder, decoder) = (encoder.to_str().unwrap(), decoder.to_str().unwrap());
    let absent = parts("no-org/no-clip", decoder, "a");
    fails(
        &absent,
        1,
        &["image encoder", "no-org/no-clip", "seemore get"],
    );
    let swapped = parts(decoder, encoder, "b");
    fails(&swapped, 1, &["image encoder", "llama", "CLIP"]);
    fails(
        &parts(encoder, decoder, "composed"),
        1,
        &["already holds a model"],
    );

    let text_only = seemore(dir, &tuning(decoder, "c", &["--steps", "1"]));
    fails(&text_only, 1, &["text only"]);
    let own = tuning("composed", "composed", &["--steps", "1", "--overwrite"]);
    fails(
        &seemore(dir, &own),
        1,
        &["folder of the model to tune", "--out"],
    );
    let own = tuning("composed", "composed", &["--steps", "1"]);
    fails(&seemore(dir, &own), 1, &["already holds", "--overwrite"]);
    let alone = seemore(dir, &["train", "--tune", "lora", "--data", "squares"]);
    fails(&alone, 2, &["--tune needs --model"]);
    let both = seemore(dir, &["train", "--model", "composed", "--preset", "tiny"]);
    fails(&both, 2, &["--model", "--preset"]);

    let plain = seemore(dir, &["merge", "composed", "--out", "d"]);
    fails(&plain, 1, &["nothing to merge"]);
    let other = seemore(dir, &["merge", "squares", "--out", "e"]);
    fails(&other, 1, &["squares", "not a pretrained model"]);
}
