//! Lines of proxies, name servers, firewalls and Zeek.
#![no_main]

const BEGINNINGS: &[&str] = &[
    r##""##,
    r##"1785924930.123    161 10.1.2.3 TCP_MISS/200 "##,
    r##"05-Aug-2026 10:15:30.123 queries: info: client @0x7f 10.1.2.3#5353 ("##,
    r##"CEF:0|Vendor|Product|1.0|100|name|5|"##,
    r##"LEEF:2.0|Vendor|Product|1.0|100|^|"##,
    r##"date=2026-08-05 time=10:15:30 devname="fw" type="traffic" "##,
    r##"1785924930.123456	Cabc	10.1.2.3	"##,
    r##"[UFW BLOCK] IN=eth0 OUT= SRC="##,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| otel_log_ai_fuzz::body(
    BEGINNINGS,
    &["access.log", "query.log", "http.log", "dns.log", "conn.log", "dnsmasq.log", "filter.log"],
    data
));
