//! Audit records as the kernel, auditd and the journal write them.

use super::*;
use std::path::PathBuf;

fn fields(line: &str) -> Vec<(String, String)> {
    let mut event = Event::default();
    decode(line, &mut event);
    let text = |value: &Value<'_>| value.text().map_or("null".into(), Cow::into_owned);
    event.fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

#[track_caller]
fn has(line: &str, wanted: &[&str]) {
    let fields: Vec<String> = fields(line).iter().map(|(name, value)| format!("{name}={value}")).collect();
    for field in wanted {
        assert!(fields.iter().any(|f| f == field), "no {field} in {fields:#?}");
    }
}

#[test]
fn a_system_call_is_named_and_enriched_fields_stay_beside_the_raw() {
    let raw = r#"type=SYSCALL msg=audit(1785924930.123:4567): arch=c000003e syscall=59 success=yes a0=55d0 uid=0 tty=(none) comm="cat" exe="/usr/bin/cat" key=(null)"#;
    has(raw, &["type=SYSCALL", "SYSCALL=execve", "syscall=59", "a0=55d0", "exe=/usr/bin/cat", "key=null"]);
    let enriched = format!("{raw}\x1dARCH=x86_64 SYSCALL=execve AUID=\"bob\" UID=\"root\"");
    has(&enriched, &["SYSCALL=execve", "AUID=bob", "UID=root", "uid=0"]);
    assert_eq!(fields(&enriched).iter().filter(|(name, _)| name == "SYSCALL").count(), 1);
    has("type=SYSCALL msg=audit(1.2:3): arch=c00000b7 syscall=221", &["SYSCALL=execve"]);
}

#[test]
fn untrusted_fields_are_decoded_from_hexadecimal() {
    has(
        "type=EXECVE msg=audit(1.2:3): argc=3 a0=\"cat\" a1=\"a b\" a2=2F746D702F612062",
        &["a0=cat", "a1=a b", "a2=/tmp/a b"],
    );
    has(
        "type=PROCTITLE msg=audit(1.2:3): proctitle=636174002F6574632F736861646F77",
        &["proctitle=cat /etc/shadow"],
    );
    has("type=PATH msg=audit(1.2:3): name=2F746D702FC3A4 mode=0100755", &["name=/tmp/ä", "mode=0100755"]);
    has("type=EXECVE msg=audit(1.2:3): a1_len=8 a1[0]=4142 a1[1]=4344", &["a1=ABCD"]);
    has("type=SYSCALL msg=audit(1.2:3): a0=2F2F key=6B310A016B32", &["a0=2F2F", "key=k1\n", "key=k2"]);
}

#[test]
fn the_message_of_user_space_is_read() {
    let line = "type=USER_LOGIN msg=audit(1.2:3): pid=1 uid=0 msg='op=login acct=\"bob b\" exe=\"/usr/sbin/sshd\" hostname=? addr=198.51.100.7 res=failed'";
    has(line, &["op=login", "acct=bob b", "exe=/usr/sbin/sshd", "addr=198.51.100.7", "res=failed", "pid=1"]);
    let avc = "type=AVC msg=audit(1.2:3): avc:  denied  { read } for  pid=13010 comm=\"pickup\" dev=hda7";
    has(avc, &["comm=pickup", "dev=hda7"]);
}

#[test]
fn socket_addresses_are_read() {
    has(
        "type=SOCKADDR msg=audit(1.2:3): saddr=02000050A9FEA9FE0000000000000000",
        &["addr=169.254.169.254", "port=80"],
    );
    let six =
        "type=SOCKADDR msg=audit(1.2:3): saddr=0A0001BB0000000020010DB800000000000000000000000100000000";
    has(six, &["addr=2001:db8::1", "port=443", "family=ipv6"]);
    has("type=SOCKADDR msg=audit(1.2:3): saddr=01002F746D702F7800", &["path=/tmp/x"]);
    has("type=SOCKADDR msg=audit(1.2:3): saddr=0A00 x=1", &["saddr=0A00", "x=1"]);
}

#[test]
fn node_and_kernel_headers_are_known() {
    let mut event = Event::default();
    assert_eq!(decode("node=work type=CWD msg=audit(1.2:3): cwd=\"/root\"", &mut event), Some("work"));
    has(
        "[49787.970285] audit: type=1400 audit(1.2:3): apparmor=\"DENIED\"",
        &["type=AVC", "apparmor=DENIED"],
    );
    for other in ["", "type=x", "type=X msg=audit(1", "node=a", "typ=X msg=audit(1): a=b"] {
        assert_eq!(decode(other, &mut Event::default()), None, "{other}");
    }
}

#[test]
fn broken_pairs_do_no_harm() {
    has("type=X msg=audit(1.2:3): a=\"open b=1", &["a=open b=1"]);
    has("type=X msg=audit(1.2:3): = == a==b 'x y=\"", &["a==b"]);
}

/// Fields that go-libaudit leaves as they are in the record.
const UNTRANSLATED: [&str; 22] = [
    "exe",
    "comm",
    "name",
    "cwd",
    "acct",
    "cmd",
    "proctitle",
    "a0",
    "a1",
    "a2",
    "a3",
    "op",
    "hostname",
    "addr",
    "terminal",
    "dev",
    "inode",
    "item",
    "nametype",
    "pid",
    "ppid",
    "unit",
];

#[test]
fn go_libaudits_parses_agree() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/corpora/linux/auditd.golden.dev.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no {}", path.display());
        return;
    };
    let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
    let records = golden.as_object().unwrap().values().flat_map(|records| records.as_array().unwrap());
    let mut compared = 0;
    for record in records.filter(|record| record["raw_msg"].is_string()) {
        let kind = record["record_type"].as_str().unwrap().to_uppercase();
        let line = format!("type={kind} msg={}", record["raw_msg"].as_str().unwrap());
        let fields = fields(&line);
        for (name, value) in record["data"].as_object().unwrap() {
            let wanted = value.as_str().unwrap_or_default();
            if name == "syscall" && !wanted.bytes().all(|b| b.is_ascii_digit()) {
                assert!(fields.iter().any(|(n, v)| n == "SYSCALL" && v == wanted), "{wanted}: {line}");
                compared += 1;
            }
            if UNTRANSLATED.contains(&name.as_str()) {
                assert!(fields.iter().any(|(n, v)| n == name && v == wanted), "{name}={wanted}: {line}");
                compared += 1;
            }
        }
    }
    assert!(compared > 200, "{compared}");
}
