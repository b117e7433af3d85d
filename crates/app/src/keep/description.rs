//! The alert told at length, in Markdown.
//!
//! Text of the rule is shown as Markdown, for its author meant it to be read; text from logs only
//! within code fences and spans.

use super::text::{block, fence, line, span};
use otel_log_ai_core::alert::{Notification, OpenAlert};
use std::fmt::Write;

/// Longest text of the rule that is shown, bytes.
const RULE_TEXT_MAX: usize = 2000;
/// Longest log text that is shown, bytes.
const LOG_TEXT_MAX: usize = 2048;
/// Most entries of a list of the rule.
const LIST_MAX: usize = 10;

/// The description of a notification; its size is bounded.
pub(super) fn markdown(notification: &Notification, first_seen: &str, last_seen: &str) -> String {
    let alert = &notification.alert;
    let rule = &alert.rule;
    let mut out = String::new();
    let text = block(&rule.description, RULE_TEXT_MAX);
    if !text.is_empty() {
        let _ = write!(out, "{text}\n\n");
    }
    let _ = writeln!(out, "**Rule:** {} ({})  ", span(&line(&rule.id, 100)), rule.level);
    for (name, value) in
        [("Host", &alert.origin.host), ("Service", &alert.origin.service), ("Pod", &alert.origin.k8s_pod)]
    {
        if !value.is_empty() {
            let _ = writeln!(out, "**{name}:** {}  ", span(&line(value, 256)));
        }
    }
    if alert.of_many {
        let _ = writeln!(out, "**One alert for many:** too many hosts matched for an alert each  ");
    }
    let lists = [("Hosts", &alert.hosts), ("Users", &alert.users), ("Source addresses", &alert.src_ips)];
    for (name, values) in lists {
        let is_told = name == "Hosts" && values.values.len() < 2;
        if !values.values.is_empty() && !is_told {
            let spans: Vec<_> = values.values.iter().map(|value| span(&line(value, 256))).collect();
            let more = if values.more { ", …" } else { "" };
            let _ = writeln!(out, "**{name}:** {}{more}  ", spans.join(", "));
        }
    }
    let _ = writeln!(out, "**Events:** {}, from {first_seen} to {last_seen}", alert.count);
    sample(alert, &mut out);
    list("False positives", &rule.falsepositives, &mut out, |entry| line(entry, 500));
    list("References", &rule.references, &mut out, link);
    out.truncate(out.trim_end().len());
    out
}

/// What matched in the first event, and its text.
fn sample(alert: &OpenAlert, out: &mut String) {
    let Some(evidence) = alert.evidence.first() else { return };
    if !evidence.fields.is_empty() {
        let mut fields = Vec::new();
        for (name, value) in &evidence.fields {
            fields.push(format!("{}: {}", line(name, 256), line(value, 1024)));
        }
        let _ = write!(out, "\n**Matched:**\n\n{}\n", fence(&block(&fields.join("\n"), LOG_TEXT_MAX)));
    }
    if !evidence.excerpt.trim().is_empty() {
        let _ = write!(out, "\n**Log:**\n\n{}\n", fence(&block(&evidence.excerpt, LOG_TEXT_MAX)));
    }
}

fn list(title: &str, entries: &[String], out: &mut String, show: impl Fn(&str) -> String) {
    let entries: Vec<_> = entries.iter().filter(|entry| !entry.trim().is_empty()).collect();
    if entries.is_empty() {
        return;
    }
    let _ = write!(out, "\n**{title}:**\n\n");
    for entry in entries.iter().take(LIST_MAX) {
        let _ = writeln!(out, "- {}", show(entry));
    }
    if entries.len() > LIST_MAX {
        let _ = writeln!(out, "- … and {} more", entries.len() - LIST_MAX);
    }
}

/// A web address as a link, anything else as text.
fn link(reference: &str) -> String {
    let text = line(reference, 500);
    let web = text.starts_with("https://") || text.starts_with("http://");
    if web && !text.contains(['<', '>', ' ', '…']) { format!("<{text}>") } else { text }
}
