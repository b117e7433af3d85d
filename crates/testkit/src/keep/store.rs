//! What Keep does with an accepted event: duplicates by fingerprint and content, one alert after
//! another, in memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{Fault, Options};
use crate::http::{lock, runtime};

/// What became of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The first of its fingerprint.
    New,
    /// Its fingerprint was known, its content is other: a new entry of its history.
    PartialDuplicate,
    /// Fingerprint and content were known: only `lastReceived` moves.
    FullDuplicate,
}

/// An alert that came.
#[derive(Debug, Clone)]
pub struct Received {
    /// When its request came.
    pub at: SystemTime,
    /// The alert as Keep keeps it.
    pub alert: Map<String, Value>,
    /// What became of it.
    pub outcome: Outcome,
}

/// An array as accepted, with its key's name.
pub(super) struct Job {
    pub(super) at: SystemTime,
    pub(super) alerts: Vec<Map<String, Value>>,
    pub(super) key: String,
    /// Which run of the backend accepted it; a later one does not know it.
    pub(super) run: u64,
}

/// The last state of a fingerprint.
pub(super) struct Stored {
    pub(super) fields: Map<String, Value>,
    hash: String,
}

#[derive(Default)]
pub(super) struct Store {
    pub(super) received: Vec<Received>,
    pub(super) alerts: BTreeMap<String, Stored>,
    pub(super) errors: Vec<(Value, String)>,
}

/// What handler and worker share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) faults: Mutex<Vec<Fault>>,
    pub(super) requests: Mutex<Vec<(Instant, u16)>>,
    /// Arrivals of the last minute, for the rate limit.
    pub(super) recent: Mutex<VecDeque<Instant>>,
    pub(super) store: std::sync::Arc<Mutex<Store>>,
    jobs: mpsc::UnboundedSender<Job>,
    queued: std::sync::Arc<AtomicUsize>,
    run: std::sync::Arc<AtomicU64>,
}

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        // As in Keep, nothing bounds the queue.
        let (jobs, mut taken) = mpsc::unbounded_channel::<Job>();
        let store = std::sync::Arc::new(Mutex::new(Store::default()));
        let (queued, run) =
            (std::sync::Arc::new(AtomicUsize::new(0)), std::sync::Arc::new(AtomicU64::new(0)));
        let (worker_store, worker_queued, worker_run) = (store.clone(), queued.clone(), run.clone());
        let per_alert = options.per_alert;
        runtime().spawn(async move {
            while let Some(job) = taken.recv().await {
                // The content known before the array is what its alerts are compared with.
                let known: HashMap<String, String> = {
                    let store = lock(&worker_store);
                    store
                        .alerts
                        .iter()
                        .map(|(fingerprint, s)| (fingerprint.clone(), s.hash.clone()))
                        .collect()
                };
                for alert in job.alerts {
                    tokio::time::sleep(per_alert).await;
                    if job.run == worker_run.load(Ordering::SeqCst) {
                        lock(&worker_store).process(alert, job.at, &job.key, &known);
                    }
                    worker_queued.fetch_sub(1, Ordering::SeqCst);
                }
            }
        });
        let (faults, requests, recent) = Default::default();
        Self { options, faults, requests, recent, store, jobs, queued, run }
    }

    pub(super) fn accept(&self, alerts: Vec<Map<String, Value>>, key: &str) {
        self.queued.fetch_add(alerts.len(), Ordering::SeqCst);
        let run = self.run.load(Ordering::SeqCst);
        let _ = self.jobs.send(Job { at: SystemTime::now(), alerts, key: key.to_owned(), run });
    }

    pub(super) fn reject(&self, event: Value, why: &str) {
        lock(&self.store).errors.push((event, why.to_owned()));
    }

    pub(super) fn lose_queue(&self) {
        self.run.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }
}

impl Store {
    fn process(
        &mut self,
        mut alert: Map<String, Value>,
        at: SystemTime,
        key: &str,
        known: &HashMap<String, String>,
    ) {
        if alert.get("isFullDuplicate") == Some(&Value::Bool(true)) {
            return;
        }
        let name = alert.get("name").map(super::validate::text).unwrap_or_default();
        let fingerprint = match alert.get("fingerprint").and_then(Value::as_str) {
            // Cut at 255 characters.
            Some(fingerprint) => fingerprint.chars().take(255).collect(),
            None => hex(name.as_bytes()),
        };
        if !alert.contains_key("id") {
            alert.insert("id".into(), format!("{:032x}", rand::random::<u128>()).into());
        }
        alert.insert("fingerprint".into(), fingerprint.clone().into());
        alert.insert("apiKeyRef".into(), key.into());
        let hash = content_hash(&alert);
        let outcome = match known.get(&fingerprint) {
            Some(before) if *before == hash => Outcome::FullDuplicate,
            Some(_) => Outcome::PartialDuplicate,
            None if self.alerts.contains_key(&fingerprint) => Outcome::PartialDuplicate,
            None => Outcome::New,
        };
        match self.alerts.get_mut(&fingerprint) {
            Some(stored) if outcome == Outcome::FullDuplicate => {
                let last_received = alert.get("lastReceived").cloned().unwrap_or_default();
                stored.fields.insert("lastReceived".into(), last_received);
            }
            _ => {
                self.alerts.insert(fingerprint, Stored { fields: alert.clone(), hash });
            }
        }
        self.received.push(Received { at, alert, outcome });
    }
}

/// Of the whole alert but `lastReceived`, whatever the order of its keys.
fn content_hash(alert: &Map<String, Value>) -> String {
    let mut alert = alert.clone();
    alert.shift_remove("lastReceived");
    hex(crate::signoz::go_json::encode(&Value::Object(alert), crate::signoz::go_json::Html::Plain).as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
