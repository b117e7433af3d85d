//! A document read along the outline of an earlier one, of which only what rules ask for is decoded,
//! against the same document read by a reader that has never seen another: the same events and the same
//! detections, whatever stands in the values.

use otel_log_ai_core::detect::{Detector, Scratch};
use otel_log_ai_core::otel::{Buffers, LogRecord, Taxonomy};
use otel_log_ai_core::rule::load;
use proptest::prelude::*;
use std::sync::LazyLock;

/// The raw text of a JSON string, escapes among it, also broken ones if `broken`.
fn raw_text(broken: bool) -> impl Strategy<Value = String> {
    let wrong = move |text: &'static str| Just(if broken { text } else { "x" }.to_owned());
    let piece = prop_oneof![
        8 => "[a-cA-C0-9 :/.%{}\\[\\]-]{1,4}",
        2 => Just("mimi".to_owned()),
        2 => Just("Katz".to_owned()),
        2 => Just("\\\\".to_owned()),
        2 => Just("\\\"".to_owned()),
        1 => Just("\\n".to_owned()),
        1 => Just("\\u0041".to_owned()),
        1 => Just("\\u006d".to_owned()),
        1 => Just("\\u003c".to_owned()),
        1 => Just("\\ud83d\\ude00".to_owned()),
        1 => Just("ä®".to_owned()),
        1 => wrong("\\ud800"),
        1 => wrong("\\x"),
        1 => wrong("\u{1}"),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// The raw text of any JSON value.
fn raw_value(broken: bool) -> impl Strategy<Value = String> {
    let wrong = move |text: &'static str| Just(if broken { text } else { "false" }.to_owned());
    prop_oneof![
        8 => raw_text(broken).prop_map(|text| format!("\"{text}\"")),
        2 => "-?[1-9][0-9]{0,4}(\\.[0-9]{1,2})?([eE][0-9])?",
        1 => prop_oneof![Just("null".to_owned()), Just("true".to_owned()), wrong("nul"), wrong("-"), wrong("01")],
        1 => prop::collection::vec(raw_text(broken), 0..3).prop_map(|texts| {
            let texts: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
            format!("[{}]", texts.join(","))
        }),
        1 => raw_text(broken).prop_map(|text| format!("{{\"Inner\": \"{text}\"}}")),
    ]
}

const NAMES: [&str; 9] = [
    "TargetUserName",
    "Image",
    "CommandLine",
    "ProcessGuid",
    "EventID",
    "Provider_Name",
    "param1",
    "Data",
    "name",
];

/// What an event says and its rendering says again, or nearly: short, or of many lines.
fn messages(broken: bool) -> impl Strategy<Value = [String; 2]> {
    let lines = (raw_text(broken), 5..40_usize)
        .prop_map(|(line, times)| format!("\"{}\"", (line + "\\r\\n").repeat(times)));
    let message = prop_oneof![3 => raw_value(broken), 2 => lines];
    (message, raw_text(false), 0..4).prop_map(|(message, other, kind)| {
        let again = match kind {
            0 => format!("\"{other}\""),
            1 => message.replacen('"', &format!("\"{other}"), 1),
            2 => message.replace("\\r\\n\"", &format!("\\r\\n{other}\"")),
            _ => message.clone(),
        };
        [message, again]
    })
}

/// A Windows event as a Collector writes it: few outlines, any values.
fn body(broken: bool) -> impl Strategy<Value = String> {
    let data = prop::collection::vec((prop::sample::select(&NAMES[..]), raw_value(broken)), 0..4);
    let channel = prop_oneof![6 => Just("Security"), 3 => Just("System"), 1 => Just("Sec\\u0075rity")];
    let id = prop_oneof![5 => Just("4688"), 3 => Just("4624"), 1 => Just("\"4688\""), 1 => Just("4688.0")];
    let rendered = prop::option::weighted(0.7, messages(broken));
    (channel, id, raw_value(broken), rendered, data, "[ ]{0,1}").prop_map(|(channel, id, message, rendered, data, blank)| {
        let (message, rendering) = match rendered {
            Some([message, again]) => (message, format!(",\"rendering_info\":{{\"message\":{again}}}")),
            None => (message, String::new()),
        };
        let data: Vec<String> =
            data.iter().map(|(name, value)| format!("\"{name}\":{blank}{value}")).collect();
        format!(
            "{{\"channel\":\"{channel}\",\"computer\":\"w\",\"event_id\":{{\"id\":{id},\"qualifiers\":0}},\
             \"keywords\":[\"Audit Success\"],\"level\":\"Information\",\"message\":{message},\
             \"event_data\":{{{}}}{rendering}}}",
            data.join(",")
        )
    })
}

/// Events with one outline and few values, of which hardly two are the same and many are in all that rules
/// ask for.
fn alike() -> impl Strategy<Value = Vec<String>> {
    let value = |values: &'static [&'static str]| prop::sample::select(values);
    let texts =
        [value(&["x", "xa"]), value(&["x", "xb"]), value(&["x", "ax"]), value(&["x", "y", "mimikatz"])];
    let id = prop_oneof![5 => Just(4688), 1 => Just(4624)];
    let level = value(&["Information", "Error"]);
    let keywords = value(&["Audit Success", "Classic"]);
    let event = (texts, id, level, keywords, 0..1000);
    let event = event.prop_map(|([user, line, image, guid], id, level, keywords, number)| {
        format!(
            "{{\"channel\":\"Security\",\"computer\":\"w\",\"event_id\":{{\"id\":{id}}},\"record_id\":{number},\
             \"keywords\":[\"{keywords}\"],\"level\":\"{level}\",\"message\":\"m\",\"event_data\":{{\
             \"TargetUserName\":\"{user}\",\"CommandLine\":\"{line}\",\"Image\":\"{image}\",\"ProcessGuid\":\"{guid}\"}}}}"
        )
    });
    prop::collection::vec(event, 1..80)
}

fn record(body: &str) -> LogRecord<'_> {
    LogRecord { body: body.into(), ..LogRecord::default() }
}

/// Rules that look for something in most events; in what any value holds; and in events of certain ids.
const RULES: [&[(&str, &str)]; 4] = [
    &[
        ("keyword", "  s: [mimikatz, 'mimiKatz*a']"),
        ("user", "  s: {TargetUserName|contains: a}"),
        ("line", "  s: {CommandLine|endswith: 'b'}"),
        ("message", "  s: {Message|contains: c}"),
        ("level", "  s: {Level: 0}"),
    ],
    &[
        ("expression", "  s: {'|re': '[j-n]i[j-n]i'}"),
        ("short", "  s: ['kat', '46', success]"),
        ("user", "  s: {TargetUserName|contains: a}"),
    ],
    &[
        ("keyword", "  s: ['mimi', 'katz: a', security]"),
        ("line", "  s: {EventID: 4688, CommandLine|contains: b}"),
        ("user", "  s: {EventID: 4624, TargetUserName|contains: a}"),
        ("both", "  s: {EventID: [4624, 4688], Image|startswith: a}"),
        ("other", "  s: {EventID: 1, Data|contains: a}"),
    ],
    &[
        ("keyword", "  s: ['\"katz', 'mimi\"', '%\"', 'a\"b\"c']"),
        ("user", "  s: {TargetUserName|contains: a}"),
    ],
];

static DETECTORS: LazyLock<Vec<Detector>> = LazyLock::new(|| {
    let rule = |(title, detection): &(&str, &str)| {
        format!("title: {title}\nlogsource: {{product: windows}}\ndetection:\n{detection}\n  condition: s\n")
    };
    let detector = |rules: &&[(&str, &str)]| {
        let text = rules.iter().map(rule).collect::<Vec<_>>().join("---\n");
        let (rules, problems) = load("t.yml", &text);
        assert_eq!(problems, []);
        Detector::new(rules, Taxonomy::builtin().expect("the built-in taxonomy is whole"))
    };
    RULES.iter().map(detector).collect()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn events_are_the_same(bodies in prop::collection::vec(body(true), 1..8)) {
        let taxonomy = DETECTORS[0].taxonomy();
        let mut known = Buffers::default();
        for body in bodies.iter().chain(&bodies) {
            let events = |buffers: &mut Buffers| {
                let mut events = vec![];
                taxonomy.recognise_in(buffers, &record(body), &mut |event| events.push(format!("{event:?}")));
                events
            };
            prop_assert_eq!(events(&mut known), events(&mut Buffers::default()), "{}", body);
        }
    }

    #[test]
    fn detections_are_the_same(bodies in prop::collection::vec(body(false), 1..8), rules in 0..RULES.len()) {
        let mut known = Scratch::default();
        for body in bodies.iter().chain(&bodies) {
            let detect = |scratch: &mut Scratch| {
                let mut found = vec![];
                let outcome = DETECTORS[rules].detect(&record(body), scratch, &mut found);
                (outcome.recognised, found)
            };
            prop_assert_eq!(detect(&mut known), detect(&mut Scratch::default()), "{}", body);
        }
    }
}

proptest! {
    #[test]
    fn detections_are_the_same_of_events_that_are_alike(bodies in alike(), rules in 0..RULES.len()) {
        let mut known = Scratch::default();
        for body in &bodies {
            let detect = |scratch: &mut Scratch| {
                let mut found = vec![];
                DETECTORS[rules].detect(&record(body), scratch, &mut found);
                found
            };
            prop_assert_eq!(detect(&mut known), detect(&mut Scratch::default()), "{}", body);
        }
    }
}

#[test]
fn what_json_escapes_is_found_in_a_document_with_a_known_outline() {
    let text = "title: t\nlogsource: {product: windows}\ndetection:\n  s: ['%\"%\"%']\n  condition: s\n";
    let (rules, problems) = load("t.yml", text);
    assert_eq!(problems, []);
    let detector = Detector::new(rules, Taxonomy::builtin().expect("the built-in taxonomy is whole"));
    let body = |value: &str| {
        format!(
            "{{\"channel\":\"Security\",\"computer\":\"w\",\"event_id\":{{\"id\":4688}},\"event_data\":{{\"A\":\"{value}\"}}}}"
        )
    };
    let mut scratch = Scratch::default();
    let mut found = |value: &str| {
        let mut found = vec![];
        detector.detect(&record(&body(value)), &mut scratch, &mut found);
        found.len()
    };
    assert_eq!([found("x"), found("%\\\"%\\\"%"), found("x"), found("a %\\\"%\\\"% b")], [0, 1, 0, 1]);
}
