//! A ClickHouse server inside the process: the real engine ([`crate::libchdb`]) behind the HTTP
//! interface, on loopback, good enough for the official `clickhouse` crate and for curl.
//!
//! One process has one engine with one data path, so every [`ClickHouse`] of a process serves the same
//! data; tests keep apart by database. Each server has its own port, credentials and faults.
//!
//! It has no users or grants beyond one password, and no replication.

mod faults;
mod frames;
mod query;
mod request;

pub use faults::{EndedBy, Fault};

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result};

use crate::http::{HttpServer, lock};
use crate::libchdb::{self, Connection, Engine, EngineError};
use faults::Faults;

/// How a server is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// 0: any free port.
    pub port: u16,
    /// Where the data is; none: a temporary directory, removed by a later run.
    pub path: Option<PathBuf>,
    /// A user name and password to ask for; none: anybody may do anything.
    pub credentials: Option<(String, String)>,
    /// A server configuration (XML), for clusters.
    pub config_file: Option<PathBuf>,
}

/// A running server; it stops when dropped.
pub struct ClickHouse {
    server: HttpServer,
    shared: Arc<Shared>,
}

/// What the request handler needs.
struct Shared {
    engine: &'static Engine,
    credentials: Option<(String, String)>,
    faults: Faults,
    /// Connections of `session_id`s, each behind its own lock.
    sessions: Mutex<HashMap<String, Arc<Mutex<Connection>>>>,
    queries: AtomicU64,
}

impl ClickHouse {
    /// A server on any free port, open to anybody.
    ///
    /// # Errors
    /// As [`ClickHouse::with`].
    pub fn start() -> Result<Self> {
        Self::with(Options::default())
    }

    /// A server as told.
    ///
    /// # Errors
    /// When the engine cannot be fetched or opened (see [`Engine::open`]) or the port is taken.
    pub fn with(options: Options) -> Result<Self> {
        let engine = open_engine(&options)?;
        let shared = Arc::new(Shared {
            engine,
            credentials: options.credentials,
            faults: Faults::default(),
            sessions: Mutex::default(),
            queries: AtomicU64::new(1),
        });
        let for_handler = shared.clone();
        let server = HttpServer::start(options.port, move |request| {
            let shared = for_handler.clone();
            async move { request::answer(&shared, request).await }
        })?;
        Ok(Self { server, shared })
    }

    /// The server all tests of a process can share.
    ///
    /// # Panics
    /// When it cannot start: no test that needs it can go on.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SERVER: OnceLock<ClickHouse> = OnceLock::new();
        SERVER.get_or_init(|| match Self::start() {
            Ok(server) => server,
            Err(error) => panic!("start the embedded ClickHouse: {error:#}"),
        })
    }

    /// `http://127.0.0.1:<port>`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Stops the HTTP side: connections are refused and open ones closed. The data stays.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// Serves again on the same port.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub fn restart(&self) -> Result<()> {
        self.server.restart()
    }

    /// From now on `fault` befalls requests, as it says.
    pub fn inject(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.shared.faults.clear();
    }

    /// Requests with SQL answered or failed so far.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.shared.queries.load(Ordering::Relaxed) - 1
    }

    /// Runs one statement without HTTP; the result as tab-separated text.
    ///
    /// # Errors
    /// The engine's exception.
    pub fn execute(&self, sql: &str) -> Result<String, EngineError> {
        let (bytes, _) = self.shared.engine.connect()?.query(sql.as_bytes(), "TabSeparated", &[])?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Inserts `data`, which is in `format`, with an `INSERT INTO t (columns)`, without HTTP.
    ///
    /// # Errors
    /// The engine's exception; nothing was inserted then.
    pub fn insert(&self, sql: &str, format: &str, data: &[u8]) -> Result<(), EngineError> {
        self.shared.engine.connect()?.insert(sql, format, data).map(|_| ())
    }

    /// As [`ClickHouse::insert`], with settings for this insert.
    ///
    /// # Errors
    /// As [`ClickHouse::insert`].
    pub fn insert_with(
        &self,
        settings: &str,
        sql: &str,
        format: &str,
        data: &[u8],
    ) -> Result<(), EngineError> {
        let mut connection = self.shared.engine.connect()?;
        connection.query(format!("SET {settings}").as_bytes(), "TabSeparated", &[])?;
        connection.insert(sql, format, data).map(|_| ())
    }
}

/// The engine of this process, opened by the first who asks.
fn open_engine(options: &Options) -> Result<&'static Engine> {
    static OPENING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = lock(&OPENING);
    let path = match (Engine::current(), &options.path) {
        (Some(engine), None) => return Ok(engine),
        (_, Some(path)) => path.clone(),
        (None, None) => temporary_path()?,
    };
    fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    Engine::open(&libchdb::library()?, &path, options.config_file.as_deref())
}

/// A new directory for the data of this process. Directories of processes that have ended are
/// removed here, since a process cannot remove its own before its last thread has ended.
fn temporary_path() -> Result<PathBuf> {
    static OWNER: Mutex<Option<File>> = Mutex::new(None);
    let parent = std::env::temp_dir().join("otel-log-ai-clickhouse");
    fs::create_dir_all(&parent).with_context(|| format!("create {}", parent.display()))?;
    sweep(&parent);
    let path = parent.join(format!("{}-{:08x}", std::process::id(), rand::random::<u32>()));
    fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
    let owner = owner_file(&path);
    let file = File::create(&owner).with_context(|| format!("create {}", owner.display()))?;
    file.lock().with_context(|| format!("lock {}", owner.display()))?;
    *lock(&OWNER) = Some(file);
    Ok(path.join("data"))
}

fn owner_file(directory: &Path) -> PathBuf {
    directory.join("owner")
}

fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        // The lock goes with its process. A directory without the file is being made just now.
        let Ok(owner) = File::open(owner_file(&path)) else { continue };
        if owner.try_lock().is_ok() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}
