//! Lines of packet filters: Linux netfilter (iptables, nftables, ufw, Proxmox, UniFi), pf's `filterlog`
//! (pfSense, OPNsense), RouterOS, and flow records of AWS.
//!
//! Fields: `action` as the device says it and as `accept` or `denied`, `blocked`, `src_ip`, `src_port`,
//! `dst_ip`, `dst_port`, `protocol`.

use super::text::{comma_separated, endpoint, get, is_ip, is_number, pairs, told};
use super::{FIREWALL_FLOW, FIREWALL_MIKROTIK, FIREWALL_NETFILTER, FIREWALL_PF, Form};
use crate::otel::event::Event;

/// What devices say of traffic that they let through.
const ACCEPTED: [&str; 18] = [
    "accept",
    "accepted",
    "allow",
    "allowed",
    "pass",
    "passed",
    "permit",
    "permitted",
    "built",
    "forward",
    "forwarded",
    "close",
    "client-rst",
    "server-rst",
    "timeout",
    "ip-conn",
    "start",
    "end",
];
/// What they say of traffic that they did not.
const DENIED: [&str; 16] = [
    "deny",
    "denied",
    "drop",
    "dropped",
    "block",
    "blocked",
    "reject",
    "rejected",
    "discard",
    "discarded",
    "reset-both",
    "reset-client",
    "reset-server",
    "drop-icmp",
    "block-url",
    "bad",
];

/// Words in front of a packet's description that may say what became of it.
const PREFIX_WORDS_MAX: usize = 24;

/// One name for every device's word.
fn verdict(word: &str) -> Option<&'static str> {
    let is_word = |known: &&str| known.eq_ignore_ascii_case(word);
    if ACCEPTED.iter().any(is_word) {
        return Some("accept");
    }
    DENIED.iter().any(is_word).then_some("denied")
}

/// Adds what the device did, in its own word and in ours.
pub(super) fn push_action<'t>(word: &'t str, event: &mut Event<'t>) {
    if word.is_empty() {
        return;
    }
    event.push("action", word);
    if let Some(verdict) = verdict(word) {
        if !word.eq_ignore_ascii_case(verdict) {
            event.push("action", verdict);
        }
        event.push("blocked", if verdict == "denied" { "true" } else { "false" });
    }
}

/// Adds both ends of a flow; what is empty is left out.
pub(super) fn push_ends<'t>(source: (&'t str, &'t str), target: (&'t str, &'t str), event: &mut Event<'t>) {
    for (name, value) in
        [("src_ip", source.0), ("src_port", source.1), ("dst_ip", target.0), ("dst_port", target.1)]
    {
        if let Some(value) = told(value) {
            event.push(name, value);
        }
    }
}

/// `[prefix] IN=eth0 OUT= MAC=… SRC=1.2.3.4 DST=5.6.7.8 … PROTO=TCP SPT=1 DPT=2 …`
pub(super) fn netfilter<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let at = line.find("IN=")?;
    let pairs = pairs(&line[at..]);
    let (source, target) = (get(&pairs, "SRC")?, get(&pairs, "DST")?);
    if !is_ip(source) || !is_ip(target) {
        return None;
    }
    // The rule's author chose the prefix: `[UFW BLOCK]`, `policy DROP:`, `[WAN_LOCAL-D-1]`. `FORWARD` is the
    // chain's name.
    let words = line[..at].rsplit(|c: char| !c.is_ascii_alphanumeric()).take(PREFIX_WORDS_MAX);
    let said = words.filter(|word| !word.eq_ignore_ascii_case("forward")).find_map(|word| match word {
        "A" => Some("accept"),
        "D" | "R" => Some("denied"),
        word => verdict(word).map(|_| word),
    });
    push_action(said.unwrap_or(""), event);
    push_ends((source, get(&pairs, "SPT").unwrap_or("")), (target, get(&pairs, "DPT").unwrap_or("")), event);
    for (name, key) in [("protocol", "PROTO"), ("in", "IN"), ("out", "OUT")] {
        if let Some(value) = get(&pairs, key) {
            event.push(name, value);
        }
    }
    Some(FIREWALL_NETFILTER)
}

/// `rule,sub,anchor,tracker,interface,reason,action,direction,version,…`, whose rest depends on the
/// version of IP. Source: pfSense's "Raw Filter Log Format".
pub(super) fn filterlog<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let values = comma_separated(line);
    let value = |at: usize| values.get(at).copied().unwrap_or("");
    let (action, direction) = (value(6), value(7));
    if !matches!(direction, "in" | "out") || verdict(action).is_none() && action != "match" {
        return None;
    }
    let (protocol, ends) = match value(8) {
        "4" => (16, 18),
        "6" => (12, 15),
        _ => return None,
    };
    if !is_ip(value(ends)) || !is_ip(value(ends + 1)) {
        return None;
    }
    push_action(action, event);
    let is_port = |at: usize| Some(value(at)).filter(|port| is_number(port)).unwrap_or("");
    let ports = match value(protocol).to_ascii_lowercase().as_str() {
        "tcp" | "udp" | "sctp" => (is_port(ends + 2), is_port(ends + 3)),
        _ => ("", ""),
    };
    push_ends((value(ends), ports.0), (value(ends + 1), ports.1), event);
    for (name, at) in [("protocol", protocol), ("direction", 7), ("interface", 4)] {
        event.push(name, value(at));
    }
    Some(FIREWALL_PF)
}

/// `firewall,info drop-tcp input: in:ether1 out:(unknown 0), …, proto TCP (SYN), 1.2.3.4:1->5.6.7.8:2, len 40`
pub(super) fn mikrotik<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (front, rest) = line.split_once(" proto ")?;
    let (protocol, rest) = rest.split_once([',', ' '])?;
    let arrow = rest.find("->")?;
    let source = rest[..arrow].rsplit(' ').next().unwrap_or("");
    let target = rest[arrow + 2..].split([',', ' ']).next().unwrap_or("");
    let (source, target) = (endpoint(source)?, endpoint(target)?);
    if !front.contains(" in:") || !front.contains(" out:") {
        return None;
    }
    let before = front.split(" in:").next().unwrap_or("");
    let said = before
        .split(|c: char| !c.is_ascii_alphanumeric())
        .find(|word| verdict(word).is_some() && *word != "forward");
    push_action(said.unwrap_or(""), event);
    push_ends(source, target, event);
    event.push("protocol", protocol);
    Some(FIREWALL_MIKROTIK)
}

/// AWS's VPC flow log in its default format: `2 account eni-… src dst sport dport protocol packets bytes
/// start end ACCEPT OK`
pub(super) fn vpc_flow<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let words: Vec<&str> = line.split(' ').take(15).collect();
    let [
        _version,
        account,
        _interface,
        source,
        target,
        source_port,
        target_port,
        protocol,
        _,
        bytes,
        _,
        _,
        action,
        ..,
    ] = words[..]
    else {
        return None;
    };
    if !is_number(account) || !is_ip(source) || !is_ip(target) || !matches!(action, "ACCEPT" | "REJECT") {
        return None;
    }
    push_action(action, event);
    push_ends((source, source_port), (target, target_port), event);
    event.push("protocol", protocol);
    event.push("bytes", bytes);
    Some(FIREWALL_FLOW)
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{has, has_of, none, none_of};

    #[test]
    fn netfilter_with_the_prefixes_of_its_front_ends() {
        let ufw = "[ 7.1] [UFW BLOCK] IN=eth0 OUT= MAC=aa SRC=203.0.113.9 DST=10.0.0.1 LEN=40 TOS=0x00 TTL=49 ID=1 PROTO=TCP SPT=51514 DPT=23 WINDOW=1 SYN URGP=0";
        has_of(
            "kernel",
            "",
            ufw,
            "firewall/netfilter",
            &[
                "action=BLOCK",
                "action=denied",
                "src_ip=203.0.113.9",
                "dst_port=23",
                "protocol=TCP",
                "blocked=true",
            ],
        );
        let allow = "[UFW ALLOW] IN= OUT=eth0 SRC=10.0.0.1 DST=203.0.113.5 PROTO=TCP SPT=1 DPT=8080";
        has_of("kernel", "", allow, "firewall/netfilter", &["action=accept", "blocked=false"]);
        let unifi = "[WAN_LOCAL-D-2147483647] DESCR=\"[WAN_LOCAL]Block All Traffic\" IN=eth8 OUT= MAC=74 SRC=192.168.1.1 DST=192.168.1.25 PROTO=UDP SPT=1 DPT=2 LEN=102";
        has(unifi, "firewall/netfilter", &["action=denied", "dst_ip=192.168.1.25"]);
        let proxmox = "101 1 tap101i0-IN 20/Jun/2022:16:20:14 +0200 DROP: IN=fwbr101i0 OUT=fwbr101i0 MAC=a2 SRC=10.3.95.34 DST=10.3.95.200 PROTO=TCP SPT=1 DPT=22";
        has(proxmox, "firewall/netfilter", &["action=DROP", "dst_port=22"]);
        none_of("kernel", "", "usb 1-1: new device IN=1");
    }

    #[test]
    fn filterlog_of_both_versions() {
        let four = "5,,,1000000103,igb1,match,pass,out,4,0x0,,64,0,0,DF,6,tcp,60,10.0.0.1,203.0.113.5,1234,443,0,S,1,,64240,,mss";
        has_of(
            "filterlog",
            "",
            four,
            "firewall/pf",
            &["action=pass", "action=accept", "dst_ip=203.0.113.5", "dst_port=443", "protocol=tcp"],
        );
        let six = "5,,,1000000103,igb1,match,block,in,6,0x00,0x00000,255,ICMPv6,58,24,fe80::1,ff02::1,";
        has_of("filterlog", "", six, "firewall/pf", &["action=denied", "src_ip=fe80::1"]);
    }

    #[test]
    fn routeros_and_flows() {
        let drop = "firewall,info drop-tcp input: in:ether1-WAN out:(unknown 0), connection-state:new src-mac 00:17, proto TCP (SYN), 36.97.161.219:59388->80.82.202.145:23, len 40";
        has(
            drop,
            "firewall/mikrotik",
            &["action=denied", "src_ip=36.97.161.219", "dst_port=23", "protocol=TCP"],
        );
        let flow = "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK";
        has(
            flow,
            "firewall/flow",
            &["action=ACCEPT", "src_ip=172.31.16.139", "dst_port=22", "blocked=false"],
        );
        let relayed = "2023-03-18T20:36:59.594792+01:00 10.120.127.1 firewall,info accept forward: in:a out:b, proto UDP, 10.0.0.9:5->203.0.113.5:53, len 40";
        has(relayed, "firewall/mikrotik", &["action=accept", "dst_port=53"]);
        none("2 x y z");
    }
}
