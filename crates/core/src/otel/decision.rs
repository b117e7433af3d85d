//! Why an event is of its class, in words. Only for people who ask: nothing here runs when logs are
//! evaluated.

use super::class::{Format, When, fields_hold};
use super::event::Event;
use super::taxonomy::Taxonomy;
use std::collections::BTreeMap;

impl Taxonomy {
    /// What decided the class of `event`: the form of the record first, then each condition that
    /// held. `event` must be of this taxonomy.
    pub fn decision(&self, event: &Event<'_>) -> Vec<String> {
        let mut told = vec![];
        if event.decided.form == "windows" {
            self.windows_decision(event, &mut told);
            return told;
        }
        if !event.decided.form.is_empty() {
            told.push(format!("form of the record: {}", event.decided.form));
        }
        let source = event.decided.source.and_then(|number| self.sources.get(number));
        match source {
            Some(source) => conditions(&source.when, &mut told),
            None => told.push("no source of the taxonomy has conditions that hold".into()),
        }
        told
    }

    fn windows_decision(&self, event: &Event<'_>, told: &mut Vec<String>) {
        let text = |name: &str| event.field(name).and_then(|value| value.text()).unwrap_or_default();
        let shape = match event.source.trim_start().as_bytes().first() {
            Some(b'<') => "XML",
            Some(b'{') => "JSON",
            None => "attributes",
            _ => "text",
        };
        told.push(format!("form of the record: Windows event in {shape}"));
        let (channel, provider, id) = (text("Channel"), text("Provider_Name"), text("EventID"));
        let mut known = channel.to_ascii_lowercase();
        match channel.is_empty() {
            false => told.push(format!("channel `{channel}`")),
            true => {
                let of_provider = self.channels.providers.get(&provider.to_ascii_lowercase());
                known = of_provider.map(|name| name.to_ascii_lowercase()).unwrap_or_default();
                told.push(format!("no channel; provider `{provider}`"));
            }
        }
        told.push(format!("event id {id}"));
        let Some(number) = self.channels.names.get(&known) else {
            told.push("no service of Sigma has this channel".into());
            return;
        };
        let slot = id.parse().ok().and_then(|id| self.channels.events.get(&(*number, id)));
        let Some(slot) = slot else {
            told.push("no category of Sigma has this event id of the channel".into());
            return;
        };
        for condition in &slot.conditions {
            let holds = if fields_hold(condition, event) { "holds" } else { "does not hold" };
            told.push(format!("{}: {holds}", named(condition)));
        }
    }
}

/// `field X is a or b, …`.
fn named(wanted: &BTreeMap<String, Vec<String>>) -> String {
    let parts: Vec<String> =
        wanted.iter().map(|(name, values)| format!("{name} {}", one_of(values))).collect();
    parts.join(" and ")
}

fn one_of(values: &[String]) -> String {
    match values {
        [any] if any == "*" => "is there".into(),
        [one] => format!("is `{one}`"),
        many => format!("is one of `{}`", many.join("`, `")),
    }
}

fn conditions(when: &When, told: &mut Vec<String>) {
    if !when.format.is_empty() {
        let names: Vec<String> = when.format.iter().map(|format: &Format| format.name().to_owned()).collect();
        told.push(format!("format {}", one_of(&names)));
    }
    let facilities: Vec<String> = when.facility.iter().map(u8::to_string).collect();
    for (name, values) in [
        ("form", &when.form),
        ("program", &when.program),
        ("file", &when.file),
        ("facility", &facilities),
        ("text", &when.text),
    ] {
        if !values.is_empty() {
            told.push(format!("{name} {}", one_of(values)));
        }
    }
    for (kind, wanted) in
        [("field", &when.field), ("attribute", &when.attribute), ("resource", &when.resource)]
    {
        told.extend(wanted.iter().map(|(name, values)| format!("{kind} {name} {}", one_of(values))));
    }
    if !when.one_of.is_empty() {
        told.push(format!("one of the fields `{}` is there", when.one_of.join("`, `")));
    }
}
