//! Events that LAUREL put together: one JSON object with all records,
//! `{"ID":"1615114232.375:15558","SYSCALL":{…},"EXECVE":{"ARGV":[…]},"PATH":[{…}],…}`.
//!
//! They are taken apart into auditd's own records again, so that rules for single records apply as
//! well, and there is one way by which records become an event. The forms are those of LAUREL's
//! documentation (docs/reference/logs.md): `ARGV` and `ARGV_STR`, numbers as numbers or text,
//! `PARENT_INFO` of older and `PPID` of newer versions.

use crate::otel::json::Flat;
use serde_json::{Map, Value};
use std::fmt::Write;

/// More records than this are not taken from one document.
const RECORDS_MAX: usize = 1000;

/// Type of the record that says what LAUREL knows of the parent; the kernel writes none such. It is
/// always the first, and says by being there that no further records will come.
pub(in crate::otel) const PARENT: &str = "PARENT_INFO";

/// Whether [`records`] may find any in the document of this root.
pub(in crate::otel) fn is_possible(flat: &Flat<'_>) -> bool {
    flat.root("ID").is_some()
}

/// The records of a document; `None` if it is none of LAUREL's.
pub(in crate::otel) fn records(body: &str) -> Option<Vec<String>> {
    let is_possible = body.starts_with('{') && memchr::memmem::find(body.as_bytes(), b"\"ID\"").is_some();
    if !is_possible {
        return None;
    }
    let document: Map<String, Value> = serde_json::from_str(body).ok()?;
    let id = document.get("ID")?.as_str().filter(|id| is_id(id))?;
    let node = document.get("NODE").and_then(Value::as_str).map(|node| format!("node={node} "));
    let head = |kind: &str| format!("{}type={kind} msg=audit({id}):", node.as_deref().unwrap_or(""));
    let mut records = vec![];
    for (kind, value) in &document {
        let is_kind =
            kind.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_[]".contains(&b));
        if !is_kind || matches!(kind.as_str(), "ID" | "NODE" | "PARENT_INFO") {
            continue;
        }
        match value {
            Value::Array(list) => {
                let objects = list.iter().filter_map(Value::as_object);
                records.extend(objects.map(|fields| record(&head(kind), kind, fields)));
            }
            Value::Object(fields) => records.push(record(&head(kind), kind, fields)),
            Value::String(text) if kind == "CWD" => {
                records.push(format!("{}{}", head(kind), field("cwd", text)));
            }
            _ => {}
        }
    }
    if records.is_empty() {
        return None;
    }
    // What nothing waits for comes first, so that it is there when the rest makes the event whole.
    records.sort_by_key(|record| {
        let is = |kind: &str| record.starts_with(&head(kind));
        if is("SYSCALL") { 0 } else { 2 - u8::from(is("PROCTITLE")) }
    });
    records.truncate(RECORDS_MAX);
    let parent = parent(&document).unwrap_or_default();
    records.insert(0, format!("{}{parent}", head(PARENT)));
    Some(records)
}

/// `seconds.milliseconds:serial`
fn is_id(id: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts = id.split_once(':').and_then(|(time, serial)| Some((time.split_once('.')?, serial)));
    parts.is_some_and(|((seconds, fraction), serial)| [seconds, fraction, serial].into_iter().all(is_number))
}

/// What LAUREL knows of the parent.
fn parent(document: &Map<String, Value>) -> Option<String> {
    let call = document.get("SYSCALL").and_then(|call| call.get("PPID"));
    let told = document.get("PARENT_INFO").or(call)?.as_object()?;
    let mut text = String::new();
    for name in ["exe", "comm"] {
        if let Some(value) = told.get(name).and_then(Value::as_str) {
            text.push_str(&field(name, value));
        }
    }
    if let Some(line) = line(told) {
        text.push_str(&field("cmdline", &line));
    }
    Some(text)
}

/// A command line: a list of words or one text.
fn line(fields: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    match fields.get("ARGV") {
        Some(Value::Array(words)) => Some(words.iter().map(plain).collect::<Vec<_>>().join(" ")),
        _ => text("ARGV_STR").or_else(|| text("CMDLINE")).or_else(|| text("cmdline")),
    }
}

fn record(head: &str, kind: &str, fields: &Map<String, Value>) -> String {
    let mut raw = head.to_owned();
    let mut translated = String::new();
    let words: Vec<String> = match fields.get("ARGV") {
        Some(Value::Array(words)) => words.iter().map(plain).collect(),
        _ => line(fields).map(|line| split(&line)).unwrap_or_default(),
    };
    match kind {
        "EXECVE" => {
            if !fields.contains_key("argc") && !words.is_empty() {
                let _ = write!(raw, " argc={}", words.len());
            }
            for (number, word) in words.iter().enumerate() {
                raw.push_str(&field(&format!("a{number}"), word));
            }
        }
        "SYSCALL" => {
            for (number, word) in words.iter().enumerate() {
                let _ = write!(raw, " a{number}={}", word.trim_start_matches("0x"));
            }
        }
        "PROCTITLE" if !words.is_empty() => {
            let title = line(fields).filter(|_| !fields.contains_key("ARGV")).unwrap_or(words.join("\0"));
            raw.push_str(&field("proctitle", &title));
        }
        _ => {}
    }
    for (name, value) in fields {
        if matches!(name.as_str(), "ARGV" | "ARGV_STR" | "CMDLINE") || value.is_object() {
            continue;
        }
        let is_translated = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-' || b == b'_');
        let text = match (name.as_str(), value) {
            ("key", Value::Array(keys)) => keys.iter().map(plain).collect::<Vec<_>>().join("\u{1}"),
            ("arch", value) => plain(value).trim_start_matches("0x").to_owned(),
            ("mode", value) => plain(value).replacen("0o", "0", 1),
            (_, Value::Null) => {
                let _ = write!(raw, " {name}=(null)");
                continue;
            }
            (_, value) => plain(value),
        };
        if is_translated { &mut translated } else { &mut raw }.push_str(&field(name, &text));
    }
    if !translated.is_empty() {
        raw.push('\x1d');
        raw.push_str(translated.trim_start());
    }
    raw
}

/// ` name=value` as auditd writes it: in quotation marks, or in hexadecimal where it holds any.
fn field(name: &str, value: &str) -> String {
    let is_word = |b: u8| b.is_ascii_graphic() && !b"\"'".contains(&b);
    let is_encoded = crate::otel::auditd::is_encoded("EXECVE", name);
    match value {
        value if !is_encoded && !value.is_empty() && value.bytes().all(is_word) => format!(" {name}={value}"),
        value if value.bytes().all(|b| b >= b' ' && b != b'"' && b != 0x7f) => format!(" {name}=\"{value}\""),
        value if is_encoded => {
            let mut text = format!(" {name}=");
            value.bytes().for_each(|b| {
                let _ = write!(text, "{b:02X}");
            });
            text
        }
        // Not a field that auditd encodes: what would end it is taken out.
        value => format!(" {name}=\"{}\"", value.replace(['"', '\n', '\r', '\x1d'], "'")),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(" "),
        value => value.to_string(),
    }
}

/// The words of a command line that is one text; quotation marks keep blanks together.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![];
    let (mut word, mut quote, mut is_word) = (String::new(), None, false);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => (quote, is_word) = (Some(c), true),
            (c, None) if c.is_whitespace() => {
                if is_word {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            (c, _) => {
                word.push(c);
                is_word = true;
            }
        }
    }
    if is_word {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_taken_apart_into_records() {
        let body = r#"{"CWD":{"cwd":"/root"},"EXECVE":{"ARGV":["sh","-c","a \"b\""],"argc":3},
            "ID":"1615114232.375:15558","NODE":"work","PARENT_INFO":{"ARGV":["bash","-l"],"exe":"/bin/bash"},
            "PATH":[{"item":0,"mode":"0o100755","name":"/bin/sh","nametype":"NORMAL"}],
            "SYSCALL":{"ARGV":["0x1","0x2"],"SYSCALL":"execve","UID":"root","arch":"0xc000003e","exe":"/bin/sh",
            "key":["k1","k2"],"pid":7,"success":"yes","syscall":59,"tty":null}}"#
            .replace("\n            ", "");
        assert_eq!(
            records(&body).unwrap(),
            [
                "node=work type=PARENT_INFO msg=audit(1615114232.375:15558): exe=\"/bin/bash\" \
                 cmdline=\"bash -l\"",
                "node=work type=SYSCALL msg=audit(1615114232.375:15558): a0=1 a1=2 arch=c000003e exe=\"/bin/sh\" \
                 key=6B31016B32 pid=7 success=yes syscall=59 tty=(null)\x1dSYSCALL=execve UID=root",
                "node=work type=CWD msg=audit(1615114232.375:15558): cwd=\"/root\"",
                "node=work type=EXECVE msg=audit(1615114232.375:15558): a0=\"sh\" a1=\"-c\" a2=6120226222 argc=3",
                "node=work type=PATH msg=audit(1615114232.375:15558): item=0 mode=0100755 name=\"/bin/sh\" \
                 nametype=NORMAL",
            ]
        );
    }

    #[test]
    fn command_lines_may_be_one_text() {
        let body =
            r#"{"ID":"1.2:3","EXECVE":{"ARGV_STR":"sh -c 'a b'"},"PROCTITLE":{"ARGV":["x","y"]},"CWD":"/"}"#;
        assert_eq!(
            records(body).unwrap(),
            [
                "type=PARENT_INFO msg=audit(1.2:3):",
                "type=PROCTITLE msg=audit(1.2:3): proctitle=780079",
                "type=EXECVE msg=audit(1.2:3): argc=3 a0=\"sh\" a1=\"-c\" a2=\"a b\"",
                "type=CWD msg=audit(1.2:3): cwd=\"/\"",
            ]
        );
    }

    #[test]
    fn other_documents_are_left_alone() {
        for body in
            [r#"{"ID":"7"}"#, r#"{"ID":"1.2:3"}"#, r#"{"ID":"1.2:3","a":{"b":1}}"#, "{\"ID\"", "ID", "[]"]
        {
            assert_eq!(records(body), None, "{body}");
        }
    }
}
