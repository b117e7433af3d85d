//! Real Windows events, each written in the forms in which Collectors send it: all forms must give
//! the same class, host and fields.
//!
//! Reads the EVTX corpora beside the checkout; where they are absent the test says so and passes.

use flate2::read::GzDecoder;
use otel_log_ai_core::otel::{LogRecord, Taxonomy};
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

/// An event as the corpus tells it.
struct Source {
    system: Map<String, Json>,
    /// Name and value, in order; the name is empty where the event gives none.
    data: Vec<(String, String)>,
    user_data: Option<(String, BTreeMap<String, String>)>,
}

fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        Json::Object(object) => object.get("#text").map(text).unwrap_or_default(),
        other => other.to_string(),
    }
}

fn all(value: &Json) -> Vec<String> {
    match value {
        Json::Array(list) => list.iter().map(text).collect(),
        Json::Object(object) => object.get("#text").map(all).unwrap_or_else(|| vec![String::new()]),
        other => vec![text(other)],
    }
}

fn source(line: &str) -> Source {
    let document: Json = serde_json::from_str(line).expect("a line of the corpus is JSON");
    let event = &document["Event"];
    let fields = |section: &Json| -> Vec<(String, Vec<String>)> {
        let section = section.as_object().cloned().unwrap_or_default();
        let fields = section.into_iter().filter(|(name, _)| name != "#attributes" && name != "Binary");
        fields.map(|(name, value)| (name, all(&value))).collect()
    };
    let mut data = vec![];
    for (name, values) in fields(&event["EventData"]) {
        let name = if name == "Data" { String::new() } else { name };
        data.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    let user_data = event["UserData"].as_object().and_then(|sections| {
        let (name, section) = sections.iter().find(|(name, _)| *name != "#attributes")?;
        let scalars = section.as_object()?.iter().filter(|(_, v)| !v.is_object() && !v.is_array());
        Some((name.clone(), scalars.map(|(name, value)| (name.clone(), text(value))).collect()))
    });
    Source { system: event["System"].as_object().cloned().unwrap_or_default(), data, user_data }
}

impl Source {
    fn part(&self, name: &str) -> String {
        self.system.get(name).map(text).unwrap_or_default()
    }

    fn provider(&self) -> String {
        self.system.get("Provider").map_or_else(String::new, |p| text(&p["#attributes"]["Name"]))
    }

    /// A map keeps only the last of them, so shape D loses data that the other forms have.
    fn repeats_a_name(&self) -> bool {
        let mut names = BTreeSet::new();
        self.data.iter().any(|(name, _)| !name.is_empty() && !names.insert(name))
    }

    /// The Collector's body with these forms of `event_data` and `user_data`.
    fn body(&self, event_data: Json, user_data: Option<Json>) -> String {
        let mut body = json!({
            "channel": self.part("Channel"), "computer": self.part("Computer"), "message": "",
            "event_id": {"id": self.part("EventID").parse::<i64>().unwrap_or(0)},
            "provider": {"name": self.provider(), "guid": "", "event_source": ""},
            "level": self.part("Level"), "keywords": [self.part("Keywords")], "task": self.part("Task"),
            "event_data": event_data,
        });
        if let Some(user_data) = user_data {
            body["user_data"] = user_data;
        }
        body.to_string()
    }

    /// Before v0.76: a list of values. `None` for events whose names are not known by position.
    fn shape_a(&self) -> Option<String> {
        let is_known = ["Security", "Microsoft-Windows-Sysmon/Operational"].contains(&&*self.part("Channel"));
        let is_named = !self.data.is_empty() && self.data.iter().all(|(name, _)| !name.is_empty());
        let values = self.data.iter().map(|(_, value)| json!(value)).collect();
        (is_known && is_named).then(|| self.body(Json::Array(values), None))
    }

    /// v0.89 to v0.147: a list of single-key objects.
    fn shape_c(&self) -> String {
        let list: Vec<Json> = self.data.iter().map(|(name, value)| json!({name: value})).collect();
        let user_data = self.user_data.as_ref().map(|(name, data)| json!({"name": name, "data": data}));
        self.body(json!({"data": list}), user_data)
    }

    /// v0.148 and later: a map, in which data without a name is `param1`, …; `UserData` as Go prints it.
    fn shape_d(&self) -> String {
        let mut map = Map::new();
        let mut anonymous = 0;
        for (name, value) in &self.data {
            anonymous += usize::from(name.is_empty());
            let name = if name.is_empty() { format!("param{anonymous}") } else { name.clone() };
            map.insert(name, json!(value));
        }
        let user_data = self.user_data.as_ref().map(|(name, data)| {
            let pairs: Vec<String> = data.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            json!({"name": name, "data": format!("map[{}]", pairs.join(" "))})
        });
        self.body(Json::Object(map), user_data)
    }

    fn xml(&self) -> String {
        let escape = |text: &str| quick_xml::escape::escape(text).into_owned();
        let part = |name: &str| format!("<{name}>{}</{name}>", escape(&self.part(name)));
        let parts: String = ["EventID", "Level", "Task", "Keywords", "Channel", "Computer"]
            .iter()
            .map(|name| part(name))
            .collect();
        let data = self.data.iter().map(|(name, value)| match name.as_str() {
            "" => format!("<Data>{}</Data>", escape(value)),
            name => format!("<Data Name='{}'>{}</Data>", escape(name), escape(value)),
        });
        let user_data = self.user_data.iter().map(|(section, data)| {
            let fields = data.iter().map(|(name, value)| format!("<{name}>{}</{name}>", escape(value)));
            format!("<UserData><{section} xmlns='x'>{}</{section}></UserData>", fields.collect::<String>())
        });
        format!(
            "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='{}'/>\
             {parts}</System><EventData>{}</EventData>{}</Event>",
            escape(&self.provider()),
            data.collect::<String>(),
            user_data.collect::<String>()
        )
    }
}

fn html_escaped(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Class, host and fields of a body.
fn seen(taxonomy: &Taxonomy, body: &str) -> (String, String, BTreeSet<String>) {
    let record = LogRecord { body: body.into(), ..LogRecord::default() };
    let event = taxonomy.events(&record).remove(0);
    assert_eq!(event.fault, None, "{body}");
    let class = event.class.map_or("none".into(), |id| taxonomy.classes[usize::from(id.0)].name.clone());
    let field = |(name, value): &(_, otel_log_ai_core::value::Value<'_>)| {
        format!("{name}={}", value.text().unwrap_or_default())
    };
    (class, event.host.to_string(), event.fields.iter().map(field).collect())
}

#[test]
fn real_events_are_equal_in_all_forms() {
    let taxonomy = Taxonomy::builtin().expect("the shipped taxonomy is sound");
    // Every fourth of the large corpus: all of it takes half a minute unoptimised.
    for (corpus, step) in [("evtx-attack", 4), ("sigma-regression", 1)] {
        let path = format!("../../../shared/corpora/{corpus}/events.dev.ndjson.gz");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
        let Ok(file) = std::fs::File::open(&path) else {
            eprintln!("skipped: no {}", path.display());
            continue;
        };
        let mut events = 0;
        for (number, line) in BufReader::new(GzDecoder::new(file)).lines().enumerate().step_by(step) {
            let source = source(&line.expect("the corpus is text"));
            let expected = seen(&taxonomy, &source.shape_c());
            assert!(expected.0.starts_with("windows"), "{corpus}:{number}");
            let mut forms = vec![html_escaped(&source.shape_c()), source.xml()];
            if !source.repeats_a_name() {
                forms.push(html_escaped(&source.shape_d()));
                forms.extend(source.shape_a());
            }
            for body in &forms {
                let seen = seen(&taxonomy, body);
                let differing: Vec<_> = seen.2.symmetric_difference(&expected.2).collect();
                assert!(differing.is_empty(), "{corpus}:{number}: {differing:#?} as {body}");
                assert_eq!((&seen.0, &seen.1), (&expected.0, &expected.1), "{corpus}:{number} as {body}");
            }
            events += 1;
        }
        assert!(events > 100, "{corpus} has {events} events");
    }
}
