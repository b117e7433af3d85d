//! Lines of web servers' access logs in the common and the combined format, which nginx and Apache
//! share, under the names of W3C extended logging that Sigma's `webserver` rules use.
//!
//! Nothing is URL-decoded: Sigma's patterns are written for what stands in the log.

use super::event::Event;
use crate::value::Value;

/// Decodes `line` into `event` if it is a line of an access log.
pub(super) fn decode<'t>(line: &'t str, event: &mut Event<'t>) -> bool {
    parse(line, event).is_some()
}

/// `[vhost] client ident user [time] "request" status bytes ["referer" "user agent" …]`
fn parse<'t>(line: &'t str, event: &mut Event<'t>) -> Option<()> {
    // Some exports put the whole line into quotes.
    let line = line.trim_start().trim_start_matches('"');
    let (left, rest) = line.split_once(" [")?;
    let (_time, rest) = rest.split_once("] \"")?;
    let mut names = left.rsplitn(3, ' ');
    let (user, _ident, front) = (names.next()?, names.next()?, names.next()?);
    let mut front = front.split(' ');
    let client = front.next_back()?;
    let is_address = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'-' | b'_');
    if client.is_empty() || !client.bytes().all(is_address) {
        return None;
    }
    let (request, rest) = quoted(rest)?;
    let mut words = rest.trim_start().splitn(3, ' ');
    let status = words.next()?.trim_end_matches('"');
    if status.len() != 3 || !status.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    event.push("c-ip", client);
    if let Some(vhost) = front.next_back() {
        event.push("cs-host", vhost);
    }
    if user != "-" {
        event.push("cs-username", user);
    }
    event.push("sc-status", status.parse().map_or(Value::Null, Value::Int));
    if let Some(bytes) = words.next().filter(|bytes| bytes.bytes().all(|b| b.is_ascii_digit())) {
        event.push("sc-bytes", bytes);
    }
    push_request(request, event);
    let mut rest = words.next().unwrap_or("");
    for name in ["cs-referer", "cs-user-agent"] {
        let Some(open) = rest.find('"') else { break };
        // The last quote is missing where the line was cut.
        let (value, after) = quoted(&rest[open + 1..]).unwrap_or((&rest[open + 1..], ""));
        if value != "-" {
            event.push(name, value);
        }
        rest = after;
    }
    Some(())
}

/// Text up to the closing quote, and what follows it. `\"` does not close.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = text.bytes().position(|b| {
        let is_end = b == b'"' && !is_escaped;
        is_escaped = b == b'\\' && !is_escaped;
        is_end
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// `METHOD target HTTP/1.1`; a request that is no HTTP is a target alone.
fn push_request<'t>(request: &'t str, event: &mut Event<'t>) {
    let is_method =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let (method, rest) = request.split_once(' ').filter(|(word, _)| is_method(word)).unwrap_or(("", request));
    let (target, version) = match rest.rsplit_once(' ') {
        Some((target, version)) if version.starts_with("HTTP/") => (target, version),
        _ => (rest, ""),
    };
    if !method.is_empty() {
        event.push("cs-method", method);
    }
    if !version.is_empty() {
        event.push("cs-version", version);
    }
    push_target(target, event);
}

/// The request target under all names that rules give it. Rules look for the path in
/// `cs-uri-query` too, so that holds the whole target and the query alone.
fn push_target<'t>(target: &'t str, event: &mut Event<'t>) {
    if target.is_empty() || target == "-" {
        return;
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    for name in ["cs-uri", "c-uri", "cs-uri-query", "c-uri-query"] {
        event.push(name, target);
    }
    for (stem, queries) in [("cs-uri-stem", "cs-uri-query"), ("c-uri-stem", "c-uri-query")] {
        event.push(stem, path);
        if let Some(query) = query {
            event.push(queries, query);
        }
    }
    let file = path.rsplit('/').next().unwrap_or("");
    if let Some((_, extension)) = file.rsplit_once('.') {
        event.push("c-uri-extension", extension);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Vec<String> {
        let mut event = Event::default();
        decode(line, &mut event);
        event.fields.iter().map(|(n, v)| format!("{n}={}", v.text().unwrap_or_default())).collect()
    }

    #[track_caller]
    fn has(line: &str, wanted: &[&str]) {
        let fields = fields(line);
        for field in wanted {
            assert!(fields.iter().any(|f| f == field), "no {field} in {fields:#?}");
        }
    }

    #[test]
    fn combined() {
        let line = r#"10.1.2.3 - bob [05/Aug/2026:10:15:30 +0000] "GET /a/b.php?q=<script>&x=%27 HTTP/1.1" 200 12 "http://r/" "curl/8 \"x\"""#;
        has(
            line,
            &["c-ip=10.1.2.3", "cs-username=bob", "cs-method=GET", "cs-uri-stem=/a/b.php", "sc-status=200"],
        );
        has(
            line,
            &["cs-uri-query=/a/b.php?q=<script>&x=%27", "cs-uri-query=q=<script>&x=%27", "sc-bytes=12"],
        );
        has(
            line,
            &[
                "cs-version=HTTP/1.1",
                "cs-referer=http://r/",
                "cs-user-agent=curl/8 \\\"x\\\"",
                "c-uri-extension=php",
            ],
        );
    }

    #[test]
    fn common_vhost_and_wrapped() {
        has(
            r#"::1 - - [05/Aug/2026:10:15:30 +0000] "HEAD / HTTP/1.0" 304 -"#,
            &["c-ip=::1", "sc-status=304"],
        );
        let vhost = r#"shop:443 10.0.0.1 - - [05/Aug/2026:10:15:30 +0000] "POST /x HTTP/2.0" 500 1 "-" "-""#;
        has(vhost, &["cs-host=shop:443", "c-ip=10.0.0.1", "cs-method=POST"]);
        let wrapped = r#""192.168.4.25 - - [22/Dec/2016:16:31:07 +0300] "GET /i HTTP/1.1" 404 39 "-" "M/5"""#;
        has(wrapped, &["sc-status=404", "cs-user-agent=M/5"]);
    }

    #[test]
    fn requests_that_are_no_http() {
        has(
            r#"1.2.3.4 - - [x] "\x16\x03\x01" 400 0 "-" "-""#,
            &[r"cs-uri-query=\x16\x03\x01", "sc-status=400"],
        );
        has(r#"1.2.3.4 - - [x] "-" 408 0 "-" "-""#, &["sc-status=408"]);
        has(r#"1.2.3.4 - - [x] "GET /a b HTTP/1.1" 400 0"#, &["cs-uri-stem=/a b"]);
    }

    #[test]
    fn other_text_is_no_access_line() {
        for line in ["", "a [b] \"c\"", "x y z [t] \"GET /\" abc 1", "[error] 12#0: x", "a b c [d] \"e"] {
            assert!(fields(line).is_empty(), "{line}");
        }
    }
}
