//! Keep over HTTP: one request, and what its answer means.
//!
//! Nothing is decided here about trying again later. Redirects are not followed (a POST would
//! become a GET), requests are not compressed (Keep answers 400), and a connection is given up
//! after a second without use, because Keep's server closes it after two.

use super::text;
use anyhow::Context;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, redirect};
use serde_json::Value;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use url::Url;

/// Keep closes idle connections after 2 s.
const POOL_IDLE: Duration = Duration::from_secs(1);
/// Longest part of an answer that is read, bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// Longest part of an answer that is told to people, bytes.
const QUOTE_MAX: usize = 300;

/// Where Keep is and how long it may take.
#[derive(Debug, Clone)]
pub struct KeepSettings {
    /// Base URL of the backend, with its path prefix if it has one.
    pub url: Url,
    /// Key with the role `webhook`. Where there is none a dummy is sent: Keep wants a key even
    /// when it does not check it.
    pub api_key: Option<ApiKey>,
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

/// What Keep's answer, or the lack of one, means. The texts are for people and bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Taken into Keep's memory; more is never promised.
    Accepted,
    /// No answer. `sent`: the request may have arrived.
    Unreachable {
        /// Whether Keep may have taken it all the same.
        sent: bool,
        /// Why.
        reason: String,
    },
    /// Keep or a proxy before it failed.
    ServerError {
        /// The answer.
        reason: String,
    },
    /// Too many requests.
    TooMany {
        /// How long to wait, where the answer says so; Keep itself does not.
        retry_after: Option<Duration>,
        /// The answer.
        reason: String,
    },
    /// The request is too large for a proxy before Keep.
    TooLarge,
    /// Some alerts do not have the form Keep wants, and none was taken.
    Invalid {
        /// Which and why, as far as the answer says so.
        elements: Vec<InvalidElement>,
        /// The answer.
        reason: String,
    },
    /// Keep could not make sense of the request.
    Malformed {
        /// The answer.
        reason: String,
    },
    /// Address or key are wrong: nothing will arrive until somebody changes something.
    Misconfigured {
        /// What is wrong and what to do.
        reason: String,
    },
}

/// One alert of a request that Keep finds invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidElement {
    /// Its place in the array.
    pub index: usize,
    /// The key that is wrong; empty where the answer names none.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A connection to one Keep.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    headers: HeaderMap,
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
        endpoint
            .path_segments_mut()
            .map_err(|()| anyhow::anyhow!("`keep.url` cannot be a base address"))?
            .pop_if_empty()
            .extend(["alerts", "event"]);
        let key = settings.api_key.as_ref().map_or("none", |key| key.0.as_str());
        // The reason would quote the key.
        let mut key = HeaderValue::from_str(key)
            .ok()
            .context("`keep.api_key` holds characters that no HTTP header can carry")?;
        key.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("x-api-key"), key),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        let http = reqwest::Client::builder()
            .user_agent(concat!("otel-log-ai/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(1)
            .redirect(redirect::Policy::none())
            .build()
            .context("prepare the HTTP client for Keep")?;
        Ok(Client { http, endpoint, headers, used: AtomicBool::new(false) })
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
                Reply::Unreachable { sent: !error.is_connect(), reason: unreachable(error) }
            }
        }
    }

    async fn send(&self, body: Bytes) -> reqwest::Result<(StatusCode, HeaderMap, String)> {
        let request = self.http.post(self.endpoint.clone()).headers(self.headers.clone()).body(body);
        let mut response: Response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answer = Vec::new();
        // The status is the answer; a body that breaks off does not change it.
        while let Ok(Some(chunk)) = response.chunk().await {
            answer.extend_from_slice(&chunk);
            if answer.len() > ANSWER_MAX {
                break;
            }
        }
        Ok((status, headers, String::from_utf8_lossy(&answer).into_owned()))
    }

    fn meaning(&self, status: StatusCode, headers: &HeaderMap, answer: &str) -> Reply {
        let detail = detail(answer);
        let reason = if detail.is_empty() { status.to_string() } else { format!("{status}: {detail}") };
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
            429 => Reply::TooMany { retry_after: retry_after(headers), reason },
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

/// The reasons of a failed request, without its address.
fn unreachable(error: reqwest::Error) -> String {
    let what = if error.is_timeout() { "no answer in time" } else { "" };
    let error = error.without_url();
    let mut reasons = vec![what.to_owned()];
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(error) = source {
        reasons.push(error.to_string());
        source = error.source();
    }
    if reasons.len() == 1 && what.is_empty() {
        reasons.push(error.to_string());
    }
    reasons.retain(|reason| !reason.is_empty());
    reasons.dedup();
    text::line(&reasons.join(": "), QUOTE_MAX)
}

/// What an answer says, for people: it comes from outside and is treated like log text.
fn detail(answer: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(answer).ok();
    let told = parsed.as_ref().and_then(|answer| {
        ["detail", "error", "message"].iter().find_map(|key| answer.get(key)).map(|told| match told {
            Value::String(told) => told.clone(),
            other => other.to_string(),
        })
    });
    text::line(told.as_deref().unwrap_or(answer), QUOTE_MAX)
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

/// Seconds to wait. The form with a date is not used for 429 by anything before Keep.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3600)))
}
