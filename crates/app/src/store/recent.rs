//! The table of detections of late: one row a commit, their identities packed.

use otel_log_ai_core::alert::{Identity, RecentChanges, Remembered};
use rusqlite::{Connection, Transaction, params};

/// Reads all of it, oldest first.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Vec<Remembered>> {
    let mut statement = connection.prepare("SELECT seq, at_ms, identities FROM recent ORDER BY seq")?;
    let rows = statement.query_map([], |row| {
        let packed = row.get_ref(2)?.as_blob()?;
        let (identities, _) = packed.as_chunks::<{ Identity::BYTES }>();
        let identities = identities.iter().map(|bytes| Identity::from_bytes(*bytes)).collect();
        Ok(Remembered { seq: row.get(0)?, at_ms: row.get(1)?, identities })
    })?;
    rows.collect()
}

/// Carries out the changes of one commit.
pub(super) fn change(transaction: &Transaction<'_>, changes: &RecentChanges) -> rusqlite::Result<()> {
    if changes.later_ms != 0 {
        transaction.execute("UPDATE recent SET at_ms = at_ms + ?1", [changes.later_ms])?;
    }
    if let Some(seq) = changes.forgotten {
        transaction.prepare_cached("DELETE FROM recent WHERE seq <= ?1")?.execute([seq])?;
    }
    if let Some(Remembered { seq, at_ms, identities }) = &changes.added {
        let packed: Vec<u8> = identities.iter().flat_map(|identity| identity.to_bytes()).collect();
        let sql = "INSERT INTO recent (seq, at_ms, identities) VALUES (?1, ?2, ?3)";
        transaction.prepare_cached(sql)?.execute(params![seq, at_ms, packed])?;
    }
    Ok(())
}
