//! Ten times the rules: what an event costs then, against what it costs now.

use crate::report::{Report, rate};
use otel_log_ai_bench::inputs::Set;
use otel_log_ai_core::detect::Detector;
use otel_log_ai_core::engine::{Engine, Scratch};
use otel_log_ai_core::otel::Event;
use otel_log_ai_core::rule::{Expr, Part, Rule, Test};
use std::hint::black_box;

/// How many copies of each rule are added; each looks for other texts of the same lengths.
const COPIES: u8 = 9;

/// Measures.
pub fn measure(detector: &Detector, sets: &[Set], report: &mut Report) {
    let mut rules = detector.rules().to_vec();
    for copy in 1..=COPIES {
        rules.extend(detector.rules().iter().map(|rule| altered(rule, copy)));
    }
    let tenfold = Engine::compile(rules, detector.engine().classes());
    for set in sets {
        let records = set.records();
        let events: Vec<Event<'_>> =
            records.iter().flat_map(|record| detector.taxonomy().events(record)).collect();
        let of = |engine: &Engine| {
            let mut scratch = Scratch::default();
            rate(events.len(), || {
                for event in &events {
                    black_box(engine.run(event, &mut scratch));
                }
            })
        };
        let times = of(detector.engine()) / of(&tenfold);
        report.aim("match with ten times the rules: cost", set.name, times, "x", 2.0);
    }
}

/// The same rule with other letters in its texts. Numbers and regular expressions stay, so that the copy
/// asks for the same events.
fn altered(rule: &Rule, copy: u8) -> Rule {
    let mut rule = rule.clone();
    for (_, search) in &mut rule.searches {
        alter(search, copy);
    }
    rule
}

fn alter(tree: &mut Expr, copy: u8) {
    match tree {
        Expr::And(trees) | Expr::Or(trees) | Expr::AtLeast(_, trees) => {
            trees.iter_mut().for_each(|tree| alter(tree, copy));
        }
        Expr::Not(tree) => alter(tree, copy),
        Expr::Item(item) => {
            if let Test::Text(pattern) = &mut item.test {
                for part in &mut pattern.parts {
                    if let Part::Text(text) = part {
                        *text = text.chars().map(|letter| turned(letter, copy)).collect();
                    }
                }
            }
        }
        Expr::Search(_) => {}
    }
}

/// The letter so many places on in the alphabet.
fn turned(letter: char, places: u8) -> char {
    match letter {
        'a'..='z' => char::from(b'a' + (letter as u8 - b'a' + places) % 26),
        'A'..='Z' => char::from(b'A' + (letter as u8 - b'A' + places) % 26),
        other => other,
    }
}
