//! The loop that drives everything: rows in, detections, alerts, one transaction, out.
//!
//! ```text
//! source task ──batch──► this loop ──commit──► store ──► an outbox task a target ──► Keep, …
//! rules task ──exchanges the detector──┘
//! ```
//! One batch is settled before the next one is taken, so memory is bounded by two batches: the one
//! in work and the one the source holds ready. When the store cannot be written, reading waits.

mod clock;
mod evaluate;
mod outlets;
mod poll;
mod reload;
mod review;
mod signals;
mod source;

use crate::cli::Failure;
use crate::config::Config;
use crate::events::{COUNTERS, Event, Stats, add};
use crate::keep::{self, PayloadSettings};
use crate::rules::{self, Fingerprint};
use crate::store::{Commit, OutboxItem, SharedStore, Store, StoreSettings, lock};
use crate::tail::Batch;
use crate::telemetry::http;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::otlp::Span;
use crate::telemetry::vitals::VITALS;
use anyhow::Context;
use arc_swap::ArcSwap;
use clock::{not_ahead, now_ms};
use otel_log_ai_core::alert::{Detection, Grouping, Notification, Recent, RecentSettings};
use otel_log_ai_core::detect::Detector;
use otel_log_ai_core::otel::{Assembler, AssemblerSettings};
use outlets::{Outboxes, Outlet};
use review::Reviews;
pub use signals::Hangup;
use signals::Signals;
use source::FromSource;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Environment variable that names the statistics file.
const STATS_FILE: &str = "OTEL_LOG_AI_STATS_FILE";
/// Waits after a failed commit: from the first to the longest.
const COMMIT_BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// What can happen.
enum Tick {
    /// Something from the source task.
    Source(FromSource),
    /// A notification may be due.
    Due,
    /// An audit event has waited long enough for its records.
    AuditDue,
    /// Statistics are to be written.
    Stats,
    /// A signal to stop.
    Stop(&'static str),
}

/// How the work ended at a signal.
enum Ended {
    /// All that was taken in is committed.
    Settled,
    /// A commit was given up, so what is in memory is ahead of what is stored.
    Abandoned,
}

/// Runs until a signal to stop; `hangup` reads the rules again. Everything that cannot be mended by
/// waiting is an error.
pub async fn run(config: Config, hangup: Hangup) -> Result<(), Failure> {
    let mut signals = Signals::new().context("listen to signals")?;
    let known = Fingerprint::of(&config.rules);
    let detector = load_rules(&config)?;
    let settings = StoreSettings { targets: config.target_names(), ..StoreSettings::new(&config.state_path) };
    let store = Store::open(settings).map_err(anyhow::Error::from)?;
    let saved = store.load().map_err(anyhow::Error::from)?;
    let store: SharedStore = Arc::new(Mutex::new(store));
    let outboxes = Outboxes::new(&config, &store)?;
    outboxes.tell_orphans(&store)?;
    serve_port(&config, &store).await;
    let open = saved.open.into_iter().map(|alert| not_ahead(alert, now_ms())).collect();
    let mut pipeline = Pipeline {
        detector: Arc::clone(&detector),
        reviews: Arc::new(Reviews::new(config.rules.verify_one_in)),
        grouping: Grouping::restore(config.grouping_settings(), open),
        recent: Recent::restore(RecentSettings::default(), saved.recent, now_ms()),
        forgotten: 0,
        workers: evaluate::Workers::default(),
        assembler: Assembler::restore(AssemblerSettings::default(), saved.audit, now_ms()),
        audit_early: 0,
        payload: config.payload_settings(),
        store,
        outlets: outboxes.outlets(),
        started: jiff::Timestamp::now().to_string(),
        stats_file: std::env::var_os(STATS_FILE).map(PathBuf::from),
        reading: false,
        evicted: 0,
        folded: 0,
    };
    let outboxes = outboxes.start();
    let (batches, from_source) = mpsc::channel(1);
    let source = tokio::spawn(source::run(config.clickhouse.clone(), saved.position, batches));
    let reload = tokio::spawn(reload::run(config.rules.clone(), known, detector, hangup));

    let outcome = pipeline.work(from_source, &mut signals).await;
    // Rows that were read ahead are not committed; they will be read again.
    source.abort();
    reload.abort();
    let flushed = match outcome {
        Ok(Ended::Settled) => pipeline.flush().await,
        // The open alerts in memory already count rows that are going to be read again: to store
        // them now would count these twice.
        Ok(Ended::Abandoned) => {
            Err(anyhow::anyhow!("the state file cannot be written; what was read last will be read again"))
        }
        Err(error) => Err(error),
    };
    tokio::select! {
        () = outboxes.stop() => {}
        signal = signals.next() => tracing::warn!("{signal} again: stopping at once, what is left stays queued"),
    }
    pipeline.report(true);
    flushed.map_err(Failure::from)
}

/// Opens the port for health and metrics. Without it the service still does its work.
async fn serve_port(config: &Config, store: &SharedStore) {
    let Some(port) = &config.http else { return };
    match http::serve(port.listen, port.token.clone(), &VITALS, Arc::clone(store)).await {
        Ok(address) => tracing::info!(%address, "health and metrics"),
        Err(error) => {
            tracing::error!(
                "no health and no metrics: `http.listen` {} cannot be used: {error}",
                port.listen
            );
        }
    }
}

/// Reads and compiles the rules for the start; without any there is nothing to do.
fn load_rules(config: &Config) -> Result<Arc<ArcSwap<Detector>>, Failure> {
    let (detector, loaded) =
        rules::compile(&config.rules).map_err(|problem| Failure::unusable(anyhow::anyhow!("{problem}")))?;
    reload::tell(&detector, &loaded, false);
    if detector.rules().is_empty() {
        let error = anyhow::anyhow!("no rule is left to use");
        return Err(Failure::unusable(error)
            .hint("`otel-log-ai check` says why; see `rules.paths`, `rules.min_level` and `rules.status`"));
    }
    Ok(Arc::new(ArcSwap::from_pointee(detector)))
}

struct Pipeline {
    detector: Arc<ArcSwap<Detector>>,
    reviews: Arc<Reviews>,
    grouping: Grouping,
    /// What was detected of late, so that a record that comes again is not counted again.
    recent: Recent,
    /// Detections forgotten early, as told last.
    forgotten: u64,
    workers: evaluate::Workers,
    assembler: Assembler,
    /// Audit events finished early, as told last.
    audit_early: u64,
    payload: PayloadSettings,
    store: SharedStore,
    outlets: Vec<Outlet>,
    started: String,
    stats_file: Option<PathBuf>,
    /// Whether reading has begun; before, there is nothing to tell, and whoever waits for the
    /// statistics file would take the service for ready.
    reading: bool,
    /// Alerts closed early, as told last.
    evicted: u64,
    /// Detections counted in alerts for many entities, as told last.
    folded: u64,
}

impl Pipeline {
    /// Works until a signal comes or the state file is beyond repair.
    async fn work(
        &mut self,
        mut source: mpsc::Receiver<FromSource>,
        signals: &mut Signals,
    ) -> anyhow::Result<Ended> {
        let mut stats = tokio::time::interval(Duration::from_secs(1));
        stats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let due_ms = self.grouping.next_due_ms();
            let audit_due_ms = self.assembler.next_due_ms();
            let tick = tokio::select! {
                biased;
                signal = signals.next() => Tick::Stop(signal),
                _ = stats.tick() => Tick::Stats,
                () = sleep_until_ms(due_ms) => Tick::Due,
                () = sleep_until_ms(audit_due_ms) => Tick::AuditDue,
                Some(message) = source.recv() => Tick::Source(message),
            };
            let done = match tick {
                Tick::Stop(signal) => {
                    Event::Stopping { signal }.emit();
                    return Ok(Ended::Settled);
                }
                Tick::Stats => {
                    VITALS.turned();
                    self.report(false);
                    continue;
                }
                Tick::Due => Done::default(),
                Tick::AuditDue => self.evaluate_audit(),
                Tick::Source(FromSource::Opened { position }) => {
                    self.reading = true;
                    Done { position: Some(position), ..Done::default() }
                }
                Tick::Source(FromSource::Away) => {
                    self.grouping.hold(now_ms());
                    continue;
                }
                Tick::Source(FromSource::Batch(batch)) => self.evaluate(batch).await?,
            };
            if !self.settle(done, Some(signals)).await? {
                return Ok(Ended::Abandoned);
            }
        }
    }

    /// Runs the rules on a batch and takes the detections into the open alerts.
    async fn evaluate(&mut self, batch: Box<Batch>) -> anyhow::Result<Done> {
        let detector = self.detector.load_full();
        let reviews = Arc::clone(&self.reviews);
        let now_ms = now_ms();
        let mut assembler = std::mem::take(&mut self.assembler);
        let mut workers = std::mem::take(&mut self.workers);
        let work = move || {
            let found = evaluate::evaluate(&detector, &reviews, &batch, &mut workers, &mut assembler, now_ms);
            (batch, found, workers, assembler)
        };
        let (began, span) = (Instant::now(), Span::begin());
        let (batch, found, workers, assembler) =
            tokio::task::spawn_blocking(work).await.context("evaluate a batch")?;
        self.workers = workers;
        self.assembler = assembler;
        METRICS.evaluated(began.elapsed());
        let detections = self.observe(&found.detections, now_ms);
        span.end("evaluate", &[("rows", batch.len() as u64), ("detections", detections)]);
        let rows = batch.len() as u64;
        add(&COUNTERS.rows, rows);
        add(&COUNTERS.batches, 1);
        add(&COUNTERS.faults, found.faults);
        add(&COUNTERS.unrecognised, found.unrecognised);
        add(&COUNTERS.rows_own, found.own);
        Ok(Done {
            rows,
            detections,
            span: Some(span),
            newest_ns: batch.newest_ns,
            position: Some(batch.position),
        })
    }

    /// Takes detections into the open alerts, but for those on records that came before; tells how
    /// many it took.
    fn observe(&mut self, detections: &[Detection], now_ms: i64) -> u64 {
        let mut by_rule: BTreeMap<&str, u64> = BTreeMap::new();
        let admitted = self.recent.admit(detections, now_ms);
        for (detection, _) in detections.iter().zip(admitted).filter(|(_, admitted)| *admitted) {
            self.grouping.observe(detection, now_ms);
            *by_rule.entry(&detection.rule.id).or_default() += 1;
        }
        by_rule.iter().for_each(|(rule_id, count)| METRICS.detections(rule_id, *count));
        let taken = by_rule.values().sum();
        add(&COUNTERS.detections, taken);
        add(&COUNTERS.detections_repeated, detections.len() as u64 - taken);
        taken
    }

    /// Takes the audit events that waited long enough for records that did not come.
    fn evaluate_audit(&mut self) -> Done {
        let now_ms = now_ms();
        let events = self.assembler.due(now_ms);
        let (detector, reviews) = (self.detector.load(), &self.reviews);
        let found = tokio::task::block_in_place(|| evaluate::evaluate_audit(&detector, reviews, &events));
        drop(detector);
        Done { detections: self.observe(&found, now_ms), ..Done::default() }
    }

    /// Commits what was done together with what became due. `false`: a signal came while the state
    /// file could not be written.
    async fn settle(&mut self, done: Done, signals: Option<&mut Signals>) -> anyhow::Result<bool> {
        let due = self.grouping.due(now_ms());
        let evicted = self.grouping.evicted_total();
        if evicted > self.evicted {
            Event::AlertsEvicted { alerts: evicted - self.evicted }.emit();
            self.evicted = evicted;
        }
        let folded = self.grouping.folded_total();
        if folded > self.folded {
            Event::DetectionsFolded { detections: folded - self.folded }.emit();
            self.folded = folded;
        }
        let forgotten = self.recent.forgotten_early();
        if forgotten > self.forgotten {
            Event::DetectionsForgotten { detections: forgotten - self.forgotten }.emit();
            self.forgotten = forgotten;
        }
        let early = self.assembler.counts().early;
        if early > self.audit_early {
            Event::AuditEventsEarly { events: early }.emit();
            self.audit_early = early;
        }
        self.commit(done, due, signals).await
    }

    async fn commit(
        &mut self,
        done: Done,
        due: Vec<Notification>,
        signals: Option<&mut Signals>,
    ) -> anyhow::Result<bool> {
        let open_changes = self.grouping.take_changes();
        let audit_changes = self.assembler.take_changes();
        let recent_changes = self.recent.take_changes();
        let is_unchanged = open_changes.is_empty() && audit_changes.is_empty() && recent_changes.is_empty();
        if done.position.is_none() && due.is_empty() && is_unchanged {
            return Ok(true);
        }
        let queued = due.len() as u64;
        let commit = Commit {
            position: done.position.as_deref(),
            open_changes,
            audit_changes,
            recent_changes,
            outbox: self.outbox_items(&due),
            totals: vec![("rows", done.rows), ("detections", done.detections), ("alerts_queued", queued)],
        };
        let began = Instant::now();
        let span = done.span.map(Span::next);
        if !self.write(&commit, signals).await? {
            return Ok(false);
        }
        METRICS.committed(began.elapsed());
        if let Some(span) = span {
            span.end("commit", &[("alerts_queued", queued)]);
        }
        if queued > 0 {
            add(&COUNTERS.alerts_queued, queued);
            self.wake();
        }
        if done.newest_ns > 0 {
            let lag_ms = now_ms().saturating_sub((done.newest_ns / 1_000_000) as i64);
            COUNTERS.lag_ms.store(u64::try_from(lag_ms).unwrap_or(0), Ordering::Relaxed);
        }
        Ok(true)
    }

    /// Writes to the state file for as long as it takes. `false`: a signal came meanwhile; without
    /// `signals`, there is one attempt.
    async fn write(&self, commit: &Commit<'_>, mut signals: Option<&mut Signals>) -> anyhow::Result<bool> {
        let mut wait = COMMIT_BACKOFF.0;
        let mut failed = false;
        loop {
            VITALS.turned();
            let outcome = tokio::task::block_in_place(|| lock(&self.store).commit(commit));
            match outcome {
                Ok(overflow) => {
                    for (target, alerts) in overflow {
                        Event::QueueOverflowed { target: &target, alerts }.emit();
                    }
                    if failed {
                        Event::StoreBack.emit();
                    }
                    return Ok(true);
                }
                Err(error) if !error.is_temporary() => return Err(error).context("commit results"),
                Err(error) => {
                    Event::StoreFailed { why: &error.to_string(), first: !failed, retry_in: wait }.emit();
                    failed = true;
                }
            }
            // An outbox may be what makes room.
            self.wake();
            match &mut signals {
                None => {
                    return Err(anyhow::anyhow!(
                        "the state file cannot be written; what was read last will be read again"
                    ));
                }
                Some(signals) => tokio::select! {
                    signal = signals.next() => {
                        Event::Stopping { signal }.emit();
                        return Ok(false);
                    }
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(COMMIT_BACKOFF.1),
                },
            }
        }
    }

    /// What is to be sent where. The bytes are the same for every target.
    fn outbox_items(&self, due: &[Notification]) -> Vec<OutboxItem> {
        let mut items = Vec::new();
        for notification in due {
            let payload = keep::payload(notification, &self.payload).to_string().into_bytes();
            for outlet in &self.outlets {
                if notification.alert.rule.level >= outlet.min_level {
                    items.push(keep::outbox_item(notification, &outlet.name, payload.clone()));
                }
            }
        }
        items
    }

    fn wake(&self) {
        self.outlets.iter().for_each(|outlet| outlet.wake.notify_one());
    }

    /// Queues what waits for its group, so that a stop does not delay it.
    async fn flush(&mut self) -> anyhow::Result<()> {
        let due = self.grouping.flush(now_ms());
        self.commit(Done::default(), due, None).await.map(drop)
    }

    /// Writes the statistics file; at the end, the log line as well.
    fn report(&self, last: bool) {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        METRICS.open(self.grouping.open_count());
        let stats = Stats {
            alerts_delivered: self.outlets.iter().map(|outlet| get(&outlet.counts.delivered)).sum(),
            alerts_dead: self.outlets.iter().map(|outlet| get(&outlet.counts.dead)).sum(),
            alerts_open: self.grouping.open_count() as u64,
            ..Stats::read(&self.started)
        };
        let Ok(json) = serde_json::to_string(&stats) else { return };
        if last {
            tracing::info!("{json}");
        }
        if let Some(path) = self.stats_file.as_ref().filter(|_| self.reading || last) {
            // Whoever reads it must never see half a file.
            let partial = path.with_extension("partial");
            let written = std::fs::write(&partial, &json).and_then(|()| std::fs::rename(&partial, path));
            if let Err(error) = written {
                tracing::debug!("cannot write statistics to {}: {error}", path.display());
            }
        }
    }
}

/// What a commit is about, besides what became due.
#[derive(Debug, Default)]
struct Done {
    position: Option<String>,
    rows: u64,
    detections: u64,
    newest_ns: u64,
    /// The trace of the batch.
    span: Option<Span>,
}

async fn sleep_until_ms(due_ms: Option<i64>) {
    match due_ms {
        None => std::future::pending().await,
        Some(due_ms) => {
            let wait_ms = due_ms.saturating_sub(now_ms()).clamp(0, 60_000);
            tokio::time::sleep(Duration::from_millis(wait_ms as u64)).await;
        }
    }
}
