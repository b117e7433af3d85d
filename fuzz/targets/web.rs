//! Access and error lines of web servers.
#![no_main]

const BEGINNINGS: &[&str] = &[
    r##""##,
    r##"10.1.2.3 - - [05/Aug/2026:10:15:30 +0000] ""##,
    r##"example.org:443 10.1.2.3 - bob [05/Aug/2026:10:15:30 +0000] "GET "##,
    r##"2026-08-05 10:15:30 10.0.0.1 GET /"##,
    r##"[Fri Oct 08 17:08:41.123 2026] [core:error] [pid 1] "##,
    r##"2026/08/05 10:15:30 [error] 123#123: *1 "##,
    r##"h2 2026-08-05T10:15:30.003Z app/"##,
    r##"10.1.2.3:55032 [04/Apr/2024:14:30:18.885] f~ b/s 0/0/0/1/1 404 1 "##,
    r##"[2026-08-05T10:15:30.310Z] "GET /"##,
    r##"2024-03-12	15:22:28	CDG50-P2	703	1.2.3.4	GET	"##,
    r##"[29/Jul/2023:10:26:06 -0700] - 200 404 - GET https "##,
    r##"INFO:     192.168.1.1:52782 - "POST "##,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| otel_log_ai_fuzz::body(
    BEGINNINGS,
    &["access.log", "error.log", "u_ex260805.log"],
    data
));
