//! Lines of `key=value` pairs as appliances write them: Fortinet, SonicWall, Sophos, Zscaler's feed.
//!
//! Only lines that carry the marks of one of these are taken: many programs write pairs. Fields keep
//! the vendor's names; `action`, ends of flows and URLs are added under Sigma's.

use super::firewall::{push_action, push_ends};
use super::text::{endpoint, get, is_ip, pairs};
use super::url::{push_host, push_proxy_agent, push_url};
use super::{FORTINET, Form, PROXY_ZSCALER, SONICWALL, SOPHOS};
use crate::otel::event::Event;
use crate::value::Value;

type Pairs<'t> = [(&'t str, &'t str)];

/// Decodes a line that begins with a pair.
pub(super) fn decode<'t>(line: &'t str, event: &mut Event<'t>) -> Option<Form> {
    let found = pairs(line);
    let has = |key: &str| get(&found, key).is_some();
    let form = if has("devid") && has("type") || has("logid") && has("type") && has("subtype") {
        fortinet(&found, event)
    } else if has("sn") && has("fw") && has("id") {
        sonicwall(&found, event)
    } else if has("log_type")
        && (has("log_component") || has("log_subtype"))
        && (has("device_id") || has("device") || has("device_serial_id"))
    {
        sophos(&found, event)
    } else if has("url")
        && has("useragent")
        && has("requestmethod")
        && (has("urlclass") || has("urlcategory") || has("transactionsize"))
    {
        zscaler(&found, event)
    } else {
        return None;
    };
    for (key, value) in found {
        // What is known under its own name already is not repeated.
        if !event.fields.iter().any(|(name, _)| name == key) {
            event.push(key, value);
        }
    }
    Some(form)
}

/// FortiOS: `type` and `subtype` say which log it is.
fn fortinet<'t>(found: &Pairs<'t>, event: &mut Event<'t>) -> Form {
    let value = |key: &str| get(found, key).unwrap_or("");
    let end = |address: &str, port: &str| (value(address), value(port));
    match (value("type"), value("subtype")) {
        ("event", _) => {
            event.push("action", value("action"));
            return FORTINET[0];
        }
        ("traffic", _) => {
            push_action(value("action"), event);
            push_ends(end("srcip", "srcport"), end("dstip", "dstport"), event);
            return FORTINET[1];
        }
        ("utm", "webfilter") | ("webfilter", _) => {
            web(value("hostname"), value("url"), event);
            if let Some(agent) = get(found, "agent") {
                push_proxy_agent(agent, event);
            }
            for (name, key) in [("cs-method", "httpmethod"), ("c-ip", "srcip"), ("cs-username", "user")] {
                if let Some(value) = get(found, key) {
                    event.push(name, value);
                }
            }
            return FORTINET[2];
        }
        ("utm", "dns") | ("dns", _) => {
            for (name, key) in
                [("query", "qname"), ("record_type", "qtype"), ("answer", "ipaddr"), ("src_ip", "srcip")]
            {
                if let Some(value) = get(found, key) {
                    event.push(name, value);
                }
            }
            return FORTINET[3];
        }
        ("utm", "virus") | ("virus", _) => {
            for (name, key) in [("Signature", "virus"), ("Filename", "filename")] {
                if let Some(value) = get(found, key) {
                    event.push(name, value);
                }
            }
            return FORTINET[4];
        }
        _ => {}
    }
    push_action(value("action"), event);
    push_ends(end("srcip", "srcport"), end("dstip", "dstport"), event);
    FORTINET[5]
}

/// A URL whose host may stand apart.
fn web<'t>(host: &'t str, url: &'t str, event: &mut Event<'t>) {
    if !url.starts_with('/') || host.is_empty() {
        push_url(url, event);
        if !host.is_empty() && event.field("cs-host").is_none() {
            push_host(host, event);
        }
        return;
    }
    let whole = format!("{host}{url}");
    let mut own = Event::default();
    push_url(&whole, &mut own);
    event.absorb(own);
}

/// SonicOS: `src=10.0.0.1:51514:X0 dst=203.0.113.5:80:X1 proto=tcp/http fw_action="drop"`
fn sonicwall<'t>(found: &Pairs<'t>, event: &mut Event<'t>) -> Form {
    let value = |key: &str| get(found, key).unwrap_or("");
    let end = |key: &str| {
        let mut parts = value(key).splitn(3, ':');
        (parts.next().unwrap_or(""), parts.next().unwrap_or(""))
    };
    push_action(value("fw_action"), event);
    push_ends(end("src"), end("dst"), event);
    event.push("protocol", value("proto").split('/').next().unwrap_or(""));
    if !value("dstname").is_empty() && !value("arg").is_empty() {
        web(value("dstname"), value("arg"), event);
    }
    SONICWALL
}

fn sophos<'t>(found: &Pairs<'t>, event: &mut Event<'t>) -> Form {
    let value = |key: &str| get(found, key).unwrap_or("");
    if let Some(url) = get(found, "url") {
        push_url(url, event);
        if let Some(agent) = get(found, "user_agent") {
            push_proxy_agent(agent, event);
        }
        push_status(value("status_code"), event);
        return SOPHOS[1];
    }
    push_action(value("log_subtype"), event);
    push_ends((value("src_ip"), value("src_port")), (value("dst_ip"), value("dst_port")), event);
    SOPHOS[0]
}

/// Zscaler's Nanolog feed as pairs: `action=Allowed … url=host/path useragent=… requestmethod=GET`
fn zscaler<'t>(found: &Pairs<'t>, event: &mut Event<'t>) -> Form {
    let value = |key: &str| get(found, key).unwrap_or("");
    push_url(value("url"), event);
    push_proxy_agent(value("useragent"), event);
    event.push("cs-method", value("requestmethod"));
    push_status(value("status"), event);
    let client = ["clientip", "ClientIP", "cip"].iter().find_map(|key| get(found, key)).unwrap_or("");
    if is_ip(client) {
        event.push("c-ip", client);
    }
    if let Some((address, _)) = get(found, "serverip").and_then(endpoint) {
        event.push("dst_ip", address);
    }
    PROXY_ZSCALER
}

fn push_status(status: &str, event: &mut Event<'_>) {
    if super::text::is_status(status) {
        event.push("sc-status", status.parse().map_or(Value::Null, Value::Int));
    }
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{has, none};

    #[test]
    fn fortinet_logs() {
        let event = r#"<189>date=2026-08-05 time=10:15:30 devname="FGT1" devid="FGT60F" logid="0100044547" type="event" subtype="system" level="information" user="admin" action="Add" cfgpath="system.admin" cfgobj="eve" msg="Add system.admin eve""#;
        has(event, "fortinet/event", &["action=Add", "cfgpath=system.admin", "user=admin"]);
        let traffic = r#"date=2026-08-05 time=10:15:30 devid="FGT60F" logid="0000000013" type="traffic" subtype="forward" srcip=10.0.0.9 srcport=51514 dstip=203.0.113.5 dstport=23 proto=6 action="accept""#;
        has(
            traffic,
            "fortinet/traffic",
            &["action=accept", "src_ip=10.0.0.9", "dst_port=23", "blocked=false", "proto=6"],
        );
        let web = r#"date=2026-08-05 devid="FGT60F" type="utm" subtype="webfilter" srcip=10.0.0.9 hostname="evil.top" url="/a.exe" action="passthrough" agent="curl/8""#;
        has(
            web,
            "fortinet/web",
            &[
                "c-uri=evil.top/a.exe",
                "cs-host=evil.top",
                "c-uri-extension=exe",
                "c-useragent=curl/8",
                "action=passthrough",
            ],
        );
        let whole = r#"date=2026-08-05 devid="FGT60F" type="utm" subtype="webfilter" hostname="evil.top" url="https://evil.top/a.exe""#;
        has(whole, "fortinet/web", &["c-uri=https://evil.top/a.exe"]);
        let dns = r#"date=2026-08-05 devid="F" type="utm" subtype="dns" srcip=10.0.0.9 qname="evil.top" qtype="A" ipaddr="203.0.113.5""#;
        has(dns, "fortinet/dns", &["query=evil.top", "record_type=A", "answer=203.0.113.5"]);
        let virus = r#"date=2026-08-05 devid="F" type="utm" subtype="virus" virus="EICAR_TEST_FILE" filename="eicar.com""#;
        has(virus, "fortinet/virus", &["Signature=EICAR_TEST_FILE", "Filename=eicar.com"]);
    }

    #[test]
    fn other_vendors() {
        let sonicwall = r#"id=NSA3600  sn=C0EAE4599999 time="2019-02-27 12:55:40 UTC" fw=2.228.169.242 pri=5 c=0 m=97 msg="x" n=4748427 src=10.12.14.9:51514:X0-V500 dst=217.56.236.4:80:X3 proto=tcp/http dstname=evil.top arg=/a.exe fw_action="forward""#;
        has(
            sonicwall,
            "sonicwall",
            &["src_ip=10.12.14.9", "dst_port=80", "action=forward", "action=accept", "cs-host=evil.top"],
        );
        let sophos = r#"device="SFW" date=2026-08-05 device_id=C1 log_type="Firewall" log_component="Firewall Rule" log_subtype="Allowed" src_ip=10.0.0.9 src_port=1 dst_ip=203.0.113.5 dst_port=21"#;
        has(sophos, "sophos/firewall", &["action=accept", "dst_port=21"]);
        let zscaler = "2026-08-05 10:15:30\treason=Allowed\tevent_id=1\tprotocol=HTTP\taction=Allowed\ttransactionsize=6\turl=evil.top/a.exe\tuseragent=curl/8\trequestmethod=GET\tstatus=200\tclientip=10.0.0.9\turlclass=x";
        has(
            zscaler,
            "proxy/zscaler",
            &[
                "c-uri=evil.top/a.exe",
                "cs-host=evil.top",
                "c-useragent=curl/8",
                "cs-method=GET",
                "sc-status=200",
            ],
        );
    }

    #[test]
    fn pairs_of_programs_are_not_an_appliances() {
        none(
            r#"time="2025-03-13T14:01:02+02:00" level=error msg="user not found" method=POST path=/api remote_ip=192.0.2.1"#,
        );
        none("type=LOGIN_ERROR, realmId=x, clientId=y, ipAddress=1.2.3.4");
    }
}
