//! No text makes a decoder panic, whatever line it was cut from.

use super::testing::decoded;
use proptest::prelude::*;

const PROGRAMS: [&str; 16] = [
    "",
    "CEF",
    "LEEF",
    "named",
    "unbound",
    "dnsmasq",
    "pdns_recursor",
    "filterlog",
    "kernel",
    "rpd",
    "RT_FLOW",
    "postgres",
    "tac_plus",
    "%ASA-6-302013",
    "45",
    "nginx",
];
const FILES: [&str; 5] = ["", "http.log", "dns.2026.log", "x509.log", "conn.log"];

/// Beginnings that lead to every decoder.
const STARTS: [&str; 40] = [
    "",
    "CEF:0|a|b|c|d|e|f|",
    "LEEF:1.0|a|b|c|d|",
    "LEEF:2.0|a|b|c|d|x09|",
    "[INFO] 1.2.3.4:5 - 1 \"",
    "[1] unbound[1:0] info: ",
    "[2026-08-05T10:15:30Z] \"",
    "[Fri Oct 08 17:08:41 2026] [core:error] ",
    "2026/08/05 10:15:30 [",
    "2026-08-05 10:15:30 ",
    "2026-08-05 10:15:30 1.2.3.4 GET /a b 80 - 1.2.3.5 ",
    "2026-08-05\t10:15:30\t",
    "2026-08-05T10:15:30.1Z 1 ",
    "https 2026-08-05T10:15:30.1Z ",
    "20260805 10:15:30,",
    "05-Aug-2026 10:15:30.1 client 1.2.3.4#5 (x): query: ",
    "1628158530.1 1 1.2.3.4 TCP_MISS/200 ",
    "1,2026/08/05 10:15:30,1,THREAT,url,",
    "8/5/2026 PACKET  UDP Rcv 1.2.3.4 ",
    "1.2.3.4:5 [05/Aug/2026:10:15:30.1] f b/s 0/0/0/0/0 ",
    "2 1 eni-1 ",
    "1.2.3.4 - - [x] \"",
    "%ASA-6-302013: Built ",
    "%%01BGP/3/X(l)",
    "firewall,info x in:a out:b, proto TCP, ",
    "IN=a SRC=1.2.3.4 DST=1.2.3.4 ",
    "date=1 devid=\"x\" type=\"",
    "id=1 sn=2 fw=3 ",
    "device=\"x\" log_type=\"x\" log_subtype=\"",
    "url=a useragent=b requestmethod=c urlclass=",
    "query[A] ",
    "reply ",
    "1 1.2.3.4/5 query[",
    "question for '",
    "qname=\"",
    "RT_FLOW_SESSION_CREATE ",
    "LOG:  statement: ",
    "1628158530.1\tCx\t1.2.3.4\t1\t1.2.3.4\t2\t",
    "task_id= service=shell cmd=",
    "1,,,1,em0,match,pass,in,4,",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_panics(
        start in prop::sample::select(STARTS.to_vec()),
        rest in prop_oneof![".{0,80}", "[ -~\t]{0,120}", "([A-Za-z0-9é.:/\\[\\]\"'=,|?%-]{0,9}[ \t]){0,30}"],
        program in prop::sample::select(PROGRAMS.to_vec()),
        file in prop::sample::select(FILES.to_vec()),
    ) {
        let text = format!("{start}{rest}");
        decoded(program, file, &text);
        let mut cut = text.len() / 2;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        decoded(program, file, &text[..cut]);
    }
}

#[test]
fn a_form_has_a_class() {
    // Names of forms stand in the taxonomy as they stand here.
    let taxonomy = crate::otel::Taxonomy::builtin().unwrap();
    for form in STARTS.iter().filter_map(|start| decoded("", "", start).0) {
        let mut sources = taxonomy.sources.iter();
        let is_named = sources.any(|source| super::super::class::any(&source.when.form, form));
        assert!(is_named || form == super::WEB_ACCESS, "no class for {form}");
    }
}

#[test]
fn a_long_line_takes_no_long_time() {
    for start in STARTS {
        for filler in ["a=b ", "[", "\"", "% ", ", ", "\t", "é", "] \"", "\\", "|"] {
            let text = format!("{start}{}", filler.repeat((64 << 10) / filler.len()));
            let before = std::time::Instant::now();
            decoded("", "", &text);
            // What is not linear takes many times as long.
            let took = before.elapsed().as_millis();
            assert!(took < 1000, "{start} with {filler}");
        }
    }
}
