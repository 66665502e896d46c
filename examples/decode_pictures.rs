//! Decodes all pictures in the given files and folders, and prints a line for each: `PATH: ok
//! 32x32` or `PATH: refused: REASON`. Files without the extension of a picture are skipped.
//!
//! Fails if decoding panics, or if a valid picture of PngSuite is refused. The names of its invalid
//! pictures start with an x.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use seemore::image::{Picture, PictureError};

/// Extensions of picture files, supported or not.
const ENDINGS: &str = "apng avif blp bmp bufr bw cur dcx dds dib emf eps fit fits fli ftc ftu gbr gif grib h5 hdf icns ico im iim j2c j2k jfif \
    jp2 jpc jpe jpeg jpf jpg jpx mic mpo mpeg mpg msp palm pbm pcd pcx pfm pgm png pnm ppm ps psd pxr qoi ras rgb rgba sgi spider tga tif tiff \
    webp wmf xbm xpm xvthumb";

fn main() -> ExitCode {
    let mut files = vec![];
    std::env::args_os()
        .skip(1)
        .for_each(|path| pictures(Path::new(&path), &mut files));
    if files.is_empty() {
        eprintln!("usage: decode_pictures FILE|DIR..");
        return ExitCode::from(2);
    }
    files.sort();
    let mut failures = vec![];
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for path in &files {
        // printed first, so that a crash can be attributed
        print!("{}: ", path.display());
        let _ = std::io::stdout().flush();
        let valid = path
            .components()
            .any(|part| part.as_os_str().eq_ignore_ascii_case("pngsuite"))
            && path.extension().is_some_and(|ending| ending == "png")
            && path
                .file_name()
                .is_some_and(|name| !name.to_string_lossy().starts_with('x'));
        let kind = match std::panic::catch_unwind(|| Picture::open(path)) {
            Ok(Ok(picture)) => {
                println!("ok {}x{}", picture.width, picture.height);
                "decoded"
            }
            Ok(Err(error)) => {
                println!("refused: {}", reason(&error));
                if valid {
                    failures.push(format!("{} is valid", path.display()));
                }
                kind(&error)
            }
            Err(_) => {
                println!("panicked");
                failures.push(format!("{} panicked", path.display()));
                "panicked"
            }
        };
        *counts.entry(kind.into()).or_default() += 1;
        if path
            .components()
            .any(|part| part.as_os_str().eq_ignore_ascii_case("pngsuite"))
        {
            *counts
                .entry(format!(
                    "of PngSuite, {}: {kind}",
                    if valid { "valid" } else { "broken" }
                ))
                .or_default() += 1;
        }
    }
    println!("\n{} files", files.len());
    counts
        .iter()
        .for_each(|(kind, count)| println!("{count} {kind}"));
    failures
        .iter()
        .for_each(|failure| println!("FAILED: {failure}"));
    ExitCode::from(u8::from(!failures.is_empty()))
}

fn pictures(path: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(path) else {
        files.push(path.to_owned());
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let ending = path
            .extension()
            .map(|ending| ending.to_string_lossy().to_lowercase());
        if path.is_dir()
            || ending.is_some_and(|ending| ENDINGS.split_whitespace().any(|known| known == ending))
        {
            pictures(&path, files);
        }
    }
}

fn inner(error: &PictureError) -> &PictureError {
    match error {
        PictureError::InFile { reason, .. } => inner(reason),
        other => other,
    }
}

/// Returns the reason without the path, on one line.
fn reason(error: &PictureError) -> String {
    inner(error).to_string().replace('\n', " ")
}

fn kind(error: &PictureError) -> &'static str {
    match inner(error) {
        PictureError::Read { .. } | PictureError::InFile { .. } => "cannot be read",
        PictureError::Empty => "empty",
        PictureError::Unknown | PictureError::Unreadable(_) => "in no supported format",
        PictureError::Absent { .. } => "a file that stands for the picture",
        PictureError::Unsupported { .. } => {
            "an unsupported variant of PNG, JPEG, WebP, GIF, BMP or TIFF"
        }
        PictureError::Failed { .. } => "too hard for the decoder",
        PictureError::Damaged(_) => "damaged",
        PictureError::CutOff => "cut off",
        PictureError::NoPixels { .. } => "without pixels",
        PictureError::TooLarge { .. } => "too large",
        PictureError::Memory(_) => "of too much memory",
    }
}
