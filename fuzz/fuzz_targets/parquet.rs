//! Reader of Parquet tables.
#![no_main]

use std::path::Path;

use seemore::data::{Captioned, Layout};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // unusable input gives an error or a list of problems, never a panic
    let _ = Captioned::parse(Path::new("nowhere/table.parquet"), bytes.to_vec(), &Layout::default());
});
