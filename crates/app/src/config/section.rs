//! Reads keys out of a mapping and remembers everything that was wrong on the way.
//!
//! What is asked for is what is known: a key that nobody asked for is unknown, and the keys asked
//! for are the candidates for the suggestion. So the list of known keys cannot go stale.

use super::yaml::{Node, Tree, resolve_env};
use super::{Secret, units};
use otel_log_ai_core::problem::Problem;
use std::cell::RefCell;
use std::time::Duration;

/// What all sections of one file share.
pub struct Source<'a> {
    /// File name for messages.
    pub path: &'a str,
    /// How environment variables are looked up.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Everything found wrong so far.
    pub problems: RefCell<Vec<Problem>>,
    /// Every key that was asked for, dotted; the documentation is tested against it.
    pub asked: RefCell<Vec<String>>,
    /// Secrets that stand in the file itself, dotted.
    pub literal_secrets: RefCell<Vec<String>>,
}

impl Source<'_> {
    /// Notes a problem with `key` at `line`.
    pub fn problem(&self, line: usize, key: &str, message: impl Into<String>, hint: Option<String>) {
        self.problems.borrow_mut().push(Problem {
            path: self.path.to_string(),
            line,
            subject: key.to_string(),
            message: message.into(),
            hint,
        });
    }
}

/// One mapping of the file.
pub struct Section<'a> {
    source: &'a Source<'a>,
    name: String,
    line: usize,
    entries: &'a [(String, usize, Node)],
    known: RefCell<Vec<String>>,
}

impl<'a> Section<'a> {
    /// The root of the file.
    pub fn root(source: &'a Source<'a>, node: &'a Node) -> Section<'a> {
        Section::of(source, String::new(), Some(node))
    }

    fn of(source: &'a Source<'a>, name: String, node: Option<&'a Node>) -> Section<'a> {
        let line = node.map_or(0, |n| n.line);
        let entries: &[_] = match node.map(|n| &n.value) {
            None | Some(Tree::Null) => &[],
            Some(Tree::Map(entries)) => entries,
            Some(other) => {
                source.problem(line, &name, format!("must be a mapping and is {}", other.kind()), None);
                &[]
            }
        };
        Section { source, name, line, entries, known: RefCell::default() }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_string() } else { format!("{}.{key}", self.name) }
    }

    fn find(&self, key: &str) -> Option<&'a Node> {
        self.known.borrow_mut().push(key.to_string());
        self.source.asked.borrow_mut().push(self.path(key));
        let entry = self.entries.iter().find(|(k, _, _)| k == key);
        entry.map(|(_, _, node)| node).filter(|node| !matches!(node.value, Tree::Null))
    }

    /// A mapping inside this one; an absent one is empty.
    pub fn section(&self, key: &str) -> Section<'a> {
        Section::of(self.source, self.path(key), self.find(key))
    }

    /// The mappings of a list inside this one; an absent one is empty.
    pub fn sections(&self, key: &str) -> Vec<Section<'a>> {
        let path = self.path(key);
        match self.find(key).map(|node| (node.line, &node.value)) {
            None => Vec::new(),
            Some((_, Tree::List(items))) => {
                items.iter().map(|item| Section::of(self.source, path.clone(), Some(item))).collect()
            }
            Some((line, other)) => {
                let message = format!("must be a list of mappings and is {}", other.kind());
                self.source.problem(line, &path, message, None);
                Vec::new()
            }
        }
    }

    fn scalar(&self, key: &str) -> Option<(usize, String, bool)> {
        let node = self.find(key)?;
        let path = self.path(key);
        self.scalar_of(&path, node)
    }

    fn scalar_of(&self, path: &str, node: &Node) -> Option<(usize, String, bool)> {
        let Tree::Scalar { text, is_text } = &node.value else {
            let message = format!("must be a single value and is {}", node.value.kind());
            self.source.problem(node.line, path, message, None);
            return None;
        };
        match resolve_env(text, self.source.env) {
            Ok(text) => Some((node.line, text, *is_text)),
            Err(message) => {
                self.source.problem(node.line, path, message, None);
                None
            }
        }
    }

    /// A value that `parse` understands, else `default`; what `parse` says is noted.
    pub fn parsed<T>(&self, key: &str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let Some((line, text, _)) = self.scalar(key) else { return default };
        match parse(&text) {
            Ok(value) => value,
            Err(message) => {
                self.source.problem(line, &self.path(key), message, None);
                default
            }
        }
    }

    /// Text.
    pub fn text(&self, key: &str, default: &str) -> String {
        self.parsed(key, default.to_string(), |text| Ok(text.to_string()))
    }

    /// A duration of at least `least`.
    pub fn duration(&self, key: &str, default: Duration, least: Duration) -> Duration {
        self.parsed(key, default, |text| match units::duration(text)? {
            value if value < least => Err(format!("`{text}` is too short, at least {least:?} is needed")),
            value => Ok(value),
        })
    }

    /// A whole number within `range`.
    pub fn number(&self, key: &str, default: u64, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.parsed(key, default, |text| match text.parse::<u64>() {
            Ok(value) if range.contains(&value) => Ok(value),
            _ => Err(format!("`{text}` is not a whole number from {} to {}", range.start(), range.end())),
        })
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str, default: bool) -> bool {
        self.parsed(key, default, |text| {
            text.parse().map_err(|_| format!("`{text}` is neither `true` nor `false`"))
        })
    }

    /// One of a closed set of words.
    pub fn word<T: Copy>(&self, key: &str, default: T, words: &[(&str, T)]) -> T {
        self.parsed(key, default, |text| word(text, words))
    }

    /// A secret. YAML would turn `0123` into a number, so a number must stand in quotes.
    pub fn secret(&self, key: &str) -> Secret {
        match self.scalar(key) {
            None => Secret::default(),
            Some((_, text, true)) => {
                if !text.is_empty() && !self.is_reference(key) {
                    self.source.literal_secrets.borrow_mut().push(self.path(key));
                }
                Secret::new(text)
            }
            Some((line, ..)) => {
                let hint = Some("put it in quotes, or use `${env:NAME}`".to_string());
                self.source.problem(line, &self.path(key), "is a number or boolean to YAML", hint);
                Secret::default()
            }
        }
    }

    /// Whether the value of a key is taken from the environment or a file.
    fn is_reference(&self, key: &str) -> bool {
        let entry = self.entries.iter().find(|(k, ..)| k == key);
        entry.is_some_and(
            |(_, _, node)| matches!(&node.value, Tree::Scalar { text, .. } if text.contains("${")),
        )
    }

    /// A list of values that `parse` understands; a single value counts as a list of one.
    pub fn list<T>(&self, key: &str, default: Vec<T>, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let path = self.path(key);
        let Some(node) = self.find(key) else { return default };
        let items = match &node.value {
            Tree::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let Some((line, text, _)) = self.scalar_of(&path, item) else { continue };
            match parse(&text) {
                Ok(value) => values.push(value),
                Err(message) => self.source.problem(line, &path, message, None),
            }
        }
        values
    }

    /// A value that must be there: notes a problem where it is missing or empty.
    pub fn required<T: Default>(&self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        if !self.entries.iter().any(|(k, _, node)| k == key && !matches!(node.value, Tree::Null)) {
            self.find(key);
            let hint = Some("`otel-log-ai config example` shows one".to_string());
            self.source.problem(self.line, &self.path(key), "is missing and has no default", hint);
            return T::default();
        }
        self.parsed(key, T::default(), parse)
    }

    /// Notes a problem with a key of this section, at the key's line.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        let line = self.entries.iter().find(|(k, ..)| k == key).map_or(self.line, |(_, line, _)| *line);
        self.source.problem(line, &self.path(key), message, None);
    }

    /// Notes every key that nobody asked for. Call it last.
    pub fn finish(self) {
        let known = self.known.borrow();
        for (key, line, _) in self.entries.iter().filter(|(key, ..)| !known.contains(key)) {
            let near = nearest(key, known.iter().map(String::as_str));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.source.problem(*line, &self.path(key), "is not a known key", Some(hint));
        }
    }
}

/// Finds `text` among `words`, or says which there are.
pub fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Err(match nearest(text, all.iter().copied()) {
        Some(near) => format!("`{text}` is not known, did you mean `{near}`?"),
        None => format!("`{text}` is not one of {}", all.join(", ")),
    })
}

fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    words
        .map(|word| (strsim::damerau_levenshtein(text, word), word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .min()
        .map(|(_, word)| word)
}
