//! The engine against the definition of right, on random rules and events over a small alphabet in
//! which literals overlap, fold, repeat and hide behind wildcards.

use super::*;
use crate::otel::{ClassId, View};
use crate::rule::{Expr, Expression, Item, Level, Order, Part, Pattern, Place, RuleInfo, Test};
use crate::spec::{Seen, evidence, rule_matches};
use crate::value::Value;
use proptest::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

const TEXT: &str = "[aAbB*?\\\\/\\-äÄ\n ]{0,6}";

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        4 => "[aAbB*\\\\/\\-äÄ\n ]{1,5}".prop_map(Part::Text),
        2 => Just(Part::Any),
        1 => Just(Part::One),
        1 => Just(Part::Dash),
    ]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    (prop::collection::vec(part(), 0..4), any::<bool>(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(parts, before, after, cased)| {
            let any = |wanted: bool| wanted.then_some(Part::Any);
            Pattern { parts: any(before).into_iter().chain(parts).chain(any(after)).collect(), cased }
        },
    )
}

fn test() -> impl Strategy<Value = Test> {
    let place = prop_oneof![Just(Place::Whole), Just(Place::Anywhere), Just(Place::Start), Just(Place::End)];
    let order = prop_oneof![Just(Order::Gt), Just(Order::Gte), Just(Order::Lt), Just(Order::Lte)];
    let regex = prop_oneof![
        2 => "[ab]{1,3}",
        1 => Just("aab|b[ab]aab".to_owned()),
        1 => Just("(?:aab)+a".to_owned()),
        1 => Just("[^a]b.".to_owned()),
        1 => Just("a.?b$".to_owned()),
    ];
    prop_oneof![
        8 => pattern().prop_map(Test::Text),
        1 => (regex, prop_oneof![Just(""), Just("i"), Just("is")])
            .prop_map(|(pattern, flags)| Test::Regex(Expression::new(pattern, flags.into()).unwrap())),
        1 => any::<bool>().prop_map(Test::Exists),
        1 => Just(Test::Null),
        1 => (order, -2i32..3).prop_map(|(order, n)| Test::Number(order, n.into())),
        1 => ("[ABC]", place, any::<bool>())
            .prop_map(|(field, place, cased)| Test::FieldRef { field, place, cased }),
        1 => Just(Test::Cidr("10.0.0.0/8".parse().expect("a network"))),
    ]
}

fn item() -> impl Strategy<Value = Expr> {
    let keyword = pattern().prop_map(|p| Expr::Item(Item { field: None, test: Test::Text(p) }));
    let field = ("[ABCDG]", test()).prop_map(|(field, test)| Expr::Item(Item { field: Some(field), test }));
    prop_oneof![1 => keyword, 9 => field]
}

fn expr() -> impl Strategy<Value = Expr> {
    item().prop_recursive(4, 24, 5, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            2 => list.clone().prop_map(Expr::And),
            3 => list.clone().prop_map(Expr::Or),
            1 => inner.prop_map(|e| Expr::Not(Box::new(e))),
            1 => (0usize..4, list).prop_map(|(n, list)| Expr::AtLeast(n, list)),
        ]
    })
}

fn value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        8 => TEXT.prop_map(Value::from),
        1 => (-3i64..4).prop_map(Value::Int),
        1 => prop_oneof![Just(0.5), Just(2.0)].prop_map(Value::Float),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Null),
        1 => Just(Value::from("10.1.2.3")),
    ]
}

fn event() -> impl Strategy<Value = Event<'static>> {
    let fields = prop::collection::vec(("[ABcD]|N a|n_A", value()), 0..6);
    (fields, prop::collection::vec(TEXT, 0..2)).prop_map(|(fields, texts)| Event {
        class: Some(ClassId(0)),
        fields: fields.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect(),
        texts: texts.into_iter().map(Cow::Owned).collect(),
        ..Default::default()
    })
}

fn rule(number: usize, condition: Expr) -> Rule {
    let info = RuleInfo { id: number.to_string(), level: Level::Low, ..RuleInfo::default() };
    Rule { info: Arc::new(info), searches: vec![], condition, unmet: vec![] }
}

/// `D` is renamed, `G` cannot be carried.
fn classes() -> Vec<Class> {
    let fields = [("D".to_owned(), vec!["Na".to_owned(), "D".to_owned()]), ("G".to_owned(), vec![])];
    let view = View { fields: std::sync::Arc::new(fields.into_iter().collect()), ..View::default() };
    vec![Class { name: "test".into(), views: vec![view] }]
}

/// Rules in the form that real ones have, whose comparisons hold about half the time.
fn usual_rule() -> impl Strategy<Value = Expr> {
    let wanted = ("[AB]", "[ab]{1,3}", 0..4u8).prop_map(|(field, text, place)| {
        let text = Part::Text(text);
        let parts = match place {
            0 => vec![text, Part::Any],
            1 => vec![Part::Any, text],
            _ => vec![Part::Any, text, Part::Any],
        };
        Expr::Item(Item { field: Some(field), test: Test::Text(Pattern { parts, cased: false }) })
    });
    let list = |size| prop::collection::vec(wanted.clone(), size);
    let selection = prop_oneof![list(1..3).prop_map(Expr::And), list(1..4).prop_map(Expr::Or)];
    let selection = prop::collection::vec(selection, 1..3).prop_map(Expr::And);
    let branches = prop::collection::vec(selection.clone(), 1..4);
    (branches, 0..4u8, selection).prop_map(|(branches, join, filter)| {
        let selected = match join {
            0 => Expr::And(branches),
            1 => Expr::AtLeast(2.min(branches.len()), branches),
            _ => Expr::Or(branches),
        };
        Expr::And(vec![selected, Expr::Not(Box::new(filter))])
    })
}

fn usual_event() -> impl Strategy<Value = Event<'static>> {
    ("[ab]{0,5}", "[AB]{0,5}").prop_map(|(a, b)| Event {
        class: Some(ClassId(0)),
        fields: vec![("A".into(), a.into()), ("B".into(), b.into())],
        ..Default::default()
    })
}

/// Whether some part of it is known before any event is seen, or falls away.
fn degenerate(tree: &Expr) -> bool {
    match tree {
        Expr::And(trees) | Expr::Or(trees) => trees.is_empty() || trees.iter().any(degenerate),
        Expr::AtLeast(n, trees) => *n == 0 || *n > trees.len() || trees.iter().any(degenerate),
        Expr::Not(tree) => degenerate(tree),
        Expr::Search(_) => false,
        Expr::Item(item) => item.field.as_deref() == Some("G"),
    }
}

fn agree(conditions: Vec<Expr>, events: &[Event<'_>]) -> Result<(), TestCaseError> {
    let rules: Vec<Rule> = conditions.into_iter().enumerate().map(|(i, c)| rule(i, c)).collect();
    let engine = Engine::compile(rules, &classes());
    let mut scratch = Scratch::default();
    for event in events {
        let seen = Seen::new(event, &engine.classes()[0].views[0]);
        let right: Vec<usize> =
            (0..engine.rules().len()).filter(|i| rule_matches(&engine.rules()[*i], &seen)).collect();
        let hits = engine.run(event, &mut scratch).to_vec();
        let found: Vec<usize> = hits.iter().map(|hit| hit.rule).collect();
        prop_assert_eq!(&found, &right, "{:?}\n{:?}", engine.rules(), event);
        for hit in hits {
            let rule = &engine.rules()[hit.rule];
            let (mut told, mut right) = (engine.evidence(event, &mut scratch, hit), evidence(rule, &seen));
            told.sort();
            right.sort();
            if !degenerate(&rule.condition) {
                prop_assert_eq!(told, right, "{:?}", rule);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn matches_what_the_specification_says(
        conditions in prop::collection::vec(expr(), 1..8),
        events in prop::collection::vec(event(), 1..4),
    ) {
        agree(conditions, &events)?;
    }

    #[test]
    fn rules_of_the_usual_form_match_too(
        conditions in prop::collection::vec(usual_rule(), 1..8),
        events in prop::collection::vec(usual_event(), 1..4),
    ) {
        agree(conditions, &events)?;
    }
}

#[test]
fn an_event_of_no_class_matches_nothing() {
    let engine = Engine::compile(vec![rule(0, Expr::And(vec![]))], &classes());
    assert_eq!(engine.run(&Event::default(), &mut Scratch::default()), []);
}

#[test]
fn what_stands_below_two_nots_is_no_evidence() {
    let not = |tree| Expr::Not(Box::new(tree));
    let missing = Expr::Item(Item { field: Some("A".into()), test: Test::Null });
    let event = Event { class: Some(ClassId(0)), ..Default::default() };
    for tree in [not(not(missing.clone())), not(Expr::Or(vec![not(missing)]))] {
        agree(vec![tree.clone()], std::slice::from_ref(&event)).unwrap();
        let engine = Engine::compile(vec![rule(0, tree)], &classes());
        let mut scratch = Scratch::default();
        let hit = engine.run(&event, &mut scratch)[0];
        assert_eq!(engine.evidence(&event, &mut scratch, hit), []);
    }
}

#[test]
fn a_rule_that_needs_nothing_is_looked_at_for_every_event() {
    let missing = Expr::Item(Item { field: Some("A".into()), test: Test::Null });
    let engine = Engine::compile(vec![rule(0, missing)], &classes());
    let event = Event { class: Some(ClassId(0)), ..Default::default() };
    assert_eq!(engine.run(&event, &mut Scratch::default()), [Hit { rule: 0, planned: 0 }]);
}
