//! What can be wrong with the state file, told so that an operator can act on it.

use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("state file `{}` is in use by another process: only one may run on it", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Not readable as what it should be.
    #[error(
        "state file `{}` is damaged: {reason}; restore it from a backup, or move it away to start over \
         (then reading begins at `clickhouse.start` and alerts that are open now are sent again)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A database of something else.
    #[error("`{}` is a database of another program; give another `state.path`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error(
        "state file `{}` has schema {found}, this version knows up to {known}: it was written by a newer \
         version; run that one, or give another `state.path`",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Schema in the file.
        found: i64,
        /// Newest schema known here.
        known: i64,
    },
    /// Written by an earlier version, and not ours to bring up to date.
    #[error(
        "state file `{}` has schema {found} and this version works on {known}: start the service once, which \
         brings it up to date",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Schema in the file.
        found: i64,
        /// Newest schema known here.
        known: i64,
    },
    /// Another program keeps it locked just now.
    #[error("state file `{}` is locked by another program: end what uses it", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// No room left.
    #[error("no room left on the disk of state file `{}`: free some, nothing is lost meanwhile", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// More alerts wait for delivery than allowed.
    #[error(
        "{limit} alerts wait for delivery, which is the limit: reading stops until the receiver takes them"
    )]
    OutboxFull {
        /// The limit.
        limit: usize,
    },
    /// It cannot be opened, read or written.
    #[error("cannot use state file `{}`: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing the configuration.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            StoreError::DiskFull { .. } | StoreError::OutboxFull { .. } | StoreError::Locked { .. }
        )
    }

    /// Explains SQLite's error on the file at `path`.
    pub(super) fn at(path: &Path, error: rusqlite::Error) -> StoreError {
        let path = path.to_owned();
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged { path, reason }
            }
            Some(ErrorCode::DiskFull) => StoreError::DiskFull { path },
            _ => StoreError::Unusable { path, reason },
        }
    }
}
