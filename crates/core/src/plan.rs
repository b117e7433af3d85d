//! Rules × mapping: what has to be compared, resolved and shared.
//!
//! For one class of events every rule that applies becomes a tree of predicates. A predicate is one
//! comparison with one slot (the native fields that a rule's field resolves to), folded and stored
//! once however many rules ask for it. The plan says nothing about how to evaluate it.

use crate::otel::{Class, View, normal_name};
use crate::rule::{DASHES, Expr, Item, Part, Pattern, Rule, Test};
use crate::value::fold;
use std::collections::HashMap;
use std::sync::Arc;

/// Patterns with dashes are spelled out up to so many; beyond, the dash stays a wildcard.
const DASH_SPELLINGS_MAX: usize = 125;

/// Everything that the rules of one class compare.
#[derive(Debug, Default)]
pub struct Plan {
    /// Where values come from.
    pub slots: Vec<Slot>,
    /// The comparisons, each once.
    pub preds: Vec<Pred>,
    /// Field names as rules write them, each once; keywords are called `keyword`.
    pub fields: Vec<Arc<str>>,
    /// The rules that apply, in the order of the rule set; a rule stands several times if several
    /// views of the class name its fields differently.
    pub rules: Vec<Planned>,
}

/// A source of values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Slot {
    /// All fields with one of these normal names.
    Fields(Vec<String>),
    /// All texts of the event, for keywords.
    Texts,
}

/// One comparison with one slot.
#[derive(Debug, Clone)]
pub struct Pred {
    /// Index into [`Plan::slots`].
    pub slot: usize,
    /// The comparison; texts are folded unless they are cased.
    pub test: Test,
    /// For [`Test::FieldRef`], the slot of the other field.
    pub other: Option<usize>,
}

/// One rule in one view.
#[derive(Debug)]
pub struct Planned {
    /// Index into the rule set.
    pub rule: usize,
    /// What must hold.
    pub node: Node,
}

/// A Boolean expression over predicates.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Known beforehand.
    Const(bool),
    /// A comparison.
    Pred(Leaf),
    /// The contrary.
    Not(Box<Node>),
    /// All.
    And(Vec<Node>),
    /// Any.
    Or(Vec<Node>),
    /// At least so many.
    AtLeast(usize, Vec<Node>),
}

/// A comparison as one rule makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Index into [`Plan::preds`].
    pub pred: usize,
    /// Index into [`Plan::fields`]: what the rule calls the field.
    pub field: usize,
}

/// The rules that apply to events of `class`, each with the number of the view that names its fields:
/// several times if several views name them differently.
pub fn applying(rules: &[Rule], class: &Class) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.unmet.is_empty()) {
        let first = all.len();
        for (number, view) in class.views.iter().enumerate() {
            let mut seen = all[first..].iter().map(|(_, other): &(usize, usize)| &class.views[*other].fields);
            if view.takes(&rule.info.logsource) && !seen.any(|other| *other == view.fields) {
                all.push((index, number));
            }
        }
    }
    all
}

/// Plans the rules that apply to `class`.
pub fn plan(rules: &[Rule], class: &Class) -> Plan {
    let mut planner = Planner::default();
    for (index, number) in applying(rules, class) {
        let rule = &rules[index];
        planner.view = number;
        let node = planner.node(&rule.condition, rule, &class.views[number]);
        if node != Node::Const(false) {
            planner.plan.rules.push(Planned { rule: index, node });
        }
    }
    planner.plan
}

#[derive(Default)]
struct Planner {
    plan: Plan,
    fields: HashMap<String, usize>,
    /// Number of the view at hand.
    view: usize,
    /// Which slot each field of a rule has in each view; none where the source cannot carry it.
    known: HashMap<(usize, Option<String>), Option<usize>>,
    slots: HashMap<Slot, usize>,
    preds: HashMap<(usize, Key), usize>,
}

/// A test as a key: patterns by themselves, the rest by their text.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Text(Pattern),
    Other(String),
}

impl Planner {
    fn node(&mut self, tree: &Expr, rule: &Rule, view: &View) -> Node {
        match tree {
            Expr::And(trees) => and(trees.iter().map(|t| self.node(t, rule, view)).collect()),
            Expr::Or(trees) => or(trees.iter().map(|t| self.node(t, rule, view)).collect()),
            Expr::Not(tree) => not(self.node(tree, rule, view)),
            Expr::AtLeast(n, trees) => at_least(*n, trees.iter().map(|t| self.node(t, rule, view)).collect()),
            Expr::Search(index) => match rule.searches.get(*index) {
                Some((_, tree)) => self.node(tree, rule, view),
                None => Node::Const(false),
            },
            Expr::Item(item) => self.item(item, view),
        }
    }

    fn item(&mut self, item: &Item, view: &View) -> Node {
        let Some(slot) = self.slot(item.field.as_deref(), view) else {
            return Node::Const(matches!(item.test, Test::Null | Test::Exists(false)));
        };
        let field = self.field(item.field.as_deref().unwrap_or("keyword"));
        let leaf = |pred| Node::Pred(Leaf { pred, field });
        match &item.test {
            Test::Text(pattern) => {
                let patterns = spellings(pattern).into_iter();
                or(patterns.map(|p| leaf(self.pred(slot, Test::Text(p), None))).collect())
            }
            Test::FieldRef { field, .. } => match self.slot(Some(field), view) {
                Some(other) => leaf(self.pred(slot, item.test.clone(), Some(other))),
                None => Node::Const(false),
            },
            test => leaf(self.pred(slot, test.clone(), None)),
        }
    }

    fn field(&mut self, name: &str) -> usize {
        if let Some(index) = self.fields.get(name) {
            return *index;
        }
        self.plan.fields.push(name.into());
        self.fields.insert(name.to_owned(), self.plan.fields.len() - 1);
        self.plan.fields.len() - 1
    }

    /// `None` where the source cannot carry the field.
    fn slot(&mut self, field: Option<&str>, view: &View) -> Option<usize> {
        let key = (self.view, field.map(str::to_owned));
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let slot = self.new_slot(field, view);
        self.known.insert(key, slot);
        slot
    }

    fn new_slot(&mut self, field: Option<&str>, view: &View) -> Option<usize> {
        let slot = match field {
            None => Slot::Texts,
            Some(field) => {
                let mut names: Vec<String> = view.native(field).into_iter().map(normal_name).collect();
                names.sort();
                names.dedup();
                if names.is_empty() {
                    return None;
                }
                Slot::Fields(names)
            }
        };
        let next = self.plan.slots.len();
        let index = *self.slots.entry(slot.clone()).or_insert(next);
        if index == next {
            self.plan.slots.push(slot);
        }
        Some(index)
    }

    fn pred(&mut self, slot: usize, test: Test, other: Option<usize>) -> usize {
        let key = match &test {
            Test::Text(pattern) => Key::Text(pattern.clone()),
            test => Key::Other(format!("{test:?}/{other:?}")),
        };
        let next = self.plan.preds.len();
        let index = *self.preds.entry((slot, key)).or_insert(next);
        if index == next {
            self.plan.preds.push(Pred { slot, test, other });
        }
        index
    }
}

/// The pattern folded, and with its dashes spelled out where these are few.
fn spellings(pattern: &Pattern) -> Vec<Pattern> {
    let mut variants = vec![Vec::new()];
    let dashes = pattern.parts.iter().filter(|p| **p == Part::Dash).count();
    let spell = u32::try_from(dashes)
        .is_ok_and(|n| DASHES.len().checked_pow(n).is_some_and(|all| all <= DASH_SPELLINGS_MAX));
    for part in &pattern.parts {
        match part {
            Part::Text(text) => {
                let text = if pattern.cased { text.clone() } else { fold(text) };
                variants.iter_mut().for_each(|v| add_text(v, &text));
            }
            Part::Dash if spell => {
                let with = |v: &Vec<Part>, dash: char| {
                    let mut v = v.clone();
                    add_text(&mut v, dash.encode_utf8(&mut [0; 4]));
                    v
                };
                variants = variants.iter().flat_map(|v| DASHES.map(|dash| with(v, dash))).collect();
            }
            other => variants.iter_mut().for_each(|v| v.push(other.clone())),
        }
    }
    variants.into_iter().map(|parts| Pattern { parts, cased: pattern.cased }).collect()
}

fn add_text(parts: &mut Vec<Part>, more: &str) {
    match parts.last_mut() {
        Some(Part::Text(text)) => text.push_str(more),
        _ => parts.push(Part::Text(more.to_owned())),
    }
}

fn not(node: Node) -> Node {
    match node {
        Node::Const(known) => Node::Const(!known),
        // A second one is kept: what stands below any is no evidence.
        node => Node::Not(Box::new(node)),
    }
}

fn and(nodes: Vec<Node>) -> Node {
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes {
        match node {
            Node::Const(true) => {}
            Node::Const(false) => return Node::Const(false),
            Node::And(inner) => kept.extend(inner),
            node => kept.push(node),
        }
    }
    match kept.len() {
        0 => Node::Const(true),
        1 => kept.remove(0),
        _ => Node::And(kept),
    }
}

fn or(nodes: Vec<Node>) -> Node {
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes {
        match node {
            Node::Const(false) => {}
            Node::Const(true) => return Node::Const(true),
            Node::Or(inner) => kept.extend(inner),
            node => kept.push(node),
        }
    }
    match kept.len() {
        0 => Node::Const(false),
        1 => kept.remove(0),
        _ => Node::Or(kept),
    }
}

fn at_least(n: usize, nodes: Vec<Node>) -> Node {
    let sure = nodes.iter().filter(|node| **node == Node::Const(true)).count();
    let open: Vec<Node> = nodes.into_iter().filter(|node| !matches!(node, Node::Const(_))).collect();
    match n.saturating_sub(sure) {
        0 => Node::Const(true),
        n if n > open.len() => Node::Const(false),
        1 => or(open),
        n => Node::AtLeast(n, open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::LogSource;
    use std::sync::Arc;

    fn planned(detection: &str) -> Plan {
        let text = format!("title: t\nlogsource: {{product: x}}\ndetection:\n{detection}\n");
        let (rules, problems) = crate::rule::load("t.yml", &text);
        assert_eq!(problems, []);
        let fields = [("Gone".to_owned(), vec![]), ("Image".to_owned(), vec!["NewProcessName".to_owned()])];
        let logsource = LogSource { product: Some("x".into()), ..Default::default() };
        let view = View { logsource, fields: Arc::new(fields.into_iter().collect()), ..View::default() };
        plan(&rules, &Class { name: "x".into(), views: vec![view] })
    }

    #[test]
    fn rules_share_slots_and_predicates() {
        let plan = planned("  a:\n    Image: [x, X]\n  b:\n    NewProcessName: x\n  condition: a and b");
        assert_eq!(plan.slots, [Slot::Fields(vec!["newprocessname".into()])]);
        assert_eq!(plan.preds.len(), 1);
    }

    #[test]
    fn a_field_the_source_cannot_carry_is_false_and_under_not_true() {
        let plan = planned("  a:\n    Image: x\n  f:\n    Gone: y\n  condition: a and not f");
        assert_eq!(plan.rules[0].node, Node::Pred(Leaf { pred: 0, field: 0 }));
        assert_eq!(plan.fields, ["Image".into()]);
        assert!(planned("  a:\n    Gone: x\n  condition: a").rules.is_empty());
    }

    #[test]
    fn dashes_are_spelled_out_while_they_are_few() {
        assert_eq!(planned("  a:\n    F|windash: '-x'\n  condition: a").preds.len(), 5);
        assert_eq!(planned("  a:\n    F|windash: '-x -y -z -w'\n  condition: a").preds.len(), 1);
    }

    #[test]
    fn a_rule_for_another_log_source_does_not_apply() {
        let (rules, _) = crate::rule::load(
            "t.yml",
            "title: t\nlogsource: {product: y}\ndetection:\n  a:\n    F: x\n  condition: a\n",
        );
        let logsource = LogSource { product: Some("x".into()), ..Default::default() };
        let views = vec![View { logsource, ..Default::default() }];
        assert!(plan(&rules, &Class { name: "x".into(), views }).rules.is_empty());
    }
}
