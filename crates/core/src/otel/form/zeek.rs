//! Rows of Zeek's tab-separated logs. Their header is not in the row: the log's name comes from the
//! file (`http.log`, `dns.2026-08-05-10.log`), the columns are those that Zeek writes by default.
//!
//! JSON logs are the taxonomy's business.

use super::text::is_ip;
use super::{Form, ZEEK};
use crate::otel::event::Event;

/// Columns of every log of a connection.
const CONNECTION: [&str; 6] = ["ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p"];

/// A log: its name, form, and the columns behind those of its connection. Source: Zeek's
/// `base/protocols/*/main.zeek`.
const LOGS: [(&str, Form, &[&str]); 9] = [
    (
        "http",
        ZEEK[0],
        &[
            "trans_depth",
            "method",
            "host",
            "uri",
            "referrer",
            "version",
            "user_agent",
            "origin",
            "request_body_len",
            "response_body_len",
            "status_code",
            "status_msg",
            "info_code",
            "info_msg",
            "tags",
            "username",
            "password",
            "proxied",
            "orig_fuids",
            "orig_filenames",
            "orig_mime_types",
            "resp_fuids",
            "resp_filenames",
            "resp_mime_types",
        ],
    ),
    (
        "dns",
        ZEEK[1],
        &[
            "proto",
            "trans_id",
            "rtt",
            "query",
            "qclass",
            "qclass_name",
            "qtype",
            "qtype_name",
            "rcode",
            "rcode_name",
            "AA",
            "TC",
            "RD",
            "RA",
            "Z",
            "answers",
            "TTLs",
            "rejected",
        ],
    ),
    ("smb_files", ZEEK[2], &["fuid", "action", "path", "name", "size", "prev_name"]),
    ("dce_rpc", ZEEK[3], &["rtt", "named_pipe", "endpoint", "operation"]),
    (
        "rdp",
        ZEEK[4],
        &[
            "cookie",
            "result",
            "security_protocol",
            "client_channels",
            "keyboard_layout",
            "client_build",
            "client_name",
        ],
    ),
    (
        "kerberos",
        ZEEK[5],
        &[
            "request_type",
            "client",
            "service",
            "success",
            "error_msg",
            "from",
            "till",
            "cipher",
            "forwardable",
            "renewable",
        ],
    ),
    (
        "conn",
        ZEEK[7],
        &[
            "proto",
            "service",
            "duration",
            "orig_bytes",
            "resp_bytes",
            "conn_state",
            "local_orig",
            "local_resp",
        ],
    ),
    (
        "ssl",
        ZEEK[8],
        &["version", "cipher", "curve", "server_name", "resumed", "last_alert", "next_protocol"],
    ),
    (
        "x509",
        ZEEK[6],
        &[
            "ts",
            "fingerprint",
            "certificate.version",
            "certificate.serial",
            "certificate.subject",
            "certificate.issuer",
            "certificate.not_valid_before",
            "certificate.not_valid_after",
        ],
    ),
];

/// Columns that hold several values, parted by commas.
const SETS: [&str; 5] = ["answers", "tags", "orig_mime_types", "resp_mime_types", "client_channels"];

/// Decodes a row of the log that `file` is named after.
pub(super) fn decode<'t>(line: &'t str, file: &str, event: &mut Event<'t>) -> Option<Form> {
    let log = file.split('.').next().unwrap_or("");
    let (_, form, columns) = LOGS.iter().find(|(name, ..)| *name == log)?;
    let values: Vec<&str> = line.split('\t').take(64).collect();
    let (seconds, part) = values[0].split_once('.')?;
    if ![seconds, part].iter().all(|text| super::text::is_number(text)) {
        return None;
    }
    if log == "x509" {
        // 33 hexadecimal digits or more, or the file's id in older versions.
        let is_row = values.len() >= columns.len() && values[2].len() == 1;
        is_row.then(|| push(columns, &values, event))?;
        return Some(*form);
    }
    if values.len() < 8 || !values[1].starts_with('C') || !is_ip(values[2]) || !is_ip(values[4]) {
        return None;
    }
    push(&CONNECTION, &values, event);
    let behind = &values[CONNECTION.len()..];
    match (log, values.len()) {
        // Before `origin` there was none, before `version` there was neither.
        ("http", 29) => push(&without(columns, &["origin"]), behind, event),
        ("http", ..=28) => push(&without(columns, &["origin", "version"]), behind, event),
        _ => push(columns, behind, event),
    }
    Some(*form)
}

fn without(columns: &[&'static str], missing: &[&str]) -> Vec<&'static str> {
    columns.iter().filter(|column| !missing.contains(column)).copied().collect()
}

fn push<'t>(columns: &[&'static str], values: &[&'t str], event: &mut Event<'t>) {
    for (column, value) in columns.iter().zip(values) {
        match *value {
            "-" => {}
            "(empty)" => event.push(*column, ""),
            set if SETS.contains(column) => set.split(',').take(64).for_each(|one| event.push(*column, one)),
            value => event.push(*column, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::otel::form::testing::{has_of, none_of};

    #[test]
    fn rows_by_the_files_name() {
        let dns = "1628158530.123456\tCabc1\t10.0.0.9\t51514\t10.0.0.1\t53\tudp\t4711\t0.01\tseed.nkn.org\t1\tC_INTERNET\t16\tTXT\t0\tNOERROR\tF\tF\tT\tT\t0\tTXT a,TXT b\t60.0\tF";
        has_of(
            "",
            "dns.log",
            dns,
            "zeek/dns",
            &[
                "query=seed.nkn.org",
                "qtype_name=TXT",
                "answers=TXT a",
                "answers=TXT b",
                "id.resp_p=53",
                "Z=0",
            ],
        );
        has_of("", "dns.2026-08-05-10-00-00.log", dns, "zeek/dns", &["id.orig_h=10.0.0.9"]);
        let http = "1628158530.123456\tCabc1\t10.0.0.9\t51514\t203.0.113.5\t80\t1\tPUT\tevil.top\t/a.exe\t-\t1.1\tMicrosoft-WebDAV/1\t-\t0\t5120\t200\tOK\t-\t-\t(empty)\t-\t-\t-\t-\t-\t-\tFx\t-\tapplication/x-dosexec";
        has_of(
            "",
            "http.log",
            http,
            "zeek/http",
            &[
                "method=PUT",
                "host=evil.top",
                "uri=/a.exe",
                "user_agent=Microsoft-WebDAV/1",
                "resp_mime_types=application/x-dosexec",
                "status_code=200",
            ],
        );
        let smb = "1628158530.1\tCabc1\t10.0.0.9\t51514\t10.0.0.1\t445\t-\tSMB::FILE_OPEN\t\\\\10.0.0.1\\IPC$\tatsvc\t0\t-\t-\t-\t-\t-";
        has_of("", "smb_files.log", smb, "zeek/smb_files", &["path=\\\\10.0.0.1\\IPC$", "name=atsvc"]);
        let rpc =
            "1628158530.1\tCabc1\t10.0.0.9\t51514\t10.0.0.1\t445\t0.01\t\\pipe\\x\tsvcctl\tCreateServiceW";
        has_of("", "dce_rpc.log", rpc, "zeek/dce_rpc", &["endpoint=svcctl", "operation=CreateServiceW"]);
        let kerberos = "1628158530.1\tCabc1\t10.0.0.9\t51514\t10.0.0.1\t88\tTGS\tbob/EX\tcifs/srv\tT\t-\t-\t1.0\trc4-hmac\tT\tT";
        has_of(
            "",
            "kerberos.log",
            kerberos,
            "zeek/kerberos",
            &["request_type=TGS", "cipher=rc4-hmac", "service=cifs/srv"],
        );
        let rdp =
            "1628158530.1\tCabc1\t203.0.113.9\t51514\t10.0.0.1\t3389\tbob\tencrypted\tHYBRID\t-\t-\t-\t-";
        has_of("", "rdp.log", rdp, "zeek/rdp", &["id.orig_h=203.0.113.9"]);
        let x509 = "1628158530.1\tabcdef\t3\t8BB00EE\tCN=x\tCN=x\t1.0\t2.0\trsa";
        has_of("", "x509.log", x509, "zeek/x509", &["certificate.serial=8BB00EE"]);
        let conn = "1628158530.1\tCabc1\t10.0.0.9\t51514\t203.0.113.5\t23\ttcp\t-\t1.0\t10\t20\tSF\tT\tF";
        has_of("", "conn.log", conn, "zeek/conn", &["id.resp_p=23", "proto=tcp"]);
    }

    #[test]
    fn other_rows_and_files_are_not_zeeks() {
        none_of("", "http.log", "GET\t/\tx");
        none_of("", "http.log", "1628158530.1\tx\ty\tz\ta\tb\tc\td");
        none_of("", "shop.log", "1628158530.1\tCabc1\t10.0.0.9\t1\t10.0.0.1\t2\ta\tb");
        none_of("", "dns.log", "#fields\tts\tuid");
    }
}
