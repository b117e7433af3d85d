//! Bodies that carry another source's documents inside their own: EventBridge's `detail`, the text
//! in AKS's `properties.log`, Pub/Sub's base64, Okta's event hooks, lists of Microsoft Graph and of
//! Google's Reports API, the unified audit log's `AuditData`.
//!
//! Only takes the documents out; what each of them is, is decided as if it had come alone. A body
//! that is nothing but a list of documents is the business of [`super::split`].

use super::json::{Flat, Text};
use super::split::DOCUMENTS_MAX;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

type Documents<'a> = Option<Vec<Cow<'a, str>>>;

/// Opens a body that is an envelope of one kind.
type Open = for<'a> fn(&'a str) -> Documents<'a>;

/// A marker that every envelope of a kind contains, and how it is opened.
const KINDS: &[(&str, Open)] = &[
    ("\"detail-type\"", event_bridge),
    ("\"kube-audit", aks),
    ("\"RawXml\"", windows_table),
    ("\"subscription\"", pub_sub),
    ("\"protoPayload\"", pub_sub_add_on),
    ("\"com.okta.event_hook\"", okta_hook),
    ("\"@odata.context\"", graph),
    ("\"admin#reports#activities\"", workspace),
    ("\"AuditData\"", unified_audit),
    ("\"CloudTrailEvent\"", looked_up),
];

/// Whether [`documents`] may find any in this object: it has the keys of one of the kinds.
pub(super) fn is_possible(flat: &Flat<'_>) -> bool {
    let holds = |prefix: &&str| match *prefix {
        "properties" | "Properties" => {
            flat.at(prefix, "log").is_some() || flat.at(prefix, "RawXml").is_some()
        }
        prefix => matches!(prefix, "message" | "data" | "value" | "items"),
    };
    let is_key = |key: &str| matches!(key, "detail-type" | "AuditData" | "CloudTrailEvent");
    flat.prefixes.iter().any(holds) || flat.leaves.iter().any(|leaf| leaf.prefix == 0 && is_key(leaf.key))
}

/// The documents inside `body`; `None` where it is no envelope.
pub(super) fn documents(body: &str) -> Documents<'_> {
    if !body.trim_start().starts_with('{') {
        return None;
    }
    let found = |marker: &str| memchr::memmem::find(body.as_bytes(), marker.as_bytes()).is_some();
    let opened = KINDS.iter().find_map(|(marker, open)| if found(marker) { open(body) } else { None });
    opened.filter(|documents| !documents.is_empty() && documents.len() <= DOCUMENTS_MAX)
}

/// `T`, where `body` is one.
fn read<'a, T: serde::Deserialize<'a>>(body: &'a str) -> Option<T> {
    serde_json::from_str(body).ok()
}

fn one<'a>(document: Cow<'a, str>) -> Documents<'a> {
    document.trim_start().starts_with('{').then(|| vec![document])
}

fn all(list: Vec<&RawValue>) -> Documents<'_> {
    let documents = list.into_iter().map(|raw| Cow::Borrowed(raw.get()));
    Some(documents.filter(|document| document.starts_with('{')).collect())
}

/// `{"detail-type":"AWS API Call via CloudTrail","source":"aws.iam","detail":{…}}`
fn event_bridge(body: &str) -> Documents<'_> {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        detail: &'a RawValue,
        #[serde(rename = "detail-type", borrow)]
        kind: Text<'a>,
    }
    let envelope: Envelope<'_> = read(body)?;
    if !envelope.kind.0.contains("CloudTrail") {
        return None;
    }
    one(Cow::Borrowed(envelope.detail.get()))
}

/// Diagnostic logs of AKS: `{"category":"kube-audit","properties":{"log":"{…}"}}`
fn aks(body: &str) -> Documents<'_> {
    #[derive(serde::Deserialize)]
    struct Properties<'a> {
        #[serde(borrow)]
        log: Text<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow, alias = "Category")]
        category: Text<'a>,
        #[serde(borrow, alias = "Properties")]
        properties: Properties<'a>,
    }
    let envelope: Envelope<'_> = read(body)?;
    if !envelope.category.0.starts_with("kube-audit") {
        return None;
    }
    one(envelope.properties.log.0)
}

/// Windows events as the Azure diagnostics extension writes them: the XML is in `properties.RawXml`.
fn windows_table(body: &str) -> Documents<'_> {
    #[derive(serde::Deserialize)]
    struct Properties<'a> {
        #[serde(borrow, rename = "RawXml")]
        xml: Text<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        properties: Properties<'a>,
    }
    let xml = read::<Envelope<'_>>(body)?.properties.xml.0;
    xml.starts_with("<Event").then(|| vec![xml])
}

/// A push subscription: `{"message":{"data":"<base64>"},"subscription":"projects/…"}`
fn pub_sub(body: &str) -> Documents<'_> {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        data: Text<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        message: Message<'a>,
        #[serde(rename = "subscription")]
        _subscription: IgnoredAny,
    }
    let envelope: Envelope<'_> = read(body)?;
    let data = envelope.message.data.0.as_bytes();
    let bytes = STANDARD.decode(data).or_else(|_| URL_SAFE.decode(data)).ok()?;
    one(Cow::Owned(String::from_utf8(bytes).ok()?))
}

/// What collectors of Pub/Sub make of a log entry: `{"data":{"protoPayload":…},"publish_time":…}`
fn pub_sub_add_on(body: &str) -> Documents<'_> {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
        #[serde(rename = "protoPayload")]
        own: Option<IgnoredAny>,
    }
    let envelope: Envelope<'_> = read(body)?;
    if envelope.own.is_some() {
        return None;
    }
    one(Cow::Borrowed(envelope.data.get()))
}

/// `{"eventType":"com.okta.event_hook","data":{"events":[…]}}`
fn okta_hook(body: &str) -> Documents<'_> {
    #[derive(serde::Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        events: Vec<&'a RawValue>,
    }
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        data: Data<'a>,
    }
    all(read::<Envelope<'_>>(body)?.data.events)
}

/// An answer of Microsoft Graph: `{"@odata.context":"…","value":[…]}`
fn graph(body: &str) -> Documents<'_> {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        value: Vec<&'a RawValue>,
    }
    all(read::<Envelope<'_>>(body)?.value)
}

/// An answer of Google's Reports API: `{"kind":"admin#reports#activities","items":[…]}`
fn workspace(body: &str) -> Documents<'_> {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    all(read::<Envelope<'_>>(body)?.items)
}

/// An export of Purview's search: the record is a text in `AuditData`.
fn unified_audit(body: &str) -> Documents<'_> {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow, rename = "AuditData")]
        data: Text<'a>,
    }
    one(read::<Envelope<'_>>(body)?.data.0)
}

/// An answer of CloudTrail's LookupEvents: the record is a text.
fn looked_up(body: &str) -> Documents<'_> {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow, rename = "CloudTrailEvent")]
        event: Text<'a>,
    }
    one(read::<Envelope<'_>>(body)?.event.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(body: &str) -> Vec<String> {
        documents(body).unwrap_or_default().into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn each_kind_gives_its_documents() {
        for body in [
            r#"{"version":"0","detail-type":"AWS API Call via CloudTrail","detail":{"a":1}}"#,
            r#"{"category":"kube-audit-admin","properties":{"log":"{\"a\":1}","pod":"x"}}"#,
            r#"{"message":{"data":"eyJhIjoxfQ==","messageId":"1"},"subscription":"projects/p/subscriptions/s"}"#,
            r#"{"eventType":"com.okta.event_hook","data":{"events":[{"a":1}]}}"#,
            r#"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#x","value":[{"a":1}]}"#,
            r#"{"kind":"admin#reports#activities","etag":"x","items":[{"a":1}]}"#,
            r#"{"RecordType":15,"AuditData":"{\"a\":1}"}"#,
            r#"{"EventId":"x","CloudTrailEvent":"{\"a\":1}"}"#,
        ] {
            assert_eq!(texts(body), [r#"{"a":1}"#], "{body}");
        }
        let add_on = r#"{"data":{"protoPayload":{}},"attributes":{},"publish_time":1.5}"#;
        assert_eq!(texts(add_on), [r#"{"protoPayload":{}}"#]);
    }

    #[test]
    fn a_windows_event_of_the_azure_extension_is_its_xml() {
        let body = r#"{"category":"WindowsEventLogsTable","properties":{"EventId":1,"RawXml":"<Event/>"}}"#;
        assert_eq!(texts(body), ["<Event/>"]);
        assert_eq!(documents(r#"{"properties":{"RawXml":"x"}}"#), None);
    }

    #[test]
    fn anything_else_is_no_envelope() {
        for body in [
            r#"{"detail-type":"EC2 Instance State-change Notification","detail":{"state":"running"}}"#,
            r#"{"message":{"data":"not base64"},"subscription":"s"}"#,
            r#"{"protoPayload":{"methodName":"x"},"data":{"a":1}}"#,
            r#"{"category":"kube-apiserver","properties":{"log":"I0101 kube-audit"},"x":"\"kube-audit"}"#,
            r#"{"@odata.context":"x","id":"1"}"#,
            r#"{"AuditData":{"a":1}}"#,
            "\"detail-type\"",
            "",
        ] {
            assert_eq!(documents(body), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(body in r#"\{("(detail-type|message|data|value|AuditData)":[\[\{"].{0,40}){0,3}"#) {
            documents(&body);
        }
    }
}
