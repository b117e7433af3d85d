//! One HTTP request: its parameters from URL, headers and multipart body, who asks, the faults, and
//! the answer in the server's words.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, Version, header};
use base64::Engine as _;
use bytes::Bytes;

use super::{EndedBy, Shared, faults, frames, query};
use crate::http::{Answer, Dropped, broken_body, read_body, reply, unmarked_body};

/// The largest request body taken.
const BODY_BYTES_MAX: usize = 512 << 20;

/// URL parameters of the interface itself; any other is a setting.
const RESERVED: [&str; 18] = [
    "query",
    "database",
    "default_format",
    "compress",
    "decompress",
    "query_id",
    "session_id",
    "session_timeout",
    "session_check",
    "user",
    "password",
    "role",
    "quota_key",
    "wait_end_of_query",
    "buffer_size",
    "close_session",
    "stacktrace",
    "client_protocol_version",
];

/// A request for a query, taken apart.
pub(super) struct Query {
    pub(super) id: String,
    /// The statement; for an `INSERT … FORMAT` its data follows.
    pub(super) sql: Vec<u8>,
    pub(super) format: String,
    pub(super) database: Option<String>,
    pub(super) session: Option<String>,
    pub(super) settings: Vec<(String, String)>,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) compress: bool,
}

pub(super) async fn answer(shared: &std::sync::Arc<Shared>, request: Request<Body>) -> Answer {
    match request.uri().path() {
        "/ping" | "/replicas_status" => {
            if let Some(fault) = shared.faults.next("") {
                return befall(fault, async { Ok(reply(200, &[], "Ok.\n")) }).await;
            }
            return Ok(reply(200, &[], "Ok.\n"));
        }
        "/" => {}
        path => return Ok(reply(404, &[], format!("There is no handle {path}\n"))),
    }
    let query = match read(shared, request).await {
        Ok(Some(query)) => query,
        Ok(None) => return Ok(reply(200, &[], "Ok.\n")),
        Err(response) => return Ok(*response),
    };
    let fault = shared.faults.next(&String::from_utf8_lossy(&query.sql));
    let run = query::run(shared.clone(), query);
    match fault {
        Some(fault) => befall(fault, run).await,
        None => run.await,
    }
}

async fn befall(fault: faults::Kind, run: impl Future<Output = Answer>) -> Answer {
    match fault {
        faults::Kind::Drop => Err(Dropped),
        faults::Kind::Delay(by) => {
            tokio::time::sleep(by).await;
            run.await
        }
        faults::Kind::Error { status, code, message } => {
            let text = format!("Code: {code}. DB::Exception: {message}");
            Ok(exception(status, code, &text, ""))
        }
        faults::Kind::Cut { at, ended_by } => {
            let (mut head, body) = run.await?.into_parts();
            let bytes = read_body(body, BODY_BYTES_MAX).await.unwrap_or_default();
            let end = match at {
                faults::At::Bytes(end) => end.min(bytes.len()),
                faults::At::Half => bytes.len() / 2,
            };
            head.headers.remove(header::CONTENT_LENGTH);
            if ended_by == EndedBy::Length {
                head.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
            }
            let kept = bytes.slice(..end);
            if ended_by == EndedBy::Connection {
                head.version = Version::HTTP_10;
                return Ok(Response::from_parts(head, unmarked_body(kept)));
            }
            Ok(Response::from_parts(head, broken_body(kept)))
        }
    }
}

/// Takes the request apart; nothing where it asks for nothing (`GET /`).
async fn read(shared: &Shared, request: Request<Body>) -> Result<Option<Query>, Box<Response<Body>>> {
    let (head, body) = request.into_parts();
    let url = head.uri.query().unwrap_or_default();
    let mut fields: Vec<(String, String)> = form_urlencoded::parse(url.as_bytes()).into_owned().collect();
    authenticate(shared, &head.headers, &fields)?;
    let mut data = match read_body(body, BODY_BYTES_MAX).await {
        Ok(data) => data,
        Err(error) => return Err(refusal(1000, &format!("{error:#}"), "POCO_EXCEPTION")),
    };
    let content_type = text_header(&head.headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    if content_type.starts_with("multipart/form-data") {
        match multipart(&content_type, &data) {
            Some(parts) => fields.extend(parts),
            None => return Err(refusal(36, "the multipart body is malformed", "BAD_ARGUMENTS")),
        }
        data = Bytes::new();
    }
    let field = |name: &str| fields.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if field("decompress").as_deref() == Some("1") && !data.is_empty() {
        data = match frames::decompress(&data) {
            Ok(data) => data.into(),
            Err(text) => return Err(Box::new(exception_of(&text, ""))),
        };
    }
    let mut sql = field("query").unwrap_or_default().into_bytes();
    if sql.is_empty() && data.is_empty() {
        return Ok(None);
    }
    if !sql.is_empty() && !data.is_empty() {
        sql.push(b'\n');
    }
    sql.extend_from_slice(&data);
    let number = shared.queries.fetch_add(1, Ordering::Relaxed);
    let mut settings: Vec<(String, String)> = fields
        .iter()
        .filter(|(name, _)| !RESERVED.contains(&name.as_str()) && !name.starts_with("param_"))
        .cloned()
        .collect();
    // A GET may not change anything, as on a real server.
    if head.method == Method::GET && !settings.iter().any(|(name, _)| name == "readonly") {
        settings.push(("readonly".to_owned(), "2".to_owned()));
    }
    let parameters = fields
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("param_")?.to_owned(), value.clone())))
        .collect();
    Ok(Some(Query {
        id: field("query_id")
            .or_else(|| text_header(&head.headers, "x-clickhouse-query-id"))
            .unwrap_or_else(|| format!("embedded-{number}")),
        sql,
        format: field("default_format")
            .or_else(|| text_header(&head.headers, "x-clickhouse-format"))
            .unwrap_or_else(|| "TabSeparated".to_owned()),
        database: field("database").or_else(|| text_header(&head.headers, "x-clickhouse-database")),
        session: field("session_id"),
        settings,
        parameters,
        compress: field("compress").as_deref() == Some("1"),
    }))
}

/// Compares the given credentials (URL, `X-ClickHouse-User`/`-Key`, basic) with the asked ones.
fn authenticate(
    shared: &Shared,
    headers: &HeaderMap,
    fields: &[(String, String)],
) -> Result<(), Box<Response<Body>>> {
    let Some((user, password)) = &shared.credentials else { return Ok(()) };
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let given = match (text_header(headers, "x-clickhouse-user"), field("user"), basic(headers)) {
        (Some(user), _, _) => Some((user, text_header(headers, "x-clickhouse-key").unwrap_or_default())),
        (None, Some(user), _) => Some((user, field("password").unwrap_or_default())),
        (None, None, basic) => basic,
    };
    match given {
        Some(given) if given == (user.clone(), password.clone()) => Ok(()),
        given => {
            // The server asks for a password where none came (194, 401) and denies a wrong one (516, 403).
            let (status, code, name, who) = match &given {
                None => (401, 194, "REQUIRED_PASSWORD", "default"),
                Some((_, key)) if key.is_empty() => (401, 194, "REQUIRED_PASSWORD", "default"),
                Some((who, _)) => (403, 516, "AUTHENTICATION_FAILED", who.as_str()),
            };
            let text = format!(
                "Code: {code}. DB::Exception: {who}: Authentication failed: password is incorrect, or there is no user with such name. ({name})"
            );
            Err(Box::new(exception(status, code, &text, "")))
        }
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = text_header(headers, header::AUTHORIZATION.as_str())?;
    let encoded = value.strip_prefix("Basic ")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let (user, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The fields of a `multipart/form-data` body, in order.
fn multipart(content_type: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let boundary = content_type.split("boundary=").nth(1)?.split(';').next()?.trim().trim_matches('"');
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let mut fields = Vec::new();
    let mut at = find(body, &delimiter)? + delimiter.len();
    while !body.get(at..)?.starts_with(b"--") {
        let part = body.get(at + 2..)?;
        let head_end = find(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&part[..head_end]).ok()?;
        let name = head.split("name=\"").nth(1)?.split('"').next()?;
        let value = &part[head_end + 4..];
        let end = find(value, &delimiter)?.checked_sub(2)?;
        fields.push((name.to_owned(), String::from_utf8_lossy(&value[..end]).into_owned()));
        at += 2 + head_end + 4 + end + 2 + delimiter.len();
    }
    Some(fields)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn refusal(code: u32, text: &str, name: &str) -> Box<Response<Body>> {
    Box::new(exception_of(&format!("Code: {code}. DB::Exception: {text}. ({name})"), ""))
}

/// An exception with the status the server gives its code.
pub(super) fn exception_of(text: &str, query_id: &str) -> Response<Body> {
    let digits =
        text.split("Code: ").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    // 1001: STD_EXCEPTION, for texts without a code.
    let code = digits.and_then(|digits| digits.parse().ok()).unwrap_or(1001);
    exception(status_of(code), code, text, query_id)
}

fn exception(status: u16, code: u32, text: &str, query_id: &str) -> Response<Body> {
    let headers = [
        ("X-ClickHouse-Exception-Code", code.to_string()),
        ("X-ClickHouse-Query-Id", query_id.to_owned()),
        ("X-ClickHouse-Server-Display-Name", "embedded".to_owned()),
        ("Content-Type", "text/plain; charset=UTF-8".to_owned()),
    ];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    reply(status, &headers, format!("{text}\n"))
}

/// As the server maps codes: syntax and arguments 400, unknown things 404, denied 403.
fn status_of(code: u32) -> u16 {
    match code {
        194 => 401,
        164 | 192 | 193 | 291 | 497 | 516 => 403,
        46 | 60 | 70 | 81 | 82 => 404,
        6 | 26 | 27 | 36 | 38 | 41 | 43 | 47 | 50 | 53 | 57 | 62 | 69 | 72 | 115 | 117 | 130 => 400,
        159 => 408,
        48 => 501,
        202 => 503,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipart_fields_are_taken_apart() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {x:String}\r\n--B\r\nContent-Disposition: form-data; name=\"param_x\"\r\n\r\na\r\nb--\r\n--B--\r\n";
        let fields = multipart("multipart/form-data; boundary=B", body).unwrap();
        assert_eq!(fields[0], ("query".into(), "SELECT {x:String}".into()));
        assert_eq!(fields[1], ("param_x".into(), "a\r\nb--".into()));
        assert!(multipart("multipart/form-data; boundary=B", &body[..40]).is_none());
        assert!(multipart("multipart/form-data", body).is_none());
    }

    #[test]
    fn an_exception_has_the_status_of_its_code() {
        assert_eq!(exception_of("Code: 60. DB::Exception: x", "").status(), 404);
        assert_eq!(exception_of("Code: 62. DB::Exception: x", "").status(), 400);
        assert_eq!(exception_of("something else", "").status(), 500);
    }
}
