//! The one thing that remembers: a SQLite file with the reading position, the open alerts and the
//! alerts that wait to be delivered.
//!
//! Position, open alerts and outbox change in one transaction ([`Store::commit`]), so that after a
//! kill at any moment the rows behind the position have had exactly the effect that is stored, and
//! the rows after it none. One process at a time owns the file, by a lock on a file beside it; within
//! it the pipeline and the outboxes share one [`Store`] behind a mutex. `otel-log-ai alerts` may visit
//! it meanwhile ([`Store::visit`]).
//!
//! It does not decide what is alerted or when something is sent.

mod error;
mod letters;
mod queue;
mod recent;
mod schema;
mod sent;
#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use letters::{DeadLetter, Retried};
pub use queue::{Delivery, Depth, Queued};
pub use sent::Sent;

use otel_log_ai_core::alert::{Changes, Fingerprint, OpenAlert, RecentChanges, Remembered};
use otel_log_ai_core::otel::{AuditChanges, AuditRecord};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long another process may take to let go of the file (a predecessor that is stopping).
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Where the state is and how large it may grow.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreSettings {
    /// The SQLite file; created with mode 0600 where it is not there yet. Its directory must exist.
    pub path: PathBuf,
    /// Most alerts that wait for delivery to one target. A commit that would exceed it for every
    /// target is refused with [`StoreError::OutboxFull`], so that reading stops and the logs wait
    /// where they are safe. Where another target still has room, it must not be delayed: what is
    /// too much for the full one goes to its dead letters.
    pub outbox_max: usize,
    /// Most dead letters kept of one target; beyond, the oldest are removed and counted.
    pub dead_letters_max: usize,
    /// Names of the targets in use, so that an empty queue is told of too.
    pub targets: Vec<String>,
}

impl StoreSettings {
    /// The recommended limits: at 20 KB an alert, 400 MB waiting and 100 MB of dead letters.
    pub fn new(path: impl Into<PathBuf>) -> StoreSettings {
        StoreSettings { path: path.into(), outbox_max: 20_000, dead_letters_max: 5_000, targets: Vec::new() }
    }
}

/// The open state file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    settings: StoreSettings,
    /// Locked for as long as this process owns the state; `None` for a visitor.
    _owned: Option<File>,
}

/// What was stored when the service last stopped, in whatever way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saved {
    /// Reading position, as it was committed; `None` on the first start.
    pub position: Option<String>,
    /// Alerts that were open.
    pub open: Vec<OpenAlert>,
    /// Records of audit events that were not whole yet, by event.
    pub audit: Vec<Vec<AuditRecord>>,
    /// Detections of late, so that none is counted again.
    pub recent: Vec<Remembered>,
    /// Counters over all runs.
    pub totals: BTreeMap<String, u64>,
}

/// What one batch of rows did, to be stored together or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit<'a> {
    /// New reading position; `None` leaves it.
    pub position: Option<&'a str>,
    /// From [`otel_log_ai_core::alert::Grouping::take_changes`].
    pub open_changes: Changes,
    /// From [`otel_log_ai_core::otel::Assembler::take_changes`]: these rows are behind the position,
    /// so their records would be lost.
    pub audit_changes: AuditChanges,
    /// From [`otel_log_ai_core::alert::Recent::take_changes`].
    pub recent_changes: RecentChanges,
    /// Alerts to deliver, in order.
    pub outbox: Vec<OutboxItem>,
    /// Added to the counters that survive, by name.
    pub totals: Vec<(&'a str, u64)>,
}

/// An alert on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxItem {
    /// Name of the target it goes to.
    pub target: String,
    /// The notification's id.
    pub id: Uuid,
    /// The group it tells of: a later word on the same group replaces an unsent earlier one.
    pub group_id: Uuid,
    /// Identity at the receiver.
    pub fingerprint: Fingerprint,
    /// Whether it says that the alert is over.
    pub resolved: bool,
    /// When it was made, milliseconds since the epoch.
    pub queued_at_ms: i64,
    /// The JSON object to send, byte for byte the same at each attempt.
    pub payload: Vec<u8>,
}

/// Targets and how many alerts were too much for their queues.
pub type Overflow = Vec<(String, u64)>;

/// The store as pipeline and outbox share it.
pub type SharedStore = Arc<Mutex<Store>>;

/// Locks the store. A panic while it was locked left no half transaction behind: SQLite rolled it
/// back.
pub fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the state file or makes a new one. A file that is damaged, of another program, of a
    /// newer version or in use is refused: starting over silently would lose alerts or send them
    /// again.
    pub fn open(settings: StoreSettings) -> Result<Store, StoreError> {
        let path = settings.path.clone();
        drop(open_private(&path)?);
        let owned = own(&path)?;
        let open = || {
            let at = |error| StoreError::at(&path, error);
            let mut connection = connect(&path).map_err(at)?;
            // Nothing is written before it is known that the file is ours and whole.
            schema::examine(&connection, &path)?;
            claim(&connection).map_err(at)?;
            schema::migrate(&mut connection).map_err(at)?;
            connection.execute_batch("PRAGMA incremental_vacuum").map_err(at)?;
            Ok(connection)
        };
        let connection = open().map_err(|error| match error {
            // An older version of the service holds the file itself.
            StoreError::Locked { path } => StoreError::InUse { path },
            other => other,
        })?;
        Ok(Store { connection, settings, _owned: Some(owned) })
    }

    /// Opens a state file that exists, beside the service that owns it or while none runs, for
    /// short transactions. The file must have the newest schema.
    pub fn visit(settings: StoreSettings) -> Result<Store, StoreError> {
        let path = settings.path.clone();
        let at = |error| StoreError::at(&path, error);
        if !path.exists() {
            let reason = "it does not exist; the service makes it at its first start".to_owned();
            return Err(StoreError::Unusable { path, reason });
        }
        let connection = connect(&path).map_err(at)?;
        schema::require_newest(&connection, &path)?;
        connection.execute_batch("PRAGMA synchronous = FULL").map_err(at)?;
        Ok(Store { connection, settings, _owned: None })
    }

    /// Whether it could be written now, without writing anything.
    pub fn writable(&self) -> Result<(), StoreError> {
        self.explain(|connection| connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK"))
    }

    /// Reads what was stored.
    pub fn load(&self) -> Result<Saved, StoreError> {
        let mut saved = Saved::default();
        self.explain(|connection| {
            let sql = "SELECT value FROM position";
            saved.position = connection.query_row(sql, [], |row| row.get(0)).optional()?;
            Ok(())
        })?;
        saved.totals = self.totals()?;
        let alerts: Vec<String> = self.explain(|connection| {
            let mut statement = connection.prepare("SELECT alert FROM open_alerts ORDER BY fingerprint")?;
            statement.query_map([], |row| row.get(0))?.collect()
        })?;
        for alert in alerts {
            saved.open.push(self.parse(&alert, "an open alert")?);
        }
        let events: Vec<String> = self.explain(|connection| {
            let mut statement = connection.prepare("SELECT records FROM audit ORDER BY event")?;
            statement.query_map([], |row| row.get(0))?.collect()
        })?;
        for records in events {
            saved.audit.push(self.parse(&records, "an audit event")?);
        }
        saved.recent = self.explain(recent::load)?;
        Ok(saved)
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, json: &str, what: &str) -> Result<T, StoreError> {
        serde_json::from_str(json).map_err(|error| StoreError::Damaged {
            path: self.settings.path.clone(),
            reason: format!("{what} cannot be read: {error}"),
        })
    }

    /// Stores the effect of one batch, all of it or, on an error, nothing; then the same commit can
    /// be tried again where [`StoreError::is_temporary`] says so. Gives what was too much for the
    /// queues of single targets and went to their dead letters.
    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<Overflow, StoreError> {
        let (outbox_max, dead_max) = (self.settings.outbox_max, self.settings.dead_letters_max);
        let mut overflow = Overflow::new();
        let fits = self.transaction(|transaction| {
            if let Some(position) = commit.position {
                let sql = "INSERT INTO position (only_row, value) VALUES (1, ?1)
                           ON CONFLICT (only_row) DO UPDATE SET value = excluded.value";
                transaction.prepare_cached(sql)?.execute([position])?;
            }
            change_open(transaction, &commit.open_changes)?;
            change_audit(transaction, &commit.audit_changes)?;
            recent::change(transaction, &commit.recent_changes)?;
            for item in &commit.outbox {
                queue::enqueue(transaction, item)?;
            }
            for (name, by) in &commit.totals {
                add_total(transaction, name, *by)?;
            }
            // Coalescing may have made room, so it is counted after.
            make_room(transaction, &commit.outbox, outbox_max, dead_max, &mut overflow)
        })?;
        if !fits {
            return Err(StoreError::OutboxFull { limit: outbox_max });
        }
        Ok(overflow)
    }

    /// The counters over all runs.
    pub fn totals(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.explain(|connection| {
            let mut statement = connection.prepare_cached("SELECT name, value FROM totals")?;
            let count = |value: i64| value.max(0).unsigned_abs();
            statement.query_map([], |row| Ok((row.get(0)?, count(row.get(1)?))))?.collect()
        })
    }

    /// Adds to a counter that survives.
    pub fn add_total(&mut self, name: &str, by: u64) -> Result<(), StoreError> {
        self.transaction(|transaction| add_total(transaction, name, by).map(|()| true)).map(|_| ())
    }

    /// Runs `work` in a transaction, which is kept if `work` returns true.
    fn transaction(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<bool>,
    ) -> Result<bool, StoreError> {
        let run = || {
            // Not deferred: one that reads first and then finds that a visitor wrote fails at once
            // instead of waiting.
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let keep = work(&transaction)?;
            if keep {
                transaction.commit()?;
            }
            Ok(keep)
        };
        run().map_err(|error| StoreError::at(&self.settings.path, error))
    }

    /// Runs `work` and says in its error which file it is about.
    fn explain<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        work(&self.connection).map_err(|error| StoreError::at(&self.settings.path, error))
    }
}

/// Sees that no queue is longer than it may be; false if the commit must wait instead.
fn make_room(
    transaction: &Transaction<'_>,
    outbox: &[OutboxItem],
    outbox_max: usize,
    dead_max: usize,
    overflow: &mut Overflow,
) -> rusqlite::Result<bool> {
    let targets: BTreeSet<&str> = outbox.iter().map(|item| item.target.as_str()).collect();
    let mut full = Vec::new();
    for target in &targets {
        if queue::len_of(transaction, target)? > outbox_max {
            full.push(*target);
        }
    }
    if !full.is_empty() && full.len() == targets.len() {
        return Ok(false);
    }
    let now_ms = outbox.iter().map(|item| item.queued_at_ms).max().unwrap_or(0);
    for target in full {
        let surplus = queue::beyond(transaction, target, outbox_max)?;
        add_total(transaction, "alerts_overflowed", surplus.len() as u64)?;
        overflow.push((target.to_owned(), surplus.len() as u64));
        letters::bury(transaction, &surplus, now_ms, "its target's queue was full", dead_max)?;
    }
    Ok(true)
}

fn change_open(transaction: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<()> {
    for print in &changes.deletes {
        let sql = "DELETE FROM open_alerts WHERE fingerprint = ?1";
        transaction.prepare_cached(sql)?.execute([print.to_string()])?;
    }
    for alert in &changes.upserts {
        let json = serde_json::to_string(alert)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let sql = "INSERT INTO open_alerts (fingerprint, alert) VALUES (?1, ?2)
                   ON CONFLICT (fingerprint) DO UPDATE SET alert = excluded.alert";
        transaction.prepare_cached(sql)?.execute(params![alert.fingerprint.to_string(), json])?;
    }
    Ok(())
}

fn change_audit(transaction: &Transaction<'_>, changes: &AuditChanges) -> rusqlite::Result<()> {
    for event in &changes.deletes {
        transaction.prepare_cached("DELETE FROM audit WHERE event = ?1")?.execute([event])?;
    }
    for (event, records) in &changes.upserts {
        let json = serde_json::to_string(records)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let sql = "INSERT INTO audit (event, records) VALUES (?1, ?2)
                   ON CONFLICT (event) DO UPDATE SET records = excluded.records";
        transaction.prepare_cached(sql)?.execute(params![event, json])?;
    }
    Ok(())
}

fn add_total(transaction: &Transaction<'_>, name: &str, by: u64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO totals (name, value) VALUES (?1, ?2)
               ON CONFLICT (name) DO UPDATE SET value = value + excluded.value";
    let by = i64::try_from(by).unwrap_or(i64::MAX);
    transaction.prepare_cached(sql)?.execute(params![name, by]).map(|_| ())
}

/// Makes the file where it is missing, readable by its owner only: it holds log text. SQLite gives
/// its journal the same mode.
fn open_private(path: &Path) -> Result<File, StoreError> {
    let unusable = |reason: std::io::Error| StoreError::Unusable {
        path: path.to_owned(),
        reason: match reason.kind() {
            std::io::ErrorKind::NotFound => "its directory does not exist".to_owned(),
            std::io::ErrorKind::PermissionDenied => {
                "permission denied; the service's account must be able to write it".to_owned()
            }
            _ => reason.to_string(),
        },
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(unusable)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata().map_err(unusable)?.permissions().mode();
        if mode & 0o077 != 0 {
            file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(unusable)?;
        }
    }
    Ok(file)
}

/// Makes this process the owner of the state at `path`, by a lock on a file beside it that the
/// system takes back whenever the process ends. SQLite's own exclusive lock would shut visitors out.
fn own(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = open_private(Path::new(&name))?;
    let end = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => {
                let reason = format!("`{}` cannot be locked: {error}", Path::new(&name).display());
                return Err(StoreError::Unusable { path: path.to_owned(), reason });
            }
        }
    }
}

/// Connects.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCK_WAIT)?;
    Ok(connection)
}

/// Sets how the file is written.
///
/// `synchronous = FULL` syncs the journal at every commit. With NORMAL a power cut could undo the
/// last commits after their alerts had left: the rows would be read again, be counted in another
/// grouping in time, and the receiver would be told something else than it already knows. One sync
/// a batch is a small price.
fn claim(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         BEGIN IMMEDIATE; COMMIT;",
    )
}
