//! The configuration file as a tree that still knows its lines.
//!
//! Read as a tree and not straight into structs, so that all that is wrong with a file can be told
//! at once, each with its line. References to the environment are resolved here, per value.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// A value and the 1-based line it stands on.
#[derive(Debug, Clone)]
pub struct Node {
    pub line: usize,
    pub value: Tree,
}

/// One YAML value.
#[derive(Debug, Clone)]
pub enum Tree {
    Null,
    /// Text, number or boolean, as text; `quoted` is false for what YAML reads as number or boolean.
    Scalar {
        text: String,
        is_text: bool,
    },
    List(Vec<Node>),
    /// Keys in file order, each with its line.
    Map(Vec<(String, usize, Node)>),
}

impl Tree {
    /// What a person would call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Tree::Null => "nothing",
            Tree::Scalar { .. } => "a single value",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a mapping",
        }
    }
}

/// Reads `text`; the error is the line (0 if unknown) and what is wrong.
pub fn parse(text: &str) -> Result<Node, (usize, String)> {
    let options = serde_saphyr::options! { with_snippet: false };
    match serde_saphyr::from_str_with_options::<Option<Spanned<Raw>>>(text, options) {
        Ok(Some(root)) => Ok(root.into()),
        Ok(None) => Ok(Node { line: 1, value: Tree::Map(vec![]) }),
        Err(error) => Err((error.location().map_or(0, |l| l.line() as usize), error.to_string())),
    }
}

/// The shape serde fills; [`Node`] is the same with plain lines.
enum Raw {
    Null,
    Scalar { text: String, is_text: bool },
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl From<Spanned<Raw>> for Node {
    fn from(spanned: Spanned<Raw>) -> Node {
        let value = match spanned.value {
            Raw::Null => Tree::Null,
            Raw::Scalar { text, is_text } => Tree::Scalar { text, is_text },
            Raw::List(items) => Tree::List(items.into_iter().map(Node::from).collect()),
            Raw::Map(entries) => Tree::Map(
                entries
                    .into_iter()
                    .map(|(key, node)| (key.value, key.referenced.line() as usize, Node::from(node)))
                    .collect(),
            ),
        };
        Node { line: spanned.referenced.line() as usize, value }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl RawVisitor {
    fn plain<E>(text: String) -> Result<Raw, E> {
        Ok(Raw::Scalar { text, is_text: false })
    }
}

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Self::plain(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Self::plain(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Self::plain(value.to_string())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Self::plain(value.to_string())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Self::plain(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Self::plain(value.to_string())
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar { text: value.to_owned(), is_text: true })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// Largest file that a value is taken from, bytes.
const VALUE_FILE_MAX: u64 = 64 << 10;

/// Resolves `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` in `text`; `$${` stands for a
/// literal `${`. The syntax is the OpenTelemetry Collector's. A line end at the end of a file is not
/// part of the value.
pub fn resolve_env(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at]);
            out.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let Some(end) = inner.find('}') else {
            return Err("has a `${` without its `}` (write `$${` for a literal `${`)".into());
        };
        let reference = &inner[..end];
        if let Some(path) = reference.strip_prefix("file:") {
            out.push_str(&value_file(path)?);
            rest = &inner[end + 1..];
            continue;
        }
        let Some(name) = reference.strip_prefix("env:") else {
            return Err(format!(
                "has the reference `${{{reference}}}`, which is not of the form `${{env:NAME}}` or \
                 `${{file:PATH}}` (write `$${{` for a literal `${{`)"
            ));
        };
        let (name, default) = match name.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (name, None),
        };
        match env(name).or_else(|| default.map(str::to_owned)) {
            Some(value) => out.push_str(&value),
            None => return Err(format!("needs the environment variable `{name}`, which is not set")),
        }
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn value_file(path: &str) -> Result<String, String> {
    let told = |error: std::io::Error| format!("needs the file {path}, which cannot be read: {error}");
    let length = std::fs::metadata(path).map_err(told)?.len();
    if length > VALUE_FILE_MAX {
        return Err(format!("needs the file {path}, which is larger than {VALUE_FILE_MAX} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(told)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "A").then(|| "va${lue".to_string())
    }

    #[test]
    fn references_are_resolved_once_and_can_be_escaped() {
        assert_eq!(resolve_env("x${env:A}y", &env).as_deref(), Ok("xva${luey"));
        assert_eq!(resolve_env("$${env:A} $5 $", &env).as_deref(), Ok("${env:A} $5 $"));
        assert_eq!(resolve_env("${env:B:-dflt}", &env).as_deref(), Ok("dflt"));
        assert!(resolve_env("${env:B}", &env).unwrap_err().contains("`B`, which is not set"));
        assert!(resolve_env("${A}", &env).unwrap_err().contains("${env:NAME}"));
        assert!(resolve_env("${env:A", &env).is_err());
    }

    #[test]
    fn a_value_may_stand_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "s3cret ${x}\n").unwrap();
        let text = format!("a ${{file:{}}} b", path.display());
        assert_eq!(resolve_env(&text, &env).as_deref(), Ok("a s3cret ${x} b"));
        let error = resolve_env("${file:/no/such}", &env).unwrap_err();
        assert!(error.contains("/no/such"), "{error}");
    }

    #[test]
    fn every_value_knows_its_line() {
        let root = parse("a: 1\nb:\n  c: [x,\n    y]\n").unwrap();
        let Tree::Map(entries) = &root.value else { panic!() };
        assert_eq!(entries[1].1, 2);
        let Tree::Map(inner) = &entries[1].2.value else { panic!() };
        let Tree::List(items) = &inner[0].2.value else { panic!() };
        assert_eq!((inner[0].1, items[1].line), (3, 4));
        assert!(parse("a: [1").is_err());
        assert!(parse("a: 1\na: 2\n").unwrap_err().1.contains("a"));
        assert!(parse("").is_ok());
    }
}
