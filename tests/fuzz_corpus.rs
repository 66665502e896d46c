//! Runs the corpus of the fuzz targets in `fuzz/` through the same functions, without libFuzzer.
//! Every input must give a value or an error, never a panic.

use std::path::{Path, PathBuf};

use seemore::data::{Captioned, Layout};
use seemore::image::{Picture, Preprocess};
use seemore::models::ModelConfig;
use seemore::models::checkpoint::{self, Gguf};
use seemore::models::seemore::import_original;
use seemore::text::Tokenizer;

/// Calls a function with each corpus file of a target.
fn each(target: &str, mut run: impl FnMut(Vec<u8>)) {
    let folder = PathBuf::from("fuzz/corpus").join(target);
    let files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(
        files.len() > 5,
        "{} has {} files",
        folder.display(),
        files.len()
    );
    files
        .iter()
        .for_each(|file| run(std::fs::read(file).unwrap()));
}

#[test]
fn caption_files() {
    for (target, name, before) in [
        ("csv", "nowhere/captions.csv", "b64string_images,caption\n"),
        ("jsonl", "nowhere/captions.jsonl", ""),
        ("coco", "nowhere/captions.json", ""),
        ("flickr", "nowhere/captions.txt", "image,caption\n"),
        ("table", "nowhere/table.txt", ""),
        ("json", "nowhere/list.json", ""),
        ("tokens", "nowhere/tokens.txt", ""),
        ("webdataset", "nowhere/shard.tar", ""),
        ("parquet", "nowhere/table.parquet", ""),
    ] {
        each(target, |bytes| {
            let _ = Captioned::parse(
                Path::new(name),
                [before.as_bytes(), &bytes].concat(),
                &Layout::default(),
            );
        });
    }
}

#[test]
fn pictures() {
    let mut decoded = 0;
    each("picture", |bytes| {
        if let Ok(picture) = Picture::decode(&bytes) {
            decoded += 1;
            assert_eq!(
                picture
                    .framed(Preprocess {
                        side: 32,
                        crop: true
                    })
                    .rgb
                    .len(),
                3 * 32 * 32
            );
        }
    });
    assert!(decoded >= 4, "{decoded} decoded");
}

#[test]
fn tokenizers_and_configurations() {
    each("tokenizer", |bytes| {
        let Ok(text) = String::from_utf8(bytes) else {
            return;
        };
        if let Ok(tokenizer) = Tokenizer::from_json(&text) {
            let ids = tokenizer.encode("a piñata, 10 o\u{2019}clock");
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            let _ = (
                tokenizer.decode(&ids),
                tokenizer.decode(&[0, 1, 2, 3, u32::MAX]),
                tokenizer.unknown_parts("a b"),
                tokenizer.to_json(),
            );
        }
    });
    each("config", |bytes| {
        if let Ok(config) = ModelConfig::parse(&bytes) {
            let info = config.info();
            assert!(info.visual_tokens < info.context && info.decoder.scale.is_finite());
            let again = ModelConfig::parse(config.to_json().as_bytes()).unwrap();
            assert_eq!(again, config);
        }
    });
}

#[test]
fn checkpoints() {
    let mut whole = 0;
    each("checkpoint", |bytes| {
        if let Ok((values, _)) = checkpoint::parse(&bytes, &|| "fuzzed".into()) {
            whole += 1;
            let _ = import_original(Path::new("fuzzed"), values);
        }
    });
    assert!(whole >= 1);
}

#[test]
fn gguf_files() {
    let (mut whole, mut rows) = (0, 0);
    each("gguf", |bytes| {
        let size = bytes.len();
        let Ok(file) = Gguf::parse(bytes, "fuzzed") else {
            return;
        };
        whole += 1;
        let mut bytes = vec![];
        for tensor in file.tensors() {
            file.read_rows(tensor, 0..tensor.rows(), &mut bytes)
                .unwrap();
            assert!(bytes.len() <= size);
            let (encoding, cols) = (tensor.encoding(), tensor.cols());
            let mut words = vec![0; tensor.rows() * encoding.row_words(cols).unwrap()];
            encoding.from_ggml(&bytes, cols, &mut words).unwrap();
            let mut values = vec![0.0; tensor.rows() * cols];
            encoding.decode(&words, cols, &mut values).unwrap();
            rows += tensor.rows();
        }
    });
    assert!(whole >= 4 && rows >= 20, "{whole} files with {rows} rows");
}

/// Tensors larger than the file, overlapping tensors, and headers longer than the file.
#[test]
fn refuses_sizes_beyond_the_file() {
    let file = |header: &str, data: usize| {
        [
            &(header.len() as u64).to_le_bytes()[..],
            header.as_bytes(),
            &vec![0; data],
        ]
        .concat()
    };
    let cases = [
        file(
            r#"{"a":{"dtype":"F32","shape":[268435456],"data_offsets":[0,1073741824]}}"#,
            1000,
        ),
        file(
            r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}"#,
            24,
        ),
        file(
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            4,
        ),
        file(
            r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}"#,
            16,
        ),
        file(
            r#"{"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}"#,
            16,
        ),
        [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
        [&(1u64 << 30).to_le_bytes()[..], b"{}"].concat(),
        vec![],
    ];
    for bytes in cases {
        let error = checkpoint::parse(&bytes, &|| "model.safetensors".into())
            .unwrap_err()
            .to_string();
        assert!(error.contains("model.safetensors"), "{error}");
    }
}
