//! Query logs of name servers: BIND, Unbound, dnsmasq (and Pi-hole), CoreDNS, PowerDNS, and the
//! debug log of Windows' DNS server.
//!
//! Fields: `query` without the root's dot, `record_type`, `answer`, `src_ip`.

use super::text::{endpoint, get, is_ip, is_number, pairs};
use super::{DNS_BIND, DNS_COREDNS, DNS_DNSMASQ, DNS_POWERDNS, DNS_UNBOUND, DNS_WINDOWS, Form};
use crate::otel::event::Event;

/// Adds a query.
fn push<'t>(client: &'t str, name: &'t str, kind: &'t str, event: &mut Event<'t>) {
    event.push("query", without_root(name));
    for (field, value) in [("record_type", kind), ("src_ip", client)] {
        if !value.is_empty() {
            event.push(field, value);
        }
    }
}

/// `example.com` of `example.com.`
fn without_root(name: &str) -> &str {
    match name.strip_suffix('.') {
        Some("") | None => name,
        Some(name) => name,
    }
}

/// Whether this may be the name of a record type: `A`, `AAAA`, `HTTPS`, `TYPE65`.
fn is_type(text: &str) -> bool {
    (1..=12).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
}

/// `[date] [queries: info:] client [@0x7f] 1.2.3.4#5 (name): [view x:] query: name IN A +E(0) (…)`, and
/// `query [(cache)] 'name/A/IN' denied`.
pub(super) fn bind<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (_, rest) = line.split_once("client ")?;
    let mut words = rest.split(' ');
    let first = words.next()?;
    let client = if first.starts_with('@') { words.next()? } else { first };
    let (address, _) = endpoint(client.trim_end_matches(':'))?;
    if let Some((_, query)) = rest.split_once(" query: ") {
        let mut words = query.split(' ');
        let (name, class, kind) = (words.next()?, words.next()?, words.next()?);
        if !matches!(class, "IN" | "CH" | "HS" | "ANY") && !class.starts_with("CLASS") || !is_type(kind) {
            return None;
        }
        push(address, name, kind, event);
        return Some(DNS_BIND);
    }
    // `query 'example.com/ANY/IN' denied`, `zone transfer 'example.com/AXFR/IN' denied`: what it refuses.
    let (_, rest) = rest.split_once(": query ").or_else(|| rest.split_once(": zone transfer "))?;
    let (_, quoted) = rest.split_once('\'')?;
    let (asked, _) = quoted.split_once('\'')?;
    let mut parts = asked.rsplitn(3, '/');
    let (_class, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    push(address, name, kind, event);
    Some(DNS_BIND)
}

/// `[time] unbound[1:0] info: 1.2.3.4 example.com. A IN [NOERROR …]`; through syslog without the front.
pub(super) fn unbound<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (_, rest) = ["] info: ", "] query: ", "] reply: "].iter().find_map(|mark| line.split_once(mark))?;
    let mut words = rest.split(' ');
    let (client, name, kind, class) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if !is_ip(client) || !name.ends_with('.') || !is_type(kind) || !matches!(class, "IN" | "CH" | "HS") {
        return None;
    }
    push(client, name, kind, event);
    Some(DNS_UNBOUND)
}

/// `[id client/port] query[A] name from 1.2.3.4` and `reply name is 1.2.3.4`.
pub(super) fn dnsmasq<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let mut rest = line;
    let mut client = "";
    // `log-queries=extra` puts a number and the client in front.
    if let Some((id, after)) = line.split_once(' ')
        && is_number(id)
        && let Some((address, after)) = after.split_once(' ')
    {
        client = endpoint(address)?.0;
        rest = after;
    }
    if let Some((kind, after)) = rest.strip_prefix("query[").and_then(|rest| rest.split_once("] ")) {
        let (name, address) = after.rsplit_once(" from ")?;
        if !is_ip(address) {
            return None;
        }
        push(address, name, kind, event);
        return Some(DNS_DNSMASQ);
    }
    let starts = [
        "reply ",
        "cached ",
        "config ",
        "gravity blocked ",
        "exactly blacklisted ",
        "regex blacklisted ",
        "/etc/hosts ",
    ];
    let after = starts.iter().find_map(|start| rest.strip_prefix(start))?;
    let (name, answer) = after.split_once(" is ")?;
    if name.contains(' ') {
        return None;
    }
    push(client, name, "", event);
    event.push("answer", answer);
    Some(DNS_DNSMASQ)
}

/// The `log` plugin: `[INFO] 1.2.3.4:5 - 42 "A IN example.com. udp 40 false 512" NOERROR qr,rd 106 0.01s`
pub(super) fn coredns<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (_, rest) = line.split_once("[INFO] ")?;
    let (client, rest) = rest.split_once(" - ")?;
    let (address, _) = endpoint(client)?;
    let (id, rest) = rest.split_once(" \"")?;
    let (question, _) = rest.split_once('"')?;
    let words: Vec<&str> = question.split(' ').take(8).collect();
    let [kind, class, name, protocol, ..] = words[..] else { return None };
    if !is_number(id) || !is_type(kind) || !is_type(class) || !matches!(protocol, "udp" | "tcp") {
        return None;
    }
    push(address, name, kind, event);
    Some(DNS_COREDNS)
}

/// Recursor and server: `question for 'example.com|A' from 1.2.3.4`, `Remote 1.2.3.4 wants
/// 'example.com|A', …`, and the structured `qname="example.com" qtype="A" remote="1.2.3.4:5"`.
pub(super) fn powerdns<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    if line.contains("qname=\"") {
        let pairs = pairs(line);
        let (name, kind) = (get(&pairs, "qname")?, get(&pairs, "qtype")?);
        let client = get(&pairs, "remote").and_then(endpoint).map_or("", |(address, _)| address);
        push(client, name, kind, event);
        return Some(DNS_POWERDNS);
    }
    let (asked, client) = if let Some((_, rest)) = line.split_once("question for '") {
        let (asked, rest) = rest.split_once('\'')?;
        (asked, rest.strip_prefix(" from ")?)
    } else {
        let (_, rest) = line.split_once("Remote ")?;
        let (client, rest) = rest.split_once(" wants '")?;
        (rest.split_once('\'')?.0, client)
    };
    let (name, kind) = asked.rsplit_once('|')?;
    let client = client.split([' ', '<', ',']).next().unwrap_or("");
    let (address, _) = endpoint(client)?;
    push(address, name, kind, event);
    Some(DNS_POWERDNS)
}

/// `8/5/2026 10:15:30 AM 0E3C PACKET  0000 UDP Rcv 10.0.0.5 8f6c   Q [0001   D   NOERROR] A
/// (7)example(3)com(0)`
pub(super) fn windows<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (_, rest) = line.split_once(" PACKET ")?;
    let words: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
    let direction = words.iter().position(|word| matches!(*word, "Rcv" | "Snd"))?;
    let client = words.get(direction + 1)?;
    let name = words.last().filter(|name| name.ends_with("(0)"))?;
    let kind = words.get(words.len().checked_sub(2)?)?;
    if !is_ip(client) || !name.starts_with('(') || !is_type(kind) {
        return None;
    }
    event.push("query", labels(name));
    event.push("record_type", *kind);
    event.push("src_ip", *client);
    Some(DNS_WINDOWS)
}

/// `example.com` of `(7)example(3)com(0)`.
fn labels(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for part in text.split('(') {
        let label = part.split_once(')').map_or("", |(_, label)| label);
        if !label.is_empty() {
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(label);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{has, has_of, none};

    #[test]
    fn bind_queries_and_refusals() {
        let query = "05-Aug-2026 10:15:30.123 queries: info: client @0x7f65100ee4d8 192.0.2.1#41234 (API.example.com): query: API.example.com IN TXT +E(0)K (192.0.2.53)";
        has(query, "dns/bind", &["query=API.example.com", "record_type=TXT", "src_ip=192.0.2.1"]);
        let view =
            "client 192.0.2.1#41234 (example.com): view internal: query: example.com IN A + (192.0.2.53)";
        has_of("named", "", view, "dns/bind", &["query=example.com", "record_type=A"]);
        let denied = "19-Oct-2022 05:34:02.425 client @0x7f65100ee4d8 192.168.1.1#3076 (example.com): query (cache) 'example.com/ANY/IN' denied";
        has(denied, "dns/bind", &["query=example.com", "record_type=ANY", "src_ip=192.168.1.1"]);
        has_of(
            "named",
            "",
            "client 194.145.196.18#4795: query 'example.com/NS/IN' denied",
            "dns/bind",
            &["record_type=NS"],
        );
    }

    #[test]
    fn bind_refuses_transfers_too() {
        let file = "11-Aug-2013 03:36:11.372 error: client 1.2.3.4#52115: zone transfer 'example.com/AXFR/IN' denied";
        has(file, "dns/bind", &["query=example.com", "record_type=AXFR", "src_ip=1.2.3.4"]);
        has(
            "info: client @0x7f4e446fd6e8 192.0.2.8#53 (x.io): query (cache) 'x.io/A/IN' denied",
            "dns/bind",
            &["query=x.io"],
        );
    }

    #[test]
    fn unbound_in_its_file_and_through_syslog() {
        has(
            "[1628158530] unbound[1234:0] info: 192.0.2.1 example.com. A IN",
            "dns/unbound",
            &["query=example.com", "src_ip=192.0.2.1"],
        );
        has_of(
            "unbound",
            "",
            "[1234:0] info: ::1 example.com. AAAA IN NOERROR 0.01 0 55",
            "dns/unbound",
            &["record_type=AAAA"],
        );
        has_of(
            "unbound",
            "",
            "[1234:0] reply: 192.0.2.1 example.com. A IN NOERROR 0.01 0 55",
            "dns/unbound",
            &["query=example.com"],
        );
    }

    #[test]
    fn dnsmasq_queries_and_replies() {
        has_of(
            "dnsmasq",
            "",
            "query[A] example.com from 192.0.2.1",
            "dns/dnsmasq",
            &["query=example.com", "record_type=A", "src_ip=192.0.2.1"],
        );
        has_of(
            "dnsmasq",
            "",
            "21745 10.10.10.33/59490 query[TXT] server.example.com from 10.10.10.33",
            "dns/dnsmasq",
            &["record_type=TXT"],
        );
        has_of(
            "dnsmasq",
            "",
            "reply example.com is 203.0.113.5",
            "dns/dnsmasq",
            &["query=example.com", "answer=203.0.113.5"],
        );
        has_of(
            "dnsmasq",
            "",
            "gravity blocked ads.example.com is 0.0.0.0",
            "dns/dnsmasq",
            &["query=ads.example.com"],
        );
    }

    #[test]
    fn coredns_and_powerdns() {
        has(
            r#"[INFO] 10.244.0.5:38123 - 12345 "A IN example.com. udp 40 false 512" NOERROR qr,rd,ra 106 0.0012s"#,
            "dns/coredns",
            &["query=example.com", "record_type=A", "src_ip=10.244.0.5"],
        );
        has(
            r#"[INFO] [::1]:38123 - 1 "AAAA IN x.cluster.local. udp 40 false 512" NXDOMAIN qr 1 0.1s"#,
            "dns/coredns",
            &["src_ip=::1"],
        );
        has_of(
            "pdns_recursor",
            "",
            "2 [1/1] question for 'example.com|A' from 192.0.2.1",
            "dns/powerdns",
            &["query=example.com", "src_ip=192.0.2.1"],
        );
        has_of(
            "pdns_server",
            "",
            "Remote 192.0.2.1 wants 'example.com|MX', do = 0, bufsize = 512: packetcache MISS",
            "dns/powerdns",
            &["record_type=MX"],
        );
        has_of(
            "pdns_recursor",
            "",
            r#"msg="Question" subsystem="syncres" qname="example.com" qtype="A" remote="192.0.2.1:53""#,
            "dns/powerdns",
            &["query=example.com"],
        );
    }

    #[test]
    fn windows_debug_log() {
        let line = "8/5/2026 10:15:30 AM 0E3C PACKET  000001D5E8A1F3B0 UDP Rcv 10.0.0.5        8f6c   Q [0001   D   NOERROR] TXT    (7)example(3)com(0)";
        has(line, "dns/windows", &["query=example.com", "record_type=TXT", "src_ip=10.0.0.5"]);
        let response = "05.08.2026 10:15:30 0E3C PACKET  000001D5E8A1F3B0 UDP Snd 10.0.0.5        8f6c R Q [8081   DR  NOERROR] A      (3)www(7)example(3)com(0)";
        has(response, "dns/windows", &["query=www.example.com"]);
    }

    #[test]
    fn what_name_servers_say_besides_is_no_query() {
        for (program, text) in [
            ("named", "zone example.com/IN: loaded serial 3"),
            ("named", "client 1.2.3.4#5: transfer of 'example.com/IN': AXFR started"),
            ("unbound", "[1:0] info: start of service (unbound 1.13.1)."),
            ("dnsmasq", "using nameserver 1.1.1.1#53"),
            ("dnsmasq", "cached it all is well"),
            ("pdns_server", "Done launching threads"),
        ] {
            crate::otel::form::testing::none_of(program, "", text);
        }
        none("[INFO] plugin/reload: Running configuration SHA512 = 1");
        none("8/5/2026 10:15:30 AM 0E3C EVENT   The DNS server has started.");
    }
}
