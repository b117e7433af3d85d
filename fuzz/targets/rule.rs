//! Rules: any YAML loads or is told as a problem, and what loads compiles and runs.
#![no_main]

use otel_log_ai_core::engine::{Engine, Scratch};
use otel_log_ai_core::otel::{Class, ClassId, Event, View};
use otel_log_ai_core::rule::{self, LogSource};

const BEGINNINGS: &[&str] = &[
    "",
    "title: t\nlogsource: {product: windows}\ndetection:\n  condition: a\n  a:\n    ",
    "title: t\nlogsource: {product: windows}\ndetection:\n  a: {F: x}\n  b: {G: y}\n  condition: ",
    "title: t\nlogsource: {product: windows}\ndetection:\n  condition: a\n  a:\n    F|re: ",
    "title: t\nlogsource: {product: windows}\ndetection:\n  condition: a\n  a:\n    F|windash|contains|all: ",
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = otel_log_ai_fuzz::text(BEGINNINGS, data);
    let (rules, _) = rule::load("fuzz.yml", &text);
    if rules.is_empty() {
        return;
    }
    let logsource = LogSource { product: Some("windows".into()), category: None, service: None };
    let class = Class { name: "c".into(), views: vec![View { logsource, ..View::default() }] };
    let engine = Engine::compile(rules, &[class]);
    let mut event = Event { class: Some(ClassId(0)), ..Event::default() };
    for (name, value) in [("F", "C:\\\\Windows\\\\x -y"), ("G", "4625"), ("H", "ſK–/a")] {
        event.push(name, value);
    }
    let mut scratch = Scratch::default();
    for hit in engine.run(&event, &mut scratch).to_vec() {
        engine.evidence(&event, &mut scratch, hit);
    }
});
