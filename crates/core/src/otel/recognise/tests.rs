//! Records of every source, from the row to class, host, fields and text.

use super::*;
use crate::rule::LogSource;
use proptest::prelude::*;
use std::sync::LazyLock;

static TAXONOMY: LazyLock<Taxonomy> = LazyLock::new(|| Taxonomy::builtin().unwrap());

/// What a record became.
#[derive(Debug)]
struct Seen {
    class: String,
    host: String,
    fields: Vec<String>,
    texts: Vec<String>,
    fault: Option<String>,
}

fn seen(record: &LogRecord<'_>) -> Seen {
    let event = TAXONOMY.events(record).remove(0);
    let text = |value: &Value<'_>| value.text().map_or("null".into(), Cow::into_owned);
    Seen {
        class: event.class.map_or("none".into(), |id| TAXONOMY.classes[usize::from(id.0)].name.clone()),
        host: event.host.to_string(),
        fields: event.fields.iter().map(|(name, value)| format!("{name}={}", text(value))).collect(),
        texts: event.texts.iter().map(|text| text.to_string()).collect(),
        fault: event.fault,
    }
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A record with this body, these attributes and this resource.
fn row<'a>(body: &'a str, attributes: Pairs<'a>, resource: Pairs<'a>) -> LogRecord<'a> {
    let pairs =
        |pairs: Pairs<'a>| pairs.iter().map(|(k, v)| (Cow::Borrowed(*k), Cow::Borrowed(*v))).collect();
    LogRecord {
        body: body.into(),
        attributes_string: pairs(attributes),
        resources: pairs(resource),
        ..LogRecord::default()
    }
}

#[track_caller]
fn check(record: LogRecord<'_>, class: &str, host: &str, fields: &[&str]) {
    let seen = seen(&record);
    assert_eq!((seen.class.as_str(), seen.host.as_str()), (class, host), "{seen:#?}");
    for field in fields {
        assert!(seen.fields.iter().any(|f| f == field), "no {field} in {seen:#?}");
    }
}

/// Whether a rule for this log source would see events of the class.
fn covered(class: &str, product: &str, category: &str, service: &str) -> bool {
    let part = |part: &str| (!part.is_empty()).then(|| part.to_owned());
    let rule = LogSource { product: part(product), category: part(category), service: part(service) };
    let mut classes = TAXONOMY.classes.iter().filter(|c| c.name == class);
    classes.any(|class| class.views.iter().any(|view| rule.covers(&view.logsource)))
}

const FAILED: &str = "Aug  5 10:15:30 lin01 sshd[1234]: Failed password for invalid user admin from 203.0.113.9 port 51514 ssh2";

#[test]
fn a_line_of_auth_log_is_sshds() {
    let file = [("log.file.name", "auth.log")];
    check(
        row(FAILED, &file, &[("host.name", "relay")]),
        "linux/sshd",
        "lin01",
        &["user=admin", "src_ip=203.0.113.9", "src_port=51514"],
    );
    let seen = seen(&row(FAILED, &file, &[]));
    assert_eq!(seen.texts, [FAILED], "keyword rules see the line, and nothing of ours");
    assert!(!seen.fields.iter().any(|field| field.contains("auth.log")));
    for (product, category, service) in [("linux", "", "sshd"), ("linux", "", "auth"), ("linux", "", "")] {
        assert!(covered("linux/sshd", product, category, service));
    }
    assert!(!covered("linux/sshd", "windows", "", ""));
    assert!(!covered("linux/sshd", "linux", "process_creation", ""));
}

#[test]
fn the_syslog_receivers_attributes_tell_program_and_host() {
    let raw = format!("<38>{FAILED}");
    let attributes =
        [("appname", "sshd"), ("hostname", "lin01"), ("message", &FAILED[35..]), ("proc_id", "1234")];
    check(row(&raw, &attributes, &[("host.name", "relay")]), "linux/sshd", "lin01", &["user=admin"]);
    // SigNoz's recipe moves the message into the body.
    let moved = [("appname", "sshd"), ("hostname", "lin01"), ("proc_id", "1234")];
    check(row(&FAILED[35..], &moved, &[("host.name", "relay")]), "linux/sshd", "lin01", &["user=admin"]);
}

#[test]
fn journald_entries_are_their_program() {
    let body = r#"{"MESSAGE":"Accepted publickey for bob from 198.51.100.7 port 60022 ssh2","PRIORITY":"6","SYSLOG_IDENTIFIER":"sshd","_HOSTNAME":"lin01","_TRANSPORT":"syslog","__CURSOR":"s=1"}"#;
    check(row(body, &[], &[("host.name", "other")]), "linux/sshd", "lin01", &["user=bob", "PRIORITY=6"]);
    assert_eq!(
        seen(&row(body, &[], &[])).texts,
        ["Accepted publickey for bob from 198.51.100.7 port 60022 ssh2"]
    );
    let bytes = r#"{"MESSAGE":[82,69,80],"_COMM":"cron","_HOSTNAME":"h","__CURSOR":"s"}"#;
    check(row(bytes, &[], &[]), "linux/cron", "h", &[]);
    assert_eq!(seen(&row(bytes, &[], &[])).texts, ["REP"]);
}

#[test]
fn audit_records_come_as_file_syslog_and_journal() {
    let record = "type=SYSCALL msg=audit(1.2:3): arch=c000003e syscall=59 exe=\"/usr/bin/cat\"";
    let wanted = &["type=SYSCALL", "SYSCALL=execve", "exe=/usr/bin/cat"];
    check(row(record, &[("log.file.name", "audit.log")], &[("host.name", "h")]), "linux/auditd", "h", wanted);
    let syslog = format!("Aug  5 10:15:30 lin01 audispd: node=lin02 {record}");
    check(row(&syslog, &[], &[]), "linux/auditd", "lin02", wanted);
    let journal = r#"{"MESSAGE":"SYSCALL arch=c000003e syscall=59 exe=\"/usr/bin/cat\"","_TRANSPORT":"audit","_AUDIT_TYPE_NAME":"SYSCALL","_AUDIT_ID":"3","_HOSTNAME":"h","__CURSOR":"s"}"#;
    check(row(journal, &[], &[]), "linux/auditd", "h", wanted);
}

const SYSMON: &str = r#"<Event><System><Provider Name="Linux-Sysmon" Guid="{f}"/><EventID>1</EventID><Channel>Linux-Sysmon/Operational</Channel><Computer>lin01</Computer></System><EventData><Data Name="Image">/usr/bin/cat</Data><Data Name="CommandLine">cat "a&lt;b"</Data></EventData></Event>"#;

#[test]
fn sysmon_for_linux_is_linux_however_it_comes() {
    let wanted = &["Image=/usr/bin/cat", "CommandLine=cat \"a<b\"", "EventID=1"];
    let line = format!("Aug  5 10:15:30 lin01 sysmon: {SYSMON}");
    let json =
        serde_json::json!({"MESSAGE": SYSMON, "SYSLOG_IDENTIFIER": "sysmon", "__CURSOR": "s"}).to_string();
    let wrapped = serde_json::json!({"SyslogMessage": SYSMON, "Computer": "lin01"}).to_string();
    for body in [&line, &json, &json.replace('<', "\\u003c"), &wrapped] {
        check(row(body, &[], &[]), "linux/sysmon/1", "lin01", wanted);
    }
    check(row("", &[("appname", "sysmon"), ("message", SYSMON)], &[]), "linux/sysmon/1", "lin01", wanted);
    assert!(covered("linux/sysmon/1", "linux", "process_creation", ""));
    assert!(!covered("linux/sysmon/1", "windows", "process_creation", ""));
}

#[test]
fn programs_have_their_services() {
    for (line, class) in [
        (
            "Aug  5 10:15:30 h sudo[4]:      bob : TTY=pts/0 ; PWD=/home/bob ; USER=#-1 ; COMMAND=/usr/bin/id",
            "linux/sudo",
        ),
        ("Aug  5 10:15:30 h su: x", "linux/su"),
        ("Aug  5 10:15:30 h CRON[1]: (root) REPLACE", "linux/cron"),
        ("Aug  5 10:15:30 h clamd[1]: x FOUND", "linux/clamav"),
        ("Aug  5 10:15:30 h vsftpd[1]: x", "linux/vsftpd"),
        ("Aug  5 10:15:30 h guacd[1]: x", "linux/guacamole"),
        ("Aug  5 10:15:30 h useradd[1]: new user", "linux/auth"),
        ("<86>Aug  5 10:15:30 h vendor: x", "linux/auth"),
        ("Aug  5 10:15:30 h kernel: x", "linux/syslog"),
    ] {
        check(row(line, &[], &[]), class, "h", &[]);
    }
    let virus = "Aug  5 10:15:30 h clamd[1]: /srv/www/x.php: Php.Webshell.Generic-1(0a1b:77) FOUND";
    check(
        row(virus, &[], &[]),
        "linux/clamav",
        "h",
        &["clamav.file=/srv/www/x.php", "clamav.signature=Php.Webshell.Generic-1"],
    );
    assert!(covered("linux/clamav", "", "antivirus", ""));
    let sudo =
        "Aug  5 10:15:30 h sudo[4]:      bob : TTY=pts/0 ; PWD=/home/bob ; USER=#-1 ; COMMAND=/usr/bin/id";
    check(
        row(sudo, &[], &[]),
        "linux/sudo",
        "h",
        &["USER=#-1", "COMMAND=/usr/bin/id", "user=bob", "PWD=/home/bob"],
    );
    let pam = "Aug  5 10:15:30 h sshd[4]: pam_unix(sshd:auth): authentication failure; logname= uid=0 ruser= rhost=1.2.3.4  user=root";
    check(
        row(pam, &[], &[]),
        "linux/sshd",
        "h",
        &["pam_message=authentication failure", "src_ip=1.2.3.4", "user=root"],
    );
}

const ACCESS: &str =
    r#"10.1.2.3 - - [05/Aug/2026:10:15:30 +0000] "GET /../etc?q=1 HTTP/1.1" 200 12 "-" "curl/8""#;

#[test]
fn access_lines_are_the_web_servers() {
    let wanted = &[
        "cs-method=GET",
        "cs-uri-query=/../etc?q=1",
        "sc-status=200",
        "cs-user-agent=curl/8",
        "c-ip=10.1.2.3",
    ];
    check(row(ACCESS, &[], &[]), "web/access", "", wanted);
    check(row(ACCESS, &[("source", "nginx")], &[("host.name", "h")]), "web/nginx/access", "h", wanted);
    check(
        row(ACCESS, &[("log.file.path", "/var/log/apache2/access.log")], &[]),
        "web/apache/access",
        "",
        wanted,
    );
    let pod = [("k8s.container.name", "nginx"), ("k8s.node.name", "node1")];
    check(row(ACCESS, &[("log.iostream", "stdout")], &pod), "web/nginx/access", "node1", wanted);
    let docker =
        serde_json::json!({"log": format!("{ACCESS}\n"), "stream": "stdout", "time": "t"}).to_string();
    check(row(&docker, &[], &[("container.name", "my-nginx")]), "web/nginx/access", "", wanted);
    let mode = serde_json::json!({"message": ACCESS}).to_string();
    check(row(&mode, &[], &[]), "web/access", "", wanted);
    for (product, category, service) in [("", "webserver", ""), ("nginx", "", "access"), ("", "", "nginx")] {
        assert!(covered("web/nginx/access", product, category, service), "{product}/{category}/{service}");
    }
}

#[test]
fn a_json_access_log_has_the_same_sigma_fields() {
    let body = r#"{"remote_addr":"10.1.2.3","request":"GET /a?q=1 HTTP/1.1","status":"200","http_user_agent":"curl/8"}"#;
    check(row(body, &[], &[]), "web/nginx/json", "", &["web.method=GET", "web.target=/a?q=1", "web.path=/a"]);
    let class = TAXONOMY.classes.iter().find(|class| class.name == "web/nginx/json").unwrap();
    assert!(class.views[0].native("cs-uri-query").contains(&"web.target"));
    assert!(class.views[0].native("sc-status").contains(&"status"));
}

#[test]
fn lines_of_known_forms_are_their_class_however_they_come() {
    let query = "query[A] evil.example from 192.0.2.1";
    let wanted = &["query=evil.example", "record_type=A", "src_ip=192.0.2.1"];
    check(row(&format!("Aug  5 10:15:30 ns dnsmasq[7]: {query}"), &[], &[]), "dns/named", "ns", wanted);
    check(row(query, &[("appname", "dnsmasq"), ("hostname", "ns")], &[]), "dns/named", "ns", wanted);
    let journal = serde_json::json!({"MESSAGE": query, "SYSLOG_IDENTIFIER": "dnsmasq", "_HOSTNAME": "ns", "__CURSOR": "s"});
    check(row(&journal.to_string(), &[], &[]), "dns/named", "ns", wanted);
    let squid =
        "1628158530.123 12 10.0.0.9 TCP_MISS/200 5 GET http://evil.top/a\"b - HIER_DIRECT/203.0.113.5 -";
    let docker =
        serde_json::json!({"log": format!("{squid}\n"), "stream": "stdout", "time": "t"}).to_string();
    check(row(&docker, &[], &[]), "proxy/squid", "", &["c-uri=http://evil.top/a\"b", "cs-host=evil.top"]);
    let asa = "<166>Aug 05 2026 10:15:30 fw1 : %ASA-4-106023: Deny tcp src outside:203.0.113.9/5 dst inside:10.0.0.1/23 by x";
    check(row(asa, &[], &[]), "cisco/asa", "fw1", &["action=denied", "src_ip=203.0.113.9"]);
    assert_eq!(seen(&row(asa, &[], &[])).texts, [asa], "keyword rules see the whole line");
    for (product, category, service) in [("", "dns", ""), ("linux", "", "syslog"), ("dns", "", "")] {
        assert!(covered("dns/named", product, category, service), "{product}/{category}/{service}");
    }
}

#[test]
fn a_document_in_a_syslog_line_is_what_it_says_else_a_line_of_syslog() {
    let caddy = r#"{"request":{"method":"GET","uri":"/a?b","remote_ip":"10.1.2.3"},"status":404}"#;
    check(
        row(&format!("Aug  5 10:15:30 w caddy[1]: {caddy}"), &[], &[]),
        "web/caddy/json",
        "w",
        &["web.query=b"],
    );
    check(row(r#"Aug  5 10:15:30 h app[1]: {"a":1}"#, &[], &[]), "linux/syslog", "h", &["a=1"]);
}

#[test]
fn error_logs_need_no_name() {
    let apache = "[Fri Oct 08 17:08:41.123 2026] [core:error] [pid 1] [client 203.0.113.9:5] AH00126: x";
    check(row(apache, &[], &[]), "web/apache/error", "", &["c-ip=203.0.113.9"]);
    let nginx = "2026/08/05 10:15:30 [error] 7#7: *1 x, client: 203.0.113.9, server: s";
    check(row(nginx, &[], &[]), "web/nginx/error", "", &["c-ip=203.0.113.9"]);
    check(row(&format!("Aug  5 10:15:30 w nginx: {nginx}"), &[], &[]), "web/nginx/error", "w", &["server=s"]);
}

#[test]
fn documents_of_clouds_are_known_by_their_fields() {
    for (body, class, field) in [
        (
            r#"{"eventVersion":"1.08","eventSource":"iam.amazonaws.com","eventName":"CreateUser","userIdentity":{"type":"Root"}}"#,
            "aws/cloudtrail",
            "userIdentity.type=Root",
        ),
        (
            r#"{"kind":"Event","apiVersion":"audit.k8s.io\/v1","verb":"create","objectRef":{"resource":"pods"}}"#,
            "kubernetes/audit",
            "objectRef.resource=pods",
        ),
        (
            r#"{"Workload":"Exchange","Operation":"Set-Mailbox","RecordType":1}"#,
            "m365/audit",
            "Operation=Set-Mailbox",
        ),
        (r#"{"_path":"dns","query":"x.com","id.orig_h":"1.2.3.4"}"#, "zeek/dns", "id.orig_h=1.2.3.4"),
        (r#"{"unknown":true}"#, "none", "unknown=true"),
    ] {
        check(row(body, &[], &[]), class, "", &[field]);
    }
    let encoded = [
        ("rpc.service", "iam.amazonaws.com"),
        ("rpc.method", "CreateUser"),
        ("aws.request.parameters", r#"{"a":{"b":"c"}}"#),
    ];
    check(row("", &encoded, &[]), "aws/cloudtrail/attributes", "", &["requestParameters.a.b=c"]);
}

#[test]
fn containers_text_is_for_application_rules() {
    let pod = [("k8s.container.name", "shop"), ("k8s.node.name", "n1")];
    let seen = seen(&row("Traceback: SuspiciousOperation", &[("log.iostream", "stderr")], &pod));
    assert_eq!((seen.class.as_str(), seen.host.as_str()), ("application/container", "n1"));
    assert_eq!((seen.texts.len(), seen.fields.len()), (1, 0));
    check(row("x", &[], &[("telemetry.sdk.language", "python")]), "application/python", "", &[]);
    check(row("any line", &[], &[("os.type", "linux"), ("host.name", "h")]), "linux", "h", &[]);
}

#[test]
fn a_parsers_attributes_are_fields_of_the_line() {
    let attributes = [("pam_user", "root"), ("log.file.name", "auth.log"), ("nested", r#"{"a":"b"}"#)];
    check(row("odd line", &attributes, &[]), "linux/auth", "", &["pam_user=root", "nested.a=b"]);
}

#[test]
fn the_hosts_order_is_origin_before_forwarder() {
    let fingerprint =
        |text: &'static str| LogRecord { resource_fingerprint: text.into(), ..LogRecord::default() };
    assert_eq!(seen(&fingerprint("host.name=lin01;hash=1")).host, "lin01");
    assert_eq!(seen(&fingerprint("hash=1")).host, "");
    let server = row("x", &[("server.address", "dc1")], &[]);
    assert_eq!(seen(&server).host, "dc1");
    let event = r#"{"channel":"Security","computer":"DC01","event_id":{"id":1}}"#;
    assert_eq!(seen(&row(event, &[("hostname", "x")], &[("host.name", "wec")])).host, "DC01");
}

#[test]
fn broken_and_endless_bodies_keep_what_can_be_kept() {
    let cut = seen(&row(
        r#"{"channel":"Security","event_id":{"id":4625},"event_data":{"IpAddress":"1.2.3.4","Lo"#,
        &[],
        &[],
    ));
    assert_eq!(cut.class, "windows/security");
    assert!(cut.fields.iter().any(|field| field == "IpAddress=1.2.3.4"));
    assert!(cut.fault.unwrap().starts_with("broken JSON at byte "));
    assert_eq!(cut.texts.len(), 1);
    let long = "ä".repeat(BODY_BYTES_MAX);
    let long = seen(&row(&long, &[], &[]));
    assert_eq!(long.texts[0].len(), BODY_BYTES_MAX);
    assert!(long.fault.unwrap().contains("is read up to byte"));
    let deep = format!("{}1", "[".repeat(100_000));
    assert!(seen(&row(&deep, &[], &[])).fault.is_none());
    let text = "[Fri Oct 08 17:08:41 2021] [core:error] x";
    let text = seen(&row(text, &[("log.file.path", "/var/log/apache2/error.log")], &[]));
    assert_eq!((text.class.as_str(), text.texts.len(), text.fault), ("web/apache/error", 1, None));
}

#[test]
fn the_shipped_files_name_what_is_wrong_with_them() {
    let problem =
        Taxonomy::from_files(&[("a.yaml", "version: 1\nsources:\n  - class: x\n    wen: {}\n")]).unwrap_err();
    assert_eq!((problem.path.as_str(), problem.line), ("a.yaml", 4), "{problem}");
    assert!(problem.message.contains("wen"), "{problem}");
    let unknown = "version: 1\nchannels:\n  product: p\n  services: {}\n  categories: {c: [{service: s, event_id: [1]}]}\n";
    assert!(Taxonomy::from_files(&[("b.yaml", unknown)]).unwrap_err().message.contains("unknown service s"));
    assert!(Taxonomy::from_files(&[("c.yaml", "version: 2\n")]).is_err());
}

#[test]
fn every_class_has_a_view_and_every_mapping_a_sensible_name() {
    for class in &TAXONOMY.classes {
        assert!(!class.views.is_empty(), "{}", class.name);
        for view in &class.views {
            let LogSource { product, category, service } = &view.logsource;
            for part in [product, category, service].into_iter().flatten() {
                assert_eq!(part, &part.to_lowercase(), "{}", class.name);
            }
        }
    }
    assert!(TAXONOMY.classes.len() < usize::from(u16::MAX));
}

#[test]
fn what_is_computed_is_what_views_ask_for() {
    use crate::otel::derive::Derive;
    for (class, steps) in TAXONOMY.classes.iter().zip(&TAXONOMY.derive) {
        let native = || class.views.iter().flat_map(|view| view.fields.values().flatten());
        for step in steps {
            let into = match step {
                Derive::Decimal(step)
                | Derive::Hashes(step)
                | Derive::DosPath(step)
                | Derive::Blanks(step)
                | Derive::Object(step) => &step.into,
                Derive::Account { into, .. }
                | Derive::Lookup { into, .. }
                | Derive::Url { into, .. }
                | Derive::RegistryPath { into, .. } => into,
                Derive::Elements(step) | Derive::Resource(step) => &step.into,
                Derive::First { into, .. }
                | Derive::Join { into, .. }
                | Derive::Set { into, .. }
                | Derive::Default { into, .. }
                | Derive::Pairs { into, .. } => into,
                Derive::Json { .. } | Derive::Rename(_) | Derive::Capture { .. } | Derive::Peer { .. } => {
                    continue;
                }
            };
            let is_source = |other: &Derive| other != step && format!("{other:?}").contains(into.as_str());
            assert!(
                native().any(|name| name.starts_with(into.as_str())) || steps.iter().any(is_source),
                "{} computes {into} for nobody",
                class.name
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        start in prop::sample::select(vec![
            "", "{", "[{\"MESSAGE\":", "<Event><System>", "type=SYSCALL msg=audit(1:2): ", "<38>Aug  5 10:15:30 h p[1]: ",
            "<34>1 2026-08-05T10:15:30Z h p 1 - [", "1.2.3.4 - - [x] \"GET ", "2026-08-05T10:15:30Z ", "node=", "{\"log\":\"",
        ]),
        key in ".{0,12}",
    ) {
        let text = format!("{start}{}", String::from_utf8_lossy(&bytes));
        seen(&row(&text, &[(&key, &text), ("channel", &text)], &[(&key, &text)]));
        seen(&row(&text, &[], &[]));
        seen(&row("", &[(&key, &text), ("message", &text)], &[]));
    }

    #[test]
    fn lines_built_of_the_formats_own_pieces_do_not_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "<Event>", "</Event>", "<System>", "</System>", "<EventData>", "<Data Name='a'>", "</Data>", "&lt;", "&", "<![CDATA[", "]]>",
        "{", "}", "[", "]", "\"", "'", ":", ",", "\\u003c", "\\ud800", "\"channel\"", "\"event_id\"", "\"event_data\"", "\"data\"", "1", "é",
        "type=X ", "msg=audit(", "): ", "a0=", "a1[0]=", "41", "key=", "\x1d", "<38>", "Aug  5 10:15:30 ", "h ", "p[1]: ", " ", "=", "\\",
        "map[", "A:b ", "\"MESSAGE\"", "\"__CURSOR\"", "\"user_data\"",
    ]), 0..40)) {
        seen(&row(&pieces.concat(), &[], &[]));
    }
}

#[test]
fn a_file_of_records_is_many_events() {
    let body = r#"{"Records":[
        {"eventSource":"iam.amazonaws.com","eventName":"CreateUser"},
        {"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"create"}, {"x":1}]}"#;
    let record = row(body, &[], &[("host.name", "h")]);
    let events = TAXONOMY.events(&record);
    let class = |event: &Event<'_>| {
        event.class.map_or("none", |id| TAXONOMY.classes[usize::from(id.0)].name.as_str())
    };
    let classes: Vec<&str> = events.iter().map(class).collect();
    assert_eq!(classes, ["aws/cloudtrail", "kubernetes/audit", "none"]);
    assert_eq!(events[2].source, r#"{"x":1}"#);
    assert!(events.iter().all(|event| event.host == "h"));
}
