//! All rules compiled together.
//!
//! An event's class chooses a `Program`; its values are folded and scanned once,
//! however many rules ask for them; what is found wakes the few rules that could match, and their
//! code is run. The slow definition of right is [`crate::spec`]; the two always agree.

mod compile;
mod evidence;
mod glob;
mod grams;
mod index;
mod literals;
mod prefilter;
mod program;
mod run;
mod table;

use crate::otel::{Class, Event};
use crate::plan::plan;
use crate::rule::Rule;
use program::Program;
pub use run::{Hit, Scratch};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many engines were made; a scratch knows by it that what it remembers is of another.
static ENGINES: AtomicU64 = AtomicU64::new(1);

/// Compiled rules. Immutable; shared between threads, each with its own [`Scratch`].
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Rule>,
    classes: Vec<Class>,
    programs: Vec<Program>,
    /// Tells this engine from every other of the process.
    number: u64,
}

impl Engine {
    /// Compiles `rules` for every class of a taxonomy.
    pub fn compile(rules: Vec<Rule>, classes: &[Class]) -> Engine {
        let programs = classes.iter().map(|class| compile::compile(plan(&rules, class))).collect();
        Engine { rules, classes: classes.to_vec(), programs, number: ENGINES.fetch_add(1, Ordering::Relaxed) }
    }

    /// The rules, in the order given.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The classes that the rules were compiled for.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// How many rules can match an event of each class.
    pub fn rules_by_class(&self) -> impl Iterator<Item = (&Class, usize)> {
        self.classes.iter().zip(self.programs.iter().map(|program| program.plan.rules.len()))
    }

    /// The rules that match `event`, in the order of the rules, each once.
    pub fn run<'s>(&self, event: &Event<'_>, scratch: &'s mut Scratch) -> &'s [Hit] {
        let Some(class) = event.class.map(|class| usize::from(class.0)) else { return &[] };
        match self.programs.get(class) {
            Some(program) => scratch.run(self.number, class, program, event),
            None => &[],
        }
    }

    /// The fields, by the names that the rule uses, and the values that made it match. Only for a
    /// hit of the event that `scratch` ran last.
    pub fn evidence(&self, event: &Event<'_>, scratch: &Scratch, hit: Hit) -> Vec<(String, String)> {
        match event.class.and_then(|class| self.programs.get(class.0 as usize)) {
            Some(program) => scratch.evidence(program, event, hit),
            None => vec![],
        }
    }
}

#[cfg(test)]
mod tests;
