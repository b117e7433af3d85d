//! Puts the records of one event of the Linux audit system together.
//!
//! The kernel writes an event as several records (`SYSCALL`, `EXECVE`, `CWD`, `PATH`, …), each a row
//! of its own, with the same `audit(time:serial)`. They may come in any order, in different batches
//! and mixed with those of other events and hosts. [`Assembler`] collects them within bounds of time
//! and memory; what it finishes is an [`AuditEvent`], which [`super::Taxonomy::audit_event`] turns
//! into a process creation, file event or network connection with the field names of Sigma's
//! taxonomy. A table of processes tells the parent's image and command line.
//!
//! The single records are events as well, for which Sigma's `auditd` rules are written; that is the
//! business of [`super::auditd`]. There is no clock in here: the caller says what time it is.

mod assembler;
mod happening;
pub(super) mod laurel;
mod processes;
#[cfg(test)]
mod tests;

pub use assembler::{Assembler, AssemblerCounts, AssemblerSettings, AuditChanges};
pub use happening::AuditEvent;
pub(super) use happening::event;
pub use processes::Process;

use super::auditd;
use super::event::Event;
use super::record::LogRecord;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One record, with what its row tells of it. Independent of the row, so that it can wait.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Host on which it happened.
    pub host: String,
    /// The record from `type=` on, as [`Event::audit`] has it.
    pub text: String,
    /// The row.
    pub row: AuditRow,
}

/// What a detection tells of the row it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AuditRow {
    /// Event time of the row, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// The row's id.
    pub id: String,
    /// Resource attributes that say where the record came from.
    pub resources: Vec<(String, String)>,
}

/// A host's name is never longer than this, bytes.
const HOST_BYTES_MAX: usize = 256;

impl AuditRecord {
    /// The audit records that `event`, which was read from `record`, is or holds; of the record's
    /// resource they keep only `wanted`.
    pub fn all(event: &Event<'_>, record: &LogRecord<'_>, wanted: &[&str]) -> Vec<AuditRecord> {
        let host = &event.host[..event.host.floor_char_boundary(HOST_BYTES_MAX)];
        let of = |text: &Cow<'_, str>| AuditRecord {
            host: host.to_owned(),
            text: text.clone().into_owned(),
            row: AuditRow::of(record, wanted),
        };
        event.audit.iter().map(of).collect()
    }
}

impl AuditRow {
    /// The row's parts that `record` has; of its resource only `wanted`.
    pub fn of(record: &LogRecord<'_>, wanted: &[&str]) -> AuditRow {
        let resources = record.resources.iter().filter(|(name, _)| wanted.contains(&name.as_ref()));
        AuditRow {
            timestamp_ns: record.timestamp_ns,
            id: record.id.clone().into_owned(),
            resources: resources.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        }
    }

    /// The same as a log record without a body.
    pub fn record(&self) -> LogRecord<'_> {
        let resources = self.resources.iter();
        LogRecord {
            id: Cow::Borrowed(&self.id),
            timestamp_ns: self.timestamp_ns,
            resources: resources.map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
            ..LogRecord::default()
        }
    }
}

/// Which event a record belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    /// When it happened, milliseconds since the epoch.
    time_ms: u64,
    serial: u64,
    host: String,
}

impl Key {
    /// Reads `1785924930.123:4567`.
    fn new(host: &str, id: &str) -> Option<Key> {
        let (time, serial) = id.split_once(':')?;
        let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let time_ms = seconds.parse::<u64>().ok()?.checked_mul(1000)?;
        let time_ms = time_ms.checked_add(fraction.get(..3).unwrap_or(fraction).parse().ok()?)?;
        Some(Key { time_ms, serial: serial.parse().ok()?, host: host.to_owned() })
    }
}

/// A decoded record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Name of its type (`SYSCALL`).
    pub kind: String,
    /// Fields in the order of the record, decoded; those that say nothing are left out.
    pub fields: Vec<(String, String)>,
    /// Arguments by number and piece, for `EXECVE`.
    arguments: Vec<((u32, u32), String)>,
}

impl Record {
    fn read(text: &str) -> Option<(Record, &str)> {
        let head = auditd::head(text)?;
        let mut event = Event::default();
        auditd::decode_fields(head.kind, head.fields, &mut event);
        let fields = event.fields.into_iter();
        let fields = fields.filter_map(|(name, value)| Some((name.into_owned(), value.text()?.into_owned())));
        let arguments = if head.kind == "EXECVE" { auditd::arguments(head.fields) } else { vec![] };
        Some((Record { kind: head.kind.to_owned(), fields: fields.collect(), arguments }, head.id))
    }

    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// Whether it tells of a system call.
    fn is_call(&self) -> bool {
        matches!(self.kind.as_str(), "SYSCALL" | "AUOMS_EXECVE" | "AUOMS_SYSCALL")
    }

    /// The name of the system call, where the machine is known.
    fn call(&self) -> Option<&str> {
        let is_name = |name: &&str| name.bytes().any(|b| b.is_ascii_alphabetic());
        self.get("SYSCALL").or_else(|| self.get("syscall").filter(is_name))
    }

    /// A register of a system call, which is written in hexadecimal.
    fn register(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.get(name)?, 16).ok()
    }
}
