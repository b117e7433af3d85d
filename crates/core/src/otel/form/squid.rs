//! squid's native access log:
//! `time duration client result/status bytes method URL user hierarchy/peer type`

use super::access::is_squids_result;
use super::text::{is_ip, is_number, is_status, told};
use super::url::push_url;
use super::{Form, PROXY_SQUID};
use crate::otel::event::Event;
use crate::value::Value;

/// Decodes a line that begins with a time in seconds.
pub(super) fn decode<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let words: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    let [time, duration, client, result, bytes, method, url, user, hierarchy, ..] = words[..] else {
        return None;
    };
    let (action, status) = result.split_once('/')?;
    let is_time = time.split_once('.').is_some_and(|(seconds, part)| is_number(seconds) && is_number(part));
    if !is_time
        || !is_number(duration.trim_start_matches('-'))
        || !is_squids_result(action)
        || !hierarchy.contains('/')
    {
        return None;
    }
    if is_ip(client) {
        event.push("c-ip", client);
    }
    event.push("s-action", action);
    if is_status(status) {
        event.push("sc-status", status.parse().map_or(Value::Null, Value::Int));
    }
    if is_number(bytes) {
        event.push("sc-bytes", bytes);
    }
    event.push("cs-method", method);
    if let Some(user) = told(user) {
        event.push("cs-username", user);
    }
    push_url(url, event);
    Some(PROXY_SQUID)
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{has, none};

    #[test]
    fn requests_and_tunnels() {
        let get = "1386543323.000      4 91.188.124.227 TCP_DENIED/403 4099 GET http://www.proxy-listen.de/azenv.php?a=1 bob HIER_NONE/- text/html";
        has(
            get,
            "proxy/squid",
            &[
                "c-ip=91.188.124.227",
                "sc-status=403",
                "c-uri=http://www.proxy-listen.de/azenv.php?a=1",
                "cs-host=www.proxy-listen.de",
                "c-uri-extension=php",
                "cs-username=bob",
            ],
        );
        let connect = "1628158530.123    120 10.0.0.9 TCP_TUNNEL/200 5120 CONNECT evil.top:443 - HIER_DIRECT/203.0.113.5 -";
        has(
            connect,
            "proxy/squid",
            &["cs-method=CONNECT", "cs-host=evil.top", "r-dns=evil.top", "c-uri=evil.top:443"],
        );
    }

    #[test]
    fn other_lines_with_a_time_are_not_squids() {
        for line in [
            "1628158530.123",
            "1628158530.123 1 a b/c d e f g h",
            "1628158530.123 1 10.0.0.9 TCP_MISS/200 1 GET x",
        ] {
            none(line);
        }
    }
}
