//! Linux log lines of ordinary work: sshd, sudo, cron, systemd, kernel, audit records, nginx; in files,
//! the journal or over syslog, as the host's agent collects them.

use serde_json::{Map, Value};

use super::random::Random;
use super::{Collection, Host, Kind};
use crate::signoz::LogRow;
use crate::signoz::go_json::{self, Html};

const USERS: [&str; 4] = ["ines", "jonas", "kira", "luis"];
const CRON: [&str; 4] = [
    "cd / && run-parts --report /etc/cron.hourly",
    "/usr/lib/php/sessionclean",
    "test -x /usr/sbin/anacron || run-parts /etc/cron.daily",
    "/usr/local/bin/backup --incremental",
];
const UNITS: [&str; 4] = [
    "Daily apt download activities",
    "Rotate log files",
    "Cleanup of Temporary Directories",
    "Message of the Day",
];
const PATHS: [&str; 6] =
    ["/", "/index.html", "/api/v1/orders?page=2", "/assets/app.js", "/login", "/search?q=blue+shoes"];
const COMMANDS: [&[&str]; 5] = [
    &["ls", "-la", "/var/www"],
    &["systemctl", "status", "nginx"],
    &["grep", "-c", "processor", "/proc/cpuinfo"],
    &["df", "-h"],
    &["sh", "-c", "uptime | tail -n 1"],
];

/// A line of a program's log, in the form the host's agent sends: program, pid, facility, text.
pub(super) fn line(host: &Host, at_ns: u64, program: &str, pid: u32, facility: u32, text: &str) -> LogRow {
    match host.kind {
        Kind::Linux(Collection::Journal) => journal(host, at_ns, program, pid, facility, text),
        Kind::Linux(Collection::Syslog) => syslog(host, at_ns, program, pid, facility, text),
        _ => {
            let file = match facility {
                4 | 10 => "auth.log",
                _ => "syslog",
            };
            file_row(host, at_ns, file, format!("{} {} {}{text}", stamp(at_ns), host.name, tag(program, pid)))
        }
    }
}

/// sudo writes no pid.
fn tag(program: &str, pid: u32) -> String {
    if program == "sudo" { "sudo: ".to_owned() } else { format!("{program}[{pid}]: ") }
}

/// A line of a file, with the file's name.
pub(super) fn file_row(host: &Host, at_ns: u64, file: &str, text: String) -> LogRow {
    let mut row = LogRow::new(at_ns, &[("host.name", &host.name), ("os.type", "linux")], text);
    row.observed_ns = at_ns;
    row.attributes_string.push(("log.file.name".into(), file.into()));
    row
}

fn journal(host: &Host, at_ns: u64, program: &str, pid: u32, facility: u32, text: &str) -> LogRow {
    let micros = at_ns / 1000;
    let mut fields = Map::new();
    let mut put = |name: &str, value: String| fields.insert(name.to_owned(), Value::String(value));
    put("MESSAGE", text.to_owned());
    put("PRIORITY", "6".into());
    put("SYSLOG_FACILITY", facility.to_string());
    put("SYSLOG_IDENTIFIER", program.to_owned());
    put("SYSLOG_PID", pid.to_string());
    put("_BOOT_ID", format!("{:032x}", 0x1dcc_4995_u64 + host.number as u64));
    put("_COMM", program.to_lowercase());
    put("_EXE", format!("/usr/sbin/{}", program.to_lowercase()));
    put("_GID", "0".into());
    put("_HOSTNAME", host.name.clone());
    put("_MACHINE_ID", format!("{:032x}", 0x0a1b_2c3d_u64 + host.number as u64));
    put("_PID", pid.to_string());
    put("_SOURCE_REALTIME_TIMESTAMP", micros.to_string());
    put("_TRANSPORT", "syslog".into());
    put("_UID", "0".into());
    put("__CURSOR", format!("s={:x};i={micros:x}", host.number));
    put("__MONOTONIC_TIMESTAMP", (micros % 1_000_000_000_000).to_string());
    let body = go_json::encode(&Value::Object(fields), Html::Escaped);
    LogRow::new(at_ns, &[("host.name", &host.name), ("os.type", "linux")], body)
}

fn syslog(host: &Host, at_ns: u64, program: &str, pid: u32, facility: u32, text: &str) -> LogRow {
    let priority = facility * 8 + 6;
    let body = format!("<{priority}>{} {} {}{text}", stamp(at_ns), host.name, tag(program, pid));
    // The relay has the resource; the line names the host.
    let mut row = LogRow::new(at_ns, &[("host.name", "relay-01"), ("os.type", "linux")], body);
    (row.severity_text, row.severity_number) = ("info".into(), 9);
    let mut put = |name: &str, value: &str| row.attributes_string.push((name.to_owned(), value.to_owned()));
    put("appname", program);
    put("hostname", &host.name);
    put("message", text);
    if program != "sudo" {
        put("proc_id", &pid.to_string());
    }
    row.attributes_number.push(("facility".into(), f64::from(facility)));
    row.attributes_number.push(("priority".into(), f64::from(priority)));
    row
}

/// The records of one audited command, one row each.
pub(super) fn command(
    host: &Host,
    at_ns: u64,
    arguments: &[&str],
    user: &str,
    random: &mut Random,
) -> Vec<LogRow> {
    let stamp = audit_stamp(at_ns, random);
    let exe = format!("/usr/bin/{}", arguments[0]);
    let pid = random.between(1000, 30_000);
    let words: Vec<String> =
        arguments.iter().enumerate().map(|(i, word)| format!("a{i}={}", audit_value(word))).collect();
    let title: String = arguments.join("\0").bytes().map(|byte| format!("{byte:02X}")).collect();
    [
        syscall(&stamp, 59, "execve", pid, &exe, arguments[0], user, "exec"),
        format!("type=EXECVE {stamp} argc={} {}", arguments.len(), words.join(" ")),
        format!("type=CWD {stamp} cwd=\"/home/{user}\""),
        format!("type=PATH {stamp} item=0 name=\"{exe}\" inode=4711 dev=08:01 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0"),
        // The loader, as of every program that is linked dynamically: the call says `items=2`.
        format!("type=PATH {stamp} item=1 name=\"/lib64/ld-linux-x86-64.so.2\" inode=4712 dev=08:01 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0"),
        format!("type=PROCTITLE {stamp} proctitle={title}"),
    ]
    .into_iter()
    .map(|text| file_row(host, at_ns, "audit.log", text))
    .collect()
}

/// `msg=audit(…):`, the key of an event's records.
pub(super) fn audit_stamp(at_ns: u64, random: &mut Random) -> String {
    format!(
        "msg=audit({}.{:03}:{}):",
        at_ns / 1_000_000_000,
        at_ns / 1_000_000 % 1000,
        random.between(1000, 99_999)
    )
}

#[expect(clippy::too_many_arguments, reason = "the fields of one record")]
pub(super) fn syscall(
    stamp: &str,
    number: u32,
    name: &str,
    pid: u32,
    exe: &str,
    comm: &str,
    user: &str,
    key: &str,
) -> String {
    format!(
        "type=SYSCALL {stamp} arch=c000003e syscall={number} success=yes exit=0 a0=55d0 a1=55d1 a2=55d2 a3=8 items=2 ppid=2211 pid={pid} auid=1000 uid=1000 gid=1000 euid=1000 suid=1000 fsuid=1000 egid=1000 sgid=1000 fsgid=1000 tty=pts0 ses=7 comm=\"{comm}\" exe=\"{exe}\" subj=unconfined key=\"{key}\"\u{1d}ARCH=x86_64 SYSCALL={name} AUID=\"{user}\" UID=\"{user}\" GID=\"{user}\" EUID=\"{user}\""
    )
}

/// An argument as auditd writes it: quoted, or in hex where it holds a blank or a quote.
fn audit_value(word: &str) -> String {
    if word.bytes().any(|byte| byte <= b' ' || byte == b'"' || byte >= 0x7f) {
        word.bytes().map(|byte| format!("{byte:02X}")).collect()
    } else {
        format!("\"{word}\"")
    }
}

/// A line of nginx's access log.
pub(super) fn access(
    host: &Host,
    at_ns: u64,
    client: &str,
    request: &str,
    status: u32,
    bytes: u32,
    agent: &str,
) -> LogRow {
    let time = jiff::Timestamp::from_nanosecond(i128::from(at_ns)).unwrap_or_default();
    let text = format!(
        "{client} - - [{}] \"{request}\" {status} {bytes} \"-\" \"{agent}\"",
        time.strftime("%d/%b/%Y:%H:%M:%S +0000")
    );
    let mut row = file_row(host, at_ns, "access.log", text);
    row.resources.push(("service.name".into(), "nginx".into()));
    row
}

/// An ordinary row of the host.
pub(super) fn ordinary(host: &Host, at_ns: u64, random: &mut Random) -> LogRow {
    let user = USERS[host.number % USERS.len()];
    let pid = random.between(1000, 30_000);
    match random.below(100) {
        0..10 => {
            let port = random.between(40_000, 60_000);
            let text = format!(
                "Accepted publickey for {user} from 10.0.4.{} port {port} ssh2: ED25519 SHA256:abc",
                random.between(2, 250)
            );
            line(host, at_ns, "sshd", pid, 4, &text)
        }
        10..14 => {
            let text = format!(
                "Failed password for invalid user admin from 203.0.113.{} port 51514 ssh2",
                random.between(1, 250)
            );
            line(host, at_ns, "sshd", pid, 4, &text)
        }
        14..18 => {
            let text = format!(
                "{user} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND=/usr/bin/systemctl status nginx"
            );
            line(host, at_ns, "sudo", pid, 10, &text)
        }
        18..26 => line(host, at_ns, "CRON", pid, 9, &format!("(root) CMD ({})", random.pick(&CRON))),
        26..34 => line(host, at_ns, "systemd", 1, 3, &format!("Finished {}.", random.pick(&UNITS))),
        34..38 => line(host, at_ns, "kernel", 0, 0, "eth0: Link is Up - 1Gbps/Full - flow control rx/tx"),
        38..62 => {
            let arguments = *random.pick(&COMMANDS);
            let mut records = command(host, at_ns, arguments, user, random);
            records.swap_remove(random.below(5))
        }
        62..68 => {
            let stamp = audit_stamp(at_ns, random);
            let text = format!(
                "type=USER_START {stamp} pid={pid} uid=0 auid=1000 ses=8 msg='op=PAM:session_open grantors=pam_unix acct=\"{user}\" exe=\"/usr/sbin/sshd\" hostname=10.0.4.9 addr=10.0.4.9 terminal=ssh res=success'"
            );
            file_row(host, at_ns, "audit.log", text)
        }
        _ => {
            let request = format!("GET {} HTTP/1.1", random.pick(&PATHS));
            let client = format!("198.51.100.{}", random.between(1, 250));
            let status = *random.pick(&[200, 200, 200, 304, 404]);
            let agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36";
            access(host, at_ns, &client, &request, status, random.between(150, 40_000), agent)
        }
    }
}

/// syslog's time.
fn stamp(at_ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(at_ns)).unwrap_or_default();
    time.strftime("%b %e %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_has_the_form_of_its_collection() {
        let at = 1_795_451_231_058_000_000;
        let host = |collection| Host { name: "lin-1".into(), kind: Kind::Linux(collection), number: 1 };
        let text = |row: &LogRow| String::from_utf8(row.body.clone()).unwrap();
        let file = line(&host(Collection::Files), at, "CRON", 7, 9, "(root) CMD (x)");
        assert_eq!(text(&file), "Nov 23 16:27:11 lin-1 CRON[7]: (root) CMD (x)");
        let syslog = line(&host(Collection::Syslog), at, "sshd", 7, 4, "hello");
        assert_eq!(text(&syslog), "<38>Nov 23 16:27:11 lin-1 sshd[7]: hello");
        let journal = line(&host(Collection::Journal), at, "sshd", 7, 4, "hello");
        let parsed: Value = serde_json::from_slice(&journal.body).unwrap();
        assert_eq!((&parsed["MESSAGE"], &parsed["_HOSTNAME"]), (&json!("hello"), &json!("lin-1")));
    }

    #[test]
    fn audited_arguments_are_quoted_or_hex() {
        let host = Host { name: "lin-1".into(), kind: Kind::Linux(Collection::Files), number: 1 };
        let rows = command(&host, 1_795_451_231_058_000_000, &["sh", "-c", "a b"], "u", &mut Random::new(1));
        let execve = String::from_utf8(rows[1].body.clone()).unwrap();
        assert!(execve.ends_with("argc=3 a0=\"sh\" a1=\"-c\" a2=612062"), "{execve}");
    }
}
