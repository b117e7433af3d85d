//! Fields that no log carries as such, computed from those it does.
//!
//! A closed set of operations, named in `taxonomy/*.yaml`. A computed field has a name that no
//! log writes (`process_creation.User`), and a view of the taxonomy says which Sigma field it is.

use super::buffers::{Arena, concat, keep, text_of};
use super::class;
use super::event::Event;
use super::form;
use super::record::LogRecord;
use super::reshape;
use bumpalo::collections::String as ArenaString;
use regex::Regex;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, OnceLock};

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
        /// Value → meaning; letter case does not count.
        table: BTreeMap<String, String>,
        /// What any other value stands for.
        #[serde(default)]
        otherwise: Option<String>,
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
    /// A kernel's path of a file (`\\device\\harddiskvolume3\\windows\\…`) as programs write it. Which letter
    /// the volume has, no event tells; that it is the system's, `C:`, is the likeliest by far.
    DosPath(FromInto),
    /// The parts of a URL or request target: `into.url` as it is, `into.target` (path and query),
    /// `into.path`, `into.query`, `into.host`, `into.extension`, as far as they are there.
    Url {
        /// Field with the URL, target or path.
        from: String,
        /// Field with the query, where the URL lacks it.
        #[serde(default)]
        query: Option<String>,
        /// Field with the host, where the URL lacks it; `into.url` has it in front then.
        #[serde(default)]
        host: Option<String>,
        /// Start of the new fields' names.
        into: String,
    },
    /// W3C extended logging's `+` as the blank that it stands for.
    Blanks(FromInto),
    /// An object as one text, for rules that search a whole object: JSON as its writer would have
    /// written it, but for the brackets of lists; cut at 64 KiB.
    Object(FromInto),
    /// Each object of a list as one text of its own, without braces: `"name":"a","value":"b"`.
    Elements(FromInto),
    /// JSON text in a field, read as if it had stood there as JSON. Its own name stays.
    Json {
        /// Fields to read.
        from: Vec<String>,
    },
    /// Fields under another name, with everything below them: what a receiver renamed gets the name
    /// back that its source gives it.
    Rename(BTreeMap<String, String>),
    /// A list of names with values (`[{"Name":"a","Value":"b"}]`): one field `into.a` for each.
    Pairs {
        /// Fields with the names and the values; a value stands behind its name.
        from: (String, String),
        /// Beginning of the new fields' names.
        into: String,
    },
    /// The values of the first of the fields that is there.
    First {
        /// Source fields.
        from: Vec<String>,
        /// Name of the new field.
        into: String,
    },
    /// All values of the fields, in order, as one text. Nothing if the first field is missing.
    Join {
        /// Source fields.
        from: Vec<String>,
        /// Name of the new field.
        into: String,
        /// What stands between two values.
        #[serde(default = "blank")]
        with: String,
        /// What stands before the first.
        #[serde(default)]
        prefix: String,
    },
    /// A fixed value where all conditions hold; without conditions, always.
    Set {
        /// Field → values, of which one must fit, as in a source's `when`.
        #[serde(default)]
        when: BTreeMap<String, Vec<String>>,
        /// Name of the new field.
        into: String,
        /// Its value.
        value: String,
    },
    /// A fixed value where there is neither this field nor any below it.
    Default {
        /// The field that may be missing.
        from: String,
        /// Name of the new field.
        into: String,
        /// Its value.
        value: String,
    },
    /// An attribute of the record's resource.
    Resource(FromInto),
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

/// A regular expression, checked when the file was read and compiled when first run: a compiled one
/// may take a megabyte, and most installations have no logs for most of them.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
    compiled: Arc<OnceLock<Option<Regex>>>,
}

impl Pattern {
    fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| Regex::new(&self.text).ok()).as_ref()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(yaml: D) -> Result<Pattern, D::Error> {
        let text = String::deserialize(yaml)?;
        Regex::new(&text).map_err(serde::de::Error::custom)?;
        Ok(Pattern { text, compiled: Arc::default() })
    }
}

fn blank() -> String {
    " ".into()
}

impl Derive {
    /// The fields that it reads; `None` where it may read any.
    pub fn reads(&self) -> Option<Vec<&str>> {
        let fields = match self {
            Derive::Decimal(step) | Derive::Hashes(step) | Derive::DosPath(step) | Derive::Blanks(step) => {
                vec![step.from.as_str()]
            }
            Derive::Account { from, .. } => {
                from.iter().flat_map(|(domain, user)| [domain.as_str(), user.as_str()]).collect()
            }
            Derive::Lookup { from, .. } => vec![from.as_str()],
            Derive::RegistryPath { from: (key, value), .. } => vec![key.as_str(), value.as_str()],
            Derive::Url { from, query, host, .. } => [Some(from), query.as_ref(), host.as_ref()]
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect(),
            Derive::Set { when, .. } => when.keys().map(String::as_str).collect(),
            Derive::Resource(_) => vec![],
            _ => return None,
        };
        Some(fields)
    }
}

/// Adds the computed fields to `event`, which was read from `record`.
pub(super) fn apply<'a>(
    derive: &'a [Derive],
    record: &'a LogRecord<'a>,
    event: &mut Event<'a>,
    arena: &'a Arena,
) {
    for step in derive {
        match step {
            Derive::Decimal(step) => decimal(step, event, arena),
            Derive::Account { from, into } => account(from, into, event, arena),
            Derive::Lookup { from, into, table, otherwise } => {
                lookup(from, into, table, otherwise.as_deref(), event, arena);
            }
            Derive::Hashes(step) => hashes(step, event, arena),
            Derive::RegistryPath { from, into } => registry_path(from, into, event, arena),
            Derive::DosPath(step) => dos_path(step, event, arena),
            Derive::Url { from, query, host, into } => {
                url(from, [query.as_deref(), host.as_deref()], into, event, arena)
            }
            Derive::Blanks(step) => blanks(step, event, arena),
            Derive::Object(step) => reshape::object(&step.from, &step.into, event),
            Derive::Elements(step) => reshape::elements(&step.from, &step.into, event),
            Derive::Json { from } => reshape::json(from, event, arena),
            Derive::Rename(table) => reshape::rename(table, event, arena),
            Derive::Pairs { from, into } => reshape::pairs(&from.0, &from.1, into, event),
            Derive::Join { from, into, with, prefix } => reshape::join(from, into, with, prefix, event),
            Derive::First { from, into } => reshape::first(from, into, event),
            Derive::Set { when, into, value } => {
                if class::fields_hold(when, event) {
                    event.push(into.as_str(), value.as_str());
                }
            }
            Derive::Default { from, into, value } => reshape::default(from, into, value, event),
            Derive::Resource(FromInto { from, into }) => {
                if let Some(value) = record.resource(from) {
                    event.push(into.as_str(), value);
                }
            }
            Derive::Peer { address, user } => peer(address, user, event),
            Derive::Capture { from, pattern } => {
                if let Some(pattern) = pattern.regex() {
                    capture(from.as_deref(), pattern, event, arena);
                }
            }
        }
    }
}

/// The first value of a field, as text.
fn text<'a>(event: &Event<'a>, name: &str, arena: &'a Arena) -> Option<&'a str> {
    event.field(name).and_then(|value| text_of(arena, value))
}

fn decimal<'a>(step: &'a FromInto, event: &mut Event<'a>, arena: &'a Arena) {
    let Some(text) = text(event, &step.from, arena) else { return };
    let digits = text.trim();
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    };
    if let Some(number) = number {
        let mut text = ArenaString::new_in(arena);
        // Writing to memory cannot fail.
        let _ = write!(text, "{number}");
        event.push(step.into.as_str(), text.into_bump_str());
    }
}

fn account<'a>(from: &[(String, String)], into: &'a str, event: &mut Event<'a>, arena: &'a Arena) {
    for (domain, user) in from {
        let user = text(event, user, arena).unwrap_or_default();
        if matches!(user.trim(), "" | "-") {
            continue;
        }
        let domain = text(event, domain, arena).unwrap_or_default();
        let name = match domain.trim() {
            "" | "-" => user,
            domain => concat(arena, &[domain, "\\", user]),
        };
        event.push(into, name);
        return;
    }
}

fn lookup<'a>(
    from: &str,
    into: &'a str,
    table: &'a BTreeMap<String, String>,
    otherwise: Option<&'a str>,
    event: &mut Event<'a>,
    arena: &'a Arena,
) {
    let Some(value) = text(event, from, arena) else { return };
    let known = table.iter().find(|(known, _)| known.eq_ignore_ascii_case(value.trim()));
    if let Some(meaning) = known.map(|(_, meaning)| meaning.as_str()).or(otherwise) {
        event.push(into, meaning);
    }
    event.push(into, value);
}

fn hashes<'a>(step: &'a FromInto, event: &mut Event<'a>, arena: &'a Arena) {
    let Some(text) = text(event, &step.from, arena) else { return };
    for hash in text.split(',') {
        if let Some((name, value)) = hash.trim().split_once('=') {
            let mut field = ArenaString::with_capacity_in(step.into.len() + 1 + name.len(), arena);
            field.push_str(&step.into);
            field.push('.');
            let from = field.len();
            field.push_str(name);
            field[from..].make_ascii_lowercase();
            event.push(field.into_bump_str(), value);
        }
    }
}

/// Kernel registry paths and the roots that Sysmon writes for them.
const REGISTRY_ROOTS: &[(&str, &str)] = &[("\\REGISTRY\\MACHINE", "HKLM"), ("\\REGISTRY\\USER", "HKU")];

fn registry_path<'a>(from: &(String, String), into: &'a str, event: &mut Event<'a>, arena: &'a Arena) {
    let Some(key) = text(event, &from.0, arena) else { return };
    let is_root = |(kernel, _): &&(&str, &str)| {
        key.get(..kernel.len()).is_some_and(|start| start.eq_ignore_ascii_case(kernel))
    };
    let (root, rest) = match REGISTRY_ROOTS.iter().find(is_root) {
        Some((kernel, root)) => (*root, &key[kernel.len()..]),
        None => ("", key),
    };
    let value = text(event, &from.1, arena).filter(|value| !matches!(value.trim(), "" | "-"));
    let path = match value {
        Some(value) => concat(arena, &[root, rest, "\\", value]),
        None if root.is_empty() => rest,
        None => concat(arena, &[root, rest]),
    };
    event.push(into, path);
}

fn dos_path<'a>(step: &'a FromInto, event: &mut Event<'a>, arena: &'a Arena) {
    const VOLUME: &str = "\\device\\harddiskvolume";
    let Some(path) = text(event, &step.from, arena) else { return };
    let start = path.get(..VOLUME.len()).filter(|start| start.eq_ignore_ascii_case(VOLUME));
    let rest = start.and_then(|start| path[start.len()..].split_once('\\'));
    if let Some((_, rest)) = rest.filter(|(number, _)| number.bytes().all(|b| b.is_ascii_digit())) {
        event.push(step.into.as_str(), concat(arena, &["C:\\", rest]));
    }
}

fn url<'a>(from: &str, besides: [Option<&str>; 2], into: &'a str, event: &mut Event<'a>, arena: &'a Arena) {
    let told = |name: &str| text(event, name, arena).filter(|text| !matches!(*text, "" | "-"));
    let Some(url) = told(from) else { return };
    let [query, host] = besides.map(|name| name.and_then(told));
    let url = match query {
        Some(query) if !url.contains('?') => concat(arena, &[url, "?", query.trim_start_matches('?')]),
        _ => url,
    };
    let url = match host {
        Some(host) if url.starts_with('/') => concat(arena, &[host, url]),
        _ => url,
    };
    let parts = form::url::parse(url);
    for (name, part) in [
        ("url", url),
        ("target", parts.target),
        ("path", parts.path),
        ("query", parts.query),
        ("host", parts.host),
        ("extension", parts.extension),
    ] {
        if !part.is_empty() {
            event.push(concat(arena, &[into, ".", name]), part);
        }
    }
}

fn blanks<'a>(step: &'a FromInto, event: &mut Event<'a>, arena: &'a Arena) {
    if let Some(text) = text(event, &step.from, arena).filter(|text| text.contains('+')) {
        event.push(step.into.as_str(), text.replace('+', " "));
    }
}

fn peer<'a>(address: &'a str, user: &'a str, event: &mut Event<'a>) {
    let has = |event: &Event<'_>, name: &str| event.field(name).is_some();
    if has(event, address) && has(event, user) {
        return;
    }
    let message = || ["message", "msg"].iter().find_map(|name| event.field(name)?.text());
    let Some(line) = event.texts.first().cloned().or_else(message) else { return };
    let message = super::syslog::parse(&line).map_or(line.as_ref(), |line| line.message);
    let found = super::peer::read(message);
    for (name, value) in [(address, found.address), (user, found.user)] {
        if let Some(value) = value.filter(|_| !has(event, name)) {
            event.push(name, value);
        }
    }
}

fn capture<'a>(from: Option<&str>, pattern: &'a Regex, event: &mut Event<'a>, arena: &'a Arena) {
    let found = match from {
        Some(name) => text(event, name, arena).and_then(|text| pattern.captures(text)),
        None => event.texts.iter().find_map(|text| pattern.captures(keep(arena, text.clone()))),
    };
    let Some(found) = found else { return };
    // The named groups that took part in the first match.
    for name in pattern.capture_names().flatten() {
        let Some(group) = found.name(name) else { continue };
        let name = match name.contains("__") {
            true => Cow::Owned(name.replace("__", ".")),
            false => Cow::Borrowed(name),
        };
        event.push(name, group.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(yaml: &str, fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let derive: Vec<Derive> = serde_saphyr::from_str(yaml).unwrap();
        let (arena, record) = (Arena::new(), LogRecord::default());
        let mut event = Event::default();
        for (name, value) in fields {
            event.push(*name, *value);
        }
        event.texts.extend(fields.iter().filter(|(name, _)| *name == "text").map(|(_, v)| Cow::Borrowed(*v)));
        apply(&derive, &record, &mut event, &arena);
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
    fn a_kernels_path_gets_the_systems_drive() {
        let yaml = "[{dos_path: {from: A, into: x.A}}]";
        let path = "\\device\\harddiskvolume3\\windows\\a.exe";
        assert_eq!(derived(yaml, &[("A", path)]), ["x.A=C:\\windows\\a.exe"]);
        for other in ["System", "\\device\\mup\\share\\a.exe", "\\device\\harddiskvolumeshadow\\a", "ü", ""]
        {
            assert!(derived(yaml, &[("A", other)]).is_empty(), "{other}");
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        let yaml = "[{url: {from: u, query: q, into: w}}]";
        let whole = [("u", "https://h:8443/a/b.php?x=1")];
        assert_eq!(
            derived(yaml, &whole),
            [
                "w.url=https://h:8443/a/b.php?x=1",
                "w.target=/a/b.php?x=1",
                "w.path=/a/b.php",
                "w.query=x=1",
                "w.host=h",
                "w.extension=php"
            ]
        );
        assert_eq!(
            derived(yaml, &[("u", "/a"), ("q", "x=1")]),
            ["w.url=/a?x=1", "w.target=/a?x=1", "w.path=/a", "w.query=x=1"]
        );
        assert!(derived(yaml, &[("u", "-")]).is_empty());
        let hosted = derived("[{url: {from: u, host: h, into: w}}]", &[("u", "/a"), ("h", "x.org:80")]);
        assert_eq!(hosted, ["w.url=x.org:80/a", "w.target=/a", "w.path=/a", "w.host=x.org"]);
        assert_eq!(derived("[{blanks: {from: a, into: w.a}}]", &[("a", "x+y")]), ["w.a=x y"]);
    }

    #[test]
    fn captures_name_the_fields() {
        let yaml = r"[{capture: {pattern: 'for (?P<user>\S+) from (?P<a__b>\S+)'}}]";
        assert_eq!(derived(yaml, &[("text", "x for bob from 1.2.3.4 y")]), ["user=bob", "a.b=1.2.3.4"]);
    }
}
