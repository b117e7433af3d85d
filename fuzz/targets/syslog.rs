//! Lines with a syslog header of any form, and what programs write behind it.
#![no_main]

const BEGINNINGS: &[&str] = &[
    r##""##,
    r##"<38>Aug  5 10:15:30 lin01 "##,
    r##"<165>1 2026-08-05T10:15:30.003Z lin01 evntslog 8710 ID47 "##,
    r##"Aug  5 10:15:30 lin01 sshd[1234]: "##,
    r##"2026-08-05T10:15:30.123456+02:00 lin01 sudo[4321]: "##,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| otel_log_ai_fuzz::body(
    BEGINNINGS,
    &["auth.log", "syslog", "cron"],
    data
));
