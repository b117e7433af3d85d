//! One Windows event, and its body in every shape the Collector's Windows receiver has produced.
//!
//! The shapes differ by agent version (contrib `pkg/stanza/operator/input/windows`): [`Shape`]. The
//! reverse, reading the corpora's exports, is in [`evtx`] and [`nxlog`].

pub mod evtx;
pub mod nxlog;
mod xml;

use serde_json::{Map, Value, json};

use crate::signoz::LogRow;
use crate::signoz::go_json::{self, Html};

/// The form of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Before v0.76: `event_data` is a list of values, the names lost.
    #[value(name = "A")]
    A,
    /// v0.76 to v0.88: a flat map, unnamed values dropped.
    #[value(name = "B")]
    B,
    /// v0.89 to v0.147, later with `event_data_format: array`: `{"data":[{name:value},…]}`.
    #[value(name = "C")]
    C,
    /// Since v0.148: a flat map, unnamed values as `param1`, `param2`, ….
    #[value(name = "D")]
    D,
    /// `raw: true`: the event's XML.
    #[value(name = "XML")]
    Xml,
}

/// What stands in `user_data.data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum UserDataForm {
    /// Below v0.148: nothing.
    Absent,
    /// The text `map[Key:value …]` which Go prints for a map: since v0.148.
    #[default]
    GoMap,
    /// An object, as one would expect and a later release may do.
    Object,
}

/// How a body is written.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// The shape of the body.
    pub shape: Shape,
    /// The shape of `user_data`.
    pub user_data: UserDataForm,
    /// Whether `<`, `>` and `&` are escaped.
    pub html: Html,
}

impl From<Shape> for Form {
    fn from(shape: Shape) -> Self {
        Self { shape, user_data: UserDataForm::default(), html: Html::default() }
    }
}

/// The texts Windows renders from the provider's metadata. Absent with `suppress_rendering_info`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rendering {
    /// The whole message.
    pub message: String,
    /// `Information`, …; absent where the provider renders none: so are the next two.
    pub level: Option<String>,
    /// `Process Creation`, ….
    pub task: Option<String>,
    /// `Info`, ….
    pub opcode: Option<String>,
    /// `Audit Success`, …; empty where the provider renders none.
    pub keywords: Vec<String>,
    /// The rest of a Security message as sections, as the receiver parses it.
    pub details: Option<Value>,
}

/// The one element of `<UserData>`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UserData {
    /// Its name.
    pub name: String,
    /// Its namespace, or empty.
    pub xmlns: String,
    /// Its children's names and texts, in order.
    pub fields: Vec<(String, String)>,
}

/// A Windows event as the event log holds it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WindowsEvent {
    /// `Security`, `Microsoft-Windows-Sysmon/Operational`, ….
    pub channel: String,
    /// Usually the host's full name.
    pub computer: String,
    /// Provider name.
    pub provider: String,
    /// Provider GUID in braces, or empty.
    pub provider_guid: String,
    /// The older source name, or empty.
    pub event_source: String,
    /// Event id.
    pub event_id: u32,
    /// Qualifiers of classic events, else 0.
    pub qualifiers: u32,
    /// Version of the event's template.
    pub version: u32,
    /// 0 to 5.
    pub level: u32,
    /// Task number.
    pub task: u32,
    /// Opcode number.
    pub opcode: u32,
    /// The mask as Windows prints it, `0x8020000000000000`.
    pub keywords: String,
    /// Nanoseconds since the epoch; printed to 100 ns.
    pub time_ns: u64,
    /// Number of the record in its channel.
    pub record_id: u64,
    /// Of the logging process.
    pub process_id: u32,
    /// Of the logging thread.
    pub thread_id: u32,
    /// In braces, or empty.
    pub activity_id: String,
    /// SID of the logging user, or empty.
    pub user_sid: String,
    /// `<Data>` in order; an unnamed one has the name "".
    pub event_data: Vec<(String, String)>,
    /// The `Name` of `<EventData>` itself, or empty.
    pub event_data_name: String,
    /// `<Binary>`, in hex.
    pub binary: Option<String>,
    /// `<UserData>`, in place of `<EventData>`.
    pub user_data: Option<UserData>,
    /// What Windows renders; none: suppressed, or the metadata is missing.
    pub rendering: Option<Rendering>,
}

impl WindowsEvent {
    /// The text of the body.
    #[must_use]
    pub fn body(&self, form: Form) -> String {
        match form.shape {
            Shape::Xml => xml::render(self),
            _ => go_json::encode(&self.object(form), form.html),
        }
    }

    /// The row an agent with `resourcedetection` and SigNoz make of it. The id is random.
    #[must_use]
    pub fn row(&self, form: Form) -> LogRow {
        let resources = [("host.name", self.computer.as_str()), ("os.type", "windows")];
        let mut row = LogRow::new(self.time_ns, &resources, self.body(form));
        (row.severity_text, row.severity_number) = self.severity();
        row
    }

    /// The time as the event log prints it: to 100 ns, UTC.
    #[must_use]
    pub fn system_time(&self) -> String {
        let time = jiff::Timestamp::from_nanosecond(i128::from(self.time_ns)).unwrap_or_default();
        format!("{}.{:07}Z", time.strftime("%Y-%m-%dT%H:%M:%S"), self.time_ns % 1_000_000_000 / 100)
    }

    /// Severity as the receiver sets it: from the rendered level, else from the number.
    fn severity(&self) -> (String, u8) {
        let rendered = self.rendering.as_ref().and_then(|rendering| rendering.level.as_deref());
        let (text, number) = match (rendered, self.level) {
            (Some("Critical"), _) | (None, 1) => ("FATAL", 21),
            (Some("Error"), _) | (None, 2) => ("ERROR", 17),
            (Some("Warning"), _) | (None, 3) => ("WARN", 13),
            (Some("Information"), _) | (None, 4) => ("INFO", 9),
            _ => ("", 0),
        };
        (text.to_owned(), number)
    }

    fn object(&self, form: Form) -> Value {
        let rendering = self.rendering.clone().unwrap_or_default();
        let number =
            |text: Option<String>, number: u32| Value::from(text.unwrap_or_else(|| number.to_string()));
        let keywords = match rendering.keywords.is_empty() {
            true => vec![self.keywords.clone()],
            false => rendering.keywords.clone(),
        };
        // The receiver parses the rest of a Security message into `details`.
        let message = match self.channel == "Security" {
            true => rendering.message.lines().next().unwrap_or_default().to_owned(),
            false => rendering.message.clone(),
        };
        let mut body = Map::new();
        body.insert("channel".into(), self.channel.clone().into());
        body.insert("computer".into(), self.computer.clone().into());
        body.insert("event_id".into(), json!({"id": self.event_id, "qualifiers": self.qualifiers}));
        let provider =
            json!({"name": self.provider, "guid": self.provider_guid, "event_source": self.event_source});
        body.insert("provider".into(), provider);
        body.insert("record_id".into(), self.record_id.into());
        body.insert("system_time".into(), self.system_time().into());
        body.insert("level".into(), number(rendering.level.clone(), self.level));
        body.insert("task".into(), number(rendering.task.clone(), self.task));
        body.insert("opcode".into(), number(rendering.opcode.clone(), self.opcode));
        body.insert("keywords".into(), keywords.into());
        body.insert("message".into(), message.into());
        if let Some(details) = rendering.details.clone() {
            body.insert("details".into(), details);
        }
        body.insert("event_data".into(), self.event_data_value(form.shape));
        if form.shape != Shape::A {
            let execution = json!({"process_id": self.process_id, "thread_id": self.thread_id});
            body.insert("execution".into(), execution);
            if !self.user_sid.is_empty() {
                body.insert("security".into(), json!({"user_id": self.user_sid}));
            }
        }
        if form.shape == Shape::D {
            self.add_v148(&mut body, &rendering);
        }
        self.add_user_data(&mut body, form.user_data);
        Value::Object(body)
    }

    /// What agents since v0.143 and v0.148 add.
    fn add_v148(&self, body: &mut Map<String, Value>, rendering: &Rendering) {
        body.insert("version".into(), self.version.into());
        let correlation = match self.activity_id.is_empty() {
            true => json!({}),
            false => json!({"activity_id": self.activity_id}),
        };
        body.insert("correlation".into(), correlation);
        if self.rendering.is_some() {
            let info = json!({
                "culture": "en-US",
                "channel": self.channel,
                "provider": self.provider,
                "message": rendering.message,
                "level": rendering.level.clone().unwrap_or_default(),
                "task": rendering.task.clone().unwrap_or_default(),
                "opcode": rendering.opcode.clone().unwrap_or_default(),
                "keywords": rendering.keywords,
            });
            body.insert("rendering_info".into(), info);
        }
    }

    fn event_data_value(&self, shape: Shape) -> Value {
        match shape {
            Shape::A => self.event_data.iter().map(|(_, value)| value.clone()).collect(),
            Shape::C => {
                let data: Vec<Value> =
                    self.event_data.iter().map(|(name, value)| json!({name: value})).collect();
                let mut map = Map::new();
                if !data.is_empty() {
                    map.insert("data".into(), data.into());
                }
                self.add_name_and_binary(map)
            }
            Shape::B | Shape::D | Shape::Xml => {
                let mut map = Map::new();
                let mut unnamed = 0;
                for (name, value) in &self.event_data {
                    if !name.is_empty() {
                        map.insert(name.clone(), value.clone().into());
                    } else if shape == Shape::D {
                        unnamed += 1;
                        map.insert(format!("param{unnamed}"), value.clone().into());
                    }
                }
                if shape == Shape::B { Value::Object(map) } else { self.add_name_and_binary(map) }
            }
        }
    }

    fn add_name_and_binary(&self, mut map: Map<String, Value>) -> Value {
        if !self.event_data_name.is_empty() {
            map.insert("name".into(), self.event_data_name.clone().into());
        }
        if let Some(binary) = &self.binary {
            map.insert("binary".into(), binary.clone().into());
        }
        Value::Object(map)
    }

    fn add_user_data(&self, body: &mut Map<String, Value>, form: UserDataForm) {
        let Some(user_data) = &self.user_data else { return };
        let mut fields = user_data.fields.clone();
        fields.sort();
        let data = match form {
            UserDataForm::Absent => return,
            UserDataForm::GoMap => {
                let pairs: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                Value::from(format!("map[{}]", pairs.join(" ")))
            }
            UserDataForm::Object => fields
                .into_iter()
                .map(|(name, value)| (name, Value::from(value)))
                .collect::<Map<_, _>>()
                .into(),
        };
        body.insert("user_data".into(), json!({"name": user_data.name, "data": data}));
    }
}

/// A number as the exports write it: a JSON number or decimal text.
fn number(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.parse().unwrap_or_default(),
        value => value.as_u64().unwrap_or_default(),
    }
}

fn number32(value: &Value) -> u32 {
    u32::try_from(number(value)).unwrap_or_default()
}

/// A value as Windows prints it in an event's XML.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(printed).collect::<Vec<_>>().join("\n"),
        Value::Object(fields) => fields.get("#text").map(printed).unwrap_or_default(),
        other => other.to_string(),
    }
}

/// Nanoseconds since the epoch of a time with a zone; 0 where there is none.
fn time_ns(text: &str) -> u64 {
    let time: Option<jiff::Timestamp> = text.parse().ok();
    time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or_default()
}

/// A GUID in braces and lower case, as Windows renders a provider's.
fn braced(guid: &str) -> String {
    match guid.trim_matches(['{', '}']) {
        "" => String::new(),
        bare => format!("{{{}}}", bare.to_lowercase()),
    }
}
