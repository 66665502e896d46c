//! Reads at given positions, from a file or from memory.

use std::fs::File;
use std::io;

/// Bytes that can be read at any position.
#[derive(Debug)]
pub(super) struct Source {
    kind: Kind,
    size: u64,
}

#[derive(Debug)]
enum Kind {
    File(File),
    Bytes(Vec<u8>),
}

impl Source {
    /// Returns the bytes of a file.
    pub fn file(file: File) -> io::Result<Source> {
        let size = file.metadata()?.len();
        Ok(Source {
            kind: Kind::File(file),
            size,
        })
    }

    /// Returns bytes in memory.
    pub fn bytes(bytes: Vec<u8>) -> Source {
        Source {
            size: bytes.len() as u64,
            kind: Kind::Bytes(bytes),
        }
    }

    /// Returns the number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` with the bytes from `position` on.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &self.kind {
            Kind::File(file) => read_file(file, position, buffer),
            Kind::Bytes(bytes) => {
                let start = usize::try_from(position).ok();
                let part = start.and_then(|start| bytes.get(start..)?.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

#[cfg(unix)]
fn read_file(file: &File, position: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, position)
}

#[cfg(windows)]
fn read_file(file: &File, mut position: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                position += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(not(any(unix, windows)))]
fn read_file(mut file: &File, position: u64, buffer: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek};
    file.seek(io::SeekFrom::Start(position))?;
    file.read_exact(buffer)
}
