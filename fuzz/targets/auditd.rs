//! Records of the Linux audit log.
#![no_main]

const BEGINNINGS: &[&str] = &[
    r##""##,
    r##"type=SYSCALL msg=audit(1785924930.123:4567): arch=c000003e syscall=59 "##,
    r##"type=EXECVE msg=audit(1785924930.123:4567): argc=2 a0="##,
    r##"type=SOCKADDR msg=audit(1785924930.123:4567): saddr="##,
    r##"type=PROCTITLE msg=audit(1785924930.123:4567): proctitle="##,
    r##"type=USER_LOGIN msg=audit(1785924930.123:4567): pid=1 uid=0 msg='op=login "##,
    r##"[49787.970285] audit: type=1400 audit(1785924930.123:4567): "##,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| otel_log_ai_fuzz::body(BEGINNINGS, &["audit.log"], data));
