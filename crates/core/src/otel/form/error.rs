//! Error logs of Apache and nginx, known by the form of a line alone. Rules search them for
//! keywords, so little is taken out.

use super::text::{endpoint, has_shape, is_number, told};
use super::{Form, WEB_APACHE_ERROR, WEB_NGINX_ERROR};
use crate::otel::event::Event;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// `[Fri Oct 08 17:08:41.123 2026] [core:error] [pid 1:tid 2] [client 1.2.3.4:5] message`, and 2.2's
/// form without module and process.
pub(super) fn apache<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (time, rest) = line.strip_prefix('[')?.split_once("] [")?;
    let day = time.split(' ').next()?;
    // `Fri Oct 08 17:08:41.123 2026`
    if !DAYS.contains(&day) || !(24..=31).contains(&time.len()) || !time.is_ascii() {
        return None;
    }
    let (level, rest) = rest.split_once(']')?;
    let level = level.rsplit(':').next().unwrap_or(level);
    if level.is_empty() || !level.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return None;
    }
    event.push("level", level);
    let client =
        rest.split_once("[client ").and_then(|(_, rest)| rest.split_once(']')).map(|(client, _)| client);
    if let Some((address, _)) = client.and_then(endpoint) {
        event.push("c-ip", address);
    }
    if let Some((_, referer)) = rest.rsplit_once(", referer: ") {
        event.push("cs-referer", referer);
    }
    Some(WEB_APACHE_ERROR)
}

/// `2026/08/05 10:15:30 [error] 123#123: *1 message, client: 1.2.3.4, server: …`
pub(super) fn nginx<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    if !has_shape(line, "dddd/dd/dd dd:dd:dd [") {
        return None;
    }
    let (level, rest) = line[21..].split_once("] ")?;
    let (process, message) = rest.split_once(':')?;
    let (pid, thread) = process.split_once('#')?;
    if !is_number(pid) || !is_number(thread) {
        return None;
    }
    event.push("level", level);
    // The message in front may hold what a client sent, so of the marks the last one before the request
    // counts.
    let own = message.rsplit_once(", request: \"").map_or(message, |(own, _)| own);
    let after = |mark: &str| own.rsplit_once(mark).map(|(_, rest)| rest.split(',').next().unwrap_or(rest));
    if let Some((address, _)) = after(", client: ").and_then(endpoint) {
        event.push("c-ip", address);
    }
    if let Some(server) = after(", server: ").and_then(told) {
        event.push("server", server);
    }
    Some(WEB_NGINX_ERROR)
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{has, none};

    #[test]
    fn apache_old_and_new() {
        let new = "[Fri Oct 08 17:08:41.123456 2026] [core:error] [pid 1:tid 2] [client 203.0.113.9:5] AH00126: Invalid URI, referer: http://r/";
        has(new, "apache/error", &["c-ip=203.0.113.9", "level=error", "cs-referer=http://r/"]);
        let old = "[Tue Jul 22 06:48:30 2008] [error] [client 198.51.100.86] script not found";
        has(old, "apache/error", &["c-ip=198.51.100.86"]);
        has(
            "[Wed Jul 05 09:19:24.428126 2023] [:error] [pid 1] ModSecurity: Access denied",
            "apache/error",
            &["level=error"],
        );
        has(
            "[Fri Oct 08 17:08:41 2026] [notice] child pid 7 exit signal Segmentation fault (11)",
            "apache/error",
            &["level=notice"],
        );
    }

    #[test]
    fn nginx_lines() {
        let line = "2026/08/05 10:15:30 [error] 123#123: *1 open() \"/x\" failed (2: No such file), client: 203.0.113.9, server: _, request: \"GET /x HTTP/1.1\"";
        has(line, "nginx/error", &["c-ip=203.0.113.9", "server=_", "level=error"]);
        let forged = "2026/08/05 10:15:30 [error] 7#0: *3 user \"x, client: 127.0.0.1, server: a, request: \"GET / HTTP/1.1\"\": mismatch, client: 203.0.113.9, server: s, request: \"GET / HTTP/1.1\"";
        has(forged, "nginx/error", &["c-ip=203.0.113.9", "server=s"]);
        has(
            "2026/08/05 10:15:30 [alert] 1#0: worker process 7 exited on signal 6 (core dumped)",
            "nginx/error",
            &["level=alert"],
        );
    }

    #[test]
    fn other_lines_in_brackets_are_neither() {
        for line in [
            "[2026-08-05 10:15:30] [INFO] x",
            "[Fri] [x] y",
            "[Dec 21 12:56:59] SECURITY[77]: x",
            "2026/08/05 10:15:30 [error] no process",
            "2026/08/05 10:15:30 Listening on [::]:80",
        ] {
            none(line);
        }
    }
}
