//! The outbox table: what waits for each target, what may be sent now, what became of it.
//!
//! It keeps the order within a fingerprint and knows nothing of HTTP. The targets share the table
//! and nothing else: each has its own order, distance and limit.

use super::{OutboxItem, Store, StoreError, add_total, letters, sent};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// An alert that waits for delivery to one target.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    /// Place in the queue.
    pub seq: i64,
    /// Where it goes.
    pub target: String,
    /// The notification's id. The payload at `seq` may be replaced by a newer one while this one
    /// is on its way; the id tells.
    pub id: String,
    /// The group it tells of.
    pub group_id: String,
    /// Identity at the receiver.
    pub fingerprint: String,
    /// Whether it says that the alert is over.
    pub resolved: bool,
    /// When the notification was made, milliseconds since the epoch.
    pub queued_at_ms: i64,
    /// The JSON object.
    pub payload: Vec<u8>,
    /// How often it failed when sent alone.
    pub attempts: u32,
    /// Whether it must be sent alone.
    pub alone: bool,
    /// Whether it was cut down after a refusal.
    pub altered: bool,
}

/// What is known of a delivery that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver certainly did not take it.
    Refused,
    /// It may have been taken: the next word on the same fingerprint keeps its distance.
    Uncertain,
}

/// How much waits for a target, and how much was given up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Depth {
    /// Its name.
    pub target: String,
    /// Alerts that wait for delivery.
    pub queued: u64,
    /// Dead letters.
    pub dead: u64,
}

/// No wait of one alert is longer, milliseconds. A time further ahead is of a clock that was set back
/// since, and holds up nothing.
pub(super) const WAIT_MS_MAX: i64 = 600_000;

pub(super) const COLUMNS: &str =
    "seq, target, id, group_id, fingerprint, resolved, queued_at_ms, payload, attempts, alone, altered";

impl Queued {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Queued> {
        Ok(Queued {
            seq: row.get(0)?,
            target: row.get(1)?,
            id: row.get(2)?,
            group_id: row.get(3)?,
            fingerprint: row.get(4)?,
            resolved: row.get(5)?,
            queued_at_ms: row.get(6)?,
            payload: row.get(7)?,
            attempts: row.get(8)?,
            alone: row.get(9)?,
            altered: row.get(10)?,
        })
    }
}

/// Appends `item`, or puts it in the place of an unsent word on the same group that it makes
/// superfluous. The place of the earlier one stays, so that an alert that changes all the time is
/// not put off for ever.
pub(super) fn enqueue(transaction: &Transaction<'_>, item: &OutboxItem) -> rusqlite::Result<()> {
    let (id, group_id) = (item.id.to_string(), item.group_id.to_string());
    let print = item.fingerprint.to_string();
    let sql = "SELECT seq, group_id, resolved FROM outbox WHERE target = ?1 AND fingerprint = ?2
               ORDER BY seq DESC LIMIT 1";
    let last: Option<(i64, String, bool)> = transaction
        .prepare_cached(sql)?
        .query_row([&item.target, &print], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    if let Some((seq, last_group, last_resolved)) = last
        && last_group == group_id
        && last_resolved == item.resolved
    {
        let sql = "UPDATE outbox SET id = ?2, payload = ?3, queued_at_ms = ?4, altered = 0 WHERE seq = ?1";
        let row = params![seq, id, item.payload, item.queued_at_ms];
        transaction.prepare_cached(sql)?.execute(row)?;
        return add_total(transaction, "alerts_superseded", 1);
    }
    let sql = "INSERT INTO outbox (target, id, group_id, fingerprint, resolved, queued_at_ms, payload)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![item.target, id, group_id, print, item.resolved, item.queued_at_ms, item.payload];
    transaction.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Number of alerts that wait.
pub(super) fn len(connection: &Connection) -> rusqlite::Result<usize> {
    let count: i64 = connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Number of alerts that wait for `target`.
pub(super) fn len_of(connection: &Connection, target: &str) -> rusqlite::Result<usize> {
    let sql = "SELECT count(*) FROM outbox WHERE target = ?1";
    let count: i64 = connection.prepare_cached(sql)?.query_row([target], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// What of `target` is beyond its first `max`.
pub(super) fn beyond(connection: &Connection, target: &str, max: usize) -> rusqlite::Result<Vec<Queued>> {
    let sql = format!("SELECT {COLUMNS} FROM outbox WHERE target = ?1 ORDER BY seq LIMIT -1 OFFSET ?2");
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(params![target, max], Queued::read)?.collect()
}

impl Store {
    /// Number of alerts that wait for delivery, to all targets together.
    pub fn outbox_len(&self) -> Result<usize, StoreError> {
        self.explain(len)
    }

    /// How much waits for each target that has or had anything to wait for.
    pub fn depths(&self) -> Result<Vec<Depth>, StoreError> {
        let sql = "SELECT target, sum(queued), sum(dead) FROM (
                       SELECT target, count(*) AS queued, 0 AS dead FROM outbox GROUP BY target
                       UNION ALL SELECT target, 0, count(*) FROM dead_letters GROUP BY target
                       UNION ALL SELECT value, 0, 0 FROM json_each(?1))
                   GROUP BY target ORDER BY target";
        let known = serde_json::to_string(&self.settings.targets).unwrap_or_else(|_| "[]".to_owned());
        self.explain(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let count = |value: i64| value.max(0).unsigned_abs();
            let rows = statement.query_map([known], |row| {
                Ok(Depth { target: row.get(0)?, queued: count(row.get(1)?), dead: count(row.get(2)?) })
            })?;
            rows.collect()
        })
    }

    /// The alerts that may be sent to `target` now, at most `limit`, in order. An alert whose
    /// fingerprint has an earlier one that must wait is not among them.
    pub fn outbox_ready(&self, target: &str, now_ms: i64, limit: usize) -> Result<Vec<Queued>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outbox AS this
             WHERE target = ?3 AND next_at_ms NOT BETWEEN ?1 + 1 AND ?4
               AND NOT EXISTS (SELECT 1 FROM paced
                               WHERE paced.target = ?3 AND paced.fingerprint = this.fingerprint
                                 AND paced.until_ms BETWEEN ?1 + 1 AND ?4)
               AND NOT EXISTS (SELECT 1 FROM outbox AS earlier
                               WHERE earlier.target = ?3 AND earlier.fingerprint = this.fingerprint
                                 AND earlier.seq < this.seq AND earlier.next_at_ms BETWEEN ?1 + 1 AND ?4)
             ORDER BY seq LIMIT ?2"
        );
        self.explain(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let ahead_ms = now_ms.saturating_add(WAIT_MS_MAX);
            statement.query_map(params![now_ms, limit, target, ahead_ms], Queued::read)?.collect()
        })
    }

    /// Notes, before they are sent, that nothing else on these fingerprints may be sent until
    /// `until_ms`: after a kill in the midst of sending nobody knows what was taken.
    pub fn outbox_begin(&mut self, batch: &[Queued], now_ms: i64, until_ms: i64) -> Result<(), StoreError> {
        self.transaction(|transaction| {
            transaction.prepare_cached("DELETE FROM paced WHERE until_ms <= ?1")?.execute([now_ms])?;
            pace(transaction, batch, until_ms)
        })
        .map(|_| ())
    }

    /// The receiver took them. Where `verify_at_ms` is given, it is then to be asked whether it
    /// still has them.
    pub fn outbox_accepted(
        &mut self,
        batch: &[Queued],
        until_ms: i64,
        verify_at_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        self.transaction(|transaction| {
            for item in batch {
                remove(transaction, item)?;
                sent::take(transaction, item)?;
                if let Some(at_ms) = verify_at_ms {
                    sent::note(transaction, item, at_ms)?;
                }
            }
            sent::forget_taken(transaction)?;
            add_total(transaction, "alerts_delivered", batch.len() as u64)?;
            pace(transaction, batch, until_ms)
        })
        .map(|_| ())
    }

    /// They were not delivered and stay in the queue.
    pub fn outbox_failed(&mut self, batch: &[Queued], delivery: Delivery) -> Result<(), StoreError> {
        if delivery == Delivery::Uncertain {
            return Ok(());
        }
        self.transaction(|transaction| {
            for item in batch {
                unpace(transaction, item)?;
            }
            Ok(true)
        })
        .map(|_| ())
    }

    /// The receiver fails over this one: from now on it is sent alone, not before `next_at_ms`.
    pub fn outbox_isolate(&mut self, item: &Queued, next_at_ms: i64) -> Result<(), StoreError> {
        self.transaction(|transaction| {
            unpace(transaction, item)?;
            let sql = "UPDATE outbox SET alone = 1, attempts = attempts + 1, next_at_ms = ?2 WHERE seq = ?1";
            transaction.prepare_cached(sql)?.execute(params![item.seq, next_at_ms])?;
            Ok(true)
        })
        .map(|_| ())
    }

    /// Puts a payload that the receiver may like better in the place of one it refused.
    pub fn outbox_alter(&mut self, item: &Queued, payload: &[u8]) -> Result<(), StoreError> {
        self.transaction(|transaction| {
            unpace(transaction, item)?;
            let sql = "UPDATE outbox SET payload = ?3, altered = 1 WHERE seq = ?1 AND id = ?2";
            transaction.prepare_cached(sql)?.execute(params![item.seq, item.id, payload])?;
            Ok(true)
        })
        .map(|_| ())
    }

    /// Gives up on alerts; they are kept with the reason as long as there is room for them.
    pub fn outbox_dead(&mut self, batch: &[Queued], now_ms: i64, reason: &str) -> Result<(), StoreError> {
        let keep = self.settings.dead_letters_max;
        self.transaction(|transaction| letters::bury(transaction, batch, now_ms, reason, keep).map(|()| true))
            .map(|_| ())
    }
}

/// Removes what was sent, unless a newer word took its place meanwhile.
pub(super) fn remove(transaction: &Transaction<'_>, item: &Queued) -> rusqlite::Result<()> {
    let sql = "DELETE FROM outbox WHERE seq = ?1 AND id = ?2";
    transaction.prepare_cached(sql)?.execute(params![item.seq, item.id]).map(|_| ())
}

fn pace(transaction: &Transaction<'_>, batch: &[Queued], until_ms: i64) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO paced (target, fingerprint, until_ms) VALUES (?1, ?2, ?3)
               ON CONFLICT (target, fingerprint) DO UPDATE SET until_ms = excluded.until_ms";
    for item in batch {
        transaction.prepare_cached(sql)?.execute(params![item.target, item.fingerprint, until_ms])?;
    }
    Ok(true)
}

pub(super) fn unpace(transaction: &Transaction<'_>, item: &Queued) -> rusqlite::Result<()> {
    let sql = "DELETE FROM paced WHERE target = ?1 AND fingerprint = ?2";
    transaction.prepare_cached(sql)?.execute([&item.target, &item.fingerprint]).map(|_| ())
}
