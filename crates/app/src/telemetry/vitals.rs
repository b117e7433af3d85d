//! Whether the service is well: what its parts last said of themselves.
//!
//! Alive means that the loop turns; ready means that rows are read, evaluated, stored and sent.
//! The parts report through [`crate::events`] and the outboxes' health (an idle outbox asks its target
//! every minute); nothing is probed here.

use crate::outbox::Health;
use serde::Serialize;
use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The process's vital signs.
pub static VITALS: Vitals = Vitals::new();

/// Longest time between two turns of the loop in health, milliseconds. A turn takes at most a batch
/// and its commit, and a waiting commit counts as turning.
const TURN_MS_MAX: i64 = 120_000;

/// What the parts last said.
#[derive(Debug)]
pub struct Vitals {
    /// When the loop last turned, milliseconds since the epoch; 0 before the first time.
    turned_ms: AtomicI64,
    parts: Mutex<Parts>,
}

#[derive(Debug)]
struct Parts {
    /// Why rows are not read; `None` while they are.
    source: Option<Cow<'static, str>>,
    /// Why results are not stored.
    store: Option<String>,
    /// Rules in use.
    rules: usize,
    targets: Vec<(String, watch::Receiver<Health>)>,
}

/// One line of the answer at `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sign {
    /// `clickhouse`, `state`, `rules`, or `target` with its name.
    pub part: String,
    /// Whether it is well.
    pub ok: bool,
    /// What is wrong; may name addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Vitals {
    /// Nothing is known to work yet.
    pub const fn new() -> Vitals {
        let source = Some(Cow::Borrowed("reading has not begun"));
        let parts = Parts { source, store: None, rules: 0, targets: Vec::new() };
        Vitals { turned_ms: AtomicI64::new(0), parts: Mutex::new(parts) }
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop turned.
    pub fn turned(&self) {
        self.turned_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Rows are read (`None`), or why not.
    pub fn source(&self, trouble: Option<String>) {
        self.parts().source = trouble.map(Cow::Owned);
    }

    /// Results are stored (`None`), or why not.
    pub fn store(&self, trouble: Option<String>) {
        self.parts().store = trouble;
    }

    /// So many rules are in use.
    pub fn rules(&self, rules: usize) {
        self.parts().rules = rules;
    }

    /// Another target, and how its delivery goes.
    pub fn target(&self, name: &str, health: watch::Receiver<Health>) {
        self.parts().targets.push((name.to_owned(), health));
    }

    /// Whether the loop turns.
    pub fn is_alive(&self) -> bool {
        let turned_ms = self.turned_ms.load(Ordering::Relaxed);
        turned_ms > 0 && now_ms().saturating_sub(turned_ms) <= TURN_MS_MAX
    }

    /// Every part, well or not.
    pub fn signs(&self) -> Vec<Sign> {
        let parts = self.parts();
        let sign =
            |part: String, trouble: Option<String>| Sign { part, ok: trouble.is_none(), reason: trouble };
        let stuck = (!self.is_alive()).then(|| "the loop does not turn".to_owned());
        let no_rules = (parts.rules == 0).then(|| "no rule is loaded".to_owned());
        let mut signs = vec![
            sign("loop".to_owned(), stuck),
            sign("clickhouse".to_owned(), parts.source.as_deref().map(str::to_owned)),
            sign("state".to_owned(), parts.store.clone()),
            sign("rules".to_owned(), no_rules),
        ];
        for (name, health) in &parts.targets {
            let trouble = match &*health.borrow() {
                Health::Delivering => None,
                Health::Retrying(reason) | Health::Paused(reason) => Some(reason.clone()),
            };
            signs.push(sign(format!("target {name}"), trouble));
        }
        signs
    }
}

impl Default for Vitals {
    fn default() -> Vitals {
        Vitals::new()
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_only_who_reads_stores_and_sends() {
        let vitals = Vitals::new();
        let broken = |vitals: &Vitals| -> Vec<String> {
            vitals.signs().into_iter().filter(|sign| !sign.ok).map(|sign| sign.part).collect()
        };
        assert!(!vitals.is_alive());
        assert_eq!(broken(&vitals), ["loop", "clickhouse", "rules"]);
        vitals.source(None);
        vitals.turned();
        vitals.rules(3);
        assert!(vitals.is_alive() && broken(&vitals).is_empty());
        let (health, seen) = watch::channel(Health::Delivering);
        vitals.target("keep", seen);
        vitals.source(Some("cannot be reached".into()));
        vitals.store(Some("no room".into()));
        health.send_replace(Health::Paused("wrong key".into()));
        assert_eq!(broken(&vitals), ["clickhouse", "state", "target keep"]);
        vitals.source(None);
        vitals.store(None);
        health.send_replace(Health::Delivering);
        assert!(broken(&vitals).is_empty());
    }
}
