//! Takes alerts from the store to one target, as long as it takes.
//!
//! Each target has an outbox of its own, with its own queue, pace and health: one that fails or
//! refuses us never delays another. One request at a time. What is sent stays in the store until the receiver has said that it
//! took it, so a kill at any point costs at most a second delivery of the same bytes, which the
//! receiver knows by the id. Every attempt is put together anew from what is due: a payload never
//! changes between attempts, but one that a newer word made superfluous is not sent any more.
//!
//! What a reply leads to is in `policy`; `pace` is the breaker: after a failure nothing is sent for a
//! while that grows, then one request tries; `verify` looks whether what was taken is still there.

mod pace;
mod policy;
#[cfg(test)]
mod tests;
mod verify;

use crate::store::{Queued, SharedStore, Store, StoreError, lock};
use crate::target::{Reply, Target};
use crate::telemetry::metrics::METRICS;
use crate::telemetry::otlp::Span;
use pace::Pace;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How alerts are delivered. The defaults are measured at Keep; an operator needs to know of
/// `batch_alerts`, `alerts_per_second` and `retry_for` only.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxSettings {
    /// Most alerts in one request.
    pub batch_alerts: usize,
    /// Largest request, bytes; an alert that is larger by itself is sent alone.
    pub batch_bytes: usize,
    /// Alerts a second over time; Keep stores some ten a second.
    pub alerts_per_second: f64,
    /// Least time between two requests that concern one fingerprint: Keep handles requests side by
    /// side and may otherwise store the older word last.
    pub fingerprint_interval: Duration,
    /// For how long a failing alert is tried before it goes to the dead letters.
    pub retry_for: Duration,
    /// Upper limit of the first wait after a failure; it doubles from one to the next.
    pub backoff_min: Duration,
    /// Upper limit of any wait after a failure.
    pub backoff_max: Duration,
    /// Wait after a 429 that names none.
    pub rate_limit_wait: Duration,
    /// How often a receiver that refuses us is asked whether it still does.
    pub probe_interval: Duration,
    /// How often the queue is looked at where nobody says that there is something in it.
    pub poll_interval: Duration,
    /// How long delivery goes on after the stop signal.
    pub drain: Duration,
    /// After how long a target that can be asked is asked whether it has what it took. Keep stores
    /// some ten alerts a second, so a queue in its memory takes its time.
    pub verify_after: Duration,
    /// After how long an alert that was not there is looked for once more, before it is sent again.
    pub verify_again: Duration,
    /// How often a target with nothing to send is asked whether it would take something, also at the
    /// start, so that health tells the truth before the first alert; one that failed is asked sooner.
    /// `None`: never.
    pub idle_probe: Option<Duration>,
    /// How often an alert that is taken and never found is sent again before it is given up.
    pub resends_max: u32,
}

impl Default for OutboxSettings {
    fn default() -> Self {
        OutboxSettings {
            batch_alerts: 50,
            batch_bytes: 512 * 1024,
            alerts_per_second: 5.0,
            fingerprint_interval: Duration::from_secs(5),
            retry_for: Duration::from_secs(24 * 3600),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            rate_limit_wait: Duration::from_secs(60),
            probe_interval: Duration::from_secs(60),
            poll_interval: Duration::from_secs(1),
            drain: Duration::from_secs(10),
            verify_after: Duration::from_secs(60),
            verify_again: Duration::from_secs(120),
            idle_probe: None,
            resends_max: 5,
        }
    }
}

/// How delivery goes, for health reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The last request was taken, or there was none yet.
    Delivering,
    /// The receiver fails or cannot be reached; why.
    Retrying(String),
    /// The receiver refuses us: somebody must change something; what.
    Paused(String),
}

/// What was done since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Alerts the receiver took.
    pub delivered: AtomicU64,
    /// Alerts given up.
    pub dead: AtomicU64,
    /// Requests made.
    pub requests: AtomicU64,
    /// Requests that were not taken.
    pub failures: AtomicU64,
}

/// The task that delivers. Make it with [`Outbox::new`], take its handles, then [`Outbox::run`] it.
#[derive(Debug)]
pub struct Outbox {
    store: SharedStore,
    target: Target,
    settings: OutboxSettings,
    pace: Pace,
    /// Largest request now, bytes; a 413 lowers it for good.
    bytes_max: usize,
    /// The state file's last error, told once.
    trouble: Option<String>,
    /// When to look next for what was taken, and the last error on that way.
    verify_at: Instant,
    verify_trouble: Option<String>,
    /// When to ask whether it would take something, if nothing is sent until then.
    ask_at: Instant,
    wake: Arc<Notify>,
    health: watch::Sender<Health>,
    counts: Arc<Counts>,
}

impl Outbox {
    /// Prepares delivery from `store` to `target`.
    pub fn new(store: SharedStore, target: Target, settings: OutboxSettings) -> Outbox {
        let pace = Pace::new(&settings);
        let bytes_max = settings.batch_bytes;
        let (health, _) = watch::channel(Health::Delivering);
        METRICS.up(target.name(), true);
        Outbox {
            store,
            target,
            settings,
            pace,
            bytes_max,
            trouble: None,
            verify_at: Instant::now(),
            verify_trouble: None,
            ask_at: Instant::now(),
            wake: Arc::default(),
            health,
            counts: Arc::default(),
        }
    }

    /// Name of the target.
    pub fn name(&self) -> &str {
        self.target.name()
    }

    /// To be notified after a commit that put something into the outbox.
    pub fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// How delivery goes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// What was done.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Delivers until `stop` is true (or its sender gone), then for at most
    /// [`OutboxSettings::drain`] what can be delivered without waiting for the receiver to recover.
    /// What is left stays in the store.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        // Only a rest is broken off by the signal, never a request: nobody would know what became
        // of it.
        while !*stop.borrow() {
            let wait = self.step().await;
            if wait == Wait::Empty {
                self.verify().await;
                self.ask_if_idle().await;
            }
            tokio::select! {
                () = self.rest(wait) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.drain().await;
    }

    /// Sends what waits, as long as the receiver takes it.
    async fn drain(&mut self) {
        let end = Instant::now() + self.settings.drain;
        while matches!(*self.health.borrow(), Health::Delivering) {
            match timeout_at(end, self.step()).await {
                Ok(Wait::None) => {}
                Ok(Wait::Until(time)) if time < end => sleep_until(time).await,
                Ok(Wait::Empty | Wait::Until(_)) | Err(_) => break,
            }
        }
    }

    async fn rest(&self, wait: Wait) {
        match wait {
            Wait::None => {}
            Wait::Until(time) => sleep_until(time).await,
            Wait::Empty => {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(self.settings.poll_interval) => {}
                }
            }
        }
    }

    /// Makes one request if there is anything to send, and says how long to wait then.
    async fn step(&mut self) -> Wait {
        if matches!(*self.health.borrow(), Health::Paused(_)) && !self.ask().await {
            return Wait::Until(Instant::now() + self.settings.probe_interval);
        }
        let now = Instant::now();
        let limit = match self.pace.allowance(now) {
            Ok(limit) => limit,
            Err(later) => return Wait::Until(later),
        };
        let now_ms = now_ms();
        let name = self.target.name().to_owned();
        let work = move |store: &mut Store| store.outbox_ready(&name, now_ms, 4 * limit);
        let ready = match self.with_store(work).await {
            Ok(ready) => ready,
            Err(error) => return self.store_failed(&error),
        };
        let batch = select(ready, limit, self.bytes_max);
        if batch.is_empty() {
            return Wait::Empty;
        }
        match self.deliver(batch, now_ms).await {
            Ok(()) => {
                self.trouble = None;
                Wait::None
            }
            Err(error) => self.store_failed(&error),
        }
    }

    async fn deliver(&mut self, batch: Vec<Queued>, now_ms: i64) -> Result<(), StoreError> {
        let paced_ms = self.paced_until(now_ms);
        let batch = Arc::new(batch);
        let begun = Arc::clone(&batch);
        self.with_store(move |store| store.outbox_begin(&begun, now_ms, paced_ms)).await?;
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let span = Span::begin();
        self.ask_at = Instant::now() + self.settings.idle_probe.unwrap_or_default();
        let reply = self.target.send(&batch).await;
        span.end(
            "deliver",
            &[("alerts", batch.len() as u64), ("accepted", u64::from(reply == Reply::Accepted))],
        );
        METRICS.request(self.target.name(), reply.as_str());
        self.apply(&batch, reply).await
    }

    /// Runs `work` on the store without holding up the runtime: a commit waits for the disk.
    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(&self.store);
        match tokio::task::spawn_blocking(move || work(&mut lock(&store))).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down and will drop this future too.
                Err(_) => std::future::pending().await,
            },
        }
    }

    fn store_failed(&mut self, error: &StoreError) -> Wait {
        let trouble = error.to_string();
        if self.trouble.as_ref() != Some(&trouble) {
            let target = self.target.name();
            tracing::error!(target_name = target, %error, "the outbox cannot use the state file");
            self.trouble = Some(trouble);
        }
        Wait::Until(Instant::now() + self.settings.poll_interval)
    }

    /// Until when a fingerprint sent now must wait.
    fn paced_until(&self, now_ms: i64) -> i64 {
        let interval = self.settings.fingerprint_interval.as_millis();
        now_ms.saturating_add(i64::try_from(interval).unwrap_or(i64::MAX))
    }
}

/// How long to wait for the next request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wait {
    /// Not at all.
    None,
    /// Until there is something to send.
    Empty,
    /// Until then.
    Until(Instant),
}

/// From what may be sent, in order, what goes into the next request: one alert a fingerprint, or
/// the last word on a firing alert and the word that it is over, in this order; never an alert
/// without its predecessors; one that must be alone, alone.
fn select(ready: Vec<Queued>, limit: usize, bytes_max: usize) -> Vec<Queued> {
    /// What is chosen of a fingerprint.
    enum Chosen {
        Firing { group_id: String },
        Closed,
    }
    let mut chosen: BTreeMap<String, Chosen> = BTreeMap::new();
    let mut batch: Vec<Queued> = Vec::new();
    let mut bytes = 2;
    for item in ready {
        let follows = match chosen.get(&item.fingerprint) {
            None => true,
            Some(Chosen::Firing { group_id }) => item.resolved && *group_id == item.group_id,
            Some(Chosen::Closed) => false,
        };
        let size = item.payload.len() + 1;
        let fits = batch.is_empty() || batch.len() < limit && bytes + size <= bytes_max && !item.alone;
        let print = item.fingerprint.clone();
        if !follows || !fits {
            chosen.insert(print, Chosen::Closed);
            continue;
        }
        let firing = Chosen::Firing { group_id: item.group_id.clone() };
        chosen.insert(print, if item.resolved { Chosen::Closed } else { firing });
        let alone = item.alone;
        bytes += size;
        batch.push(item);
        if alone {
            break;
        }
    }
    batch
}

/// The time, milliseconds since the epoch.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
