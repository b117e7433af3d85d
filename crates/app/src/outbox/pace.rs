//! How fast, how much at once, and how long to wait after a failure.

use super::OutboxSettings;
use std::time::Duration;
use tokio::time::Instant;

/// Failures of the receiver in a row before a request is split in search of an alert it chokes on.
const SPLIT_AFTER: u32 = 5;
/// The slowest that the rate limit of a receiver can make us, alerts a second.
const RATE_MIN: f64 = 0.1;
/// A rate that was halved grows by this factor with each request that is taken.
const RATE_RECOVERY: f64 = 1.05;

/// The present allowance. All waits are in it, so that the loop asks one thing only.
#[derive(Debug)]
pub(super) struct Pace {
    rate_max: f64,
    rate: f64,
    burst: f64,
    /// Alerts that may be sent at once; negative while a burst is paid off.
    tokens: f64,
    counted_at: Instant,
    batch_max: usize,
    /// Alerts in a request now; smaller after failures, grows again with success.
    batch: usize,
    backoff_min: Duration,
    backoff_max: Duration,
    failures: u32,
    server_errors: u32,
    wait_until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(settings: &OutboxSettings) -> Pace {
        let batch_max = settings.batch_alerts.max(1);
        let rate_max = settings.alerts_per_second.max(RATE_MIN);
        Pace {
            rate_max,
            rate: rate_max,
            burst: batch_max as f64,
            tokens: batch_max as f64,
            counted_at: Instant::now(),
            batch_max,
            batch: batch_max,
            backoff_min: settings.backoff_min,
            backoff_max: settings.backoff_max,
            failures: 0,
            server_errors: 0,
            wait_until: None,
        }
    }

    /// How many alerts may be sent now, or when to ask again.
    pub(super) fn allowance(&mut self, now: Instant) -> Result<usize, Instant> {
        if let Some(until) = self.wait_until
            && until > now
        {
            return Err(until);
        }
        self.wait_until = None;
        let passed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        self.counted_at = now;
        if self.tokens < 1.0 {
            let seconds = (1.0 - self.tokens) / self.rate;
            return Err(now + Duration::from_secs_f64(seconds.clamp(0.001, 3600.0)));
        }
        Ok(self.batch.min(self.tokens as usize))
    }

    /// The receiver took `alerts`.
    pub(super) fn accepted(&mut self, alerts: usize) {
        self.tokens -= alerts as f64;
        self.failures = 0;
        self.server_errors = 0;
        self.batch = (self.batch * 2).min(self.batch_max);
        self.rate = (self.rate * RATE_RECOVERY).min(self.rate_max);
    }

    /// No answer.
    pub(super) fn unreachable(&mut self) {
        self.server_errors = 0;
        self.back_off();
    }

    /// The receiver failed over a request of `alerts`.
    pub(super) fn server_error(&mut self, alerts: usize) {
        self.server_errors += 1;
        if self.server_errors >= SPLIT_AFTER {
            self.split(alerts);
        }
        self.back_off();
    }

    /// The receiver wants fewer requests.
    pub(super) fn too_many(&mut self, wait: Duration) {
        self.rate = (self.rate / 2.0).max(RATE_MIN);
        self.wait_until = Some(Instant::now() + wait);
    }

    /// The next request has at most half of `alerts`.
    pub(super) fn split(&mut self, alerts: usize) {
        self.batch = (alerts / 2).clamp(1, self.batch_max);
    }

    /// A wait after the `attempts`-th failure of one alert: full jitter, so that many senders do
    /// not come back at the same moment.
    pub(super) fn backoff(&self, attempts: u32) -> Duration {
        let limit = self.backoff_min.saturating_mul(1_u32.checked_shl(attempts.min(30)).unwrap_or(u32::MAX));
        limit.min(self.backoff_max).mul_f64(rand::random_range(0.0..=1.0))
    }

    /// Forgets failures; for a receiver that says it is well again.
    pub(super) fn recovered(&mut self) {
        self.failures = 0;
        self.server_errors = 0;
        self.wait_until = None;
    }

    fn back_off(&mut self) {
        self.wait_until = Some(Instant::now() + self.backoff(self.failures));
        self.failures = self.failures.saturating_add(1);
    }
}
