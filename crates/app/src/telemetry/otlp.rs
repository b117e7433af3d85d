//! The service's own log and traces, as OTLP/HTTP in JSON to a Collector of the user.
//!
//! What is told waits in a queue of bounded length and is sent in batches; where the Collector is
//! away it is tried for a while, then dropped and counted. Nothing waits for it.
//!
//! Rows of our own log come back to us through the Collector and SigNoz. They are known by the
//! resource attributes `service.name` and `service.instance.id`; the latter is a random number of
//! this process, so that nobody hides from the rules by giving himself our name. Such rows are not
//! evaluated.

use super::metrics::METRICS;
use crate::config::Secret;
use crate::target::http;
use crate::tls::TlsSettings;
use anyhow::Context;
use otel_log_ai_core::otel::LogRecord;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use std::fmt::{Debug, Write};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context as LayerContext, Layer};
use url::Url;

/// `service.name` of what we tell.
const SERVICE: &str = "otel-log-ai";
/// Most records and spans that wait to be sent.
const QUEUE_MAX: usize = 4_096;
/// Most in one request.
const BATCH_MAX: usize = 512;
/// How long a batch is gathered.
const GATHER: Duration = Duration::from_secs(2);
/// Attempts for one batch, and the wait between them.
const ATTEMPTS: u32 = 3;
const RETRY_WAIT: Duration = Duration::from_secs(5);
/// Longest text of a message or attribute, bytes.
const TEXT_MAX: usize = 4_096;
/// How long the last batch may take when the service stops.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Where to, and what.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// Base address, such as `http://localhost:4318`; `/v1/logs` and `/v1/traces` are appended.
    pub endpoint: Url,
    /// Sent as `Authorization: Bearer`; empty: not sent.
    pub token: Secret,
    /// Whether the log is sent.
    pub logs: bool,
    /// Whether spans of what the service does are sent.
    pub traces: bool,
    /// Whom to trust and who we are.
    pub tls: TlsSettings,
}

/// The way of spans and records to the exporter, once there is one.
static OUT: OnceLock<Out> = OnceLock::new();

#[derive(Debug)]
struct Out {
    queue: mpsc::Sender<Told>,
    instance: String,
    logs: bool,
    traces: bool,
}

/// Something to tell, in OTLP's JSON.
#[derive(Debug)]
enum Told {
    Log(Value),
    Span(Value),
}

/// Whether a row is of our own log.
pub fn is_own(record: &LogRecord<'_>) -> bool {
    OUT.get().is_some_and(|out| {
        record.resource("service.instance.id") == Some(out.instance.as_str())
            && record.resource("service.name") == Some(SERVICE)
    })
}

/// A piece of work, to be told when it is done. Several pieces may share a trace.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    trace: u128,
    began: SystemTime,
}

impl Span {
    /// Begins one with a trace of its own.
    pub fn begin() -> Span {
        let trace = if OUT.get().is_some_and(|out| out.traces) { rand::random() } else { 0 };
        Span { trace, began: SystemTime::now() }
    }

    /// Begins the next one of the same trace.
    pub fn next(self) -> Span {
        Span { began: SystemTime::now(), ..self }
    }

    /// Tells it under a name with some numbers.
    pub fn end(self, name: &'static str, numbers: &[(&'static str, u64)]) {
        let Some(out) = OUT.get().filter(|out| out.traces && self.trace != 0) else { return };
        let attributes: Vec<Value> = numbers.iter().map(|(key, value)| attribute(key, int(*value))).collect();
        let span = json!({
            "traceId": format!("{:032x}", self.trace),
            "spanId": format!("{:016x}", rand::random::<u64>().max(1)),
            "name": name,
            "kind": 1,
            "startTimeUnixNano": nanos(self.began),
            "endTimeUnixNano": nanos(SystemTime::now()),
            "attributes": attributes,
        });
        put(out, Told::Span(span));
    }
}

fn put(out: &Out, told: Told) {
    if out.queue.try_send(told).is_err() {
        METRICS.telemetry_dropped(1);
    }
}

/// Hands our log records to the exporter.
#[derive(Debug)]
pub struct OtlpLayer(());

/// Sends what waits.
#[derive(Debug)]
pub struct Exporter {
    http: reqwest::Client,
    headers: HeaderMap,
    logs: Url,
    traces: Url,
    resource: Value,
    queue: mpsc::Receiver<Told>,
    /// The last error, told once.
    trouble: Option<String>,
}

/// Prepares both ends. May be called once in a process.
pub fn prepare(settings: &OtlpSettings) -> anyhow::Result<(OtlpLayer, Exporter)> {
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    if !settings.token.is_empty() {
        // The reason would quote the token.
        let mut token = HeaderValue::from_str(&format!("Bearer {}", settings.token.reveal()))
            .ok()
            .context("`telemetry.token` holds characters that no HTTP header can carry")?;
        token.set_sensitive(true);
        headers.insert(AUTHORIZATION, token);
    }
    let timeout = Duration::from_secs(10);
    let http = http::client(timeout / 2, timeout, &settings.tls).context("prepare `telemetry`")?;
    let at = |signal: &str| -> anyhow::Result<Url> {
        let mut url = settings.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("`telemetry.endpoint` cannot be a base address"))?
            .pop_if_empty()
            .extend(["v1", signal]);
        Ok(url)
    };
    let instance = uuid::Uuid::new_v4().to_string();
    let resource = json!({"attributes": [
        attribute("service.name", text(SERVICE)),
        attribute("service.version", text(env!("CARGO_PKG_VERSION"))),
        attribute("service.instance.id", text(&instance)),
    ]});
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let (logs, traces) = (at("logs")?, at("traces")?);
    let out = Out { queue: sender, instance, logs: settings.logs, traces: settings.traces };
    OUT.set(out).map_err(|_| anyhow::anyhow!("telemetry was prepared before"))?;
    Ok((OtlpLayer(()), Exporter { http, headers, logs, traces, resource, queue, trouble: None }))
}

impl Exporter {
    /// Sends until `stop` is true, then what is left, within a limit.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                received = self.queue.recv_many(&mut batch, 1) => if received == 0 { break },
            }
            let end = tokio::time::Instant::now() + GATHER;
            while batch.len() < BATCH_MAX && !*stop.borrow() {
                let room = BATCH_MAX - batch.len();
                let more = self.queue.recv_many(&mut batch, room);
                match tokio::time::timeout_at(end, more).await {
                    Ok(received) if received > 0 => {}
                    _ => break,
                }
            }
            let mut sending = std::pin::pin!(self.send(std::mem::take(&mut batch)));
            let stopped = tokio::select! {
                () = &mut sending => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            if stopped {
                let _ = tokio::time::timeout(LAST_WAIT, sending).await;
                break;
            }
        }
        while let Ok(told) = self.queue.try_recv() {
            batch.push(told);
        }
        let _ = tokio::time::timeout(LAST_WAIT, self.send(batch)).await;
    }

    async fn send(&mut self, batch: Vec<Told>) {
        let (mut logs, mut spans) = (Vec::new(), Vec::new());
        for told in batch {
            match told {
                Told::Log(record) => logs.push(record),
                Told::Span(span) => spans.push(span),
            }
        }
        let scope = json!({"name": SERVICE, "version": env!("CARGO_PKG_VERSION")});
        if !logs.is_empty() {
            let (url, count) = (self.logs.clone(), logs.len());
            let scopes = json!([{"scope": scope, "logRecords": logs}]);
            let body = json!({"resourceLogs": [{"resource": self.resource, "scopeLogs": scopes}]});
            self.post(url, body, count).await;
        }
        if !spans.is_empty() {
            let (url, count) = (self.traces.clone(), spans.len());
            let scopes = json!([{"scope": scope, "spans": spans}]);
            let body = json!({"resourceSpans": [{"resource": self.resource, "scopeSpans": scopes}]});
            self.post(url, body, count).await;
        }
    }

    async fn post(&mut self, url: Url, body: Value, count: usize) {
        let body = body.to_string();
        for attempt in 1..=ATTEMPTS {
            let request = self.http.post(url.clone()).headers(self.headers.clone()).body(body.clone());
            let trouble = match request.send().await {
                Ok(response) if response.status().is_success() => {
                    self.trouble = None;
                    return;
                }
                Ok(response) => http::reason(response.status(), ""),
                Err(error) => http::unreachable(error),
            };
            if self.trouble.as_ref() != Some(&trouble) {
                tracing::warn!(reason = trouble, "our own log and traces cannot be sent to {url}");
                self.trouble = Some(trouble);
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(RETRY_WAIT).await;
            }
        }
        METRICS.telemetry_dropped(count as u64);
    }
}

impl<S: tracing::Subscriber> Layer<S> for OtlpLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: LayerContext<'_, S>) {
        let Some(out) = OUT.get().filter(|out| out.logs) else { return };
        let metadata = event.metadata();
        // Only what we say ourselves; and not that this very way is broken.
        if !metadata.target().starts_with("otel_log_ai") || metadata.target() == module_path!() {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (number, severity) = match *metadata.level() {
            tracing::Level::ERROR => (17, "ERROR"),
            tracing::Level::WARN => (13, "WARN"),
            tracing::Level::INFO => (9, "INFO"),
            tracing::Level::DEBUG => (5, "DEBUG"),
            tracing::Level::TRACE => (1, "TRACE"),
        };
        let now = nanos(SystemTime::now());
        fields.attributes.push(attribute("code.namespace", text(metadata.target())));
        let record = json!({
            "timeUnixNano": now,
            "observedTimeUnixNano": now,
            "severityNumber": number,
            "severityText": severity,
            "body": text(&fields.message),
            "attributes": fields.attributes,
        });
        put(out, Told::Log(record));
    }
}

/// The fields of an event.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    attributes: Vec<Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        self.attributes.push(attribute(field.name(), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.add(field, text(&format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            _ => self.add(field, text(value)),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, int(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, json!({"intValue": value.to_string()}));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, json!({"boolValue": value}));
    }
}

fn attribute(key: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([("key".to_owned(), key.into()), ("value".to_owned(), value)]))
}

fn text(text: &str) -> Value {
    json!({"stringValue": &text[..text.floor_char_boundary(TEXT_MAX)]})
}

/// OTLP's JSON writes 64-bit numbers as text.
fn int(value: u64) -> Value {
    json!({"intValue": value.to_string()})
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
