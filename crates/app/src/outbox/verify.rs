//! Looks whether a target still has what it took.
//!
//! Keep's 202 means that an alert is in its memory; a restart loses it, and an error on its side
//! drops it without a word. Where there is a key to read with, the last word on each fingerprint is
//! looked for; what is missing twice, some minutes apart, is sent again with the same bytes. What is
//! taken again and again and never found is given up, with this reason.
//!
//! Another alert under the same fingerprint counts as missing too: only the last word is looked for,
//! so what is found instead is an older one.

use super::policy::ms;
use super::{Health, Outbox, now_ms};
use crate::store::{Sent, Store, StoreError};
use crate::telemetry::metrics::METRICS;
use std::time::Duration;
use tokio::time::Instant;

/// Most fingerprints asked for at once.
const ASK_MAX: usize = 50;
/// Wait after everything due was looked for.
const PAUSE: Duration = Duration::from_secs(2);
/// Wait after the question failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

impl Outbox {
    /// Looks for what is due, if the target can be asked and delivery goes well. A failure only puts
    /// it off: nothing is sent again because a question was not answered.
    pub(super) async fn verify(&mut self) {
        let well = matches!(*self.health.borrow(), Health::Delivering);
        if !well || !self.target.can_verify() || Instant::now() < self.verify_at {
            return;
        }
        let pause = match self.look().await {
            Ok(found) => {
                self.verify_trouble = None;
                if found == ASK_MAX { Duration::ZERO } else { PAUSE.min(self.settings.verify_after) }
            }
            Err(trouble) => {
                if self.verify_trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(
                        reason = trouble,
                        "cannot look whether alerts arrived at {}",
                        self.target.label()
                    );
                    self.verify_trouble = Some(trouble);
                }
                PAUSE_AFTER_FAILURE.min(self.settings.probe_interval)
            }
        };
        self.verify_at = Instant::now() + pause;
    }

    /// Looks for what is due; gives how many that were.
    async fn look(&self) -> Result<usize, String> {
        let (name, now) = (self.target.name().to_owned(), now_ms());
        let of_store = |error: StoreError| error.to_string();
        let due = self.with_store(move |store: &mut Store| store.sent_due(&name, now, ASK_MAX));
        let due = due.await.map_err(of_store)?;
        if due.is_empty() {
            return Ok(0);
        }
        let prints: Vec<&str> = due.iter().map(|sent| sent.alert.fingerprint.as_str()).collect();
        let stored = self.target.stored(&prints).await?;
        let count = due.len();
        let has = |sent: &Sent| stored.get(&sent.alert.fingerprint) == Some(&sent.alert.id);
        let (seen, missing): (Vec<Sent>, Vec<Sent>) = due.into_iter().partition(has);
        let (first, twice): (Vec<Sent>, Vec<Sent>) = missing.into_iter().partition(|sent| sent.misses == 0);
        let max = self.settings.resends_max;
        let (lost, never): (Vec<Sent>, Vec<Sent>) = twice.into_iter().partition(|sent| sent.resends < max);
        self.tell(&lost, &never);
        let again_ms = now.saturating_add(ms(self.settings.verify_again));
        let work = move |store: &mut Store| {
            store.sent_seen(&seen)?;
            store.sent_missed(&first, again_ms)?;
            if !never.is_empty() {
                store.sent_dead(&never, now, "taken again and again, and never there when looked for")?;
            }
            store.sent_lost(&lost, now)
        };
        let again = self.with_store(work).await.map_err(of_store)?;
        METRICS.resent(self.target.name(), again);
        Ok(count)
    }

    fn tell(&self, lost: &[Sent], never: &[Sent]) {
        let label = self.target.label();
        if !lost.is_empty() {
            tracing::warn!(alerts = lost.len(), "{label} lost alerts that it had taken: they are sent again");
        }
        for Sent { alert, .. } in never {
            let (id, fingerprint) = (&alert.id, &alert.fingerprint);
            tracing::error!(%id, %fingerprint, "{label} takes an alert and does not store it: dead letter");
        }
        if !never.is_empty() {
            METRICS.dead(self.target.name(), "not_stored", never.len() as u64);
            let dead = &self.counts.dead;
            dead.fetch_add(never.len() as u64, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
