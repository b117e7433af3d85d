//! The engine's C functions, made safe. All of the test kit's `unsafe` is in this file.
//!
//! The functions are declared from measurement of release 26.7 (no header is published with the npm
//! packages). One process has one engine with one data path; a [`Connection`] carries its own current
//! database and settings and runs one query at a time, so work in parallel needs several.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result, bail};
use libloading::Library;

use crate::http::lock;

type Handle = *mut c_void;
type Outcome = *mut c_void;
type InsertStream = *mut c_void;
type Text = *const u8;

/// The functions used, as the library exports them. They stay valid because the library is never
/// unloaded: the table lives in a static.
struct Api {
    connect: unsafe extern "C" fn(c_int, *const *const c_char) -> *mut Handle,
    close: unsafe extern "C" fn(*mut Handle),
    query: unsafe extern "C" fn(
        Handle,
        Text,
        usize,
        Text,
        usize,
        *const Text,
        *const usize,
        *const Text,
        *const usize,
        usize,
    ) -> Outcome,
    stream: unsafe extern "C" fn(
        Handle,
        Text,
        usize,
        Text,
        usize,
        *const Text,
        *const usize,
        *const Text,
        *const usize,
        usize,
    ) -> Outcome,
    fetch: unsafe extern "C" fn(Handle, Outcome) -> Outcome,
    cancel: unsafe extern "C" fn(Handle, Outcome),
    destroy: unsafe extern "C" fn(Outcome),
    buffer: unsafe extern "C" fn(Outcome) -> *const u8,
    length: unsafe extern "C" fn(Outcome) -> usize,
    error: unsafe extern "C" fn(Outcome) -> *const c_char,
    storage_rows: unsafe extern "C" fn(Outcome) -> u64,
    storage_bytes: unsafe extern "C" fn(Outcome) -> u64,
    written_rows: unsafe extern "C" fn(Outcome) -> u64,
    result_rows: unsafe extern "C" fn(Outcome) -> u64,
    insert: unsafe extern "C" fn(Handle, Text, usize, Text, usize) -> InsertStream,
    insert_append: unsafe extern "C" fn(InsertStream, Text, usize) -> c_int,
    insert_done: unsafe extern "C" fn(InsertStream) -> Outcome,
    insert_cancel: unsafe extern "C" fn(InsertStream),
    insert_error: unsafe extern "C" fn(InsertStream) -> *const c_char,
    insert_destroy: unsafe extern "C" fn(InsertStream),
    _library: Library,
}

/// What a query cost, as the engine counts it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Stats {
    /// Rows read from tables.
    pub read_rows: u64,
    /// Bytes read from tables.
    pub read_bytes: u64,
    /// Rows inserted.
    pub written_rows: u64,
    /// Rows in the result.
    pub result_rows: u64,
}

/// The engine's own words, beginning with `Code: N. DB::Exception:`.
#[derive(Debug, Clone)]
pub struct EngineError(pub String);

impl std::fmt::Display for EngineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EngineError {}

/// The engine of this process, with its data path.
pub struct Engine {
    api: Api,
    path: PathBuf,
    config_file: Option<PathBuf>,
    /// Keeps the engine and its background threads alive between connections.
    pin: Mutex<Option<Connection>>,
}

static ENGINE: OnceLock<Engine> = OnceLock::new();
static OPENING: Mutex<()> = Mutex::new(());
/// Connections opened so far.
static OPENED: AtomicUsize = AtomicUsize::new(0);

/// Ends the process at once when it exits, with its status, instead of running the library's static
/// destructors: the engine's background threads use what those destroy, and a process whose tests
/// passed would die of it (measured: SIGSEGV after a merge). Rust flushes its output before.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn skip_destructors_at_exit() {
    unsafe extern "C" {
        fn on_exit(callback: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
        fn _exit(status: c_int) -> !;
    }
    extern "C" fn end(status: c_int, _: *mut c_void) {
        // SAFETY: ends the process; nothing runs after it.
        unsafe { _exit(status) }
    }
    // SAFETY: the callback is a plain function and takes no argument of ours.
    unsafe { on_exit(end, std::ptr::null_mut()) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn skip_destructors_at_exit() {}

impl Engine {
    /// Opens the engine with its data in `path`, or gives the one already open.
    ///
    /// # Errors
    /// When the library cannot be loaded or the path opened, or when this process has the engine
    /// open on another path.
    pub fn open(library: &Path, path: &Path, config_file: Option<&Path>) -> Result<&'static Self> {
        let _one_at_a_time = lock(&OPENING);
        if ENGINE.get().is_none() {
            let api = load(library).with_context(|| format!("load {}", library.display()))?;
            let config_file = config_file.map(Path::to_path_buf);
            let engine = Self { api, path: path.to_path_buf(), config_file, pin: Mutex::new(None) };
            let engine = ENGINE.get_or_init(|| engine);
            let pin = engine.connect().with_context(|| format!("open the engine on {}", path.display()))?;
            *lock(&engine.pin) = Some(pin);
        }
        match ENGINE.get() {
            Some(engine) if engine.path == path => Ok(engine),
            Some(engine) => bail!(
                "this process has its ClickHouse engine open on {}; it cannot open {} besides",
                engine.path.display(),
                path.display()
            ),
            None => bail!("the ClickHouse engine did not open"),
        }
    }

    /// The engine, if this process has opened it.
    #[must_use]
    pub fn current() -> Option<&'static Self> {
        ENGINE.get()
    }

    /// Where its data is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new connection (about 0.2 ms).
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn connect(&'static self) -> Result<Connection, EngineError> {
        let mut arguments = vec!["clickhouse".to_owned(), format!("--path={}", self.path.display())];
        if let Some(file) = &self.config_file {
            arguments.push(format!("--config-file={}", file.display()));
        }
        let arguments: Result<Vec<CString>, _> = arguments.into_iter().map(CString::new).collect();
        let arguments = arguments.map_err(|_| EngineError("the data path holds a NUL byte".into()))?;
        let pointers: Vec<*const c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        let count = c_int::try_from(pointers.len()).unwrap_or(c_int::MAX);
        // SAFETY: `pointers` holds `count` NUL-terminated strings which outlive the call.
        let handle = unsafe { (self.api.connect)(count, pointers.as_ptr()) };
        // SAFETY: a connection that is not null points to its handle until it is closed.
        if handle.is_null() || unsafe { (*handle).is_null() } {
            return Err(EngineError(format!("chdb_connect failed on {}", self.path.display())));
        }
        // What is registered last runs first, and the library makes statics as queries need them: so it
        // is registered again now and then, at 1, 2, 4, 8, … connections.
        if (OPENED.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two() {
            skip_destructors_at_exit();
        }
        Ok(Connection { handle, api: &self.api })
    }
}

/// Looks up every function; a library of another release fails here and not at the first call.
fn load(path: &Path) -> Result<Api> {
    // SAFETY: loading runs the library's initialisers; libchdb's only set up its own statics.
    let library = unsafe { Library::new(path) }?;
    macro_rules! symbol {
        ($name:literal) => {{
            // SAFETY: the type is the one the field declares, which is the function's C signature.
            let symbol = unsafe { library.get($name) }?;
            *symbol
        }};
    }
    let signal_handlers: unsafe extern "C" fn(c_int) = symbol!(b"chdb_set_signal_handlers_enabled\0");
    // SAFETY: to be called before the first connection, with 0 or 1; this leaves SIGTERM to us.
    unsafe { signal_handlers(0) };
    Ok(Api {
        connect: symbol!(b"chdb_connect\0"),
        close: symbol!(b"chdb_close_conn\0"),
        query: symbol!(b"chdb_query_with_params_n\0"),
        stream: symbol!(b"chdb_stream_query_with_params_n\0"),
        fetch: symbol!(b"chdb_stream_fetch_result\0"),
        cancel: symbol!(b"chdb_stream_cancel_query\0"),
        destroy: symbol!(b"chdb_destroy_query_result\0"),
        buffer: symbol!(b"chdb_result_buffer\0"),
        length: symbol!(b"chdb_result_length\0"),
        error: symbol!(b"chdb_result_error\0"),
        storage_rows: symbol!(b"chdb_result_storage_rows_read\0"),
        storage_bytes: symbol!(b"chdb_result_storage_bytes_read\0"),
        written_rows: symbol!(b"chdb_result_rows_written\0"),
        result_rows: symbol!(b"chdb_result_rows_read\0"),
        insert: symbol!(b"chdb_stream_insert_n\0"),
        insert_append: symbol!(b"chdb_stream_append\0"),
        insert_done: symbol!(b"chdb_stream_done\0"),
        insert_cancel: symbol!(b"chdb_stream_cancel_insert\0"),
        insert_error: symbol!(b"chdb_stream_insert_error\0"),
        insert_destroy: symbol!(b"chdb_destroy_insert_stream\0"),
        _library: library,
    })
}

/// A session with the engine: a current database, settings, one query at a time.
pub struct Connection {
    handle: *mut Handle,
    api: &'static Api,
}

// SAFETY: the engine keeps no thread-local state for a connection; `&mut self` on every call below
// keeps two threads from using one at the same time.
unsafe impl Send for Connection {}

/// A result that is destroyed when dropped.
struct Owned<'a> {
    outcome: Outcome,
    api: &'a Api,
}

impl Owned<'_> {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `outcome` is live until the drop below; buffer and length belong together.
        unsafe {
            let (buffer, length) = ((self.api.buffer)(self.outcome), (self.api.length)(self.outcome));
            if buffer.is_null() || length == 0 { &[] } else { std::slice::from_raw_parts(buffer, length) }
        }
    }

    fn error(&self) -> Option<EngineError> {
        // SAFETY: `outcome` is live; the text is NUL-terminated and lives as long as it.
        let text = unsafe {
            let text = (self.api.error)(self.outcome);
            if text.is_null() { return None } else { CStr::from_ptr(text) }
        };
        (!text.is_empty()).then(|| EngineError(text.to_string_lossy().into_owned()))
    }

    fn stats(&self) -> Stats {
        // SAFETY: `outcome` is live; the four functions only read counters.
        unsafe {
            Stats {
                read_rows: (self.api.storage_rows)(self.outcome),
                read_bytes: (self.api.storage_bytes)(self.outcome),
                written_rows: (self.api.written_rows)(self.outcome),
                result_rows: (self.api.result_rows)(self.outcome),
            }
        }
    }
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        // SAFETY: made by the library, destroyed once, here.
        unsafe { (self.api.destroy)(self.outcome) }
    }
}

/// Names and values of query parameters, as parallel arrays of pointers and lengths.
struct Parameters {
    names: Vec<Text>,
    name_lengths: Vec<usize>,
    values: Vec<Text>,
    value_lengths: Vec<usize>,
}

impl Parameters {
    fn of(pairs: &[(String, String)]) -> Self {
        Self {
            names: pairs.iter().map(|(name, _)| name.as_ptr()).collect(),
            name_lengths: pairs.iter().map(|(name, _)| name.len()).collect(),
            values: pairs.iter().map(|(_, value)| value.as_ptr()).collect(),
            value_lengths: pairs.iter().map(|(_, value)| value.len()).collect(),
        }
    }
}

impl Connection {
    fn raw(&self) -> Handle {
        // SAFETY: `handle` came from connect, was not null, and is closed only on drop.
        unsafe { *self.handle }
    }

    fn own(&self, outcome: Outcome) -> Result<Owned<'static>, EngineError> {
        if outcome.is_null() {
            return Err(EngineError("Code: 1000. DB::Exception: the engine gave no result".into()));
        }
        Ok(Owned { outcome, api: self.api })
    }

    /// Runs any statement and returns the whole result in `format`.
    ///
    /// # Errors
    /// The engine's exception.
    pub fn query(
        &mut self,
        sql: &[u8],
        format: &str,
        parameters: &[(String, String)],
    ) -> Result<(Vec<u8>, Stats), EngineError> {
        let p = Parameters::of(parameters);
        // SAFETY: every pointer comes with its length and outlives the call.
        let outcome = unsafe {
            (self.api.query)(
                self.raw(),
                sql.as_ptr(),
                sql.len(),
                format.as_ptr(),
                format.len(),
                p.names.as_ptr(),
                p.name_lengths.as_ptr(),
                p.values.as_ptr(),
                p.value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        let result = self.own(outcome)?;
        match result.error() {
            Some(error) => Err(error),
            None => Ok((result.bytes().to_vec(), result.stats())),
        }
    }

    /// Runs a `SELECT` and hands each block, formatted on its own (formats with a header repeat it),
    /// to `each`; `each` returns false to stop early.
    ///
    /// # Errors
    /// The engine's exception, which may come after blocks were handed out.
    pub fn stream(
        &mut self,
        sql: &[u8],
        format: &str,
        parameters: &[(String, String)],
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<Stats, EngineError> {
        let p = Parameters::of(parameters);
        // SAFETY: as in `query`.
        let outcome = unsafe {
            (self.api.stream)(
                self.raw(),
                sql.as_ptr(),
                sql.len(),
                format.as_ptr(),
                format.len(),
                p.names.as_ptr(),
                p.name_lengths.as_ptr(),
                p.values.as_ptr(),
                p.value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        let stream = self.own(outcome)?;
        if let Some(error) = stream.error() {
            return Err(error);
        }
        let mut stats = Stats::default();
        loop {
            // SAFETY: `stream` is live and belongs to this connection.
            let chunk = self.own(unsafe { (self.api.fetch)(self.raw(), stream.outcome) })?;
            if let Some(error) = chunk.error() {
                return Err(error);
            }
            let now = chunk.stats();
            stats.read_rows = stats.read_rows.max(now.read_rows);
            stats.read_bytes = stats.read_bytes.max(now.read_bytes);
            stats.result_rows += now.result_rows;
            if chunk.bytes().is_empty() {
                return Ok(stats);
            }
            if !each(chunk.bytes()) {
                // SAFETY: as above; after this the stream is only destroyed.
                unsafe { (self.api.cancel)(self.raw(), stream.outcome) };
                return Ok(stats);
            }
        }
    }

    /// Inserts `data`, which is in `format`, with the statement `sql` (without its `FORMAT`).
    ///
    /// # Errors
    /// The engine's exception; then nothing of `data` was inserted.
    pub fn insert(&mut self, sql: &str, format: &str, data: &[u8]) -> Result<Stats, EngineError> {
        // SAFETY: every pointer comes with its length and outlives the call.
        let stream =
            unsafe { (self.api.insert)(self.raw(), sql.as_ptr(), sql.len(), format.as_ptr(), format.len()) };
        if stream.is_null() {
            return Err(EngineError("Code: 1000. DB::Exception: the engine opened no insert".into()));
        }
        let result = self.feed(stream, data);
        if result.is_err() {
            // SAFETY: live until destroyed below; cancelling after a failure is what the library asks.
            unsafe { (self.api.insert_cancel)(stream) };
        }
        // SAFETY: made above, destroyed once.
        unsafe { (self.api.insert_destroy)(stream) };
        result
    }

    fn feed(&self, stream: InsertStream, data: &[u8]) -> Result<Stats, EngineError> {
        // SAFETY: `stream` is live; the text, if any, is NUL-terminated and lives as long as it.
        let error = unsafe {
            let text = (self.api.insert_error)(stream);
            (!text.is_null()).then(|| EngineError(CStr::from_ptr(text).to_string_lossy().into_owned()))
        };
        if let Some(error) = error {
            return Err(error);
        }
        for chunk in data.chunks(1 << 20) {
            // SAFETY: pointer and length belong together; the library copies.
            if unsafe { (self.api.insert_append)(stream, chunk.as_ptr(), chunk.len()) } != 0 {
                // The reason comes with the result below.
                break;
            }
        }
        // SAFETY: ends the stream, once.
        let result = self.own(unsafe { (self.api.insert_done)(stream) })?;
        match result.error() {
            Some(error) => Err(error),
            None => Ok(result.stats()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: opened by connect, closed once, here.
        unsafe { (self.api.close)(self.handle) }
    }
}
