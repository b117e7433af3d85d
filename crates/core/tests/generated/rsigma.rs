//! The engine against rsigma 0.23, on events generated from every rule of SigmaHQ.
//!
//! Two programs by different people that agree on millions of near misses are hardly wrong in the same
//! way. What rsigma is known to do otherwise is put right in [`crate::mend`], cause by cause.

use crate::cases::{Effort, Plot, Random, corpus, effort, shrink, told, vary};
use crate::mend::{self, Causes};
use otel_log_ai_core::engine::{Engine, Scratch};
use otel_log_ai_core::otel::{ClassId, Event};
use otel_log_ai_core::rule::{Rule, load};
use rsigma_eval::{CompiledRule, JsonEvent, compile_rule, evaluate_rule};
use rsigma_parser::parse_sigma_yaml;
use std::collections::{BTreeMap, HashMap};

const QUICK: Effort = Effort { leaves: 2, rounds: 1, changes: 5 };
const LONG: Effort = Effort { leaves: usize::MAX, rounds: 2, changes: 12 };
const TOLD_MAX: usize = 12;

/// A rule as both compile it.
struct Pair {
    rule: Rule,
    theirs: CompiledRule,
    mended: CompiledRule,
    causes: Causes,
    plot: Plot,
}

/// The rules that both can use, and why rsigma cannot use the others.
fn pairs() -> (Vec<Pair>, Vec<String>) {
    let (mut pairs, mut refused) = (Vec::new(), Vec::new());
    for (path, text) in corpus::rule_files(env!("CARGO_MANIFEST_DIR")) {
        let documents = parse_sigma_yaml(&text).map(|collection| collection.rules).unwrap_or_default();
        let mut ours: HashMap<String, Rule> =
            load(&path, &text).0.into_iter().map(|rule| (rule.info.title.clone(), rule)).collect();
        for document in documents {
            let Some(rule) = ours.remove(&document.title).filter(|rule| rule.unmet.is_empty()) else {
                continue;
            };
            let (plot, mut causes) = (Plot::new(&rule), Causes::new());
            let mended = mend::rule(&document, &plot, &mut causes);
            match (compile_rule(&document), compile_rule(&mended)) {
                (Ok(theirs), Ok(mended)) => pairs.push(Pair { rule, theirs, mended, causes, plot }),
                (Err(error), _) | (_, Err(error)) => refused.push(format!("{}: {error}", rule.info.id)),
            }
        }
    }
    (pairs, refused)
}

/// How an event came out.
#[derive(Debug, PartialEq)]
enum Verdict {
    Agreed(bool),
    /// They agree once these causes are mended.
    Explained(Causes),
    Differs {
        ours: bool,
    },
}

struct Trial {
    engine: Engine,
    pairs: Vec<Pair>,
    effort: Effort,
    seed: u64,
}

#[derive(Default)]
struct Tally {
    events: usize,
    matches: usize,
    explained: BTreeMap<&'static str, usize>,
    excused: usize,
    differences: Vec<String>,
}

impl Trial {
    fn verdict(&self, number: usize, event: &Event<'_>, scratch: &mut Scratch) -> Verdict {
        let pair = &self.pairs[number];
        let ours = self.engine.run(event, scratch).iter().any(|hit| hit.rule == number);
        let json = mend::json(event, &pair.plot);
        if evaluate_rule(&pair.theirs, &JsonEvent::borrow(&json)).is_some() == ours {
            return Verdict::Agreed(ours);
        }
        let mut causes = pair.causes.clone();
        let json = mend::event(event, &pair.plot, &mut causes);
        match evaluate_rule(&pair.mended, &JsonEvent::borrow(&json)).is_some() == ours {
            true => Verdict::Explained(causes),
            false if mend::compares_lists(event, &pair.plot) => Verdict::Explained(Causes::from(["lists"])),
            false => Verdict::Differs { ours },
        }
    }

    fn run(&self) -> Tally {
        let (even, odd): (Vec<usize>, Vec<usize>) = (0..self.pairs.len()).partition(|number| number % 2 == 0);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| self.try_rules(&odd));
            let mut tally = self.try_rules(&even);
            let other = other.join().expect("the other half");
            tally.events += other.events;
            tally.matches += other.matches;
            tally.excused += other.excused;
            tally.differences.extend(other.differences);
            for (cause, count) in other.explained {
                *tally.explained.entry(cause).or_default() += count;
            }
            tally
        })
    }

    fn try_rules(&self, numbers: &[usize]) -> Tally {
        let mut tally = Tally::default();
        let mut scratch = Scratch::default();
        for number in numbers {
            let pair = &self.pairs[*number];
            let class =
                self.engine.classes().iter().position(|c| c.views[0].logsource == pair.rule.info.logsource);
            let class = ClassId(class.expect("a class for each log source") as u16);
            let mut random = Random::new(self.seed, &pair.rule.info.id);
            let targets = self.effort.leaves.min(pair.plot.leaves.len());
            let start = random.below(pair.plot.leaves.len());
            let mut differs = 0;
            for step in 0..targets * self.effort.rounds {
                let target = match targets == pair.plot.leaves.len() {
                    true => (start + step) % targets,
                    false => random.below(pair.plot.leaves.len()),
                };
                let base = Event { class: Some(class), ..pair.plot.event(target, &mut random) };
                for change in 0..=self.effort.changes {
                    let event = if change == 0 { base.clone() } else { vary(&base, &pair.plot, &mut random) };
                    tally.events += 1;
                    match self.verdict(*number, &event, &mut scratch) {
                        Verdict::Agreed(matches) => tally.matches += usize::from(matches),
                        Verdict::Explained(causes) => {
                            tally.excused += 1;
                            for cause in causes {
                                *tally.explained.entry(cause).or_default() += 1;
                            }
                        }
                        Verdict::Differs { ours } => {
                            differs += 1;
                            if differs == 1 {
                                tally.differences.push(self.differs(*number, &event, ours));
                            }
                        }
                    }
                }
            }
            if tally.differences.len() >= TOLD_MAX {
                break;
            }
        }
        tally
    }

    /// Tells a difference by its smallest example.
    fn differs(&self, number: usize, event: &Event<'static>, ours: bool) -> String {
        let mut scratch = Scratch::default();
        let event =
            shrink(event, |event| self.verdict(number, event, &mut scratch) == Verdict::Differs { ours });
        let rule = &self.pairs[number].rule;
        let place = format!("{} ({})", rule.info.id, rule.info.title);
        format!("{place}: {ours} by us, {} by rsigma: {}", !ours, told(&event))
    }
}

#[test]
fn rsigma_says_the_same_of_every_rule() {
    let (pairs, refused) = pairs();
    if pairs.is_empty() {
        return;
    }
    let (effort, seed) = effort(QUICK, LONG);
    let rules: Vec<Rule> = pairs.iter().map(|pair| pair.rule.clone()).collect();
    let classes = crate::plain_classes(&rules);
    let trial = Trial { engine: Engine::compile(rules, &classes), pairs, effort, seed };
    let tally = trial.run();
    eprintln!(
        "{} rules, {} events: {} matches of both, {} differences explained: {:?}; {} rules refused: {refused:?}",
        trial.pairs.len(),
        tally.events,
        tally.matches,
        tally.excused,
        tally.explained,
        refused.len(),
    );
    assert!(tally.differences.is_empty(), "\n{}", tally.differences.join("\n"));
    assert!(tally.matches * 4 > tally.events, "the events are too far from the rules");
    assert!(tally.excused * 10 < tally.events, "too much is excused");
    assert!(refused.len() <= 2, "{refused:?}");
}

#[test]
fn each_known_fault_of_rsigma_is_still_there() {
    let given = |search: &str, value: &str| {
        let text =
            format!("title: t\nlogsource: {{product: x}}\ndetection:\n  s:\n    {search}\n  condition: s\n");
        let document = parse_sigma_yaml(&text).expect("a rule").rules.remove(0);
        let rule = load("t.yml", &text).0.remove(0);
        let rules = vec![rule.clone()];
        let engine = Engine::compile(rules.clone(), &crate::plain_classes(&rules));
        let (plot, mut causes) = (Plot::new(&rule), Causes::new());
        let mended = compile_rule(&mend::rule(&document, &plot, &mut causes)).expect("a rule");
        let theirs = compile_rule(&document).expect("a rule");
        let pair = Pair { rule, theirs, mended, causes, plot };
        let trial = Trial { engine, pairs: vec![pair], effort: QUICK, seed: 1 };
        let mut event = Event { class: Some(ClassId(0)), ..Event::default() };
        event.push("F", value.to_owned());
        trial.verdict(0, &event, &mut Scratch::default())
    };
    for (search, value, cause) in [
        ("F|endswith: 'a?c'", "xxabc", "wildcards"),
        ("F: 'a*c'", "a\nc", "wildcards"),
        ("F|windash|contains: ' /exec'", "cmd -exec", "windash"),
        ("'|all': [foo, bar]", "foobar", "keywords"),
        ("F|base64offset|contains: 'foobar!'", "xxZm9vYmFyIWEx", "base64offset"),
        ("F: 4625", "4625.0", "literals"),
        ("F: abc", "abc ", "blanks"),
    ] {
        match given(search, value) {
            Verdict::Explained(causes) => assert!(causes.contains(cause), "{search}: {causes:?}"),
            other => panic!("{search} on {value:?}: {other:?}; is the cause still needed?"),
        }
    }
}
