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
    r##"[1628158530] unbound[1:0] info: 192.0.2.1 "##,
    r##"[INFO] 10.244.0.5:38123 - 1 "A IN "##,
    r##"Aug  5 10:15:30 dnsmasq[1]: query["##,
    r##"Aug  5 10:15:30 ns pdns_recursor[1]: question for '"##,
    r##"8/5/2026 10:15:30 AM 0E3C PACKET  0000 UDP Rcv 10.0.0.5 "##,
    r##"2026-08-05 10:15:30 53 10.0.0.9 bob - - OBSERVED "x" - 200 TCP_MISS GET "##,
    r##"LEEF:1.0|Vendor|Product|1.0|100|"##,
    r##"1,2026/08/05 10:15:30,1,THREAT,url,1,"##,
    r##"<166>Aug 05 2026 10:15:30 fw1 : %ASA-6-302013: Built "##,
    r##"<189>45: *Aug  5 10:15:30.123: %PARSER-5-CFGLOG_LOGGEDCMD: "##,
    r##"Aug  5 2026 10:15:30 hw %%01BGP/3/"##,
    r##"Aug  5 10:15:30 fw filterlog[1]: 5,,,1,igb1,match,pass,out,4,"##,
    r##"firewall,info drop input: in:a out:b, proto TCP, "##,
    r##"2 123456789010 eni-1 10.0.0.9 "##,
    r##"<14>1 2026-08-05T10:15:30Z srx RT_FLOW - RT_FLOW_SESSION_CREATE ["##,
    r##"id=firewall sn=C0EA fw=10.0.0.1 src="##,
    r##"device="SFW" device_id=C1 log_type="Firewall" log_subtype="##,
    r##"2026-08-05 10:15:30.123 UTC [147] LOG:  "##,
    r##"2023-07-31T08:34:16.116872Z	   14 Query	"##,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| otel_log_ai_fuzz::body(
    BEGINNINGS,
    &["access.log", "query.log", "http.log", "dns.log", "conn.log", "dnsmasq.log", "filter.log"],
    data
));
