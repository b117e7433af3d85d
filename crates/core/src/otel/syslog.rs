//! Syslog lines: the header in front of a message, in the forms that files and senders write.
//!
//! RFC 3164 (`Aug  5 10:15:30 host prog[1]: …`), RFC 5424, and rsyslog's ISO header; a `<PRI>` may
//! stand before any of them. What the message says is not looked at here.

/// A line taken apart. Parts that are not there are empty.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'t> {
    /// Syslog facility, 0 to 23, where a `<PRI>` tells.
    pub facility: Option<u8>,
    pub host: &'t str,
    /// Program without path, `(pam_unix)` and process id.
    pub program: &'t str,
    pub pid: &'t str,
    pub message: &'t str,
}

/// Takes a line apart; `None` if it has no syslog header.
pub(super) fn parse(line: &str) -> Option<Line<'_>> {
    let (facility, rest) = priority(line.trim_start());
    if facility.is_some()
        && let Some(line) = rfc5424(rest)
    {
        return Some(Line { facility, ..line });
    }
    if let Some(rest) = iso_time(rest) {
        return iso(facility, rest);
    }
    let after_time = rfc3164_time(rest);
    let Some(rest) = after_time else {
        // A sender that leaves out the time: `<38>sshd[1]: …`.
        facility?;
        let (program, pid, message) = tag(rest)?;
        return Some(Line { facility, program, pid, message, host: "" });
    };
    let (host, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    if host.ends_with(':') || host.ends_with("]:") {
        // No host: the program stands right after the time.
        let (program, pid, message) = tag(after_time.unwrap_or(""))?;
        return Some(Line { facility, program, pid, message, host: "" });
    }
    let (program, pid, message) = tag(rest.trim_start()).unwrap_or(("", "", rest));
    Some(Line { facility, host, program, pid, message })
}

/// `host prog[1]: message` behind an ISO time. Many programs begin their own lines with such a time, so
/// here both host and program must be there.
fn iso(facility: Option<u8>, text: &str) -> Option<Line<'_>> {
    let (host, rest) = text.split_once(' ')?;
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    if !host.bytes().all(is_name) || host.ends_with(':') {
        return None;
    }
    let (program, pid, message) = tag(rest.trim_start())?;
    Some(Line { facility, host, program, pid, message })
}

/// The facility of `<PRI>`, and what follows it.
fn priority(line: &str) -> (Option<u8>, &str) {
    let inner = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match inner.and_then(|(number, rest)| Some((number.parse::<u8>().ok()?, rest))) {
        Some((number, rest)) if number <= 191 => (Some(number / 8), rest),
        _ => (None, line),
    }
}

/// `1 TIME HOST APP PROCID MSGID [SD] MSG`
fn rfc5424(text: &str) -> Option<Line<'_>> {
    let rest = text.strip_prefix("1 ")?;
    let mut parts = rest.splitn(6, ' ');
    let _time = parts.next()?;
    let host = nil(parts.next()?);
    let program = name(nil(parts.next()?));
    let pid = nil(parts.next()?);
    let _id = parts.next()?;
    let message = after_structured_data(parts.next()?);
    Some(Line { facility: None, host, program, pid, message })
}

/// RFC 5424's word for nothing.
fn nil(part: &str) -> &str {
    if part == "-" { "" } else { part }
}

/// What stands behind `-` or `[id name="value"][…]`, in which `\"`, `\\` and `\]` are escaped.
fn after_structured_data(text: &str) -> &str {
    let mut rest = text;
    if let Some(message) = rest.strip_prefix('-') {
        rest = message;
    }
    while rest.starts_with('[') {
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = rest.bytes().position(|b| {
            let is_end = b == b']' && !is_quoted;
            is_quoted ^= b == b'"' && !is_escaped;
            is_escaped = b == b'\\' && !is_escaped;
            is_end
        });
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => break,
        }
    }
    rest.trim_start().trim_start_matches('\u{feff}')
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What stands behind `Aug  5 10:15:30 `, also with a year or fraction of a second.
fn rfc3164_time(text: &str) -> Option<&str> {
    if !MONTHS.contains(&text.get(..3)?) {
        return None;
    }
    let mut rest = text[3..].strip_prefix(' ')?.trim_start();
    for _ in 0..3 {
        let (word, after) = rest.split_once(' ')?;
        if is_clock(word) {
            return Some(after.trim_start());
        }
        if !word.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        rest = after.trim_start();
    }
    None
}

/// `10:15:30`, possibly with more behind.
fn is_clock(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 8
        && bytes[2] == b':'
        && bytes[5] == b':'
        && bytes[..8].iter().all(|b| b.is_ascii_digit() || *b == b':')
}

/// What stands behind `2026-08-05T10:15:30.123456+02:00 `.
fn iso_time(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let is_date = bytes.len() > 20
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b' ')
        && bytes[..4].iter().all(u8::is_ascii_digit);
    if !is_date || !is_clock(text.get(11..)?) {
        return None;
    }
    text.get(19..)?.split_once(' ').map(|(_, rest)| rest.trim_start())
}

/// `prog[1]: message` or `prog: message`.
fn tag(text: &str) -> Option<(&str, &str, &str)> {
    let end = text.find([':', '[', ' '])?;
    let program = &text[..end];
    if program.is_empty() {
        return None;
    }
    let rest = &text[end..];
    if let Some(rest) = rest.strip_prefix(':') {
        return Some((name(program), "", rest.strip_prefix(' ').unwrap_or(rest)));
    }
    let (pid, rest) = rest.strip_prefix('[')?.split_once(']')?;
    let message = rest.strip_prefix(':').unwrap_or(rest);
    Some((name(program), pid, message.strip_prefix(' ').unwrap_or(message)))
}

/// A program's name without its path and without `(pam_unix)`.
pub(super) fn name(program: &str) -> &str {
    let program = program.split('(').next().unwrap_or(program);
    match program.starts_with('/') {
        true => program.rsplit('/').next().unwrap_or(program),
        false => program,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, facility: Option<u8>, host: &str, program: &str, pid: &str, message: &str) {
        assert_eq!(parse(line), Some(Line { facility, host, program, pid, message }), "{line}");
    }

    #[test]
    fn headers_of_files_and_senders() {
        check("Aug  5 10:15:30 lin01 sshd[1234]: Failed", None, "lin01", "sshd", "1234", "Failed");
        check("<38>Aug  5 10:15:30 lin01 su: x: y", Some(4), "lin01", "su", "", "x: y");
        check(
            "2026-08-05T10:15:30.123456+02:00 lin01 sudo[4]:  bob : TTY",
            None,
            "lin01",
            "sudo",
            "4",
            " bob : TTY",
        );
        check("2026-08-05T10:15:30Z lin01 cron: x", None, "lin01", "cron", "", "x");
        check("Aug 15 2026 10:15:30.001 h p: x", None, "h", "p", "", "x");
        check("Aug  5 10:15:30 h /usr/sbin/cron[2]: x", None, "h", "cron", "2", "x");
        check("Aug  5 10:15:30 h sshd(pam_unix)[2]: x", None, "h", "sshd", "2", "x");
        check("Aug  5 10:15:30 sshd[2]: x y", None, "", "sshd", "2", "x y");
        check("Aug  5 10:15:30 h message repeated 2 times", None, "h", "", "", "message repeated 2 times");
        check("<38>sshd[1]: x", Some(4), "", "sshd", "1", "x");
    }

    #[test]
    fn rfc_5424() {
        let line =
            r#"<165>1 2026-08-05T10:15:30.003Z lin01 evntslog 8710 ID47 [a@1 iut="3" x="\"]"][b@2] An event"#;
        check(line, Some(20), "lin01", "evntslog", "8710", "An event");
        check("<34>1 2026-08-05T10:15:30Z - su - ID47 - x", Some(4), "", "su", "", "x");
        check("<34>1 2026-08-05T10:15:30Z h su - - [cut", Some(4), "h", "su", "", "[cut");
    }

    #[test]
    fn other_text_is_no_syslog() {
        for text in [
            "",
            "<",
            "<999>x",
            "hello world",
            "Aug",
            "Aug 5",
            "May the force be with you",
            "2026-08-05",
            "ü",
            "2023-04-06T09:05:54,991Z [http-1] WARN  o.a.Auth - Authentication attempt",
            "2023-04-23 22:07:05.311 -05:00 [WRN] Failed login",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
