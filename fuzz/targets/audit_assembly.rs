//! Records of the Linux audit log put together: any order, hosts and times.
#![no_main]

use otel_log_ai_core::otel::{Assembler, AssemblerSettings, AuditRecord, AuditRow, Taxonomy};
use std::sync::LazyLock;

const BEGINNINGS: &[&str] = &[
    "",
    "type=SYSCALL msg=audit(1785924930.123:4567): arch=c000003e syscall=59 success=yes pid=2 ppid=1 exe=\"/bin/a\"\n",
    "type=SYSCALL msg=audit(1785924930.123:4567): arch=c000003e syscall=42 success=yes pid=2 exe=\"/bin/a\"\ntype=SOCKADDR msg=audit(1785924930.123:4567): saddr=",
    "type=SYSCALL msg=audit(1785924930.123:4567): arch=c000003e syscall=257 success=yes items=2\ntype=PATH msg=audit(1785924930.123:4567): item=1 nametype=CREATE name=",
    "{\"ID\":\"1785924930.123:4567\",\"SYSCALL\":{\"syscall\":59},\"EXECVE\":{\"ARGV\":[\"",
];

static TAXONOMY: LazyLock<Taxonomy> =
    LazyLock::new(|| Taxonomy::builtin().unwrap_or_else(|problem| panic!("{problem}")));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = otel_log_ai_fuzz::text(BEGINNINGS, data);
    let mut assembler = Assembler::new(AssemblerSettings::default());
    let mut now_ms = 0;
    let mut events = vec![];
    for (number, line) in text.lines().enumerate() {
        let row = AuditRow { id: number.to_string(), timestamp_ns: 1, resources: vec![] };
        let host = if line.len() % 7 == 0 { "b" } else { "a" };
        assembler.add(AuditRecord { host: host.into(), text: line.into(), row }, now_ms);
        if line.len() % 5 == 0 {
            now_ms += 1000 * line.len() as i64;
        }
        events.extend(assembler.due(now_ms));
        assembler.take_changes();
    }
    events.extend(assembler.flush());
    assert_eq!(assembler.waiting(), 0);
    for event in &events {
        TAXONOMY.audit_event(event);
    }
});
