//! JSON text as a flat list of leaves, read in one pass without building a tree.
//!
//! Objects become path prefixes joined with dots, lists become the same field several times. Text
//! without escapes is borrowed from the body. Prefixes are stored once, so that a reader which
//! only wants the last part of a name (Windows `event_data`) allocates nothing per field.
//!
//! Whole documents are read by [`scan`]; what that cannot take is read by `serde_json`, which also says
//! what is wrong with it.
//!
//! It does not say what the document is: that is the business of `windows`, `journald` and the
//! taxonomy.

use super::buffers::{Arena, join, keep};
use crate::value::Value;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

mod blocks;
pub(super) mod outline;
mod roots;
mod scan;
mod text;
pub(super) use roots::Roots;
pub(super) use text::Twice;

/// Objects nested deeper than this stay JSON text.
pub(super) const DEPTH_MAX: usize = 32;
/// More leaves than this are not read; hostile documents only.
pub(super) const LEAVES_MAX: usize = 2000;

/// One scalar of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leaf<'a> {
    /// Index into [`Flat::prefixes`]: where it stands.
    pub prefix: usize,
    /// Its own key; a list's elements all carry the list's key.
    pub key: &'a str,
    pub value: Value<'a>,
}

/// A flattened document, or several read into one (body and attributes).
#[derive(Debug)]
pub(super) struct Flat<'a> {
    /// Dotted paths of the objects; the first is the root, `""`.
    pub prefixes: Vec<&'a str>,
    pub leaves: Vec<Leaf<'a>>,
    /// Which known keys stand at the root with a scalar or a list of them.
    pub roots: Roots,
    /// The journal's `MESSAGE` where it is a list of bytes, which is how journald writes a message
    /// that is not UTF-8. As leaves, a long one would use up [`LEAVES_MAX`].
    pub message_bytes: Vec<u8>,
    /// Where texts are put together.
    pub arena: &'a Arena,
}

impl<'a> Flat<'a> {
    /// An empty one.
    pub fn new(arena: &'a Arena) -> Flat<'a> {
        Flat { prefixes: vec![], leaves: vec![], roots: Roots::default(), message_bytes: vec![], arena }
    }

    /// Empties it, for another document.
    pub fn clear(&mut self) {
        self.prefixes.clear();
        self.leaves.clear();
        self.roots = Roots::default();
        self.message_bytes.clear();
    }

    /// Reads `text` below `path` (`""` for the root). What was read before an error stays; the
    /// error says what was wrong and at which byte.
    pub fn read(&mut self, path: &'a str, text: &'a str) -> Result<(), String> {
        let root = self.prefix(0, "");
        let (parent, key) = parted(path).unwrap_or(("", path));
        let parent = if parent.is_empty() { root } else { self.prefix(root, parent) };
        let key = (!key.is_empty()).then_some(key);
        match self.read_fast(parent, key, text) {
            true => Ok(()),
            false => self.read_slowly(parent, key, text),
        }
    }

    /// Reads a document that is whole and within all bounds; `false`, and as it was, where it is not.
    pub fn read_whole(&mut self, text: &'a str) -> bool {
        let root = self.prefix(0, "");
        self.read_fast(root, None, text)
    }

    fn read_fast(&mut self, parent: usize, key: Option<&'a str>, text: &'a str) -> bool {
        let before = (self.leaves.len(), self.prefixes.len(), self.message_bytes.len(), self.roots);
        let is_read = scan::read(self, parent, key, text).is_some();
        if !is_read {
            self.leaves.truncate(before.0);
            self.prefixes.truncate(before.1);
            self.message_bytes.truncate(before.2);
            self.roots = before.3;
        }
        is_read
    }

    fn read_slowly(&mut self, parent: usize, key: Option<&'a str>, text: &'a str) -> Result<(), String> {
        let mut json = serde_json::Deserializer::from_str(text);
        let seed = Node { flat: self, parent, key, depth: 0 };
        seed.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| fault(text, &error))
    }

    /// Adds one value under a dotted path, such as an attribute's name.
    pub fn push_path(&mut self, path: &'a str, value: Value<'a>) {
        if self.leaves.len() >= LEAVES_MAX {
            return;
        }
        let root = self.prefix(0, "");
        let (prefix, key) = self.split(root, path);
        self.push(prefix, key, value);
    }

    fn push(&mut self, prefix: usize, key: &'a str, value: Value<'a>) {
        if prefix == 0 {
            self.roots.add(Roots::of(key));
        }
        self.leaves.push(Leaf { prefix, key, value });
    }

    /// The whole dotted name of a leaf.
    pub fn name(&self, leaf: &Leaf<'a>) -> &'a str {
        join(self.arena, self.prefixes[leaf.prefix], leaf.key)
    }

    /// The first value directly at the root under `key`.
    pub fn root(&self, key: &str) -> Option<&Value<'a>> {
        self.leaves.iter().find(|leaf| leaf.prefix == 0 && leaf.key == key).map(|leaf| &leaf.value)
    }

    /// The first value at `prefix` under `key`.
    pub fn at(&self, prefix: &str, key: &str) -> Option<&Value<'a>> {
        let here = self.prefixes.iter().position(|path| *path == prefix)?;
        let found =
            |leaf: &&Leaf<'_>| leaf.prefix >= here && leaf.key == key && self.prefixes[leaf.prefix] == prefix;
        self.leaves.iter().find(found).map(|leaf| &leaf.value)
    }

    /// Whether any leaf stands at `prefix` or below it.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        let below =
            |p: &&str| p.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.prefixes.iter().any(below)
    }

    /// Adds a scalar; `None`: there are too many. A document that is a bare scalar or list has no key
    /// of its own.
    fn leaf(&mut self, prefix: usize, key: Option<&'a str>, value: Value<'a>) -> Option<()> {
        if prefix == 0
            && key == Some("MESSAGE")
            && let Value::Int(byte @ 0..=255) = value
        {
            self.message_bytes.push(byte as u8);
            return Some(());
        }
        if self.leaves.len() >= LEAVES_MAX {
            return None;
        }
        self.push(prefix, key.unwrap_or("value"), value);
        Some(())
    }

    /// Where a key of an object stands: `winlog.channel` at the root is the same as `channel` below
    /// `winlog`.
    fn split(&mut self, here: usize, key: &'a str) -> (usize, &'a str) {
        if here != 0 {
            return (here, key);
        }
        match parted(key) {
            Some((path, key)) => (self.prefix(0, path), key),
            None => (here, key),
        }
    }

    /// Index of the prefix `parent.key`, added where it is new. Only the latest few are searched:
    /// a repeated prefix costs a little memory and nothing else.
    fn prefix(&mut self, parent: usize, key: &'a str) -> usize {
        if self.prefixes.is_empty() {
            self.prefixes.push("");
        }
        if parent == 0 && key.is_empty() {
            return 0;
        }
        let above = self.prefixes[parent];
        let is_same = |path: &&str| match above {
            "" => *path == key,
            above => path.strip_prefix(above).and_then(|rest| rest.strip_prefix('.')) == Some(key),
        };
        let recent = self.prefixes.len().saturating_sub(16);
        if let Some(found) = self.prefixes[recent..].iter().position(is_same) {
            return recent + found;
        }
        self.prefixes.push(join(self.arena, above, key));
        self.prefixes.len() - 1
    }
}

/// Path and last part of a dotted name that has both.
fn parted(name: &str) -> Option<(&str, &str)> {
    // Names are short: the search that is fastest on long text would not be here.
    let dot = name.bytes().rposition(|byte| byte == b'.')?;
    (dot > 0 && dot + 1 < name.len()).then(|| (&name[..dot], &name[dot + 1..]))
}

/// What was wrong with `text`, with the byte at which reading stopped.
fn fault(text: &str, error: &serde_json::Error) -> String {
    let lines_before = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let offset = match error.is_eof() {
        true => text.len(),
        false => lines_before.map(str::len).sum::<usize>() + error.column().saturating_sub(1),
    };
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or("not JSON");
    format!("broken JSON at byte {offset}: {what}")
}

/// Reads one value below `parent`; `key` is absent for the document itself.
struct Node<'f, 'a> {
    flat: &'f mut Flat<'a>,
    parent: usize,
    key: Option<&'a str>,
    depth: usize,
}

impl<'a> Node<'_, 'a> {
    fn leaf<E: Error>(self, value: Value<'a>) -> Result<(), E> {
        let is_added = self.flat.leaf(self.parent, self.key, value).is_some();
        if is_added { Ok(()) } else { Err(E::custom(format_args!("more than {LEAVES_MAX} fields"))) }
    }
}

impl<'a> DeserializeSeed<'a> for Node<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        if self.depth < DEPTH_MAX {
            return json.deserialize_any(self);
        }
        // Skipping a value does not recurse, so no depth can exhaust the stack.
        let rest: &'a RawValue = Deserialize::deserialize(json)?;
        self.leaf(Value::from(rest.get()))
    }
}

impl<'a> Visitor<'a> for Node<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.leaf(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.leaf(Value::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        // Beyond i64 the decimal text is what a rule could compare with.
        let value = i64::try_from(value).map_or_else(|_| Value::from(value.to_string()), Value::Int);
        self.leaf(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.leaf(Value::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'a str) -> Result<(), E> {
        self.leaf(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let value = self.flat.arena.alloc_str(value);
        self.leaf(Value::from(&*value))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.leaf(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        let Node { flat, parent, key, depth } = self;
        loop {
            let element = Node { flat: &mut *flat, parent, key, depth: depth + 1 };
            if list.next_element_seed(element)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let Node { flat, parent, key, depth } = self;
        let here = match key {
            Some(key) => flat.prefix(parent, key),
            None => parent,
        };
        if flat.prefixes.len() > LEAVES_MAX {
            return Err(A::Error::custom(format_args!("more than {LEAVES_MAX} objects")));
        }
        while let Some(Text(key)) = map.next_key()? {
            let (here, key) = flat.split(here, keep(flat.arena, key));
            map.next_value_seed(Node { flat: &mut *flat, parent: here, key: Some(key), depth: depth + 1 })?;
        }
        Ok(())
    }
}

/// A text of a document, such as an object's key; borrowed where it has no escapes.
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'a> Visitor<'a> for TextVisitor {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(text: &str) -> (Vec<(String, String)>, Option<String>) {
        let arena = Arena::new();
        let mut flat = Flat::new(&arena);
        let fault = flat.read("", text).err();
        let text = |leaf: &Leaf<'_>| leaf.value.text().map_or("null".into(), Cow::into_owned);
        let leaves = flat.leaves.iter().map(|leaf| (flat.name(leaf).to_owned(), text(leaf))).collect();
        (leaves, fault)
    }

    fn named(text: &str) -> String {
        let (leaves, fault) = flat(text);
        let leaves: Vec<_> = leaves.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}{}", leaves.join(" "), fault.map(|f| format!(" !{f}")).unwrap_or_default())
    }

    #[test]
    fn objects_become_dotted_names_and_lists_repeat() {
        assert_eq!(named(r#"{"a":{"b":1,"c":[true,"x"]},"d":null}"#), "a.b=1 a.c=true a.c=x d=null");
        assert_eq!(named(r#"{"l":[{"k":"1"},{"k":"2"}]}"#), "l.k=1 l.k=2");
        assert_eq!(named(r#"{"event_data":{"data":[{"":"v"}]}}"#), "event_data.data.=v");
        assert_eq!(named(r#"[{"a":1},2]"#), "a=1 value=2");
    }

    #[test]
    fn a_dotted_key_equals_nested_keys() {
        let arena = Arena::new();
        let mut document = Flat::new(&arena);
        document.read("", r#"{"winlog.event_data.A":"1","winlog":{"event_data":{"B":"2"}}}"#).unwrap();
        assert_eq!(document.at("winlog.event_data", "A"), Some(&Value::from("1")));
        assert_eq!(document.at("winlog.event_data", "B"), Some(&Value::from("2")));
    }

    #[test]
    fn a_text_below_a_path_has_its_name() {
        let arena = Arena::new();
        let mut document = Flat::new(&arena);
        for (path, text) in [("a.b", "[1,2]"), ("a.b", r#"{"c":3,"d":[{"e":4}]}"#), ("f", r#"[{"g":5}]"#)] {
            document.read(path, text).unwrap();
        }
        let names: Vec<_> = document.leaves.iter().map(|leaf| document.name(leaf)).collect();
        assert_eq!(names, ["a.b", "a.b", "a.b.c", "a.b.d.e", "f.g"]);
    }

    #[test]
    fn text_without_escapes_is_borrowed() {
        let arena = Arena::new();
        let mut document = Flat::new(&arena);
        document.read("", r#"{"a":"plain","b":"x\u003cy"}"#).unwrap();
        assert!(matches!(&document.leaves[0].value, Value::Str(Cow::Borrowed("plain"))));
        assert!(matches!(&document.leaves[1].value, Value::Str(s) if s == "x<y"));
    }

    #[test]
    fn broken_json_keeps_what_was_read_and_says_where() {
        assert_eq!(
            named(r#"{"a":"1","b":{"c":"2","d":"#),
            "a=1 b.c=2 !broken JSON at byte 26: EOF while parsing a value"
        );
        assert_eq!(named("{\"a\":1}\n x"), "a=1 !broken JSON at byte 9: trailing characters");
    }

    #[test]
    fn depth_and_number_of_fields_are_bounded() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(5000), "}".repeat(5000));
        let (leaves, fault) = flat(&deep);
        assert_eq!((leaves.len(), fault), (1, None));
        assert!(leaves[0].1.starts_with(r#"{"a":{"a""#));
        let wide = format!("[{}1]", "1,".repeat(3000));
        let (leaves, fault) = flat(&wide);
        assert_eq!(leaves.len(), LEAVES_MAX);
        assert!(fault.unwrap().ends_with("more than 2000 fields"));
    }

    #[test]
    fn numbers_keep_their_value() {
        assert_eq!(
            named(r#"{"k":-9214364837600034816,"u":18446744073709551615,"f":1.5}"#),
            "k=-9214364837600034816 u=18446744073709551615 f=1.5"
        );
    }
}
