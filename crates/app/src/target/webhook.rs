//! A generic webhook: JSON by POST, signed.
//!
//! The body is a JSON array of alerts. `Idempotency-Key` is the SHA-256 of the body, so a second
//! delivery of the same bytes can be told; so can the `id` of each alert. Where a secret is set,
//! `Otel-Log-Ai-Signature: t=<seconds>,v1=<hex>` holds the time of sending and
//! HMAC-SHA256(secret, `"<seconds>.<body>"`), the scheme of Stripe's webhooks: the time is under the
//! signature, so that a request that was overheard cannot be played again later.

use super::{Reply, http};
use crate::config::Secret;
use crate::hex;
use crate::tls::TlsSettings;
use anyhow::Context;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use url::Url;

/// Name of the header with the signature.
pub const SIGNATURE_HEADER: &str = "otel-log-ai-signature";

/// Where the webhook is.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Address that is posted to.
    pub url: Url,
    /// Key of the signature; empty: not signed.
    pub secret: Secret,
    /// Sent as `Authorization: Bearer`; empty: not sent.
    pub token: Secret,
    /// Of one request.
    pub timeout: Duration,
    /// Whom to trust and who we are.
    pub tls: TlsSettings,
}

/// A connection to one webhook.
#[derive(Debug)]
pub struct Webhook {
    http: reqwest::Client,
    url: Url,
    secret: Secret,
    headers: HeaderMap,
}

impl Webhook {
    /// Prepares a client; connects to nothing yet.
    pub fn new(settings: &WebhookSettings) -> anyhow::Result<Webhook> {
        let mut headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if !settings.token.is_empty() {
            // The reason would quote the token.
            let mut token = HeaderValue::from_str(&format!("Bearer {}", settings.token.reveal()))
                .ok()
                .context("`token` holds characters that no HTTP header can carry")?;
            token.set_sensitive(true);
            headers.insert(AUTHORIZATION, token);
        }
        let http =
            http::client(settings.timeout.min(Duration::from_secs(5)), settings.timeout, &settings.tls)?;
        Ok(Webhook { http, url: settings.url.clone(), secret: settings.secret.clone(), headers })
    }

    /// Address that is posted to.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Posts a JSON array of alerts.
    pub async fn post(&self, body: &[u8]) -> Reply {
        let mut headers = self.headers.clone();
        if let Ok(key) = HeaderValue::from_str(&hex::encode(&Sha256::digest(body))) {
            headers.insert(HeaderName::from_static("idempotency-key"), key);
        }
        if !self.secret.is_empty() {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let signed = signature(self.secret.reveal().as_bytes(), since.as_secs(), body);
            if let Ok(value) = HeaderValue::from_str(&signed) {
                headers.insert(HeaderName::from_static(SIGNATURE_HEADER), value);
            }
        }
        match self.http.post(self.url.clone()).headers(headers).body(body.to_vec()).send().await {
            Ok(response) => {
                let (status, headers, answer) = http::read(response).await;
                self.meaning(status, &headers, &answer)
            }
            Err(error) => Reply::Unreachable { sent: !error.is_connect(), reason: http::unreachable(error) },
        }
    }

    /// Posts an empty array. A server that finds nothing in it and says so is there and knows us.
    pub async fn probe(&self) -> Result<(), String> {
        let at = &self.url;
        match self.post(b"[]").await {
            Reply::Accepted | Reply::Malformed { .. } | Reply::Invalid { .. } | Reply::TooLarge => Ok(()),
            Reply::Unreachable { reason, .. } => Err(format!("{at} cannot be reached: {reason}")),
            Reply::Misconfigured { reason } => Err(reason),
            Reply::TooMany { reason, .. } => Err(format!("{at} limits the rate of requests: {reason}")),
            Reply::ServerError { reason } => Err(format!("what answers at {at} fails: {reason}")),
        }
    }

    fn meaning(&self, status: StatusCode, headers: &HeaderMap, answer: &str) -> Reply {
        let reason = http::reason(status, answer);
        let at = &self.url;
        match status.as_u16() {
            200..=299 => Reply::Accepted,
            408 | 425 | 500..=599 => Reply::ServerError { reason },
            429 => Reply::TooMany { retry_after: http::retry_after(headers), reason },
            413 => Reply::TooLarge,
            400 | 406 | 409 | 415 | 422 => Reply::Malformed { reason },
            401 | 403 | 407 => Reply::Misconfigured {
                reason: format!(
                    "{at} refuses us ({reason}): check `token`, `secret` and `tls` of the target"
                ),
            },
            _ => Reply::Misconfigured {
                reason: format!("{at} does not take alerts ({reason}): check `url` of the target"),
            },
        }
    }
}

/// The value of [`SIGNATURE_HEADER`] for a body sent at `time_s` seconds since the epoch.
pub fn signature(secret: &[u8], time_s: u64, body: &[u8]) -> String {
    // HMAC takes a key of any length; there is no other error.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(format!("{time_s}.").as_bytes());
    mac.update(body);
    format!("t={time_s},v1={}", hex::encode(&mac.finalize().into_bytes()))
}
