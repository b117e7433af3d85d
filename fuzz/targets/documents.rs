//! Any other JSON: documents of clouds and services, lists of them, wrapped lines.
#![no_main]

const BEGINNINGS: &[&str] = &[
    r##""##,
    r##"{"Records":["##,
    r##"{"kind":"EventList","items":["##,
    r##"{"logGroup":"g","logEvents":[{"message":""##,
    r##"{"eventSource":"iam.amazonaws.com","eventName":""##,
    r##"{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":""##,
    r##"{"log":""##,
    r##"[{"##,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| otel_log_ai_fuzz::body(BEGINNINGS, &[], data));
