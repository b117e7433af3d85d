//! Journal entries: messages as text and as bytes, audit records of the kernel.
#![no_main]

const BEGINNINGS: &[&str] = &[
    r##""##,
    r##"{"__CURSOR":"s=1","_TRANSPORT":"syslog","_BOOT_ID":"b","SYSLOG_IDENTIFIER":"sshd","MESSAGE":"##,
    r##"{"__CURSOR":"s=1","_TRANSPORT":"audit","_BOOT_ID":"b","_AUDIT_TYPE_NAME":"SYSCALL","_AUDIT_ID":"1","MESSAGE":"SYSCALL "##,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| otel_log_ai_fuzz::body(BEGINNINGS, &[], data));
