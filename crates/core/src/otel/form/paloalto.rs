//! PAN-OS's comma-separated syslog: TRAFFIC, THREAT (with URL filtering, viruses), GLOBALPROTECT and the
//! rest. Source: PAN-OS Administrator's Guide, "Syslog Field Descriptions".

use super::firewall::{push_action, push_ends};
use super::text::{comma_separated, has_shape, told};
use super::url::{push_proxy_agent, push_url};
use super::{Form, PALOALTO};
use crate::otel::event::Event;

/// Columns by place, that all types share or that traffic and threat logs share.
const COLUMNS: [(usize, &str); 8] = [
    (2, "serial"),
    (3, "type"),
    (4, "subtype"),
    (11, "rule"),
    (12, "src_user"),
    (14, "app"),
    (16, "from_zone"),
    (17, "to_zone"),
];

/// `1,2026/08/05 10:15:30,007051000050479,TRAFFIC,end,…`
pub(super) fn decode<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let (_future, rest) = line.split_once(',')?;
    if !has_shape(rest, "dddd/dd/dd dd:dd:dd,") {
        return None;
    }
    let values = comma_separated(line);
    let value = |at: usize| values.get(at).copied().unwrap_or("");
    let form = match value(3) {
        "TRAFFIC" => PALOALTO[0],
        "THREAT" if value(4) == "url" => PALOALTO[1],
        "THREAT" if matches!(value(4), "virus" | "wildfire-virus" | "wildfire") => PALOALTO[2],
        "THREAT" => PALOALTO[0],
        "GLOBALPROTECT" => PALOALTO[3],
        kind if kind.len() >= 3 && kind.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') => PALOALTO[4],
        _ => return None,
    };
    let shared = if matches!(value(3), "TRAFFIC" | "THREAT") { COLUMNS.len() } else { 3 };
    for (at, name) in &COLUMNS[..shared] {
        if let Some(value) = told(value(*at)) {
            event.push(*name, value);
        }
    }
    if shared < COLUMNS.len() {
        return Some(form);
    }
    push_action(value(30), event);
    push_ends((value(7), value(24)), (value(8), value(25)), event);
    event.push("protocol", value(29));
    if form == PALOALTO[1] {
        push_url(value(31), event);
        push_proxy_agent(value(46), event);
        for (at, name) in [(49, "cs-referer"), (63, "cs-method"), (7, "c-ip"), (12, "cs-username")] {
            if let Some(value) = told(value(at)) {
                // The method stands in small letters.
                match name {
                    "cs-method" => event.push(name, value.to_ascii_uppercase()),
                    name => event.push(name, value),
                }
            }
        }
    } else if form == PALOALTO[2] {
        event.push("Filename", value(31));
        event.push("Signature", value(32));
    }
    Some(form)
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{has, none};

    #[test]
    fn traffic_and_urls() {
        let front = "2026/08/05 10:15:30,10.0.0.9,203.0.113.5,0.0.0.0,0.0.0.0,allow-web,corp\\bob,,web-browsing,vsys1,trust,untrust,ae1,ae2,fwd,,1,1,51514,80,0,0,0x0,tcp";
        let traffic = format!("1,2026/08/05 10:15:30,0070510,TRAFFIC,end,2561,{front},allow,5120,312");
        has(
            &traffic,
            "paloalto/traffic",
            &[
                "action=allow",
                "action=accept",
                "src_ip=10.0.0.9",
                "dst_port=80",
                "type=TRAFFIC",
                "rule=allow-web",
            ],
        );
        let behind = [""; 9].join(",");
        let url = format!(
            "1,2026/08/05 10:15:30,0070510,THREAT,url,2561,{front},alert,\"evil.top/a.exe?x=1,2\",(9999),malware,informational,client-to-server,1,0x0,US,DE,,text/html,0,,,1,\"Mozilla/5.0 (X11, x)\",,,\"http://r/\",{behind},fw1,,,,get,0"
        );
        has(
            &url,
            "paloalto/url",
            &[
                "c-uri=evil.top/a.exe?x=1,2",
                "cs-host=evil.top",
                "c-uri-extension=exe",
                "c-useragent=Mozilla/5.0 (X11, x)",
                "cs-referer=http://r/",
                "cs-method=GET",
            ],
        );
        let virus = format!(
            "1,2026/08/05 10:15:30,0070510,THREAT,virus,2561,{front},reset-both,\"mimi.exe\",Virus/Win32.Mimikatz(1),any,high"
        );
        has(
            &virus,
            "paloalto/virus",
            &["Signature=Virus/Win32.Mimikatz(1)", "Filename=mimi.exe", "action=denied"],
        );
        has(
            "1,2026/08/05 10:15:30,0070510,GLOBALPROTECT,0,2561,2026/08/05 10:15:30,vsys1,gateway-auth,login",
            "paloalto/globalprotect",
            &["type=GLOBALPROTECT"],
        );
    }

    #[test]
    fn other_values_with_commas_are_not() {
        none("1,2,3,TRAFFIC");
        none("1,2026/08/05 10:15:30,x,y,z");
    }
}
