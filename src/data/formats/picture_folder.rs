//! The pictures of a folder in the order in which people list them, and their caption files.

use std::path::{Path, PathBuf};

use super::super::error::{DataError, Problem};
use super::FILES;
use super::folder::{ENDINGS, Sidecars};
use super::folders::walk;
use super::layout::Layout;
use super::picture_files::{extension, is_decoded, is_picture};

/// A picture file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PictureFile {
    /// Path of the picture.
    pub path: PathBuf,
    /// Path below the folder that was searched, or the file name.
    pub below: PathBuf,
}

/// Pictures of a folder and its subfolders, and what was left out.
#[derive(Debug)]
pub struct PictureFolder {
    /// Pictures that can be decoded, in natural order: `img2` comes before `img10`.
    pub pictures: Vec<PictureFile>,
    /// Pictures of formats that are not decoded, such as AVIF.
    pub undecoded: Vec<PictureFile>,
    /// Number of files that are neither pictures nor caption files.
    pub others: usize,
    /// Number of files in deeper subfolders, which are not read.
    pub deeper: usize,
    /// Subfolders that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    sidecars: Sidecars,
}

impl PictureFolder {
    /// Lists the pictures in a folder and `depth` levels of its subfolders, all without a depth.
    ///
    /// # Errors
    /// The folder itself cannot be read.
    pub fn read(folder: &Path, depth: Option<usize>) -> Result<PictureFolder, DataError> {
        let walk = walk(folder, depth, FILES).map_err(|error| DataError::Read {
            path: folder.display().to_string(),
            reason: error.to_string(),
        })?;
        let sidecars = Sidecars::new(&walk.files, &Layout::default());
        let (pictures, rest): (Vec<PathBuf>, Vec<PathBuf>) =
            walk.files.into_iter().partition(|file| is_picture(file));
        let of_captions = |file: &&PathBuf| {
            extension(file).is_some_and(|extension| ENDINGS.contains(&&extension[..]))
        };
        let others = rest.iter().filter(|file| !of_captions(file)).count();
        let picture = |path: PathBuf| {
            let below = path.strip_prefix(folder).unwrap_or(&path).to_owned();
            PictureFile { path, below }
        };
        let mut pictures: Vec<PictureFile> = pictures.into_iter().map(picture).collect();
        pictures.sort_by(|a, b| {
            alphanumeric_sort::compare_path(&a.below, &b.below).then_with(|| a.cmp(b))
        });
        let (pictures, undecoded) = pictures
            .into_iter()
            .partition(|picture| is_decoded(&picture.path));
        Ok(PictureFolder {
            pictures,
            undecoded,
            others,
            deeper: walk.deeper,
            unreadable: walk
                .unreadable
                .into_iter()
                .map(|(folder, error)| (folder, error.to_string()))
                .collect(),
            sidecars,
        })
    }

    /// Returns the text file with the caption of a picture, if there is one.
    ///
    /// # Errors
    /// A file that several pictures of one stem claim.
    pub fn caption_file(&self, picture: &Path) -> Result<Option<&Path>, Problem> {
        self.sidecars.find(picture)
    }
}

/// Returns the pictures in a folder and `depth` levels of its subfolders, all without a depth, in
/// natural order, and the number of files that are deeper. Pictures of formats that are not decoded
/// come last.
///
/// # Errors
/// A folder that cannot be read.
pub fn pictures_in(
    folder: &Path,
    depth: Option<usize>,
) -> Result<(Vec<PictureFile>, usize), DataError> {
    let mut found = PictureFolder::read(folder, depth)?;
    if let Some((folder, reason)) = found.unreadable.first() {
        return Err(DataError::Read {
            path: folder.display().to_string(),
            reason: reason.clone(),
        });
    }
    found.pictures.append(&mut found.undecoded);
    Ok((found.pictures, found.deeper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_in_natural_order_and_the_rest_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "img10.png",
            "img2.png",
            "img1.tif",
            "a/img3.png",
            "a/img3.jpg",
            "a/img3.txt",
            "photo.avif",
            "notes.docx",
            "img2.txt",
            "img10.png.caption",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = PictureFolder::read(dir.path(), None).unwrap();
        let names: Vec<String> = found
            .pictures
            .iter()
            .map(|picture| picture.below.display().to_string())
            .collect();
        assert_eq!(
            names,
            [
                "a/img3.jpg",
                "a/img3.png",
                "img1.tif",
                "img2.png",
                "img10.png"
            ]
        );
        assert_eq!((found.undecoded.len(), found.others), (1, 1));
        let caption = |name: &str| found.caption_file(&dir.path().join(name));
        assert!(caption("img2.png").unwrap().unwrap().ends_with("img2.txt"));
        assert!(
            caption("img10.png")
                .unwrap()
                .unwrap()
                .ends_with("img10.png.caption")
        );
        assert_eq!(caption("img1.tif").unwrap(), None);
        let error = caption("a/img3.png").unwrap_err().to_string();
        assert!(
            error.contains("img3.txt may be its caption or that of img3.jpg"),
            "{error}"
        );
        let (all, _) = pictures_in(dir.path(), None).unwrap();
        assert!(all.len() == 6 && all[5].path.ends_with("photo.avif"));
    }
}
