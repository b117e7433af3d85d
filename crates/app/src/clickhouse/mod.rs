//! ClickHouse over HTTP, as a good neighbour: bounded threads, memory and time, low priority, named.
//!
//! Only this module knows the column names of SigNoz and of the contrib exporter. It reads and
//! never writes.

mod fault;
mod http;
mod layout;
mod retention;
mod rowbinary;
mod rows;
mod tables;

pub use fault::{Fault, Kind};
pub use layout::{BODY_BYTES_MAX, Family, Layout};
pub use rowbinary::Reader;
pub use rows::{Row, Rows};
pub use tables::is_other_table;

use crate::config;
use crate::events::add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Beyond the server's own limit, how long an answer may take before the connection is given up.
const ANSWER_GRACE: Duration = Duration::from_secs(15);
/// Most bytes of the answer to a small question (columns, parts); a bound, never reached in health.
const SMALL_ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection to one ClickHouse.
#[derive(Debug)]
pub struct Client {
    inner: InnerClient,
    url: String,
    user: String,
    answer_timeout: Duration,
    settings_allowed: bool,
    version: String,
    /// Distinguishes our query ids; they start with a random part of each process.
    query_prefix: String,
    query_serial: AtomicU64,
}

/// The library's client has no `Debug`, and it holds the password.
struct InnerClient(clickhouse::Client);

impl std::fmt::Debug for InnerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("clickhouse::Client")
    }
}

impl Client {
    /// Connects, logs in and finds out whether settings may be sent.
    pub async fn connect(config: &config::ClickHouse) -> Result<Client, Fault> {
        let bare = http::client(&config.url, &config.tls)?
            .with_url(&config.url)
            .with_user(&config.user)
            .with_password(config.password.reveal())
            .with_product_info("otel-log-ai", env!("CARGO_PKG_VERSION"))
            .with_compression(clickhouse::Compression::Lz4);
        let limited = bare
            .clone()
            .with_setting("max_threads", config.max_threads.to_string())
            .with_setting("max_memory_usage", config.max_memory_bytes.to_string())
            .with_setting("max_execution_time", config.max_execution_time.as_secs().to_string())
            .with_setting("priority", "10")
            .with_setting("log_comment", "otel-log-ai:tail");
        let mut client = Client {
            inner: InnerClient(limited),
            url: config.url.clone(),
            user: config.user.clone(),
            answer_timeout: config.max_execution_time + ANSWER_GRACE,
            settings_allowed: true,
            version: String::new(),
            query_prefix: format!("otel-log-ai-tail-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]),
            query_serial: AtomicU64::new(0),
        };
        let probe = "SELECT version()";
        let answer = match client.small(probe).await {
            // A user with readonly=1 may not send any setting, however harmless.
            Err(fault) if fault.kind == Kind::ReadOnly => {
                client.inner = InnerClient(bare);
                client.settings_allowed = false;
                client.small(probe).await?
            }
            other => other?,
        };
        client.version = Reader::new(&answer).text().map(|text| text.into_owned()).unwrap_or_default();
        Ok(client)
    }

    /// The server's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Who we are there.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether our limits reach the server; not so for a user with `readonly=1`.
    pub fn settings_allowed(&self) -> bool {
        self.settings_allowed
    }

    /// The whole RowBinary answer to a small question.
    pub async fn small(&self, sql: &str) -> Result<Vec<u8>, Fault> {
        self.bytes(sql, SMALL_ANSWER_BYTES_MAX).await
    }

    /// The whole RowBinary answer, or [`Kind::TooBig`] when it is longer than `bytes_max`.
    pub async fn bytes(&self, sql: &str, bytes_max: usize) -> Result<Vec<u8>, Fault> {
        let mut all = Vec::new();
        self.stream(sql, |chunk| {
            if all.len() + chunk.len() > bytes_max {
                return Err(Fault::new(Kind::TooBig, format!("an answer is longer than {bytes_max} bytes")));
            }
            all.extend_from_slice(chunk);
            Ok(())
        })
        .await?;
        Ok(all)
    }

    /// Hands the RowBinary answer to `each`, piece by piece; pieces do not end at row boundaries.
    /// Breaking off closes the connection.
    pub async fn stream(
        &self,
        sql: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let serial = self.query_serial.fetch_add(1, Ordering::Relaxed);
        let query =
            self.inner.0.query_raw(sql).with_setting("query_id", format!("{}-{serial}", self.query_prefix));
        let explain = |error| Fault::explain(&error, &self.url, &self.user);
        let deadline = tokio::time::Instant::now() + self.answer_timeout;
        let late = |_| {
            let seconds = self.answer_timeout.as_secs();
            Fault::new(
                Kind::Unreachable,
                format!("ClickHouse at {} did not finish an answer in {seconds} s", self.url),
            )
        };
        let mut cursor = query.fetch_bytes("RowBinary").map_err(explain)?;
        loop {
            let next = tokio::time::timeout_at(deadline, cursor.next()).await.map_err(late)?;
            match next.map_err(explain)? {
                Some(chunk) => each(&chunk)?,
                None => {
                    count(cursor.summary());
                    return Ok(());
                }
            }
        }
    }
}

/// Counts what a query cost ClickHouse. It says so in a header, which leaves with the first piece of
/// the answer: for a long answer the figures are what had been read by then.
fn count(summary: Option<&clickhouse::QuerySummary>) {
    let counters = &crate::events::COUNTERS;
    add(&counters.queries, 1);
    if let Some(summary) = summary {
        add(&counters.query_rows, summary.read_rows().unwrap_or(0));
        add(&counters.query_bytes, summary.read_bytes().unwrap_or(0));
        add(&counters.query_ns, summary.elapsed_ns().unwrap_or(0));
    }
}

/// `text` as an SQL string.
pub fn sql_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// `name` as an SQL identifier.
pub fn sql_name(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}
