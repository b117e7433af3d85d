//! Dead letters: alerts that were given up, kept with the reason until somebody decides.
//!
//! `otel-log-ai alerts` works on them, and on what waits, beside the running service: each call is
//! one short transaction.

use super::queue::{COLUMNS, Queued, remove, unpace};
use super::{Store, StoreError, add_total, sent};
use rusqlite::{OptionalExtension, Row, Transaction, params};

/// An alert that was given up.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Place among the dead letters.
    pub seq: i64,
    /// Where it should have gone.
    pub target: String,
    /// The notification's id.
    pub id: String,
    /// The group it tells of; empty in letters of older versions.
    pub group_id: String,
    /// Identity at the receiver.
    pub fingerprint: String,
    /// Whether it says that the alert is over.
    pub resolved: bool,
    /// When the notification was made, milliseconds since the epoch.
    pub queued_at_ms: i64,
    /// When it was given up, milliseconds since the epoch.
    pub died_at_ms: i64,
    /// Why.
    pub reason: String,
    /// The JSON object.
    pub payload: Vec<u8>,
}

/// What became of dead letters that were to be tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retried {
    /// Put back into their queues.
    pub queued: u64,
    /// Left alone, because a newer word on the same alert waits or was taken since: sending the
    /// older one would set the receiver back.
    pub superseded: u64,
}

const LETTER: &str =
    "seq, target, id, group_id, fingerprint, resolved, queued_at_ms, died_at_ms, reason, payload";

impl DeadLetter {
    fn read(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
        Ok(DeadLetter {
            seq: row.get(0)?,
            target: row.get(1)?,
            id: row.get(2)?,
            group_id: row.get(3)?,
            fingerprint: row.get(4)?,
            resolved: row.get(5)?,
            queued_at_ms: row.get(6)?,
            died_at_ms: row.get(7)?,
            reason: row.get(8)?,
            payload: row.get(9)?,
        })
    }
}

/// Moves alerts to the dead letters, of which each target keeps the newest `keep`.
pub(super) fn bury(
    transaction: &Transaction<'_>,
    batch: &[Queued],
    now_ms: i64,
    reason: &str,
    keep: usize,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO dead_letters
                   (target, id, group_id, fingerprint, resolved, queued_at_ms, died_at_ms, reason, payload)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    for item in batch {
        let row = params![
            item.target,
            item.id,
            item.group_id,
            item.fingerprint,
            item.resolved,
            item.queued_at_ms,
            now_ms,
            reason,
            item.payload
        ];
        transaction.prepare_cached(sql)?.execute(row)?;
        remove(transaction, item)?;
        unpace(transaction, item)?;
        sent::forget_alert(transaction, &item.target, &item.id)?;
    }
    add_total(transaction, "alerts_dead", batch.len() as u64)?;
    let mut targets: Vec<&str> = batch.iter().map(|item| item.target.as_str()).collect();
    targets.sort_unstable();
    targets.dedup();
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    for target in targets {
        let sql = "DELETE FROM dead_letters WHERE target = ?1 AND seq <=
                       (SELECT seq FROM dead_letters WHERE target = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)";
        let dropped = transaction.prepare_cached(sql)?.execute(params![target, keep])?;
        if dropped > 0 {
            add_total(transaction, "dead_letters_dropped", dropped as u64)?;
        }
    }
    Ok(())
}

impl Store {
    /// The newest dead letters, at most `limit`.
    pub fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let sql = format!("SELECT {LETTER} FROM dead_letters ORDER BY seq DESC LIMIT ?1");
        self.explain(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement.query_map([limit], DeadLetter::read)?.collect()
        })
    }

    /// The alerts that wait for delivery, the oldest first, at most `limit`.
    pub fn waiting(&self, limit: usize) -> Result<Vec<Queued>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM outbox ORDER BY seq LIMIT ?1");
        self.explain(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement.query_map([limit], Queued::read)?.collect()
        })
    }

    /// Puts dead letters back into their queues, as if they were new.
    pub fn retry_dead(&mut self, letters: &[i64], now_ms: i64) -> Result<Retried, StoreError> {
        let mut retried = Retried::default();
        self.transaction(|transaction| {
            retried = Retried::default();
            for seq in letters {
                match retry(transaction, *seq, now_ms)? {
                    Some(true) => retried.queued += 1,
                    Some(false) => retried.superseded += 1,
                    None => {}
                }
            }
            add_total(transaction, "alerts_retried", retried.queued)?;
            Ok(true)
        })?;
        Ok(retried)
    }

    /// Removes dead letters for good; counts and returns how many were still there.
    pub fn drop_dead(&mut self, letters: &[i64]) -> Result<u64, StoreError> {
        self.drop_from("DELETE FROM dead_letters WHERE seq = ?1", letters)
    }

    /// Removes waiting alerts for good; counts and returns how many were still there. One that is
    /// being sent at this moment may arrive all the same.
    pub fn drop_waiting(&mut self, places: &[i64]) -> Result<u64, StoreError> {
        self.drop_from("DELETE FROM outbox WHERE seq = ?1", places)
    }

    fn drop_from(&mut self, sql: &str, places: &[i64]) -> Result<u64, StoreError> {
        let mut dropped = 0;
        self.transaction(|transaction| {
            dropped = 0;
            for seq in places {
                dropped += transaction.prepare_cached(sql)?.execute([seq])? as u64;
            }
            add_total(transaction, "alerts_dropped_by_hand", dropped)?;
            Ok(true)
        })?;
        Ok(dropped)
    }
}

/// Puts one letter back: true if it waits now, false if something newer makes it superfluous.
fn retry(transaction: &Transaction<'_>, seq: i64, now_ms: i64) -> rusqlite::Result<Option<bool>> {
    let sql = format!("SELECT {LETTER} FROM dead_letters WHERE seq = ?1");
    let letter = transaction.prepare_cached(&sql)?.query_row([seq], DeadLetter::read).optional()?;
    let Some(letter) = letter else { return Ok(None) };
    let newer = "SELECT EXISTS (SELECT 1 FROM outbox WHERE target = ?1 AND fingerprint = ?2)
                     OR EXISTS (SELECT 1 FROM taken WHERE target = ?1 AND fingerprint = ?2 AND queued_at_ms > ?3)";
    let place = params![letter.target, letter.fingerprint, letter.queued_at_ms];
    if transaction.prepare_cached(newer)?.query_row(place, |row| row.get(0))? {
        return Ok(Some(false));
    }
    let sql = "INSERT INTO outbox (target, id, group_id, fingerprint, resolved, queued_at_ms, payload)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![
        letter.target,
        letter.id,
        letter.group_id,
        letter.fingerprint,
        letter.resolved,
        now_ms,
        letter.payload
    ];
    transaction.prepare_cached(sql)?.execute(row)?;
    transaction.prepare_cached("DELETE FROM dead_letters WHERE seq = ?1")?.execute([seq])?;
    Ok(Some(true))
}
