//! Every noteworthy happening: one place that makes both the log line and the counter, so that
//! neither drifts from the other.

mod counters;

pub use counters::{COUNTERS, Counters, Stats, add};

use crate::telemetry::metrics::METRICS;
use crate::telemetry::vitals::VITALS;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A happening.
#[expect(missing_docs, reason = "the fields are what the log line of the happening names")]
pub enum Event<'a> {
    /// Reading from the table begins.
    SourceOpened { layout: &'a str, version: &'a str },
    /// The user may not send settings, so our limits do not reach ClickHouse.
    NoSettings { user: &'a str },
    /// Reading failed; `first`: it worked before, or the reason changed.
    SourceFailed { why: &'a str, first: bool, retry_in: Duration },
    /// Reading works again.
    SourceBack { away: Duration },
    /// The saved position is about something else.
    OtherTable { saved: &'a str, now: &'a str },
    /// The table has no parts.
    NoParts { table: &'a str, engine: &'a str, window: Duration },
    /// A part was merged away between listing and reading.
    PartVanished,
    /// The table of that name is another than the one the position is about.
    TableCreatedAnew { table: &'a str },
    /// The saved position is about another share of the rows.
    ShareChanged { saved: &'a str, now: &'a str },
    /// Within a bound there were not as many new rows as there must be; all are looked at.
    BoundMismatch { bound: &'static str, part: &'a str, expected: u64, found: u64 },
    /// By their keys, not as many rows are new as there must be.
    KeysMismatch { part: &'a str, expected: u64, found: u64, unknown: u64 },
    /// Rows came back in a part that was attached again, and were known.
    RowsAttached { rows: u64 },
    /// Much waits to be read.
    CatchingUp { backlog: &'a crate::tail::Backlog },
    /// Nothing waits any more.
    CaughtUp { rows: u64, took: Duration },
    /// A row could not be read.
    RowPassedOver { part: &'a str, offset: u64, why: &'a dyn std::fmt::Display },
    /// A row made the engine panic.
    RowPanicked { record_id: &'a str },
    /// Consumed rows could not be told from new ones for certain.
    RowsUncertain { part: &'a str, rows: u64, forgotten: u64 },
    /// A scan by event time reached its bound.
    ScanBound { table: &'a str, buckets: usize },
    /// Bodies were cut.
    BodiesCut { rows: u64, longest_bytes: u64 },
    /// Rules were loaded.
    RulesLoaded { rules: usize, rejected: usize, filtered: usize, reload: bool },
    /// A rule costs more than its budget.
    RuleDear { problem: &'a dyn std::fmt::Display },
    /// A rule was not loaded.
    RuleProblem { problem: &'a dyn std::fmt::Display },
    /// The rules on disk are not usable; the old ones stay.
    RulesKept { why: &'a str, rules: usize },
    /// Results could not be committed.
    StoreFailed { why: &'a str, first: bool, retry_in: Duration },
    /// Results are committed again.
    StoreBack,
    /// The limit of open alerts was reached; so many were closed early.
    AlertsEvicted { alerts: u64 },
    /// The machine's clock was set back while we ran.
    ClockSetBack { by: Duration },
    /// Alerts wait for a target that is not configured any more.
    OrphanQueue { target: &'a str, alerts: u64 },
    /// The queue of a target is full while others are not: what is too much was given up.
    QueueOverflowed { target: &'a str, alerts: u64 },
    /// So many detections were counted in an alert for many entities.
    DetectionsFolded { detections: u64 },
    /// So many detections were forgotten before their time, because there were too many.
    DetectionsForgotten { detections: u64 },
    /// So many audit events were finished before all of their records had come, because too many
    /// were waiting.
    AuditEventsEarly { events: u64 },
    /// The engine and the definition of right differed; `first` for this rule. `right`: the rule
    /// matches by definition.
    EngineDiffers { rule: &'a str, class: &'a str, right: bool, first: bool },
    /// The service stops.
    Stopping { signal: &'a str },
}

/// Whether a flag was not raised before.
fn once(flag: &AtomicBool) -> bool {
    !flag.swap(true, Ordering::Relaxed)
}

impl Event<'_> {
    /// Logs and counts it. What may come with every batch is logged once and counted always.
    pub fn emit(&self) {
        static SCAN: AtomicBool = AtomicBool::new(false);
        let c = &COUNTERS;
        match self {
            Event::SourceOpened { layout, version } => {
                VITALS.source(None);
                c.loss_window_s.store(0, Ordering::Relaxed);
                tracing::info!(version, "reading {layout}");
            }
            Event::NoSettings { user } => tracing::warn!(
                "ClickHouse user `{user}` is readonly=1: limits on threads, memory and time cannot be sent \
                 (set them in the user's profile, or use readonly=2)"
            ),
            Event::SourceFailed { why, first, retry_in } => {
                add(&c.source_failures, 1);
                VITALS.source(Some((*why).to_owned()));
                match first {
                    true => {
                        tracing::error!(retry_in_ms = retry_in.as_millis() as u64, "cannot read logs: {why}")
                    }
                    false => tracing::debug!(
                        retry_in_ms = retry_in.as_millis() as u64,
                        "still cannot read logs: {why}"
                    ),
                }
            }
            Event::SourceBack { away } => {
                VITALS.source(None);
                tracing::info!(away_s = away.as_secs(), "reading logs again; nothing was lost");
            }
            Event::OtherTable { saved, now } => tracing::warn!(
                "the saved position is about `{saved}`, the logs are now read from `{now}`: starting as configured"
            ),
            Event::NoParts { table, engine, window } => {
                c.loss_window_s.store(window.as_secs(), Ordering::Relaxed);
                tracing::warn!(
                    "the parts of {table} (engine {engine}) cannot be relied on: it is read by event time, and rows \
                     that arrive more than {} h late are missed",
                    window.as_secs() / 3600
                );
            }
            Event::PartVanished => {
                add(&c.parts_vanished, 1);
                tracing::debug!("a part was merged while it was to be read; listing anew");
            }
            Event::RowPassedOver { part, offset, why } => {
                add(&c.rows_passed_over, 1);
                tracing::error!(part, offset, "a row cannot be read and is passed over: {why}");
            }
            Event::RowsUncertain { part, rows, forgotten } => {
                add(&c.rows_uncertain, *rows);
                tracing::warn!(
                    part,
                    rows,
                    forgotten,
                    "rows may be evaluated a second time: a part we read was merged with new rows and the keys of its rows are forgotten"
                );
            }
            Event::ScanBound { table, buckets } => {
                if once(&SCAN) {
                    tracing::warn!(
                        "{table} has rows in more than {buckets} half minutes: they are caught up with in pieces; if \
                         this is not a long backlog, many rows are dated in the future"
                    );
                }
            }
            reading => reading.emit_reading(),
        }
    }

    /// The second part of [`Event::emit`]: parts and what they hold.
    fn emit_reading(&self) {
        static BOUND: AtomicBool = AtomicBool::new(false);
        static KEYS: AtomicBool = AtomicBool::new(false);
        static ATTACHED: AtomicBool = AtomicBool::new(false);
        match self {
            Event::TableCreatedAnew { table } => tracing::warn!(
                "{table} was created anew since the position was saved: all of its rows are read"
            ),
            Event::ShareChanged { saved, now } => tracing::warn!(
                "this worker read {saved} and now reads {now}: rows that arrived before, and that it did not read, \
                 are left to those that did"
            ),
            Event::BoundMismatch { bound, part, expected, found } => {
                METRICS.mismatch(bound);
                if once(&BOUND) {
                    tracing::info!(
                        part,
                        expected,
                        found,
                        "new rows of a merged part cannot be told by {bound}: the keys of all its rows are read \
                         (told once, counted always)"
                    );
                }
            }
            Event::KeysMismatch { part, expected, found, unknown } => {
                METRICS.mismatch("keys");
                if once(&KEYS) {
                    tracing::warn!(
                        part,
                        expected,
                        found,
                        unknown,
                        "a merged part does not hold what was read before: rows were deleted or changed \
                         (told once, counted always)"
                    );
                }
            }
            Event::RowPanicked { record_id } => {
                add(&COUNTERS.rows_passed_over, 1);
                tracing::error!(record_id, "a row made the engine fail and is passed over; please report it");
            }
            Event::RowsAttached { rows } => {
                add(&COUNTERS.rows_attached, *rows);
                if once(&ATTACHED) {
                    tracing::info!(rows, "rows were attached again and are not evaluated twice (told once)");
                }
            }
            Event::CatchingUp { backlog } => tracing::info!(
                rows = backlog.done,
                left = backlog.left,
                rows_per_second = backlog.rows_per_second() as u64,
                eta_s = backlog.eta_s(),
                "catching up: {} %",
                backlog.percent()
            ),
            Event::CaughtUp { rows, took } => {
                tracing::info!(rows, took_s = took.as_secs(), "caught up: nothing waits to be read");
            }
            evaluating => evaluating.emit_evaluating(),
        }
    }

    /// The third part of [`Event::emit`]: rules and what they are evaluated on.
    fn emit_evaluating(&self) {
        static CUT: AtomicBool = AtomicBool::new(false);
        static FORGOTTEN: AtomicBool = AtomicBool::new(false);
        static AUDIT_EARLY: AtomicBool = AtomicBool::new(false);
        let c = &COUNTERS;
        match self {
            Event::BodiesCut { rows, longest_bytes } => {
                add(&c.bodies_cut, *rows);
                if once(&CUT) {
                    let max = crate::clickhouse::BODY_BYTES_MAX;
                    tracing::warn!(
                        rows,
                        longest_bytes,
                        "bodies longer than {max} bytes are cut (told once, counted always)"
                    );
                }
            }
            Event::RulesLoaded { rules, rejected, filtered, reload } => {
                c.rules.store(*rules as u64, Ordering::Relaxed);
                VITALS.rules(*rules);
                add(&c.reloads, u64::from(*reload));
                tracing::info!(
                    rules,
                    rejected,
                    filtered,
                    "{}",
                    if *reload { "rules reloaded" } else { "rules loaded" }
                );
            }
            Event::RuleDear { problem } => tracing::warn!("rule is dear: {problem}"),
            Event::RuleProblem { problem } => tracing::warn!("rule not loaded: {problem}"),
            Event::RulesKept { why, rules } => {
                tracing::error!("{why}: the {rules} rules loaded before stay in use")
            }
            Event::EngineDiffers { rule, class, right, first } => {
                add(&c.engine_differences, 1);
                if *first {
                    tracing::error!(
                        rule,
                        class,
                        right,
                        "the engine's answer was wrong and was corrected; please report it (told once for each rule)"
                    );
                }
            }
            Event::DetectionsForgotten { detections } => {
                add(&c.detections_forgotten, *detections);
                if once(&FORGOTTEN) {
                    tracing::warn!(
                        "too many detections to remember: if a Collector sends the records of the oldest again, \
                         they are counted again (told once, counted always)"
                    );
                }
            }
            Event::AuditEventsEarly { events } => {
                add(&c.audit_events_early, *events);
                if once(&AUDIT_EARLY) {
                    tracing::warn!(
                        events,
                        "too many audit events wait for records: the oldest are evaluated as they are \
                         (told once, counted always)"
                    );
                }
            }
            alerting => alerting.emit_alerting(),
        }
    }

    /// The last part of [`Event::emit`]: alerts, the state file and the end.
    fn emit_alerting(&self) {
        static FOLDED: AtomicBool = AtomicBool::new(false);
        static EVICTED: AtomicBool = AtomicBool::new(false);
        let c = &COUNTERS;
        match self {
            Event::StoreFailed { why, first, retry_in } => {
                add(&c.store_failures, 1);
                VITALS.store(Some((*why).to_owned()));
                match first {
                    true => tracing::error!(
                        retry_in_ms = retry_in.as_millis() as u64,
                        "cannot write the state file, reading waits: {why}"
                    ),
                    false => tracing::debug!("still cannot write the state file: {why}"),
                }
            }
            Event::StoreBack => {
                VITALS.store(None);
                tracing::info!("the state file is written again; nothing was lost");
            }
            Event::AlertsEvicted { alerts } => {
                add(&c.alerts_evicted, *alerts);
                if once(&EVICTED) {
                    tracing::warn!(
                        alerts,
                        "the limit of open alerts is reached: the quietest are closed early (told once)"
                    );
                }
            }
            Event::DetectionsFolded { detections } => {
                add(&c.detections_folded, *detections);
                if once(&FOLDED) {
                    tracing::warn!(
                        "too many alerts are open (`alerts.limits`): further hosts share one alert of their rule \
                         (told once, counted always)"
                    );
                }
            }
            Event::OrphanQueue { target, alerts } => tracing::warn!(
                alerts,
                "alerts wait for `{target}`, which is not a target any more: configure it again, or \
                 `otel-log-ai alerts drop --waiting --all --target {target}`"
            ),
            Event::QueueOverflowed { target, alerts } => {
                METRICS.dead(target, "queue_full", *alerts);
                tracing::error!(
                    alerts,
                    "the queue of target `{target}` is full: its latest alerts go to its dead letters"
                );
            }
            Event::ClockSetBack { by } => tracing::warn!(
                by_s = by.as_secs(),
                "the machine's clock was set back: until a restart, the times of sending in alerts are ahead of it"
            ),
            Event::Stopping { signal } => tracing::info!("{signal}: stopping"),
            // The others are told by `emit`, which calls this for what is left.
            _ => {}
        }
    }
}
