//! What database servers log: statements (MySQL's general log, MariaDB's audit plugin, PostgreSQL with
//! `log_statement` or pgaudit) and errors (also SQL Server's error log).

use super::text::{comma_separated, endpoint, has_shape, is_number};
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
        return Some(error(line, event));
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
        return Some(error(rest, event));
    }
    let (command, statement) = rest.split_once('\t').or_else(|| rest.split_once("   "))?;
    match command.trim() {
        "Query" | "Execute" | "Prepare" => {
            event.push("statement", statement.trim_start());
            Some(DATABASE_QUERY)
        }
        "Connect" | "Quit" | "Init DB" => Some(error(statement, event)),
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
pub(super) fn sql_server<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    if !has_shape(line, "dddd-dd-dd dd:dd:dd.dd ") {
        return None;
    }
    let (source, message) = line[23..].split_once("  ")?;
    let is_source = matches!(source, "Logon" | "Server" | "Backup")
        || source.strip_prefix("spid").is_some_and(|id| is_number(id.trim_end_matches('s')));
    (is_source && !message.trim().is_empty()).then(|| error(message, event))
}

/// Words of an error that may tell who caused it.
const ERROR_WORDS_MAX: usize = 40;

/// Adds who caused an error, as far as the message says: `'bob'@'1.2.3.4'`, `[CLIENT: 1.2.3.4]`, `user "bob"`, or
/// an address in the line's prefix.
fn error<'t>(message: &'t str, event: &mut Event<'t>) -> Form {
    let ends = ['\'', '"', '[', ']', ',', ';'];
    let mut is_user = false;
    for word in message.split(' ').take(ERROR_WORDS_MAX) {
        if let Some((user, host)) = word.trim_matches(ends).split_once("'@'") {
            event.push("user", user);
            event.push("src_ip", host);
            return DATABASE_ERROR;
        }
        let plain = word.trim_end_matches('.').trim_matches(ends);
        if is_user && plain.len() < word.len() && !plain.is_empty() {
            event.push("user", plain);
        }
        is_user = word == "user";
        let address = endpoint(plain).or_else(|| plain.split(':').find_map(endpoint));
        if let Some((address, _)) = address.filter(|_| event.field("src_ip").is_none()) {
            event.push("src_ip", address);
        }
    }
    DATABASE_ERROR
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
    fn errors_and_who_caused_them() {
        let postgres = "2021-09-28 09:22:18.536 UTC [147] 1.2.3.4 x@postgres FATAL:  password authentication failed for user \"bob\"";
        has(postgres, "database/error", &["src_ip=1.2.3.4", "user=bob"]);
        let prefix = "65.2.129.7 2023-03-12 11:17:28.425 UTC [53962] x@postgres FATAL:  password authentication failed for user \"bob\"";
        has(prefix, "database/error", &["src_ip=65.2.129.7", "user=bob"]);
        let colons = "2021-09-28 09:22:19.536 UTC:1.2.3.4(5432):x@postgres:[127]:FATAL:  password authentication failed for user \"bob\"";
        has(colons, "database/error", &["src_ip=1.2.3.4"]);
        let mysql = "2020-04-16T05:13:40.861934Z 344 [Note] Access denied for user 'root'@'1.2.3.4' (using password: YES)";
        has(mysql, "database/error", &["src_ip=1.2.3.4", "user=root"]);
        let server =
            "2020-02-24 16:05:21.00 Logon       Login failed for user 'x'. Reason: y [CLIENT: 192.0.2.1]";
        has(server, "database/error", &["src_ip=192.0.2.1", "user=x"]);
    }

    #[test]
    fn other_lines_are_no_databases() {
        none("2026-08-05 10:15:30.123 INFO  main  started");
        none("2026-08-05T10:15:30.123456Z main [Note]");
        none("2026-08-05 10:15:30.123 UTC [147] LOG:  checkpoint starting: time");
    }
}
