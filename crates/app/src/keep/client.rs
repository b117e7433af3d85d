//! Keep over HTTP: one request, and what its answer means.
//!
//! Nothing is decided here about trying again later. Redirects are not followed (a POST would
//! become a GET), requests are not compressed (Keep answers 400), and a connection is given up
//! after a second without use, because Keep's server closes it after two.

use super::text;
use crate::target::http::{self, QUOTE_MAX};
use crate::target::{InvalidElement, Reply};
use crate::tls::TlsSettings;
use anyhow::Context;
use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use url::Url;

/// Longest answer to the question what Keep has, bytes: fifty alerts with their evidence.
const STORED_MAX: usize = 16 << 20;

/// Where Keep is and how long it may take.
#[derive(Debug, Clone)]
pub struct KeepSettings {
    /// Base URL of the backend, with its path prefix if it has one.
    pub url: Url,
    /// Key with the role `webhook`. Where there is none a dummy is sent: Keep wants a key even
    /// when it does not check it.
    pub api_key: Option<ApiKey>,
    /// Key that may read alerts (role `noc` or `admin`), to look whether they arrived; `None`: not
    /// looked.
    pub read_key: Option<ApiKey>,
    /// Whom to trust and who we are.
    pub tls: TlsSettings,
    /// For connecting. Recommended: 5 s.
    pub connect_timeout: Duration,
    /// For a whole request. Recommended: 10 s.
    pub timeout: Duration,
}

/// A secret that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes the key as it was configured.
    pub fn new(key: impl Into<String>) -> ApiKey {
        ApiKey(key.into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A connection to one Keep.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    headers: HeaderMap,
    /// Where and with which headers to ask what Keep has.
    reading: Option<(Url, HeaderMap)>,
    /// Whether the connection that the next request finds may be one that Keep has closed.
    used: AtomicBool,
}

impl Client {
    /// Prepares a client; connects to nothing yet.
    pub fn new(settings: &KeepSettings) -> anyhow::Result<Client> {
        let mut endpoint = settings.url.clone();
        let secret = settings.url.password().is_some() || !settings.url.username().is_empty();
        anyhow::ensure!(!secret, "`keep.url` holds a user name or password: give the key as `keep.api_key`");
        endpoint.set_query(None);
        endpoint.set_fragment(None);
        let at = |end: [&str; 2]| -> anyhow::Result<Url> {
            let mut url = endpoint.clone();
            url.path_segments_mut()
                .map_err(|()| anyhow::anyhow!("`keep.url` cannot be a base address"))?
                .pop_if_empty()
                .extend(end);
            Ok(url)
        };
        let headers =
            headers(settings.api_key.as_ref().map_or("none", |key| key.0.as_str()), "keep.api_key")?;
        let reading = match &settings.read_key {
            Some(key) => Some((at(["alerts", "batch"])?, self::headers(&key.0, "keep.read_key")?)),
            None => None,
        };
        let endpoint = at(["alerts", "event"])?;
        let http = http::client(settings.connect_timeout, settings.timeout, &settings.tls)
            .context("prepare to reach Keep")?;
        Ok(Client { http, endpoint, headers, reading, used: AtomicBool::new(false) })
    }

    /// Where alerts are posted to.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Asks, without leaving a trace in Keep, whether alerts would be taken: posts an empty array.
    /// The error says in plain words what is wrong and what to do.
    pub async fn probe(&self) -> Result<(), String> {
        match self.post(Bytes::from_static(b"[]")).await {
            Reply::Accepted => Ok(()),
            Reply::Unreachable { reason, .. } => {
                Err(format!("Keep cannot be reached at {}: {reason}", self.endpoint))
            }
            Reply::Misconfigured { reason } => Err(reason),
            Reply::TooMany { reason, .. } => {
                Err(format!("Keep limits the rate of requests, also of this one: {reason}"))
            }
            Reply::ServerError { reason } | Reply::Malformed { reason } | Reply::Invalid { reason, .. } => {
                Err(format!("what answers at {} fails: {reason}", self.endpoint))
            }
            Reply::TooLarge => Err(format!("what answers at {} finds two bytes too large", self.endpoint)),
        }
    }

    /// Whether there is a key to ask with what Keep has.
    pub fn can_read(&self) -> bool {
        self.reading.is_some()
    }

    /// The id of the last alert that Keep has of each of these fingerprints.
    pub async fn stored(&self, fingerprints: &[&str]) -> Result<BTreeMap<String, String>, String> {
        let Some((url, headers)) = &self.reading else { return Err("`keep.read_key` is not set".to_owned()) };
        let body = serde_json::to_vec(fingerprints).unwrap_or_default();
        let request = self.http.post(url.clone()).headers(headers.clone()).body(body);
        let mut response = request.send().await.map_err(http::unreachable)?;
        let status = response.status();
        let answer = http::body(&mut response, STORED_MAX).await;
        if !status.is_success() {
            let reason = http::reason(status, &String::from_utf8_lossy(&answer));
            return Err(match status.as_u16() {
                401 | 403 => format!(
                    "Keep refuses `keep.read_key` ({reason}): it needs the role `noc` or `admin`, `webhook` may \
                     not read"
                ),
                _ => reason,
            });
        }
        let alerts: Vec<Value> = serde_json::from_slice(&answer)
            .map_err(|error| format!("what Keep has cannot be read: {error}"))?;
        let of = |alert: &Value| {
            Some((
                alert["fingerprint"].as_str()?.to_owned(),
                alert["id"].as_str().unwrap_or_default().to_owned(),
            ))
        };
        Ok(alerts.iter().filter_map(of).collect())
    }

    /// Posts a JSON array of alerts.
    pub async fn post(&self, body: Bytes) -> Reply {
        let mut outcome = self.send(body.clone()).await;
        if let Err(error) = &outcome
            && !error.is_connect()
            && !error.is_timeout()
            && self.used.swap(false, Ordering::Relaxed)
        {
            // Keep closed the idle connection at the moment we used it.
            outcome = self.send(body).await;
        }
        match outcome {
            Ok((status, headers, answer)) => {
                self.used.store(true, Ordering::Relaxed);
                self.meaning(status, &headers, &answer)
            }
            Err(error) => {
                self.used.store(false, Ordering::Relaxed);
                Reply::Unreachable { sent: !error.is_connect(), reason: http::unreachable(error) }
            }
        }
    }

    async fn send(&self, body: Bytes) -> reqwest::Result<(StatusCode, HeaderMap, String)> {
        let request = self.http.post(self.endpoint.clone()).headers(self.headers.clone()).body(body);
        Ok(http::read(request.send().await?).await)
    }

    fn meaning(&self, status: StatusCode, headers: &HeaderMap, answer: &str) -> Reply {
        let reason = http::reason(status, answer);
        let at = &self.endpoint;
        let misconfigured = |reason| Reply::Misconfigured { reason };
        match status.as_u16() {
            202 => Reply::Accepted,
            400 => Reply::Malformed { reason },
            401 => misconfigured(format!(
                "Keep refuses the API key ({reason}): set `keep.api_key` to a key with the role `webhook`"
            )),
            403 => misconfigured(format!(
                "Keep's API key may not send alerts ({reason}): give it the role `webhook` or `admin`, \
                 and see that Keep is not read-only"
            )),
            404 | 405 => misconfigured(format!(
                "no Keep backend answers at {at} ({reason}): `keep.url` must be the backend's base address, \
                 with the prefix of a proxy if there is one (often `/v2`), without `/alerts/event`"
            )),
            408 | 500..=599 => Reply::ServerError { reason },
            413 => Reply::TooLarge,
            422 => Reply::Invalid { elements: invalid_elements(answer), reason },
            429 => Reply::TooMany { retry_after: http::retry_after(headers), reason },
            300..=399 => misconfigured(format!(
                "{at} redirects elsewhere ({reason}): set `keep.url` to the final address of Keep's backend \
                 (http or https? with which prefix?)"
            )),
            200..=299 => misconfigured(format!(
                "{at} answers {reason} where Keep answers 202: `keep.url` must be the backend, not the web \
                 interface"
            )),
            _ => misconfigured(format!("{at} answers {reason}, which Keep does not: check `keep.url`")),
        }
    }
}

/// What every request carries.
fn headers(key: &str, setting: &str) -> anyhow::Result<HeaderMap> {
    // The reason would quote the key.
    let mut key = HeaderValue::from_str(key)
        .ok()
        .with_context(|| format!("`{setting}` holds characters that no HTTP header can carry"))?;
    key.set_sensitive(true);
    Ok(HeaderMap::from_iter([
        (HeaderName::from_static("x-api-key"), key),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ]))
}

/// The elements that a 422 names by `loc: ["body", index, field]`.
fn invalid_elements(answer: &str) -> Vec<InvalidElement> {
    let Ok(answer) = serde_json::from_str::<Value>(answer) else { return Vec::new() };
    let mut elements: Vec<InvalidElement> = Vec::new();
    for problem in answer["detail"].as_array().into_iter().flatten() {
        let place = &problem["loc"];
        let (Some("body"), Some(index)) = (place[0].as_str(), place[1].as_u64()) else { continue };
        let Ok(index) = usize::try_from(index) else { continue };
        if elements.iter().any(|known| known.index == index) {
            continue;
        }
        let field = place[2].as_str().unwrap_or_default().to_owned();
        let reason = text::line(problem["msg"].as_str().unwrap_or("invalid"), QUOTE_MAX);
        elements.push(InvalidElement { index, field, reason });
    }
    elements
}
