//! The bodies of the format notes (made byte for byte as Go prints them) come out of the same events.
#![allow(clippy::unwrap_used, reason = "a test that fails by panicking says enough")]

use std::path::Path;

use otel_log_ai_testkit::signoz::go_json::Html;
use otel_log_ai_testkit::windows::{Form, Rendering, Shape, UserDataForm, WindowsEvent};
use serde_json::Value;

/// The event behind an example, read back from its parsed body in shape D (and C, for the data's order).
fn event(c: &Value, d: &Value) -> WindowsEvent {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| u32::try_from(value.as_u64().unwrap_or_default()).unwrap();
    let info = &d["rendering_info"];
    let rendered = |name: &str| (!text(&info[name]).is_empty()).then(|| text(&info[name]));
    let keywords: Vec<String> = info["keywords"].as_array().unwrap().iter().map(text).collect();
    let data = c["event_data"]["data"].as_array().unwrap();
    WindowsEvent {
        channel: text(&d["channel"]),
        computer: text(&d["computer"]),
        provider: text(&d["provider"]["name"]),
        provider_guid: text(&d["provider"]["guid"]),
        event_source: text(&d["provider"]["event_source"]),
        event_id: number(&d["event_id"]["id"]),
        qualifiers: number(&d["event_id"]["qualifiers"]),
        version: number(&d["version"]),
        keywords: text(&d["keywords"][0]),
        time_ns: u64::try_from(text(&d["system_time"]).parse::<jiff::Timestamp>().unwrap().as_nanosecond())
            .unwrap(),
        record_id: d["record_id"].as_u64().unwrap(),
        process_id: number(&d["execution"]["process_id"]),
        thread_id: number(&d["execution"]["thread_id"]),
        user_sid: text(&d["security"]["user_id"]),
        event_data: data
            .iter()
            .map(|entry| entry.as_object().unwrap().iter().next().map(|(k, v)| (k.clone(), text(v))).unwrap())
            .collect(),
        rendering: Some(Rendering {
            message: text(&info["message"]),
            level: rendered("level"),
            task: rendered("task"),
            opcode: rendered("opcode"),
            keywords,
            details: d.get("details").cloned(),
        }),
        ..WindowsEvent::default()
    }
}

#[test]
fn bodies_are_as_the_receiver_and_go_print_them() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/formats/examples/windows-bodies.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not here", path.display());
        return;
    };
    let examples: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(examples.len(), 6);
    for (name, example) in &examples {
        let event = event(&example["objC"], &example["objD"]);
        let form = |shape| Form { shape, user_data: UserDataForm::GoMap, html: Html::Escaped };
        assert_eq!(event.body(form(Shape::C)), example["C"].as_str().unwrap(), "{name} C");
        assert_eq!(event.body(form(Shape::D)), example["D"].as_str().unwrap(), "{name} D");
        let plain = Form { html: Html::Plain, ..form(Shape::C) };
        assert_eq!(event.body(plain), example["C_nohtml"].as_str().unwrap(), "{name} plain");
    }
}
