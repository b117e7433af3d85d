//! Why a rule did or did not match an event: what the record is, where each field was found, and
//! what is true of each part of the rule. The truth is that of [`crate::spec`].

use super::truth::fields;
use super::{RuleRef, list};
use crate::otel::{AuditEvent, Event, LogRecord, Taxonomy, View};
use crate::rule::{Expr, Item, Rule};
use crate::spec::{self, Seen};
use crate::value::Value;
use serde::Serialize;

/// Longest value shown, characters.
const VALUE_CHARS_MAX: usize = 240;
/// Most values shown of one field.
const VALUES_MAX: usize = 5;
/// Most log sources of a class shown.
const VIEWS_MAX: usize = 12;

/// One event held against one rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The rule.
    pub rule: RuleRef,
    /// The record's id.
    pub record_id: String,
    /// Event time, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// The host that the event names.
    pub host: String,
    /// What it was recognised as, such as `windows/sysmon/1`; `None` if nothing fits.
    pub class: Option<String>,
    /// What decided that.
    pub decided_by: Vec<String>,
    /// The log sources that the class belongs to.
    pub log_sources: Vec<String>,
    /// What was wrong with the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Whether the rule is for one of these log sources.
    pub covered: bool,
    /// What the rule waits for besides: placeholders without values.
    pub unmet: Vec<String>,
    /// The event as the rule sees it, once for each log source through which it does.
    pub seen: Vec<Through>,
    /// The verdict.
    pub matches: bool,
}

/// The rule's view of the event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Through {
    /// The log source of the event that the rule's covers.
    pub log_source: String,
    /// The rule's fields.
    pub fields: Vec<Field>,
    /// The searches, in the order of their names.
    pub searches: Vec<Part>,
    /// The condition over them.
    pub condition: Part,
    /// Whether all of it is true.
    pub matches: bool,
}

/// A field of the rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// As the rule writes it.
    pub field: String,
    /// What the source calls it.
    pub native: Vec<String>,
    /// Whether there is a value.
    pub state: State,
    /// The values, cut for people.
    pub values: Vec<String>,
}

/// Whether a field has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has.
    Found,
    /// The event does not have it.
    Absent,
    /// This source cannot carry it.
    NotCarried,
}

/// A part of the rule's logic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// `all of`, `any of`, `not`, `at least 2 of`, a search's name, or a comparison.
    pub label: String,
    /// Whether it is true of the event.
    pub truth: bool,
    /// Its parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// Holds each event of `record` against `rule`.
pub fn explain(rule: &Rule, taxonomy: &Taxonomy, record: &LogRecord<'_>) -> Vec<Explanation> {
    let mut all = vec![];
    taxonomy.recognise(record, &mut |event| all.push(event_explanation(rule, taxonomy, record, event)));
    all
}

/// Holds an event that was put together from audit records against `rule`; `None` if it is nothing
/// that Sigma has a log source for.
pub fn explain_audit(rule: &Rule, taxonomy: &Taxonomy, audit: &AuditEvent) -> Option<Explanation> {
    let event = taxonomy.audit_event(audit)?;
    Some(event_explanation(rule, taxonomy, &audit.row.record(), &event))
}

fn event_explanation(
    rule: &Rule,
    taxonomy: &Taxonomy,
    record: &LogRecord<'_>,
    event: &Event<'_>,
) -> Explanation {
    let class = event.class.and_then(|id| taxonomy.classes.get(usize::from(id.0)));
    let views: &[View] = class.map_or(&[], |class| &class.views);
    let mut sources: Vec<String> = vec![];
    for view in views {
        let name = view.logsource.to_string();
        if !sources.contains(&name) {
            sources.push(name);
        }
    }
    let mut seen: Vec<Through> = vec![];
    let mut used: Vec<&View> = vec![];
    for view in views.iter().filter(|view| view.takes(&rule.info.logsource)) {
        if used.iter().any(|other| other.fields == view.fields) {
            continue;
        }
        used.push(view);
        seen.push(through(rule, view, event));
    }
    if sources.len() > VIEWS_MAX {
        sources = vec![list(&sources, VIEWS_MAX)];
    }
    Explanation {
        rule: RuleRef::new(&rule.info),
        record_id: cut(&record.id),
        timestamp_ns: record.timestamp_ns,
        host: cut(&event.host),
        class: class.map(|class| class.name.clone()),
        decided_by: taxonomy.decision(event).iter().map(|text| cut(text)).collect(),
        log_sources: sources,
        fault: event.fault.clone(),
        covered: !seen.is_empty(),
        unmet: rule.unmet.clone(),
        matches: seen.iter().any(|view| view.matches),
        seen,
    }
}

fn through(rule: &Rule, view: &View, event: &Event<'_>) -> Through {
    let eye = Seen::new(event, view);
    let searches = rule.searches.iter().map(|(name, tree)| {
        let tree = part(tree, rule, &eye);
        Part { label: name.clone(), truth: tree.truth, parts: vec![tree] }
    });
    Through {
        log_source: view.logsource.to_string(),
        fields: fields(rule).iter().map(|name| field(name, view, &eye)).collect(),
        searches: searches.collect(),
        condition: part(&rule.condition, rule, &eye),
        matches: spec::rule_matches(rule, &eye),
    }
}

fn field(name: &str, view: &View, eye: &Seen<'_, '_>) -> Field {
    let native: Vec<String> = view.native(name).into_iter().map(str::to_owned).collect();
    let values = eye.values(name);
    let state = match (native.is_empty(), values.is_empty()) {
        (true, _) => State::NotCarried,
        (false, true) => State::Absent,
        (false, false) => State::Found,
    };
    let shown = values.iter().take(VALUES_MAX).map(|value| shown(value));
    let mut shown: Vec<String> = shown.collect();
    if values.len() > VALUES_MAX {
        shown.push(format!("… and {} more", values.len() - VALUES_MAX));
    }
    Field { field: name.to_owned(), native, state, values: shown }
}

fn shown(value: &Value<'_>) -> String {
    match value.text() {
        Some(text) => cut(&text),
        None => "null".into(),
    }
}

/// At most [`VALUE_CHARS_MAX`] characters.
fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn part(tree: &Expr, rule: &Rule, eye: &Seen<'_, '_>) -> Part {
    let truth = spec::expr(tree, rule, eye);
    let parts = |trees: &[Expr]| trees.iter().map(|tree| part(tree, rule, eye)).collect();
    let (label, parts) = match tree {
        Expr::And(trees) => ("all of".to_owned(), parts(trees)),
        Expr::Or(trees) => ("any of".to_owned(), parts(trees)),
        Expr::AtLeast(n, trees) => (format!("at least {n} of"), parts(trees)),
        Expr::Not(tree) => ("not".to_owned(), parts(std::slice::from_ref(tree))),
        Expr::Search(index) => (rule.searches.get(*index).map_or("", |(name, _)| name).to_owned(), vec![]),
        Expr::Item(item) => (comparison(item), vec![]),
    };
    Part { label, truth, parts }
}

fn comparison(item: &Item) -> String {
    cut(&format!("{} {}", item.field.as_deref().unwrap_or("keyword"), item.test))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, Scratch};

    const RULE: &str = r"
title: Encoded PowerShell
logsource: {product: windows, category: process_creation}
detection:
  selection:
    Image|endswith: ['\powershell.exe', '\pwsh.exe']
    CommandLine|contains: ' -enc '
  filter_main:
    ParentImage|endswith: '\ccmexec.exe'
  filter_optional:
    Hashes|contains: 'abc'
  condition: selection and not 1 of filter_*
";
    const BODY_4688: &str = r#"{"channel":"Security","provider":{"name":"Microsoft-Windows-Security-Auditing"},"computer":"W1","event_id":{"id":4688,"qualifiers":0},"event_data":{"NewProcessName":"C:\\Windows\\powershell.exe","CommandLine":"powershell -enc SQBFAFgA","ProcessId":"0x1c"}}"#;

    fn explained(body: &str) -> Explanation {
        let (rules, problems) = crate::rule::load("t.yml", RULE);
        assert_eq!(problems, []);
        let taxonomy = Taxonomy::builtin().unwrap();
        let record = LogRecord { body: body.into(), id: "r1".into(), ..LogRecord::default() };
        let mut all = explain(&rules[0], &taxonomy, &record);
        let event = taxonomy.events(&record).remove(0);
        let engine = Engine::compile(rules, &taxonomy.classes);
        let found = !engine.run(&event, &mut Scratch::default()).is_empty();
        assert_eq!(all[0].matches, found, "the engine agrees");
        all.remove(0)
    }

    #[test]
    fn a_match_is_told_with_every_part() {
        let told = explained(BODY_4688);
        assert!(told.matches);
        insta::assert_yaml_snapshot!(told);
    }

    #[test]
    fn a_record_of_another_log_source_is_told_as_such() {
        let told = explained(
            "<34>Oct 11 22:14:15 web1 sshd[77]: Failed password for root from 192.0.2.7 port 22 ssh2",
        );
        assert!(!told.covered && !told.matches);
        insta::assert_yaml_snapshot!(told);
    }

    #[test]
    fn a_record_that_is_nothing_known_is_told_as_such() {
        let told = explained("hello");
        assert_eq!((told.class, told.covered), (None, false));
        assert_eq!(
            told.decided_by,
            ["form of the record: text", "no source of the taxonomy has conditions that hold"]
        );
    }
}
