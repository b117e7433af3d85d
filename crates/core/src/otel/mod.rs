//! From a row of a log table to an [`Event`]: which Sigma log sources it belongs to, and its fields
//! by the name under which Sigma rules ask for them.

mod quiet;
mod record;
pub use record::LogRecord;
mod event;
pub use event::{ClassId, Decided, Event, FieldName};
mod taxonomy;
pub use taxonomy::{Class, Taxonomy, View, normal_name};
mod buffers;
pub use buffers::Buffers;
mod asks;
pub use asks::{Asks, NEVER_ESCAPED};
mod audit_event;
pub use audit_event::{
    Assembler, AssemblerCounts, AssemblerSettings, AuditChanges, AuditEvent, AuditRecord, AuditRow, Process,
};
mod advice;
pub use advice::{Advice, Uncarried};

mod auditd;
mod class;
mod decision;
mod derive;
mod envelope;
mod extend;
mod file;
mod form;
mod journald;
mod json;
mod line;
mod peer;
mod recognise;
mod reshape;
mod sources;
mod split;
mod syscalls;
mod syslog;
mod windows;
