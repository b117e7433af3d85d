//! Windows events from flattened JSON bodies and attributes.
//!
//! The Collector's receiver has written four shapes of `event_data` (A a list of values, B and D a
//! map, C `{"data":[{name: value}, …]}`); flattened, C differs from D by one level of the path,
//! so one table of path prefixes reads all of them, together with the forms of other shippers.

use super::super::buffers::{join, keep};
use super::super::event::Event;
use super::super::json::{Flat, Leaf, Roots};
use super::{Draft, Identity, Part};
use crate::value::Value;
use std::borrow::Cow;

/// What an object of the document holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Root,
    System,
    EventId,
    Provider,
    Security,
    Execution,
    Correlation,
    Rendering,
    /// Elastic Common Schema's own names for the identity, beside `winlog`.
    EcsEvent,
    /// The event's own data. Where it is nested, the rest of the path from this byte on belongs to
    /// the name.
    Data(usize),
    /// Data whose path carries no meaning (`UserData`, the list of shape C).
    Leaves,
    Ignored,
    Other,
}

/// Decodes a flattened document into `event` if it is a Windows event, and takes its leaves.
pub(in super::super) fn decode<'a>(flat: &mut Flat<'a>, event: &mut Event<'a>) -> Option<Identity<'a>> {
    if !is_windows(flat) {
        return None;
    }
    let layout = Layout::of(flat);
    let Flat { prefixes, leaves, arena, .. } = flat;
    event.fields.reserve(leaves.len() + FIELDS_MORE);
    let mut draft = Draft::new(event, arena);
    for leaf in leaves.drain(..) {
        let prefix = prefixes[leaf.prefix];
        match layout.part(&leaf) {
            Some(part) => draft.system(part, leaf.value),
            None => put(&mut draft, layout.roles[leaf.prefix], prefix, leaf, layout.has_list),
        }
    }
    Some(draft.finish())
}

/// What the places of a document mean.
pub(super) struct Layout<'a> {
    /// By prefix.
    pub roles: &'a [Role],
    /// Flattened without paths, `event_id.id` is just `id`.
    is_id_event_id: bool,
    pub has_list: bool,
}

impl<'a> Layout<'a> {
    pub fn of(flat: &Flat<'a>) -> Layout<'a> {
        let Flat { prefixes, leaves, roots, arena, .. } = flat;
        let roles: &[Role] = arena.alloc_slice_fill_iter(prefixes.iter().map(|prefix| role(prefix)));
        let is_id = |leaf: &Leaf<'_>| leaf.prefix == 0 && leaf.key == "id";
        let is_event_id = |leaf: &Leaf<'_>| part(roles[leaf.prefix], leaf.key) == Some(Part::EventId);
        let is_id_event_id =
            roots.has(&[Roots::ID]) && leaves.iter().any(is_id) && !leaves.iter().any(is_event_id);
        Layout { roles, is_id_event_id, has_list: prefixes.contains(&"event_data.data") }
    }

    /// The part of the system section that a leaf is.
    pub fn part(&self, leaf: &Leaf<'_>) -> Option<Part> {
        let role = self.roles[leaf.prefix];
        part(role, leaf.key).or_else(|| {
            let is_id = self.is_id_event_id && role == Role::Root && leaf.key == "id";
            is_id.then_some(Part::EventId)
        })
    }
}

/// Takes a leaf that is no part of the system section.
pub(super) fn put<'a>(
    draft: &mut Draft<'_, 'a>,
    role: Role,
    prefix: &'a str,
    leaf: Leaf<'a>,
    has_list: bool,
) {
    match role {
        Role::Root => root(draft, leaf),
        Role::Data(from) => data(draft, &prefix[from..], leaf, has_list),
        Role::Leaves => leaf_of(draft, leaf, prefix == "user_data"),
        Role::Other | Role::EcsEvent => {
            let name = join(draft.arena, prefix, leaf.key);
            draft.event.push(name, leaf.value);
        }
        _ => {}
    }
}

/// What [`put`] does with a leaf, where only its place decides that.
pub(super) enum Fate {
    /// It becomes the event's data of this name.
    Data(String),
    /// It becomes a field of this name that is none of the event's own data.
    Other(String),
    /// It is passed over.
    Nothing,
}

/// `None`: its value decides too.
pub(super) fn fate(role: Role, prefix: &str, key: &str, has_list: bool) -> Option<Fate> {
    let joined = |path: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    Some(match role {
        Role::Root => match key {
            "event_data" | "StringInserts" | "user_data" => return None,
            _ => Fate::Data(key.to_owned()),
        },
        Role::Data(from) => match (key, &prefix[from..]) {
            ("" | "Data", "") => return None,
            ("name", _) if has_list => Fate::Nothing,
            ("binary", "") => Fate::Data("Binary".to_owned()),
            (_, path) => Fate::Data(joined(path)),
        },
        Role::Leaves => match key {
            "" | "#text" | "data" => return None,
            "name" if prefix == "user_data" => Fate::Nothing,
            _ => Fate::Data(key.to_owned()),
        },
        Role::Other | Role::EcsEvent => Fate::Other(joined(prefix)),
        _ => Fate::Nothing,
    })
}

/// So many fields are made of others.
const FIELDS_MORE: usize = 16;

/// A channel and an event id make a Windows event. Nothing else does: other sources have `EventID`
/// or `channel` alone.
pub(in super::super) fn is_windows(flat: &Flat<'_>) -> bool {
    let has = |any: &[Roots]| flat.roots.has(any);
    let collector = has(&[Roots::COLLECTOR_CHANNEL])
        && (has(&[Roots::COLLECTOR_EVENT_ID])
            || flat.at("event_id", "id").is_some()
            || (has(&[Roots::COLLECTOR_COMPUTER]) && has(&[Roots::ID])));
    let flat_form = has(&[Roots::CHANNEL, Roots::PROVIDER])
        && has(&[Roots::EVENT_ID, Roots::COLLECTOR_EVENT_ID])
        && has(&[Roots::CHANNEL, Roots::COMPUTER]);
    collector
        || flat_form
        || (flat.at("winlog", "channel").is_some() || flat.at("winlog", "event_id").is_some())
        || flat.has_prefix("Event.System")
}

fn role(prefix: &str) -> Role {
    let below =
        |root: &str| prefix.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    match prefix {
        "" => Role::Root,
        "winlog" | "Event.System" => Role::System,
        "event_id" | "Event.System.EventID" => Role::EventId,
        "provider" | "Event.System.Provider.#attributes" => Role::Provider,
        "security" | "winlog.user" | "Event.System.Security.#attributes" => Role::Security,
        "execution" | "winlog.process" | "Event.System.Execution.#attributes" => Role::Execution,
        "correlation" | "Event.System.Correlation.#attributes" => Role::Correlation,
        "rendering_info" | "Event.RenderingInfo" => Role::Rendering,
        "event" => Role::EcsEvent,
        "event_data.data" | "Event.EventData.Data" => Role::Leaves,
        _ if prefix.contains("#attributes") => Role::Ignored,
        _ if below("user_data") || below("winlog.user_data") || below("Event.UserData") => Role::Leaves,
        _ => {
            for root in ["event_data", "EventData", "winlog.event_data", "Event.EventData"] {
                if below(root) {
                    return Role::Data((root.len() + 1).min(prefix.len()));
                }
            }
            if below("Event.System") || below("winlog") { Role::Ignored } else { Role::Other }
        }
    }
}

/// The part of the system section that stands under `key` in an object of this role.
fn part(role: Role, key: &str) -> Option<Part> {
    Some(match (role, key) {
        (Role::Root | Role::System, _) => return system_part(role, key),
        (Role::EventId, "id" | "#text") => Part::EventId,
        (Role::EventId, "qualifiers") => Part::Named("EventID_Qualifiers"),
        (Role::Provider, "name" | "Name") => Part::Provider,
        (Role::Provider, "guid" | "Guid") => Part::Named("Provider_Guid"),
        (Role::Provider, "event_source" | "EventSourceName") => Part::Named("Provider_EventSourceName"),
        (Role::Security, "user_id" | "UserID" | "identifier") => Part::Named("Security_UserID"),
        (Role::Security, "user_name") => Part::Named("Security_UserName"),
        (Role::Execution, "process_id" | "ProcessID" | "pid") => Part::Named("Execution_ProcessID"),
        (Role::Execution, "thread_id" | "ThreadID") => Part::Named("Execution_ThreadID"),
        (Role::Correlation, "activity_id" | "ActivityID") => Part::Named("Correlation_ActivityID"),
        (Role::Correlation, "related_activity_id" | "RelatedActivityID") => {
            Part::Named("Correlation_RelatedActivityID")
        }
        (Role::Rendering, "message" | "Message") => Part::RenderedMessage,
        (Role::EcsEvent, "code") => Part::EventId,
        (Role::EcsEvent, "provider") => Part::Provider,
        _ => return None,
    })
}

fn system_part(role: Role, key: &str) -> Option<Part> {
    Some(match key {
        "channel" | "Channel" => Part::Channel,
        "computer" | "Computer" | "computer_name" | "ComputerName" | "Hostname" | "HostName" => {
            Part::Computer
        }
        "event_id" | "EventID" | "EventId" => Part::EventId,
        "level" | "Level" => Part::Level,
        "keywords" | "Keywords" => Part::Keywords,
        "message" | "Message" => Part::Message,
        "provider_name" | "Provider_Name" | "ProviderName" | "SourceName" => Part::Provider,
        "provider" | "Provider" if role == Role::Root => Part::Provider,
        "provider_guid" | "ProviderGuid" => Part::Named("Provider_Guid"),
        "record_id" | "EventRecordID" | "RecordNumber" => Part::Named("EventRecordID"),
        "task" | "Task" => Part::Named("Task"),
        "opcode" | "Opcode" | "OpcodeValue" => Part::Named("Opcode"),
        "version" | "Version" => Part::Named("Version"),
        "system_time" | "TimeCreated" => Part::Named("SystemTime"),
        "activity_id" | "ActivityID" => Part::Named("Correlation_ActivityID"),
        // NXLog: the process that logged, not the one the event is about, which is `ProcessId`.
        "ProcessID" | "ExecutionProcessID" => Part::Named("Execution_ProcessID"),
        "ThreadID" | "ExecutionThreadID" => Part::Named("Execution_ThreadID"),
        "UserID" => Part::Named("Security_UserID"),
        "binary_event_data" => Part::Named("Binary"),
        _ => return None,
    })
}

/// A root key that is not of the system section: the data of flat forms, or shape A.
fn root<'a>(draft: &mut Draft<'_, 'a>, leaf: Leaf<'a>) {
    match (leaf.key, leaf.value) {
        ("event_data" | "StringInserts", value) => draft.anonymous(value),
        ("user_data", Value::Str(text)) => go_map(draft, text),
        (_, value) => draft.data(leaf.key, value),
    }
}

fn data<'a>(draft: &mut Draft<'_, 'a>, path: &str, leaf: Leaf<'a>, has_list: bool) {
    match leaf.key {
        "" | "Data" if path.is_empty() => draft.anonymous(leaf.value),
        // Beside the list of shape C these are `<Binary>` and the name of `<EventData>`.
        "name" if has_list => {}
        "binary" if path.is_empty() => draft.data("Binary", leaf.value),
        _ => draft.data(join(draft.arena, path, leaf.key), leaf.value),
    }
}

/// Data whose path carries no meaning.
fn leaf_of<'a>(draft: &mut Draft<'_, 'a>, leaf: Leaf<'a>, is_user_data: bool) {
    match (leaf.key, leaf.value) {
        ("" | "#text", value) => draft.anonymous(value),
        // The element's own name.
        ("name", _) if is_user_data => {}
        ("data", Value::Str(text)) if text.starts_with("map[") => go_map(draft, text),
        (_, value) => draft.data(leaf.key, value),
    }
}

/// Splits Go's printed form of a map, `map[Key:value Other:value]`: the Collector's converter has no
/// case for the type and prints it. A value may itself hold ` word:`; Go sorts the keys, which
/// tells most of those apart.
fn go_map<'a>(draft: &mut Draft<'_, 'a>, text: Cow<'a, str>) {
    let text = keep(draft.arena, text);
    let Some(inner) = text.strip_prefix("map[").and_then(|rest| rest.strip_suffix(']')) else {
        return draft.data("UserData", Value::from(text));
    };
    let mut candidates = vec![];
    let mut at = 0;
    while at < inner.len() && candidates.len() < GO_KEYS_MAX {
        if let Some(length) = key_length(&inner[at..]) {
            candidates.push((at, &inner[at..at + length]));
        }
        match inner[at..].find(' ') {
            Some(blank) => at += blank + 1,
            None => break,
        }
    }
    let keys = longest_sorted(&candidates);
    for (i, (start, key)) in keys.iter().enumerate() {
        let end = keys.get(i + 1).map_or(inner.len(), |(next, _)| next - 1);
        draft.data(key, Value::from(&inner[start + key.len() + 1..end]));
    }
}

/// More keys than this are not looked for in a printed map.
const GO_KEYS_MAX: usize = 200;

/// The longest run of strictly rising keys, in their order.
fn longest_sorted<'t>(keys: &[(usize, &'t str)]) -> Vec<(usize, &'t str)> {
    // Length of the longest run from each key on, and the key that follows in it.
    let mut runs: Vec<(usize, Option<usize>)> = vec![(1, None); keys.len()];
    for i in (0..keys.len()).rev() {
        for j in i + 1..keys.len() {
            if keys[j].1 > keys[i].1 && runs[j].0 + 1 > runs[i].0 {
                runs[i] = (runs[j].0 + 1, Some(j));
            }
        }
    }
    // What stands first is a key for certain.
    let mut sorted = vec![];
    let mut next = (!keys.is_empty()).then_some(0);
    while let Some(i) = next {
        sorted.push(keys[i]);
        next = runs[i].1;
    }
    sorted
}

/// Length of an identifier that is followed by a colon, and not by `::`, `:\` or `://`.
fn key_length(text: &str) -> Option<usize> {
    let length = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let after = text[length..].strip_prefix(':')?;
    let is_key = length > 0
        && !text.as_bytes()[0].is_ascii_digit()
        && !(after.starts_with(':') || after.starts_with('\\') && length == 1 || after.starts_with("//"));
    is_key.then_some(length)
}
