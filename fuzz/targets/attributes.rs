//! Records whose content stands in attributes: `name=value` a line, the body last.
#![no_main]

use otel_log_ai_core::otel::LogRecord;
use std::borrow::Cow;

const BEGINNINGS: &[&str] = &[
    "",
    "winlog.channel=Security\nwinlog.event_id=4625\n",
    "channel=Security\nevent_id={\"id\":4625}\nevent_data=",
    "appname=sshd\nhostname=h\nmessage=",
    "rpc.service=iam.amazonaws.com\nrpc.method=CreateUser\naws.request.parameters=",
    "remote_addr=10.0.0.1\nstatus=200\nrequest_path=",
    "process.executable.path=/bin/sh\nprocess.command_line=",
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = otel_log_ai_fuzz::text(BEGINNINGS, data);
    let mut record = LogRecord::default();
    for line in text.lines() {
        let (name, value): (Cow<'_, str>, Cow<'_, str>) = match line.split_once('=') {
            Some((name, value)) => (name.into(), value.into()),
            None => {
                record.body = line.into();
                continue;
            }
        };
        match value.parse() {
            Ok(number) if name.len() % 2 == 0 => record.attributes_number.push((name, number)),
            _ if name.ends_with('?') => record.attributes_bool.push((name, true)),
            _ if name.starts_with("host.") => record.resources.push((name, value)),
            _ => record.attributes_string.push((name, value)),
        }
    }
    otel_log_ai_fuzz::recognise(&record);
});
