//! The engine held against the definition of right while the service works: a few events are
//! evaluated by [`crate::spec`] as well, and where the two differ, the definition's answer counts.
//!
//! Here is which events are chosen and what is compared; how often, how long it may take and whom a
//! difference is told is the caller's business.

use crate::engine::Hit;
use crate::otel::{Class, Event, LogRecord, View};
use crate::rule::Rule;
use crate::spec::{self, Seen};

/// Chooses events and hears what came of them.
pub trait Review {
    /// Whether the event, the `number`th of `record` from 0, is to be evaluated a second time.
    fn wants(&mut self, record: &LogRecord<'_>, event: &Event<'_>, number: u64) -> bool;
    /// It was; told once for each `true` of [`Review::wants`].
    fn done(&mut self, differences: &[Difference<'_>]);
}

/// No reviews.
impl Review for () {
    fn wants(&mut self, _: &LogRecord<'_>, _: &Event<'_>, _: u64) -> bool {
        false
    }
    fn done(&mut self, _: &[Difference<'_>]) {}
}

/// A rule on whose answer the engine and the definition differ.
#[derive(Debug, Clone, Copy)]
pub struct Difference<'d> {
    /// The rule.
    pub rule: &'d Rule,
    /// Name of the event's class.
    pub class: &'d str,
    /// Whether the definition has it match; the engine said the contrary.
    pub right: bool,
}

/// One event in so many, chosen by a hash of the record: the same events whenever the same records
/// are evaluated, on whatever thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// 0: none.
    pub one_in: u64,
}

impl Sample {
    /// So much of the body of a record without an id is hashed, bytes.
    const BODY_BYTES: usize = 256;

    /// Whether the `number`th event of `record` is one of them.
    pub fn takes(self, record: &LogRecord<'_>, number: u64) -> bool {
        if self.one_in == 0 {
            return false;
        }
        let body = record.body.as_bytes();
        let name = match record.id.is_empty() {
            true => &body[..body.len().min(Sample::BODY_BYTES)],
            false => record.id.as_bytes(),
        };
        let hash = name.iter().fold(0xcbf2_9ce4_8422_2325 ^ number, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // The lower bits of this hash know little of the first bytes.
        (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.one_in == 0
    }
}

/// A rule that matches by definition.
#[derive(Debug)]
pub(crate) struct Matched<'m> {
    /// Index into the rules.
    pub rule: usize,
    /// The view of the class in which it matches.
    pub view: &'m View,
    /// The engine's hit, if it found the rule too.
    pub hit: Option<Hit>,
}

/// All of `rules` that match `event` by definition, in their order, and where `hits` is otherwise.
pub(crate) fn review<'r>(
    rules: &'r [Rule],
    class: &'r Class,
    event: &Event<'_>,
    hits: &[Hit],
) -> (Vec<Matched<'r>>, Vec<Difference<'r>>) {
    let seen: Vec<(&View, Seen<'_, '_>)> =
        class.views.iter().map(|view| (view, Seen::new(event, view))).collect();
    let (mut matched, mut differences) = (Vec::new(), Vec::new());
    for (number, rule) in rules.iter().enumerate() {
        let mut views = seen.iter().filter(|(view, _)| view.takes(&rule.info.logsource));
        let view = views.find(|(_, seen)| spec::rule_matches(rule, seen)).map(|(view, _)| *view);
        let hit = hits.iter().find(|hit| hit.rule == number).copied();
        if view.is_some() != hit.is_some() {
            differences.push(Difference { rule, class: &class.name, right: view.is_some() });
        }
        matched.extend(view.map(|view| Matched { rule: number, view, hit }));
    }
    (matched, differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_taken_and_always_the_same() {
        let ids: Vec<String> = (0..200_000).map(|n| format!("2Xk9{n:023}")).collect();
        let taken = |one_in| {
            let record = |id: &'static str| LogRecord { id: id.into(), ..LogRecord::default() };
            let sample = Sample { one_in };
            ids.iter().filter(|id| sample.takes(&record(String::leak((*id).clone())), 0)).count()
        };
        assert_eq!((taken(0), taken(1)), (0, 200_000));
        assert!((150..250).contains(&taken(1000)), "{}", taken(1000));
        assert_eq!(taken(1000), taken(1000));
    }

    #[test]
    fn events_of_one_record_and_records_without_an_id_are_told_apart() {
        let sample = Sample { one_in: 10 };
        let record = LogRecord { id: "one".into(), ..LogRecord::default() };
        let numbers = (0..1000).filter(|number| sample.takes(&record, *number)).count();
        assert!((50..200).contains(&numbers), "{numbers}");
        let of_body = |body: String| sample.takes(&LogRecord { body: body.into(), ..Default::default() }, 0);
        let bodies = (0..1000).filter(|n| of_body(format!("line {n}"))).count();
        assert!((50..200).contains(&bodies), "{bodies}");
    }
}
