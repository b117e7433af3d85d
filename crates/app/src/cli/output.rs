//! What commands print for people.

use std::io::{self, Write};
use std::path::PathBuf;

/// RFC 3339 in UTC; empty for no time.
pub fn time(timestamp_ns: u64) -> String {
    if timestamp_ns == 0 {
        return String::new();
    }
    jiff::Timestamp::from_nanosecond(i128::from(timestamp_ns)).map(|t| t.to_string()).unwrap_or_default()
}

/// One line of at most `width` characters, without control characters: log text must not steer the
/// terminal.
pub fn line(text: &str, width: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = clean.clone().take(width).collect();
    if clean.count() > width {
        line.pop();
        line.push('…');
    }
    line
}

/// Paths for a message.
pub fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Columns as wide as they need to be; the last one is not padded.
pub fn table<const N: usize>(out: &mut impl Write, head: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let mut widths = head.map(|h| h.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let last = row.len().saturating_sub(1);
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            if column == last {
                writeln!(out, "{cell}")?;
            } else {
                write!(out, "{cell:width$}  ")?;
            }
        }
    }
    Ok(())
}

/// Whether output failed because its reader has seen enough (`| head`), which is no error.
pub fn reader_left(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_text_cannot_steer_the_terminal() {
        assert_eq!(line("a\u{1b}[31m\nb", 20), "a [31m b");
        assert_eq!(line("abcdef", 4), "abc…");
    }

    #[test]
    fn a_table_lines_up() {
        let mut out = Vec::new();
        table(&mut out, ["A", "B"], &[["long".into(), "x".into()], ["s".into(), "yy".into()]]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A     B\nlong  x\ns     yy\n");
    }
}
