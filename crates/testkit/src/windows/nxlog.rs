//! Reads events in the flat form NXLog and similar shippers export: System fields, the shipper's own
//! and the event's data side by side at the top level.

use serde_json::{Map, Value};

use super::{Rendering, WindowsEvent, braced, number, number32, printed, time_ns};

/// Fields that are the event's System part, or the pipeline's own.
const NOT_DATA: [&str; 33] = [
    "@timestamp",
    "@version",
    "ActivityID",
    "Category",
    "Channel",
    "ERROR_EVT_UNRESOLVED",
    "EventID",
    "EventReceivedTime",
    "EventTime",
    "EventTypeOrignal",
    "ExecutionProcessID",
    "Hostname",
    "Keywords",
    "Level",
    "Message",
    "Opcode",
    "OpcodeValue",
    "ProviderGuid",
    "RecordNumber",
    "RelatedActivityID",
    "Severity",
    "SeverityValue",
    "SourceModuleName",
    "SourceModuleType",
    "SourceName",
    "Task",
    "ThreadID",
    "TimeCreated",
    "UserID",
    "Version",
    "host",
    "port",
    "tags",
];

/// NXLog's reading of the System user, where a line comes from NXLog and has one.
const NXLOG_USER: [&str; 3] = ["AccountName", "AccountType", "Domain"];

/// NXLog's own `EventType`; other values are the event's data (Sysmon's `SetValue`, …).
const NXLOG_EVENT_TYPES: [&str; 8] =
    ["AUDIT_FAILURE", "AUDIT_SUCCESS", "CRITICAL", "DEBUG", "ERROR", "INFO", "VERBOSE", "WARNING"];

/// The event of a flat line. What is missing is left empty.
#[must_use]
pub fn read(line: &Map<String, Value>) -> WindowsEvent {
    let text = |name: &str| line.get(name).map(printed).unwrap_or_default();
    let count = |name: &str| line.get(name).map(number32).unwrap_or_default();
    let time = ["TimeCreated", "@timestamp", "EventReceivedTime"].iter().find_map(|name| line.get(*name));
    WindowsEvent {
        channel: text("Channel"),
        computer: text("Hostname"),
        provider: text("SourceName"),
        provider_guid: braced(&text("ProviderGuid")),
        event_id: count("EventID"),
        version: count("Version"),
        level: line.get("Level").map_or_else(|| level_of(count("SeverityValue")), number32),
        task: count("Task"),
        opcode: count("OpcodeValue"),
        keywords: line.get("Keywords").map(keywords).unwrap_or_default(),
        time_ns: time_ns(&time.map(printed).unwrap_or_default()),
        record_id: line.get("RecordNumber").map(number).unwrap_or_default(),
        process_id: count("ExecutionProcessID"),
        thread_id: count("ThreadID"),
        activity_id: braced(&text("ActivityID")),
        user_sid: text("UserID"),
        event_data: event_data(line),
        rendering: line.contains_key("Message").then(|| Rendering {
            message: text("Message"),
            task: line.get("Category").map(printed),
            opcode: line.get("Opcode").map(printed),
            ..Rendering::default()
        }),
        ..WindowsEvent::default()
    }
}

fn event_data(line: &Map<String, Value>) -> Vec<(String, String)> {
    let from_nxlog = line.contains_key("SourceModuleType");
    let has_user = from_nxlog && line.contains_key("UserID");
    let mut data = Vec::new();
    for (name, value) in line {
        let own = NOT_DATA.contains(&name.as_str())
            || has_user && NXLOG_USER.contains(&name.as_str())
            || from_nxlog
                && name == "EventType"
                && value.as_str().is_some_and(|value| NXLOG_EVENT_TYPES.contains(&value));
        if !own {
            data.push((name.clone(), printed(value)));
        }
    }
    data
}

/// The mask in hex; NXLog writes it as a signed decimal.
fn keywords(value: &Value) -> String {
    match value.as_i64() {
        Some(mask) => format!("0x{:x}", mask.cast_unsigned()),
        None => printed(value),
    }
}

/// NXLog's 1 (debug) to 5 (critical) as Windows' levels; a missing one as 0 (always logged).
fn level_of(severity: u32) -> u32 {
    match severity {
        1 => 5,
        2 => 4,
        3 => 3,
        4 => 2,
        5 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_is_told_from_the_shippers_fields() {
        let line = json!({"EventID": 13, "Channel": "Microsoft-Windows-Sysmon/Operational", "Hostname": "W6",
            "SourceModuleType": "im_msvistalog", "UserID": "S-1-5-18", "AccountName": "SYSTEM", "Domain": "NT",
            "EventType": "SetValue", "EventTypeOrignal": "INFO", "Keywords": -9_223_372_036_854_775_808_i64,
            "SeverityValue": 2, "TargetObject": "HKU\\x", "ProcessId": "61", "@timestamp": "2020-06-10T02:50:56.537Z"});
        let read = read(line.as_object().unwrap());
        assert_eq!(read.keywords, "0x8000000000000000");
        assert_eq!((read.level, read.event_id, read.time_ns), (4, 13, 1_591_757_456_537_000_000));
        let names: Vec<&str> = read.event_data.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["EventType", "TargetObject", "ProcessId"]);
    }

    #[test]
    fn an_account_name_of_the_event_stays() {
        let line = json!({"EventID": 7045, "Level": "4", "AccountName": "LocalSystem", "EventType": "INFO"});
        assert_eq!(read(line.as_object().unwrap()).event_data.len(), 2);
    }
}
