//! The OpenTelemetry log record as it stands in a ClickHouse row.

use std::borrow::Cow;

/// One row of SigNoz's `logs_v2` (or of the contrib exporter's `otel_logs`, brought to the same
/// form). Source: SigNoz `schema_migrator/v2_squashed_logs_migration.go`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogRecord<'a> {
    /// The row's id (a ksuid in SigNoz: time-ordered by event time; fresh when a Collector
    /// retries). `otel_logs` has none: a hash of the content stands here.
    pub id: Cow<'a, str>,
    /// Event time, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// When the agent read it, nanoseconds since the epoch; 0 where the table has no such column.
    pub observed_ns: u64,
    /// Lower-case hex, or empty.
    pub trace_id: Cow<'a, str>,
    /// As the sender wrote it.
    pub severity_text: Cow<'a, str>,
    /// 0 (unset) to 24.
    pub severity_number: u8,
    /// The log line, or the JSON or XML text of a structured body. In SigNoz's JSON mode the text
    /// of `body_v2` stands here.
    pub body: Cow<'a, str>,
    /// Text attributes; maps and lists among them are JSON text.
    pub attributes_string: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Numeric attributes (SigNoz makes every number a Float64).
    pub attributes_number: Vec<(Cow<'a, str>, f64)>,
    /// Boolean attributes.
    pub attributes_bool: Vec<(Cow<'a, str>, bool)>,
    /// Resource attributes, all as text.
    pub resources: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Instrumentation scope; empty for the Collector's log receivers.
    pub scope_name: Cow<'a, str>,
    /// SigNoz's opaque key of the resource; empty in `otel_logs`.
    pub resource_fingerprint: Cow<'a, str>,
}

impl LogRecord<'_> {
    /// A text attribute by its exact name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes_string.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_ref())
    }

    /// A resource attribute by its exact name.
    pub fn resource(&self, name: &str) -> Option<&str> {
        self.resources.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_ref())
    }
}
