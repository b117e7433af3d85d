//! Windows events as JSON: the shapes of the Collector's `event_data`, Go's printed `user_data`, other
//! shippers.
#![no_main]

const BEGINNINGS: &[&str] = &[
    r##""##,
    r##"{"channel":"Security","computer":"w","event_id":{"id":4625},"event_data":"##,
    r##"{"channel":"Microsoft-Windows-Sysmon/Operational","computer":"w","event_id":{"id":1},"event_data":{"data":[{"Hashes":""##,
    r##"{"channel":"System","computer":"w","event_id":{"id":104},"user_data":{"name":"x","data":"map["##,
    r##"{"winlog":{"channel":"Security","event_id":4624,"event_data":{"##,
    r##"{"Event":{"System":{"EventID":1,"Channel":"Security"},"EventData":{"##,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| otel_log_ai_fuzz::body(BEGINNINGS, &[], data));
