//! Which fields and values made a rule match.

use super::glob::Glob;
use super::program::{Placed, Program};
use super::run::{Hit, Scratch, text};
use crate::otel::Event;
use crate::plan::{Leaf, Node};
use crate::rule::Test;

impl Scratch {
    /// The evidence for a hit of the event that was run last: field names as the rule writes them,
    /// in the order of its condition, each with the values that fulfilled it. Comparisons under a
    /// `not` are left out: what did not happen is no evidence. The same as [`crate::spec::evidence`].
    pub(super) fn evidence(
        &mut self,
        program: &Program,
        event: &Event<'_>,
        hit: Hit,
    ) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if let Some(planned) = program.plan.rules.get(hit.planned as usize) {
            self.explain(program, event, &planned.node, &mut found);
        }
        let mut told: Vec<(String, String)> = Vec::new();
        for (field, value) in found {
            let name = &program.plan.fields[field];
            if !told.iter().any(|(n, v)| n == name && *v == value) {
                told.push((name.clone(), value));
            }
        }
        told
    }

    /// Truth of `node`; what made it true is appended.
    fn explain(
        &mut self,
        program: &Program,
        event: &Event<'_>,
        node: &Node,
        found: &mut Vec<(usize, String)>,
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
    fn explain_all(
        &mut self,
        program: &Program,
        event: &Event<'_>,
        nodes: &[Node],
        found: &mut Vec<(usize, String)>,
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
    fn witnesses(
        &mut self,
        program: &Program,
        event: &Event<'_>,
        leaf: Leaf,
        found: &mut Vec<(usize, String)>,
    ) -> bool {
        let pred = &program.plan.preds[leaf.pred];
        let slot = pred.slot as u32;
        match &pred.test {
            Test::Exists(wanted) => {
                let holds = *wanted == self.values_of(program, slot).next().is_some();
                found.extend(holds.then(|| (leaf.field, String::new())));
                return holds;
            }
            Test::Null => {
                let holds = self.values_of(program, slot).all(|value| value.is_null);
                found.extend(holds.then(|| (leaf.field, String::new())));
                return holds;
            }
            _ => {}
        }
        self.catch_up(program, event, slot);
        let (glob, lazy) = match (&pred.test, program.placed[leaf.pred]) {
            (Test::Text(_), Placed::Indexed(number)) if !self.preds.has(number) => {
                return false;
            }
            (Test::Text(_), Placed::Indexed(_)) if let Some(only) = self.only_value(program, slot) => {
                found.extend(text(event, only).map(|text| (leaf.field, text.into_owned())));
                return true;
            }
            (Test::Text(pattern), Placed::Indexed(_)) => (Some(Glob::new(pattern)), None),
            (_, Placed::Lazy(lazy)) => (None, Some(&program.lazies[lazy as usize])),
            _ => return false,
        };
        let mut sources: Vec<u32> = (self.values_of(program, slot))
            .filter(|value| match (&glob, lazy) {
                (Some(glob), _) => self.glob_holds(event, glob, value),
                (None, Some(lazy)) => self.compare_value(program, event, lazy, value),
                (None, None) => false,
            })
            .map(|value| value.source)
            .collect();
        sources.sort_unstable();
        let texts = sources.iter().filter_map(|source| text(event, *source));
        found.extend(texts.map(|text| (leaf.field, text.into_owned())));
        !sources.is_empty()
    }
}
