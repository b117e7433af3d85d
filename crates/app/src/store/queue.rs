//! The outbox table: what waits, what may be sent now, what became of it.
//!
//! It keeps the order within a fingerprint and knows nothing of HTTP.

use super::{OutboxItem, Store, StoreError, add_total};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// An alert that waits for delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    /// Place in the queue.
    pub seq: i64,
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

const COLUMNS: &str =
    "seq, id, group_id, fingerprint, resolved, queued_at_ms, payload, attempts, alone, altered";

impl Queued {
    fn read(row: &Row<'_>) -> rusqlite::Result<Queued> {
        Ok(Queued {
            seq: row.get(0)?,
            id: row.get(1)?,
            group_id: row.get(2)?,
            fingerprint: row.get(3)?,
            resolved: row.get(4)?,
            queued_at_ms: row.get(5)?,
            payload: row.get(6)?,
            attempts: row.get(7)?,
            alone: row.get(8)?,
            altered: row.get(9)?,
        })
    }
}

/// Appends `item`, or puts it in the place of an unsent word on the same group that it makes
/// superfluous. The place of the earlier one stays, so that an alert that changes all the time is
/// not put off for ever.
pub(super) fn enqueue(transaction: &Transaction<'_>, item: &OutboxItem) -> rusqlite::Result<()> {
    let (id, group_id) = (item.id.to_string(), item.group_id.to_string());
    let print = item.fingerprint.to_string();
    let sql = "SELECT seq, group_id, resolved FROM outbox WHERE fingerprint = ?1 ORDER BY seq DESC LIMIT 1";
    let last: Option<(i64, String, bool)> = transaction
        .prepare_cached(sql)?
        .query_row([&print], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
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
    let sql = "INSERT INTO outbox (id, group_id, fingerprint, resolved, queued_at_ms, payload)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row = params![id, group_id, print, item.resolved, item.queued_at_ms, item.payload];
    transaction.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Number of alerts that wait.
pub(super) fn len(connection: &Connection) -> rusqlite::Result<usize> {
    let count: i64 = connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

impl Store {
    /// Number of alerts that wait for delivery.
    pub fn outbox_len(&self) -> Result<usize, StoreError> {
        self.explain(len)
    }

    /// The alerts that may be sent now, at most `limit`, in order. An alert whose fingerprint has
    /// an earlier one that must wait is not among them.
    pub fn outbox_ready(&self, now_ms: i64, limit: usize) -> Result<Vec<Queued>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outbox AS this
             WHERE next_at_ms <= ?1
               AND NOT EXISTS (SELECT 1 FROM paced
                               WHERE paced.fingerprint = this.fingerprint AND paced.until_ms > ?1)
               AND NOT EXISTS (SELECT 1 FROM outbox AS earlier
                               WHERE earlier.fingerprint = this.fingerprint AND earlier.seq < this.seq
                                 AND earlier.next_at_ms > ?1)
             ORDER BY seq LIMIT ?2"
        );
        self.explain(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement.query_map(params![now_ms, limit], Queued::read)?.collect()
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

    /// The receiver took them.
    pub fn outbox_accepted(&mut self, batch: &[Queued], until_ms: i64) -> Result<(), StoreError> {
        self.transaction(|transaction| {
            for item in batch {
                remove(transaction, item)?;
            }
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
        let keep = i64::try_from(self.settings.dead_letters_max).unwrap_or(i64::MAX);
        self.transaction(|transaction| {
            for item in batch {
                let sql = "INSERT INTO dead_letters
                               (id, fingerprint, queued_at_ms, died_at_ms, reason, payload)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                let row = params![item.id, item.fingerprint, item.queued_at_ms, now_ms, reason, item.payload];
                transaction.prepare_cached(sql)?.execute(row)?;
                remove(transaction, item)?;
                unpace(transaction, item)?;
            }
            add_total(transaction, "alerts_dead", batch.len() as u64)?;
            let sql = "DELETE FROM dead_letters WHERE seq <=
                           (SELECT seq FROM dead_letters ORDER BY seq DESC LIMIT 1 OFFSET ?1)";
            let dropped = transaction.prepare_cached(sql)?.execute([keep])?;
            if dropped > 0 {
                add_total(transaction, "dead_letters_dropped", dropped as u64)?;
            }
            Ok(true)
        })
        .map(|_| ())
    }

    /// The newest dead letters with their reasons, at most `limit`.
    pub fn dead_letters(&self, limit: usize) -> Result<Vec<(Queued, String)>, StoreError> {
        let sql = "SELECT seq, id, '', fingerprint, 0, queued_at_ms, payload, 0, 0, 0, reason
                   FROM dead_letters ORDER BY seq DESC LIMIT ?1";
        self.explain(|connection| {
            let mut statement = connection.prepare(sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement.query_map([limit], |row| Ok((Queued::read(row)?, row.get(10)?)))?.collect()
        })
    }
}

/// Removes what was sent, unless a newer word took its place meanwhile.
fn remove(transaction: &Transaction<'_>, item: &Queued) -> rusqlite::Result<()> {
    let sql = "DELETE FROM outbox WHERE seq = ?1 AND id = ?2";
    transaction.prepare_cached(sql)?.execute(params![item.seq, item.id]).map(|_| ())
}

fn pace(transaction: &Transaction<'_>, batch: &[Queued], until_ms: i64) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO paced (fingerprint, until_ms) VALUES (?1, ?2)
               ON CONFLICT (fingerprint) DO UPDATE SET until_ms = excluded.until_ms";
    for item in batch {
        transaction.prepare_cached(sql)?.execute(params![item.fingerprint, until_ms])?;
    }
    Ok(true)
}

fn unpace(transaction: &Transaction<'_>, item: &Queued) -> rusqlite::Result<()> {
    let sql = "DELETE FROM paced WHERE fingerprint = ?1";
    transaction.prepare_cached(sql)?.execute([&item.fingerprint]).map(|_| ())
}
