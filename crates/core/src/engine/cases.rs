//! What of a program matters once the value of one field is known.
//!
//! Most rules of a log source want one of a few values of the same field: `EventID`, `eventName`. For
//! each of these values, and for all others together, it is worked out beforehand which rules can still
//! match, and so which fields anyone looks at. Of those most are looked at only when a rule asks that
//! another field has woken.

use super::bits::Bits;
use super::program::Program;
use crate::plan::{Node, Plan, Pred, Slot};
use crate::rule::{Part, Pattern, Test};
use crate::spec;
use foldhash::fast::FixedState;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The cases of a program.
#[derive(Debug, Default)]
pub struct Cases {
    key: Option<Key>,
    /// The first holds whatever the value is.
    cases: Vec<Case>,
}

/// The field whose value decides.
#[derive(Debug)]
struct Key {
    /// Its normal name, and the list of slots that take its values.
    field: Box<str>,
    list: u32,
    /// Folded value → case.
    of_value: HashMap<Box<str>, u32, FixedState>,
    /// The same for values that are whole numbers in their usual form.
    of_number: HashMap<i64, u32, FixedState>,
    /// The case of every other value.
    other: u32,
}

/// What matters in one case.
#[derive(Debug, PartialEq, Eq)]
pub struct Case {
    /// Rules of the plan that can match.
    rules: Bits,
    /// By list of slots, what is done with values that it takes.
    looks: Box<[Look]>,
    /// Rules that nothing wakes.
    pub always: Box<[u32]>,
    /// Whether keywords are looked for in all texts.
    pub searches: bool,
}

/// When a value is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// No rule looks at it.
    #[default]
    Never,
    /// When a rule asks.
    Asked,
    /// Always, for it may wake rules.
    AtOnce,
}

/// What is known of the key's value.
#[derive(Debug, Clone, Copy)]
enum Known<'v> {
    Nothing,
    /// It is this text, folded.
    Value(&'v str),
    /// It is none that any rule wants as a whole.
    Other,
}

impl Cases {
    /// Works out the cases. `wakes` tells for each rule by the values of which slots it can be woken.
    pub fn new(plan: &Plan, program: &Program, wakes: &[Vec<u32>], has_key: bool) -> Cases {
        let case = |rules: &Rules<'_>| case(plan, program, wakes, rules);
        let mut cases = Cases { key: None, cases: vec![case(&Rules::all(plan))] };
        let Some(slot) = key_slot(plan).filter(|_| has_key) else { return cases };
        let Slot::Fields(names) = &plan.slots[slot] else { return cases };
        let Some((field, list)) = names.first().and_then(|name| program.names.get_key_value(name.as_str()))
        else {
            return cases;
        };
        let mut number = |known| {
            let case = case(&Rules { slot, known, ..Rules::all(plan) });
            let at = cases.cases.iter().position(|other| *other == case).unwrap_or_else(|| {
                cases.cases.push(case);
                cases.cases.len() - 1
            });
            at as u32
        };
        let other = number(Known::Other);
        let values = plan.preds.iter().filter(|pred| pred.slot == slot).filter_map(whole);
        let of_value: HashMap<Box<str>, u32, FixedState> =
            values.map(|value| (value.into(), number(Known::Value(value)))).collect();
        let whole_number =
            |value: &str| value.parse().ok().filter(|number: &i64| number.to_string() == value);
        let of_number =
            of_value.iter().filter_map(|(value, case)| Some((whole_number(value)?, *case))).collect();
        cases.key = Some(Key { field: field.clone(), list: *list, of_value, of_number, other });
        cases
    }

    /// The list of slots that takes the values of the deciding field.
    pub fn key(&self) -> Option<u32> {
        self.key.as_ref().map(|key| key.list)
    }

    /// The case in which the key's only value is this text, folded.
    pub fn of(&self, value: &str) -> &Case {
        // At its end blanks may count or not, by pattern.
        let number = match &self.key {
            Some(key) if !value.ends_with(' ') => *key.of_value.get(value).unwrap_or(&key.other),
            _ => 0,
        };
        &self.cases[number as usize]
    }

    /// The same where it is a number.
    pub fn of_number(&self, value: i64) -> &Case {
        let number = self.key.as_ref().map_or(0, |key| *key.of_number.get(&value).unwrap_or(&key.other));
        &self.cases[number as usize]
    }

    /// [`Cases::of`] where the key's value is only known if `field` (normal name) is the key.
    pub fn where_field_is(&self, field: &str, value: &str) -> &Case {
        match &self.key {
            Some(key) if *key.field == *field => self.of(value),
            _ => self.any(),
        }
    }

    /// The case of an event whose key has no value or several.
    pub fn any(&self) -> &Case {
        &self.cases[0]
    }
}

impl Case {
    /// Whether a rule can match.
    #[inline]
    pub fn has(&self, rule: u32) -> bool {
        self.rules.has(rule)
    }

    /// When values are looked at that the list of slots takes.
    #[inline]
    pub fn look(&self, list: u32) -> Look {
        self.looks.get(list as usize).copied().unwrap_or_default()
    }
}

/// Rules of a plan, and what is known beforehand.
struct Rules<'p> {
    plan: &'p Plan,
    slot: usize,
    known: Known<'p>,
}

impl<'p> Rules<'p> {
    fn all(plan: &'p Plan) -> Self {
        Rules { plan, slot: usize::MAX, known: Known::Nothing }
    }

    /// The truth of a node where it is known already.
    fn truth(&self, node: &Node) -> Option<bool> {
        let all = |nodes: &[Node]| {
            let mut truths = nodes.iter().map(|node| self.truth(node));
            let known = truths.try_fold(true, |open, truth| match truth {
                Some(false) => Err(()),
                truth => Ok(open && truth.is_some()),
            });
            match known {
                Err(()) => Some(false),
                Ok(is_known) => is_known.then_some(true),
            }
        };
        match node {
            Node::Const(known) => Some(*known),
            Node::Pred(leaf) => self.pred(&self.plan.preds[leaf.pred]),
            Node::Not(node) => self.truth(node).map(|truth| !truth),
            Node::And(nodes) => all(nodes),
            Node::Or(nodes) => self.at_least(1, nodes),
            Node::AtLeast(n, nodes) => self.at_least(*n, nodes),
        }
    }

    fn at_least(&self, n: usize, nodes: &[Node]) -> Option<bool> {
        let (mut sure, mut open) = (0, 0);
        for node in nodes {
            match self.truth(node) {
                Some(true) => sure += 1,
                Some(false) => {}
                None => open += 1,
            }
        }
        match sure {
            sure if sure >= n => Some(true),
            sure if sure + open < n => Some(false),
            _ => None,
        }
    }

    fn pred(&self, pred: &Pred) -> Option<bool> {
        let Test::Text(pattern @ Pattern { cased: false, .. }) = &pred.test else { return None };
        match self.known {
            _ if pred.slot != self.slot => None,
            Known::Nothing => None,
            Known::Value(value) => Some(spec::matches(pattern, value)),
            Known::Other => whole(pred).map(|_| false),
        }
    }

    /// Adds the slots of whose values the truth of a node still depends.
    fn add_slots(&self, node: &Node, slots: &mut BTreeSet<u32>) {
        if self.truth(node).is_some() {
            return;
        }
        match node {
            Node::Const(_) => {}
            Node::Pred(leaf) => {
                let Pred { slot, other, .. } = &self.plan.preds[leaf.pred];
                slots.extend([Some(*slot), *other].into_iter().flatten().map(|slot| slot as u32));
            }
            Node::Not(node) => self.add_slots(node, slots),
            Node::And(nodes) | Node::Or(nodes) | Node::AtLeast(_, nodes) => {
                nodes.iter().for_each(|node| self.add_slots(node, slots));
            }
        }
    }
}

/// The text that a predicate wants as a whole.
fn whole(pred: &Pred) -> Option<&str> {
    match &pred.test {
        Test::Text(Pattern { parts, cased: false }) => match parts.as_slice() {
            [Part::Text(text)] if !text.ends_with(' ') => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// The slot of one field that rules most often want to be one of a few values.
fn key_slot(plan: &Plan) -> Option<usize> {
    // Per slot, the rules that want a whole value of it.
    let mut wanting: BTreeMap<usize, Vec<&Node>> = BTreeMap::new();
    for rule in &plan.rules {
        let mut slots = BTreeSet::new();
        add_whole(plan, &rule.node, &mut slots);
        slots.into_iter().for_each(|slot| wanting.entry(slot).or_default().push(&rule.node));
    }
    let left = |slot: usize, nodes: &[&Node]| {
        let rules = Rules { slot, known: Known::Other, ..Rules::all(plan) };
        plan.rules.len() - nodes.iter().filter(|node| rules.truth(node) == Some(false)).count()
    };
    let is_field = |slot: &usize| matches!(&plan.slots[*slot], Slot::Fields(names) if names.len() == 1);
    let slots = wanting.iter().filter(|(slot, _)| is_field(slot));
    let (left, slot) = slots.map(|(slot, nodes)| (left(*slot, nodes), *slot)).min()?;
    // It is worth its lookup if it mostly rules out a quarter of the rules or more.
    (left * 4 <= plan.rules.len() * 3).then_some(slot)
}

fn add_whole(plan: &Plan, node: &Node, slots: &mut BTreeSet<usize>) {
    match node {
        Node::Const(_) => {}
        Node::Pred(leaf) => {
            let pred = &plan.preds[leaf.pred];
            slots.extend(whole(pred).map(|_| pred.slot));
        }
        Node::Not(node) => add_whole(plan, node, slots),
        Node::And(nodes) | Node::Or(nodes) | Node::AtLeast(_, nodes) => {
            nodes.iter().for_each(|node| add_whole(plan, node, slots));
        }
    }
}

fn case(plan: &Plan, program: &Program, wakes: &[Vec<u32>], known: &Rules<'_>) -> Case {
    let mut rules = Bits::default();
    rules.reset(plan.rules.len());
    let (mut asked, mut at_once) = (BTreeSet::new(), BTreeSet::new());
    for (number, rule) in plan.rules.iter().enumerate() {
        if known.truth(&rule.node) == Some(false) {
            continue;
        }
        rules.insert(number as u32);
        let mut slots = BTreeSet::new();
        known.add_slots(&rule.node, &mut slots);
        at_once.extend(wakes[number].iter().filter(|slot| slots.contains(slot)));
        asked.append(&mut slots);
    }
    let later = if program.look_later { Look::Asked } else { Look::AtOnce };
    // What follows from the key's value has to be marked for the rules' code.
    at_once.extend(plan.slots.get(known.slot).map(|_| known.slot as u32));
    let look = |list: usize| {
        let look = |slot: &u32| match slot {
            slot if at_once.contains(slot) => Look::AtOnce,
            slot if asked.contains(slot) => later,
            _ => Look::Never,
        };
        program.name_slots.get(list as u32).iter().map(look).max().unwrap_or_default()
    };
    let looks = (0..program.name_slots.len()).map(look).collect();
    let always = program.always.iter().copied().filter(|rule| rules.has(*rule)).collect();
    let searches = program.texts.is_some_and(|slot| asked.contains(&slot));
    Case { rules, looks, always, searches }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Options;
    use crate::engine::compile::compile;
    use crate::otel::{Class, View};
    use crate::plan::plan;
    use crate::rule::{LogSource, load};

    /// Compiles rules of which each is one `detection` with the condition `s`.
    fn compiled(detections: &[&str], options: Options) -> Program {
        let rule = |detection: &&str| {
            format!("title: t\nlogsource: {{product: x}}\ndetection:\n  s: {detection}\n  condition: s\n")
        };
        let text: Vec<String> = detections.iter().map(rule).collect();
        let (rules, problems) = load("t.yml", &text.join("---\n"));
        assert_eq!(problems, []);
        let logsource = LogSource { product: Some("x".into()), ..LogSource::default() };
        let view = View { logsource, ..View::default() };
        compile(plan(&rules, &Class { name: "x".into(), views: vec![view] }), options)
    }

    const RULES: [&str; 4] = [
        "{EventID: 1, Image|endswith: '\\evil.exe', User: bob}",
        "{EventID: [1, 2], Name|contains: evilness}",
        "{EventID|startswith: '3', Path|contains: evilness}",
        "[mimikatz]",
    ];

    fn rules(case: &Case) -> Vec<u32> {
        (0..RULES.len() as u32).filter(|rule| case.has(*rule)).collect()
    }

    fn look(program: &Program, case: &Case, field: &str) -> Look {
        program.names.get(field).map_or(Look::Never, |list| case.look(*list))
    }

    #[test]
    fn a_value_leaves_the_rules_that_can_still_match() {
        let program = compiled(&RULES, Options::default());
        let cases = &program.cases;
        assert_eq!(rules(cases.any()), [0, 1, 2, 3]);
        assert_eq!(rules(cases.of("1")), [0, 1, 3]);
        assert_eq!(rules(cases.of("2")), [1, 3]);
        // Of any other value it is only known that nobody wants it as a whole.
        assert_eq!(rules(cases.of("33")), [2, 3]);
        assert_eq!(rules(cases.of("")), [2, 3]);
        for number in [0, 1, 2, 33] {
            assert_eq!(rules(cases.of_number(number)), rules(cases.of(&number.to_string())));
        }
    }

    #[test]
    fn blanks_at_the_end_leave_everything_open() {
        let program = compiled(&RULES, Options::default());
        assert_eq!(rules(program.cases.of("2 ")), [0, 1, 2, 3]);
    }

    #[test]
    fn what_wakes_no_rule_is_looked_at_when_one_asks() {
        let program = compiled(&RULES, Options::default());
        let case = program.cases.of("1");
        assert_eq!(look(&program, case, "eventid"), Look::AtOnce);
        assert_eq!(look(&program, case, "name"), Look::AtOnce);
        assert_eq!(look(&program, case, "path"), Look::Never);
        let by = [look(&program, case, "image"), look(&program, case, "user")];
        assert!(by.contains(&Look::AtOnce) && by.contains(&Look::Asked), "{by:?}");
        assert!(case.searches);
        let at_once = compiled(&RULES, Options { later: false, ..Options::default() });
        assert_eq!(look(&at_once, at_once.cases.of("1"), "user"), Look::AtOnce);
    }

    #[test]
    fn only_the_deciding_field_decides() {
        let program = compiled(&RULES, Options::default());
        assert_eq!(rules(program.cases.where_field_is("eventid", "2")), [1, 3]);
        assert_eq!(rules(program.cases.where_field_is("user", "2")), [0, 1, 2, 3]);
        let without = compiled(&RULES, Options { cases: false, ..Options::default() });
        assert_eq!(without.cases.key(), None);
        assert_eq!(rules(without.cases.of("2")), [0, 1, 2, 3]);
    }

    #[test]
    fn a_field_that_rules_hardly_agree_on_decides_nothing() {
        let program = compiled(
            &["{A: 1}", "{B|contains: x}", "{B|contains: y}", "{B|contains: z}", "{C|contains: w}"],
            Options::default(),
        );
        assert_eq!(program.cases.key(), None);
    }

    #[test]
    fn a_rule_that_wants_anything_but_a_value_stays_for_all_others() {
        let text = |condition: &str| {
            format!(
                "title: t\nlogsource: {{product: x}}\ndetection:\n  s: {{EventID: 1}}\n  t: {{EventID: 2}}\n  \
                 u: {{A: 1}}\n  condition: {condition}\n"
            )
        };
        let conditions = ["not s and u", "1 of them", "2 of them", "s and u", "t and u"];
        let text: Vec<String> = conditions.iter().map(|condition| text(condition)).collect();
        let (found, problems) = load("t.yml", &text.join("---\n"));
        assert_eq!(problems, []);
        let logsource = LogSource { product: Some("x".into()), ..LogSource::default() };
        let class = Class { name: "x".into(), views: vec![View { logsource, ..View::default() }] };
        let program = compile(plan(&found, &class), Options::default());
        let rules = |value| (0..5).filter(|rule| program.cases.of(value).has(*rule)).collect::<Vec<u32>>();
        assert_eq!(rules("1"), [1, 2, 3]);
        assert_eq!(rules("2"), [0, 1, 2, 4]);
        assert_eq!(rules("3"), [0, 1]);
    }
}
