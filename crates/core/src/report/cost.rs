//! Which rules will cost more than they should, told when they are loaded: before the first event.
//!
//! An estimate in nanoseconds for each event of the rule's log source, from what the rule needs to
//! see before it can be true and what it then has to do. It knows no logs; `rules profile` measures on
//! real ones. It is made to find the few rules that cost a hundred times what others do, not to rank
//! the others.

use crate::engine::Needs;
use crate::problem::Problem;
use crate::rule::{Expr, Expression, Item, Part, Pattern, Rule, Test};
use regex_syntax::hir::{Class, Hir, HirKind};

/// What a rule may cost for each event, nanoseconds. All 3,750 rules of SigmaHQ together take a few
/// thousand for an event, so such a rule takes as much as a whole set.
pub const BUDGET_NS: u64 = 1_000;

/// A rule beyond its budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Dear {
    /// Index into the rules.
    pub rule: usize,
    /// Estimated cost for each event of its log source, nanoseconds.
    pub cost_ns: u64,
    /// What is dear about it and what to do. It has no line: what to look for in the file is
    /// [`Dear::text`].
    pub problem: Problem,
    /// The dearest value of the rule, as the rule writes it; empty if no single one is.
    pub text: String,
}

/// The rules that cost more than `budget_ns`, in the order of the rules. 0: none.
pub fn dear(rules: &[Rule], budget_ns: u64) -> Vec<Dear> {
    if budget_ns == 0 {
        return vec![];
    }
    let tell = |(number, rule): (usize, &Rule)| {
        let whole = estimate(&rule.condition, rule);
        let cost_ns = whole.expected_ns() as u64;
        (cost_ns > budget_ns).then(|| told(number, rule, cost_ns, budget_ns, whole.worst))
    };
    rules.iter().enumerate().filter(|(_, rule)| rule.unmet.is_empty()).filter_map(tell).collect()
}

/// Estimated cost of one rule for each event of its log source, nanoseconds.
pub fn cost_ns(rule: &Rule) -> f64 {
    estimate(&rule.condition, rule).expected_ns()
}

fn told(number: usize, rule: &Rule, cost_ns: u64, budget_ns: u64, worst: Option<Worst<'_>>) -> Dear {
    let about = |ns: u64| match ns {
        0..1_000 => format!("{ns} ns"),
        _ => format!("{:.1} us", ns as f64 / 1e3),
    };
    let (what, hint, text) = match worst {
        Some(worst) => worst.told(),
        None => (
            "nothing in it must be seen before it can be true, so it is looked at for every event",
            "add a selection that is true of few events",
            String::new(),
        ),
    };
    let message = format!(
        "costs about {} for each event of {}, more than {}: {what}",
        about(cost_ns),
        rule.info.logsource,
        about(budget_ns)
    );
    let problem = Problem {
        path: rule.info.path.clone(),
        line: 0,
        subject: rule.info.title.clone(),
        message,
        hint: Some(hint.to_owned()),
    };
    Dear { rule: number, cost_ns, problem, text }
}

/// What an expression takes.
struct Estimate<'r> {
    /// Share of events in which something is seen that it needs; 1 if it needs nothing.
    share: f64,
    /// What it takes to decide it once it is asked, nanoseconds.
    ask_ns: f64,
    /// Of what it takes, the dearest comparison.
    worst: Option<Worst<'r>>,
}

/// A dear comparison.
#[derive(Clone, Copy)]
struct Worst<'r> {
    item: &'r Item,
    ns: f64,
}

/// To look at a woken rule at all, nanoseconds.
const WAKE_NS: f64 = 25.0;
/// To ask whether a text was found in the one search of all texts, nanoseconds.
const FOUND_NS: f64 = 2.0;
/// A comparison of numbers, addresses or times, for each value, nanoseconds.
const COMPARE_NS: f64 = 60.0;

impl Estimate<'_> {
    fn expected_ns(&self) -> f64 {
        self.share * (WAKE_NS + self.ask_ns)
    }
}

fn estimate<'r>(tree: &'r Expr, rule: &'r Rule) -> Estimate<'r> {
    match tree {
        Expr::Item(item) => of_item(item),
        Expr::Search(index) => match rule.searches.get(*index) {
            Some((_, tree)) => estimate(tree, rule),
            None => Estimate { share: 0.0, ask_ns: 0.0, worst: None },
        },
        Expr::Not(tree) => Estimate { share: 1.0, ..estimate(tree, rule) },
        Expr::And(trees) => {
            let mut parts: Vec<Estimate<'_>> = trees.iter().map(|tree| estimate(tree, rule)).collect();
            // As the engine asks: what is cheap first, and the dear only if the cheap held.
            parts.sort_by(|a, b| a.ask_ns.total_cmp(&b.ask_ns));
            let (mut share, mut ask_ns, mut reached, mut worst) = (1.0_f64, 0.0, 1.0, None);
            for part in parts {
                ask_ns += part.ask_ns * reached;
                worst = dearer(worst, part.worst.map(|w| Worst { ns: w.ns * reached, ..w }));
                // The one that woke the rule is true already.
                if part.share < share {
                    reached *= share;
                    share = part.share;
                } else {
                    reached *= part.share;
                }
            }
            Estimate { share, ask_ns, worst }
        }
        Expr::Or(trees) | Expr::AtLeast(_, trees) => {
            let (mut share, mut ask_ns, mut worst) = (0.0_f64, FOUND_NS, None);
            for tree in trees {
                let part = estimate(tree, rule);
                share += part.share;
                // Whether one of several texts was found is one question, however many they are.
                ask_ns += if part.ask_ns > FOUND_NS { part.ask_ns } else { 0.0 };
                worst = dearer(worst, part.worst);
            }
            Estimate { share: share.min(1.0), ask_ns, worst }
        }
    }
}

fn dearer<'r>(a: Option<Worst<'r>>, b: Option<Worst<'r>>) -> Option<Worst<'r>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.ns > a.ns { b } else { a }),
        (a, b) => a.or(b),
    }
}

fn of_item(item: &Item) -> Estimate<'_> {
    let bytes = bytes_of(item.field.as_deref());
    let (share, ask_ns) = match &item.test {
        Test::Text(pattern) => of_pattern(pattern, bytes),
        Test::Regex(expression) => {
            let needs = Needs::of(expression);
            let share = |literals: &[String]| -> f64 {
                literals.iter().map(|literal| share_of_literal(literal, bytes)).sum::<f64>().min(FILLED)
            };
            // What else it needs is looked for first; only then is it run.
            let rarest = needs.all().iter().map(|any| share(any)).fold(FILLED, f64::min);
            let woken = needs.indexed().map_or(FILLED, share);
            (woken, bytes * (LOOK_NS_PER_BYTE + rarest / woken.max(rarest) * ns_per_byte(expression)))
        }
        Test::Cidr(_) | Test::Number(..) | Test::TimePart(..) | Test::FieldRef { .. } => (FILLED, COMPARE_NS),
        Test::Exists(true) => (FILLED, FOUND_NS),
        Test::Exists(false) | Test::Null => (1.0, FOUND_NS),
    };
    Estimate { share, ask_ns, worst: Some(Worst { item, ns: share * ask_ns }) }
}

/// To look for one literal in a value, nanoseconds for each byte.
const LOOK_NS_PER_BYTE: f64 = 0.1;
/// Share of events that have a given field of their log source.
const FILLED: f64 = 0.95;

/// How long a field's value is, bytes, as measured on recorded events; keywords search all of them.
fn bytes_of(field: Option<&str>) -> f64 {
    match field.map(str::to_ascii_lowercase).as_deref() {
        None => 1_500.0,
        Some("scriptblocktext" | "payload" | "contextinfo" | "message" | "data") => 2_000.0,
        Some("commandline" | "parentcommandline" | "hostapplication" | "details" | "callstack") => 200.0,
        Some(_) => 60.0,
    }
}

/// Share of events in which a text is expected, and what it takes to ask.
fn of_pattern(pattern: &Pattern, bytes: f64) -> (f64, f64) {
    let longest = longest(pattern);
    let is_glob = pattern.parts.iter().filter(|part| !matches!(part, Part::Any)).count() > 1;
    let is_whole = !is_glob && !pattern.parts.contains(&Part::Any);
    match longest.len() {
        0 if pattern.parts.is_empty() => (0.05, FOUND_NS),
        0 => (FILLED, COMPARE_NS),
        // A whole value is one of many, however short.
        1..4 if is_whole => (0.1, FOUND_NS),
        _ if is_whole => (share_of_literal(longest, 0.0).min(0.01), FOUND_NS),
        _ => (share_of_literal(longest, bytes), FOUND_NS),
    }
}

/// In which share of values of so many bytes a literal is expected; only its order of size matters.
fn share_of_literal(literal: &str, bytes: f64) -> f64 {
    // Letters beyond ASCII are rare in logs, each by itself; so are most signs beside letters.
    let rare = literal.chars().filter(|c| !c.is_alphanumeric() && !" .\\-_/:".contains(*c)).count();
    let share = match if literal.is_ascii() { literal.len() + rare } else { literal.len().max(12) } {
        0 | 1 => 0.6,
        2 => 0.3,
        3 => 0.1,
        4 => 0.04,
        5 => 0.02,
        6..8 => 0.008,
        8..12 => 0.002,
        12..24 => 0.0005,
        _ => 0.000_01,
    };
    // In a value ten times as long not ten times as many of them stand: texts repeat themselves.
    f64::min(share * (bytes / 200.0).max(1.0).sqrt(), FILLED)
}

/// States of an expression's automaton that still fit the cache that makes it fast.
const STATES_MAX: u64 = 4_000;

/// What an expression takes for each byte of a value, nanoseconds: a table look-up, or, where the
/// tables would grow too large, all of its states by hand.
fn ns_per_byte(expression: &Expression) -> f64 {
    match expression.parsed().map(|hir| states(&hir)) {
        Some(states) if states <= STATES_MAX => 1.0,
        _ => 50.0,
    }
}

/// About how many states the automaton has.
fn states(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        // In UTF-8, a class of many ranges is a tree of byte ranges.
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(_)) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min + 1).max(1);
            states(&repetition.sub).saturating_mul(u64::from(times))
        }
        HirKind::Capture(capture) => states(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().fold(1, |sum: u64, part| sum.saturating_add(states(part)))
        }
    }
}

impl Worst<'_> {
    /// What is dear, what to do, and the value as the rule writes it.
    fn told(&self) -> (&'static str, &'static str, String) {
        match (&self.item.test, &self.item.field) {
            (Test::Regex(expression), _) if ns_per_byte(expression) > 1.0 => (
                "one of its regular expressions is very large when compiled",
                "use smaller repetitions, and [a-z0-9_] instead of \\w",
                expression.pattern.clone(),
            ),
            (Test::Regex(expression), _) => (
                "one of its regular expressions needs no text that is rare, so it is tried on very many values",
                "add a `|contains` of a longer text that it always needs",
                expression.pattern.clone(),
            ),
            (Test::Text(pattern), None) => (
                "one of its keywords is so short that it is found almost everywhere",
                "search for a longer text, or in a named field",
                longest(pattern).to_owned(),
            ),
            (Test::Text(pattern), Some(_)) => (
                "nothing that it needs is rare, so it is looked at for very many events",
                "add a selection that is true of few events",
                longest(pattern).to_owned(),
            ),
            _ => (
                "it compares values in almost every event",
                "add a selection that is true of few events",
                String::new(),
            ),
        }
    }
}

/// The longest literal of a pattern; empty if it has none.
fn longest(pattern: &Pattern) -> &str {
    let texts = pattern.parts.iter().map(|part| if let Part::Text(text) = part { text.as_str() } else { "" });
    texts.max_by_key(|text| text.len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(detection: &str) -> Vec<Rule> {
        let text = format!("title: t\nlogsource: {{product: windows}}\ndetection:\n{detection}\n");
        let (rules, problems) = crate::rule::load("t.yml", &text);
        assert_eq!(problems, []);
        rules
    }

    fn cost(detection: &str) -> f64 {
        cost_ns(&rule(detection)[0])
    }

    #[test]
    fn an_expression_without_a_literal_on_long_text_is_dear() {
        let bare = "  s:\n    ScriptBlockText|re: '[a-z]{2,9}\\s*=\\s*[0-9]+'\n  condition: s";
        let found = dear(&rule(bare), BUDGET_NS);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "[a-z]{2,9}\\s*=\\s*[0-9]+");
        assert!(found[0].problem.message.contains("tried on very many values"), "{}", found[0].problem);
        let guarded = "  s:\n    ScriptBlockText|re: 'Invoke-[a-z]+'\n  condition: s";
        assert_eq!(dear(&rule(guarded), BUDGET_NS), []);
        let with_other = "  s:\n    ScriptBlockText|re: '[a-z]{2,9}\\s*='\n    ScriptBlockText|contains: FromBase64String\n  condition: s";
        assert_eq!(dear(&rule(with_other), BUDGET_NS), []);
        assert_eq!(dear(&rule(bare), 0), [], "turned off");
    }

    #[test]
    fn very_large_expressions_are_dear_wherever_they_stand() {
        let large = "  s:\n    Image|re: '\\w{1,40}[0-9]'\n  condition: s";
        let found = dear(&rule(large), BUDGET_NS);
        assert!(found[0].problem.message.contains("very large"), "{}", found[0].problem);
    }

    #[test]
    fn ordinary_rules_cost_next_to_nothing() {
        assert!(
            cost(
                "  s:\n    Image|endswith: '\\powershell.exe'\n    CommandLine|contains: ' -enc '\n  condition: s"
            ) < 5.0
        );
        assert!(cost("  s:\n    F: null\n  condition: s") < 100.0);
        assert!(cost("  a:\n    F: x\n  f:\n    G|contains: y\n  condition: a and not f") < 50.0);
    }

    #[test]
    fn a_rule_that_nothing_wakes_costs_more_than_one_that_needs_something() {
        let woken = cost("  a:\n    F|contains: mimikatz\n  condition: a");
        let always = cost("  a:\n    F|contains: mimikatz\n  condition: not a");
        assert!(always > 20.0 * woken, "{always} {woken}");
    }
}
