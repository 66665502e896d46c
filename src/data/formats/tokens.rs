//! Token files of Flickr8k and Flickr30k (Hodosh et al. 2013, Young et al. 2014): `name.jpg#0`, a
//! tab and a caption on each line, several lines a picture.

use std::path::Path;

use super::super::error::{DataError, Problem};
use super::super::record::{Record, caption_text};
use super::layout::Layout;
use super::merge::Merge;
use super::picture_files::Pictures;
use super::{Definition, Input, Rows, picture_names, save};

pub const DEFINITION: Definition = Definition {
    name: "tokens",
    description: "token files of Flickr8k and Flickr30k",
    detect: |input| {
        let first = lines(input.text()).next();
        input.is_text() && first.is_some_and(|(_, line)| split(line).is_some())
    },
    read,
    write: Some(write),
};

/// Returns the lines that are not blank with their numbers.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = bytes.split(|&byte| byte == b'\n').zip(1..);
    lines
        .map(|(line, number)| (number, line.strip_suffix(b"\r").unwrap_or(line)))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// Splits a line into the name of the picture and the caption.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let tab = line.iter().position(|&byte| byte == b'\t')?;
    let (name, caption) = (line[..tab].trim_ascii(), &line[tab + 1..]);
    let hash = name.iter().rposition(|&byte| byte == b'#')?;
    let digits = &name[hash + 1..];
    let numbered = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    (hash > 0 && numbered).then_some((&name[..hash], caption))
}

fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    let mut rows = Merge::new(Pictures::new(input.path, layout));
    for (number, line) in lines(input.text()) {
        let id = format!("{} line {number}", input.name());
        let problem = |what: &str| Problem::new(&id, what);
        let Some((name, caption)) = split(line) else {
            let what = "it is not `picture#number`, a tab and a caption";
            rows.problem(problem(what));
            continue;
        };
        let (Ok(name), Ok(caption)) = (std::str::from_utf8(name), std::str::from_utf8(caption))
        else {
            rows.problem(problem("it is not UTF-8 text: save the file as UTF-8"));
            continue;
        };
        match caption_text(caption) {
            Some(caption) => rows.add(&id, &id, name, vec![caption], None),
            None => rows.problem(problem("the caption is empty")),
        }
    }
    Ok(rows.finish())
}

/// Writes each caption on one line.
fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let mut text = String::new();
    let mut broken = 0;
    for (name, record) in picture_names(path, records)?.iter().zip(records) {
        for (number, caption) in record.captions().enumerate() {
            let one: Vec<&str> = caption.split(['\n', '\r', '\t']).collect();
            broken += (one.len() > 1) as usize;
            text += &format!("{name}#{number}\t{}\n", one.join(" "));
        }
    }
    save(path, text.as_bytes())?;
    let mut notes = super::without_concepts(records);
    if broken > 0 {
        notes.push(format!(
            "{broken} captions had line breaks or tabs, which became spaces"
        ));
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::super::super::Loaded;
    use super::super::super::testing::{lines, load, png, written};
    use super::super::{Format, Layout, read};

    #[test]
    fn reads_captions_of_pictures_in_another_folder() {
        let text = "a.png#0\tA red one .\r\na.png#1\tRed #1 .\nb.png.1#0\tlost\nb#b.png#0\tTwo\ta\nno caption\na.png#2\t \n";
        let (dir, path) = written("Flickr8k.token.txt", text);
        let folder = dir.path().join("Flicker8k_Dataset");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("a.png"), png(1)).unwrap();
        std::fs::write(folder.join("b#b.png"), png(2)).unwrap();
        assert_eq!(read(&path, &Layout::default()).unwrap().0, Format::Tokens);
        let Loaded {
            dataset,
            problems,
            notes,
        } = load(&path, false).unwrap();
        let all: Vec<_> = dataset
            .samples
            .iter()
            .map(|sample| (sample.rgb[0], &sample.caption[..], sample.others.join("|")))
            .collect();
        assert_eq!(
            all,
            [
                (1, "A red one .", "Red #1 .".to_owned()),
                (2, "Two\ta", String::new())
            ]
        );
        let text = lines(&problems);
        for wanted in [
            "line 3: its picture",
            "line 5: it is not `picture#number`",
            "line 6: the caption is empty",
        ] {
            assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
        }
        assert!(notes[0].contains("2 pictures found in"), "{notes:?}");
    }
}
