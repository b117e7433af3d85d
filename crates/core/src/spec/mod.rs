//! The meaning of Sigma, written out from its specification as slow, plain functions.
//!
//! This is the definition of right: the engine must give the same answer for every rule and every
//! event, and is held against it by tests. It also explains: which fields made a rule match.
//!
//! Departures from a literal reading, and why:
//! - equality (and what has to stand at the end of a value) also holds with the value's trailing
//!   blanks left off: Windows pads some values (`NtLmSsp `) and rules are written without;
//! - field names are compared by [`normal_name`].

mod pattern;

use crate::otel::{Event, View, normal_name};
use crate::rule::{Expr, Item, Order, Place, Rule, Test, TimePart};
use crate::value::{Value, fold};
pub use pattern::matches;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// An event as the rules of one log source see it.
pub struct Seen<'e, 'a> {
    event: &'e Event<'a>,
    view: &'e View,
    names: Vec<String>,
}

impl<'e, 'a> Seen<'e, 'a> {
    /// Looks at `event` through `view`.
    pub fn new(event: &'e Event<'a>, view: &'e View) -> Self {
        Seen { event, view, names: event.fields.iter().map(|(name, _)| normal_name(name)).collect() }
    }

    /// All values that count for the rule's field `field`.
    pub fn values(&self, field: &str) -> Vec<&'e Value<'a>> {
        let wanted: Vec<String> = self.view.native(field).into_iter().map(normal_name).collect();
        let hits = self.names.iter().zip(&self.event.fields).filter(|(name, _)| wanted.contains(name));
        hits.map(|(_, (_, value))| value).collect()
    }

    /// All texts that keyword rules search.
    fn texts(&self) -> Vec<Cow<'e, str>> {
        let values = self.event.fields.iter().filter_map(|(_, value)| value.text());
        values.chain(self.event.texts.iter().map(|t| Cow::Borrowed(t.as_ref()))).collect()
    }
}

/// Whether the rule matches.
pub fn rule_matches(rule: &Rule, seen: &Seen<'_, '_>) -> bool {
    rule.unmet.is_empty() && expr(&rule.condition, rule, seen)
}

/// Truth of an expression of `rule`.
pub fn expr(tree: &Expr, rule: &Rule, seen: &Seen<'_, '_>) -> bool {
    match tree {
        Expr::And(trees) => trees.iter().all(|t| expr(t, rule, seen)),
        Expr::Or(trees) => trees.iter().any(|t| expr(t, rule, seen)),
        Expr::Not(tree) => !expr(tree, rule, seen),
        Expr::AtLeast(n, trees) => trees.iter().filter(|t| expr(t, rule, seen)).count() >= *n,
        Expr::Search(index) => rule.searches.get(*index).is_some_and(|(_, tree)| expr(tree, rule, seen)),
        Expr::Item(item) => !witnesses(item, seen).is_empty(),
    }
}

/// The texts that make one comparison true; a single empty text where it is true of no text
/// (`null`, `exists: false`). Empty if the comparison is false.
fn witnesses<'e>(item: &Item, seen: &Seen<'e, '_>) -> Vec<Cow<'e, str>> {
    let Some(field) = &item.field else {
        return seen.texts().into_iter().filter(|text| text_passes(&item.test, text)).collect();
    };
    let values = seen.values(field);
    let absent = |holds: bool| if holds { vec![Cow::Borrowed("")] } else { vec![] };
    let texts = || values.iter().filter_map(|value| value.text());
    match &item.test {
        Test::Exists(wanted) => absent(*wanted != values.is_empty()),
        Test::Null => absent(values.iter().all(|value| **value == Value::Null)),
        Test::Number(order, bound) => (values.iter())
            .filter(|value| value.number().is_some_and(|n| compare(*order, n, *bound)))
            .filter_map(|value| value.text())
            .collect(),
        Test::FieldRef { field, place, cased } => {
            let others: Vec<Cow<'_, str>> = seen.values(field).iter().filter_map(|v| v.text()).collect();
            texts().filter(|text| others.iter().any(|other| stands(text, other, *place, *cased))).collect()
        }
        test => texts().filter(|text| text_passes(test, text)).collect(),
    }
}

/// Tests that look at one text alone.
fn text_passes(test: &Test, text: &str) -> bool {
    match test {
        Test::Text(pattern) => matches(pattern, text),
        Test::Regex(expression) => expression.is_match(text),
        Test::Cidr(network) => address(text).is_some_and(|address| network.contains(&address)),
        Test::TimePart(part, wanted) => time_part(*part, text) == Some(*wanted),
        Test::Number(order, bound) => text.trim().parse().is_ok_and(|n| compare(*order, n, *bound)),
        Test::Exists(_) | Test::Null | Test::FieldRef { .. } => false,
    }
}

/// Reads an address; an IPv4 address mapped into IPv6 is the IPv4 address.
pub fn address(text: &str) -> Option<IpAddr> {
    text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// `left order right`.
pub fn compare(order: Order, left: f64, right: f64) -> bool {
    match order {
        Order::Gt => left > right,
        Order::Gte => left >= right,
        Order::Lt => left < right,
        Order::Lte => left <= right,
    }
}

/// `|fieldref`: whether `other` stands at `place` in `text`.
pub fn stands(text: &str, other: &str, place: Place, cased: bool) -> bool {
    if !cased {
        return stands(&fold(text), &fold(other), place, true);
    }
    match place {
        Place::Whole => text == other,
        Place::Anywhere => text.contains(other),
        Place::Start => text.starts_with(other),
        Place::End => text.ends_with(other),
    }
}

/// A part of the point in time that `text` states (RFC 3339, or without zone: UTC).
pub fn time_part(part: TimePart, text: &str) -> Option<i64> {
    let text = text.trim();
    let time = match text.parse::<jiff::Timestamp>() {
        Ok(instant) => instant.to_zoned_datetime(jiff::tz::TimeZone::UTC).datetime(),
        Err(_) => text.parse::<jiff::civil::DateTime>().ok()?,
    };
    Some(match part {
        TimePart::Minute => i64::from(time.minute()),
        TimePart::Hour => i64::from(time.hour()),
        TimePart::Day => i64::from(time.day()),
        TimePart::Week => i64::from(time.date().iso_week_date().week()),
        TimePart::Month => i64::from(time.month()),
        TimePart::Year => i64::from(time.year()),
    })
}

/// Fields, by the names that a rule uses, and values. The names are those of few rules, again and again.
pub type MatchedFields = Vec<(Arc<str>, String)>;

/// The fields and values that made `rule` match, by the rule's own field names and in the order of
/// its condition; keywords stand under `keyword`. Comparisons under a `not` are left out: what did
/// not happen is no evidence.
pub fn evidence(rule: &Rule, seen: &Seen<'_, '_>) -> MatchedFields {
    let mut found = Vec::new();
    collect(&rule.condition, rule, seen, &mut found);
    found
}

fn collect(tree: &Expr, rule: &Rule, seen: &Seen<'_, '_>, found: &mut MatchedFields) {
    match tree {
        Expr::And(trees) | Expr::Or(trees) | Expr::AtLeast(_, trees) => {
            for tree in trees {
                if expr(tree, rule, seen) {
                    collect(tree, rule, seen, found);
                }
            }
        }
        Expr::Not(_) => {}
        Expr::Search(index) => {
            if let Some((_, tree)) = rule.searches.get(*index) {
                collect(tree, rule, seen, found);
            }
        }
        Expr::Item(item) => {
            let name = item.field.as_deref().unwrap_or("keyword");
            for text in witnesses(item, seen) {
                if !found.iter().any(|(n, v)| **n == *name && *v == text) {
                    found.push((name.into(), text.into_owned()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
