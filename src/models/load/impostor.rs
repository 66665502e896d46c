//! Files that are something else than their name says.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::CheckpointError;

/// First line of the text that Git keeps in place of a large file (git-lfs/spec).
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// First bytes of a zip archive, as which `torch.save` writes.
const ZIP: &[u8] = b"PK\x03\x04";

/// Returns what a file is that could not be read as what it should be, if it is a Git LFS pointer or
/// a Python pickle.
pub(super) fn unmask(path: &Path) -> Option<CheckpointError> {
    let mut start = vec![];
    let file = File::open(path).ok()?;
    file.take(64).read_to_end(&mut start).ok()?;
    let path = path.display().to_string();
    if start.starts_with(LFS) {
        return Some(CheckpointError::LfsPointer { path });
    }
    (start.starts_with(ZIP) || is_pickle(&start)).then_some(CheckpointError::Pickle { path })
}

/// Whether bytes begin a pickle of protocol 2 to 5.
///
/// A safetensors file may begin with the same two bytes, the low ones of its header's length; but
/// after that length comes a brace.
fn is_pickle(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..]) && start.get(8).is_some_and(|&next| next != b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_and_pickles_are_told_from_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let found = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            unmask(&path).map(|error| error.to_string())
        };
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
        let text = found(pointer).unwrap();
        assert!(
            text.contains("model.safetensors") && text.contains("git lfs pull"),
            "{text}"
        );
        // torch.save, now and before 1.6, and pickle.dumps
        for bytes in [
            &b"PK\x03\x04\0\0\x08\x08\0\0"[..],
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
            b"\x80\x04\x95\x1f\0\0\0\0\0\0\0}\x94\x8c\x01w",
        ] {
            let text = found(bytes);
            assert!(
                text.is_some_and(|text| text.contains("pickle")),
                "{bytes:?}"
            );
        }
        // a header of 0x0280 bytes
        assert_eq!(found(b"\x80\x02\0\0\0\0\0\0{}"), None);
        assert_eq!(found(b""), None);
        assert!(unmask(dir.path()).is_none());
    }
}
