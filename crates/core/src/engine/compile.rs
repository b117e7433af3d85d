//! Plan → program: what is indexed, what wakes a rule, and in which order it asks.

use super::cases::Cases;
use super::glob::Glob;
use super::index::Builder;
use super::literals::{Checks, Needs};
use super::options::Options;
use super::prefilter::Prefilter;
use super::program::{Ask, Lazy, Lists, NO, Op, Placed, Program, SlotProgram, YES};
use crate::plan::{Node, Plan, Pred, Slot};
use crate::rule::{Part, Pattern, Test};
use std::collections::HashMap;

/// Compiles the rules of one class.
pub fn compile(plan: Plan, options: Options) -> Program {
    let mut compiler = Compiler::new(&plan, options);
    let mut group_rules: Vec<Vec<u32>> = Vec::new();
    let mut slot_rules: Vec<Vec<u32>> = vec![vec![]; compiler.program.slots.len()];
    // Per rule, the slots whose values can wake it.
    let mut wakes: Vec<Vec<u32>> = Vec::new();
    for (number, planned) in plan.rules.iter().enumerate() {
        let number = number as u32;
        let (step, wake) = compiler.steps(&planned.node);
        wakes.push(vec![]);
        match wake {
            Wake::Groups(groups, _) => {
                for group in groups {
                    let group = group as usize;
                    wakes.last_mut().into_iter().for_each(|slots| slots.extend(&compiler.group_slots[group]));
                    if group_rules.len() <= group {
                        group_rules.resize(group + 1, vec![]);
                    }
                    group_rules[group].push(number);
                }
            }
            Wake::Slot(slot) => slot_rules[slot].push(number),
            Wake::Always => compiler.program.always.push(number),
        }
        let entry = compiler.emit(&step, YES, NO);
        compiler.program.entries.push(entry);
    }
    let mut program = compiler.finish(group_rules);
    program.slot_rules = Lists::new(&slot_rules);
    program.cases = Cases::new(&plan, &program, &wakes, options.cases);
    program.plan = plan;
    program
}

/// A node with its predicates sorted into groups and lazy comparisons.
#[derive(Debug)]
enum Step {
    Group(u32),
    Lazy(u32),
    Not(Box<Step>),
    And(Vec<Step>),
    Or(Vec<Step>),
    AtLeast(usize, Vec<Step>),
    Const(bool),
}

/// What has to be seen before a rule can be true.
enum Wake {
    /// One of these groups; with the share of events in which one is expected.
    Groups(Vec<u32>, f64),
    /// Any value of this slot.
    Slot(usize),
    /// Nothing in particular.
    Always,
}

impl Wake {
    fn share(&self) -> f64 {
        match self {
            Wake::Groups(_, share) => *share,
            Wake::Slot(_) => 0.95,
            Wake::Always => 1.0,
        }
    }
}

/// What is looked for in each new value, so that it can wake a rule; the rest waits until a rule asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AtOnce {
    /// Texts that are rare enough.
    Texts,
    /// Short ones too, which stand in most values and cost a look at each of their bytes.
    ShortTexts,
    /// Expressions and all other comparisons of one value too.
    Comparisons,
}

struct Compiler<'p> {
    plan: &'p Plan,
    options: Options,
    program: Program,
    builders: Vec<Builder>,
    /// Plan predicate → number in the index, or lazy.
    placed: Vec<Option<Placed>>,
    /// The same for short texts of rules that only these can wake.
    placed_short: Vec<Option<Placed>>,
    /// Comparisons of rules that only these can wake: number under which each is marked.
    compared: Vec<Option<u32>>,
    /// What is looked for at once of the rule at hand.
    at_once: AtOnce,
    indexed: u32,
    /// Per number in the index: groups.
    pred_groups: Vec<Vec<u32>>,
    /// Per number in the index: expected share of events, and the slot.
    shares: Vec<(f64, u32)>,
    groups: HashMap<Vec<u32>, u32>,
    group_shares: Vec<f64>,
    group_slots: Vec<Vec<u32>>,
}

impl<'p> Compiler<'p> {
    fn new(plan: &'p Plan, options: Options) -> Self {
        let mut program = Program {
            remember_names: options.names,
            remember_values: options.values,
            look_later: options.later,
            finders: options.finders,
            ..Program::default()
        };
        let mut name_slots: Vec<Vec<u32>> = vec![];
        for (number, slot) in plan.slots.iter().enumerate() {
            match slot {
                Slot::Texts => program.texts = Some(number as u32),
                Slot::Fields(names) => {
                    for name in names {
                        let next = name_slots.len() as u32;
                        let list = *program.names.entry(name.as_str().into()).or_insert(next);
                        if list == next {
                            name_slots.push(vec![]);
                        }
                        name_slots[list as usize].push(number as u32);
                    }
                }
            }
            program.slots.push(SlotProgram::default());
        }
        program.name_slots = Lists::new(&name_slots);
        Compiler {
            builders: plan.slots.iter().map(|_| Builder::default()).collect(),
            placed: vec![None; plan.preds.len()],
            placed_short: vec![None; plan.preds.len()],
            compared: vec![None; plan.preds.len()],
            at_once: AtOnce::ShortTexts,
            plan,
            options,
            program,
            indexed: 0,
            pred_groups: vec![],
            shares: vec![],
            groups: HashMap::new(),
            group_shares: vec![],
            group_slots: vec![],
        }
    }

    fn finish(mut self, mut group_rules: Vec<Vec<u32>>) -> Program {
        group_rules.resize(self.group_shares.len(), vec![]);
        // What is compared only when a rule asks, the filter does not know.
        let is_lazy = |slot| self.program.lazies.iter().any(|lazy| lazy.pred.slot == slot);
        let texts = self.program.texts.filter(|slot| self.options.prefilter && !is_lazy(*slot as usize));
        for (slot, builder) in self.builders.into_iter().enumerate() {
            if texts == Some(slot as u32) {
                self.program.prefilter = Prefilter::new(&builder);
            }
            self.program.slots[slot].index = builder.build();
        }
        self.program.groups = self.group_shares.len();
        self.program.pred_groups = Lists::new(&self.pred_groups);
        self.program.group_rules = Lists::new(&group_rules);
        self.program.group_slots = Lists::new(&self.group_slots);
        let placed = self.placed.iter().zip(&self.placed_short);
        self.program.placed =
            placed.map(|(usual, short)| usual.or(*short).unwrap_or(Placed::Nowhere)).collect();
        self.program
    }

    /// The steps of a rule, and what wakes it: the cheapest that does.
    fn steps(&mut self, node: &Node) -> (Step, Wake) {
        let Options { wake, short, compared, .. } = self.options;
        if !wake {
            return (self.step(node), Wake::Always);
        }
        let levels = [(AtOnce::Texts, short), (AtOnce::ShortTexts, true), (AtOnce::Comparisons, compared)];
        let mut found = (Step::Const(false), Wake::Always);
        for (level, _) in levels.into_iter().filter(|(_, is_on)| *is_on) {
            self.at_once = level;
            let step = self.step(node);
            let wake = self.wake(&step);
            found = (step, wake);
            if matches!(found.1, Wake::Groups(..)) {
                break;
            }
        }
        found
    }

    fn step(&mut self, node: &Node) -> Step {
        match node {
            Node::Const(known) => Step::Const(*known),
            Node::Not(node) => match self.step(node) {
                Step::Not(step) => *step,
                step => Step::Not(Box::new(step)),
            },
            Node::And(nodes) => Step::And(nodes.iter().map(|n| self.step(n)).collect()),
            Node::AtLeast(n, nodes) => Step::AtLeast(*n, nodes.iter().map(|n| self.step(n)).collect()),
            Node::Pred(leaf) => match self.place(leaf.pred) {
                Placed::Indexed(number) => Step::Group(self.group(vec![number])),
                Placed::Lazy(lazy) => Step::Lazy(lazy),
                Placed::Nowhere => Step::Const(false),
            },
            Node::Or(nodes) => {
                let (mut together, mut rest) = (Vec::new(), Vec::new());
                for node in nodes {
                    match node {
                        Node::Pred(leaf) => match self.place(leaf.pred) {
                            Placed::Indexed(number) => together.push(number),
                            Placed::Lazy(lazy) => rest.push(Step::Lazy(lazy)),
                            Placed::Nowhere => {}
                        },
                        node => rest.push(self.step(node)),
                    }
                }
                if together.is_empty() {
                    return Step::Or(rest);
                }
                let group = Step::Group(self.group(together));
                if rest.is_empty() {
                    return group;
                }
                rest.insert(0, group);
                Step::Or(rest)
            }
        }
    }

    /// Decides where a predicate is answered.
    fn place(&mut self, pred: usize) -> Placed {
        match self.place_text(pred) {
            Placed::Lazy(lazy) if self.at_once == AtOnce::Comparisons || self.is_cheap(pred) => {
                self.place_compared(pred, lazy)
            }
            placed => placed,
        }
    }

    /// Whether a comparison costs less than asking for it again and again.
    fn is_cheap(&self, pred: usize) -> bool {
        self.options.compared && matches!(self.plan.preds[pred].test, Test::Cidr(_))
    }

    /// Lets a comparison be made at once that would be made when a rule asks, if that may be done.
    fn place_compared(&mut self, pred: usize, number: u32) -> Placed {
        let Pred { slot, .. } = self.plan.preds[pred];
        let lazy = &self.program.lazies[number as usize];
        let is_text = self.program.texts == Some(slot as u32);
        if lazy.guard.is_some() || !lazy.is_of_one_value() || is_text || !self.options.index {
            return Placed::Lazy(number);
        }
        if let Some(known) = self.compared[pred] {
            return Placed::Indexed(known);
        }
        let share =
            if matches!(lazy.pred.test, Test::Regex(_)) { SHARE_OF_EXPRESSION } else { SHARE_OF_NUMBER };
        let marked = self.number(share, slot);
        self.program.slots[slot].compared.push((number, marked));
        self.compared[pred] = Some(marked);
        Placed::Indexed(marked)
    }

    /// Decides once per predicate whether it is indexed.
    fn place_text(&mut self, pred: usize) -> Placed {
        let Pred { slot, test, .. } = &self.plan.preds[pred];
        let is_short = matches!(test, Test::Text(pattern) if is_short(pattern));
        let defer_short = self.at_once == AtOnce::Texts;
        let known = if is_short && !defer_short { &self.placed_short } else { &self.placed };
        if let Some(placed) = known[pred] {
            return placed;
        }
        let is_indexed = self.options.index && !(is_short && defer_short);
        let placed = match test {
            Test::Text(pattern) if is_indexed && self.builders[*slot].add(self.indexed, pattern) => {
                let share = share(pattern, &self.plan.slots[*slot]);
                Placed::Indexed(self.number(share, *slot))
            }
            _ => self.lazy(pred),
        };
        let known = if is_short && !defer_short { &mut self.placed_short } else { &mut self.placed };
        known[pred] = Some(placed);
        placed
    }

    fn number(&mut self, share: f64, slot: usize) -> u32 {
        self.indexed += 1;
        self.pred_groups.push(vec![]);
        self.shares.push((share, slot as u32));
        self.indexed - 1
    }

    fn lazy(&mut self, pred: usize) -> Placed {
        let pred = self.plan.preds[pred].clone();
        let (mut glob, mut guard, mut checks) = (None, None, Checks::default());
        match &pred.test {
            Test::Regex(expression) => {
                let needs = Needs::of(expression);
                if self.options.guards {
                    guard = needs.indexed().map(|literals| self.guard(pred.slot, literals));
                }
                if self.options.checks {
                    checks = needs.checks();
                }
            }
            Test::Text(pattern) => glob = Some(Glob::new(pattern)),
            _ => {}
        }
        let lazy = Lazy { pred, glob, guard, checks };
        self.program.lazies.push(lazy);
        Placed::Lazy(self.program.lazies.len() as u32 - 1)
    }

    /// A group that is hit if the slot holds one of `literals`.
    fn guard(&mut self, slot: usize, literals: &[String]) -> u32 {
        let mut numbers = Vec::with_capacity(literals.len());
        for literal in literals {
            self.builders[slot].add_contains(self.indexed, literal);
            numbers.push(self.number(share_of_substring(literal.len()), slot));
        }
        self.group(numbers)
    }

    fn group(&mut self, mut numbers: Vec<u32>) -> u32 {
        numbers.sort_unstable();
        numbers.dedup();
        if let Some(group) = self.groups.get(&numbers) {
            return *group;
        }
        let group = self.group_shares.len() as u32;
        let (mut share, mut slots) = (0.0, vec![]);
        for number in &numbers {
            self.pred_groups[*number as usize].push(group);
            let (of_pred, slot) = self.shares[*number as usize];
            share += of_pred;
            slots.push(slot);
        }
        slots.sort_unstable();
        slots.dedup();
        self.group_shares.push(f64::min(share, 1.0));
        self.group_slots.push(slots);
        self.groups.insert(numbers, group);
        group
    }

    /// The rarest sign without which `step` cannot be true.
    fn wake(&self, step: &Step) -> Wake {
        match step {
            Step::Group(group) => Wake::Groups(vec![*group], self.group_shares[*group as usize]),
            Step::Lazy(lazy) => {
                let lazy = &self.program.lazies[*lazy as usize];
                match lazy.guard {
                    Some(group) => Wake::Groups(vec![group], self.group_shares[group as usize]),
                    None if lazy.true_of_nothing() => Wake::Always,
                    None => Wake::Slot(lazy.pred.slot),
                }
            }
            Step::Not(_) | Step::Const(_) => Wake::Always,
            Step::And(steps) => (steps.iter().map(|s| self.wake(s)))
                .min_by(|a, b| a.share().total_cmp(&b.share()))
                .unwrap_or(Wake::Always),
            Step::Or(steps) | Step::AtLeast(_, steps) => self.wake_any(steps),
        }
    }

    fn wake_any(&self, steps: &[Step]) -> Wake {
        let (mut all, mut total) = (Vec::new(), 0.0);
        for step in steps {
            match self.wake(step) {
                Wake::Groups(groups, share) => {
                    all.extend(groups);
                    total += share;
                }
                Wake::Slot(slot) if steps.len() == 1 => return Wake::Slot(slot),
                Wake::Slot(_) | Wake::Always => return Wake::Always,
            }
        }
        all.sort_unstable();
        all.dedup();
        Wake::Groups(all, f64::min(total, 1.0))
    }

    /// Appends the code of `step`, back to front, and returns where it begins.
    fn emit(&mut self, step: &Step, yes: u32, no: u32) -> u32 {
        let ask = match step {
            Step::Const(true) => return yes,
            Step::Const(false) => return no,
            Step::Not(step) => return self.emit(step, no, yes),
            Step::And(steps) => return self.emit_chain(steps, true, yes, no),
            Step::Or(steps) => return self.emit_chain(steps, false, yes, no),
            Step::Group(group) => Ask::Group(*group),
            Step::Lazy(lazy) => Ask::Lazy(*lazy),
            Step::AtLeast(n, steps) => {
                let entries: Vec<u32> = steps.iter().map(|s| self.emit(s, YES, NO)).collect();
                self.program.counts.push((u32::try_from(*n).unwrap_or(u32::MAX), entries.into()));
                Ask::AtLeast(self.program.counts.len() as u32 - 1)
            }
        };
        self.program.code.push(Op { ask, yes, no });
        self.program.code.len() as u32 - 1
    }

    /// `and` (or `or`) of several steps: the answer that decides most often is asked for first, what
    /// costs most last.
    fn emit_chain(&mut self, steps: &[Step], and: bool, yes: u32, no: u32) -> u32 {
        let mut order: Vec<&Step> = steps.iter().collect();
        if self.options.order {
            self.sort(&mut order, and);
        }
        let (mut yes_to, mut no_to) = (yes, no);
        for step in order.iter().rev() {
            let entry = self.emit(step, yes_to, no_to);
            if and { yes_to = entry } else { no_to = entry }
        }
        if and { yes_to } else { no_to }
    }

    fn sort(&self, order: &mut [&Step], and: bool) {
        order.sort_by(|a, b| {
            let rank = |step: &Step| {
                let share = self.wake(step).share();
                (cost(step), if and { share } else { 1.0 - share })
            };
            let (a, b) = (rank(a), rank(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
    }
}

/// Longest text to be found anywhere that is short, bytes.
const SHORT_BYTES_MAX: usize = 3;

/// Whether a pattern is a short text to be found anywhere.
fn is_short(pattern: &Pattern) -> bool {
    matches!(pattern.parts.as_slice(), [Part::Any, Part::Text(text), Part::Any] if text.len() <= SHORT_BYTES_MAX)
}

/// How dear a step is to ask, in rough classes.
fn cost(step: &Step) -> u32 {
    match step {
        Step::Group(_) | Step::Const(_) => 0,
        Step::Lazy(_) => 3,
        Step::Not(step) => cost(step),
        Step::And(steps) | Step::Or(steps) | Step::AtLeast(_, steps) => {
            1 + steps.iter().map(cost).max().unwrap_or(0)
        }
    }
}

/// Fields that say what an event is: their values come in most events of a class.
const COMMON_FIELDS: [&str; 9] = [
    "eventid",
    "channel",
    "providername",
    "eventtype",
    "initiated",
    "logontype",
    "level",
    "type",
    "eventsource",
];

/// What Windows machines log all day, folded.
const COMMON_VALUES: [&str; 11] = [
    "c:\\windows\\system32\\svchost.exe -k netsvcs -p",
    "c:\\windows\\system32\\svchost.exe",
    "c:\\windows\\system32\\cmd.exe /c ",
    "c:\\windows\\system32\\cmd.exe",
    "c:\\windows\\system32\\conhost.exe",
    "c:\\windows\\system32\\windowspowershell\\v1.0\\powershell.exe",
    "c:\\program files (x86)\\microsoft\\edge\\application\\msedge.exe",
    "microsoft corporation",
    "nt authority\\system",
    "s-1-5-18",
    "0x3e7",
];

/// Whether a pattern is fulfilled by a value that comes all the time.
fn is_common(pattern: &Pattern) -> bool {
    let holds = |value: &&str| match pattern.parts.as_slice() {
        [Part::Text(text)] => value == text,
        [Part::Text(text), Part::Any] => value.starts_with(text.as_str()),
        [Part::Any, Part::Text(text)] => value.ends_with(text.as_str()),
        [Part::Any, Part::Text(text), Part::Any] => value.contains(text.as_str()),
        _ => false,
    };
    COMMON_VALUES.iter().any(holds)
}

/// In which share of events an expression without a rare literal is expected to match, and a number or
/// an address to be what a rule wants.
const SHARE_OF_EXPRESSION: f64 = 0.02;
const SHARE_OF_NUMBER: f64 = 0.3;

/// In which share of events a pattern is expected to hold; only its order of size matters.
fn share(pattern: &Pattern, slot: &Slot) -> f64 {
    let is_common_field = |name: &String| COMMON_FIELDS.contains(&name.as_str());
    if matches!(slot, Slot::Fields(names) if names.iter().any(is_common_field)) || is_common(pattern) {
        return 0.3;
    }
    let longest = pattern.parts.iter().map(|p| if let Part::Text(t) = p { t.len() } else { 0 }).max();
    match (pattern.parts.as_slice(), longest.unwrap_or(0)) {
        ([Part::Text(_)], 0..4) => 0.1,
        ([Part::Text(_)], _) => 0.01,
        ([Part::Text(_), Part::Any] | [Part::Any, Part::Text(_)], 0..5) => 0.5,
        ([Part::Text(_), Part::Any] | [Part::Any, Part::Text(_)], 5..8) => 0.05,
        ([Part::Text(_), Part::Any] | [Part::Any, Part::Text(_)], _) => 0.01,
        (_, len) => share_of_substring(len),
    }
}

fn share_of_substring(len: usize) -> f64 {
    match len {
        0 | 1 => 0.6,
        2 => 0.3,
        3 => 0.1,
        4 => 0.04,
        5 => 0.02,
        6..8 => 0.008,
        8..12 => 0.002,
        _ => 0.0005,
    }
}
