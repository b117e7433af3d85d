//! What was detected, whatever row told of it: a record that is stored twice under two ids is one.

use crate::otel::{AuditEvent, LogRecord};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;

/// 128 bits of a SHA-256 over a rule and what it matched. Cryptographic, because a sender of logs must
/// not be able to make a record that is taken for another one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity([u8; Identity::BYTES]);

/// Hash of what a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content([u8; 32]);

impl Identity {
    /// Size of the stored form.
    pub const BYTES: usize = 16;

    /// Identity of a match of `rule_id` with event `number` of the record with this content: of two
    /// equal events in one record, both happened.
    pub fn new(rule_id: &str, content: &Content, number: u64) -> Identity {
        let mut hash = Sha256::new();
        hash.update(content.0);
        hash.update(number.to_le_bytes());
        hash.update(rule_id);
        let mut bytes = [0; Identity::BYTES];
        bytes.copy_from_slice(&hash.finalize()[..Identity::BYTES]);
        Identity(bytes)
    }

    /// The stored form.
    pub fn to_bytes(self) -> [u8; Identity::BYTES] {
        self.0
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: [u8; Identity::BYTES]) -> Identity {
        Identity(bytes)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Content {
    /// Of everything a record says but its id, which SigNoz's exporter makes anew when it sends a
    /// batch again. The exporter keeps attributes in Go maps, so their order means nothing.
    pub fn of(record: &LogRecord<'_>) -> Content {
        let mut hash = Sha256::new();
        hash.update(record.timestamp_ns.to_le_bytes());
        hash.update(record.observed_ns.to_le_bytes());
        hash.update([record.severity_number]);
        for text in [&record.trace_id, &record.severity_text, &record.body, &record.scope_name] {
            part(&mut hash, text.as_bytes());
        }
        entries(&mut hash, &record.attributes_string, |value| Cow::Borrowed(value.as_bytes()));
        entries(&mut hash, &record.attributes_number, |value| {
            Cow::Owned(value.to_bits().to_le_bytes().to_vec())
        });
        entries(&mut hash, &record.attributes_bool, |value| Cow::Owned(vec![u8::from(*value)]));
        entries(&mut hash, &record.resources, |value| Cow::Borrowed(value.as_bytes()));
        Content(hash.finalize().into())
    }

    /// Of an event of the Linux audit system, which host, time and number name, whichever of its
    /// records came, and how often.
    pub fn of_audit(event: &AuditEvent) -> Content {
        let mut hash = Sha256::new();
        hash.update(event.time_ms.to_le_bytes());
        hash.update(event.serial.to_le_bytes());
        part(&mut hash, event.host.as_bytes());
        Content(hash.finalize().into())
    }
}

/// Each part carries its length, so that no two lists of parts read the same.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn entries<'r, V>(
    hash: &mut Sha256,
    entries: &'r [(Cow<'_, str>, V)],
    value: impl Fn(&'r V) -> Cow<'r, [u8]>,
) {
    let mut sorted: Vec<(&str, Cow<'r, [u8]>)> =
        entries.iter().map(|(name, v)| (name.as_ref(), value(v))).collect();
    sorted.sort_unstable();
    hash.update((sorted.len() as u64).to_le_bytes());
    for (name, value) in sorted {
        part(hash, name.as_bytes());
        part(hash, &value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> LogRecord<'static> {
        LogRecord {
            id: "2x".into(),
            timestamp_ns: 5,
            observed_ns: 6,
            body: "text".into(),
            attributes_string: vec![("a".into(), "1".into()), ("b".into(), "2".into())],
            attributes_number: vec![("n".into(), 1.0)],
            attributes_bool: vec![("t".into(), true)],
            resources: vec![("host.name".into(), "web-01".into())],
            ..LogRecord::default()
        }
    }

    #[test]
    fn a_fresh_id_and_another_order_of_attributes_change_nothing() {
        let mut other = record();
        other.id = "3y".into();
        other.attributes_string.reverse();
        assert_eq!(Content::of(&record()), Content::of(&other));
    }

    #[test]
    fn everything_else_counts() {
        let changes: [fn(&mut LogRecord<'static>); 9] = [
            |r| r.timestamp_ns = 4,
            |r| r.observed_ns = 7,
            |r| r.trace_id = "t".into(),
            |r| r.severity_number = 9,
            |r| r.body = "texts".into(),
            |r| r.attributes_string[0].1 = "2".into(),
            |r| r.attributes_number[0].1 = 2.0,
            |r| r.attributes_bool[0].1 = false,
            |r| r.resources[0].0 = "host".into(),
        ];
        let mut seen = vec![Content::of(&record())];
        for change in changes {
            let mut changed = record();
            change(&mut changed);
            let content = Content::of(&changed);
            assert!(!seen.contains(&content), "{changed:?}");
            seen.push(content);
        }
        let mut moved = record();
        moved.resources.push(moved.attributes_string.remove(0));
        assert!(!seen.contains(&Content::of(&moved)));
    }

    #[test]
    fn rules_and_the_events_of_one_record_are_told_apart() {
        let content = Content::of(&record());
        let one = Identity::new("a", &content, 0);
        assert_ne!(one, Identity::new("b", &content, 0));
        assert_ne!(one, Identity::new("a", &content, 1));
        assert_eq!(Identity::from_bytes(one.to_bytes()), one);
    }
}
