//! What becomes of a request by the receiver's reply.
//!
//! | reply | then |
//! |---|---|
//! | taken | done |
//! | no answer, 408, 5xx | the same bytes again, later and later, until `retry_for` is over |
//! | five 5xx in a row | smaller requests, down to the alert it chokes on, which then goes alone |
//! | 429 | wait, then half the rate |
//! | 413 | smaller requests; an alert alone is shortened once |
//! | 422 | the alerts named are corrected once, then given up; the others go at once |
//! | 400 | one by one; if the receiver otherwise works, the alert is given up |
//! | wrong key or address | pause, keep everything, ask every `probe_interval` |

use super::{Counts, Health, Outbox, now_ms};
use crate::keep;
use crate::store::{Delivery, Queued, StoreError};
use crate::target::{InvalidElement, Reply};
use crate::telemetry::metrics::METRICS;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A 413 does not lower the size of requests below this, bytes: some four ordinary alerts.
const BATCH_BYTES_MIN: usize = 16 * 1024;

/// A target that failed when it was idle is asked so many times more often: whether it is well again
/// shall not take a minute to show.
const IDLE_FAILED: u32 = 6;

/// Why an alert is given up: the label of the metric, and what people are told.
struct End<'a>(&'static str, &'a str);

impl Outbox {
    /// Does what `reply` to `batch` asks for.
    pub(super) async fn apply(&mut self, batch: &Arc<Vec<Queued>>, reply: Reply) -> Result<(), StoreError> {
        if reply != Reply::Accepted {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
        }
        let label = self.target.label();
        match reply {
            Reply::Accepted => self.accepted(batch).await,
            Reply::Unreachable { sent, reason } => {
                self.pace.unreachable();
                self.is(Health::Retrying(format!("{label} cannot be reached: {reason}")));
                let delivery = if sent { Delivery::Uncertain } else { Delivery::Refused };
                self.failed(batch, delivery, &reason).await
            }
            Reply::ServerError { reason } => self.server_error(batch, &reason).await,
            Reply::TooMany { retry_after, reason } => {
                self.pace.too_many(retry_after.unwrap_or(self.settings.rate_limit_wait));
                self.is(Health::Retrying(format!("{label} limits the rate: {reason}")));
                self.failed(batch, Delivery::Refused, &reason).await
            }
            Reply::TooLarge => self.too_large(batch).await,
            Reply::Invalid { elements, reason } => self.invalid(batch, elements, &reason).await,
            Reply::Malformed { reason } => self.malformed(batch, reason).await,
            Reply::Misconfigured { reason } => {
                self.is(Health::Paused(reason));
                self.release(batch).await
            }
        }
    }

    /// Asks a receiver that refused us; true if it takes alerts now.
    pub(super) async fn ask(&mut self) -> bool {
        match self.target.probe().await {
            Ok(()) => {
                self.pace.recovered();
                self.is(Health::Delivering);
                true
            }
            Err(reason) => {
                self.is(Health::Paused(reason));
                false
            }
        }
    }

    /// Asks a target that has had nothing to take for a while.
    pub(super) async fn ask_if_idle(&mut self) {
        let Some(interval) = self.settings.idle_probe else { return };
        if Instant::now() < self.ask_at {
            return;
        }
        let label = self.target.label();
        let (health, again) = match self.target.send(&[]).await {
            Reply::Misconfigured { reason } => (Health::Paused(reason), interval),
            Reply::Unreachable { reason, .. } => {
                (Health::Retrying(format!("{label} cannot be reached: {reason}")), interval / IDLE_FAILED)
            }
            Reply::ServerError { reason } => {
                (Health::Retrying(format!("{label} fails: {reason}")), interval / IDLE_FAILED)
            }
            Reply::TooMany { retry_after, reason } => {
                let wait = retry_after.unwrap_or(self.settings.rate_limit_wait);
                // Alerts are requests as well.
                self.pace.too_many(wait);
                (Health::Retrying(format!("{label} limits the rate: {reason}")), wait)
            }
            Reply::Accepted | Reply::TooLarge | Reply::Invalid { .. } | Reply::Malformed { .. } => {
                (Health::Delivering, interval)
            }
        };
        self.is(health);
        self.ask_at = Instant::now() + again;
    }

    async fn accepted(&mut self, batch: &Arc<Vec<Queued>>) -> Result<(), StoreError> {
        self.pace.accepted(batch.len());
        self.is(Health::Delivering);
        add(&self.counts, batch.len());
        METRICS.delivered(self.target.name(), batch.len() as u64);
        let now_ms = now_ms();
        let until_ms = self.paced_until(now_ms);
        let verify_at_ms =
            self.target.can_verify().then(|| now_ms.saturating_add(ms(self.settings.verify_after)));
        let batch = Arc::clone(batch);
        self.with_store(move |store| store.outbox_accepted(&batch, until_ms, verify_at_ms)).await
    }

    /// A failure of the receiver. Alone, an alert is under suspicion and must not hold up others.
    async fn server_error(&mut self, batch: &Arc<Vec<Queued>>, reason: &str) -> Result<(), StoreError> {
        self.pace.server_error(batch.len());
        self.is(Health::Retrying(format!("{} fails: {reason}", self.target.label())));
        self.failed(batch, Delivery::Refused, reason).await?;
        if let [item] = batch.as_slice() {
            let wait = self.pace.backoff(item.attempts);
            let next_at_ms = now_ms().saturating_add(ms(wait));
            let item = item.clone();
            self.with_store(move |store| store.outbox_isolate(&item, next_at_ms)).await?;
        }
        Ok(())
    }

    async fn too_large(&mut self, batch: &Arc<Vec<Queued>>) -> Result<(), StoreError> {
        let [item] = batch.as_slice() else {
            let size: usize = batch.iter().map(|item| item.payload.len() + 1).sum();
            self.bytes_max = (size / 2).clamp(BATCH_BYTES_MIN.min(self.bytes_max), self.bytes_max);
            self.pace.split(batch.len());
            let label = self.target.label();
            tracing::warn!(bytes = size, "a request was too large for {label}, sending less at once");
            return self.release(batch).await;
        };
        match keep::shortened(&item.payload).filter(|_| !item.altered) {
            Some(payload) => self.alter(item, payload).await,
            None => {
                let why = format!("too large for {} even without evidence", self.target.label());
                self.give_up(vec![item.clone()], End("too_large", &why)).await
            }
        }
    }

    /// Corrects or gives up what the answer names. Where it names nothing, requests get smaller
    /// until it must be the one alert.
    async fn invalid(
        &mut self,
        batch: &Arc<Vec<Queued>>,
        elements: Vec<InvalidElement>,
        reason: &str,
    ) -> Result<(), StoreError> {
        let label = self.target.label();
        tracing::error!(reason, "{label} finds an alert invalid");
        self.release(batch).await?;
        let mut named = false;
        for element in elements {
            let Some(item) = batch.get(element.index) else { continue };
            named = true;
            let why = format!("{label} finds `{}` invalid: {}", element.field, element.reason);
            match keep::without(&item.payload, &element.field).filter(|_| !item.altered) {
                Some(payload) => self.alter(item, payload).await?,
                None => self.give_up(vec![item.clone()], End("invalid", &why)).await?,
            }
        }
        match batch.as_slice() {
            _ if named => Ok(()),
            [item] => {
                let why = format!("{label} finds it invalid: {reason}");
                self.give_up(vec![item.clone()], End("invalid", &why)).await
            }
            _ => {
                self.pace.split(batch.len());
                Ok(())
            }
        }
    }

    /// A 400 says nothing about which alert it means, or whether it means one at all: proxies
    /// answer it to a wrong scheme. An empty request tells the difference.
    async fn malformed(&mut self, batch: &Arc<Vec<Queued>>, reason: String) -> Result<(), StoreError> {
        let [item] = batch.as_slice() else {
            self.pace.split(2);
            return self.release(batch).await;
        };
        match self.target.probe().await {
            Ok(()) => {
                let why = format!("{} cannot make sense of it: {reason}", self.target.label());
                self.give_up(vec![item.clone()], End("malformed", &why)).await
            }
            Err(why) => {
                self.is(Health::Paused(why));
                self.release(batch).await
            }
        }
    }

    /// Keeps `batch` for another attempt, except what was tried for too long.
    async fn failed(
        &mut self,
        batch: &Arc<Vec<Queued>>,
        delivery: Delivery,
        reason: &str,
    ) -> Result<(), StoreError> {
        let oldest_ms = now_ms().saturating_sub(ms(self.settings.retry_for));
        let old: Vec<_> = batch.iter().filter(|item| item.queued_at_ms < oldest_ms).cloned().collect();
        let kept = Arc::clone(batch);
        self.with_store(move |store| store.outbox_failed(&kept, delivery)).await?;
        if old.is_empty() {
            return Ok(());
        }
        let why = format!("tried for too long, at last: {reason}");
        self.give_up(old, End("too_old", &why)).await
    }

    async fn release(&self, batch: &Arc<Vec<Queued>>) -> Result<(), StoreError> {
        let batch = Arc::clone(batch);
        self.with_store(move |store| store.outbox_failed(&batch, Delivery::Refused)).await
    }

    async fn alter(&self, item: &Queued, payload: Vec<u8>) -> Result<(), StoreError> {
        let item = item.clone();
        self.with_store(move |store| store.outbox_alter(&item, &payload)).await
    }

    async fn give_up(&self, items: Vec<Queued>, end: End<'_>) -> Result<(), StoreError> {
        let End(label, reason) = end;
        METRICS.dead(self.target.name(), label, items.len() as u64);
        for item in &items {
            let (id, fingerprint) = (&item.id, &item.fingerprint);
            let name = self.target.name();
            tracing::error!(%id, %fingerprint, target_name = name, reason, "an alert goes to the dead letters");
        }
        self.counts.dead.fetch_add(items.len() as u64, Ordering::Relaxed);
        let reason = reason.to_owned();
        self.with_store(move |store| store.outbox_dead(&items, now_ms(), &reason)).await
    }

    /// Tells a change of health, once.
    fn is(&self, health: Health) {
        METRICS.up(self.target.name(), health == Health::Delivering);
        let label = self.target.label();
        let kind = std::mem::discriminant(&health);
        let changed = kind != std::mem::discriminant(&*self.health.borrow());
        if changed {
            match &health {
                Health::Delivering => tracing::info!("{label} takes alerts again"),
                Health::Retrying(reason) => tracing::warn!(reason, "alerts wait for {label}"),
                Health::Paused(reason) => {
                    tracing::error!(reason, "alerts wait until the configuration or {label} is changed");
                }
            }
        }
        self.health.send_if_modified(|known| {
            let new = *known != health;
            *known = health;
            new
        });
    }
}

fn add(counts: &Counts, alerts: usize) {
    counts.delivered.fetch_add(alerts as u64, Ordering::Relaxed);
}

pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
