//! Messages of network devices: Cisco's IOS, IOS-XE, IOS-XR, NX-OS and ASA (`%FACILITY-SEVERITY-MNEMONIC:`),
//! TACACS+ accounting, Huawei (`%%01MODULE/SEVERITY/MNEMONIC`), Juniper.

use super::firewall::{push_action, push_ends};
use super::text::{endpoint, is_ip, is_number};
use super::{CISCO_AAA, CISCO_ASA, CISCO_ROUTING, CISCO_SYSLOG, Form, HUAWEI, JUNIPER_BGP, JUNIPER_FLOW};
use crate::otel::event::Event;

/// How far into a line the mnemonic is looked for: behind a sequence number, a host and a time.
const MNEMONIC_WITHIN: usize = 160;

/// `FACILITY-SEVERITY-MNEMONIC` of Cisco's messages, whose facility may itself hold dashes.
struct Mnemonic<'t> {
    facility: &'t str,
    name: &'t str,
    /// What stands behind it.
    message: &'t str,
}

/// Finds the first `%FACILITY-5-NAME:`.
fn mnemonic(line: &str) -> Option<Mnemonic<'_>> {
    let at = line.bytes().take(MNEMONIC_WITHIN).position(|b| b == b'%')?;
    let rest = line[at..].trim_start_matches('%');
    let end = rest.find([':', ' '])?;
    let (tag, message) = (&rest[..end], rest[end..].trim_start_matches([' ', ':']));
    let (left, name) = tag.rsplit_once('-')?;
    let (facility, severity) = left.rsplit_once('-')?;
    let is_part = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
    };
    let is_severity = matches!(severity.as_bytes(), [b'0'..=b'7']);
    (is_severity && is_part(facility) && is_part(name)).then_some(Mnemonic { facility, name, message })
}

/// Any message with a Cisco mnemonic. `line` is the whole line: syslog's header may have taken the
/// mnemonic for a program.
pub(super) fn cisco<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let Mnemonic { facility, name, message } = mnemonic(line)?;
    event.push("facility", facility);
    event.push("mnemonic", name);
    if matches!(facility, "ASA" | "FTD" | "PIX" | "FWSM") {
        return Some(adaptive_security(name, message, event));
    }
    if facility == "SEC" && name.starts_with("IPACCESSLOG") {
        push_flow(message, event);
        return Some(CISCO_ASA);
    }
    // Commands that were entered, and who logged in, are what accounting is about.
    let is_aaa = matches!(
        facility,
        "PARSER"
            | "AAA"
            | "AAAA"
            | "AAA_AUDIT"
            | "TAC"
            | "TACACS"
            | "RADIUS"
            | "SEC_LOGIN"
            | "ACLLOG"
            | "HA_EM"
    ) || matches!(
        name,
        "CFGLOG_LOGGEDCMD" | "VSH_SYSLOG_CMD" | "SHELL_CMD" | "AAA_ACCOUNTING_MESSAGE" | "CONFIG_P"
    );
    if is_aaa {
        return Some(CISCO_AAA);
    }
    let is_routing = ["BGP", "LDP", "TCP"].iter().any(|part| facility.contains(part));
    Some(if is_routing { CISCO_ROUTING } else { CISCO_SYSLOG })
}

/// An ASA's message: a flow that it let through or stopped, or a command that was entered.
fn adaptive_security<'t>(number: &str, message: &'t str, event: &mut Event<'t>) -> Form {
    // 111008 to 111010: commands; 113xxx: AAA; 605004, 605005 and 611xxx: logins.
    let is_aaa =
        ["11100", "11101", "113", "6050", "611", "308"].iter().any(|start| number.starts_with(start));
    if is_aaa {
        return CISCO_AAA;
    }
    // A teardown ends a flow that was told when it was built.
    if !message.starts_with("Teardown") {
        push_flow(message, event);
    }
    CISCO_ASA
}

/// `Built inbound TCP connection 1 for outside:1.2.3.4/5 (…) to inside:10.0.0.1/80 (…)`, `Deny tcp src
/// outside:1.2.3.4/5 dst inside:10.0.0.1/80 …`, `access-list x permitted tcp inside/10.0.0.1(5) ->
/// outside/1.2.3.4(80)`, `list 100 denied tcp 1.2.3.4(5) -> 10.0.0.1(80)`
fn push_flow<'t>(message: &'t str, event: &mut Event<'t>) {
    let mut ends: Vec<(&str, &str)> = vec![];
    let mut action = "";
    let mut is_outbound = false;
    for word in message.split([' ', ',']).take(40) {
        match word {
            "Built" | "Deny" | "denied" | "permitted" | "Denied" | "Dropped" if action.is_empty() => {
                action = word
            }
            "outbound" => is_outbound = true,
            "tcp" | "udp" | "TCP" | "UDP" | "icmp" | "ICMP" => event.push("protocol", word),
            // Addresses in brackets are what they are translated to.
            word if ends.len() < 2 && !word.starts_with('(') => ends.extend(device_endpoint(word)),
            _ => {}
        }
    }
    push_action(action, event);
    if let [first, second] = ends[..] {
        // Of a connection, the foreign end is told first whoever began it.
        let (source, target) =
            if is_outbound && action == "Built" { (second, first) } else { (first, second) };
        push_ends(source, target, event);
    }
}

/// `interface:1.2.3.4/80`, `interface/1.2.3.4(80)`, `1.2.3.4/80` or `1.2.3.4`.
fn device_endpoint(word: &str) -> Option<(&str, &str)> {
    if let Some(end) = endpoint(word) {
        return Some(end);
    }
    let (_, end) = word.split_once([':', '/'])?;
    endpoint(end)
}

/// TACACS+ accounting of `tac_plus` and Cisco's ISE: `10.0.0.1 bob tty2 192.0.2.4 stop task_id=5
/// service=shell cmd=show version <cr>`.
pub(super) fn accounting(line: &str, program: &str) -> Option<Form> {
    let is_server = program.starts_with("tac_plus") || program.starts_with("tacacs");
    let is_row = line.contains("task_id=") && line.contains("service=shell") && line.contains("cmd=");
    let is_ise =
        line.contains("CISE_TACACS_Accounting") || program.starts_with("CISE_") && line.contains("CmdSet=");
    (is_row && (is_server || line.contains("<cr>")) || is_ise).then_some(CISCO_AAA)
}

/// `%%01BGP/3/BGP_AUTH_FAILED(l)[12]:BGP session authentication failed. (PeerAddress=…)`
pub(super) fn huawei<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let at = line.as_bytes().windows(2).take(MNEMONIC_WITHIN).position(|two| two == b"%%")?;
    let rest = line[at + 2..].trim_start_matches(|c: char| c.is_ascii_digit());
    let mut parts = rest.splitn(3, '/');
    let (module, severity, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let name = rest.split(['(', ':', '[']).next().unwrap_or("");
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    if !is_number(severity) || !is_name(module) || !is_name(name) {
        return None;
    }
    event.push("module", module);
    event.push("mnemonic", name);
    Some(HUAWEI)
}

/// Juniper's routing daemon, its kernel's complaints about TCP signatures, and SRX flows.
pub(super) fn juniper<'t>(
    line: &'t str,
    whole: &'t str,
    program: &str,
    event: &mut Event<'t>,
) -> Option<Form> {
    if program == "RT_FLOW" || line.starts_with("RT_FLOW_SESSION_") {
        return session(line, whole, event);
    }
    let is_bgp = line.starts_with("bgp_") || line.starts_with("BGP_") || line.starts_with("RPD_BGP_");
    let is_tcp = line.starts_with("tcp_auth_ok") || line.contains("missing MD5 digest");
    (program == "rpd" && is_bgp || is_tcp).then_some(JUNIPER_BGP)
}

/// `RT_FLOW_SESSION_CREATE: session created 10.0.0.1/1->203.0.113.5/80 …`, or with structured data:
/// `… source-address="10.0.0.1" …`
fn session<'t>(line: &'t str, whole: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let at = whole.find("RT_FLOW_SESSION_")?;
    let what = &whole[at..];
    let action = if what.starts_with("RT_FLOW_SESSION_DENY") { "deny" } else { "permit" };
    if what.contains("source-address=\"") {
        let pairs = super::text::pairs(what);
        let get = |key: &str| super::text::get(&pairs, key).unwrap_or("");
        let ends = [get("source-address"), get("destination-address")];
        if !ends.iter().all(|address| is_ip(address)) {
            return None;
        }
        push_ends((ends[0], get("source-port")), (ends[1], get("destination-port")), event);
    } else {
        let arrow = line.find("->")?;
        let source = line[..arrow].rsplit(' ').next().unwrap_or("");
        let target = line[arrow + 2..].split(' ').next().unwrap_or("");
        push_ends(endpoint(source)?, endpoint(target)?, event);
    }
    push_action(action, event);
    Some(JUNIPER_FLOW)
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{has, has_of, none, none_of};

    #[test]
    fn cisco_by_facility() {
        has(
            "45: *Aug  5 10:15:30.123: %PARSER-5-CFGLOG_LOGGEDCMD: User:bob  logged command:no logging host",
            "cisco/aaa",
            &["facility=PARSER"],
        );
        has(
            "%SYS-5-CONFIG_I: Configured from console by bob on vty0 (10.0.0.9)",
            "cisco/syslog",
            &["mnemonic=CONFIG_I"],
        );
        has(
            "RP/0/RSP0/CPU0:Aug  5 10:15:30.123 UTC: tcp[409]: %IP-TCP-3-BADAUTH : Invalid MD5 digest from 10.1.1.1:4711 to 10.1.1.2:179",
            "cisco/routing",
            &["facility=IP-TCP"],
        );
        has("%SEC_LOGIN-5-LOGIN_SUCCESS: Login Success [user: bob]", "cisco/aaa", &[]);
        none("100% of it - 5 - done: yes");
        none("%d-1-x: y");
    }

    #[test]
    fn an_adaptive_appliance_tells_flows() {
        let built = "%ASA-6-302013: Built outbound TCP connection 1 for outside:203.0.113.5/8080 (203.0.113.5/8080) to inside:10.0.0.9/51514 (198.51.100.1/51514)";
        has(
            built,
            "cisco/asa",
            &["action=accept", "src_ip=10.0.0.9", "dst_ip=203.0.113.5", "dst_port=8080", "protocol=TCP"],
        );
        let deny = "%ASA-4-106023: Deny tcp src outside:203.0.113.9/51514 dst inside:10.0.0.1/23 by access-group \"out\" [0x0, 0x0]";
        has(deny, "cisco/asa", &["action=denied", "src_ip=203.0.113.9", "dst_port=23"]);
        let list = "%ASA-6-106100: access-list in permitted tcp inside/10.0.0.9(51514) -> outside/203.0.113.5(80) hit-cnt 1 first hit [0x0, 0x0]";
        has(list, "cisco/asa", &["action=accept", "dst_ip=203.0.113.5", "dst_port=80"]);
        has("%ASA-5-111008: User 'enable_15' executed the 'no logging' command.", "cisco/aaa", &[]);
        let router = "%SEC-6-IPACCESSLOGP: list 100 denied tcp 203.0.113.9(51514) -> 10.0.0.1(23), 1 packet";
        has(router, "cisco/asa", &["action=denied", "dst_port=23", "src_ip=203.0.113.9"]);
    }

    #[test]
    fn accounting_of_commands() {
        let row = "10.0.0.1\tbob\ttty2\t192.0.2.4\tstop\ttask_id=5\tstart_time=1\tservice=shell\tpriv-lvl=15\tcmd=show running-config <cr>";
        has(row, "cisco/aaa", &[]);
        has_of(
            "tac_plus",
            "",
            "10.0.0.1 bob tty2 192.0.2.4 stop task_id=5 service=shell cmd=erase",
            "cisco/aaa",
            &[],
        );
    }

    #[test]
    fn huawei_and_juniper() {
        has(
            "Aug  5 2026 10:15:30 HW %%01BGP/3/BGP_AUTH_FAILED(l)[12]:BGP session authentication failed. (LocalAddr=10.1.1.1:179)",
            "huawei",
            &["module=BGP", "mnemonic=BGP_AUTH_FAILED"],
        );
        has_of("kernel", "", "tcp_auth_ok: Packet from 10.1.1.1:179 missing MD5 digest", "juniper/bgp", &[]);
        has_of("rpd", "", "bgp_recv: read from peer 10.1.1.1 (External AS 65000) failed", "juniper/bgp", &[]);
        none_of("rpd", "", "task_connect: x");
        has_of(
            "RT_FLOW",
            "",
            "RT_FLOW_SESSION_CREATE: session created 10.0.0.9/51514->203.0.113.5/23 junos-telnet",
            "juniper/flow",
            &["action=accept", "dst_port=23"],
        );
        let structured = r#"RT_FLOW_SESSION_DENY [junos@2636 source-address="10.0.0.9" source-port="1" destination-address="203.0.113.5" destination-port="23"]"#;
        has_of("RT_FLOW", "", structured, "juniper/flow", &["action=denied", "dst_ip=203.0.113.5"]);
    }
}
