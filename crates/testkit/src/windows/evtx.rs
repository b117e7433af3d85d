//! Reads events as `evtx_dump` exports them: `Event.System`, `Event.EventData`, attributes under
//! `#attributes`, numbers typed. GUIDs stay without braces, as no rule depends on them.

use serde_json::{Map, Value};

use super::{UserData, WindowsEvent, braced, number, number32, printed, time_ns};

/// The event of an exported `Event` object. What is missing or broken is left empty.
#[must_use]
pub fn read(event: &Value) -> WindowsEvent {
    let system = &event["System"];
    let provider = &system["Provider"]["#attributes"];
    let text = |value: &Value| printed(value);
    let event_id = &system["EventID"];
    let mut read = WindowsEvent {
        channel: text(&system["Channel"]),
        computer: text(&system["Computer"]),
        provider: text(&provider["Name"]),
        provider_guid: braced(&text(&provider["Guid"])),
        event_source: text(&provider["EventSourceName"]),
        event_id: number32(if event_id.is_object() { &event_id["#text"] } else { event_id }),
        qualifiers: number32(&event_id["#attributes"]["Qualifiers"]),
        version: number32(&system["Version"]),
        level: number32(&system["Level"]),
        task: number32(&system["Task"]),
        opcode: number32(&system["Opcode"]),
        keywords: text(&system["Keywords"]),
        time_ns: time_ns(&text(&system["TimeCreated"]["#attributes"]["SystemTime"])),
        record_id: number(&system["EventRecordID"]),
        process_id: number32(&system["Execution"]["#attributes"]["ProcessID"]),
        thread_id: number32(&system["Execution"]["#attributes"]["ThreadID"]),
        activity_id: braced(&text(&system["Correlation"]["#attributes"]["ActivityID"])),
        user_sid: text(&system["Security"]["#attributes"]["UserID"]),
        ..WindowsEvent::default()
    };
    if let Value::Object(data) = &event["EventData"] {
        event_data(data, &mut read);
    }
    if let Value::Object(user_data) = &event["UserData"] {
        read.user_data = user_data_of(user_data);
    }
    read
}

fn event_data(data: &Map<String, Value>, event: &mut WindowsEvent) {
    for (name, value) in data {
        match name.as_str() {
            "#attributes" => event.event_data_name = printed(&value["Name"]),
            "Binary" => event.binary = Some(printed(value)).filter(|binary| !binary.is_empty()),
            // `<Data>` without a name: one text or several.
            "Data" if value.is_object() => match &value["#text"] {
                Value::Array(items) => {
                    event.event_data.extend(items.iter().map(|item| (String::new(), printed(item))));
                }
                one => event.event_data.push((String::new(), printed(one))),
            },
            // `<ComplexData>`, which the receiver does not read.
            _ if value.get("#attributes").is_some() => {}
            name => event.event_data.push((name.to_owned(), printed(value))),
        }
    }
}

/// The receiver keeps the direct children's own text.
fn user_data_of(user_data: &Map<String, Value>) -> Option<UserData> {
    let (name, content) = user_data.iter().find(|(name, _)| !name.starts_with('#'))?;
    let mut read = UserData { name: name.clone(), ..UserData::default() };
    if let Value::Object(content) = content {
        read.xmlns = printed(&content.get("#attributes").cloned().unwrap_or_default()["xmlns"]);
        for (name, value) in content.iter().filter(|(name, _)| !name.starts_with('#')) {
            read.fields.push((name.clone(), printed(value)));
        }
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::Shape;
    use serde_json::json;

    #[test]
    fn an_export_becomes_what_the_receiver_sends() {
        let event = json!({"System": {"Provider": {"#attributes": {"Name": "P", "Guid": "AB-C"}},
            "EventID": {"#attributes": {"Qualifiers": 16384}, "#text": "7045"}, "Level": 4, "Keywords": "0x80",
            "TimeCreated": {"#attributes": {"SystemTime": "2025-12-06T21:11:02.649150Z"}}, "EventRecordID": "7",
            "Execution": {"#attributes": {"ProcessID": 3, "ThreadID": 4}}, "Channel": "System", "Computer": "h",
            "Security": null}, "EventData": {"N": 3389, "T": true, "E": null, "Data": {"#text": ["a", "b"]},
            "Binary": "0A14", "ComplexData": {"#attributes": {"Name": "x"}, "#text": "01"}}});
        let read = read(&event);
        assert_eq!(
            read.body(Shape::D.into()),
            r#"{"channel":"System","computer":"h","correlation":{},"event_data":{"E":"","N":"3389","T":"true","binary":"0A14","param1":"a","param2":"b"},"event_id":{"id":7045,"qualifiers":16384},"execution":{"process_id":3,"thread_id":4},"keywords":["0x80"],"level":"4","message":"","opcode":"0","provider":{"event_source":"","guid":"{ab-c}","name":"P"},"record_id":7,"system_time":"2025-12-06T21:11:02.6491500Z","task":"0","version":0}"#
        );
        let c = read.body(Shape::C.into());
        assert!(c.contains(r#""event_data":{"binary":"0A14","data":[{"N":"3389"},{"T":"true"},{"E":""},{"":"a"},{"":"b"}]}"#), "{c}");
        let b = read.body(Shape::B.into());
        assert!(b.contains(r#""event_data":{"E":"","N":"3389","T":"true"}"#), "{b}");
        let a = read.body(Shape::A.into());
        assert!(a.contains(r#""event_data":["3389","true","","a","b"]"#), "{a}");
        assert!(
            read.body(Shape::Xml.into())
                .contains("<Data Name='T'>true</Data><Data Name='E'></Data><Data>a</Data>")
        );
        assert_eq!(read.row(Shape::D.into()).severity_text, "INFO");
    }

    #[test]
    fn user_data_is_printed_as_go_prints_a_map() {
        let event = json!({"System": {"Channel": "Security"}, "UserData": {"LogFileCleared": {
            "#attributes": {"xmlns": "urn:x"}, "SubjectUserName": "bob", "Reason": 34}}});
        let read = read(&event);
        let body = read.body(Shape::D.into());
        assert!(
            body.contains(
                r#""user_data":{"data":"map[Reason:34 SubjectUserName:bob]","name":"LogFileCleared"}"#
            ),
            "{body}"
        );
        let xml = read.body(Shape::Xml.into());
        assert!(
            xml.contains("<UserData><LogFileCleared xmlns='urn:x'><SubjectUserName>bob</SubjectUserName>"),
            "{xml}"
        );
    }
}
