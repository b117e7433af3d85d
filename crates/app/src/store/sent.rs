//! What a target took, until it is known that it still has it.
//!
//! Keep answers 202 when an alert is in its memory; a restart loses it. Where the target can be
//! asked, the last word on each fingerprint is kept here until it was seen there, and goes back
//! into the queue, byte for byte, if it is not.
//!
//! The table `taken` has, for every target, when the newest word that it took on a fingerprint was
//! made: nothing older may be sent after it.

use super::queue::{Queued, WAIT_MS_MAX};
use super::{Store, StoreError, add_total, letters};
use rusqlite::{Row, Transaction, params};

/// Most fingerprints remembered as taken for one target; the oldest are forgotten.
const TAKEN_MAX: i64 = 50_000;

/// Stands for the time to look for an alert that is on its way again.
const NOT_YET_MS: i64 = i64::MAX;

/// An alert that a target took and that was not seen there yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The alert, as it was sent; `seq` has no meaning any more.
    pub alert: Queued,
    /// How often in a row it was not found.
    pub misses: u32,
    /// How often it was sent again.
    pub resends: u32,
}

impl Sent {
    fn read(row: &Row<'_>) -> rusqlite::Result<Sent> {
        let alert = Queued {
            seq: 0,
            target: row.get(0)?,
            id: row.get(1)?,
            group_id: row.get(2)?,
            fingerprint: row.get(3)?,
            resolved: row.get(4)?,
            queued_at_ms: row.get(5)?,
            payload: row.get(6)?,
            attempts: 0,
            alone: false,
            altered: false,
        };
        Ok(Sent { alert, misses: row.get(7)?, resends: row.get(8)? })
    }
}

/// Notes that `item` was taken and is to be looked for at `check_at_ms`. A later word on the same
/// fingerprint takes the place of an earlier one.
pub(super) fn note(transaction: &Transaction<'_>, item: &Queued, check_at_ms: i64) -> rusqlite::Result<()> {
    let sql =
        "INSERT INTO sent (target, fingerprint, id, group_id, resolved, queued_at_ms, payload, check_at_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (target, fingerprint) DO UPDATE SET
                   resends = CASE WHEN id = excluded.id THEN resends ELSE 0 END,
                   id = excluded.id, group_id = excluded.group_id, resolved = excluded.resolved,
                   queued_at_ms = excluded.queued_at_ms, payload = excluded.payload,
                   check_at_ms = excluded.check_at_ms, misses = 0";
    let row = params![
        item.target,
        item.fingerprint,
        item.id,
        item.group_id,
        item.resolved,
        item.queued_at_ms,
        item.payload,
        check_at_ms
    ];
    transaction.prepare_cached(sql)?.execute(row).map(|_| ())
}

/// Notes how new the word is that a target took on a fingerprint.
pub(super) fn take(transaction: &Transaction<'_>, item: &Queued) -> rusqlite::Result<()> {
    let sql = "INSERT INTO taken (target, fingerprint, queued_at_ms) VALUES (?1, ?2, ?3)
               ON CONFLICT (target, fingerprint) DO UPDATE SET queued_at_ms = max(queued_at_ms, excluded.queued_at_ms)";
    transaction
        .prepare_cached(sql)?
        .execute(params![item.target, item.fingerprint, item.queued_at_ms])
        .map(|_| ())
}

/// Forgets what was taken long ago.
pub(super) fn forget_taken(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let sql = "DELETE FROM taken WHERE queued_at_ms <
                   (SELECT queued_at_ms FROM taken ORDER BY queued_at_ms DESC LIMIT 1 OFFSET ?1)";
    transaction.prepare_cached(sql)?.execute([TAKEN_MAX]).map(|_| ())
}

/// An alert that was given up or dropped is not looked for any more.
pub(super) fn forget_alert(transaction: &Transaction<'_>, target: &str, id: &str) -> rusqlite::Result<()> {
    let sql = "DELETE FROM sent WHERE target = ?1 AND id = ?2";
    transaction.prepare_cached(sql)?.execute([target, id]).map(|_| ())
}

impl Store {
    /// What is to be looked for at `target` now, at most `limit`.
    pub fn sent_due(&self, target: &str, now_ms: i64, limit: usize) -> Result<Vec<Sent>, StoreError> {
        let sql = "SELECT target, id, group_id, fingerprint, resolved, queued_at_ms, payload, misses, resends
                   FROM sent WHERE target = ?1 AND check_at_ms NOT BETWEEN ?2 + 1 AND ?4 AND check_at_ms < ?5
                   ORDER BY check_at_ms LIMIT ?3";
        self.explain(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let ahead_ms = now_ms.saturating_add(WAIT_MS_MAX);
            let place = params![target, now_ms, limit, ahead_ms, NOT_YET_MS];
            statement.query_map(place, Sent::read)?.collect()
        })
    }

    /// They were seen at their target.
    pub fn sent_seen(&mut self, seen: &[Sent]) -> Result<(), StoreError> {
        self.transaction(|transaction| {
            for sent in seen {
                forget(transaction, sent)?;
            }
            add_total(transaction, "alerts_verified", seen.len() as u64).map(|()| true)
        })
        .map(|_| ())
    }

    /// They were not seen, and will be looked for once more at `check_at_ms`.
    pub fn sent_missed(&mut self, missed: &[Sent], check_at_ms: i64) -> Result<(), StoreError> {
        self.transaction(|transaction| {
            let sql = "UPDATE sent SET misses = misses + 1, check_at_ms = ?4
                       WHERE target = ?1 AND fingerprint = ?2 AND id = ?3";
            for Sent { alert, .. } in missed {
                let row = params![alert.target, alert.fingerprint, alert.id, check_at_ms];
                transaction.prepare_cached(sql)?.execute(row)?;
            }
            Ok(true)
        })
        .map(|_| ())
    }

    /// They are lost: the same bytes wait to be sent again, except where a newer word on the same
    /// fingerprint waits already. Gives how many wait.
    pub fn sent_lost(&mut self, lost: &[Sent], now_ms: i64) -> Result<u64, StoreError> {
        let mut again = 0;
        self.transaction(|transaction| {
            again = 0;
            for sent in lost {
                again += u64::from(requeue(transaction, sent, now_ms)?);
            }
            add_total(transaction, "alerts_resent", again).map(|()| true)
        })?;
        Ok(again)
    }

    /// They were taken again and again and never seen.
    pub fn sent_dead(&mut self, lost: &[Sent], now_ms: i64, reason: &str) -> Result<(), StoreError> {
        let keep = self.settings.dead_letters_max;
        self.transaction(|transaction| {
            let alerts: Vec<Queued> = lost.iter().map(|sent| sent.alert.clone()).collect();
            letters::bury(transaction, &alerts, now_ms, reason, keep)?;
            Ok(true)
        })
        .map(|_| ())
    }
}

fn forget(transaction: &Transaction<'_>, sent: &Sent) -> rusqlite::Result<()> {
    let alert = &sent.alert;
    let sql = "DELETE FROM sent WHERE target = ?1 AND fingerprint = ?2 AND id = ?3";
    transaction.prepare_cached(sql)?.execute([&alert.target, &alert.fingerprint, &alert.id]).map(|_| ())
}

fn requeue(transaction: &Transaction<'_>, sent: &Sent, now_ms: i64) -> rusqlite::Result<bool> {
    let alert = &sent.alert;
    let place = [&alert.target, &alert.fingerprint];
    let waits = "SELECT EXISTS (SELECT 1 FROM outbox WHERE target = ?1 AND fingerprint = ?2)";
    if transaction.prepare_cached(waits)?.query_row(place, |row| row.get(0))? {
        forget(transaction, sent)?;
        return Ok(false);
    }
    let sql = "INSERT INTO outbox (target, id, group_id, fingerprint, resolved, queued_at_ms, payload)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![
        alert.target,
        alert.id,
        alert.group_id,
        alert.fingerprint,
        alert.resolved,
        now_ms,
        alert.payload
    ];
    transaction.prepare_cached(sql)?.execute(row)?;
    // It stays noted for the number of times it was sent, and is not looked for before it was taken.
    let sql = "UPDATE sent SET resends = resends + 1, check_at_ms = ?4
               WHERE target = ?1 AND fingerprint = ?2 AND id = ?3";
    let row = params![alert.target, alert.fingerprint, alert.id, NOT_YET_MS];
    transaction.prepare_cached(sql)?.execute(row)?;
    Ok(true)
}
