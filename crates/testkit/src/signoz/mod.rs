//! Log records as SigNoz's exporter writes them: the row, its keys, its texts, its inserts.
//!
//! Facts from SigNoz/signoz-otel-collector `exporter/clickhouselogsexporter` and `utils/fingerprint`.

mod contrib;
pub mod fingerprint;
pub mod go_json;
pub mod ksuid;
mod print;
mod writer;

pub use writer::Writer;

/// One log record with the columns of `logs_v2`. `ts_bucket_start` and `resource_fingerprint` follow
/// from the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogRow {
    /// Event time, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// When the agent read it, nanoseconds since the epoch.
    pub observed_ns: u64,
    /// A ksuid of 27 characters in real rows; fixtures may put what they like.
    pub id: String,
    /// Lower-case hex or empty.
    pub trace_id: String,
    /// Lower-case hex or empty.
    pub span_id: String,
    /// W3C trace flags.
    pub trace_flags: u32,
    /// As the sender wrote it.
    pub severity_text: String,
    /// 0 (unset) to 24.
    pub severity_number: u8,
    /// The text; bytes, since a body of bytes is stored as it is, valid UTF-8 or not.
    pub body: Vec<u8>,
    /// Text attributes, maps and lists among them as JSON text.
    pub attributes_string: Vec<(String, String)>,
    /// Numbers, integers too.
    pub attributes_number: Vec<(String, f64)>,
    /// Booleans.
    pub attributes_bool: Vec<(String, bool)>,
    /// Resource attributes, all as text.
    pub resources: Vec<(String, String)>,
    /// Instrumentation scope; empty for the Collector's log receivers.
    pub scope_name: String,
    /// Its version.
    pub scope_version: String,
    /// Its attributes, as text.
    pub scope: Vec<(String, String)>,
}

impl LogRow {
    /// A row with a body at a time (nanoseconds since the epoch), read a second later; the id is random.
    #[must_use]
    pub fn new(timestamp_ns: u64, resources: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        Self {
            timestamp_ns,
            observed_ns: timestamp_ns + 1_000_000_000,
            id: ksuid::random(timestamp_ns),
            body: body.into(),
            resources: resources.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Self::default()
        }
    }

    /// Seconds since the epoch, rounded down to half an hour.
    #[must_use]
    pub fn ts_bucket_start(&self) -> u64 {
        self.timestamp_ns / 1_000_000_000 / 1800 * 1800
    }

    /// SigNoz's key of the resource.
    #[must_use]
    pub fn resource_fingerprint(&self) -> String {
        fingerprint::of(&self.resources)
    }

    /// The row as `SELECT * FROM signoz_logs.logs_v2 FORMAT JSONEachRow` prints it (layout since
    /// v0.129.4, with `resource`), without the line's end.
    #[must_use]
    pub fn to_json_each_row(&self) -> Vec<u8> {
        print::json_each_row(self)
    }
}
