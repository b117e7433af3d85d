//! Records in, events out: what must come of them, in whatever order they arrive.

use super::*;
use crate::otel::Taxonomy;
use proptest::prelude::*;
use std::collections::BTreeMap;

mod golden;

fn record(host: &str, text: &str) -> AuditRecord {
    let row = AuditRow { id: format!("row of {text}"), timestamp_ns: 1, resources: vec![] };
    AuditRecord { host: host.into(), text: text.into(), row }
}

fn add(assembler: &mut Assembler, records: &[&str], now_ms: i64) {
    records.iter().for_each(|text| assembler.add(record("h", text), now_ms));
}

fn fields(event: &AuditEvent) -> Vec<(String, String)> {
    let event = happening::event(event);
    let fields = event.into_iter().flat_map(|event| event.fields);
    fields.map(|(name, value)| (name.into_owned(), value.text().unwrap_or_default().into_owned())).collect()
}

/// The fields of the only event, as `name=value`.
#[track_caller]
fn only(records: &[&str]) -> Vec<String> {
    let mut assembler = Assembler::new(AssemblerSettings::default());
    add(&mut assembler, records, 0);
    let events = assembler.flush();
    assert!(events.len() <= 1, "{events:#?}");
    let fields = events.iter().flat_map(fields);
    fields.map(|(name, value)| format!("{name}={value}")).collect()
}

#[track_caller]
fn has(found: &[String], wanted: &[&str]) {
    for field in wanted {
        assert!(found.iter().any(|f| f == field), "no {field} in {found:#?}");
    }
}

const EXECVE: [&str; 5] = [
    r#"type=SYSCALL msg=audit(1785924930.123:4567): arch=c000003e syscall=59 success=yes exit=0 a0=1 items=2 ppid=2211 pid=2300 auid=1000 uid=0 tty=pts0 ses=7 comm="cat" exe="/usr/bin/cat" key="exec""#,
    r#"type=EXECVE msg=audit(1785924930.123:4567): argc=3 a0="cat" a1="/etc/shadow" a2=2F746D702F612062"#,
    r#"type=CWD msg=audit(1785924930.123:4567): cwd="/root""#,
    r#"type=PATH msg=audit(1785924930.123:4567): item=0 name="/usr/bin/cat" mode=0100755 nametype=NORMAL"#,
    r#"type=PATH msg=audit(1785924930.123:4567): item=1 name="/lib64/ld-linux-x86-64.so.2" mode=0100755 nametype=NORMAL"#,
];

#[test]
fn a_started_program_is_a_process_creation() {
    let found = only(&EXECVE);
    has(
        &found,
        &[
            "audit_event=process_creation",
            "Image=/usr/bin/cat",
            "CommandLine=cat /etc/shadow /tmp/a b",
            "CurrentDirectory=/root",
            "User=root",
            "LogonId=7",
            "ProcessId=2300",
            "ParentProcessId=2211",
            "SYSCALL=execve",
            "key=exec",
        ],
    );
    let enriched = format!("{}\x1dARCH=x86_64 SYSCALL=execve AUID=\"bob\" UID=\"www-data\"", EXECVE[0]);
    has(&only(&[&enriched, EXECVE[1]]), &["User=www-data", "AuditUser=bob"]);
    // What failed did not start.
    let failed = EXECVE[0].replace("success=yes exit=0", "success=no exit=-2");
    assert!(only(&[&failed, EXECVE[1]]).is_empty());
    // Without the system call, what was asked for is better than nothing.
    has(&only(&EXECVE[1..]), &["Image=/usr/bin/cat", "CommandLine=cat /etc/shadow /tmp/a b"]);
    // Without its arguments, the title.
    let title = "type=PROCTITLE msg=audit(1785924930.123:4567): proctitle=636174002F6574632F736861646F77";
    has(&only(&[EXECVE[0], title]), &["CommandLine=cat /etc/shadow"]);
}

#[test]
fn long_arguments_come_in_pieces_and_several_records() {
    let call = EXECVE[0];
    let first =
        "type=EXECVE msg=audit(1785924930.123:4567): argc=3 a0=\"sh\" a1_len=12 a1[0]=\"abc\" a1[1]=64206566";
    let second = "type=EXECVE msg=audit(1785924930.123:4567): a1[2]=\"ghi\" a2=\"z\"";
    for records in [[call, first, second], [second, first, call]] {
        has(&only(&records), &["CommandLine=sh abcd efghi z"]);
    }
}

#[test]
fn files_are_named_by_their_whole_path() {
    let call = |call: &str| {
        format!(
            "type=SYSCALL msg=audit(1.000:2): arch=c000003e {call} success=yes items=2 ppid=1 pid=2 uid=1000 exe=\"/usr/bin/vi\""
        )
    };
    let directory = "type=CWD msg=audit(1.000:2): cwd=\"/etc\"";
    let path = |name: &str, kind: &str| {
        format!("type=PATH msg=audit(1.000:2): item=1 name=\"{name}\" mode=0100644 nametype={kind}")
    };
    let found = only(&[&call("syscall=257 a0=ffffff9c a2=241"), directory, &path("./cron.d/../x", "CREATE")]);
    has(&found, &["audit_event=file_event", "TargetFilename=/etc/x", "Image=/usr/bin/vi", "User=1000"]);
    // It was there before.
    has(&only(&[&call("syscall=2 a1=241"), &path("/a", "NORMAL")]), &["TargetFilename=/a"]);
    // A directory of its own, whose name nobody tells.
    let found = only(&[&call("syscall=257 a0=5 a2=241"), directory, &path("x", "CREATE")]);
    has(&found, &["TargetFilename=x"]);
    let found = only(&[&call("syscall=82"), directory, &path("old", "DELETE"), &path("new", "CREATE")]);
    has(&found, &["audit_event=file_event", "TargetFilename=/etc/new", "SourceFilename=/etc/old"]);
    let found = only(&[&call("syscall=87"), directory, &path("x", "DELETE")]);
    has(&found, &["audit_event=file_delete", "TargetFilename=/etc/x"]);
    for other in [
        only(&[&call("syscall=2 a1=0"), &path("/etc/shadow", "NORMAL")]),
        only(&[&call("syscall=83"), &path("/d", "CREATE").replace("0100644", "040755")]),
        only(&[&call("syscall=2 a1=241").replace("=yes", "=no"), &path("/a", "CREATE")]),
    ] {
        assert!(other.is_empty(), "{other:?}");
    }
}

#[test]
fn connections_have_another_end() {
    let call = |call: &str| {
        format!(
            "type=SYSCALL msg=audit(1.000:2): arch=c000003e {call} items=0 ppid=1 pid=2 uid=33 exe=\"/bin/bash\""
        )
    };
    let address = "type=SOCKADDR msg=audit(1.000:2): saddr=0200115CCB0071090000000000000000";
    let title = "type=PROCTITLE msg=audit(1.000:2): proctitle=\"bash\"";
    let found = only(&[&call("syscall=42 success=no exit=-115"), address, title]);
    has(
        &found,
        &[
            "audit_event=network_connection",
            "Initiated=true",
            "DestinationIp=203.0.113.9",
            "DestinationPort=4444",
            "DestinationIsIpv6=false",
            "Image=/bin/bash",
            "User=33",
            "CommandLine=bash",
        ],
    );
    let found = only(&[&call("syscall=43 success=yes exit=5"), address]);
    has(&found, &["Initiated=false", "SourceIp=203.0.113.9", "SourcePort=4444"]);
    let mapped =
        "type=SOCKADDR msg=audit(1.000:2): saddr=0A0001BB0000000000000000000000000000FFFFCB00710900000000";
    has(&only(&[&call("syscall=42 success=yes"), mapped]), &["DestinationIp=203.0.113.9"]);
    let i386 = call("syscall=102 a0=3 success=yes").replace("c000003e", "40000003");
    has(&only(&[&i386, address]), &["DestinationIp=203.0.113.9"]);
    let unix = "type=SOCKADDR msg=audit(1.000:2): saddr=01002F746D702F7800";
    assert!(only(&[&call("syscall=42 success=yes"), unix]).is_empty());
    assert!(only(&[&call("syscall=42 success=no exit=-111"), address]).is_empty());
}

#[test]
fn azures_agent_writes_an_event_as_one_record() {
    let line = r#"type=AUOMS_EXECVE audit(1652292621.990:84143): node=UBUNTU5 arch=x86_64 syscall=execve success=yes exit=0 ppid=1340 pid=17790 user=tomcat uid=1001 ses="-1" comm="bash" exe="/bin/bash" cwd="/" path_name=["/bin/bash"] argc=3 cmdline="bash -c "{echo,YmF}|{bash,-i}"" redactors= containerid="#;
    has(
        &only(&[line]),
        &[
            "Image=/bin/bash",
            "CommandLine=bash -c \"{echo,YmF}|{bash,-i}\"",
            "User=tomcat",
            "CurrentDirectory=/",
        ],
    );
}

/// An `execve` of `image` by `pid` below `ppid`, all records.
fn execve(at: u32, pid: u32, ppid: u32, image: &str, arguments: &[&str], title: bool) -> Vec<String> {
    let id = format!("audit({}.{:03}:{})", 1000 + at / 1000, at % 1000, 100 + at);
    let mut argv = format!("type=EXECVE msg={id}: argc={}", arguments.len());
    for (number, argument) in arguments.iter().enumerate() {
        argv.push_str(&format!(" a{number}=\"{argument}\""));
    }
    let mut records = vec![
        format!(
            "type=SYSCALL msg={id}: arch=c000003e syscall=59 success=yes exit=0 items=2 ppid={ppid} pid={pid} uid=0 ses=3 comm=\"x\" exe=\"{image}\""
        ),
        argv,
        format!("type=CWD msg={id}: cwd=\"/\""),
        format!("type=PATH msg={id}: item=0 name=\"{image}\" nametype=NORMAL"),
        format!("type=PATH msg={id}: item=1 name=\"/lib/ld.so\" nametype=NORMAL"),
    ];
    if title {
        records.push(format!("type=PROCTITLE msg={id}: proctitle=\"{image}\""));
    }
    records.push(format!("type=EOE msg={id}:"));
    records
}

#[test]
fn parents_are_known_by_what_they_did_before() {
    let mut assembler = Assembler::new(AssemblerSettings::default());
    let mut run = |records: Vec<String>| {
        records.iter().for_each(|text| assembler.add(record("h", text), 0));
        let events = assembler.due(0);
        assert_eq!(events.len(), 1);
        fields(&events[0])
            .into_iter()
            .filter(|(name, _)| name.starts_with("Parent"))
            .collect::<BTreeMap<_, _>>()
    };
    let first = run(execve(0, 10, 1, "/usr/sbin/nginx", &["nginx", "-g"], true));
    assert_eq!(first.get("ParentImage"), None);
    let second = run(execve(5, 11, 10, "/bin/sh", &["sh", "-c", "id"], false));
    assert_eq!(second["ParentImage"], "/usr/sbin/nginx");
    assert_eq!(second["ParentCommandLine"], "nginx -g");
    assert_eq!(second["ParentUser"], "root");
    // The same process runs something else, then has a child.
    let third = run(execve(7, 11, 10, "/usr/bin/id", &["id"], false));
    assert_eq!(third["ParentImage"], "/usr/sbin/nginx");
    let fourth = run(execve(9, 12, 11, "/bin/true", &["true"], false));
    assert_eq!((&*fourth["ParentImage"], &*fourth["ParentCommandLine"]), ("/usr/bin/id", "id"));
    // A fork is known by its return value; any other call tells the image.
    let fork = "type=SYSCALL msg=audit(1000.010:900): arch=c000003e syscall=57 success=yes exit=13 items=0 ppid=1 pid=10 uid=0 ses=3 exe=\"/usr/sbin/nginx\"";
    let kill = "type=SYSCALL msg=audit(1000.010:901): arch=c000003e syscall=62 success=yes exit=0 items=0 ppid=1 pid=14 uid=0 ses=3 exe=\"/usr/bin/perl\"";
    [fork, kill].iter().for_each(|text| assembler.add(record("h", text), 0));
    assert_eq!(assembler.waiting(), 0);
    for (at, parent, image) in [(20, 13, "/usr/sbin/nginx"), (21, 14, "/usr/bin/perl")] {
        let records = execve(at, 100 + at, parent, "/bin/ls", &["ls"], false);
        records.iter().for_each(|text| assembler.add(record("h", text), 0));
        assert_eq!(assembler.due(0)[0].parent.as_ref().unwrap().image, image);
    }
    // Of another host nothing is known.
    execve(30, 15, 10, "/bin/ls", &["ls"], false).iter().for_each(|text| assembler.add(record("g", text), 0));
    assert_eq!(assembler.due(0)[0].parent, None);
}

#[test]
fn a_parent_that_comes_in_the_same_batch_may_come_later() {
    let mut assembler = Assembler::new(AssemblerSettings::default());
    let child = execve(5, 11, 10, "/bin/sh", &["sh"], false);
    let parent = execve(0, 10, 1, "/usr/bin/java", &["java", "-jar", "x"], false);
    child.iter().chain(&parent).for_each(|text| assembler.add(record("h", text), 0));
    let events = assembler.due(0);
    assert_eq!(events[1].parent.as_ref().unwrap().command_line, "java -jar x");
}

#[test]
fn waiting_ends_after_a_time_and_a_restart_loses_nothing() {
    let settings = AssemblerSettings { wait_ms: 1000, ..AssemblerSettings::default() };
    let mut assembler = Assembler::new(settings.clone());
    add(&mut assembler, &EXECVE[..2], 500);
    assert_eq!(assembler.due(1499), []);
    assert_eq!(assembler.next_due_ms(), Some(1500));
    let changes = assembler.take_changes();
    assert_eq!((changes.upserts.len(), changes.deletes.len()), (1, 0));
    assert!(assembler.take_changes().is_empty());
    // Killed; what was stored goes on.
    let stored = changes.upserts.into_iter().map(|(_, records)| records).collect();
    let mut assembler = Assembler::restore(settings, stored, 2000);
    assert!(assembler.take_changes().is_empty());
    add(&mut assembler, &EXECVE[2..], 2100);
    let events = assembler.due(2100);
    assert_eq!(events[0].source.lines().count(), 5);
    assert_eq!(events[0].row.id, format!("row of {}", EXECVE[0]));
    let changes = assembler.take_changes();
    assert_eq!((changes.upserts.len(), changes.deletes.len()), (0, 1));
    assert_eq!(assembler.next_due_ms(), None);
    // Late and repeated records are of the event that is gone.
    add(&mut assembler, &EXECVE, 2200);
    assert_eq!((assembler.waiting(), assembler.due(9999).len()), (0, 0));
    // What never becomes whole is told as it is.
    add(&mut assembler, &[r#"type=EXECVE msg=audit(9.000:1): argc=1 a0="x""#], 3000);
    let events = assembler.due(4000);
    assert_eq!(events.len(), 1);
    has(&fields(&events[0]).iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>(), &["CommandLine=x"]);
    assert_eq!(assembler.counts(), AssemblerCounts { events: 2, incomplete: 1, early: 0, dropped: 0 });
}

#[test]
fn what_waits_is_bounded() {
    let settings =
        AssemblerSettings { events_max: 10, event_bytes_max: 4000, ..AssemblerSettings::default() };
    let mut assembler = Assembler::new(settings);
    for serial in 0..10_000 {
        let text = format!("type=EXECVE msg=audit(9.000:{serial}): argc=2 a0=\"x\"");
        assembler.add(record(&format!("host-{}", serial % 7), &text), 0);
        assert!(assembler.waiting() <= 10 && assembler.queue.len() <= 20 + 1024);
    }
    assert_eq!(assembler.counts().early, 9990);
    assert_eq!(assembler.due(0).len(), 9990);
    for number in 0..100 {
        let text = format!("type=PATH msg=audit(9.000:77777): item={number} name=\"{}\"", "x".repeat(200));
        assembler.add(record("h", &text), 0);
    }
    assert!(assembler.counts().dropped > 80);
    assert!(assembler.bytes < 10_000, "{}", assembler.bytes);
    let flushed = assembler.flush();
    // The one that had to make room, and the ten that are left.
    assert_eq!((flushed.len(), assembler.waiting(), assembler.bytes), (11, 0, 0));
}

#[test]
fn a_row_of_laurel_is_records_and_one_event() {
    let taxonomy = Taxonomy::builtin().unwrap();
    let body = r#"{"ID":"1615114232.375:15558","SYSCALL":{"arch":"0xc000003e","syscall":59,"success":"yes","items":2,"ppid":3,"pid":7,"uid":0,"exe":"/bin/sh","ARGV":["0x1"]},"EXECVE":{"argc":2,"ARGV":["sh","a \"b\""]},"CWD":{"cwd":"/"},"PATH":[{"item":0,"name":"/bin/sh"},{"item":1,"name":"/ld"}],"PARENT_INFO":{"exe":"/usr/sbin/nginx","ARGV":["nginx","-g"]}}"#;
    let row = LogRecord { body: body.into(), ..LogRecord::default() };
    let mut assembler = Assembler::new(AssemblerSettings::default());
    let mut kinds = vec![];
    for event in taxonomy.events(&row) {
        assert_eq!(taxonomy.classes[usize::from(event.class.unwrap().0)].name, "linux/auditd");
        kinds.push(event.field("type").unwrap().text().unwrap().into_owned());
        event.audit.iter().for_each(|text| assembler.add(record("h", text), 0));
    }
    assert_eq!(kinds, ["SYSCALL", "EXECVE", "CWD", "PATH", "PATH"]);
    let events = assembler.due(0);
    let found: Vec<String> = fields(&events[0]).iter().map(|(n, v)| format!("{n}={v}")).collect();
    has(
        &found,
        &["CommandLine=sh a \"b\"", "ParentImage=/usr/sbin/nginx", "ParentCommandLine=nginx -g", "User=root"],
    );
}

#[test]
fn the_classes_are_those_of_the_categories() {
    let taxonomy = Taxonomy::builtin().unwrap();
    let mut assembler = Assembler::new(AssemblerSettings::default());
    add(&mut assembler, &EXECVE, 0);
    let event = taxonomy.audit_event(&assembler.due(0)[0]).unwrap();
    let class = &taxonomy.classes[usize::from(event.class.unwrap().0)];
    assert_eq!(class.name, "linux/auditd/process_creation");
    let rule = |product: Option<&str>, category: Option<&str>| crate::rule::LogSource {
        product: product.map(str::to_owned),
        category: category.map(str::to_owned),
        service: None,
    };
    let takes = |rule| class.views.iter().any(|view| view.takes(&rule));
    assert!(takes(rule(Some("linux"), Some("process_creation"))));
    assert!(takes(rule(None, Some("process_creation"))));
    // These have seen the records themselves.
    assert!(!takes(rule(Some("linux"), None)));
    assert!(!takes(rule(None, None)));
}

/// An event by its host, time and number, and its fields.
type Told = (String, u64, u64, Vec<(String, String)>);

/// Some events of two hosts, as lists of records.
fn stories() -> Vec<(&'static str, Vec<String>)> {
    let mut all = vec![];
    for (host, from) in [("a", 0), ("b", 1)] {
        for n in 0..4 {
            let at = from + 2 * n;
            all.push((host, execve(at, 50 + n, 1, "/bin/sh", &["sh", "-c", "x y"], n % 2 == 0)));
        }
        let id = format!("audit(1000.500:{from})");
        all.push((host, vec![
            format!("type=SYSCALL msg={id}: arch=c000003e syscall=42 success=yes items=0 ppid=1 pid=9 uid=0 exe=\"/bin/nc\""),
            format!("type=SOCKADDR msg={id}: saddr=0200115CCB0071090000000000000000"),
            format!("type=PROCTITLE msg={id}: proctitle=\"nc\""),
            format!("type=EOE msg={id}:"),
        ]));
        let id = format!("audit(1000.501:{from})");
        all.push((host, vec![
            format!("type=SYSCALL msg={id}: arch=c000003e syscall=2 a1=241 success=yes items=2 ppid=1 pid=9 uid=0 exe=\"/bin/vi\""),
            format!("type=CWD msg={id}: cwd=\"/etc\""),
            format!("type=PATH msg={id}: item=0 name=\"/etc\" mode=040755 nametype=PARENT"),
            format!("type=PATH msg={id}: item=1 name=\"x\" mode=0100644 nametype=CREATE"),
        ]));
    }
    all
}

proptest! {
    /// Any order, any mixture, any batches, rows sent twice and a restart after any batch: the same.
    #[test]
    fn order_and_batches_do_not_count(
        order in Just((0..stories().iter().map(|(_, r)| r.len()).sum::<usize>()).collect::<Vec<_>>()).prop_shuffle(),
        twice in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        batch in 1..30_usize,
    ) {
        let stories = stories();
        let all: Vec<(&str, &String)> = stories.iter().flat_map(|(h, r)| r.iter().map(move |r| (*h, r))).collect();
        let told = |events: &[AuditEvent]| -> Vec<Told> {
            let mut told: Vec<_> =
                events.iter().map(|e| (e.host.clone(), e.time_ms, e.serial, fields(e))).collect();
            for (_, _, _, fields) in &mut told {
                fields.retain(|(name, _)| !matches!(name.as_str(), "ParentImage" | "ParentCommandLine" | "ParentUser"));
            }
            told.retain(|(_, _, _, fields)| !fields.is_empty());
            told.sort();
            told
        };
        let mut whole = Assembler::new(AssemblerSettings::default());
        all.iter().for_each(|(host, text)| whole.add(record(host, text), 0));
        let wanted = told(&whole.flush());
        prop_assert_eq!(wanted.len(), 12);

        let mut order: Vec<usize> = order;
        for index in &twice {
            let again = order[index.index(order.len())];
            order.push(again);
        }
        let (mut found, mut stored) = (vec![], BTreeMap::new());
        let mut assembler = Assembler::new(AssemblerSettings::default());
        for batch in order.chunks(batch) {
            for index in batch {
                assembler.add(record(all[*index].0, all[*index].1), 0);
            }
            found.extend(assembler.due(0));
            let changes = assembler.take_changes();
            changes.deletes.iter().for_each(|key| drop(stored.remove(key)));
            stored.extend(changes.upserts);
            prop_assert_eq!(stored.len(), assembler.waiting());
        }
        let mut restored =
            Assembler::restore(AssemblerSettings::default(), stored.into_values().collect(), 0);
        found.extend(restored.flush());
        prop_assert_eq!(told(&found), wanted);
    }

    #[test]
    fn any_text_is_taken(texts in proptest::collection::vec("(type=(SYSCALL|EXECVE|PATH|SOCKADDR) msg=audit\\([0-9.:]{0,30}\\): )?.{0,40}", 0..20)) {
        let mut assembler = Assembler::new(AssemblerSettings::default());
        texts.iter().for_each(|text| assembler.add(record("h", text), 0));
        for audit in assembler.flush() {
            fields(&audit);
        }
    }
}
