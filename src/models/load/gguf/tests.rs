use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::*;

/// Folder of recorded files; its README says how they were made.
const FOLDER: &str = "tests/golden/hf/llama_tiny";

/// The recorded files and the formats of their linear layers.
const FILES: [(&str, Encoding); 8] = [
    ("f32", Encoding::F32),
    ("f16", Encoding::F16),
    ("bf16", Encoding::Bf16),
    ("q8_0", Encoding::Q8_0),
    ("q4_0", Encoding::Q4_0),
    ("q4_1", Encoding::Q4_1),
    ("q5_0", Encoding::Q5_0),
    ("q5_1", Encoding::Q5_1),
];

fn path(kind: &str) -> PathBuf {
    PathBuf::from(format!("{FOLDER}/gguf/{kind}.gguf"))
}

fn open(kind: &str) -> Gguf {
    Gguf::open(&path(kind)).unwrap_or_else(|error| panic!("{error}"))
}

/// The f32 tensors of a safetensors file.
fn floats(file: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(format!("{FOLDER}/{file}")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter();
    tensors
        .filter(|(_, view)| view.dtype() == Dtype::F32)
        .map(|(name, view)| {
            let values = view.data().as_chunks().0.iter();
            let values = values.map(|bytes| f32::from_le_bytes(*bytes)).collect();
            (name, (view.shape().to_vec(), values))
        })
        .collect()
}

/// Words and values of a whole tensor, read and decoded `step` rows at a time.
fn decoded(file: &Gguf, tensor: &GgufTensor, step: usize) -> (Vec<u32>, Vec<f32>) {
    let (encoding, cols) = (tensor.encoding(), tensor.cols());
    let (mut all_words, mut all_values, mut bytes) = (vec![], vec![], vec![]);
    for first in (0..tensor.rows()).step_by(step) {
        let rows = first..tensor.rows().min(first + step);
        let mut words = vec![0; rows.len() * encoding.row_words(cols).unwrap()];
        let mut values = vec![0.0; rows.len() * cols];
        file.read_rows(tensor, rows, &mut bytes).unwrap();
        encoding.from_ggml(&bytes, cols, &mut words).unwrap();
        encoding.decode(&words, cols, &mut values).unwrap();
        all_words.extend(words);
        all_values.extend(values);
    }
    (all_words, all_values)
}

/// Name of a tensor of a Llama model in Hugging Face's files.
fn hugging_face(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let of_layer = |part: &str| match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        other => panic!("{other}"),
    };
    match parts[..] {
        ["token_embd", "weight"] => "model.embed_tokens.weight".into(),
        ["output_norm", "weight"] => "model.norm.weight".into(),
        ["blk", layer, part, "weight"] => {
            format!("model.layers.{layer}.{}.weight", of_layer(part))
        }
        _ => panic!("{name}"),
    }
}

#[test]
fn first_rows_decode_to_the_recorded_values() {
    let reference = floats("reference.safetensors");
    let mut seen = vec![];
    for kind in ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "wide_k"] {
        let file = open(kind);
        let prefix = format!("{kind}.dequantised_row0.");
        let recorded: Vec<_> = reference
            .iter()
            .filter_map(|(name, (_, values))| Some((name.strip_prefix(&prefix)?, values)))
            .collect();
        assert!(recorded.len() >= 2, "{kind}: {} rows", recorded.len());
        for (name, want) in recorded {
            let tensor = file.tensor(name).unwrap();
            let mut bytes = vec![];
            file.read_rows(tensor, 0..1, &mut bytes).unwrap();
            let (encoding, cols) = (tensor.encoding(), tensor.cols());
            let mut words = vec![0; encoding.row_words(cols).unwrap()];
            encoding.from_ggml(&bytes, cols, &mut words).unwrap();
            let mut got = vec![0.0; cols];
            encoding.decode(&words, cols, &mut got).unwrap();
            assert_eq!(&got, want, "{kind}: {name}");
            seen.push(encoding);
        }
    }
    for encoding in Encoding::ALL {
        let quantised = encoding.block() > 1;
        assert_eq!(seen.contains(&encoding), quantised, "{encoding}");
    }
}

#[test]
fn weights_are_those_of_the_safetensors_file_with_rotary_rows_in_order() {
    let want = floats("model.safetensors");
    let file = open("f32");
    assert_eq!(file.tensors().count(), want.len());
    let head_dim = file.size("llama.rope.dimension_count").unwrap();
    let mut permuted = 0;
    for tensor in file.tensors() {
        let (shape, want) = &want[&hugging_face(tensor.name())];
        assert_eq!(tensor.shape(), shape, "{}", tensor.name());
        let (_, got) = decoded(&file, tensor, 5);
        let cols = tensor.cols();
        let rotary = tensor.name().contains("attn_q.") || tensor.name().contains("attn_k.");
        permuted += usize::from(rotary && got != *want);
        for (row, want) in want.chunks(cols).enumerate() {
            let row = if rotary {
                rotary_source(head_dim, row)
            } else {
                row
            };
            assert!(got[row * cols..][..cols] == *want, "{}", tensor.name());
        }
    }
    assert!(permuted > 0, "no rows are out of order");
}

/// The files were made by gguf 0.19, whose quantisers follow ggml's reference.
#[test]
fn quantisers_give_the_recorded_blocks() {
    let plain = open("f32");
    for (kind, encoding) in FILES {
        let file = open(kind);
        let of_kind: Vec<_> = file
            .tensors()
            .filter(|tensor| tensor.encoding() == encoding && tensor.shape().len() == 2)
            .collect();
        assert!(of_kind.len() > 10, "{kind}: {} tensors", of_kind.len());
        for tensor in of_kind {
            let (want, _) = decoded(&file, tensor, tensor.rows());
            let (_, values) = decoded(&plain, plain.tensor(tensor.name()).unwrap(), 7);
            let mut words = vec![0; want.len()];
            match encoding.encode(&values, tensor.cols(), &mut words) {
                Ok(()) => assert!(words == want, "{kind}: {}", tensor.name()),
                Err(error) => {
                    assert_eq!(error, EncodingError::DecodeOnly { encoding });
                    assert!(kind.ends_with('1') || kind == "q5_0", "{kind}");
                }
            }
        }
    }
}

#[test]
fn metadata_is_read_by_type() {
    let file = open("q4_0");
    let config = std::fs::read_to_string(format!("{FOLDER}/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(file.version(), 3);
    assert_eq!(file.text("general.architecture").unwrap(), "llama");
    for (key, name) in [
        ("llama.block_count", "num_hidden_layers"),
        ("llama.embedding_length", "hidden_size"),
        ("llama.attention.head_count", "num_attention_heads"),
        ("llama.attention.head_count_kv", "num_key_value_heads"),
        ("llama.feed_forward_length", "intermediate_size"),
        ("llama.vocab_size", "vocab_size"),
    ] {
        assert_eq!(
            Some(file.size(key).unwrap() as u64),
            config[name].as_u64(),
            "{key}"
        );
    }
    let epsilon = file
        .float("llama.attention.layer_norm_rms_epsilon")
        .unwrap();
    assert!((epsilon / config["rms_norm_eps"].as_f64().unwrap() - 1.0).abs() < 1e-6);
    let vocab_size = file.size("llama.vocab_size").unwrap();
    let tokens = file.texts("tokenizer.ggml.tokens").unwrap();
    assert_eq!(tokens.len(), vocab_size);
    let types = file.integers("tokenizer.ggml.token_type").unwrap();
    assert_eq!(types.len(), vocab_size);
    assert!(file.keys().count() > 15);
}

#[test]
fn errors_name_file_key_and_type() {
    let file = open("f16");
    let message = |error: GgufError| error.to_string();
    assert_eq!(
        message(file.text("general.nothing").unwrap_err()),
        format!("{FOLDER}/gguf/f16.gguf has no key `general.nothing`, which the model needs")
    );
    assert_eq!(
        message(file.size("general.architecture").unwrap_err()),
        format!(
            "{FOLDER}/gguf/f16.gguf: key `general.architecture` is the text \"llama\", the model needs an integer that is not negative"
        )
    );
    assert!(message(file.tensor("output.weight").unwrap_err()).contains("`output.weight`"));
    let missing = Gguf::open("nowhere/x.gguf".as_ref()).unwrap_err();
    assert!(message(missing).starts_with("cannot read nowhere/x.gguf: "));
}

/// Writes a GGUF file of any contents.
struct Writer(Vec<u8>);

impl Writer {
    fn new(version: u32, tensors: u64, keys: u64) -> Writer {
        let mut writer = Writer(b"GGUF".to_vec());
        writer.u32(version).u64(tensors).u64(keys);
        writer
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Writer {
        self.0.extend(bytes);
        self
    }

    fn u32(&mut self, value: u32) -> &mut Writer {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Writer {
        self.bytes(&value.to_le_bytes())
    }

    fn text(&mut self, text: &str) -> &mut Writer {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    /// Adds a tensor of sizes in the order of the file.
    fn tensor(&mut self, name: &str, sizes: &[u64], kind: u32, offset: u64) -> &mut Writer {
        self.text(name).u32(sizes.len() as u32);
        for &size in sizes {
            self.u64(size);
        }
        self.u32(kind).u64(offset)
    }

    /// Pads to a multiple of 32 and adds zeros.
    fn data(&mut self, bytes: usize) -> &mut Writer {
        self.0.resize(self.0.len().next_multiple_of(32) + bytes, 0);
        self
    }

    fn parse(&self) -> Result<Gguf, GgufError> {
        Gguf::parse(self.0.clone(), "x.gguf")
    }

    #[track_caller]
    fn refused(&self, part: &str) {
        let message = self.parse().unwrap_err().to_string();
        assert!(message.starts_with("x.gguf"), "{message}");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn all_types_of_values_are_read() {
    let mut file = Writer::new(2, 0, 13);
    file.text("u8").u32(0).bytes(&[200]);
    file.text("i8").u32(1).bytes(&[0xfe]);
    file.text("u16").u32(2).bytes(&[1, 2]);
    file.text("i16").u32(3).bytes(&[0xff, 0xff]);
    file.text("u32").u32(4).u32(u32::MAX);
    file.text("i32").u32(5).u32(u32::MAX);
    file.text("f32").u32(6).u32(1.5f32.to_bits());
    file.text("yes").u32(7).bytes(&[1]);
    file.text("text").u32(8).text("piñata");
    file.text("u64").u32(10).u64(u64::MAX);
    file.text("i64").u32(11).u64(u64::MAX);
    file.text("f64").u32(12).u64((-2.5f64).to_bits());
    file.text("none").u32(9).u32(8).u64(0);
    let file = file.parse().unwrap();
    assert_eq!(file.version(), 2);
    assert_eq!(file.size("u8").unwrap(), 200);
    assert_eq!(file.metadata("i8"), Some(&Value::I8(-2)));
    assert_eq!(file.size("u16").unwrap(), 513);
    assert!(file.size("i16").is_err());
    assert_eq!(file.size("u32").unwrap(), u32::MAX as usize);
    assert_eq!(file.metadata("i32"), Some(&Value::I32(-1)));
    assert_eq!(file.float("f32").unwrap(), 1.5);
    assert!(file.flag("yes").unwrap());
    assert_eq!(file.text("text").unwrap(), "piñata");
    assert_eq!(file.metadata("u64"), Some(&Value::U64(u64::MAX)));
    assert!(file.size("u64").is_err());
    assert_eq!(file.metadata("i64"), Some(&Value::I64(-1)));
    assert_eq!(file.float("f64").unwrap(), -2.5);
    assert!(file.texts("none").unwrap().is_empty());
    assert!(file.integers("none").is_err());
}

#[test]
fn arrays_of_all_types_are_read() {
    let mut file = Writer::new(3, 0, 12);
    let sizes: [(u32, usize); 11] = [
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 2),
        (4, 4),
        (5, 4),
        (6, 4),
        (7, 1),
        (10, 8),
        (11, 8),
        (12, 8),
    ];
    for (kind, size) in sizes {
        file.text(&format!("array {kind}")).u32(9).u32(kind).u64(3);
        file.bytes(&vec![0; 2 * size]).bytes(&vec![0xff; size]);
    }
    file.text("texts").u32(9).u32(8).u64(2).text("a").text("");
    let file = file.parse().unwrap();
    let integers = |kind: u32| file.integers(&format!("array {kind}"));
    assert_eq!(integers(0).unwrap(), [0, 0, 255]);
    assert_eq!(integers(2).unwrap(), [0, 0, 65535]);
    assert_eq!(integers(4).unwrap(), [0, 0, u32::MAX.into()]);
    for kind in [1, 3, 5, 11] {
        assert_eq!(integers(kind).unwrap(), [0, 0, -1]);
    }
    assert!(integers(10).is_err(), "beyond i64");
    for kind in [6, 12] {
        let floats = file.floats(&format!("array {kind}")).unwrap();
        assert!(floats[..2] == [0.0, 0.0] && floats[2].is_nan());
    }
    assert_eq!(
        file.metadata("array 7"),
        Some(&Value::Array(Array::Bool(vec![false, false, true])))
    );
    assert_eq!(file.texts("texts").unwrap(), ["a", ""]);
}

#[test]
fn tensors_are_placed_behind_the_header() {
    let mut file = Writer::new(3, 3, 1);
    file.text("general.alignment").u32(4).u32(64);
    file.tensor("b", &[64, 3], 8, 128);
    file.tensor("a", &[5, 2, 3], 0, 0);
    file.tensor("scalar", &[], 0, 384);
    let header = file.0.len() as u64;
    file.0.resize(header.next_multiple_of(64) as usize + 388, 7);
    let file = file.parse().unwrap();
    let a = file.tensor("a").unwrap();
    assert_eq!((a.shape(), a.rows(), a.cols()), (&[3, 2, 5][..], 6, 5));
    let start = header.next_multiple_of(64);
    assert_eq!(a.bytes(), start..start + 120);
    let b = file.tensor("b").unwrap();
    assert_eq!(b.bytes(), start + 128..start + 128 + 3 * 68);
    assert_eq!((b.encoding(), b.row_bytes()), (Encoding::Q8_0, 68));
    let mut bytes = vec![1; 1000];
    file.read_rows(b, 1..3, &mut bytes).unwrap();
    assert_eq!(bytes, vec![7; 136]);
    let scalar = file.tensor("scalar").unwrap();
    assert_eq!(
        (scalar.rows(), scalar.cols(), scalar.shape()),
        (1, 1, &[][..])
    );
}

#[test]
#[should_panic(expected = "rows 0..4 of tensor `a`, which has 3")]
fn rows_behind_the_last_are_a_mistake() {
    let mut file = Writer::new(3, 1, 0);
    file.tensor("a", &[2, 3], 0, 0).data(24);
    let file = file.parse().unwrap();
    let a = file.tensor("a").unwrap();
    let _ = file.read_rows(a, 0..4, &mut vec![]);
}

#[test]
fn other_files_are_told_apart() {
    let refused = |bytes: &[u8], part: &str| Writer(bytes.to_vec()).refused(part);
    refused(b"", "is not a GGUF file");
    refused(b"GGU", "is not a GGUF file");
    refused(b"PK\x03\x04 and more", "is not a GGUF file");
    refused(b"GGUF\x03", "the version: the file ends before it does");
    refused(b"GGUF\x01\0\0\0", "of version 1; versions 2 and 3");
    refused(b"GGUF\0\0\0\x03", "big-endian");
}

#[test]
fn counts_and_lengths_beyond_the_file_are_refused() {
    Writer::new(3, 0, u64::MAX).refused("it announces 18446744073709551615 elements");
    Writer::new(3, u64::MAX, 0).refused("the number of tensors: it announces");
    let mut key = Writer::new(3, 0, 1);
    key.u64(u64::MAX).bytes(&[0; 20]);
    key.refused("key 0: the file ends before it does");
    for (kind, count) in [(0, 1 << 40), (12, 1 << 61), (8, 1 << 40), (7, u64::MAX)] {
        let mut array = Writer::new(3, 0, 1);
        array.text("a").u32(9).u32(kind).u64(count).bytes(&[0; 64]);
        array.refused("key `a`: it announces");
    }
    let mut text = Writer::new(3, 0, 1);
    text.text("a").u32(8).u64(1 << 62).bytes(&[0; 8]);
    text.refused("key `a`: the file ends");
}

#[test]
fn values_without_sense_are_refused() {
    let one = |fill: &dyn Fn(&mut Writer)| {
        let mut file = Writer::new(3, 0, 1);
        file.text("a");
        fill(&mut file);
        file.bytes(&[0; 16]);
        file
    };
    one(&|f| _ = f.u32(13)).refused("key `a`: there is no type of values 13");
    one(&|f| _ = f.u32(9).u32(99).u64(0)).refused("there is no type of values 99");
    one(&|f| _ = f.u32(9).u32(9).u64(1)).refused("arrays of arrays");
    one(&|f| _ = f.u32(8).u64(2).bytes(&[0xff, 0xfe])).refused("it is not UTF-8");
    let mut twice = Writer::new(3, 0, 2);
    twice
        .text("a")
        .u32(7)
        .bytes(&[1])
        .text("a")
        .u32(7)
        .bytes(&[1]);
    twice.refused("key `a`: it occurs twice");
    for (alignment, kind) in [(0, 4), (48, 4), (u32::MAX, 5), (1 << 31, 4)] {
        let mut file = Writer::new(3, 0, 1);
        file.text("general.alignment").u32(kind).u32(alignment);
        file.refused("is not a power of two");
    }
    let mut file = Writer::new(3, 0, 1);
    file.text("general.alignment").u32(6).u32(0);
    file.refused("key `general.alignment` is the float 0, the model needs an integer");
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let one = |sizes: &[u64], kind: u32, offset: u64| {
        let mut file = Writer::new(3, 1, 0);
        file.tensor("w", sizes, kind, offset).data(128);
        file
    };
    assert!(one(&[32], 0, 0).parse().is_ok());
    assert!(one(&[16], 0, 64).parse().is_ok());
    one(&[33], 0, 0).refused("tensor `w`: it ends 4 bytes behind the end of the file");
    one(&[32], 0, 32).refused("tensor `w`: it ends 32 bytes behind");
    one(&[1], 0, 8).refused("tensor `w`: its offset 8 is not a multiple");
    one(&[1], 0, u64::MAX - 31).refused("tensor `w`: its size overflows");
    one(&[1 << 62], 0, 0).refused("its size overflows");
    one(&[1 << 31, 1 << 31, 4], 1, 0).refused("its size overflows");
    one(&[u64::MAX, 1], 30, 0).refused("its size overflows");
    one(&[4, 0], 0, 0).refused("an axis of length 0");
    one(&[1; 5], 0, 0).refused("5 axes");
    one(&[48], 2, 0).refused("Q4_0 stores columns in blocks of 32, but a row has 48");
    for (kind, name) in [
        (10, "the format Q2_K"),
        (11, "the format Q3_K"),
        (16, "the format IQ2_XXS"),
        (26, "the format I32"),
        (999, "the format number 999"),
    ] {
        one(&[256], kind, 0).refused(name);
    }
    let mut overlap = Writer::new(3, 2, 0);
    overlap.tensor("a", &[16], 0, 0).tensor("b", &[16], 0, 32);
    overlap
        .data(128)
        .refused("tensor `b`: it overlaps tensor `a`");
    let mut twice = Writer::new(3, 2, 0);
    twice.tensor("a", &[8], 0, 0).tensor("a", &[8], 0, 32);
    twice.data(128).refused("tensor `a`: it occurs twice");
}

#[test]
fn a_file_cut_off_anywhere_in_its_header_is_refused() {
    let mut file = Writer::new(3, 1, 3);
    file.text("a").u32(9).u32(8).u64(2).text("one").text("two");
    file.text("b").u32(12).u64(0);
    file.text("c").u32(8).text("text");
    file.tensor("w", &[32, 2], 2, 0).data(36);
    assert!(file.parse().is_ok());
    for length in 0..file.0.len() {
        Writer(file.0[..length].to_vec()).refused("GGUF");
    }
}

/// Reads everything that a file offers.
fn read_all(file: &Gguf) {
    let mut bytes = vec![];
    for tensor in file.tensors() {
        file.read_rows(tensor, 0..tensor.rows(), &mut bytes)
            .unwrap();
        assert_eq!(
            bytes.len() as u64,
            tensor.bytes().end - tensor.bytes().start
        );
        let (encoding, cols) = (tensor.encoding(), tensor.cols());
        let mut words = vec![0; tensor.rows() * encoding.row_words(cols).unwrap()];
        encoding.from_ggml(&bytes, cols, &mut words).unwrap();
    }
    for (key, value) in file.keys() {
        let _ = (file.size(key), file.floats(key), value.to_string());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn corrupted_files_give_a_value_or_an_error(
        kind in 0..FILES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = std::fs::read(path(FILES[kind].0)).unwrap();
        // most of a file is its data: changes are to hit the header
        let header = bytes.len().min(12_000);
        for (place, byte) in changes {
            bytes[place.index(header)] = byte;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(file) = Gguf::parse(bytes, "corrupted") {
            read_all(&file);
        }
    }

    #[test]
    fn rotary_rows_are_a_permutation(heads in 1..5usize, half in 1..40usize) {
        let head_dim = 2 * half;
        let mut rows: Vec<usize> = (0..heads * head_dim).map(|row| rotary_source(head_dim, row)).collect();
        for (row, source) in rows.iter().enumerate() {
            let (head, row) = (row / head_dim, row % head_dim);
            let (i, h) = (row % half, row / half);
            prop_assert_eq!(*source, head * head_dim + 2 * i + h);
        }
        rows.sort();
        prop_assert!(rows.into_iter().eq(0..heads * head_dim));
    }
}
