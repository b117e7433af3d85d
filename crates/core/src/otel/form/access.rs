//! Lines of web servers' access logs in the common and the combined format, which nginx, Apache,
//! Traefik, Caddy and squid share, with whatever stands in front of them and behind.

use super::text::{endpoint, is_ip, is_number, is_status, plain_address, quoted, told, words};
use super::url::{push_host, push_proxy_agent, push_request, push_target};
use super::{Form, PROXY_SQUID, WEB_ACCESS};
use crate::otel::event::Event;
use crate::value::Value;

/// Words in front of the time that are looked at.
const FRONT_WORDS_MAX: usize = 8;

/// `[vhost] client ident user [time] [vhost] "request" status bytes ["referer" "user agent" …]`
pub(super) fn decode<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    // Some exports put the whole line into quotes.
    let line = line.trim_start().trim_start_matches('"');
    if line.starts_with('[') {
        return proxy_manager(line, event).or_else(|| manager_plus(line, event));
    }
    let (left, rest) = line.split_once(" [")?;
    let (_time, rest) = rest.split_once("] ")?;
    let (vhost_behind, rest) = rest.split_once('"')?;
    let vhost_behind = vhost_behind.trim();
    if vhost_behind.contains(' ') {
        return None;
    }
    let front = front(left)?;
    let (request, rest) = quoted(rest)?;
    let mut words = rest.trim_start().splitn(3, ' ');
    let status = words.next()?.trim_end_matches('"');
    if !is_status(status) {
        return None;
    }
    event.push("c-ip", plain_address(front.client));
    for vhost in [front.vhost, vhost_behind].into_iter().filter_map(told) {
        event.push("cs-host", vhost);
    }
    if let Some(user) = told(front.user) {
        event.push("cs-username", user);
    }
    event.push("sc-status", status.parse().map_or(Value::Null, Value::Int));
    if let Some(bytes) = words.next().filter(|bytes| is_number(bytes)) {
        event.push("sc-bytes", bytes);
    }
    push_request(request, event);
    Some(behind(words.next().unwrap_or(""), event))
}

/// What stands in front of the time.
struct Front<'t> {
    vhost: &'t str,
    client: &'t str,
    user: &'t str,
}

fn front(left: &str) -> Option<Front<'_>> {
    let names: Vec<&str> = left.split_ascii_whitespace().take(FRONT_WORDS_MAX + 1).collect();
    if !(3..=FRONT_WORDS_MAX).contains(&names.len()) {
        return None;
    }
    // The first address is the client; without one, its name stands before ident and user.
    let at = names.iter().position(|name| is_ip(name)).unwrap_or(names.len() - 3);
    let client = names[at];
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'-' | b'_');
    if !client.bytes().all(is_name) {
        return None;
    }
    let vhost = if at > 0 { names[at - 1] } else { "" };
    Some(Front { vhost, client, user: user(left, &names[at + 1..]) })
}

/// The user behind ident, whose name may hold blanks.
fn user<'t>(left: &'t str, names: &[&'t str]) -> &'t str {
    match names {
        [_, first, .., last] if *first != "-" && *last != "-" => {
            let start = left.len() - (left.as_ptr() as usize + left.len() - first.as_ptr() as usize);
            left[start..].trim_end()
        }
        [_, .., user] => user,
        _ => "",
    }
}

/// Referer, user agent, and what formats add: the address that a proxy says it forwards for,
/// squid's result.
fn behind<'t>(text: &'t str, event: &mut Event<'t>) -> Form {
    let words = words(text);
    let mut quotes = words.iter().filter(|word| word.is_quoted).map(|word| word.text);
    if let Some(referer) = quotes.next().and_then(told) {
        event.push("cs-referer", referer);
    }
    let agent = quotes.next();
    let last = words.last().filter(|word| !word.is_quoted).map_or("", |word| word.text);
    if last.contains(':') && is_squids_result(last) {
        push_proxy_agent(agent.unwrap_or(""), event);
        event.push("s-action", last);
        return PROXY_SQUID;
    }
    if let Some(agent) = agent.and_then(told) {
        event.push("cs-user-agent", agent);
    }
    let forwarded = quotes.next().and_then(|text| text.split(',').next()).map(str::trim);
    if let Some(address) = forwarded.filter(|text| is_ip(text)) {
        event.push("x-forwarded-for", address);
    }
    WEB_ACCESS
}

/// `TCP_MISS/200`, `TCP_TUNNEL:HIER_DIRECT`, `NONE_NONE/409`.
pub(super) fn is_squids_result(word: &str) -> bool {
    let code = word.split(['/', ':']).next().unwrap_or("");
    ["TCP_", "UDP_", "NONE", "TAG_"].iter().any(|start| code.starts_with(start))
        && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

/// nginx proxy manager and its kin: `[time] host client duration "request" status bytes …`
fn manager_plus<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (_, rest) = line.split_once("] ")?;
    let (left, rest) = rest.split_once(" \"")?;
    let (request, rest) = quoted(rest)?;
    let names: Vec<&str> = left.split(' ').take(4).collect();
    let [host, client, duration] = names[..] else { return None };
    let mut words = rest.trim_start().split(' ');
    let status = words.next().filter(|status| is_status(status))?;
    if !is_ip(client) || duration.parse::<f64>().is_err() {
        return None;
    }
    event.push("c-ip", client);
    event.push("sc-status", status.parse().map_or(Value::Null, Value::Int));
    if !matches!(host, "_" | "-") {
        push_host(host, event);
    }
    push_request(request, event);
    // Neither referer nor user agent is quoted; the latter is recognised by how they all begin.
    if let Some(at) = rest.find(" Mozilla/") {
        event.push("cs-user-agent", &rest[at + 1..]);
    }
    Some(WEB_ACCESS)
}

/// Python's uvicorn: `INFO:     1.2.3.4:5 - "GET / HTTP/1.1" 200 OK`, Go's gin: `[GIN] 2026/08/05 - 10:15:30 |
/// 200 | 1ms | 1.2.3.4 | GET "/x"`.
pub(super) fn framework<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    if let Some(rest) = line.strip_prefix("INFO: ") {
        let (client, rest) = rest.trim_start().split_once(" - \"")?;
        let (address, _) = endpoint(client)?;
        let (request, rest) = quoted(rest)?;
        let status = rest.trim_start().split(' ').next().filter(|status| is_status(status))?;
        event.push("c-ip", address);
        event.push("sc-status", status.parse().map_or(Value::Null, Value::Int));
        push_request(request, event);
        return Some(WEB_ACCESS);
    }
    let columns: Vec<&str> = line.strip_prefix("[GIN] ")?.splitn(5, '|').map(str::trim).collect();
    let [_, status, _, client, request] = columns[..] else { return None };
    let (method, target) = request.split_once(' ')?;
    if !is_status(status) || !is_ip(client) {
        return None;
    }
    event.push("c-ip", client);
    event.push("sc-status", status.parse().map_or(Value::Null, Value::Int));
    event.push("cs-method", method);
    push_target(target.trim().trim_matches('"'), event);
    Some(WEB_ACCESS)
}

/// nginx proxy manager: `[time] cache upstream-status status - GET https host "/path" [Client 1.2.3.4]
/// [Length 1] [Gzip -] [Sent-to host] "user agent" "referer"`.
fn proxy_manager<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (_, rest) = line.split_once("] ")?;
    let (left, rest) = rest.split_once(" \"")?;
    let (target, rest) = quoted(rest)?;
    let (client, rest) = rest.strip_prefix(" [Client ")?.split_once(']')?;
    let mut names = left.rsplit(' ');
    let (host, scheme, method) = (names.next()?, names.next()?, names.next()?);
    let status = names.find(|name| is_status(name))?;
    if !is_ip(client) || !matches!(scheme, "http" | "https" | "ws" | "wss") {
        return None;
    }
    event.push("c-ip", client);
    event.push("cs-method", method);
    event.push("sc-status", status.parse().map_or(Value::Null, Value::Int));
    push_host(host, event);
    push_target(target, event);
    let words = words(rest);
    let mut quotes = words.iter().filter(|word| word.is_quoted).map(|word| word.text);
    for name in ["cs-user-agent", "cs-referer"] {
        if let Some(value) = quotes.next().and_then(told) {
            event.push(name, value);
        }
    }
    Some(WEB_ACCESS)
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{fields_of, has, none};

    #[test]
    fn combined() {
        let line = r#"10.1.2.3 - bob [05/Aug/2026:10:15:30 +0000] "GET /a/b.php?q=<script>&x=%27 HTTP/1.1" 200 12 "http://r/" "curl/8 \"x\"""#;
        has(line, "access", &["c-ip=10.1.2.3", "cs-username=bob", "cs-method=GET", "cs-uri-stem=/a/b.php"]);
        has(line, "access", &["cs-uri-query=/a/b.php?q=<script>&x=%27", "cs-uri-query=q=<script>&x=%27"]);
        has(line, "access", &["sc-status=200", "sc-bytes=12", "cs-version=HTTP/1.1", "cs-referer=http://r/"]);
        has(line, "access", &["cs-user-agent=curl/8 \\\"x\\\"", "c-uri-extension=php"]);
    }

    #[test]
    fn common_vhost_and_wrapped() {
        has(
            r#"::1 - - [05/Aug/2026:10:15:30 +0000] "HEAD / HTTP/1.0" 304 -"#,
            "access",
            &["c-ip=::1", "sc-status=304"],
        );
        let vhost = r#"shop:443 10.0.0.1 - - [05/Aug/2026:10:15:30 +0000] "POST /x HTTP/2.0" 500 1 "-" "-""#;
        has(vhost, "access", &["cs-host=shop:443", "c-ip=10.0.0.1", "cs-method=POST"]);
        let wrapped = r#""192.168.4.25 - - [22/Dec/2016:16:31:07 +0300] "GET /i HTTP/1.1" 404 39 "-" "M/5"""#;
        has(wrapped, "access", &["sc-status=404", "cs-user-agent=M/5"]);
        let behind = r#"66.249.66.1 - - - [31/Jan/2015:14:29:44 ] shop.org "GET / HTTP/1.1" 200 814 "-" "M/5" + 293 1149 546"#;
        has(behind, "access", &["c-ip=66.249.66.1", "cs-host=shop.org", "cs-user-agent=M/5"]);
        let waf =
            r#"shop.org 127.0.0.1 - abc123 - [29/Sep/2021:14:11:34 +0200] "HEAD / HTTP/1.1" 200 0 "-" "M/5""#;
        has(waf, "access", &["c-ip=127.0.0.1", "cs-host=shop.org"]);
    }

    #[test]
    fn formats_add_fields_behind() {
        let forwarded = r#"10.0.0.1 - - [05/Aug/2026:10:15:30 +0000] "GET / HTTP/1.1" 200 1 "-" "M/5" "203.0.113.9, 10.0.0.2""#;
        has(forwarded, "access", &["x-forwarded-for=203.0.113.9", "cs-user-agent=M/5"]);
        let traefik = r#"172.17.0.1 - - [08/Dec/2021:09:16:05 +0000] "GET /s.dll HTTP/1.1" 200 414 "-" "-" 500 "test@docker" "http://172.17.0.3:80" 0ms"#;
        has(traefik, "access", &["c-ip=172.17.0.1", "c-uri-extension=dll"]);
        let manager = r#"[29/Jul/2023:10:26:06 -0700] - 200 404 - GET https git.example.org "/a?b" [Client 203.0.113.9] [Length 157] [Gzip -] [Sent-to 10.0.0.9] "M/5" "-""#;
        has(
            manager,
            "access",
            &[
                "c-ip=203.0.113.9",
                "cs-host=git.example.org",
                "sc-status=404",
                "cs-uri-stem=/a",
                "cs-user-agent=M/5",
            ],
        );
    }

    #[test]
    fn managers_and_frameworks() {
        let plus = r#"[10/Feb/2024:21:25:15 +0100] shop.org 192.168.1.103 0.156 "GET /dashboard HTTP/1.1" 200 2048 2156 https://r/ Mozilla/5.0 (X11)"#;
        has(
            plus,
            "access",
            &[
                "c-ip=192.168.1.103",
                "cs-host=shop.org",
                "cs-uri-stem=/dashboard",
                "cs-user-agent=Mozilla/5.0 (X11)",
            ],
        );
        has(
            r#"INFO:     192.168.1.1:52782 - "POST /login?a HTTP/1.1" 401 Unauthorized"#,
            "access",
            &["c-ip=192.168.1.1", "sc-status=401", "cs-uri-stem=/login"],
        );
        let gin =
            r#"[GIN] 2022/02/07 - 10:49:33 | 401 |     505.317µs |       10.1.2.3 | POST     "/client""#;
        has(gin, "access", &["c-ip=10.1.2.3", "cs-method=POST", "cs-uri-stem=/client", "sc-status=401"]);
        let blank = r#"192.168.1.100 - john doe [15/Jan/2024:14:30:25 +0100] "GET / HTTP/1.1" 200 2048"#;
        has(blank, "access", &["cs-username=john doe"]);
        none("INFO: 12 things - \"done\" 200");
    }

    #[test]
    fn squids_combined_format_is_a_proxys() {
        let line = r#"10.0.0.1 - - [05/Aug/2026:10:15:30 +0000] "GET http://evil.top/a.exe HTTP/1.1" 200 1 "-" "-" TCP_MISS:HIER_DIRECT"#;
        has(
            line,
            "proxy/squid",
            &["c-uri=http://evil.top/a.exe", "cs-host=evil.top", "c-uri-extension=exe", "c-useragent="],
        );
    }

    #[test]
    fn requests_that_are_no_http() {
        has(
            r#"1.2.3.4 - - [x] "\x16\x03\x01" 400 0 "-" "-""#,
            "access",
            &[r"cs-uri-query=\x16\x03\x01", "sc-status=400"],
        );
        has(r#"1.2.3.4 - - [x] "-" 408 0 "-" "-""#, "access", &["sc-status=408"]);
        has(r#"1.2.3.4 - - [x] "GET /a b HTTP/1.1" 400 0"#, "access", &["cs-uri-stem=/a b"]);
    }

    #[test]
    fn other_text_is_no_access_line() {
        for line in ["", "a [b] \"c\"", "x y z [t] \"GET /\" abc 1", "[error] 12#0: x", "a b c [d] \"e"] {
            none(line);
            assert!(fields_of(line).is_empty(), "{line}");
        }
    }
}
