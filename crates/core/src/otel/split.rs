//! Bodies that are a list of events: whole files and batches that a receiver passes on as one
//! record. CloudTrail's and Azure's `{"Records":[…]}`, Kubernetes' `EventList`, CloudWatch's
//! subscription messages, a webhook's list of documents.
//!
//! Only finds the documents; what each of them is, is decided as if it had come alone.

use super::json::{Flat, Leaf, Text};
use crate::value::Value;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// More documents than this are not taken from one record.
pub(super) const DOCUMENTS_MAX: usize = 20_000;
/// In so many bytes of a body a list's key stands, if it is one; before it are only a few scalars.
const HEAD_BYTES: usize = 1024;

/// The documents of a body.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Documents<'a> {
    /// JSON text each; for CloudWatch, what the program wrote.
    pub texts: Vec<Cow<'a, str>>,
    /// What was wrong with the list, if anything; what stands before it is in `texts`.
    pub fault: Option<String>,
}

/// The documents of `body`; `None` where it is one document or none.
pub(super) fn documents(body: &str) -> Option<Documents<'_>> {
    let is_list = body.trim_start().starts_with('[');
    if !is_list && list_key(body).is_none() {
        return None;
    }
    let mut found = Found::default();
    let mut json = serde_json::Deserializer::from_str(body);
    let read = json.deserialize_any(Document(&mut found)).and_then(|()| json.end());
    let fault = read.err().map(|error| {
        let what = error.to_string();
        format!("list of {} documents, then broken JSON: {what}", found.texts.len())
    });
    let is_alone = match found.list {
        _ if is_list => found.texts.iter().all(|text| text.starts_with('{')),
        Some("logEvents") => found.keys.iter().any(|key| key == "logGroup"),
        Some("items") => found.is_event_list,
        Some("Records" | "records") => {
            found.keys.is_empty() && found.texts.iter().all(|t| t.starts_with('{'))
        }
        _ => false,
    };
    (is_alone && !found.texts.is_empty()).then_some(Documents { texts: found.texts, fault })
}

/// Whether [`documents`] may find any in this object.
pub(super) fn is_possible(flat: &Flat<'_>) -> bool {
    let is_list = |prefix: &&str| matches!(*prefix, "Records" | "records" | "logEvents");
    let is_event_list =
        |leaf: &Leaf<'_>| leaf.prefix == 0 && leaf.key == "kind" && leaf.value == Value::from("EventList");
    flat.prefixes.iter().any(is_list) || flat.leaves.iter().any(is_event_list)
}

/// Root keys of lists.
const LISTS: [&str; 4] = ["Records", "records", "items", "logEvents"];

/// Whether one of the keys stands near the beginning, followed by a list.
fn list_key(body: &str) -> Option<&'static str> {
    let head = &body.as_bytes()[..body.len().min(HEAD_BYTES)];
    LISTS.into_iter().find(|key| {
        memchr::memmem::find_iter(head, key.as_bytes()).any(|at| {
            let after = head[at + key.len()..].strip_prefix(b"\"").unwrap_or_default();
            let after = after.trim_ascii_start().strip_prefix(b":").unwrap_or_default();
            after.trim_ascii_start().first() == Some(&b'[')
        })
    })
}

/// What reading found so far; it stays where reading ends early.
#[derive(Default)]
struct Found<'a> {
    list: Option<&'static str>,
    texts: Vec<Cow<'a, str>>,
    /// The other keys of the root.
    keys: Vec<Cow<'a, str>>,
    /// Whether `kind` says so.
    is_event_list: bool,
}

/// Reads a root.
struct Document<'f, 'a>(&'f mut Found<'a>);

impl<'a> Visitor<'a> for Document<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of documents")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, list: A) -> Result<(), A::Error> {
        Elements { found: self.0, is_cloudwatch: false }.visit_seq(list)
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            if let (Some(list), None) = (LISTS.into_iter().find(|list| *list == key), self.0.list) {
                self.0.list = Some(list);
                map.next_value_seed(Elements { found: self.0, is_cloudwatch: list == "logEvents" })?;
                continue;
            }
            if key == "kind" {
                let Text(kind) = map.next_value()?;
                self.0.is_event_list = kind == "EventList";
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            self.0.keys.push(key);
        }
        Ok(())
    }
}

/// Reads the elements of a list.
struct Elements<'f, 'a> {
    found: &'f mut Found<'a>,
    is_cloudwatch: bool,
}

impl<'a> DeserializeSeed<'a> for Elements<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

/// An entry of a CloudWatch subscription message.
#[derive(serde::Deserialize)]
struct LogEvent<'a> {
    #[serde(borrow)]
    message: Text<'a>,
}

impl<'a> Visitor<'a> for Elements<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        let texts = &mut self.found.texts;
        loop {
            let text = match self.is_cloudwatch {
                true => list.next_element::<LogEvent<'a>>()?.map(|event| event.message.0),
                false => list.next_element::<&'a RawValue>()?.map(|raw| Cow::Borrowed(raw.get())),
            };
            let Some(text) = text else { return Ok(()) };
            if texts.len() >= DOCUMENTS_MAX {
                return Err(A::Error::custom(format_args!("more than {DOCUMENTS_MAX} documents")));
            }
            texts.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(body: &str) -> Vec<String> {
        documents(body).unwrap_or_default().texts.into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn files_and_batches_are_lists_of_documents() {
        assert_eq!(texts(r#"{"Records":[{"a":1},{"b":[2]}]}"#), [r#"{"a":1}"#, r#"{"b":[2]}"#]);
        assert_eq!(texts(" {\"records\" : [\n {\"a\":1} ]}"), [r#"{"a":1}"#]);
        assert_eq!(texts(r#"[{"a":1}, {"b":2}]"#), [r#"{"a":1}"#, r#"{"b":2}"#]);
        let list = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{"a":1}]}"#;
        assert_eq!(texts(list), [r#"{"a":1}"#]);
    }

    #[test]
    fn cloudwatch_wraps_what_the_program_wrote() {
        let body = r#"{"messageType":"DATA_MESSAGE","logGroup":"/aws/eks/c/cluster","logEvents":[
            {"id":"1","timestamp":1,"message":"{\"kind\":\"Event\"}"},{"id":"2","timestamp":2,"message":"plain"}]}"#;
        assert_eq!(texts(body), [r#"{"kind":"Event"}"#, "plain"]);
    }

    #[test]
    fn one_document_stays_one() {
        for body in [
            r#"{"a":1}"#,
            r#"{"items":[{"sku":1}],"order":7}"#,
            r#"{"records":[1,2]}"#,
            r#"{"Records":[{"a":1}],"more":1}"#,
            r#"{"message":"\"Records\":["}"#,
            "[1,2]",
            "[]",
            "[2026-08-05] text",
            "[error] text",
            "text",
            "",
        ] {
            assert_eq!(documents(body), None, "{body}");
        }
    }

    #[test]
    fn of_a_cut_list_the_whole_documents_count() {
        let found = documents(r#"{"Records":[{"a":1},{"b":"#).unwrap_or_default();
        assert_eq!(found.texts, [r#"{"a":1}"#]);
        assert!(
            found.fault.is_some_and(|fault| fault.starts_with("list of 1 documents, then broken JSON: EOF"))
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(body in ".*", list in "[\\[{]{0,3}\"(Records|items)\":\\[.*") {
            documents(&body);
            documents(&list);
        }
    }
}
