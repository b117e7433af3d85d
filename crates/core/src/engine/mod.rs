//! All rules compiled together.
//!
//! An event's class chooses a `Program`; its values are folded and scanned once,
//! however many rules ask for them; what is found wakes the few rules that could match, and their
//! code is run. The slow definition of right is [`crate::spec`]; the two always agree.

mod bits;
mod cases;
mod compile;
mod evidence;
mod fill;
mod glob;
mod grams;
mod index;
mod literals;
mod options;
mod prefilter;
mod program;
mod remembered;
mod run;
mod table;
mod watch;

use crate::otel::{Class, ClassId, Event};
use crate::parallel;
use crate::plan::{applying, plan};
use crate::rule::Rule;
use crate::spec::MatchedFields;
pub(crate) use literals::Needs;
pub use options::Options;
use program::Program;
use run::Whose;
pub use run::{Hit, Scratch};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
pub use watch::Watch;

/// How many engines were made; a scratch knows by it that what it remembers is of another.
static ENGINES: AtomicU64 = AtomicU64::new(1);

/// Compiled rules. Immutable; shared between threads, each with its own [`Scratch`].
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Rule>,
    classes: Vec<Class>,
    options: Options,
    /// Each for all classes to which the same rules apply with the same names, of which it knows the
    /// first; compiled when the first event asks for it, since no installation has logs of all classes.
    programs: Vec<(usize, OnceLock<Program>)>,
    /// Class → program.
    program_of: Vec<usize>,
    /// Tells this engine from every other of the process.
    number: u64,
}

impl Engine {
    /// Compiles `rules` for every class of a taxonomy.
    pub fn compile(rules: Vec<Rule>, classes: &[Class]) -> Engine {
        Engine::compile_with(rules, classes, Options::default())
    }

    /// [`Engine::compile`] with some optimisations left out.
    pub fn compile_with(rules: Vec<Rule>, classes: &[Class], options: Options) -> Engine {
        let (program_of, firsts) = alike(&rules, classes);
        Engine {
            rules,
            classes: classes.to_vec(),
            options,
            programs: firsts.into_iter().map(|class| (class, OnceLock::new())).collect(),
            program_of,
            number: ENGINES.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Compiles what no event has asked for yet, on all processors.
    pub fn prepare(&self) {
        let numbers: Vec<usize> = (0..self.programs.len()).collect();
        parallel::each(&numbers, |number| {
            self.compiled(*number);
        });
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
        self.prepare();
        let rules = |program: &usize| self.compiled(*program).plan.rules.len();
        self.classes.iter().zip(self.program_of.iter().map(rules))
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
        match self.program(event) {
            Some((class, program)) => {
                watch.begins(class);
                let whose = Whose { engine: self.number, class, program };
                scratch.run(whose, self.compiled(program), event, watch)
            }
            None => &[],
        }
    }

    /// Whether a rule for events of the class looks at the field of this native name, whether or not
    /// there are keywords in it, of which [`Engine::may_find`] tells. `known`: a field, by its normal
    /// name, and its only value, by which rules are told apart that cannot match.
    pub fn asks(&self, class: ClassId, known: Option<(&str, &str)>, field: &str) -> bool {
        self.program_for(class).is_some_and(|program| program.asks(known, field))
    }

    /// Whether rules for events of the class look for keywords in all texts.
    pub fn searches(&self, class: ClassId) -> bool {
        self.program_for(class).is_some_and(|program| program.texts.is_some())
    }

    /// Whether a keyword may stand in these folded texts, in which controls and most punctuation may be
    /// written with escapes.
    pub fn may_find(&self, class: ClassId, texts: &[u8]) -> bool {
        self.program_for(class)
            .is_some_and(|program| program.texts.is_some() && program.prefilter.may_match_written(texts))
    }

    /// [`Engine::may_find`] of texts that are not folded, in which any character may be escaped; it may say so
    /// without reason.
    pub fn may_find_unfolded(&self, class: ClassId, texts: &[u8]) -> bool {
        self.program_for(class)
            .is_some_and(|program| program.texts.is_some() && program.prefilter.may_match_unfolded(texts))
    }

    /// Whether a keyword may stand in the text of a number, or of `true` or `false`.
    pub fn may_find_in_numbers(&self, class: ClassId) -> bool {
        self.program_for(class)
            .is_some_and(|program| program.texts.is_some() && program.prefilter.takes_numbers())
    }

    /// Whether any rule applies to events of the class.
    pub fn has_rules(&self, class: ClassId) -> bool {
        self.program_for(class).is_some_and(|program| !program.entries.is_empty())
    }

    /// What it was compiled with.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Tells this engine from every other of the process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The fields, by the names that the rule uses, and the values that made it match. Only for a
    /// hit of the event that `scratch` ran last.
    pub fn evidence(&self, event: &Event<'_>, scratch: &mut Scratch, hit: Hit) -> MatchedFields {
        let program = self.program(event).map(|(_, program)| self.compiled(program));
        program.map_or(vec![], |program| scratch.evidence(program, event, hit))
    }

    /// The rules for events of the class.
    fn program_for(&self, class: ClassId) -> Option<&Program> {
        self.program_of.get(usize::from(class.0)).map(|program| self.compiled(*program))
    }

    /// Numbers of the event's class and of the program for it.
    fn program(&self, event: &Event<'_>) -> Option<(usize, usize)> {
        let class = usize::from(event.class?.0);
        self.program_of.get(class).map(|program| (class, *program))
    }

    fn compiled(&self, program: usize) -> &Program {
        let (class, compiled) = &self.programs[program];
        compiled.get_or_init(|| compile::compile(plan(&self.rules, &self.classes[*class]), self.options))
    }
}

/// For each class the number of its program, and the first class of each program.
fn alike(rules: &[Rule], classes: &[Class]) -> (Vec<usize>, Vec<usize>) {
    let mut known: HashMap<Vec<(usize, usize)>, usize> = HashMap::new();
    let mut firsts = vec![];
    let of = classes.iter().enumerate().map(|(number, class)| {
        // Equal names are kept once, so their address tells them.
        let names = |view: usize| Arc::as_ptr(&class.views[view].fields) as usize;
        let key = applying(rules, class).into_iter().map(|(rule, view)| (rule, names(view))).collect();
        *known.entry(key).or_insert_with(|| {
            firsts.push(number);
            firsts.len() - 1
        })
    });
    (of.collect(), firsts)
}

#[cfg(test)]
mod tests;
