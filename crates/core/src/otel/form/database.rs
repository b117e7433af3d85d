//! What database servers log: statements (MySQL's general log, MariaDB's audit plugin, PostgreSQL with
//! `log_statement` or pgaudit) and errors (also SQL Server's error log).

use super::text::{comma_separated, has_shape, is_number};
use super::{DATABASE_ERROR, DATABASE_QUERY, Form};
use crate::otel::event::Event;

/// `2026-08-05 10:15:30.123 UTC [147] bob@shop LOG:  statement: select …`
pub(super) fn postgres<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    // PostgreSQL puts two blanks behind its severities, which hardly anything else does.
    let at = ["LOG:  ", "STATEMENT:  ", "ERROR:  ", "FATAL:  ", "PANIC:  "]
        .iter()
        .filter_map(|mark| line.find(mark))
        .min()?;
    let (severity, message) = line[at..].split_once(":  ")?;
    if severity != "LOG" && severity != "STATEMENT" {
        return Some(DATABASE_ERROR);
    }
    let statement = match message.strip_prefix("AUDIT: ") {
        // `SESSION,1,1,READ,SELECT,,,select …,<none>`
        Some(audit) => comma_separated(audit).get(7).copied()?,
        None if severity == "STATEMENT" => message,
        None => {
            let marks = ["statement: ", "execute ", "parse ", "bind "];
            let at = marks.iter().filter_map(|mark| message.find(mark)).min()?;
            let is_start = at == 0 || message.starts_with("duration: ");
            message[at..].split_once(": ").filter(|_| is_start)?.1
        }
    };
    event.push("statement", statement);
    Some(DATABASE_QUERY)
}

/// General log: `2026-08-05T10:15:30.123456Z<tab>   12 Query<tab>select …`; error log:
/// `2026-08-05T10:15:30.123456Z 12 [Note] …`
pub(super) fn mysql<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    if !has_shape(line, "dddd-dd-ddTdd:dd:dd.") {
        return None;
    }
    let rest = line.split_once([' ', '\t'])?.1.trim_start();
    let (thread, rest) = rest.split_once([' ', '\t'])?;
    if !is_number(thread) {
        return None;
    }
    let rest = rest.trim_start();
    if ["[Note]", "[ERROR]", "[Warning]", "[System]"].iter().any(|level| rest.starts_with(level)) {
        return Some(DATABASE_ERROR);
    }
    let (command, statement) = rest.split_once('\t').or_else(|| rest.split_once("   "))?;
    match command.trim() {
        "Query" | "Execute" | "Prepare" => {
            event.push("statement", statement.trim_start());
            Some(DATABASE_QUERY)
        }
        "Connect" | "Quit" | "Init DB" => Some(DATABASE_ERROR),
        _ => None,
    }
}

/// `20260805 10:15:30,server,user,host,12,34,QUERY,db,'select …',0`
pub(super) fn mariadb_audit<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    if !has_shape(line, "dddddddd dd:dd:dd,") {
        return None;
    }
    let mut parts = line.splitn(9, ',');
    let operation = parts.nth(6)?;
    if operation != "QUERY" {
        return None;
    }
    let statement = parts.nth(1)?;
    event.push("statement", statement);
    Some(DATABASE_QUERY)
}

/// `2020-02-24 16:05:21.00 Logon       Login failed for user 'x'. Reason: …`
pub(super) fn sql_server(line: &str) -> Option<Form> {
    if !has_shape(line, "dddd-dd-dd dd:dd:dd.dd ") {
        return None;
    }
    let (source, message) = line[23..].split_once("  ")?;
    let is_source = matches!(source, "Logon" | "Server" | "Backup")
        || source.strip_prefix("spid").is_some_and(|id| is_number(id.trim_end_matches('s')));
    (is_source && !message.trim().is_empty()).then_some(DATABASE_ERROR)
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{has, none};

    #[test]
    fn statements() {
        has(
            "2026-08-05 10:15:30.123 UTC [147] bob@shop LOG:  statement: drop table x",
            "database/query",
            &["statement=drop table x"],
        );
        has(
            "2026-08-05 10:15:30.123 UTC [147] LOG:  duration: 1.2 ms  execute <unnamed>: select 1",
            "database/query",
            &["statement=select 1"],
        );
        has(
            "2026-08-05 10:15:30 UTC [1] LOG:  AUDIT: SESSION,1,1,READ,SELECT,,,\"select a, b\",<none>",
            "database/query",
            &["statement=select a, b"],
        );
        has(
            "2023-07-31T08:34:16.116872Z\t   14 Query\tselect * from users",
            "database/query",
            &["statement=select * from users"],
        );
        has(
            "20260805 10:15:30,db1,bob,10.0.0.9,12,34,QUERY,shop,'select a, b',0",
            "database/query",
            &["statement='select a, b',0"],
        );
    }

    #[test]
    fn errors() {
        has(
            "2021-09-28 09:22:18.536 UTC [147] 1.2.3.4 x@postgres FATAL:  password authentication failed",
            "database/error",
            &[],
        );
        has(
            "2020-04-16T05:13:40.861934Z 344 [Note] Access denied for user 'root'@'1.2.3.4'",
            "database/error",
            &[],
        );
        has("2020-02-24 16:05:21.00 Logon       Login failed for user 'x'. Reason: y", "database/error", &[]);
    }

    #[test]
    fn other_lines_are_no_databases() {
        none("2026-08-05 10:15:30.123 INFO  main  started");
        none("2026-08-05T10:15:30.123456Z main [Note]");
        none("2026-08-05 10:15:30.123 UTC [147] LOG:  checkpoint starting: time");
    }
}
