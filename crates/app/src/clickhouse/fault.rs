//! What can go wrong with ClickHouse, in plain words.

use std::fmt;

/// A failed query or connection. The kind decides what the caller does; the rest is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What sort of trouble it is.
    pub kind: Kind,
    /// What was wrong: lower case, no full stop.
    pub message: String,
    /// What to do, where that can be said.
    pub hint: Option<String>,
}

/// The sorts of trouble that are treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody answers, or the connection broke.
    Unreachable,
    /// User or password is wrong.
    Login,
    /// A right is missing.
    Denied,
    /// The database, table or a column is not there.
    Missing,
    /// The user is `readonly=1`: no setting may be sent.
    ReadOnly,
    /// The query went over its memory or size; a smaller one may pass.
    TooBig,
    /// The query went over its time. A smaller one may pass, but no row is to blame: the server is
    /// slow now.
    TooSlow,
    /// The answer is not what was asked for.
    Garbled,
    /// Anything else that ClickHouse said.
    Other,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// Longest text of ClickHouse that goes into a message, characters.
const TEXT_MAX: usize = 300;

impl Fault {
    /// A fault of ours, without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Fault {
        Fault { kind, message: message.into(), hint: None }
    }

    /// Explains an error of the client library. `url` and `user` name what was tried.
    pub fn explain(error: &clickhouse::error::Error, url: &str, user: &str) -> Fault {
        use clickhouse::error::Error;
        match error {
            Error::BadResponse(text) => Fault::answered(text, url, user),
            Error::Network(source) => unreachable(url, &root_cause(source.as_ref())),
            Error::TimedOut => unreachable(url, "it took too long"),
            Error::Decompression(_) => {
                Fault::new(Kind::Garbled, format!("{url} sent a broken answer: {error}"))
            }
            Error::InvalidParams(_) | Error::Unsupported(_) => {
                Fault::new(Kind::Other, format!("{url} cannot be asked: {error}"))
            }
            other => Fault::new(Kind::Other, format!("query to {url} failed: {other}")),
        }
    }

    /// Explains what the server said. Codes: ClickHouse `src/Common/ErrorCodes.cpp`.
    fn answered(text: &str, url: &str, user: &str) -> Fault {
        let code = code_of(text);
        let said = short(text);
        let fault = |kind, message: String, hint: &str| {
            let hint = (!hint.is_empty()).then(|| hint.to_string());
            Fault { kind, message, hint }
        };
        match code {
            Some(516 | 192 | 193 | 194) => fault(
                Kind::Login,
                format!("ClickHouse at {url} refuses user `{user}`: wrong user or password"),
                "check `clickhouse.user` and `clickhouse.password`",
            ),
            Some(497) => {
                let hint = match missing_grant(text) {
                    Some(grant) => format!("as an administrator: GRANT {grant} TO {}", quoted(user)),
                    None => "ask an administrator for SELECT on the log tables".to_string(),
                };
                fault(Kind::Denied, format!("user `{user}` lacks a right in ClickHouse: {said}"), &hint)
            }
            Some(81) => fault(
                Kind::Missing,
                format!("there is no such database in ClickHouse at {url}: {said}"),
                "check `clickhouse.database`; SigNoz uses `signoz_logs`, the contrib exporter `default` or `otel`",
            ),
            Some(60) => fault(
                Kind::Missing,
                format!("there is no such table in ClickHouse at {url}: {said}"),
                "check `clickhouse.database` and `clickhouse.table`",
            ),
            Some(47 | 16 | 10) => fault(Kind::Missing, format!("a column is not there: {said}"), ""),
            Some(164) => fault(Kind::ReadOnly, format!("user `{user}` may not change settings: {said}"), ""),
            // The server's memory, or all of the user's queries together, not this one.
            Some(241)
                if ["(total)", "(for user)", "User memory"].iter().any(|whose| text.contains(whose)) =>
            {
                fault(Kind::Unreachable, format!("ClickHouse at {url} is out of memory: {said}"), "")
            }
            Some(241 | 158 | 307 | 396) => {
                fault(Kind::TooBig, format!("a query went over its limits: {said}"), "")
            }
            Some(159 | 160) => fault(Kind::TooSlow, format!("a query took too long: {said}"), ""),
            // SOCKET_TIMEOUT, NETWORK_ERROR, ALL_CONNECTION_TRIES_FAILED, TOO_MANY_SIMULTANEOUS_QUERIES
            Some(209 | 210 | 279 | 202 | 439 | 394) => {
                fault(Kind::Unreachable, format!("ClickHouse at {url} is busy or cut off: {said}"), "")
            }
            Some(_) => fault(Kind::Other, format!("ClickHouse at {url} says: {said}"), ""),
            None if text.starts_with("404") || text.starts_with("405") || text.contains("<html") => fault(
                Kind::Other,
                format!("{url} does not answer as ClickHouse: {said}"),
                "`clickhouse.url` must be ClickHouse's HTTP interface, usually port 8123, not SigNoz's UI",
            ),
            None if said.contains("Port 9000 is for clickhouse-client") => fault(
                Kind::Other,
                format!("{url} is ClickHouse's native port"),
                "`clickhouse.url` must be the HTTP interface, usually port 8123",
            ),
            None if text.starts_with("50") => unreachable(url, &said),
            None => fault(Kind::Other, format!("{url} says: {said}"), ""),
        }
    }
}

fn unreachable(url: &str, why: &str) -> Fault {
    let hint = match why.contains("certificate") {
        true => {
            "`clickhouse.tls.ca` must have signed its certificate, and its name must be the one in the URL"
        }
        false => "is it running, and is `clickhouse.url` its HTTP interface (usually port 8123)?",
    };
    Fault {
        kind: Kind::Unreachable,
        message: format!("ClickHouse at {url} cannot be reached: {why}"),
        hint: Some(hint.into()),
    }
}

/// `Code: 516. DB::Exception: …` → 516.
fn code_of(text: &str) -> Option<u32> {
    let rest = &text[text.find("Code: ")? + 6..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// `… it's necessary to have the grant SELECT(id) ON signoz_logs.logs_v2. (ACCESS_DENIED)` → the
/// grant without its column list, which would be needed for each new column again.
fn missing_grant(text: &str) -> Option<String> {
    let after = &text[text.find("to have the grant ")? + 18..];
    let object = &after[after.find(" ON ")? + 4..];
    let end = object.find([' ', '(', '\n']).unwrap_or(object.len());
    let right = after.split([' ', '(']).next()?;
    Some(format!("{right} ON {}", object[..end].trim_end_matches('.')))
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', ""))
}

/// One line, bounded, without the code and the version that frame it, and without control
/// characters: the server repeats parts of queries and data.
fn short(text: &str) -> String {
    let text = text.split_once("DB::Exception: ").map_or(text, |(_, rest)| rest);
    let text = text.split(" (version ").next().unwrap_or(text);
    let mut out: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect();
    if text.chars().nth(TEXT_MAX).is_some() {
        out.push('…');
    }
    out.trim().trim_end_matches('.').to_string()
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_explained() {
        let answered = |text: &str| Fault::answered(text, "http://ch:8123", "sigma");
        let login = answered("Code: 516. DB::Exception: sigma: Authentication failed: password is incorrect");
        assert_eq!(login.kind, Kind::Login);
        let denied = answered(
            "Code: 497. DB::Exception: sigma: Not enough privileges. To execute this query, it's necessary \
             to have the grant SELECT(id, body) ON signoz_logs.logs_v2. (ACCESS_DENIED) (version 25.5.6)",
        );
        assert_eq!(denied.kind, Kind::Denied);
        assert_eq!(
            denied.hint.as_deref(),
            Some("as an administrator: GRANT SELECT ON signoz_logs.logs_v2 TO `sigma`")
        );
        assert_eq!(answered("Code: 60. DB::Exception: Unknown table").kind, Kind::Missing);
        assert_eq!(answered("Code: 164. DB::Exception: Cannot modify").kind, Kind::ReadOnly);
        assert_eq!(answered("Code: 241. DB::Exception: Memory limit").kind, Kind::TooBig);
        for total in ["(total) memory limit exceeded", "User memory limit exceeded"] {
            assert_eq!(answered(&format!("Code: 241. DB::Exception: {total}")).kind, Kind::Unreachable);
        }
        assert_eq!(answered("Code: 159. DB::Exception: Timeout exceeded").kind, Kind::TooSlow);
        assert_eq!(answered("502 Bad Gateway").kind, Kind::Unreachable);
        assert!(answered("404 Not Found").hint.unwrap().contains("8123"));
        let long = answered(&format!("Code: 1. DB::Exception: a\nb{}", "x".repeat(5000)));
        assert!(long.message.len() < 500 && !long.message.contains('\n'));
    }
}
