//! Windows events as XML, whole and cut, alone and behind a syslog header.
#![no_main]

const BEGINNINGS: &[&str] = &[
    r##""##,
    r##"<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Sysmon'/><EventID>1</EventID><Channel>Microsoft-Windows-Sysmon/Operational</Channel></System><EventData>"##,
    r##"Aug  5 10:15:30 lin01 sysmon: <Event><System>"##,
    r##"{"MESSAGE":"<Event>"##,
    r##"<Event><System><EventID>104</EventID></System><UserData><LogFileCleared>"##,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| otel_log_ai_fuzz::body(BEGINNINGS, &[], data));
