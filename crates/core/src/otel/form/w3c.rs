//! Rows of W3C extended log files without their `#Fields:` line: IIS and Blue Coat's ProxySG. A row
//! alone is recognised by its shape, in the orders of fields that these products use unless told
//! otherwise.
//!
//! Rows whose header the Collector read come as attributes and are the taxonomy's business.

use super::text::{Word, has_shape, is_ip, is_number, is_status, told, words};
use super::url::{push_host, push_proxy_agent, push_target, push_url};
use super::{FIREWALL_WINDOWS, Form, PROXY_BLUECOAT, WEB_IIS};
use crate::otel::event::Event;
use crate::value::Value;

/// Fewest words of a row of IIS: from the date to the status with two codes behind it.
const IIS_WORDS_MIN: usize = 13;

/// Decodes a row that begins with date and time.
pub(super) fn decode<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    if !has_shape(line, "dddd-dd-dd dd:dd:dd ") {
        return None;
    }
    let words = words(line);
    iis(&words, event).or_else(|| blue_coat(&words, event)).or_else(|| windows_firewall(&words, event))
}

/// `date time [s-sitename] [s-computername] s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username
/// c-ip [cs-version] cs(User-Agent) [cs(Cookie)] [cs(Referer)] [cs-host] sc-status sc-substatus
/// sc-win32-status [sc-bytes cs-bytes] time-taken`
fn iis<'t>(words: &[Word<'t>], event: &mut Event<'t>) -> Option<Form> {
    if words.len() < IIS_WORDS_MIN || words.iter().any(|word| word.is_quoted) {
        return None;
    }
    let words: Vec<&str> = words.iter().map(|word| word.text).collect();
    let server = (2..=4).find(|&at| is_ip(words[at]))?;
    let [method, stem, query, port, user, client, rest @ ..] = &words[server + 1..] else { return None };
    let is_method =
        method.len() <= 20 && method.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'_' | b'-'));
    if !is_method || !is_number(port) || !is_ip(client) || !(stem.starts_with('/') || *stem == "*") {
        return None;
    }
    let (version, rest) = match rest {
        [version, rest @ ..] if version.starts_with("HTTP/") => (*version, rest),
        rest => ("", rest),
    };
    let (agent, rest) = rest.split_first()?;
    let codes =
        |at: usize| rest.get(at + 1..at + 3).is_some_and(|codes| codes.iter().all(|code| is_number(code)));
    let status = (0..rest.len().min(4)).find(|&at| is_status(rest[at]) && codes(at))?;
    let (between, numbers) = rest.split_at(status);

    event.push("c-ip", *client);
    event.push("s-ip", words[server]);
    event.push("s-port", *port);
    event.push("cs-method", *method);
    event.push("sc-status", numbers[0].parse().map_or(Value::Null, Value::Int));
    for (name, value) in [("cs-username", *user), ("cs-version", version)] {
        if let Some(value) = told(value) {
            event.push(name, value);
        }
    }
    push_agent(agent, event);
    push_between(between, event);
    if let [_, _, _, sent, received, _, ..] = numbers {
        event.push("sc-bytes", *sent);
        event.push("cs-bytes", *received);
    }
    push_stem_and_query(stem, query, event);
    Some(WEB_IIS)
}

/// The user agent, in which `+` stands for a blank: as it is written and as it was sent.
fn push_agent<'t>(agent: &'t str, event: &mut Event<'t>) {
    let Some(agent) = told(agent) else { return };
    event.push("cs-user-agent", agent);
    if agent.contains('+') {
        event.push("cs-user-agent", agent.replace('+', " "));
    }
}

/// What stands between user agent and status: cookie, referer and host are optional.
fn push_between<'t>(between: &[&'t str], event: &mut Event<'t>) {
    let (cookie, referer, host) = match between {
        [one] => ("", *one, ""),
        [first, last] if last.contains("://") || first.contains('=') && !first.contains("://") => {
            (*first, *last, "")
        }
        [first, last] => ("", *first, *last),
        [cookie, referer, host] => (*cookie, *referer, *host),
        _ => return,
    };
    for (name, value) in [("cs-cookie", cookie), ("cs-referer", referer), ("cs-host", host)] {
        if let Some(value) = told(value) {
            event.push(name, value);
        }
    }
}

fn push_stem_and_query<'t>(stem: &'t str, query: &'t str, event: &mut Event<'t>) {
    let Some(query) = told(query) else { return push_target(stem, event) };
    let target = format!("{stem}?{query}");
    for name in ["cs-uri", "c-uri", "cs-uri-query", "c-uri-query"] {
        event.push(name, target.clone());
    }
    for (stems, queries) in [("cs-uri-stem", "cs-uri-query"), ("c-uri-stem", "c-uri-query")] {
        event.push(stems, stem);
        event.push(queries, query);
    }
    if let Some((_, extension)) = stem.rsplit('/').next().and_then(|file| file.rsplit_once('.')) {
        event.push("c-uri-extension", extension);
    }
}

/// Blue Coat's main format, the present and the older one, known by the cache's result between two
/// columns that can only be one of the two:
/// `… cs(Referer) sc-status s-action cs-method rs(Content-Type) cs-uri-scheme cs-host cs-uri-port
/// cs-uri-path cs-uri-query cs-uri-extension cs(User-Agent) s-ip sc-bytes cs-bytes …` or
/// `… sc-status s-action sc-bytes cs-bytes cs-method cs-uri-scheme cs-host cs-uri-path cs-uri-query
/// cs-username s-hierarchy s-supplier-name rs(Content-Type) cs(User-Agent) …`
fn blue_coat<'t>(words: &[Word<'t>], event: &mut Event<'t>) -> Option<Form> {
    let word = |at: usize| words.get(at).map_or("", |word| word.text);
    let is_result = |text: &str| {
        text.len() > 4
            && text.starts_with("TCP_")
            && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    };
    let at = (4..words.len().min(20)).find(|&at| is_result(word(at)) && is_status(word(at - 1)))?;
    let is_older = is_number(word(at + 1)) && is_number(word(at + 2));
    let [method, scheme, host, port, path, query, agent] = match is_older {
        true => [at + 3, at + 4, at + 5, usize::MAX, at + 6, at + 7, at + 12].map(word),
        false => [at + 1, at + 3, at + 4, at + 5, at + 6, at + 7, at + 9].map(word),
    };
    let (sent, received) = if is_older { (at + 1, at + 2) } else { (at + 11, at + 12) };
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if !is_scheme
        || method.is_empty()
        || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
        || !is_ip(word(3))
    {
        return None;
    }
    event.push("c-ip", word(3));
    event.push("sc-status", word(at - 1).parse().map_or(Value::Null, Value::Int));
    event.push("s-action", word(at));
    event.push("cs-method", method);
    if !is_older && let Some(referer) = told(word(at - 2)) {
        event.push("cs-referer", referer);
    }
    let user = if is_older { word(at + 8) } else { word(4) };
    for (name, value) in [("cs-username", user), ("sc-bytes", word(sent)), ("cs-bytes", word(received))] {
        if let Some(value) = told(value) {
            event.push(name, value);
        }
    }
    push_proxy_agent(agent, event);
    push_parts(scheme, host, port, path, query, event);
    Some(PROXY_BLUECOAT)
}

/// Puts a URL together from its columns.
fn push_parts<'t>(scheme: &str, host: &'t str, port: &str, path: &str, query: &str, event: &mut Event<'t>) {
    let is_default = matches!((scheme, port), (_, "" | "-") | ("http", "80") | ("https", "443"));
    let port = if is_default { String::new() } else { format!(":{port}") };
    let [path, query] = [path, query].map(|part| told(part).unwrap_or(""));
    let mark = if query.is_empty() || query.starts_with('?') { "" } else { "?" };
    let url = match scheme {
        // A tunnel has no scheme of its own: `host:443`, as other proxies write CONNECT.
        "tcp" | "tunnel" | "-" => format!("{host}{port}"),
        scheme => format!("{scheme}://{host}{port}{path}{mark}{query}"),
    };
    let mut own = Event::default();
    push_url(&url, &mut own);
    own.fields.retain(|(name, _)| !matches!(name.as_ref(), "cs-host" | "r-dns"));
    event.absorb(own);
    push_host(host, event);
}

/// Windows' own firewall log: `date time action protocol src-ip dst-ip src-port dst-port …`
fn windows_firewall<'t>(words: &[Word<'t>], event: &mut Event<'t>) -> Option<Form> {
    let [_, _, action, protocol, source, target, source_port, target_port, ..] = words else { return None };
    let verdict = match action.text {
        "ALLOW" => "accept",
        "DROP" => "denied",
        _ => return None,
    };
    if !is_ip(source.text) || !is_ip(target.text) {
        return None;
    }
    for (name, value) in [
        ("action", verdict),
        ("protocol", protocol.text),
        ("src_ip", source.text),
        ("dst_ip", target.text),
        ("src_port", source_port.text),
        ("dst_port", target_port.text),
    ] {
        event.push(name, value);
    }
    Some(FIREWALL_WINDOWS)
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{has, none};

    #[test]
    fn iis_in_its_default_orders() {
        let seven = "2015-07-28 15:07:26 10.0.0.4 GET /QOsa/Default.aspx UISessionId=SN1&D=SHARP+MX-4111N 80 - 31.3.3.7 OpenSystems/1.0;+product=\"85\" 302 0 0 624";
        has(
            seven,
            "iis",
            &["c-ip=31.3.3.7", "cs-method=GET", "cs-uri-stem=/QOsa/Default.aspx", "sc-status=302"],
        );
        has(seven, "iis", &["cs-uri-query=UISessionId=SN1&D=SHARP+MX-4111N", "c-uri-extension=aspx"]);
        let ten = "2026-08-05 10:15:30 10.0.0.4 POST /owa/auth.owa &CorrelationID=%3cempty%3e; 443 CORP\\bob 10.0.0.9 Mozilla/5.0+(Windows+NT+10.0) https://mail/owa/ 200 0 0 15";
        has(
            ten,
            "iis",
            &[
                "cs-username=CORP\\bob",
                "cs-referer=https://mail/owa/",
                "cs-user-agent=Mozilla/5.0 (Windows NT 10.0)",
            ],
        );
        has(
            ten,
            "iis",
            &[
                "cs-uri-query=/owa/auth.owa?&CorrelationID=%3cempty%3e;",
                "cs-user-agent=Mozilla/5.0+(Windows+NT+10.0)",
            ],
        );
        let all = "2026-08-05 10:15:30 W3SVC1 WEB01 10.0.0.4 GET /a.asp - 80 - 10.0.0.9 HTTP/1.1 curl/8 sid=1 http://r/ www.example.com 404 0 2 1245 88 15";
        has(
            all,
            "iis",
            &[
                "cs-host=www.example.com",
                "cs-cookie=sid=1",
                "cs-referer=http://r/",
                "sc-bytes=1245",
                "cs-bytes=88",
                "cs-version=HTTP/1.1",
            ],
        );
        let six = "2014-12-20 21:34:37 W3SVC58 WEB-01 10.0.0.4 GET /search/p.aspx id=3542&print=');declare%20@c 80 - 10.0.0.9 - - 500 0 0";
        has(six, "iis", &["sc-status=500", "cs-uri-query=id=3542&print=');declare%20@c"]);
    }

    #[test]
    fn blue_coat_in_both_main_formats() {
        let present = r#"2026-08-05 10:15:30 53 10.0.0.9 bob - - OBSERVED "Suspicious;Web Hosting" http://r/ 200 TCP_NC_MISS GET application/octet-stream http evil.top 80 /a/setup.exe ?id=7 exe "-" 10.1.1.1 5120 312 -"#;
        has(
            present,
            "proxy/bluecoat",
            &[
                "c-uri=http://evil.top/a/setup.exe?id=7",
                "c-uri-extension=exe",
                "cs-host=evil.top",
                "r-dns=evil.top",
            ],
        );
        has(
            present,
            "proxy/bluecoat",
            &[
                "c-useragent=",
                "cs-method=GET",
                "sc-status=200",
                "cs-username=bob",
                "sc-bytes=5120",
                "cs-referer=http://r/",
            ],
        );
        let older = r#"2005-05-02 12:31:36 100 10.0.0.9 200 TCP_TUNNELED 39 213 CONNECT tcp mail.example.com / - - DIRECT 10.2.2.2 - "M/5 (x)" PROXIED none - 10.1.1.1 SG-HTTP"#;
        has(
            older,
            "proxy/bluecoat",
            &[
                "cs-method=CONNECT",
                "cs-host=mail.example.com",
                "c-uri=mail.example.com",
                "c-useragent=M/5 (x)",
            ],
        );
    }

    #[test]
    fn windows_firewall_rows() {
        let row = "2026-08-05 10:15:30 ALLOW TCP 10.0.0.9 203.0.113.5 51514 23 0 - 0 0 0 - - - SEND";
        has(
            row,
            "firewall/windows",
            &["action=accept", "dst_ip=203.0.113.5", "dst_port=23", "src_ip=10.0.0.9"],
        );
    }

    #[test]
    fn other_lines_with_a_date_are_none_of_these() {
        for line in [
            "2026-08-05 10:15:30",
            "2026-08-05 10:15:30 INFO o.a.Main started in 3 seconds and something more to say here now ok",
            "2026-08-05 10:15:30 10.0.0.4 GET /x - port - 10.0.0.9 a b c d e f",
            "2026-08-05 10:15:30 1 10.0.0.9 - - - 200 TCP_MISS x",
        ] {
            none(line);
        }
    }
}
