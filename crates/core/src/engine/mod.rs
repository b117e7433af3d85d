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
mod options;
mod program;
mod run;
mod watch;

use crate::otel::{Class, Event};
use crate::plan::plan;
use crate::rule::Rule;
pub(crate) use literals::required as required_literals;
pub use options::Options;
use program::Program;
pub use run::{Hit, Scratch};
pub use watch::Watch;

/// Compiled rules. Immutable; shared between threads, each with its own [`Scratch`].
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Rule>,
    classes: Vec<Class>,
    programs: Vec<Program>,
}

impl Engine {
    /// Compiles `rules` for every class of a taxonomy.
    pub fn compile(rules: Vec<Rule>, classes: &[Class]) -> Engine {
        Engine::compile_with(rules, classes, Options::default())
    }

    /// [`Engine::compile`] with some optimisations left out.
    pub fn compile_with(rules: Vec<Rule>, classes: &[Class], options: Options) -> Engine {
        let programs = classes.iter().map(|class| compile::compile(plan(&rules, class), options)).collect();
        Engine { rules, classes: classes.to_vec(), programs }
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
        self.run_watched(event, scratch, &mut ())
    }

    /// [`Engine::run`], with someone looking on.
    pub fn run_watched<'s>(
        &self,
        event: &Event<'_>,
        scratch: &'s mut Scratch,
        watch: &mut impl Watch,
    ) -> &'s [Hit] {
        let class = event.class.map_or(usize::MAX, |class| usize::from(class.0));
        match self.programs.get(class) {
            Some(program) => {
                watch.begins(class);
                scratch.run(program, event, watch)
            }
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
