//! What all HTTP targets have in common: a careful client, and answers told to people.

use crate::keep::text;
use crate::tls::TlsSettings;
use anyhow::Context;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode, redirect};
use serde_json::Value;
use std::time::Duration;

/// Servers of Python close idle connections after 2 s.
const POOL_IDLE: Duration = Duration::from_secs(1);
/// Longest part of an answer that is read, bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// Longest part of an answer that is told to people, bytes.
pub(crate) const QUOTE_MAX: usize = 300;

/// A client that follows no redirects (a POST would become a GET) and keeps one connection.
pub(crate) fn client(
    connect_timeout: Duration,
    timeout: Duration,
    tls: &TlsSettings,
) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("otel-log-ai/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .timeout(timeout)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(1)
        .redirect(redirect::Policy::none());
    if !tls.is_default() {
        builder = builder.tls_backend_preconfigured(tls.client_config()?);
    }
    builder.build().context("prepare the HTTP client")
}

/// Status, headers and the beginning of the body.
pub(crate) async fn read(mut response: Response) -> (StatusCode, HeaderMap, String) {
    let (status, headers) = (response.status(), response.headers().clone());
    let answer = body(&mut response, ANSWER_MAX).await;
    (status, headers, String::from_utf8_lossy(&answer).into_owned())
}

/// At most so much of the body (and the rest of the piece that came with it). The status is the
/// answer; a body that breaks off does not change it.
pub(crate) async fn body(response: &mut Response, bytes_max: usize) -> Vec<u8> {
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        answer.extend_from_slice(&chunk);
        if answer.len() > bytes_max {
            break;
        }
    }
    answer
}

/// The reasons of a failed request, without its address.
pub(crate) fn unreachable(error: reqwest::Error) -> String {
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
pub(crate) fn detail(answer: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(answer).ok();
    let told = parsed.as_ref().and_then(|answer| {
        ["detail", "error", "message"].iter().find_map(|key| answer.get(key)).map(|told| match told {
            Value::String(told) => told.clone(),
            other => other.to_string(),
        })
    });
    text::line(told.as_deref().unwrap_or(answer), QUOTE_MAX)
}

/// The status with what the answer says.
pub(crate) fn reason(status: StatusCode, answer: &str) -> String {
    let detail = detail(answer);
    if detail.is_empty() { status.to_string() } else { format!("{status}: {detail}") }
}

/// Seconds to wait. The form with a date is not used for 429 by anything before Keep.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3600)))
}
