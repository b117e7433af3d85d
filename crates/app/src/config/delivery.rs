//! The sections on where alerts go, on TLS, and on the HTTP port.

use super::section::Section;
use super::{LEVELS, MINUTE, SECOND, Secret, base_url, beside};
use crate::keep::{self, ApiKey, KeepSettings, SeverityMap};
use crate::outbox::OutboxSettings;
use crate::target::{FileSettings, FileTarget, Sink, Target, Webhook, WebhookSettings};
use crate::telemetry::otlp::OtlpSettings;
use crate::tls::TlsSettings;
use otel_log_ai_core::rule::Level;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// Name of Keep as a target, in the state file and the metrics.
const KEEP: &str = "keep";
/// How often Keep or a file that has nothing to take is asked whether it would.
const IDLE_PROBE: Duration = MINUTE;
/// Where the HTTP port is by default.
const LISTEN: &str = "127.0.0.1:9419";

/// Keep.
#[derive(Debug, Clone)]
pub struct Keep {
    /// `None`: alerts go to other targets only.
    pub url: Option<Url>,
    pub api_key: Secret,
    /// Empty: nobody looks whether alerts arrived.
    pub read_key: Secret,
    pub tls: TlsSettings,
    pub timeout: Duration,
    pub batch_alerts: usize,
    pub alerts_per_second: u64,
    pub severity: SeverityMap,
    pub retry_for: Duration,
}

/// A target besides Keep.
#[derive(Debug, Clone)]
pub struct Outlet {
    pub name: String,
    pub kind: OutletKind,
    /// Alerts of rules below are not sent there.
    pub min_level: Level,
    pub batch_alerts: usize,
    pub alerts_per_second: u64,
    pub retry_for: Duration,
}

/// What sort of target.
#[derive(Debug, Clone)]
pub enum OutletKind {
    Webhook(WebhookSettings),
    /// A file, or standard output.
    File(FileSettings),
}

/// The HTTP port.
#[derive(Debug, Clone)]
pub struct Port {
    pub listen: SocketAddr,
    /// Wanted for what shows data; never empty where others can reach the port.
    pub token: Secret,
}

/// A target with how it is delivered to.
#[derive(Debug)]
pub struct Delivery {
    /// The target.
    pub target: Target,
    /// How it is delivered to.
    pub settings: OutboxSettings,
    /// Alerts of rules below are not sent there.
    pub min_level: Level,
}

impl super::Config {
    /// Every target, ready to connect. The error says which one cannot be used and why.
    pub fn deliveries(&self) -> anyhow::Result<Vec<Delivery>> {
        let mut deliveries = Vec::new();
        if let Some(settings) = self.keep.settings() {
            let target = Target::new(KEEP, Sink::Keep(keep::Client::new(&settings)?));
            let settings = self.keep.outbox_settings();
            deliveries.push(Delivery { target, settings, min_level: Level::Informational });
        }
        for outlet in &self.targets {
            deliveries.push(outlet.delivery()?);
        }
        Ok(deliveries)
    }

    /// Names of all targets.
    pub fn target_names(&self) -> Vec<String> {
        let keep = self.keep.url.iter().map(|_| KEEP.to_owned());
        keep.chain(self.targets.iter().map(|outlet| outlet.name.clone())).collect()
    }
}

impl Keep {
    /// Where Keep is, if alerts go there.
    pub fn settings(&self) -> Option<KeepSettings> {
        let key = |secret: &Secret| (!secret.is_empty()).then(|| ApiKey::new(secret.reveal()));
        Some(KeepSettings {
            url: self.url.clone()?,
            api_key: key(&self.api_key),
            read_key: key(&self.read_key),
            tls: self.tls.clone(),
            connect_timeout: self.timeout.min(5 * SECOND),
            timeout: self.timeout,
        })
    }

    /// How alerts are delivered to Keep.
    pub fn outbox_settings(&self) -> OutboxSettings {
        OutboxSettings {
            batch_alerts: self.batch_alerts,
            alerts_per_second: self.alerts_per_second as f64,
            retry_for: self.retry_for,
            idle_probe: Some(IDLE_PROBE),
            ..OutboxSettings::default()
        }
    }
}

impl Outlet {
    fn delivery(&self) -> anyhow::Result<Delivery> {
        let sink = match &self.kind {
            OutletKind::Webhook(settings) => Sink::Webhook(
                Webhook::new(settings).map_err(|error| error.context(format!("target `{}`", self.name)))?,
            ),
            OutletKind::File(settings) => Sink::File(FileTarget::new(settings.clone())),
        };
        let settings = OutboxSettings {
            batch_alerts: self.batch_alerts,
            alerts_per_second: self.alerts_per_second as f64,
            retry_for: self.retry_for,
            // The distance between two words on one alert is for Keep, which handles them side by side.
            fingerprint_interval: Duration::ZERO,
            // Nobody knows what a webhook makes of an empty array that nobody asked for.
            idle_probe: matches!(self.kind, OutletKind::File(_)).then_some(IDLE_PROBE),
            ..OutboxSettings::default()
        };
        Ok(Delivery { target: Target::new(&self.name, sink), settings, min_level: self.min_level })
    }
}

/// Keep, which must be there where it is the only target.
pub fn keep(s: Section<'_>, base: &Path, only: bool) -> Keep {
    let url = |text: &str| base_url(text).map(Some);
    let parsed = Keep {
        url: if only { s.required("url", url) } else { s.parsed("url", None, url) },
        api_key: s.secret("api_key"),
        read_key: s.secret("read_key"),
        tls: tls(s.section("tls"), base),
        timeout: s.duration("timeout", 10 * SECOND, SECOND),
        batch_alerts: s.number("batch_alerts", 50, 1..=500) as usize,
        alerts_per_second: s.number("alerts_per_second", 5, 1..=1000),
        severity: severity(s.section("severity")),
        retry_for: s.duration("retry_for", 24 * 60 * MINUTE, MINUTE),
    };
    s.finish();
    parsed
}

fn severity(s: Section<'_>) -> SeverityMap {
    let default = SeverityMap::default();
    let parsed = SeverityMap {
        informational: s.parsed("informational", default.informational, str::parse),
        low: s.parsed("low", default.low, str::parse),
        medium: s.parsed("medium", default.medium, str::parse),
        high: s.parsed("high", default.high, str::parse),
        critical: s.parsed("critical", default.critical, str::parse),
    };
    s.finish();
    parsed
}

/// Files for TLS.
pub fn tls(s: Section<'_>, base: &Path) -> TlsSettings {
    let file = |key: &str| s.parsed(key, None, |text| Ok((!text.is_empty()).then(|| beside(base, text))));
    let parsed = TlsSettings { ca: file("ca"), certificate: file("certificate"), key: file("key") };
    if parsed.certificate.is_some() != parsed.key.is_some() {
        s.problem("certificate", "needs `key` beside it, and `key` needs `certificate`");
    }
    s.finish();
    parsed
}

/// The further targets.
pub fn targets(top: &Section<'_>, base: &Path) -> Vec<Outlet> {
    let mut outlets: Vec<Outlet> = Vec::new();
    for s in top.sections("targets") {
        let name = s.required("name", name);
        if name == KEEP || outlets.iter().any(|other| other.name == name) {
            s.problem("name", "is taken: each target needs a name of its own, and `keep` is Keep's");
        }
        let kinds = [("webhook", Some("webhook")), ("file", Some("file")), ("stdout", Some("stdout"))];
        let kind = match s.required("type", |text| super::word(text, &kinds)) {
            Some("webhook") => webhook(&s, base),
            Some("file") => OutletKind::File(FileSettings {
                path: s.required("path", |text| Ok(Some(beside(base, text)))),
                sync: s.word("fsync", true, &[("always", true), ("never", false)]),
            }),
            _ => OutletKind::File(FileSettings { path: None, sync: false }),
        };
        let fast = matches!(kind, OutletKind::File(_));
        outlets.push(Outlet {
            name,
            kind,
            min_level: s.word("min_level", Level::Informational, &LEVELS),
            batch_alerts: s.number("batch_alerts", 50, 1..=500) as usize,
            alerts_per_second: s.number("alerts_per_second", if fast { 1000 } else { 5 }, 1..=1000),
            retry_for: s.duration("retry_for", 24 * 60 * MINUTE, MINUTE),
        });
        s.finish();
    }
    outlets
}

fn webhook(s: &Section<'_>, base: &Path) -> OutletKind {
    let settings = WebhookSettings {
        url: s.required("url", |text| whole_url(text).map(Some)).unwrap_or_else(nowhere),
        secret: s.secret("secret"),
        token: s.secret("token"),
        timeout: s.duration("timeout", 10 * SECOND, SECOND),
        tls: tls(s.section("tls"), base),
    };
    OutletKind::Webhook(settings)
}

/// A name that can stand in a metric, a file and a command line.
fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    match !text.is_empty() && text.len() <= 32 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is not a name: use a-z, 0-9, `-` and `_`, at most 32 of them")),
    }
}

/// An address that is used as it is, with its path and query; the query is not repeated in messages.
fn whole_url(text: &str) -> Result<Url, String> {
    let without_query = text.split(['?', '#']).next().unwrap_or_default();
    base_url(without_query)?;
    let mut url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if url.query().is_some() {
        return Err("must not hold `?`: a secret in it would end up in messages; give it as `token`".into());
    }
    url.set_fragment(None);
    Ok(url)
}

/// Stands for a URL that was noted as missing; such a configuration is never handed out.
fn nowhere() -> Url {
    Url::parse("http://localhost").expect("a constant URL")
}

/// The HTTP port. Others may reach it only with a token.
pub fn port(s: Section<'_>) -> Option<Port> {
    let default = LISTEN.parse().ok();
    let listen: Option<SocketAddr> = s.parsed("listen", default, |text| match text {
        "" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| format!("`{text}` is not an address such as {LISTEN}")),
    });
    let token = s.secret("token");
    if token.is_empty() && listen.is_some_and(|address| !address.ip().is_loopback()) {
        s.problem("listen", "can be reached by others: set `http.token` as well, or listen on 127.0.0.1");
    }
    s.finish();
    listen.map(|listen| Port { listen, token })
}

/// Our own log and traces; `None`: they are not sent.
pub fn telemetry(s: Section<'_>, base: &Path) -> Option<OtlpSettings> {
    let endpoint = s.parsed("endpoint", None, |text| match text {
        "" => Ok(None),
        _ => base_url(text).map(Some),
    });
    let (token, logs, traces) = (s.secret("token"), s.boolean("logs", true), s.boolean("traces", true));
    let tls = tls(s.section("tls"), base);
    s.finish();
    endpoint.map(|endpoint| OtlpSettings { endpoint, token, logs, traces, tls })
}
