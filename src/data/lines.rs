//! Text without pictures.

use std::path::Path;

use super::{DataError, Dataset, Sample};

impl Dataset {
    /// A sample without a picture for every line of a UTF-8 text file that is not blank; the side is 0.
    pub fn from_lines(path: &Path) -> Result<Dataset, DataError> {
        let name = path.display().to_string();
        let read = |reason: String| DataError::Read {
            path: name.clone(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| read(error.to_string()))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| read(format!("it is not UTF-8 text: {error}. Save it as UTF-8")))?;
        let line = |(number, line): (usize, &str)| {
            Sample::new(format!("{name} line {}", number + 1), vec![], line.trim())
        };
        let lines = text
            .trim_start_matches('\u{feff}')
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        let samples: Vec<Sample> = lines.map(line).collect();
        if samples.is_empty() {
            return Err(DataError::Format {
                path: name,
                what: "holds no text".into(),
            });
        }
        Ok(Dataset { side: 0, samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_samples_and_blank_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text.txt");
        std::fs::write(&path, "\u{feff}red heart\r\n\n  sun \n").unwrap();
        let dataset = Dataset::from_lines(&path).unwrap();
        let captions: Vec<&str> = dataset
            .samples
            .iter()
            .map(|sample| sample.caption.as_str())
            .collect();
        assert_eq!(
            (captions, dataset.samples[1].id.ends_with("text.txt line 3")),
            (vec!["red heart", "sun"], true)
        );
        std::fs::write(&path, " \n").unwrap();
        assert!(
            Dataset::from_lines(&path)
                .unwrap_err()
                .to_string()
                .contains("holds no text")
        );
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(
            Dataset::from_lines(&path)
                .unwrap_err()
                .to_string()
                .contains("UTF-8")
        );
    }
}
