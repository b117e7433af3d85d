//! Runs one query on the engine and streams its result out.
//!
//! A connection a request gives HTTP's statelessness for 0.2 ms; a `session_id` keeps one.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::request::{Query, exception_of};
use super::{Shared, frames};
use crate::http::{Answer, lock, reply};
use crate::libchdb::{Connection, EngineError, Stats};

/// Sessions kept at once; a test kit needs a handful.
const SESSIONS_MAX: usize = 64;
/// Blocks are gathered to about this size before they are sent.
const CHUNK_BYTES: usize = 256 << 10;

/// A piece of a result: bytes, and at its end what it cost.
type Piece = Result<(Vec<u8>, Option<Stats>), EngineError>;

pub(super) async fn run(shared: Arc<Shared>, query: Query) -> Answer {
    let started = Instant::now();
    let (id, format, compress) = (query.id.clone(), query.format.clone(), query.compress);
    let (pieces, mut received) = mpsc::channel::<Piece>(4);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = execute(&shared, &query, &pieces) {
            let _ = pieces.blocking_send(Err(error));
        }
    });
    let pack = move |bytes: Vec<u8>| -> Bytes {
        if compress && !bytes.is_empty() { frames::compress(&bytes).into() } else { bytes.into() }
    };
    match received.recv().await {
        None => Ok(exception_of("Code: 1000. DB::Exception: the query gave no answer", &id)),
        Some(Err(error)) => Ok(exception_of(&error.0, &id)),
        Some(Ok((bytes, Some(stats)))) => {
            let summary = summary(&stats, started);
            Ok(success(&id, &format, Some(&summary), Body::from(pack(bytes))))
        }
        Some(Ok((bytes, None))) => {
            // The status is sent; a later exception can only break the body off, and the client sees that.
            let first = futures_util::stream::once(async move { Ok((bytes, None)) });
            let rest = futures_util::StreamExt::chain(first, ReceiverStream::new(received));
            let body = futures_util::StreamExt::map(rest, move |piece: Piece| match piece {
                Ok((bytes, _)) => Ok(pack(bytes)),
                Err(error) => Err(std::io::Error::other(error)),
            });
            Ok(success(&id, &format, None, Body::from_stream(body)))
        }
    }
}

fn success(id: &str, format: &str, summary: Option<&str>, body: Body) -> Response<Body> {
    let mut headers = vec![
        ("X-ClickHouse-Query-Id", id),
        ("X-ClickHouse-Server-Display-Name", "embedded"),
        ("X-ClickHouse-Timezone", "UTC"),
        ("X-ClickHouse-Format", format),
        ("Content-Type", "application/octet-stream"),
    ];
    if let Some(summary) = summary {
        headers.push(("X-ClickHouse-Summary", summary));
    }
    reply(200, &headers, body)
}

fn summary(stats: &Stats, started: Instant) -> String {
    format!(
        r#"{{"read_rows":"{}","read_bytes":"{}","written_rows":"{}","written_bytes":"0","total_rows_to_read":"0","result_rows":"{}","result_bytes":"0","elapsed_ns":"{}"}}"#,
        stats.read_rows,
        stats.read_bytes,
        stats.written_rows,
        stats.result_rows,
        started.elapsed().as_nanos()
    )
}

fn execute(shared: &Shared, query: &Query, out: &mpsc::Sender<Piece>) -> Result<(), EngineError> {
    let Some(session) = &query.session else {
        return execute_on(&mut shared.engine.connect()?, query, out);
    };
    let connection = {
        let mut sessions = lock(&shared.sessions);
        match sessions.get(session) {
            Some(connection) => connection.clone(),
            None if sessions.len() >= SESSIONS_MAX => {
                return Err(EngineError(
                    "Code: 373. DB::Exception: too many sessions. (SESSION_IS_LOCKED)".into(),
                ));
            }
            None => {
                let connection = Arc::new(Mutex::new(shared.engine.connect()?));
                sessions.insert(session.clone(), connection.clone());
                connection
            }
        }
    };
    let mut connection = lock(&connection);
    execute_on(&mut connection, query, out)
}

fn execute_on(
    connection: &mut Connection,
    query: &Query,
    out: &mpsc::Sender<Piece>,
) -> Result<(), EngineError> {
    if let Some(database) = query.database.as_deref().filter(|name| !name.is_empty()) {
        let sql = format!("USE `{}`", database.replace('\\', "\\\\").replace('`', "\\`"));
        connection.query(sql.as_bytes(), "TabSeparated", &[])?;
    }
    if !query.settings.is_empty() {
        let set: Vec<String> = query.settings.iter().map(|(name, value)| setting(name, value)).collect();
        connection.query(format!("SET {}", set.join(", ")).as_bytes(), "TabSeparated", &[])?;
    }
    if let Some((statement, format, data)) = split_insert(&query.sql) {
        let stats = connection.insert(statement, format, &query.sql[data..])?;
        let _ = out.blocking_send(Ok((Vec::new(), Some(stats))));
        return Ok(());
    }
    if is_select(&query.sql) && streams(&query.format) && !has_format_clause(&query.sql) {
        return stream(connection, query, out);
    }
    let (bytes, stats) = connection.query(&query.sql, &query.format, &query.parameters)?;
    let _ = out.blocking_send(Ok((bytes, Some(stats))));
    Ok(())
}

fn setting(name: &str, value: &str) -> String {
    format!("`{}`='{}'", name.replace(['`', '\\'], ""), value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Streams a `SELECT`. The engine formats each block on its own, so a format with a header repeats it
/// in every block: it is sent once.
fn stream(connection: &mut Connection, query: &Query, out: &mpsc::Sender<Piece>) -> Result<(), EngineError> {
    let with_header = query.format == "RowBinaryWithNamesAndTypes";
    let mut header: Option<Vec<u8>> = None;
    let mut gathered = Vec::new();
    let stats = connection.stream(&query.sql, &query.format, &query.parameters, |block| {
        let mut block = block;
        if with_header {
            match &header {
                None => header = block.get(..header_bytes(block)).map(<[u8]>::to_vec),
                Some(header) => block = block.strip_prefix(header.as_slice()).unwrap_or(block),
            }
        }
        gathered.extend_from_slice(block);
        gathered.len() < CHUNK_BYTES || out.blocking_send(Ok((std::mem::take(&mut gathered), None))).is_ok()
    })?;
    if with_header && header.is_none() {
        // No block came, so no header either; the client needs it all the same.
        let (bytes, stats) = connection.query(&query.sql, &query.format, &query.parameters)?;
        let _ = out.blocking_send(Ok((bytes, Some(stats))));
        return Ok(());
    }
    let _ = out.blocking_send(Ok((gathered, Some(stats))));
    Ok(())
}

/// Formats whose blocks can be put one after another (all but the one with a header repeat nothing).
fn streams(format: &str) -> bool {
    matches!(
        format,
        "RowBinary"
            | "RowBinaryWithNamesAndTypes"
            | "Native"
            | "JSONEachRow"
            | "JSONCompactEachRow"
            | "TSV"
            | "TabSeparated"
            | "CSV"
    )
}

/// Length of the header of `RowBinaryWithNamesAndTypes`: a count, then that many names and types.
fn header_bytes(block: &[u8]) -> usize {
    let mut at = 0;
    let columns = varint(block, &mut at);
    for _ in 0..columns.saturating_mul(2) {
        let length = varint(block, &mut at);
        at = at.saturating_add(length);
        if at >= block.len() {
            return block.len();
        }
    }
    at
}

fn varint(bytes: &[u8], at: &mut usize) -> usize {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let Some(byte) = bytes.get(*at) else { return value };
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// An `INSERT … FORMAT name` with its data inline: statement, format, where the data begins.
/// Statements with `SELECT` or `VALUES` are none: the engine's parser takes those whole.
fn split_insert(sql: &[u8]) -> Option<(&str, &str, usize)> {
    // The statement is short; what follows may be binary.
    let head = &sql[..sql.len().min(64 << 10)];
    let head = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
    };
    let lead = head.len() - head.trim_start().len();
    if !head[lead..].get(..7)?.eq_ignore_ascii_case("insert ") {
        return None;
    }
    let upper = head.to_ascii_uppercase();
    let at = [" FORMAT ", "\nFORMAT "].iter().filter_map(|word| upper.find(word)).min()?;
    if upper[..at].contains(" SELECT ") || upper[..at].contains(" VALUES") {
        return None;
    }
    let name_at = at + 8 + (head[at + 8..].len() - head[at + 8..].trim_start().len());
    let name_len = head[name_at..].find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(head.len() - name_at);
    let mut data = name_at + name_len;
    while sql.get(data).is_some_and(|byte| matches!(byte, b' ' | b'\r')) {
        data += 1;
    }
    if sql.get(data) == Some(&b'\n') {
        data += 1;
    }
    Some((&head[..at], &head[name_at..name_at + name_len], data))
}

fn is_select(sql: &[u8]) -> bool {
    let start = sql.trim_ascii_start();
    let start = start.strip_prefix(b"(").unwrap_or(start).trim_ascii_start();
    let word = start.get(..6).unwrap_or(start);
    word.eq_ignore_ascii_case(b"select")
        || word.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"with "))
}

/// Whether the statement ends with a `FORMAT` of its own, which would win over the URL's.
fn has_format_clause(sql: &[u8]) -> bool {
    let tail = String::from_utf8_lossy(&sql[sql.len().saturating_sub(200)..]).to_ascii_uppercase();
    let mut words = tail.trim_end_matches([';', ' ', '\n', '\r', '\t']).split_ascii_whitespace().rev();
    let last = words.next().unwrap_or_default();
    last.chars().all(|c| c.is_ascii_alphanumeric()) && words.next() == Some("FORMAT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insert_is_split_from_its_data() {
        let sql = b"INSERT INTO t(a, b) FORMAT RowBinary\n\x00\xff FORMAT x";
        assert_eq!(split_insert(sql), Some(("INSERT INTO t(a, b)", "RowBinary", 37)));
        assert_eq!(split_insert(b"INSERT INTO t SELECT 1 FORMAT Null"), None);
        assert_eq!(split_insert(b"INSERT INTO t VALUES (' FORMAT x')"), None);
        assert_eq!(split_insert(b"SELECT 1 FORMAT Null"), None);
        assert_eq!(split_insert(b"insert"), None);
    }

    #[test]
    fn selects_are_told_from_the_rest() {
        assert!(is_select(b" \n(SELECT 1)") && is_select(b"WITH 1 AS x SELECT x") && is_select(b"select 1"));
        assert!(!is_select(b"SHOW TABLES") && !is_select(b"") && !is_select(b"DESCRIBE t"));
        assert!(
            has_format_clause(b"SELECT 1 FORMAT JSONEachRow ;") && !has_format_clause(b"SELECT ' FORMAT x'")
        );
    }

    #[test]
    fn a_header_is_measured_and_damage_borne() {
        assert_eq!(header_bytes(b"\x01\x01a\x05UInt8\x07"), 9);
        assert_eq!(header_bytes(b""), 0);
        assert_eq!(header_bytes(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 10);
    }
}
