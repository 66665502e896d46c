//! Quotes in CSV files that are never closed.

use std::borrow::Cow;

/// A quote that opens a field and is never closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenQuote {
    /// Row in which it opens, counted from 1 as spreadsheets count.
    pub row: usize,
    /// Line in which it opens, counted from 1.
    pub line: usize,
    /// Number of further lines that it would take in.
    pub lines: usize,
}

/// Removes the rows in which a quote opens that is never closed, and leaves blank lines in their
/// place, so that the rows after them are read, with their own numbers.
///
/// A quote counts as never closed if the file ends first, or if what looks like its end is followed
/// by more text, as where the next quote of another row opens.
pub fn without_open_quotes(bytes: &[u8], delimiter: u8) -> (Cow<'_, [u8]>, Vec<OpenQuote>) {
    if !bytes.contains(&b'"') {
        return (Cow::Borrowed(bytes), vec![]);
    }
    let mut scan = Scan {
        bytes,
        delimiter,
        at: 0,
    };
    let (mut kept, mut open) = (vec![], vec![]);
    // start of the bytes that are kept next
    let mut from = 0;
    let (mut row, mut line) = (1, 1);
    while scan.at < bytes.len() {
        let start = scan.at;
        match scan.record() {
            Ok(()) => {
                line += breaks(&bytes[start..scan.at]);
                row += 1;
            }
            Err((quote, end)) => {
                kept.extend(&bytes[from..start]);
                // the lines before the quote belong to fields that are closed
                let before = breaks(&bytes[start..quote]);
                let next = line_end(bytes, quote);
                let reached = &bytes[next..end.max(next)];
                let last = (end == bytes.len() && ends_line(reached)) as usize;
                open.push(OpenQuote {
                    row,
                    line: line + before,
                    lines: breaks(reached).saturating_sub(last),
                });
                line += before;
                row += before + 1;
                kept.extend(std::iter::repeat_n(b'\n', before));
                (from, scan.at) = (next, next);
                // the end of this line
                scan.line_break();
                line += (scan.at > next) as usize;
            }
        }
    }
    if open.is_empty() {
        return (Cow::Borrowed(bytes), open);
    }
    kept.extend(&bytes[from..]);
    (Cow::Owned(kept), open)
}

/// Whether a text ends with a line break.
fn ends_line(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n") || bytes.ends_with(b"\r")
}

/// Returns the index of the line break at or after `from`, or the end.
fn line_end(bytes: &[u8], from: usize) -> usize {
    let rest = bytes[from..].iter();
    let length = rest.take_while(|byte| !matches!(byte, b'\r' | b'\n'));
    from + length.count()
}

/// Counts line breaks: `\n`, `\r\n` or `\r`.
fn breaks(bytes: &[u8]) -> usize {
    let ends = |(index, byte): (usize, &u8)| match byte {
        b'\n' => true,
        b'\r' => bytes.get(index + 1) != Some(&b'\n'),
        _ => false,
    };
    bytes.iter().enumerate().filter(|&it| ends(it)).count()
}

/// Reads records as the CSV reader does: a quote has a meaning only at the start of a field.
struct Scan<'a> {
    bytes: &'a [u8],
    delimiter: u8,
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes one line break.
    fn line_break(&mut self) {
        if self.peek() == Some(b'\r') {
            self.at += 1;
        } else if self.peek() == Some(b'\n') {
            self.at += 1;
            return;
        }
        if self.at > 0 && self.bytes[self.at - 1] == b'\r' && self.peek() == Some(b'\n') {
            self.at += 1;
        }
    }

    /// Passes a record and its line break.
    ///
    /// # Errors
    /// Where the quote is that is never closed, and how far it would reach.
    fn record(&mut self) -> Result<(), (usize, usize)> {
        loop {
            if self.peek() == Some(b'"') {
                self.quoted()?;
            }
            // the rest of the field, without meaning of quotes
            while self
                .peek()
                .is_some_and(|byte| byte != self.delimiter && !matches!(byte, b'\r' | b'\n'))
            {
                self.at += 1;
            }
            match self.peek() {
                Some(byte) if byte == self.delimiter => self.at += 1,
                Some(_) => {
                    self.line_break();
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    /// Passes the quotes around a field.
    fn quoted(&mut self) -> Result<(), (usize, usize)> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err((start, self.at)),
                Some(b'"') if self.bytes.get(self.at + 1) == Some(&b'"') => self.at += 2,
                Some(b'"') => break,
                Some(_) => self.at += 1,
            }
        }
        let end = self.at;
        self.at += 1;
        let after = self.bytes[self.at..].iter().find(|byte| **byte != b' ');
        let closed =
            after.is_none_or(|&byte| byte == self.delimiter || matches!(byte, b'\r' | b'\n'));
        if !closed && breaks(&self.bytes[start..end]) > 0 {
            return Err((start, end));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_row_in_which_a_quote_opens() {
        let found = |text: &str| {
            let (kept, open) = without_open_quotes(text.as_bytes(), b',');
            let open: Vec<_> = open
                .iter()
                .map(|open| (open.row, open.line, open.lines))
                .collect();
            (String::from_utf8(kept.into_owned()).unwrap(), open)
        };
        let same = |text: &str| assert_eq!(found(text), (text.to_owned(), vec![]), "{text:?}");
        same("a,b\n1,2\n");
        same("a,b\n\"1\n2\",\"3 \"\"4\"\"\"\n\n5,6\" 7\n");
        same("a,\"b\" c\n1,\"2\" \n");
        assert_eq!(
            found("a,b\n1,\"2\n3,4\n5,6\n"),
            ("a,b\n\n3,4\n5,6\n".into(), vec![(2, 2, 2)])
        );
        // no line break at the end
        assert_eq!(found("a,b\n1,\"2\n3,4").1, [(2, 2, 1)]);
        assert_eq!(found("a,b\n1,\"2").1, [(2, 2, 0)]);
        // closed by the next quote that opens
        assert_eq!(
            found("a,b\r\n1,\"2\r\n3,\"4, 4\"\r\n5,6\r\n"),
            ("a,b\r\n\r\n3,\"4, 4\"\r\n5,6\r\n".into(), vec![(2, 2, 1)])
        );
        // after a field of two lines, and a blank line
        assert_eq!(
            found("a,b\n\n\"1\n1\",\"2\n3,4\n"),
            ("a,b\n\n\n\n3,4\n".into(), vec![(3, 4, 1)])
        );
        // two of them
        assert_eq!(found("a,b\n1,\"2\n3,\"4\n5,6\n").1, [(2, 2, 1), (3, 3, 1)]);
        assert_eq!(found("\"").1, [(1, 1, 0)]);
    }
}
