//! Finds the line of a rule file that an error speaks of. The parser reports places for broken
//! YAML only; for the rest the offending word is searched for in the text.

/// 1-based line for `message`, or of the document's first line if nothing fits.
pub fn line_of(text: &str, message: &str) -> usize {
    if let Some(line) = stated(message) {
        return line;
    }
    let lower = message.to_lowercase();
    if let Some(word) = quoted(message)
        && let Some(line) = line_with(text, |l| l.contains(&format!("|{word}")))
            .or_else(|| line_with(text, |l| l.trim_start().starts_with(&format!("{word}:"))))
            .or_else(|| line_with(text, |l| l.contains(word)))
    {
        return line;
    }
    for key in ["condition", "logsource", "detection", "level", "status"] {
        if lower.contains(key)
            && let Some(line) = line_with(text, |l| l.trim_start().starts_with(&format!("{key}:")))
        {
            return line;
        }
    }
    1
}

/// `… at line 7 column 3`.
fn stated(message: &str) -> Option<usize> {
    let at = message.find("line ")? + "line ".len();
    let digits: String = message[at..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The first word that the message puts in quotes.
fn quoted(message: &str) -> Option<&str> {
    let start = message.find(['\'', '`', '"'])?;
    let quote = message[start..].chars().next()?;
    let rest = &message[start + quote.len_utf8()..];
    let end = rest.find(quote)?;
    (end > 0).then(|| &rest[..end])
}

fn line_with(text: &str, wanted: impl Fn(&str) -> bool) -> Option<usize> {
    text.lines().position(wanted).map(|i| i + 1)
}

#[cfg(test)]
mod tests {
    use super::line_of;

    #[test]
    fn a_fault_is_told_with_its_line() {
        let text = "title: x\nlogsource:\n  product: windows\ndetection:\n  sel:\n    A|contians: b\n  condition: sel and nope\n";
        assert_eq!(line_of(text, "Unknown modifier 'contians'"), 6);
        assert_eq!(line_of(text, "Condition parse error: nope"), 7);
        assert_eq!(line_of(text, "YAML parse error: mapping values at line 3 column 4"), 3);
        assert_eq!(line_of(text, "something else"), 1);
    }
}
