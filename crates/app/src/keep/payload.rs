//! A notification as the JSON object that Keep's `/alerts/event` takes.
//!
//! Every key is always there: Keep's correlation rules and workflows fail or misjudge where one is
//! missing. The set of keys and labels is closed, because each becomes a facet in Keep for ever;
//! open sets (the matched fields) stand in the list `evidence`, which is one facet.
//!
//! Never sent, because Keep computes them, drops the alert over them or lets them override what
//! people do: `startedAt`, `firingStartTime`, `firingCounter`, `unresolvedCounter`, `pushed`,
//! `event_id`, `providerId`, `providerType`, `alert_hash`, `isFullDuplicate`, `isPartialDuplicate`,
//! `deleted`, `dismissed`, `dismissUntil`, `incident`, `isNoisy`, `enriched_fields`, `apiKeyRef`,
//! `imageUrl`, `note`, `assignee`.

use super::description;
use super::text::{block, line};
use crate::signoz;
use crate::store::OutboxItem;
use jiff::Timestamp;
use otel_log_ai_core::alert::{Evidence, Kind, Notification, OpenAlert};
use otel_log_ai_core::rule::Level;
use serde_json::{Map, Value, json};
use std::str::FromStr;
use url::Url;

/// `source` of every alert: what Keep shows as the provider.
const SOURCE: &str = "otel-log-ai";
/// Longest `name` and `message`, bytes; longer ones are cut in Keep's lists anyway.
const NAME_MAX: usize = 250;
const MESSAGE_MAX: usize = 500;
/// Longest label and entity value, bytes.
const VALUE_MAX: usize = 256;
/// Longest log text and longest field value of a specimen, bytes.
const BODY_MAX: usize = 2048;
const FIELD_MAX: usize = 1024;
/// Most tactics and most techniques of a rule; the richest of SigmaHQ's has six.
const TAGS_MAX: usize = 32;
/// How much of the logs before the first and after the last event the link shows, milliseconds.
const LINK_MARGIN_MS: i64 = 60_000;

/// How alerts are written for Keep.
#[derive(Debug, Clone, PartialEq)]
pub struct PayloadSettings {
    /// `environment` of every alert.
    pub environment: String,
    /// What Keep is told of a rule's level.
    pub severity: SeverityMap,
    /// Base URL of SigNoz's web interface, for the links; `None`: no links.
    pub signoz_url: Option<Url>,
}

/// Keep's severities; it takes any other word for `info` without telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepSeverity {
    /// The lowest.
    Low,
    /// Above low, below warning.
    Info,
    /// In the middle.
    Warning,
    /// Below critical.
    High,
    /// The highest.
    Critical,
}

impl KeepSeverity {
    /// Keep's word.
    pub fn as_str(self) -> &'static str {
        match self {
            KeepSeverity::Low => "low",
            KeepSeverity::Info => "info",
            KeepSeverity::Warning => "warning",
            KeepSeverity::High => "high",
            KeepSeverity::Critical => "critical",
        }
    }
}

impl FromStr for KeepSeverity {
    type Err = String;

    /// Reads Keep's word; the error names what is possible.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        use KeepSeverity::{Critical, High, Info, Low, Warning};
        let found =
            [Low, Info, Warning, High, Critical].into_iter().find(|severity| severity.as_str() == word);
        found.ok_or_else(|| {
            format!("`{word}` is not a severity of Keep: must be one of low, info, warning, high, critical")
        })
    }
}

/// Keep's severity for each Sigma level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeverityMap {
    /// For `informational`.
    pub informational: KeepSeverity,
    /// For `low`.
    pub low: KeepSeverity,
    /// For `medium`.
    pub medium: KeepSeverity,
    /// For `high`.
    pub high: KeepSeverity,
    /// For `critical`.
    pub critical: KeepSeverity,
}

impl Default for SeverityMap {
    /// By order and not by name: Keep's `info` stands above its `low`.
    fn default() -> Self {
        SeverityMap {
            informational: KeepSeverity::Low,
            low: KeepSeverity::Info,
            medium: KeepSeverity::Warning,
            high: KeepSeverity::High,
            critical: KeepSeverity::Critical,
        }
    }
}

impl SeverityMap {
    /// Keep's severity for `level`.
    pub fn of(&self, level: Level) -> KeepSeverity {
        match level {
            Level::Informational => self.informational,
            Level::Low => self.low,
            Level::Medium => self.medium,
            Level::High => self.high,
            Level::Critical => self.critical,
        }
    }
}

/// The alert that Keep gets for `notification`. The same notification gives the same bytes; a
/// repeated one differs in `lastReceived` only, which Keep ignores when it looks for duplicates.
pub fn payload(notification: &Notification, settings: &PayloadSettings) -> Value {
    let alert = &notification.alert;
    let (rule, origin) = (&alert.rule, &alert.origin);
    let first_seen = time_ns(alert.first_seen_ns);
    let last_seen = time_ns(alert.last_seen_ns);
    let service = if origin.service.is_empty() { "unknown".to_owned() } else { value(&origin.service) };
    let techniques = techniques(alert);
    json!({
        "id": notification.id.to_string(),
        "fingerprint": alert.fingerprint,
        "name": line(&rule.title, NAME_MAX),
        "status": if notification.is_resolved() { "resolved" } else { "firing" },
        "severity": settings.severity.of(rule.level).as_str(),
        "lastReceived": time_ms(notification.at_ms),
        "environment": line(&settings.environment, VALUE_MAX),
        "service": service,
        "source": [SOURCE],
        "message": message(notification),
        "description": description::markdown(notification, &first_seen, &last_seen),
        "description_format": "markdown",
        "url": logs_url(alert, settings),
        "playbook_url": null,
        "rule_id": value(&rule.id),
        "host": value(&origin.host),
        "match_count": alert.count,
        "first_seen": first_seen,
        "last_seen": last_seen,
        "trace_id": value(&origin.trace_id),
        "hosts": values(&alert.hosts.values),
        "users": values(&alert.users.values),
        "src_ips": values(&alert.src_ips.values),
        "labels": labels(alert, &techniques),
        "mitre": {"tactics": tactics(alert), "techniques": techniques},
        "evidence": alert.evidence.iter().map(specimen).collect::<Vec<_>>(),
    })
}

/// The queue's row for `notification` to the target of this name, its bytes frozen.
pub fn outbox_item(notification: &Notification, target: &str, payload: Vec<u8>) -> OutboxItem {
    OutboxItem {
        target: target.to_owned(),
        id: notification.id,
        group_id: notification.group_id,
        fingerprint: notification.alert.fingerprint,
        resolved: notification.is_resolved(),
        queued_at_ms: notification.at_ms,
        payload,
    }
}

/// `payload` with its large parts taken out, for a receiver that finds it too large. `None` where
/// it is not an object.
pub fn shortened(payload: &[u8]) -> Option<Vec<u8>> {
    let mut alert: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    alert.insert("evidence".to_owned(), json!([]));
    for (key, bytes_max) in [("description", 1000), ("message", 300)] {
        if let Some(Value::String(text)) = alert.get_mut(key)
            && text.len() > bytes_max
        {
            // Markdown may be cut in the midst of a fence: it is shown to its end as code then.
            *text = format!("{}…", &text[..text.floor_char_boundary(bytes_max)]);
        }
    }
    serde_json::to_vec(&alert).ok()
}

/// `payload` without the content of the key that Keep finds invalid; `None` for a key without which
/// the alert would not be the same one any more.
pub fn without(payload: &[u8], key: &str) -> Option<Vec<u8>> {
    let mut alert: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    let essential = ["id", "fingerprint", "name", "status", "severity", "source", "lastReceived"];
    if essential.contains(&key) || !alert.contains_key(key) {
        return None;
    }
    alert.shift_remove(key);
    serde_json::to_vec(&alert).ok()
}

/// One line: what, where, how many, and the beginning of the evidence. Workflows cannot reach into
/// `evidence`, so what a notification should show stands here.
fn message(notification: &Notification) -> String {
    let alert = &notification.alert;
    let prefix = if notification.kind == Kind::Resolved { "Resolved: " } else { "" };
    let title = line(&alert.rule.title, NAME_MAX);
    let place = place(alert);
    let events = if alert.count == 1 { "1 event".to_owned() } else { format!("{} events", alert.count) };
    let evidence = alert.evidence.first().map(headline).unwrap_or_default();
    let evidence = if evidence.is_empty() { evidence } else { format!(": {evidence}") };
    line(&format!("{prefix}{title}{place}, {events}{evidence}"), MESSAGE_MAX)
}

/// Where it happened, as part of a sentence.
fn place(alert: &OpenAlert) -> String {
    if alert.of_many {
        let more = if alert.hosts.more { "more than " } else { "" };
        return match alert.hosts.values.len() {
            0 => " in many places".to_owned(),
            hosts => format!(" on {more}{hosts} further hosts"),
        };
    }
    match (alert.origin.host.as_str(), alert.origin.service.as_str()) {
        ("", "") => String::new(),
        ("", service) => format!(" on {}", value(service)),
        (host, _) => format!(" on {}", value(host)),
    }
}

/// The matched fields of a structured record, for its text begins with what is least telling; the
/// first line with a word in it of any other.
fn headline(evidence: &Evidence) -> String {
    let text = evidence.excerpt.trim_start();
    if !evidence.fields.is_empty() && (text.is_empty() || text.starts_with(['{', '<'])) {
        let fields: Vec<_> = evidence.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        return line(&fields.join(", "), MESSAGE_MAX);
    }
    let telling = text.lines().find(|line| line.contains(char::is_alphanumeric));
    line(telling.unwrap_or_default(), MESSAGE_MAX)
}

/// Flat, the same keys for every alert, all values text: Keep fails on anything else.
fn labels(alert: &OpenAlert, techniques: &[String]) -> Value {
    let (rule, origin) = (&alert.rule, &alert.origin);
    let tactics = tactics(alert);
    json!({
        "rule_id": value(&rule.id),
        "rule_level": rule.level.as_str(),
        "rule_status": rule.status.map_or("", |status| status.as_str()),
        "rule_author": value(&rule.author),
        "logsource": value(&rule.logsource.to_string()),
        "host": value(&origin.host),
        "user": value(&origin.user),
        "src_ip": value(&origin.src_ip),
        "k8s_namespace": value(&origin.k8s_namespace),
        "k8s_pod": value(&origin.k8s_pod),
        "container": value(&origin.container),
        "tactic": tactics.first().map_or("", String::as_str),
        "tactics": line(&tactics.join(","), FIELD_MAX),
        "technique": techniques.first().map_or("", String::as_str),
        "techniques": line(&techniques.join(","), FIELD_MAX),
        "tags": line(&rule.tags.join(","), FIELD_MAX),
    })
}

/// Tactics as ATT&CK writes them, with hyphens; older rules have underscores.
fn tactics(alert: &OpenAlert) -> Vec<String> {
    distinct(alert.rule.tactics().into_iter().map(|tactic| tactic.replace('_', "-")))
}

fn techniques(alert: &OpenAlert) -> Vec<String> {
    distinct(alert.rule.techniques().into_iter())
}

/// The first [`TAGS_MAX`] different ones, in the order of the rule.
fn distinct(tags: impl Iterator<Item = String>) -> Vec<String> {
    let mut out = Vec::new();
    for tag in tags.map(|tag| value(&tag)) {
        if out.len() < TAGS_MAX && !out.contains(&tag) {
            out.push(tag);
        }
    }
    out
}

/// One specimen. `attributes` does not come last: the dictionary's text in a workflow would end in
/// `}}`, which Keep takes for half a template.
fn specimen(evidence: &Evidence) -> Value {
    let mut attributes: Map<String, Value> = Map::new();
    for (name, text) in &evidence.fields {
        let name = if name.is_empty() { "keyword" } else { name };
        let text = block(text, FIELD_MAX);
        let key = line(name, VALUE_MAX);
        let joined = match attributes.get(&key).and_then(Value::as_str) {
            Some(before) => block(&format!("{before}\n{text}"), FIELD_MAX),
            None => text,
        };
        attributes.insert(key, joined.into());
    }
    json!({
        "timestamp": time_ns(evidence.timestamp_ns),
        "record_id": value(&evidence.record_id),
        "attributes": attributes,
        "body": block(&evidence.excerpt, BODY_MAX),
    })
}

fn logs_url(alert: &OpenAlert, settings: &PayloadSettings) -> Option<String> {
    let base = settings.signoz_url.as_ref()?;
    let from_ms = ms(alert.first_seen_ns).saturating_sub(LINK_MARGIN_MS);
    let to_ms = ms(alert.last_seen_ns).saturating_add(LINK_MARGIN_MS);
    signoz::logs_url(base, &alert.origin.host, &alert.origin.service, from_ms, to_ms)
}

fn value(text: &str) -> String {
    line(text, VALUE_MAX)
}

fn values(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| value(text)).collect()
}

fn ms(ns: u64) -> i64 {
    i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX)
}

fn time_ns(ns: u64) -> String {
    time_ms(ms(ns))
}

/// ISO 8601 with milliseconds, as Keep stores it.
fn time_ms(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests;
