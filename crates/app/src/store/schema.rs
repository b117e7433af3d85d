//! The tables, and how older files are brought up to date.

use super::StoreError;
use rusqlite::Connection;
use std::path::Path;

/// Marks the file as ours (SQLite's `application_id`): "OTLA".
const APPLICATION_ID: i64 = 0x4f54_4c41;

/// Step n brings a file from schema n to n + 1; never change one that was released.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE position (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        value    TEXT NOT NULL
    );
    CREATE TABLE open_alerts (
        fingerprint TEXT PRIMARY KEY,
        alert       TEXT NOT NULL            -- JSON
    ) WITHOUT ROWID;
    CREATE TABLE outbox (
        seq          INTEGER PRIMARY KEY AUTOINCREMENT,
        id           TEXT    NOT NULL,
        group_id     TEXT    NOT NULL,
        fingerprint  TEXT    NOT NULL,
        resolved     INTEGER NOT NULL,
        queued_at_ms INTEGER NOT NULL,
        payload      BLOB    NOT NULL,
        next_at_ms   INTEGER NOT NULL DEFAULT 0, -- not to be sent before
        attempts     INTEGER NOT NULL DEFAULT 0, -- failed ones of the alert alone
        alone        INTEGER NOT NULL DEFAULT 0, -- made the receiver fail: not with others
        altered      INTEGER NOT NULL DEFAULT 0  -- cut down after the receiver refused it
    );
    CREATE INDEX outbox_by_fingerprint ON outbox (fingerprint, seq);
    CREATE TABLE paced (
        fingerprint TEXT PRIMARY KEY,
        until_ms    INTEGER NOT NULL         -- sent so lately that the next must wait
    ) WITHOUT ROWID;
    CREATE TABLE dead_letters (
        seq          INTEGER PRIMARY KEY AUTOINCREMENT,
        id           TEXT    NOT NULL,
        fingerprint  TEXT    NOT NULL,
        queued_at_ms INTEGER NOT NULL,
        died_at_ms   INTEGER NOT NULL,
        reason       TEXT    NOT NULL,
        payload      BLOB    NOT NULL
    );
    CREATE TABLE totals (
        name  TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
",
    "
    CREATE TABLE audit (
        event   TEXT PRIMARY KEY,            -- its time, number and host
        records TEXT NOT NULL                -- JSON: those that wait for the others
    ) WITHOUT ROWID;
",
    // Several targets. What was there before was for Keep, the only one, whose name is `keep`.
    "
    ALTER TABLE outbox ADD COLUMN target TEXT NOT NULL DEFAULT 'keep';
    DROP INDEX outbox_by_fingerprint;
    CREATE INDEX outbox_by_fingerprint ON outbox (target, fingerprint, seq);
    CREATE INDEX outbox_by_target ON outbox (target, seq);
    DROP TABLE paced;                        -- holds for seconds only
    CREATE TABLE paced (
        target      TEXT    NOT NULL,
        fingerprint TEXT    NOT NULL,
        until_ms    INTEGER NOT NULL,        -- sent so lately that the next must wait
        PRIMARY KEY (target, fingerprint)
    ) WITHOUT ROWID;
    ALTER TABLE dead_letters ADD COLUMN target TEXT NOT NULL DEFAULT 'keep';
    ALTER TABLE dead_letters ADD COLUMN group_id TEXT NOT NULL DEFAULT '';
    ALTER TABLE dead_letters ADD COLUMN resolved INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX dead_letters_by_target ON dead_letters (target, seq);
    CREATE TABLE sent (
        target       TEXT    NOT NULL,
        fingerprint  TEXT    NOT NULL,
        id           TEXT    NOT NULL,
        group_id     TEXT    NOT NULL,
        resolved     INTEGER NOT NULL,
        queued_at_ms INTEGER NOT NULL,
        payload      BLOB    NOT NULL,
        check_at_ms  INTEGER NOT NULL,           -- when to look whether it is there
        misses       INTEGER NOT NULL DEFAULT 0, -- times in a row that it was not
        resends      INTEGER NOT NULL DEFAULT 0, -- times it was sent again
        PRIMARY KEY (target, fingerprint)
    );
    CREATE INDEX sent_by_check ON sent (target, check_at_ms);
    CREATE INDEX sent_by_id ON sent (id);
    CREATE TABLE taken (
        target       TEXT    NOT NULL,
        fingerprint  TEXT    NOT NULL,
        queued_at_ms INTEGER NOT NULL,       -- of the newest word that was taken
        PRIMARY KEY (target, fingerprint)
    ) WITHOUT ROWID;
    CREATE INDEX taken_by_time ON taken (queued_at_ms);
",
    "
    CREATE TABLE recent (
        seq        INTEGER PRIMARY KEY,
        at_ms      INTEGER NOT NULL,
        identities BLOB    NOT NULL          -- of detections, 16 bytes each
    );
",
];

/// Checks that the file is empty or ours, not of a newer version, and whole.
pub(super) fn examine(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let at = |error| StoreError::at(path, error);
    recognise(connection, path)?;
    let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(at)?;
    if check != "ok" {
        return Err(StoreError::Damaged { path: path.to_owned(), reason: check });
    }
    Ok(())
}

/// Checks that the file is ours and has exactly the newest schema, for a guest beside the owner.
pub(super) fn require_newest(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found = recognise(connection, path)?;
    let known = MIGRATIONS.len() as i64;
    if found < known {
        return Err(StoreError::Older { path: path.to_owned(), found, known });
    }
    Ok(())
}

/// The schema of a file that is empty or ours and not of a newer version.
fn recognise(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let known = MIGRATIONS.len() as i64;
    let at = |error| StoreError::at(path, error);
    let application_id = number(connection, "PRAGMA application_id").map_err(at)?;
    let found = number(connection, "PRAGMA user_version").map_err(at)?;
    let tables = number(connection, "SELECT count(*) FROM sqlite_schema").map_err(at)?;
    if tables > 0 && application_id != APPLICATION_ID {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    Ok(found)
}

/// Brings an examined file to the newest schema, each step whole or not at all.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let found = number(connection, "PRAGMA user_version")?;
    for (from, step) in MIGRATIONS.iter().enumerate().skip(usize::try_from(found).unwrap_or(0)) {
        let to = from + 1;
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        let pragmas = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {to};");
        transaction.execute_batch(&pragmas)?;
        transaction.commit()?;
    }
    Ok(())
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}
