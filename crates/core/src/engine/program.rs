//! The compiled form of one class: tables that [`super::run`] walks.

use super::cases::{Cases, Look};
use super::glob::Glob;
use super::index::Index;
use super::literals::Checks;
use super::prefilter::Prefilter;
use crate::otel::normal_name;
use crate::plan::{Plan, Pred};
use crate::rule::Test;
use foldhash::fast::FixedState;
use std::collections::HashMap;

/// All rules of one class.
#[derive(Debug, Default)]
pub struct Program {
    /// Normal field name → its list in `name_slots`.
    pub names: HashMap<Box<str>, u32, FixedState>,
    /// Slots that take the values of a name.
    pub name_slots: Lists,
    /// Whether the names of an event are remembered for the next.
    pub remember_names: bool,
    /// Whether it is remembered what values were found to fulfil.
    pub remember_values: bool,
    /// Whether of expressions only what decides is run.
    pub finders: bool,
    /// Whether values that wake no rule are looked at only when a rule asks.
    pub look_later: bool,
    /// What matters, by the value of one field.
    pub cases: Cases,
    /// The slot that takes all texts, if keywords are asked for.
    pub texts: Option<u32>,
    /// Finds nothing in an event's texts if no predicate of `texts` can be true of one of them.
    pub prefilter: Prefilter,
    /// Per slot.
    pub slots: Vec<SlotProgram>,
    /// Slot → rules that any value in it wakes.
    pub slot_rules: Lists,
    /// Predicate → groups it makes true.
    pub pred_groups: Lists,
    /// Group → rules that it wakes.
    pub group_rules: Lists,
    /// Group → slots of its predicates.
    pub group_slots: Lists,
    /// Number of groups.
    pub groups: usize,
    /// Rules that nothing wakes: looked at for every event.
    pub always: Vec<u32>,
    /// Comparisons that are made only when a rule asks.
    pub lazies: Vec<Lazy>,
    /// Jump code of all rules.
    pub code: Vec<Op>,
    /// Pieces of code that are counted, for [`Ask::AtLeast`].
    pub counts: Vec<(u32, Box<[u32]>)>,
    /// Per rule of `plan`: where its code begins; [`YES`] or [`NO`] if it has none.
    pub entries: Vec<u32>,
    /// What it was compiled from: the rules, in the order of the rule set, and what they compare.
    pub plan: Plan,
    /// Where each predicate of the plan is answered.
    pub placed: Vec<Placed>,
}

/// Where a predicate of the plan is answered.
#[derive(Debug, Clone, Copy)]
pub enum Placed {
    /// By the index, under this number.
    Indexed(u32),
    /// Index into [`Program::lazies`].
    Lazy(u32),
    /// No rule asks.
    Nowhere,
}

impl Program {
    /// Whether the values of a field are looked at, be there keywords in them or not; where it is known
    /// which value a certain field has, in that case.
    pub fn asks(&self, known: Option<(&str, &str)>, field: &str) -> bool {
        let case = known.map_or(self.cases.any(), |(field, value)| self.cases.where_field_is(field, value));
        let list = self.names.get(normal_name(field).as_str());
        (case.searches && !self.prefilter.takes_escapes())
            || list.is_some_and(|list| case.look(*list) != Look::Never)
    }
}

/// One source of values.
#[derive(Debug, Default)]
pub struct SlotProgram {
    /// Text predicates.
    pub index: Index,
    /// Comparisons that are made once for each new value, as indexes into [`Program::lazies`], and the
    /// number under which each is marked where it holds.
    pub compared: Vec<(u32, u32)>,
}

/// Jump target: the rule matches.
pub const YES: u32 = u32::MAX;
/// Jump target: it does not.
pub const NO: u32 = u32::MAX - 1;

/// One step of a rule: a question and where to go on either answer.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    pub ask: Ask,
    pub yes: u32,
    pub no: u32,
}

/// A question about the event.
#[derive(Debug, Clone, Copy)]
pub enum Ask {
    /// Is one of the group's predicates true?
    Group(u32),
    /// Index into [`Program::lazies`].
    Lazy(u32),
    /// Are enough pieces of code true? Index into [`Program::counts`].
    AtLeast(u32),
}

/// A comparison that is not indexed.
#[derive(Debug)]
pub struct Lazy {
    /// What and where.
    pub pred: Pred,
    /// For a [`Test::Text`] without any literal.
    pub glob: Option<Glob>,
    /// Group without which it cannot be true.
    pub guard: Option<u32>,
    /// For a [`Test::Regex`], what to look for before it is run.
    pub checks: Checks,
}

impl Lazy {
    /// Whether the folded text of values is compared.
    pub fn needs_folded(&self) -> bool {
        matches!(self.pred.test, Test::Text(_) | Test::Regex(_))
    }

    /// Whether it is a comparison of one value with what the rule says.
    pub fn is_of_one_value(&self) -> bool {
        match self.pred.test {
            Test::Text(_) | Test::Regex(_) | Test::Number(..) | Test::Cidr(_) | Test::TimePart(..) => true,
            Test::FieldRef { .. } | Test::Null | Test::Exists(_) => false,
        }
    }

    /// Whether the comparison can be true of an event that lacks the field.
    pub fn true_of_nothing(&self) -> bool {
        matches!(self.pred.test, Test::Null | Test::Exists(false))
    }
}

/// Lists of numbers, one after the other in one allocation.
#[derive(Debug, Default)]
pub struct Lists {
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Lists {
    /// Packs `lists`.
    pub fn new(lists: &[Vec<u32>]) -> Lists {
        let mut packed = Lists { starts: Vec::with_capacity(lists.len() + 1), items: Vec::new() };
        packed.starts.push(0);
        for list in lists {
            packed.items.extend_from_slice(list);
            packed.starts.push(packed.items.len() as u32);
        }
        packed
    }

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The list at `index`.
    pub fn get(&self, index: u32) -> &[u32] {
        let index = index as usize;
        match (self.starts.get(index), self.starts.get(index + 1)) {
            (Some(start), Some(end)) => &self.items[*start as usize..*end as usize],
            _ => &[],
        }
    }
}
