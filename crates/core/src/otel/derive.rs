//! Fields that no log carries as such, computed from those it does.
//!
//! A closed set of operations, named in `taxonomy/*.yaml`. A computed field has a name that no
//! log writes (`process_creation.User`), and a view of the taxonomy says which Sigma field it is.

use super::event::Event;
use crate::value::Value;
use regex::Regex;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One computation. Where a source field is missing, nothing is added.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Derive {
    /// A number in hexadecimal (`0x19f4`) as decimal text.
    Decimal(FromInto),
    /// `DOMAIN\user` of the first pair whose user is neither missing, empty nor `-`.
    Account {
        /// Pairs of field names: domain, user.
        from: Vec<(String, String)>,
        /// Name of the new field.
        into: String,
    },
    /// A value and, where the table has it, what it stands for.
    Lookup {
        /// Source field.
        from: String,
        /// Name of the new field; it holds both the value and its meaning.
        into: String,
        /// Value → meaning.
        table: BTreeMap<String, String>,
    },
    /// Sysmon's `MD5=…,SHA256=…,IMPHASH=…`, one field a hash, named `into.md5` and so on.
    Hashes(FromInto),
    /// A registry path with Sysmon's names of the roots, from a kernel path and a value's name.
    RegistryPath {
        /// Fields with the key and the value's name, which may be missing.
        from: (String, String),
        /// Name of the new field.
        into: String,
    },
    /// An object as one text, for rules that search a whole object. It is written flat:
    /// `{"path.of.key":"value",…}`, cut at 64 KiB.
    Object(FromInto),
    /// Who and from where, as far as the line says so in words (see `peer`). Fields that are there
    /// already stay alone.
    Peer {
        /// Name of the field with the address or name of the other machine.
        address: String,
        /// Name of the field with the account.
        user: String,
    },
    /// The named groups of a regular expression, each a new field of the group's name. A group
    /// name cannot hold a dot, so `__` stands for one.
    Capture {
        /// Field to search; absent: the texts of the event.
        #[serde(default)]
        from: Option<String>,
        /// The expression; the first match counts.
        pattern: Pattern,
    },
}

/// One field from another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FromInto {
    /// Source field.
    pub from: String,
    /// Name of the new field.
    pub into: String,
}

/// A regular expression that was checked when the file was read.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(yaml: D) -> Result<Pattern, D::Error> {
        let text = String::deserialize(yaml)?;
        Regex::new(&text).map(Pattern).map_err(serde::de::Error::custom)
    }
}

/// Adds the computed fields to `event`.
pub(super) fn apply(derive: &[Derive], event: &mut Event<'_>) {
    for step in derive {
        match step {
            Derive::Decimal(step) => decimal(step, event),
            Derive::Account { from, into } => account(from, into, event),
            Derive::Lookup { from, into, table } => lookup(from, into, table, event),
            Derive::Hashes(step) => hashes(step, event),
            Derive::RegistryPath { from, into } => registry_path(from, into, event),
            Derive::Object(step) => object(step, event),
            Derive::Peer { address, user } => peer(address, user, event),
            Derive::Capture { from, pattern } => capture(from.as_deref(), &pattern.0, event),
        }
    }
}

/// The first value of a field, as text.
fn text<'e>(event: &'e Event<'_>, name: &str) -> Option<Cow<'e, str>> {
    event.field(name).and_then(Value::text)
}

fn decimal(step: &FromInto, event: &mut Event<'_>) {
    let Some(text) = text(event, &step.from) else { return };
    let digits = text.trim();
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    };
    if let Some(number) = number {
        event.push(step.into.clone(), number.to_string());
    }
}

fn account(from: &[(String, String)], into: &str, event: &mut Event<'_>) {
    for (domain, user) in from {
        let user = text(event, user).unwrap_or_default();
        if matches!(user.trim(), "" | "-") {
            continue;
        }
        let domain = text(event, domain).unwrap_or_default();
        let name = match domain.trim() {
            "" | "-" => user.into_owned(),
            domain => format!("{domain}\\{user}"),
        };
        event.push(into.to_owned(), name);
        return;
    }
}

fn lookup(from: &str, into: &str, table: &BTreeMap<String, String>, event: &mut Event<'_>) {
    let Some(value) = text(event, from).map(Cow::into_owned) else { return };
    if let Some(meaning) = table.get(value.trim()) {
        event.push(into.to_owned(), meaning.clone());
    }
    event.push(into.to_owned(), value);
}

fn hashes(step: &FromInto, event: &mut Event<'_>) {
    let Some(text) = text(event, &step.from).map(Cow::into_owned) else { return };
    for hash in text.split(',') {
        if let Some((name, value)) = hash.trim().split_once('=') {
            event.push(format!("{}.{}", step.into, name.to_ascii_lowercase()), value.to_owned());
        }
    }
}

/// Kernel registry paths and the roots that Sysmon writes for them.
const REGISTRY_ROOTS: &[(&str, &str)] = &[("\\REGISTRY\\MACHINE", "HKLM"), ("\\REGISTRY\\USER", "HKU")];

fn registry_path(from: &(String, String), into: &str, event: &mut Event<'_>) {
    let Some(key) = text(event, &from.0) else { return };
    let mut path = key.clone().into_owned();
    for (kernel, root) in REGISTRY_ROOTS {
        if key.get(..kernel.len()).is_some_and(|start| start.eq_ignore_ascii_case(kernel)) {
            path = format!("{root}{}", &key[kernel.len()..]);
        }
    }
    if let Some(value) = text(event, &from.1).filter(|value| !matches!(value.trim(), "" | "-")) {
        path = format!("{path}\\{value}");
    }
    event.push(into.to_owned(), path);
}

/// Longest text made of an object, bytes.
const OBJECT_BYTES_MAX: usize = 64 << 10;

fn object(step: &FromInto, event: &mut Event<'_>) {
    let mut all = String::new();
    for (name, value) in &event.fields {
        let Some(key) = name.strip_prefix(step.from.as_str()).and_then(|rest| rest.strip_prefix('.')) else {
            continue;
        };
        let value = value.text().unwrap_or(Cow::Borrowed("null"));
        if all.len() + key.len() + value.len() > OBJECT_BYTES_MAX {
            break;
        }
        all.push_str(if all.is_empty() { "{" } else { "," });
        all.push_str(&format!("\"{key}\":\"{value}\""));
    }
    if !all.is_empty() {
        all.push('}');
        event.push(step.into.clone(), all);
    }
}

fn peer(address: &str, user: &str, event: &mut Event<'_>) {
    let has = |event: &Event<'_>, name: &str| event.field(name).is_some();
    if has(event, address) && has(event, user) {
        return;
    }
    let message = || ["message", "msg"].iter().find_map(|name| text(event, name));
    let Some(line) = event.texts.first().cloned().or_else(message) else { return };
    let message = super::syslog::parse(&line).map_or(line.as_ref(), |line| line.message);
    let found = super::peer::read(message);
    for (name, value) in [(address, found.address), (user, found.user)] {
        if let Some(value) = value.filter(|_| !has(event, name)) {
            event.push(name.to_owned(), value);
        }
    }
}

fn capture(from: Option<&str>, pattern: &Regex, event: &mut Event<'_>) {
    let found = match from {
        Some(name) => text(event, name).and_then(|text| groups(pattern, &text)),
        None => event.texts.iter().find_map(|text| groups(pattern, text)),
    };
    for (name, value) in found.unwrap_or_default() {
        event.push(name, value);
    }
}

/// The named groups that took part in the first match.
fn groups(pattern: &Regex, text: &str) -> Option<Vec<(String, String)>> {
    let found = pattern.captures(text)?;
    let names = pattern.capture_names().flatten();
    let groups =
        names.filter_map(|name| Some((name.replace("__", "."), found.name(name)?.as_str().to_owned())));
    Some(groups.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(yaml: &str, fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let derive: Vec<Derive> = serde_saphyr::from_str(yaml).unwrap();
        let mut event = Event::default();
        for (name, value) in fields {
            event.push(*name, *value);
        }
        event.texts.extend(fields.iter().filter(|(name, _)| *name == "text").map(|(_, v)| Cow::Borrowed(*v)));
        apply(&derive, &mut event);
        let new = event.fields.iter().skip(fields.len());
        new.map(|(name, value)| format!("{name}={}", value.text().unwrap_or_default())).collect()
    }

    #[test]
    fn hexadecimal_becomes_decimal() {
        let yaml = "[{decimal: {from: A, into: x.A}}]";
        assert_eq!(derived(yaml, &[("A", "0x19f4")]), ["x.A=6644"]);
        assert_eq!(derived(yaml, &[("A", "17")]), ["x.A=17"]);
        assert!(derived(yaml, &[("A", "zz")]).is_empty());
        assert!(derived(yaml, &[]).is_empty());
    }

    #[test]
    fn the_first_account_that_is_one_counts() {
        let yaml = "[{account: {from: [[TD, TU], [SD, SU]], into: x.User}}]";
        let subject = [("SD", "CORP"), ("SU", "bob"), ("TD", "-"), ("TU", "-")];
        assert_eq!(derived(yaml, &subject), ["x.User=CORP\\bob"]);
        assert_eq!(derived(yaml, &[("SU", "bob"), ("TD", "X"), ("TU", "eve")]), ["x.User=X\\eve"]);
    }

    #[test]
    fn a_lookup_keeps_the_value() {
        let yaml = "[{lookup: {from: A, into: x.A, table: {S-1-16-12288: High}}}]";
        assert_eq!(derived(yaml, &[("A", "S-1-16-12288")]), ["x.A=High", "x.A=S-1-16-12288"]);
        assert_eq!(derived(yaml, &[("A", "S-1-16-1")]), ["x.A=S-1-16-1"]);
    }

    #[test]
    fn hashes_are_split() {
        let yaml = "[{hashes: {from: Hashes, into: hash}}]";
        assert_eq!(derived(yaml, &[("Hashes", "MD5=AB,IMPHASH=00")]), ["hash.md5=AB", "hash.imphash=00"]);
    }

    #[test]
    fn registry_paths_get_sysmons_roots() {
        let yaml = "[{registry_path: {from: [O, V], into: x.T}}]";
        let fields = [("O", "\\REGISTRY\\MACHINE\\SYSTEM\\Setup"), ("V", "Cmd")];
        assert_eq!(derived(yaml, &fields), ["x.T=HKLM\\SYSTEM\\Setup\\Cmd"]);
        assert_eq!(derived(yaml, &[("O", "\\registry\\user\\S-1\\X")]), ["x.T=HKU\\S-1\\X"]);
        assert_eq!(derived(yaml, &[("O", "ü")]), ["x.T=ü"]);
    }

    #[test]
    fn an_object_is_one_text() {
        let yaml = "[{object: {from: r, into: object.r}}]";
        let fields = [("r.a", "1"), ("x", "2"), ("r.b.c", "Allow"), ("ra", "3")];
        assert_eq!(derived(yaml, &fields), [r#"object.r={"a":"1","b.c":"Allow"}"#]);
        assert!(derived(yaml, &[("r", "1")]).is_empty());
    }

    #[test]
    fn captures_name_the_fields() {
        let yaml = r"[{capture: {pattern: 'for (?P<user>\S+) from (?P<a__b>\S+)'}}]";
        assert_eq!(derived(yaml, &[("text", "x for bob from 1.2.3.4 y")]), ["user=bob", "a.b=1.2.3.4"]);
    }
}
