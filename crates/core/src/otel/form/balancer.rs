//! Access lines of load balancers and content networks: HAProxy, Envoy (and Istio), AWS's load
//! balancers, CloudFront and S3.

use super::text::{Word, endpoint, has_shape, is_ip, is_number, is_status, quoted, told, words};
use super::url::{push_host, push_request, push_target};
use super::{Form, WEB_CLOUDFRONT, WEB_ELB, WEB_ENVOY, WEB_HAPROXY, WEB_S3};
use crate::otel::event::Event;
use crate::value::Value;

fn push_status<'t>(status: &'t str, event: &mut Event<'t>) {
    event.push("sc-status", status.parse().map_or(Value::Null, Value::Int));
}

fn push_told<'t>(name: &'static str, value: &'t str, event: &mut Event<'t>) {
    if let Some(value) = told(value) {
        event.push(name, value);
    }
}

/// HAProxy's `httplog` and `tcplog`:
/// `client:port [time] frontend backend/server a/b/c/d/e status bytes - - ---- a/b/c/d/e a/b [{…}]
/// "request"`
pub(super) fn haproxy<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (client, rest) = line.split_once(" [")?;
    let (address, _) = endpoint(client)?;
    let (time, rest) = rest.split_once("] ")?;
    if !has_shape(time, "dd/") || !time.contains('.') {
        return None;
    }
    let words = words(rest);
    let word = |at: usize| words.get(at).map_or("", |word| word.text);
    let timers = word(2).split('/').count();
    if !word(1).contains('/') || !matches!(timers, 3 | 5) {
        return None;
    }
    event.push("c-ip", address);
    if timers == 3 {
        push_told("sc-bytes", word(3), event);
        return Some(WEB_HAPROXY);
    }
    push_told("sc-bytes", word(4), event);
    if is_status(word(3)) {
        push_status(word(3), event);
    }
    // Captured headers have no names; a user agent shows itself.
    for captured in rest.split('{').skip(1).take(2).filter_map(|text| text.split('}').next()) {
        if let Some(agent) = captured.split('|').find(|text| text.starts_with("Mozilla/")) {
            event.push("cs-user-agent", agent);
        }
    }
    if let Some(at) = rest.find(" \"") {
        let inside = &rest[at + 2..];
        let request = inside.rfind('"').map_or(inside, |end| &inside[..end]);
        if request != "<BADREQ>" {
            push_request(request, event);
        }
    }
    Some(WEB_HAPROXY)
}

/// Envoy's default format and Istio's:
/// `[time] "request" status flags … bytes-in bytes-out duration time "forwarded-for" "user agent" "id"
/// "authority" "upstream" …`
pub(super) fn envoy<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (time, rest) = line.strip_prefix('[')?.split_once("] \"")?;
    if !has_shape(time, "dddd-dd-ddTdd:dd:dd") {
        return None;
    }
    let (request, rest) = quoted(rest)?;
    let words = words(rest);
    let status = words.first().filter(|word| is_number(word.text))?.text;
    // Istio has a reason in quotes before the numbers; what is wanted stands behind them.
    let numbers_end = words.iter().rposition(|word| !word.is_quoted && is_number(word.text))?;
    let mut quotes = words[numbers_end..].iter().filter(|word| word.is_quoted).map(|word| word.text);
    let (forwarded, agent, _id, authority) = (quotes.next()?, quotes.next()?, quotes.next(), quotes.next());
    if is_status(status) {
        push_status(status, event);
    }
    let client = forwarded.split(',').next().unwrap_or("").trim();
    if is_ip(client) {
        event.push("c-ip", client);
    }
    push_told("cs-user-agent", agent, event);
    if let Some(authority) = authority.and_then(told) {
        push_host(super::url::host(authority), event);
    }
    push_request(request, event);
    Some(WEB_ENVOY)
}

/// AWS's application and classic load balancers:
/// `[type] time name client:port target:port a b c status target-status received sent "request" ["user
/// agent" …]`
pub(super) fn elb<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let types = ["http ", "https ", "h2 ", "grpcs ", "ws ", "wss "];
    let rest = types.iter().find_map(|kind| line.strip_prefix(kind)).unwrap_or(line);
    if !has_shape(rest, "dddd-dd-ddTdd:dd:dd.") {
        return None;
    }
    let words = words(rest);
    let [_, _, client, _, a, b, c, status, _, received, sent, request, ..] = &words[..] else { return None };
    let (address, _) = endpoint(client.text)?;
    let is_time = |word: &Word<'_>| word.text == "-1" || word.text.parse::<f64>().is_ok();
    if !request.is_quoted || ![a, b, c].into_iter().all(is_time) {
        return None;
    }
    event.push("c-ip", address);
    if is_status(status.text) {
        push_status(status.text, event);
    }
    push_told("sc-bytes", sent.text, event);
    push_told("cs-bytes", received.text, event);
    if request.text.trim() != "- - -" {
        push_request(request.text, event);
    }
    if let Some(agent) = words.get(12).filter(|word| word.is_quoted) {
        push_told("cs-user-agent", agent.text, event);
    }
    Some(WEB_ELB)
}

/// CloudFront's standard log, parted by tabs:
/// `date time edge sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent)
/// cs-uri-query cs(Cookie) result id x-host-header …`
pub(super) fn cloudfront<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    if !has_shape(line, "dddd-dd-dd\tdd:dd:dd\t") {
        return None;
    }
    let columns: Vec<&str> = line.splitn(40, '\t').collect();
    let [_, _, _, sent, client, method, host, stem, status, referer, agent, query, cookie, ..] = &columns[..]
    else {
        return None;
    };
    if !is_ip(client) || !is_number(sent) || !stem.starts_with('/') {
        return None;
    }
    event.push("c-ip", *client);
    event.push("sc-bytes", *sent);
    event.push("cs-method", *method);
    if is_status(status) {
        push_status(status, event);
    }
    for (name, value) in [("cs-referer", *referer), ("cs-cookie", *cookie)] {
        push_told(name, value, event);
    }
    // The host that was asked for; the other is CloudFront's own name of the distribution.
    push_host(columns.get(15).copied().and_then(told).unwrap_or(host), event);
    push_told("cs-user-agent", agent, event);
    if agent.contains("%2") {
        // CloudFront encodes the header, some versions twice.
        event.push("cs-user-agent", agent.replace("%2520", " ").replace("%20", " "));
    }
    match told(query) {
        None => push_target(stem, event),
        Some(query) => {
            let target = format!("{stem}?{query}");
            let mut own = Event::default();
            push_target(&target, &mut own);
            event.absorb(own);
        }
    }
    Some(WEB_CLOUDFRONT)
}

/// S3's server access log:
/// `owner bucket [time] address requester id operation key "request" status error sent size total
/// turnaround "referer" "user agent" …`
pub(super) fn s3<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (left, rest) = line.split_once(" [")?;
    let (owner, bucket) = left.split_once(' ')?;
    let (_time, rest) = rest.split_once("] ")?;
    let words = words(rest);
    let [client, requester, _id, operation, _key, request, status, _error, sent, _, _, _, referer, agent, ..] =
        &words[..]
    else {
        return None;
    };
    let is_operation =
        ["REST.", "BATCH.", "WEBSITE.", "SOAP.", "S3."].iter().any(|kind| operation.text.starts_with(kind));
    if !is_operation || owner.len() < 32 || !request.is_quoted || !agent.is_quoted {
        return None;
    }
    if is_ip(client.text) {
        event.push("c-ip", client.text);
    }
    event.push("s3.bucket", bucket);
    event.push("s3.operation", operation.text);
    push_told("cs-username", requester.text, event);
    if is_status(status.text) {
        push_status(status.text, event);
    }
    push_told("sc-bytes", sent.text, event);
    push_told("cs-referer", referer.text, event);
    push_told("cs-user-agent", agent.text, event);
    push_request(request.text, event);
    Some(WEB_S3)
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{has, none};

    #[test]
    fn haproxy_http_and_tcp() {
        let http = r#"10.0.0.9:55032 [04/Apr/2024:14:30:18.885] front_https~ back/web 0/0/0/169/169 404 1541 - - ---- 5715/616/96/15/0 0/0 {www.example.com|Mozilla/5.0 (X11)} "PROPFIND /remote.php/x?y HTTP/1.1""#;
        has(
            http,
            "haproxy",
            &[
                "c-ip=10.0.0.9",
                "sc-status=404",
                "cs-method=PROPFIND",
                "cs-uri-stem=/remote.php/x",
                "cs-user-agent=Mozilla/5.0 (X11)",
            ],
        );
        let bad = r#"10.0.0.9:1 [04/Apr/2024:14:30:18.885] f f/<NOSRV> -1/-1/-1/-1/0 400 187 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>""#;
        has(bad, "haproxy", &["sc-status=400"]);
        has(
            "10.0.0.9:1 [04/Apr/2024:14:30:18.885] f b/s 0/0/5007 212 -- 0/0/0/0/3 0/0",
            "haproxy",
            &["sc-bytes=212"],
        );
    }

    #[test]
    fn envoy_and_istio() {
        let envoy = r#"[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28, 10.0.0.1" "nsq2http" "cc21d9b0-cf5c" "locations:8080" "tcp://10.0.2.1:80""#;
        has(
            envoy,
            "envoy",
            &[
                "c-ip=10.0.35.28",
                "cs-method=POST",
                "sc-status=204",
                "cs-user-agent=nsq2http",
                "cs-host=locations",
                "cs-uri-stem=/api/v1/locations",
            ],
        );
        let istio = r#"[2026-08-05T10:15:30.123Z] "GET /status/418 HTTP/1.1" 418 - via_upstream - "-" 0 135 4 4 "-" "curl/8" "84961386" "httpbin:8000" "10.44.1.27:80" outbound|8000||httpbin 10.44.1.23:37652 10.0.45.184:8000 10.44.1.23:46520 - default"#;
        has(istio, "envoy", &["sc-status=418", "cs-user-agent=curl/8", "cs-host=httpbin"]);
    }

    #[test]
    fn load_balancers_of_aws() {
        let alb = r#"https 2018-07-02T22:23:00.186641Z app/lb/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 0 57 "GET https://www.example.com:443/a.php?x=1 HTTP/1.1" "curl/7.46.0" ECDHE-RSA TLSv1.2 arn:x "Root=1-5" "www.example.com" "arn:y" 1 2018-07-02T22:22:48.364000Z "authenticate,forward" "-" "-""#;
        has(
            alb,
            "elb",
            &[
                "c-ip=192.168.131.39",
                "cs-method=GET",
                "cs-uri-stem=/a.php",
                "cs-uri-query=x=1",
                "cs-host=www.example.com",
                "cs-user-agent=curl/7.46.0",
                "sc-status=200",
            ],
        );
        let classic = r#"2015-05-13T23:39:43.945958Z my-lb 192.168.131.39:2817 10.0.0.1:80 0.000073 0.001048 0.000057 404 404 0 29 "GET http://www.example.com:80/ HTTP/1.1" "curl/7.38.0" - -"#;
        has(classic, "elb", &["sc-status=404", "cs-uri-stem=/", "cs-user-agent=curl/7.38.0"]);
    }

    #[test]
    fn cloudfront_and_s3() {
        let row = "2024-03-12\t15:22:28\tCDG50-P2\t703\t1.2.3.4\tGET\td6.cloudfront.net\t/test\t400\t-\tMozilla/5.0%20(X11)\tq=42\t-\tError\tid\twww.example.com\thttps\t62";
        has(
            row,
            "cloudfront",
            &[
                "c-ip=1.2.3.4",
                "cs-host=www.example.com",
                "cs-uri-query=/test?q=42",
                "cs-uri-query=q=42",
                "cs-user-agent=Mozilla/5.0 (X11)",
                "sc-status=400",
            ],
        );
        let owner = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be";
        let line = format!(
            r#"{owner} bucket1 [06/Feb/2019:00:00:38 +0000] 192.0.2.3 {owner} 3E57427F3EXAMPLE REST.GET.VERSIONING - "GET /bucket1?versioning HTTP/1.1" 200 - 113 - 7 - "-" "S3Console/0.4" - id= SigV4 ECDHE AuthHeader x TLSv1.2"#
        );
        has(
            &line,
            "s3",
            &[
                "c-ip=192.0.2.3",
                "s3.operation=REST.GET.VERSIONING",
                "cs-uri-query=versioning",
                "cs-user-agent=S3Console/0.4",
            ],
        );
    }

    #[test]
    fn other_lines_are_none_of_these() {
        for line in [
            "10.0.0.9:1 [x] a b c",
            "[2026-08-05T10:15:30Z] \"x\" y",
            "2026-08-05T10:15:30.1Z main some text that is long enough to have very many words in it",
            "2026-08-05\t10:15:30\tx",
        ] {
            none(line);
        }
    }
}
