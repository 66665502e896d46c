//! Files that are something else than their name says.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::CheckpointError;
use crate::file_kind::{FileKind, START};

/// Returns what a file is that could not be read as what it should be, if its first bytes tell.
pub(super) fn unmask(path: &Path) -> Option<CheckpointError> {
    let mut start = vec![];
    let file = File::open(path).ok()?;
    file.take(START as u64).read_to_end(&mut start).ok()?;
    let path = path.display().to_string();
    Some(match FileKind::of(&start)? {
        FileKind::LfsPointer => CheckpointError::LfsPointer { path },
        // `torch.save` writes a pickle in a zip archive
        FileKind::Zip | FileKind::Pickle => CheckpointError::Pickle { path },
        kind => CheckpointError::OtherKind {
            path,
            kind: kind.name(),
        },
    })
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
        let text = found(b"\x1f\x8b\x08\0\0\0").unwrap();
        assert!(text.contains("is gzip-compressed, not a model"), "{text}");
        // a header of 0x0280 bytes
        assert_eq!(found(b"\x80\x02\0\0\0\0\0\0{}"), None);
        assert_eq!(found(b""), None);
        assert!(unmask(dir.path()).is_none());
    }
}
