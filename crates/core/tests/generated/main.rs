//! The engine against the definition of right, on events generated from every rule of SigmaHQ: to
//! fulfil each of its comparisons, and to just miss it.
//!
//! Quick by default; `OTEL_LOG_AI_CASES=long` goes through every comparison of every rule, and
//! `OTEL_LOG_AI_SEED` makes other events. A difference is told with the smallest event that shows it.

mod cases;
mod mend;
mod rsigma;
mod whole;

use cases::{Effort, Plot, Random, corpus, effort, shrink, told, vary};
use otel_log_ai_core::engine::{Engine, Scratch};
use otel_log_ai_core::otel::{Class, ClassId, Event, Taxonomy, View};
use otel_log_ai_core::rule::{LogSource, Rule, load};
use otel_log_ai_core::spec::{MatchedFields, Seen, evidence, rule_matches};
use std::collections::BTreeMap;

const QUICK: Effort = Effort { leaves: 2, rounds: 1, changes: 4 };
const LONG: Effort = Effort { leaves: usize::MAX, rounds: 1, changes: 6 };
/// With slow engines.
const LONG_WITHOUT: Effort = Effort { leaves: 4, rounds: 1, changes: 8 };
/// With every event, so many other rules of its class are held against the definition as well.
const NEIGHBOURS: usize = 1;

/// All rules that can match anything.
fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (path, text) in corpus::rule_files(env!("CARGO_MANIFEST_DIR")) {
        rules.extend(load(&path, &text).0);
    }
    rules.retain(|rule| rule.unmet.is_empty());
    rules
}

/// A class for each log source that a rule names, in which every field has the name of the rule.
fn plain_classes(rules: &[Rule]) -> Vec<Class> {
    let mut sources: Vec<LogSource> = rules.iter().map(|rule| rule.info.logsource.clone()).collect();
    sources.sort();
    sources.dedup();
    let class = |logsource: LogSource| Class {
        name: logsource.to_string(),
        views: vec![View { logsource, ..View::default() }],
    };
    sources.into_iter().map(class).collect()
}

/// An engine held against the definition.
struct Trial {
    engine: Engine,
    /// By class, the rules that apply.
    by_class: Vec<Vec<usize>>,
    seed: u64,
    effort: Effort,
}

/// What was tried.
#[derive(Default)]
struct Tally {
    events: usize,
    answers: usize,
    matches: usize,
    differences: Vec<String>,
}

/// Differences told; one fault of the engine shows in many rules.
const TOLD_MAX: usize = 8;

impl Trial {
    fn new(engine: Engine, effort: Effort, seed: u64) -> Trial {
        let applies = |class: &Class| {
            let taken = |rule: &Rule| class.views.iter().any(|view| view.takes(&rule.info.logsource));
            let rules = engine.rules().iter().enumerate();
            rules.filter(|(_, rule)| taken(rule)).map(|(number, _)| number).collect()
        };
        let by_class = engine.classes().iter().map(applies).collect();
        Trial { engine, by_class, seed, effort }
    }

    /// Tries all rules, on two threads.
    fn run(&self) -> Tally {
        let numbers: Vec<usize> = (0..self.engine.rules().len()).collect();
        let (even, odd): (Vec<usize>, Vec<usize>) = numbers.into_iter().partition(|number| number % 2 == 0);
        let mut tally = std::thread::scope(|scope| {
            let other = scope.spawn(|| self.try_rules(&odd));
            let mut tally = self.try_rules(&even);
            let other = other.join().expect("the other half");
            tally.events += other.events;
            tally.answers += other.answers;
            tally.matches += other.matches;
            tally.differences.extend(other.differences);
            tally
        });
        tally.differences.truncate(TOLD_MAX);
        tally
    }

    fn try_rules(&self, numbers: &[usize]) -> Tally {
        let mut tally = Tally::default();
        let mut scratch = Scratch::default();
        for number in numbers {
            let rule = &self.engine.rules()[*number];
            let mut random = Random::new(self.seed, &rule.info.id);
            let classes: Vec<usize> =
                (0..self.by_class.len()).filter(|class| self.by_class[*class].contains(number)).collect();
            if classes.is_empty() {
                continue;
            }
            let plot = Plot::new(rule);
            let targets = self.effort.leaves.min(plot.leaves.len());
            let start = random.below(plot.leaves.len());
            for step in 0..targets {
                for _ in 0..self.effort.rounds {
                    let target = match targets == plot.leaves.len() {
                        true => (start + step) % targets,
                        false => random.below(plot.leaves.len()),
                    };
                    let class = *random.pick(&classes);
                    let mut event = plot.event(target, &mut random);
                    self.rename(&mut event, class, rule, &mut random);
                    self.try_event(&event, *number, &mut random, &mut scratch, &mut tally);
                    for _ in 0..self.effort.changes {
                        let event = vary(&event, &plot, &mut random);
                        self.try_event(&event, *number, &mut random, &mut scratch, &mut tally);
                    }
                }
            }
            if tally.differences.len() >= TOLD_MAX {
                break;
            }
        }
        tally
    }

    /// Gives the event its class, and the fields the names that the class has for them.
    fn rename(&self, event: &mut Event<'static>, class: usize, rule: &Rule, random: &mut Random) {
        let views = self.engine.classes()[class].views.iter();
        let views: Vec<&View> = views.filter(|view| view.takes(&rule.info.logsource)).collect();
        let view = *random.pick(&views);
        for (name, _) in &mut event.fields {
            let native: Vec<String> = view.native(name).into_iter().map(str::to_owned).collect();
            if !native.is_empty() {
                *name = random.pick(&native).clone().into();
            }
        }
        event.class = Some(ClassId(class as u16));
    }

    /// Whether the definition has the rule match the event, in any view of its class.
    fn right(&self, number: usize, event: &Event<'_>) -> bool {
        let rule = &self.engine.rules()[number];
        let views = &self.engine.classes()[usize::from(event.class.expect("a class").0)].views;
        let mut views = views.iter().filter(|view| view.takes(&rule.info.logsource));
        views.any(|view| rule_matches(rule, &Seen::new(event, view)))
    }

    fn try_event(
        &self,
        event: &Event<'static>,
        number: usize,
        random: &mut Random,
        scratch: &mut Scratch,
        tally: &mut Tally,
    ) {
        tally.events += 1;
        let hits = self.engine.run(event, scratch).to_vec();
        let mut asked: Vec<usize> = hits.iter().map(|hit| hit.rule).collect();
        let found = asked.clone();
        if found.windows(2).any(|pair| pair[0] >= pair[1]) {
            tally.differences.push(format!("hits are out of order or repeat: {found:?} on {}", told(event)));
        }
        let neighbours = &self.by_class[usize::from(event.class.expect("a class").0)];
        asked.push(number);
        asked.extend((0..NEIGHBOURS).map(|_| *random.pick(neighbours)));
        asked.sort_unstable();
        asked.dedup();
        for asked in asked {
            let right = self.right(asked, event);
            tally.answers += 1;
            tally.matches += usize::from(right);
            if found.contains(&asked) != right {
                tally.differences.push(self.differs(asked, event, right));
            }
        }
        for hit in hits.iter().filter(|hit| hit.rule == number) {
            self.try_evidence(hit.rule, event, self.engine.evidence(event, scratch, *hit), tally);
        }
    }

    /// The evidence must be that of one of the views.
    fn try_evidence(
        &self,
        number: usize,
        event: &Event<'_>,
        mut told_by_engine: MatchedFields,
        tally: &mut Tally,
    ) {
        let rule = &self.engine.rules()[number];
        let class = &self.engine.classes()[usize::from(event.class.expect("a class").0)];
        told_by_engine.sort();
        let views = class.views.iter().filter(|view| view.takes(&rule.info.logsource));
        let right = views.map(|view| {
            let mut right = evidence(rule, &Seen::new(event, view));
            right.sort();
            right
        });
        let mut right = right.peekable();
        let example = right.peek().cloned().unwrap_or_default();
        if !right.any(|right| right == told_by_engine) {
            let place = format!("{} in {}", rule.info.id, class.name);
            tally.differences.push(format!("evidence of {place}: {told_by_engine:?}, not {example:?}"));
        }
    }

    /// Tells a difference by its smallest example.
    fn differs(&self, number: usize, event: &Event<'static>, right: bool) -> String {
        let mut scratch = Scratch::default();
        let mut differ = |event: &Event<'static>| {
            let found = self.engine.run(event, &mut scratch).iter().any(|hit| hit.rule == number);
            found != self.right(number, event)
        };
        // What an event left behind in the working memory is a part of the example.
        let event = if differ(event) { shrink(event, differ) } else { event.clone() };
        let rule = &self.engine.rules()[number];
        let class = &self.engine.classes()[usize::from(event.class.expect("a class").0)].name;
        let place = format!("{} ({}) in {class}", rule.info.id, rule.info.title);
        format!("{place}: {} by the definition, {} by the engine: {}", right, !right, told(&event))
    }
}

fn finish(what: &str, tally: &Tally) {
    let Tally { events, answers, matches, differences } = tally;
    eprintln!("{what}: {events} events, {answers} answers held against the definition, {matches} matches");
    assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
}

#[test]
fn every_rule_means_what_the_definition_says() {
    let rules = rules();
    if rules.is_empty() {
        return;
    }
    let (effort, seed) = effort(QUICK, LONG);
    let classes = plain_classes(&rules);
    let trial = Trial::new(Engine::compile(rules, &classes), effort, seed);
    let tally = trial.run();
    finish("plain names", &tally);
    assert!(tally.matches * 4 > tally.events, "the events are too far from the rules: {}", tally.matches);
}

#[test]
fn every_rule_means_so_too_under_the_names_of_real_logs() {
    let rules = rules();
    if rules.is_empty() {
        return;
    }
    let (effort, seed) = effort(QUICK, LONG);
    let taxonomy = Taxonomy::builtin().expect("a taxonomy");
    let trial = Trial::new(Engine::compile(rules, &taxonomy.classes), effort, seed);
    finish("names of the taxonomy", &trial.run());
}

#[test]
fn no_optimisation_changes_an_answer() {
    let rules = rules();
    if rules.is_empty() {
        return;
    }
    let (effort, seed) = effort(Effort { leaves: 1, rounds: 1, changes: 1 }, LONG_WITHOUT);
    let classes = plain_classes(&rules);
    let options = whole::all_options();
    let compile = |(without, options)| {
        let engine = Engine::compile_with(rules.clone(), &classes, options);
        (without, engine, Scratch::default())
    };
    let mut engines: Vec<(String, Engine, Scratch)> = options.into_iter().map(compile).collect();
    let (mut events, mut matches) = (0, 0);
    for rule in &rules {
        let plot = Plot::new(rule);
        let mut random = Random::new(seed ^ 0xff, &rule.info.id);
        if effort.leaves == 1 && random.chance(75) {
            continue;
        }
        let class = classes.iter().position(|class| class.views[0].logsource == rule.info.logsource);
        let class = ClassId(class.expect("a class for each log source") as u16);
        for _ in 0..effort.leaves.min(plot.leaves.len()) {
            let base =
                Event { class: Some(class), ..plot.event(random.below(plot.leaves.len()), &mut random) };
            for change in 0..=effort.changes {
                let event = if change == 0 { base.clone() } else { vary(&base, &plot, &mut random) };
                let mut right: Option<Vec<usize>> = None;
                for (without, engine, scratch) in &mut engines {
                    let hits: Vec<usize> = engine.run(&event, scratch).iter().map(|hit| hit.rule).collect();
                    let right = right.get_or_insert_with(|| hits.clone());
                    assert_eq!(*right, hits, "without {without}: {}", told(&event));
                }
                events += 1;
                matches += right.map_or(0, |right| right.len());
            }
        }
    }
    eprintln!("{events} events, {matches} matches, the same with each of {} engines", engines.len());
}

#[test]
fn what_is_generated_reaches_every_comparison() {
    let mut reached: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let view = View::default();
    for rule in &rules() {
        let plot = Plot::new(rule);
        let mut random = Random::new(1, &rule.info.id);
        for _ in 0..4 {
            let event = plot.event(random.below(plot.leaves.len()), &mut random);
            let count = reached.entry("events").or_default();
            count.0 += 1;
            count.1 += usize::from(rule_matches(rule, &Seen::new(&event, &view)));
        }
    }
    for (what, (all, hits)) in reached {
        eprintln!("{what}: {hits} of {all} match their rule; the others are for its filters");
        assert!(hits * 10 > all * 6, "{hits} of {all}");
    }
}
