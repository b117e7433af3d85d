//! Entries of the systemd journal as the Collector's journald receiver writes them: a JSON object
//! of the entry's fields, all of them text.

use super::json::Flat;
use crate::value::Value;
use std::borrow::Cow;

/// The parts of an entry that say what it is.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Entry<'a> {
    pub host: Cow<'a, str>,
    pub program: Cow<'a, str>,
    pub facility: Option<u8>,
    pub message: Cow<'a, str>,
    /// Name of the record type, where the entry came from the kernel's audit system.
    pub audit_type: Cow<'a, str>,
}

/// Takes the journal's parts out of a flattened document, if it is an entry.
pub(super) fn decode<'a>(flat: &mut Flat<'a>) -> Option<Entry<'a>> {
    let has = |key: &str| flat.root(key).is_some();
    let has_message = has("MESSAGE") || !flat.message_bytes.is_empty();
    let is_entry =
        has("__CURSOR") || has("_BOOT_ID") || (has_message && (has("_HOSTNAME") || has("_TRANSPORT")));
    if !is_entry {
        return None;
    }
    let text = |key: &str| match flat.root(key) {
        Some(Value::Str(text)) => text.clone(),
        Some(other) => Cow::Owned(other.text().unwrap_or_default().into_owned()),
        None => Cow::Borrowed(""),
    };
    let either = |first: Cow<'a, str>, second: &str| if first.is_empty() { text(second) } else { first };
    let audit_type = match text("_TRANSPORT").as_ref() {
        "audit" => text("_AUDIT_TYPE_NAME"),
        _ => Cow::Borrowed(""),
    };
    let entry = Entry {
        host: text("_HOSTNAME"),
        program: either(text("SYSLOG_IDENTIFIER"), "_COMM"),
        facility: text("SYSLOG_FACILITY").parse().ok(),
        message: message(flat),
        audit_type,
    };
    // The message is the event's text; as bytes it would be a field of a hundred numbers.
    flat.leaves.retain(|leaf| leaf.key != "MESSAGE" || leaf.prefix != 0);
    Some(entry)
}

/// `MESSAGE`: text, or a list of bytes where it is not UTF-8, or several texts.
fn message<'a>(flat: &Flat<'a>) -> Cow<'a, str> {
    if !flat.message_bytes.is_empty() {
        return Cow::Owned(String::from_utf8_lossy(&flat.message_bytes).into_owned());
    }
    let mut all = Cow::Borrowed("");
    for leaf in flat.leaves.iter().filter(|leaf| leaf.prefix == 0 && leaf.key == "MESSAGE") {
        match &leaf.value {
            Value::Str(text) if all.is_empty() => all = text.clone(),
            value => {
                let all = all.to_mut();
                all.push('\n');
                all.push_str(&value.text().unwrap_or_default());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otel::buffers::Arena;

    fn entry(json: &str) -> Option<(String, String, String)> {
        let arena = Arena::new();
        let mut flat = Flat::new(&arena);
        flat.read("", json).unwrap();
        let entry = decode(&mut flat)?;
        Some((entry.host.into(), entry.program.into(), entry.message.into()))
    }

    #[test]
    fn an_entry_has_host_program_and_message() {
        let json = r#"{"MESSAGE":"Accepted","SYSLOG_IDENTIFIER":"sshd","_HOSTNAME":"lin01","_COMM":"x"}"#;
        assert_eq!(entry(json), Some(("lin01".into(), "sshd".into(), "Accepted".into())));
        let json = r#"{"MESSAGE":[72,105,255],"_COMM":"x","__CURSOR":"s=1"}"#;
        assert_eq!(entry(json), Some(("".into(), "x".into(), "Hi\u{fffd}".into())));
        let long = format!(r#"{{"MESSAGE":[{}65],"_HOSTNAME":"h"}}"#, "65,".repeat(5000));
        assert_eq!(entry(&long), Some(("h".into(), "".into(), "A".repeat(5001))));
        let several = r#"{"MESSAGE":["a","b"],"_HOSTNAME":"h"}"#;
        assert_eq!(entry(several), Some(("h".into(), "".into(), "a\nb".into())));
        assert_eq!(entry(r#"{"MESSAGE":"x"}"#), None);
    }
}
