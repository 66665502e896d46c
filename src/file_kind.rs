//! Kinds of files by their first bytes, for messages about files of an unexpected kind.

/// Number of bytes that tell the kind of a file.
pub const START: usize = 512;

/// Kind of a file that is neither text nor a picture that is decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Text that Git keeps in place of a large file.
    LfsPointer,
    /// Tar archive.
    Tar,
    /// Gzip-compressed file.
    Gzip,
    /// Zip archive, as which `torch.save` also writes.
    Zip,
    /// 7-Zip archive.
    SevenZip,
    /// RAR archive.
    Rar,
    /// Zstandard-compressed file.
    Zstandard,
    /// XZ-compressed file.
    Xz,
    /// Bzip2-compressed file.
    Bzip2,
    /// Parquet table.
    Parquet,
    /// Arrow table.
    Arrow,
    /// Python pickle.
    Pickle,
    /// HDF5 file.
    Hdf5,
    /// NumPy array.
    Numpy,
    /// SQLite database.
    Sqlite,
    /// GGUF model.
    Gguf,
    /// PDF document.
    Pdf,
    /// HTML page.
    Html,
    /// Picture or video, named.
    Media(&'static str),
}

/// First line of a Git LFS pointer (git-lfs/spec).
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// First bytes of files of a kind.
const STARTS: &[(&[u8], FileKind)] = &[
    (LFS, FileKind::LfsPointer),
    (b"\x1f\x8b\x08", FileKind::Gzip),
    (b"PK\x03\x04", FileKind::Zip),
    (b"PK\x05\x06", FileKind::Zip),
    (b"7z\xbc\xaf\x27\x1c", FileKind::SevenZip),
    (b"Rar!\x1a\x07", FileKind::Rar),
    (b"\x28\xb5\x2f\xfd", FileKind::Zstandard),
    (b"\xfd7zXZ\0", FileKind::Xz),
    (b"BZh", FileKind::Bzip2),
    (b"PAR1", FileKind::Parquet),
    (b"ARROW1", FileKind::Arrow),
    (b"\x89HDF\r\n\x1a\n", FileKind::Hdf5),
    (b"\x93NUMPY", FileKind::Numpy),
    (b"SQLite format 3\0", FileKind::Sqlite),
    (b"GGUF", FileKind::Gguf),
    (b"%PDF-", FileKind::Pdf),
    (b"\x89PNG\r\n\x1a\n", FileKind::Media("a PNG picture")),
    (b"\xff\xd8\xff", FileKind::Media("a JPEG picture")),
    (b"GIF87a", FileKind::Media("a GIF picture")),
    (b"GIF89a", FileKind::Media("a GIF picture")),
    (b"II*\0", FileKind::Media("a TIFF picture")),
    (b"MM\0*", FileKind::Media("a TIFF picture")),
    (b"8BPS", FileKind::Media("a Photoshop picture")),
    (
        b"\0\0\0\x0cJXL \r\n\x87\n",
        FileKind::Media("a JPEG XL picture"),
    ),
    (b"\xff\x0a", FileKind::Media("a JPEG XL picture")),
    (
        b"\0\0\0\x0cjP  \r\n\x87\n",
        FileKind::Media("a JPEG 2000 picture"),
    ),
    (b"\xff\x4f\xff\x51", FileKind::Media("a JPEG 2000 picture")),
    (
        b"\x1aE\xdf\xa3",
        FileKind::Media("a Matroska or WebM video"),
    ),
];

/// Brands of the ISO base media file format (ISO/IEC 14496-12) and what has them.
const BRANDS: &[(&[u8], &str)] = &[
    (b"avif", "an AVIF picture"),
    (b"avis", "an AVIF picture"),
    (b"heic", "a HEIC picture"),
    (b"heix", "a HEIC picture"),
    (b"heim", "a HEIC picture"),
    (b"heis", "a HEIC picture"),
    (b"hevc", "a HEIC picture"),
    (b"hevx", "a HEIC picture"),
    (b"crx ", "a raw photograph of a Canon camera"),
];

impl FileKind {
    /// Recognizes the kind by the first [`START`] bytes, or fewer if the file is shorter.
    pub fn of(start: &[u8]) -> Option<FileKind> {
        let known = STARTS.iter().find(|(bytes, _)| start.starts_with(bytes));
        if let Some((_, kind)) = known {
            // two letters of a text
            let text = *kind == FileKind::Bzip2 && !start.get(3).is_some_and(u8::is_ascii_digit);
            return Some(*kind).filter(|_| !text);
        }
        if start.get(257..262) == Some(b"ustar") {
            return Some(FileKind::Tar);
        }
        if start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP") {
            return Some(FileKind::Media("a WebP picture"));
        }
        if start.get(4..8) == Some(b"ftyp") {
            return Some(FileKind::Media(media(start)));
        }
        // After the length of its header a safetensors file, whose first bytes may be the same,
        // has a brace.
        if matches!(start, [0x80, 2..=5, ..]) && start.get(8).is_some_and(|&next| next != b'{') {
            return Some(FileKind::Pickle);
        }
        let text = start.trim_ascii_start();
        let begins = |word: &[u8]| {
            text.get(..word.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        if begins(b"<!doctype html") || begins(b"<html") {
            return Some(FileKind::Html);
        }
        let holds = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
        if begins(b"<svg") || begins(b"<?xml") && holds(b"<svg") {
            return Some(FileKind::Media("an SVG drawing"));
        }
        None
    }

    /// Returns a noun phrase with its article.
    pub fn name(self) -> &'static str {
        match self {
            FileKind::LfsPointer => {
                "a Git LFS pointer, which stands for a file that was not downloaded"
            }
            FileKind::Tar => "a tar archive",
            FileKind::Gzip => "gzip-compressed",
            FileKind::Zip => "a zip archive, or a PyTorch pickle, which is one",
            FileKind::SevenZip => "a 7-Zip archive",
            FileKind::Rar => "a RAR archive",
            FileKind::Zstandard => "Zstandard-compressed",
            FileKind::Xz => "XZ-compressed",
            FileKind::Bzip2 => "bzip2-compressed",
            FileKind::Parquet => "a Parquet table",
            FileKind::Arrow => "an Arrow table",
            FileKind::Pickle => "a Python pickle",
            FileKind::Hdf5 => "an HDF5 file",
            FileKind::Numpy => "a NumPy array",
            FileKind::Sqlite => "an SQLite database",
            FileKind::Gguf => "a GGUF model",
            FileKind::Pdf => "a PDF document",
            FileKind::Html => "an HTML page, as servers send in place of a file that they refuse",
            FileKind::Media(name) => name,
        }
    }

    /// Returns what to do with such a file where captions are wanted, in the imperative.
    pub fn advice(self) -> &'static str {
        match self {
            FileKind::LfsPointer => "fetch it with `git lfs pull`",
            FileKind::Tar | FileKind::Zip | FileKind::SevenZip | FileKind::Rar => {
                "unpack it and give the folder"
            }
            FileKind::Gzip | FileKind::Zstandard | FileKind::Xz | FileKind::Bzip2 => {
                "decompress it first"
            }
            FileKind::Html => "download it again",
            FileKind::Media(_) => {
                "give the folder that it is in, or a file that names it with its caption"
            }
            FileKind::Parquet => "use a build with the feature `parquet`",
            _ => "convert it to JSON Lines or CSV",
        }
    }
}

/// Names what an ISO base media file holds, by its major brand, else by the compatible ones.
fn media(start: &[u8]) -> &'static str {
    let size = start
        .first_chunk()
        .map_or(0, |size| u32::from_be_bytes(*size)) as usize;
    let list = &start[8..size.clamp(8, start.len())];
    let brands = list.chunks_exact(4).enumerate();
    // the second word is a version
    let brands = brands.filter(|(index, _)| *index != 1);
    for (_, brand) in brands {
        if let Some((_, name)) = BRANDS.iter().find(|(known, _)| *known == brand) {
            return name;
        }
    }
    match list.get(..4) {
        Some(b"mif1" | b"msf1") => "a HEIF picture",
        _ => "an MP4 video or another ISO media file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_files_by_their_first_bytes() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let cases: [(&[u8], Option<&str>); 16] = [
            (
                b"version https://git-lfs.github.com/spec/v1\noid",
                Some("Git LFS"),
            ),
            (&tar, Some("tar")),
            (b"\x1f\x8b\x08\0", Some("gzip")),
            (b"PAR1\x15\x04", Some("Parquet")),
            (b"\x80\x04\x95\x1f\0\0\0\0\0\0\0}\x94", Some("pickle")),
            (b"\x80\x02\0\0\0\0\0\0{}", None),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Some("HEIC")),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", Some("AVIF")),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", Some("HEIF")),
            (b"\0\0\0\x18ftypisom\0\0\0\0", Some("MP4")),
            (b" <!DOCTYPE HTML><title>404", Some("HTML")),
            (b"<?xml version=\"1.0\"?>\n<svg>", Some("SVG")),
            (b"BZh9", Some("bzip2")),
            (b"BZhang,a caption", None),
            (b"image,caption\n", None),
            (b"", None),
        ];
        for (start, wanted) in cases {
            let name = FileKind::of(start).map(FileKind::name);
            match wanted {
                Some(word) => assert!(
                    name.is_some_and(|name| name.contains(word)),
                    "{name:?} {word}"
                ),
                None => assert_eq!(name, None, "{start:?}"),
            }
        }
        // sizes beyond the bytes
        for length in 0..20 {
            let _ = FileKind::of(&b"\xff\xff\xff\xffftypheic\0\0\0\0mif1"[..length.min(20)]);
        }
    }
}
