//! Parser of safetensors files: checkpoints, training states and state dicts of the original
//! seemore.
#![no_main]

use std::path::Path;

use seemore::models::checkpoint;
use seemore::models::seemore::import_original;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((values, metadata)) = checkpoint::parse(bytes, &|| "fuzzed".into()) {
        assert!(values.values().all(|(shape, data)| shape.iter().product::<usize>() == data.len()));
        let held: usize = values.values().map(|(_, data)| data.len()).sum();
        // every number takes at least two bytes
        assert!(2 * held <= bytes.len() && metadata.values().map(String::len).sum::<usize>() <= bytes.len());
        let _ = import_original(Path::new("fuzzed"), values);
    }
});
