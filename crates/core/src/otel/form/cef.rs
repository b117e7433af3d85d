//! The two formats in which security products write for any collector: ArcSight's CEF and QRadar's
//! LEEF.
//!
//! Fields keep the format's names (`src`, `act`, `request`); the header's are `cef.vendor`, `cef.product`,
//! `cef.id`, `cef.name`. A `cs1` with `cs1Label=X` is a field `X` too. What the message tells of flows, web
//! requests and viruses is added under Sigma's names.

use super::firewall::{push_action, push_ends};
use super::text::{PARTS_MAX, is_status, told};
use super::url::{parse, push_host, push_proxy_agent, push_url};
use super::{CEF_FLOW, CEF_FORTINET_EVENT, CEF_OTHER, CEF_VIRUS, CEF_WEB, Form};
use crate::otel::event::Event;
use crate::value::Value;

/// A message taken apart.
struct Message<'t> {
    vendor: &'t str,
    product: &'t str,
    id: &'t str,
    name: &'t str,
    pairs: Vec<(&'t str, &'t str)>,
}

/// `CEF:0|vendor|product|version|id|name|severity|key=value key=value`, from behind `CEF:`.
pub(super) fn cef<'t>(rest: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (head, extension) = header::<7>(rest)?;
    let [version, vendor, product, _, id, name, _] = head;
    if !version.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    Some(push(Message { vendor, product, id, name, pairs: extension_pairs(extension) }, event))
}

/// `LEEF:1.0|vendor|product|version|id|key=value<tab>key=value`, and 2.0, which names its delimiter
/// behind the id.
pub(super) fn leef<'t>(rest: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (head, extension) = header::<5>(rest)?;
    let [version, vendor, product, _, id] = head;
    let mut delimiter = '\t';
    let mut extension = extension;
    if version.starts_with('2') {
        let (named, rest) = extension.split_once('|')?;
        let hex = named
            .strip_prefix("0x")
            .or(named.strip_prefix('x'))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok());
        delimiter = hex.and_then(char::from_u32).or(named.chars().next()).unwrap_or('\t');
        extension = rest;
    }
    let pairs = extension.split(delimiter).take(PARTS_MAX).filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.trim(), value)).collect();
    Some(push(Message { vendor, product, id, name: "", pairs }, event))
}

/// The first `N` values of the header, and what follows them. `\|` does not part.
fn header<const N: usize>(text: &str) -> Option<([&str; N], &str)> {
    let mut parts = [""; N];
    let mut rest = text;
    for part in &mut parts {
        let bytes = rest.as_bytes();
        let mut is_escaped = false;
        let end = bytes.iter().position(|&b| {
            let is_end = b == b'|' && !is_escaped;
            is_escaped = b == b'\\' && !is_escaped;
            is_end
        })?;
        (*part, rest) = (&rest[..end], &rest[end + 1..]);
    }
    Some((parts, rest))
}

/// Pairs whose values may hold blanks: a value ends before the word that the next `=` follows.
fn extension_pairs(text: &str) -> Vec<(&str, &str)> {
    let bytes = text.as_bytes();
    let is_key = |key: &str| {
        !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'[' | b']'))
    };
    let mut pairs = vec![];
    let mut open: Option<(&str, usize)> = None;
    // Where the present word began, if no `=` was in it yet.
    let mut word = Some(0);
    let mut is_escaped = false;
    for (at, b) in bytes.iter().enumerate() {
        match (b, word) {
            (b' ' | b'\t', _) => word = Some(at + 1),
            (b'=', Some(start)) if !is_escaped => {
                word = None;
                if !is_key(&text[start..at]) {
                    continue;
                }
                if let Some((key, value)) = open.replace((&text[start..at], at + 1)) {
                    pairs.push((key, text[value..start].trim_end()));
                }
            }
            _ => {}
        }
        is_escaped = *b == b'\\' && !is_escaped;
        if pairs.len() >= PARTS_MAX {
            return pairs;
        }
    }
    if let Some((key, start)) = open {
        pairs.push((key, text[start..].trim_end()));
    }
    pairs
}

fn push<'t>(message: Message<'t>, event: &mut Event<'t>) -> Form {
    let Message { vendor, product, id, name, pairs } = message;
    for (field, value) in
        [("cef.vendor", vendor), ("cef.product", product), ("cef.id", id), ("cef.name", name)]
    {
        event.push(field, value);
    }
    for (key, value) in &pairs {
        match plain(value) {
            Some(plain) => event.push(*key, plain),
            None => event.push(*key, *value),
        }
        let label = key.strip_suffix("Label").and_then(|of| pairs.iter().find(|(key, _)| *key == of));
        if let Some((_, labelled)) = label {
            event.push(*value, *labelled);
        }
    }
    meaning(vendor, &pairs, event)
}

/// The value without the format's escapes, where it has any.
fn plain(value: &str) -> Option<String> {
    value.contains('\\').then(|| {
        let mut plain = String::with_capacity(value.len());
        let mut letters = value.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => match letters.next() {
                    Some('n' | 'r') => plain.push('\n'),
                    Some(other @ ('=' | '|' | '\\')) => plain.push(other),
                    Some(other) => plain.extend(['\\', other]),
                    None => plain.push('\\'),
                },
                other => plain.push(other),
            }
        }
        plain
    })
}

/// Adds Sigma's names for what the pairs say, and tells what kind of message it is.
fn meaning<'t>(vendor: &str, pairs: &[(&'t str, &'t str)], event: &mut Event<'t>) -> Form {
    let value = |keys: &[&str]| keys.iter().find_map(|key| super::text::get(pairs, key)).unwrap_or("");
    if vendor == "Fortinet" && !value(&["FTNTFGTcfgpath"]).is_empty() {
        event.push("cfgpath", value(&["FTNTFGTcfgpath"]));
        event.push("action", value(&["FTNTFGTaction", "act"]));
        return CEF_FORTINET_EVENT;
    }
    let virus = value(&["virusname", "VirusName", "malwareName", "threatName", "cn1VirusName"]);
    if !virus.is_empty() {
        event.push("Signature", virus);
        event.push("Filename", value(&["filePath", "fname", "fileName"]));
        return CEF_VIRUS;
    }
    let (source, target) = (value(&["src"]), value(&["dst"]));
    let url = value(&["request", "url", "URL"]);
    let method = value(&["requestMethod", "method", "requestmethod"]);
    let agent = value(&["requestClientApplication", "userAgent", "useragent"]);
    if !url.is_empty() && (!method.is_empty() || !agent.is_empty() || url.contains("://")) {
        push_web(url, method, agent, value(&["dhost", "hostname"]), event);
        if told(source).is_some() {
            event.push("c-ip", source);
        }
        let status = value(&["outcome", "responseCode", "status", "cn1"]);
        if is_status(status) {
            event.push("sc-status", status.parse().map_or(Value::Null, Value::Int));
        }
        event.push("dst_ip", target);
        return CEF_WEB;
    }
    if !source.is_empty() && !target.is_empty() {
        push_action(value(&["act", "action", "deviceAction"]), event);
        push_ends((source, value(&["spt", "srcPort"])), (target, value(&["dpt", "dstPort"])), event);
        return CEF_FLOW;
    }
    CEF_OTHER
}

fn push_web<'t>(url: &'t str, method: &'t str, agent: &'t str, host: &'t str, event: &mut Event<'t>) {
    match plain(url) {
        // `?a\=b` as it was sent.
        Some(plain) => {
            let mut own = Event::default();
            push_url(&plain, &mut own);
            event.absorb(own);
        }
        None => push_url(url, event),
    }
    if parse(url).host.is_empty() && !host.is_empty() {
        push_host(host, event);
    }
    if !method.is_empty() {
        event.push("cs-method", method);
    }
    if !agent.is_empty() {
        push_proxy_agent(agent, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otel::form::testing::{has, has_of, none};

    #[test]
    fn values_hold_blanks_and_escapes() {
        let found = extension_pairs(r"src=10.0.0.1 msg=a b c\=d e x=y  act=blocked a deal=");
        assert_eq!(
            found,
            [("src", "10.0.0.1"), ("msg", r"a b c\=d e"), ("x", "y"), ("act", "blocked a"), ("deal", "")]
        );
        assert_eq!(
            extension_pairs("request=http://h/?a=b&c=d f=g"),
            [("request", "http://h/?a=b&c=d"), ("f", "g")]
        );
        assert_eq!(plain(r"a\=b\\c\nd\"), Some("a=b\\c\nd\\".to_owned()));
    }

    #[test]
    fn web_requests() {
        let line = r"CEF:0|Zscaler|NSSWeblog|5.7|200|Allowed|3|act=Allowed app=HTTP src=10.0.0.9 dst=203.0.113.5 requestMethod=GET outcome=200 requestClientApplication=curl/8 x request=evil.top/a.exe?b\=c dhost=evil.top cs1=Web Hosting cs1Label=urlcat";
        has(
            line,
            "cef/web",
            &[
                "c-uri=evil.top/a.exe?b=c",
                "cs-host=evil.top",
                "c-uri-extension=exe",
                "c-useragent=curl/8 x",
                "sc-status=200",
                "urlcat=Web Hosting",
                "cef.vendor=Zscaler",
            ],
        );
    }

    #[test]
    fn flows_of_any_product() {
        let line = "CEF:0|Palo Alto Networks|PAN-OS|10.1|end|TRAFFIC|1|src=10.0.0.9 spt=51514 dst=203.0.113.5 dpt=23 proto=tcp act=allow";
        has(line, "cef/flow", &["src_ip=10.0.0.9", "dst_port=23", "action=accept"]);
        has_of("CEF", "", &line[4..], "cef/flow", &["dst_ip=203.0.113.5"]);
        let leef = "LEEF:1.0|Check Point|VPN-1 & FireWall-1|1.0|Drop|src=10.0.0.9\tdst=203.0.113.5\tdstPort=23\taction=Drop";
        has(leef, "cef/flow", &["action=denied", "dst_port=23"]);
        let two = "LEEF:2.0|V|P|1.0|id|^|src=10.0.0.9^dst=203.0.113.5^action=accept";
        has(two, "cef/flow", &["action=accept"]);
    }

    #[test]
    fn fortinets_events_and_viruses() {
        let event = r"CEF:0|Fortinet|Fortigate|v6.4|44547|event:system|2|deviceExternalId=F FTNTFGTaction=Edit FTNTFGTcfgpath=vpn.ssl.settings";
        has(event, "cef/fortinet/event", &["action=Edit", "cfgpath=vpn.ssl.settings"]);
        has(
            "CEF:0|X|AV|1|1|n|9|virusname=Mimikatz filePath=C:\\\\a.exe",
            "cef/virus",
            &["Signature=Mimikatz"],
        );
    }

    #[test]
    fn broken_headers_are_not_taken() {
        none("CEF:0|a|b");
        none("CEF: see below");
        none("LEEF:1.0|a");
    }
}
