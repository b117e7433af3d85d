//! Which fields and values made a rule match.

use super::glob::Glob;
use super::program::{Placed, Program};
use super::run::{Hit, Scratch, text};
use crate::otel::Event;
use crate::plan::{Leaf, Node};
use crate::rule::Test;
use crate::spec::MatchedFields;
use std::borrow::Cow;
use std::sync::Arc;

/// Fields by number, and values.
type Found<'e> = Vec<(usize, Cow<'e, str>)>;

impl Scratch {
    /// The evidence for a hit of the event that was run last: field names as the rule writes them,
    /// in the order of its condition, each with the values that fulfilled it. Comparisons under a
    /// `not` are left out: what did not happen is no evidence. The same as [`crate::spec::evidence`].
    pub(super) fn evidence(&mut self, program: &Program, event: &Event<'_>, hit: Hit) -> MatchedFields {
        let mut found = Vec::new();
        if let Some(planned) = program.plan.rules.get(hit.planned as usize) {
            self.explain(program, event, &planned.node, &mut found);
        }
        let mut told = MatchedFields::with_capacity(found.len());
        for (field, value) in found {
            let name = &program.plan.fields[field];
            if !told.iter().any(|(n, v)| n == name && *v == value) {
                told.push((Arc::clone(name), value.into_owned()));
            }
        }
        told
    }

    /// Truth of `node`; what made it true is appended.
    fn explain<'e>(
        &mut self,
        program: &Program,
        event: &'e Event<'_>,
        node: &Node,
        found: &mut Found<'e>,
    ) -> bool {
        let before = found.len();
        let holds = match node {
            Node::Const(known) => *known,
            Node::Pred(leaf) => self.witnesses(program, event, *leaf, found),
            Node::Not(node) => {
                let holds = !self.explain(program, event, node, found);
                found.truncate(before);
                holds
            }
            Node::And(nodes) => nodes.iter().all(|node| self.explain(program, event, node, found)),
            Node::Or(nodes) => self.explain_all(program, event, nodes, found) >= 1,
            Node::AtLeast(n, nodes) => self.explain_all(program, event, nodes, found) >= *n,
        };
        if !holds {
            found.truncate(before);
        }
        holds
    }

    /// How many of `nodes` are true.
    fn explain_all<'e>(
        &mut self,
        program: &Program,
        event: &'e Event<'_>,
        nodes: &[Node],
        found: &mut Found<'e>,
    ) -> usize {
        nodes.iter().filter(|node| self.explain(program, event, node, found)).count()
    }

    /// The source of a slot's value, if it has just one.
    fn only_value(&self, program: &Program, slot: u32) -> Option<u32> {
        let mut values = self.values_of(program, slot).map(|value| value.source);
        let first = values.next()?;
        values.next().is_none().then_some(first)
    }

    /// Appends the values that make one comparison true, in the order of the event.
    fn witnesses<'e>(
        &mut self,
        program: &Program,
        event: &'e Event<'_>,
        leaf: Leaf,
        found: &mut Found<'e>,
    ) -> bool {
        let pred = &program.plan.preds[leaf.pred];
        let slot = pred.slot as u32;
        let is_of_values = !matches!(&pred.test, Test::Exists(_) | Test::Null);
        let placed = program.placed[leaf.pred];
        if is_of_values {
            self.catch_up(program, event, slot);
        }
        let holds = match placed {
            Placed::Indexed(number) => self.preds.has(number),
            Placed::Lazy(lazy) => self.answer(program, event, lazy),
            Placed::Nowhere => false,
        };
        if !holds {
            return false;
        }
        if !is_of_values {
            found.push((leaf.field, Cow::Borrowed("")));
            return true;
        }
        if let Some(only) = self.only_value(program, slot) {
            found.extend(text(event, only).map(|text| (leaf.field, text)));
            return true;
        }
        let glob = match (&pred.test, placed) {
            (Test::Text(pattern), Placed::Indexed(_)) => Some(Glob::new(pattern)),
            _ => None,
        };
        let mut sources: Vec<u32> = (self.values_of(program, slot))
            .filter(|value| match (&glob, placed) {
                (Some(glob), _) => self.glob_holds(event, glob, value),
                (None, Placed::Lazy(lazy)) => {
                    self.compare_value(program, event, &program.lazies[lazy as usize], value)
                }
                _ => false,
            })
            .map(|value| value.source)
            .collect();
        sources.sort_unstable();
        let texts = sources.iter().filter_map(|source| text(event, *source));
        found.extend(texts.map(|text| (leaf.field, text)));
        !sources.is_empty()
    }
}
