//! The engine against the definition of right on rules that are random from their text on: every
//! modifier, every form of condition, over a small alphabet in which literals overlap, fold, repeat and
//! hide behind wildcards; with every optimisation switched off in turn.

use crate::cases::told;
use otel_log_ai_core::engine::{Engine, Options, Scratch};
use otel_log_ai_core::otel::{Class, ClassId, Event, View};
use otel_log_ai_core::rule::{LogSource, Rule, load};
use otel_log_ai_core::spec::{Seen, rule_matches};
use otel_log_ai_core::value::Value;
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use std::borrow::Cow;

const TEXT: &str = "[aA*?\\\\/\\-ä® \n]{0,5}";
const NAMES: [&str; 5] = ["sel_a", "sel_b", "filter_x", "keywords", "_hidden"];

/// `key: values` of one field.
fn item() -> BoxedStrategy<(String, Json)> {
    let field = || prop_oneof![3 => Just("A"), 2 => Just("B"), 1 => Just("C D")];
    let values = |one: BoxedStrategy<Json>| prop_oneof![2 => one.clone(), 3 => prop::collection::vec(one, 1..4).prop_map(Json::from)];
    let text = || TEXT.prop_map(Json::from).boxed();
    let place = prop_oneof![Just(""), Just("|contains"), Just("|startswith"), Just("|endswith")];
    let more =
        prop_oneof![6 => Just(""), 1 => Just("|windash"), 1 => Just("|cased"), 1 => Just("|windash|cased")];
    let join = prop_oneof![3 => Just(""), 1 => Just("|all"), 1 => Just("|neq")];
    let plain = (field(), place, more, join, values(text()))
        .prop_map(|(field, place, more, join, values)| (format!("{field}{place}{more}{join}"), values));
    let typed = prop_oneof![
        (-2..4i32).prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        Just(Json::Null),
        Just(json!("")),
        Just(json!("2")),
        Just(json!(0.5)),
    ];
    let exact = (field(), values(typed.boxed())).prop_map(|(field, values)| (field.to_owned(), values));
    let encoded =
        prop_oneof![Just("base64"), Just("base64offset|contains"), Just("wide|base64offset|contains")];
    let encoded = (field(), encoded, values("[aA ]{1,3}".prop_map(Json::from).boxed()))
        .prop_map(|(field, encoding, values)| (format!("{field}|{encoding}"), values));
    let regex = prop_oneof![
        Just("a+b?"),
        Just("^a"),
        Just("a$"),
        Just("[^a]"),
        Just("(a|ä)+®"),
        Just(".a"),
        Just("aaa"),
        Just("a.*-"),
        Just("\\\\-a"),
        Just("\\bA"),
        Just("(?i)AaA"),
        Just("aaa|®®"),
        Just("a?aaa[aA]"),
        Just(""),
    ];
    let flags =
        prop_oneof![3 => Just(""), 1 => Just("|i"), 1 => Just("|i|s"), 1 => Just("|m"), 1 => Just("|all")];
    let regex = (field(), flags, values(regex.prop_map(Json::from).boxed()))
        .prop_map(|(field, flags, values)| (format!("{field}|re{flags}"), values));
    let odd = prop_oneof![
        Just(("cidr", json!("10.0.0.0/8"))),
        Just(("cidr", json!(["192.168.1.1", "fe80::/10"]))),
        Just(("exists", json!(true))),
        Just(("exists", json!(false))),
        Just(("fieldref", json!("B"))),
        Just(("fieldref|startswith", json!("A"))),
        Just(("fieldref|contains", json!("C D"))),
        Just(("hour", json!(3))),
        (-2..4i32).prop_map(|bound| ("gt", json!(bound))),
        (-2..4i32).prop_map(|bound| ("gte", json!(bound))),
        (-2..4i32).prop_map(|bound| ("lt", json!(bound))),
        (-2..4i32).prop_map(|bound| ("lte", json!(bound))),
    ];
    let odd = (field(), odd).prop_map(|(field, (modifier, value))| (format!("{field}|{modifier}"), value));
    prop_oneof![6 => plain, 2 => exact, 1 => encoded, 2 => regex, 2 => odd].boxed()
}

/// One named search: a map of items, a list of maps, or keywords.
fn search() -> impl Strategy<Value = Json> {
    let map = || prop::collection::vec(item(), 1..4).prop_map(|items| Json::from(Map::from_iter(items)));
    let keyword = || prop_oneof![4 => TEXT.prop_map(Json::from), 1 => (0..30i32).prop_map(Json::from)];
    prop_oneof![
        6 => map(),
        2 => prop::collection::vec(map(), 1..4).prop_map(Json::from),
        1 => prop::collection::vec(keyword(), 1..4).prop_map(Json::from),
        1 => prop::collection::vec(keyword(), 1..3).prop_map(|list| json!({ "|all": list })),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        6 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned),
        1 => Just("1 of sel_*".to_owned()),
        1 => Just("all of sel_*".to_owned()),
        1 => Just("2 of sel_*".to_owned()),
        1 => Just("1 of them".to_owned()),
        1 => Just("all of them".to_owned()),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and not {b}")),
            1 => inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

/// The text of a rule; YAML takes JSON as it is.
fn rule() -> impl Strategy<Value = String> {
    let searches = prop::collection::vec(search(), NAMES.len());
    (searches, condition()).prop_map(|(searches, condition)| {
        let mut detection = Map::new();
        for (name, search) in NAMES.iter().zip(searches) {
            detection.insert((*name).to_owned(), search);
        }
        detection.insert("condition".into(), condition.into());
        format!("title: t\nlogsource: {{product: x}}\ndetection: {}\n", Json::from(detection))
    })
}

fn value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        10 => TEXT.prop_map(Value::from),
        1 => "YWFh|YQBB|xYWE|IGE=|[a-zA-Z=]{4}".prop_map(Value::from),
        2 => (-3i64..5).prop_map(Value::Int),
        1 => prop_oneof![Just(0.5), Just(2.0), Just(-1.5)].prop_map(Value::Float),
        1 => any::<bool>().prop_map(Value::Bool),
        2 => Just(Value::Null),
        1 => prop::sample::select(&["10.1.2.3", "::ffff:10.9.9.9", "fe80::1", "192.168.1.1 "][..]).prop_map(Value::from),
        1 => prop::sample::select(&["2026-08-05T03:15:30Z", "2026-08-05 04:15:30", "2", " 2", "2.0"][..]).prop_map(Value::from),
    ]
}

fn event() -> impl Strategy<Value = Event<'static>> {
    let name = prop::sample::select(&["A", "a", "B", "C D", "cd", "C_D", "E"][..]);
    let fields = prop::collection::vec((name, value()), 0..7);
    (fields, prop::collection::vec(TEXT, 0..2)).prop_map(|(fields, texts)| Event {
        class: Some(ClassId(0)),
        fields: fields.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect(),
        texts: texts.into_iter().map(Cow::Owned).collect(),
        ..Event::default()
    })
}

/// All on, each switch off in turn, all off.
pub fn all_options() -> Vec<(String, Options)> {
    let mut all = vec![("nothing".to_owned(), Options::default())];
    let names: Vec<&str> = Options::SWITCHES.iter().map(|(name, _)| *name).collect();
    for name in &names {
        all.push(((*name).to_owned(), Options::without(&[name]).expect("a switch")));
    }
    all.push(("all".to_owned(), Options::without(&names).expect("switches")));
    all
}

fn agree(texts: &[String], events: &[Event<'_>]) -> Result<(), TestCaseError> {
    let rules: Vec<Rule> = texts.iter().flat_map(|text| load("t.yml", text).0).collect();
    let logsource = LogSource { product: Some("x".into()), ..LogSource::default() };
    let view = View { logsource, ..View::default() };
    let classes = [Class { name: "x".into(), views: vec![view.clone()] }];
    for (without, options) in all_options() {
        let engine = Engine::compile_with(rules.clone(), &classes, options);
        let mut scratch = Scratch::default();
        for event in events {
            let seen = Seen::new(event, &view);
            let right: Vec<usize> =
                (0..rules.len()).filter(|rule| rule_matches(&rules[*rule], &seen)).collect();
            let found: Vec<usize> = engine.run(event, &mut scratch).iter().map(|hit| hit.rule).collect();
            prop_assert_eq!(found, right, "without {}: {}\n{}", without, texts.join("---\n"), told(event));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_rule_means_what_the_definition_says(
        rules in prop::collection::vec(rule(), 1..5),
        events in prop::collection::vec(event(), 1..4),
    ) {
        agree(&rules, &events)?;
    }
}

#[test]
fn most_of_the_random_rules_load() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut loaded, mut problems) = (0, Vec::new());
    for _ in 0..200 {
        let text = rule().new_tree(&mut runner).expect("a rule").current();
        let (rules, faults) = load("t.yml", &text);
        loaded += rules.len();
        problems.extend(faults.iter().map(ToString::to_string));
    }
    assert!(loaded > 120, "{loaded} of 200; {:?}", &problems[..problems.len().min(5)]);
}
