//! Reader of GGUF files: metadata, table of tensors, and rows of every format.
#![no_main]

use seemore::models::checkpoint::Gguf;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Gguf::parse(bytes.to_vec(), "fuzzed") else {
        return;
    };
    let mut read = 0;
    let mut row = vec![];
    for tensor in file.tensors() {
        read += tensor.bytes().end - tensor.bytes().start;
        let (encoding, cols) = (tensor.encoding(), tensor.cols());
        let mut words = vec![0; encoding.row_words(cols).unwrap()];
        let mut values = vec![0.0; cols];
        for at in 0..tensor.rows() {
            file.read_rows(tensor, at..at + 1, &mut row).unwrap();
            encoding.from_ggml(&row, cols, &mut words).unwrap();
            encoding.decode(&words, cols, &mut values).unwrap();
        }
    }
    assert!(read <= bytes.len() as u64);
    for (key, value) in file.keys() {
        let _ = (file.size(key), file.integers(key), file.floats(key), file.texts(key), value.to_string());
    }
});
