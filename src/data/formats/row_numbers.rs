//! Row and line numbers of CSV records.

/// Counts the rows and lines of a CSV file as spreadsheets and editors do. The CSV reader skips
/// blank lines, which both of them count.
pub struct RowNumbers<'a> {
    bytes: &'a [u8],
    /// End of the bytes counted so far.
    at: usize,
    row: usize,
    line: usize,
}

impl RowNumbers<'_> {
    pub fn new(bytes: &[u8]) -> RowNumbers<'_> {
        RowNumbers {
            bytes,
            at: 0,
            row: 0,
            line: 1,
        }
    }

    /// Counts the line breaks between the end of the last count and `to`.
    fn breaks(&mut self, to: usize) -> usize {
        let ends_line = |i: &usize| match self.bytes[*i] {
            b'\n' => true,
            b'\r' => self.bytes.get(i + 1) != Some(&b'\n'),
            _ => false,
        };
        let count = (self.at..to).filter(ends_line).count();
        self.at = to;
        count
    }

    /// Returns the row and the line where the next record starts, both counted from 1.
    pub fn next(&mut self, record: &csv::ByteRecord) -> (usize, usize) {
        // the reader's position is the end of the previous record, or between the two bytes of
        // its line end
        let mut end = record
            .position()
            .map_or(0, |position| position.byte() as usize);
        if end > 0 && self.bytes[end - 1] == b'\r' && self.bytes.get(end) == Some(&b'\n') {
            end += 1;
        }
        let blank = self.bytes[end..]
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        self.line += self.breaks(end);
        let blank = self.breaks(end + blank);
        self.line += blank;
        self.row += blank + 1;
        (self.row, self.line)
    }
}
