//! Lines whose form tells what wrote them: access logs, proxies, name servers, packet filters, network
//! devices, databases.
//!
//! A decoder takes only what carries clear marks: a wrong class is worse than none. It adds fields, under
//! Sigma's names where several products say the same thing in different words, and names the form, by
//! which the taxonomy chooses the class. What a rule calls the fields stays the taxonomy's business.

mod access;
mod balancer;
mod cef;
mod database;
mod devices;
mod dns;
mod error;
mod firewall;
mod paloalto;
mod squid;
mod text;
pub(super) mod url;
mod vendor;
mod w3c;
mod zeek;

use super::class::Format;
use super::event::Event;

/// Name of a form, as `when: {form: …}` of the taxonomy has it.
pub(super) type Form = &'static str;

const WEB_ACCESS: Form = "access";
const WEB_IIS: Form = "iis";
const WEB_HAPROXY: Form = "haproxy";
const WEB_ENVOY: Form = "envoy";
const WEB_ELB: Form = "elb";
const WEB_CLOUDFRONT: Form = "cloudfront";
const WEB_S3: Form = "s3";
const WEB_APACHE_ERROR: Form = "apache/error";
const WEB_NGINX_ERROR: Form = "nginx/error";
const PROXY_SQUID: Form = "proxy/squid";
const PROXY_BLUECOAT: Form = "proxy/bluecoat";
const PROXY_ZSCALER: Form = "proxy/zscaler";
const DNS_BIND: Form = "dns/bind";
const DNS_UNBOUND: Form = "dns/unbound";
const DNS_DNSMASQ: Form = "dns/dnsmasq";
const DNS_COREDNS: Form = "dns/coredns";
const DNS_POWERDNS: Form = "dns/powerdns";
const DNS_WINDOWS: Form = "dns/windows";
const ZEEK: [Form; 9] = [
    "zeek/http",
    "zeek/dns",
    "zeek/smb_files",
    "zeek/dce_rpc",
    "zeek/rdp",
    "zeek/kerberos",
    "zeek/x509",
    "zeek/conn",
    "zeek/ssl",
];
const FIREWALL_NETFILTER: Form = "firewall/netfilter";
const FIREWALL_PF: Form = "firewall/pf";
const FIREWALL_MIKROTIK: Form = "firewall/mikrotik";
const FIREWALL_FLOW: Form = "firewall/flow";
const FIREWALL_WINDOWS: Form = "firewall/windows";
const CISCO_AAA: Form = "cisco/aaa";
const CISCO_ASA: Form = "cisco/asa";
const CISCO_ROUTING: Form = "cisco/routing";
const CISCO_SYSLOG: Form = "cisco/syslog";
const HUAWEI: Form = "huawei";
const JUNIPER_BGP: Form = "juniper/bgp";
const JUNIPER_FLOW: Form = "juniper/flow";
const FORTINET: [Form; 6] = [
    "fortinet/event",
    "fortinet/traffic",
    "fortinet/web",
    "fortinet/dns",
    "fortinet/virus",
    "fortinet/other",
];
const SONICWALL: Form = "sonicwall";
const SOPHOS: [Form; 2] = ["sophos/firewall", "sophos/web"];
const PALOALTO: [Form; 5] =
    ["paloalto/traffic", "paloalto/url", "paloalto/virus", "paloalto/globalprotect", "paloalto/other"];
const CEF_FLOW: Form = "cef/flow";
const CEF_WEB: Form = "cef/web";
const CEF_VIRUS: Form = "cef/virus";
const CEF_FORTINET_EVENT: Form = "cef/fortinet/event";
const CEF_OTHER: Form = "cef/other";
const DATABASE_QUERY: Form = "database/query";
const DATABASE_ERROR: Form = "database/error";

/// Forms of web servers' and load balancers' access logs.
const ACCESS: [Form; 7] = [WEB_ACCESS, WEB_IIS, WEB_HAPROXY, WEB_ENVOY, WEB_ELB, WEB_CLOUDFRONT, WEB_S3];

/// A line and what is known about its writer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'t, 'h> {
    /// With its syslog header.
    pub whole: &'t str,
    /// Without it.
    pub message: &'t str,
    /// Program, container or service; syslog's idea of it may be part of the message.
    pub program: &'h str,
    /// Base name of the log file.
    pub file: &'h str,
}

/// Longest part of a line that is taken apart, bytes. Servers and devices cut theirs far below; keyword
/// rules see the whole line.
const LINE_BYTES_MAX: usize = 128 << 10;

/// The programs that write most of what a host's syslog holds, and nothing of these forms.
const ORDINARY: [&str; 14] = [
    "sshd",
    "sshd-session",
    "sudo",
    "su",
    "CRON",
    "cron",
    "crond",
    "systemd",
    "systemd-logind",
    "systemd-resolved",
    "dbus-daemon",
    "polkitd",
    "NetworkManager",
    "dhclient",
];

/// Adds the fields of `line` to `event` and says what it is; `None` leaves the event as it was.
pub(super) fn decode<'t>(line: Line<'t, '_>, event: &mut Event<'t>) -> Option<(Format, Form)> {
    if ORDINARY.contains(&line.program) {
        return None;
    }
    let before = event.fields.len();
    let message = without_priority(cut(line.message).trim_start());
    let line = Line { whole: cut(line.whole), message, ..line };
    for step in 0..3 {
        let found = match step {
            0 => by_writer(line, event),
            1 => by_start(line, event),
            _ => by_content(line, event),
        };
        if let Some(form) = found {
            let format = if ACCESS.contains(&form) { Format::Access } else { Format::Form };
            return Some((format, form));
        }
        event.fields.truncate(before);
    }
    None
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LINE_BYTES_MAX)]
}

/// The message behind a syslog priority that no header follows.
fn without_priority(message: &str) -> &str {
    let inner = message.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match inner {
        Some((number, rest)) if number.len() <= 3 && text::is_number(number) => rest.trim_start(),
        _ => message,
    }
}

/// By the program or the file, where these decide.
fn by_writer<'t>(line: Line<'t, '_>, event: &mut Event<'t>) -> Option<Form> {
    let Line { whole, message, program, file } = line;
    match program {
        "CEF" => return cef::cef(message, event),
        "LEEF" => return cef::leef(message, event),
        "named" => return dns::bind(message, event),
        "unbound" => return dns::unbound(message, event),
        "filterlog" => return firewall::filterlog(message, event),
        "kernel" | "ulogd" => return netfilter_or_juniper(line, event),
        "rpd" | "RT_FLOW" | "tcp_auth_ok" => return devices::juniper(message, whole, program, event),
        "postgres" | "postgresql" => return database::postgres(message, event),
        _ => {}
    }
    if program.starts_with("dnsmasq") || program == "pihole-FTL" {
        return dns::dnsmasq(message, event);
    }
    if program.starts_with("haproxy") {
        return balancer::haproxy(message, event);
    }
    if program.starts_with("pdns") {
        return dns::powerdns(message, event);
    }
    if program.starts_with("tac_plus") || program.starts_with("CISE_") {
        return devices::accounting(message, program);
    }
    if file.ends_with(".log") && message.contains('\t') {
        return zeek::decode(message, file, event);
    }
    None
}

fn netfilter_or_juniper<'t>(line: Line<'t, '_>, event: &mut Event<'t>) -> Option<Form> {
    firewall::netfilter(line.message, event)
        .or_else(|| devices::juniper(line.message, line.whole, line.program, event))
}

/// By the first bytes.
fn by_start<'t>(line: Line<'t, '_>, event: &mut Event<'t>) -> Option<Form> {
    let message = line.message;
    match message.as_bytes().first()? {
        b'C' if message.starts_with("CEF:") => cef::cef(&message[4..], event),
        b'L' if message.starts_with("LEEF:") => cef::leef(&message[5..], event),
        b'[' => in_brackets(message, event),
        b'0'..=b'9' => after_digit(message, event),
        b'R' if message.starts_with("RT_FLOW_SESSION_") => {
            devices::juniper(message, line.whole, "RT_FLOW", event)
        }
        b'f' | b'i' if message.contains("->") => firewall::mikrotik(message, event),
        b'I' if message.starts_with("INFO: ") => access::framework(message, event),
        // `client …`, or behind its category or severity.
        b'c' | b'i' | b'e' if message.starts_with("client ") || message.contains(": client @") => {
            dns::bind(message, event)
        }
        _ => None,
    }
}

fn in_brackets<'t>(message: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let bytes = message.as_bytes();
    if message.starts_with("[INFO] ") {
        return dns::coredns(message, event);
    }
    if message.starts_with("[GIN] ") {
        return access::framework(message, event);
    }
    match bytes.get(1)? {
        b'0'..=b'9' if message.contains("unbound[") => dns::unbound(message, event),
        b'0'..=b'9' if bytes.get(5) == Some(&b'-') => balancer::envoy(message, event),
        _ => error::apache(message, event),
    }
}

/// Lines that begin with a date, a time, a number or an address.
fn after_digit<'t>(message: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let is = |shape: &str| text::has_shape(message, shape);
    if is("dddd-dd-dd") {
        return match message.as_bytes().get(10)? {
            b' ' => {
                let rows = w3c::decode(message, event).or_else(|| database::sql_server(message, event));
                rows.or_else(|| pairs_of_a_feed(message, event))
                    .or_else(|| database::postgres(message, event))
            }
            b'T' => database::mysql(message, event).or_else(|| balancer::elb(message, event)),
            b'\t' => balancer::cloudfront(message, event),
            _ => None,
        };
    }
    if is("dddd/dd/dd ") {
        return error::nginx(message, event);
    }
    if is("dddddddd dd:dd:dd,") {
        return database::mariadb_audit(message, event);
    }
    if is("dd-") && message.contains("client ") {
        return dns::bind(message, event);
    }
    if is("dddddddddd.") {
        return squid::decode(message, event);
    }
    if is("d,dddd/") {
        return paloalto::decode(message, event);
    }
    if message.contains(" PACKET ") {
        return dns::windows(message, event);
    }
    if let Some(at) = message.find(" [")
        && message[..at].contains(':')
        && let Some(form) = balancer::haproxy(message, event)
    {
        return Some(form);
    }
    if message.contains(" eni-") {
        return firewall::vpc_flow(message, event);
    }
    None
}

/// Zscaler puts a time in front of its pairs.
fn pairs_of_a_feed<'t>(message: &'t str, event: &mut Event<'t>) -> Option<Form> {
    message.contains("\treason=").then(|| vendor::decode(message, event))?
}

/// By marks somewhere in the line. Most lines have none, so single bytes are looked for first.
fn by_content<'t>(line: Line<'t, '_>, event: &mut Event<'t>) -> Option<Form> {
    let Line { whole, message, program, .. } = line;
    let has = |byte: u8| message.as_bytes().contains(&byte);
    if has(b'"')
        && let Some(form) = with_quotes(message, event)
    {
        return Some(form);
    }
    // Behind a header that names a program, a device's own marks do not stand.
    let is_device =
        program.is_empty() || program.starts_with('%') || text::is_number(program.trim_end_matches('.'));
    if whole.contains('%') && (is_device || whole.contains(": %")) {
        if whole.contains("%%")
            && let Some(form) = devices::huawei(whole, event)
        {
            return Some(form);
        }
        if let Some(form) = devices::cisco(whole, event) {
            return Some(form);
        }
    }
    if has(b'=') {
        return with_pairs(message, program, event);
    }
    if has(b'>') && message.contains(" proto ") && message.contains("->") {
        return firewall::mikrotik(message, event);
    }
    if program.is_empty() && has(b'[') && message.contains(" UTC [") {
        // With the client's address in front of the time.
        return database::postgres(message, event);
    }
    (program.is_empty() && message.contains("missing MD5 digest")).then_some(JUNIPER_BGP)
}

fn with_quotes<'t>(message: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let before = event.fields.len();
    if message.contains("] ") {
        if let Some(form) = access::decode(message, event) {
            return Some(form);
        }
        event.fields.truncate(before);
        if [" REST.", " WEBSITE.", " BATCH."].iter().any(|operation| message.contains(operation))
            && let Some(form) = balancer::s3(message, event)
        {
            return Some(form);
        }
    }
    let is_balancer =
        ["http ", "https ", "h2 ", "grpcs ", "ws ", "wss "].iter().any(|kind| message.starts_with(kind));
    is_balancer.then(|| balancer::elb(message, event))?
}

fn with_pairs<'t>(message: &'t str, program: &str, event: &mut Event<'t>) -> Option<Form> {
    if message.contains("task_id=") || message.contains("CISE_TACACS") {
        return devices::accounting(message, program);
    }
    let first = message.as_bytes();
    let first = &first[..first.len().min(48)];
    let key = first.split(|&b| b == b'=').next().unwrap_or(first);
    if key.len() < first.len() && !key.contains(&b' ') {
        return vendor::decode(message, event);
    }
    if message.contains("SRC=") && message.contains("DST=") {
        return firewall::netfilter(message, event);
    }
    None
}

/// What the decoders' tests share.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    pub fn decoded(program: &str, file: &str, text: &str) -> (Option<Form>, Vec<String>) {
        let mut event = Event::default();
        let form =
            decode(Line { whole: text, message: text, program, file }, &mut event).map(|(_, form)| form);
        let field = |(name, value): &(_, crate::value::Value<'_>)| {
            format!("{name}={}", value.text().unwrap_or_default())
        };
        let fields = event.fields.iter().map(|(n, v)| field(&(n, v.clone()))).collect();
        (form, fields)
    }

    pub fn fields_of(text: &str) -> Vec<String> {
        decoded("", "", text).1
    }

    #[track_caller]
    pub fn has(text: &str, form: &str, fields: &[&str]) {
        has_of("", "", text, form, fields);
    }

    #[track_caller]
    pub fn has_of(program: &str, file: &str, text: &str, form: &str, fields: &[&str]) {
        let (found, all) = decoded(program, file, text);
        assert_eq!(found, Some(form), "{text}");
        for field in fields {
            assert!(all.iter().any(|f| f == field), "no {field} in {all:#?}");
        }
    }

    #[track_caller]
    pub fn none(text: &str) {
        none_of("", "", text);
    }

    #[track_caller]
    pub fn none_of(program: &str, file: &str, text: &str) {
        assert_eq!(decoded(program, file, text), (None, vec![]), "{text}");
    }
}

#[cfg(test)]
mod tests;
