//! Recognition and decoding alone: records in, events out, for every source.

use crate::report::{Report, rate};
use cpu_time::ThreadTime;
use otel_log_ai_bench::inputs::Set;
use otel_log_ai_core::detect::Detector;
use otel_log_ai_core::otel::{Buffers, LogRecord};
use std::hint::black_box;
use std::time::Duration;

/// Measures each set.
pub fn measure(detector: &Detector, windows: &[Set], others: &[Set], report: &mut Report) {
    for set in windows.iter().chain(others) {
        let records = set.records();
        let taxonomy = detector.taxonomy();
        let mut buffers = Buffers::default();
        let per_s = rate(records.len(), || {
            for record in &records {
                taxonomy.recognise_in(&mut buffers, record, &mut |event| {
                    black_box(&event);
                });
            }
        });
        report.add("recognise and decode", set.name, per_s, "/s");
        let bytes: usize = records.iter().map(|record| record.body.len()).sum();
        let mb_per_s = per_s * bytes as f64 / records.len() as f64 / 1e6;
        report.add("recognise and decode", set.name, mb_per_s, "MB/s");
    }
    for set in windows {
        touched(set, report);
    }
    slowest(detector, report);
}

/// What no way of a record can be faster than: each byte of its body looked at once, by the fastest search
/// there is, and copied once.
fn touched(set: &Set, report: &mut Report) {
    let bodies: Vec<&[u8]> = set.rows.iter().map(|row| row.body.as_slice()).collect();
    let searched = rate(bodies.len(), || {
        for body in &bodies {
            black_box(memchr::memchr(0, body));
        }
    });
    report.add("bound: each byte searched once", set.name, searched, "/s");
    let mut copy = vec![];
    let copied = rate(bodies.len(), || {
        for body in &bodies {
            copy.clear();
            copy.extend_from_slice(body);
            black_box(&copy);
        }
    });
    report.add("bound: each byte copied once", set.name, copied, "/s");
    // As JSON and nothing else, by the fastest reader there is.
    let texts: Vec<&str> = bodies.iter().filter_map(|body| std::str::from_utf8(body).ok()).collect();
    let parsed = rate(texts.len(), || {
        for text in &texts {
            black_box(sonic_rs::from_str::<sonic_rs::Value>(text).is_ok());
        }
    });
    report.add("bound: read by sonic-rs", set.name, parsed, "/s");
}

/// Records of 1 MiB made to be slow to read: what each decoder looks for, over and over.
fn slowest(detector: &Detector, report: &mut Report) {
    const BEGINNINGS: &[(&str, &str)] = &[
        (r#"{"channel":"Security","computer":"w","event_id":{"id":1},"event_data":{"#, r#""a":"b","#),
        (r#"{"channel":"Security","event_id":{"id":1},"user_data":{"data":"map["#, "a:b c:d ::"),
        (
            "<Event><System><EventID>1</EventID><Channel>Security</Channel></System><EventData>",
            "<Data Name='a'>&lt;</Data>",
        ),
        ("<Event><System>", "<Event>"),
        ("type=SYSCALL msg=audit(1.2:3): ", "a=b "),
        ("type=EXECVE msg=audit(1.2:3): argc=9 ", "a1[0]=41424344 "),
        ("Aug  5 10:15:30 lin01 sshd[1]: ", "for user from 1.2.3.4 port "),
        ("Aug  5 10:15:30 lin01 sudo[1]: bob : ", "TTY=a ; PWD=b ; USER=c ; "),
        ("10.1.2.3 - - [05/Aug/2026:10:15:30 +0000] \"GET /", "?a=%20\\\""),
        (r#"{"__CURSOR":"a","_TRANSPORT":"t","_BOOT_ID":"b","MESSAGE":["#, "65,"),
        (r#"{"Records":["#, r#"{"a":1},"#),
        (r#"{"eventSource":"a.amazonaws.com","eventName":"b","requestParameters":{"a":["#, r#"{"b":1},"#),
        ("CEF:0|a|b|c|d|e|5|", "a=b\\= c=d "),
        ("", "[[[["),
        ("", "{\"a\":"),
        ("", "a=\"b\" "),
        ("", "\t"),
    ];
    let mut worst = (Duration::ZERO, "");
    for (beginning, piece) in BEGINNINGS {
        let body = format!("{beginning}{}", piece.repeat((1 << 20) / piece.len()));
        let record = LogRecord { body: body.as_str().into(), ..LogRecord::default() };
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let started = ThreadTime::now();
            detector.taxonomy().recognise(&record, &mut |event| {
                black_box(&event);
            });
            best = best.min(started.elapsed());
        }
        if best > worst.0 {
            worst = (best, if beginning.is_empty() { piece } else { beginning });
        }
    }
    report.aim("slowest of the hostile records", "1 MiB", worst.0.as_secs_f64() * 1e3, "ms", 50.0);
    report.notes.push(format!("the slowest hostile record begins with `{}`", worst.1));
}
