//! Sigma's value semantics as a specification reads, with the traps that break other engines.

use super::*;
use crate::otel::Event;

/// Whether the rule with this `detection` section matches an event of these fields.
fn holds(detection: &str, fields: &[(&str, Value<'static>)]) -> bool {
    holds_of(detection, fields, &[])
}

fn holds_of(detection: &str, fields: &[(&str, Value<'static>)], texts: &[&str]) -> bool {
    let text = format!("title: t\nlogsource: {{product: windows}}\ndetection:\n{detection}\n");
    let (rules, problems) = crate::rule::load("t.yml", &text);
    assert_eq!(problems, [], "{text}");
    let mut event = Event::default();
    for (name, value) in fields {
        event.push(name.to_string(), value.clone());
    }
    event.texts.extend(texts.iter().map(|t| Cow::Owned(t.to_string())));
    rule_matches(&rules[0], &Seen::new(&event, &View::default()))
}

/// `selection: {item}` and the value of the field `F`.
fn field(item: &str, value: &'static str) -> bool {
    holds(&format!("  s:\n    {item}\n  condition: s"), &[("F", Value::from(value))])
}

#[test]
fn plain_values_are_equal_without_letter_case() {
    assert!(field("F: CMD.exe", "cmd.EXE"));
    assert!(field("F: 'ÄB'", "äb"));
    assert!(!field("F: cmd", "cmd.exe"));
    assert!(!field("F|cased: ABC", "abc"));
    assert!(field("F|cased: ABC", "ABC"));
    assert!(field("F|contains|cased: BC", "aBC"));
    assert!(!field("F|contains|cased: BC", "abc"));
}

#[test]
fn wildcards_span_line_breaks_and_can_be_escaped() {
    assert!(field("F: 'a*b'", "a\r\nb"));
    assert!(field("F: 'a?c'", "abc"));
    assert!(!field("F: 'a?c'", "ac"));
    assert!(field(r"F: 'a\*c'", "a*c"));
    assert!(!field(r"F: 'a\*c'", "abc"));
    assert!(field(r"F: 'a\\\*c'", r"a\*c"));
    assert!(field(r"F|endswith: '\cmd.exe'", r"C:\cmd.exe"));
    assert!(field("F: '*'", ""));
    assert!(field("F: '?*'", "x"));
    assert!(!field("F: '?*'", ""));
}

#[test]
fn a_wildcard_inside_a_modified_value_keeps_its_anchor() {
    assert!(field("F|endswith: 'a?c'", "xxabc"));
    assert!(!field("F|endswith: 'a?c'", "abcxx"));
    assert!(field("F|startswith: 'a?c'", "abcxx"));
    assert!(!field("F|startswith: 'a?c'", "xxabc"));
    assert!(field("F|endswith: '1?'", "x1y"));
    assert!(field("F|contains: 'a*b'", "xa\nbx"));
}

#[test]
fn windash_takes_every_dash_that_begins_a_word_for_every_other() {
    for text in ["cmd -exec", "cmd /exec", "cmd –exec", "cmd —exec", "cmd ―exec"] {
        assert!(holds(
            "  s:\n    F|windash|contains: ' /exec'\n  condition: s",
            &[("F", text.to_owned().into())]
        ));
        assert!(holds(
            "  s:\n    F|contains|windash: ' -exec'\n  condition: s",
            &[("F", text.to_owned().into())]
        ));
    }
    assert!(!field("F|windash|contains: ' -a-b'", "cmd -a/b"));
    assert!(field("F|windash|contains: ' -a-b'", "cmd /a-b"));
    assert!(field("F|windash|contains: ' -a -b -c -d -e -f -g -h -i'", "x /a -b /c -d /e -f /g -h /i"));
    assert!(field("F|windash|contains: '-a*-b'", "x /a 1 –b"));
}

#[test]
fn keywords_are_found_anywhere_in_any_text() {
    let all = "  k:\n    '|all':\n      - foo\n      - b*r\n  condition: k";
    assert!(holds_of(all, &[("m", "xfoo and".into())], &["BAZR"]));
    assert!(!holds_of(all, &[("m", "foo".into())], &[]));
    assert!(holds("  k:\n    - 4625\n  condition: k", &[("m", "event 4625 x".into())]));
    assert!(!holds("  k:\n    - foo\n  condition: k", &[("foo", "bar".into())]), "names are no text");
}

#[test]
fn a_missing_field_is_false_inside_not_and_true_outside() {
    let rule = "  a:\n    F: x\n  f:\n    G: y\n  condition: a and not f";
    assert!(holds(rule, &[("F", "x".into())]));
    assert!(!holds(rule, &[("F", "x".into()), ("G", "y".into())]));
}

#[test]
fn numbers_and_booleans_compare_with_their_text_both_ways() {
    assert!(field("F: 3389", "3389"));
    assert!(holds("  s:\n    F: '3389'\n  condition: s", &[("F", Value::Float(3389.0))]));
    assert!(holds("  s:\n    F: 'true'\n  condition: s", &[("F", Value::Bool(true))]));
    assert!(field("F: true", "True"));
    assert!(holds("  s:\n    F|gte: 10\n  condition: s", &[("F", Value::Float(10.5))]));
    assert!(field("F|lt: 10", "9"));
    assert!(!field("F|lt: 10", "nine"));
}

#[test]
fn null_absent_and_empty_are_three_things() {
    assert!(holds("  s:\n    F: null\n  condition: s", &[]));
    assert!(holds("  s:\n    F: null\n  condition: s", &[("F", Value::Null)]));
    assert!(!field("F: null", ""));
    assert!(field("F: ''", ""));
    assert!(!holds("  s:\n    F: ''\n  condition: s", &[]));
    assert!(holds("  s:\n    F|exists: false\n  condition: s", &[]));
    assert!(field("F|exists: true", ""));
}

#[test]
fn any_value_of_a_list_counts() {
    let fields = [("F", Value::from("one")), ("F", Value::from("two"))];
    assert!(holds("  s:\n    F: two\n  condition: s", &fields));
    assert!(holds("  s:\n    F|contains|all:\n      - on\n      - tw\n  condition: s", &fields));
}

#[test]
fn trailing_blanks_do_not_spoil_equality() {
    assert!(field("F: NtLmSsp", "NtLmSsp "));
    assert!(field("F|endswith: Ssp", "NtLmSsp  "));
    assert!(field("F|endswith: 'Ssp '", "NtLmSsp "));
    assert!(!field("F: NtLmSsp", " NtLmSsp"));
}

#[test]
fn field_names_are_found_in_the_spellings_of_the_sources() {
    assert!(holds("  s:\n    ThreatName: x\n  condition: s", &[("Threat Name", "x".into())]));
    assert!(holds("  s:\n    Feature_Name: x\n  condition: s", &[("Feature Name", "x".into())]));
    assert!(holds("  s:\n    SourceProcessGuid: x\n  condition: s", &[("SourceProcessGUID", "x".into())]));
}

#[test]
fn expressions_search_and_mind_letter_case() {
    assert!(field("F|re: 'b+c'", "abbcd"));
    assert!(!field("F|re: 'ABC'", "abc"));
    assert!(field("F|re|i: 'ABC'", "abc"));
    assert!(!field("F|re: 'a.c'", "a\nc"));
    assert!(field("F|re|s: 'a.c'", "a\nc"));
}

#[test]
fn networks_hold_addresses_of_both_families() {
    assert!(field("F|cidr: 10.0.0.0/8", "10.1.2.3"));
    assert!(field("F|cidr: 10.0.0.0/8", "::ffff:10.1.2.3"));
    assert!(field("F|cidr: 'fe80::/10'", "fe80::1"));
    assert!(!field("F|cidr: 10.0.0.0/8", "not an address"));
}

#[test]
fn encodings_are_carried_out() {
    assert!(field("F|base64: foobar", "Zm9vYmFy"));
    assert!(field("F|base64|contains: foobar", "x Zm9vYmFy y"));
    for encoded in ["Zm9vYmFy", "IGZvb2Jhcg==", "ICBmb29iYXI="] {
        let value = Value::from(encoded.to_owned());
        assert!(
            holds("  s:\n    F|base64offset|contains: foobar\n  condition: s", &[("F", value)]),
            "{encoded}"
        );
    }
    assert!(field("F|wide|base64offset|contains: ab", "xxxYQBiAAxx"));
}

#[test]
fn a_field_can_be_compared_with_another() {
    let rule = "  s:\n    F|fieldref: G\n  condition: s";
    assert!(holds(rule, &[("F", "Bob".into()), ("G", "bob".into())]));
    assert!(!holds(rule, &[("F", "Bob".into())]));
    let rule = "  s:\n    F|fieldref|endswith: G\n  condition: s";
    assert!(holds(rule, &[("F", "CORP\\bob".into()), ("G", "bob".into())]));
}

#[test]
fn times_can_be_compared_by_their_parts() {
    assert!(field("F|hour: 3", "2026-08-05T03:15:30.1284532Z"));
    assert!(!field("F|hour: 3", "2026-08-05 04:15:30.123"));
    assert!(field("F|week: 32", "2026-08-05 04:15:30"));
}

#[test]
fn quantifiers_count_searches() {
    let rule = "  sel_a:\n    A: 1\n  sel_b:\n    B: 1\n  sel_c:\n    C: 1\n  _h:\n    H: 1\n  condition: 2 of sel_*";
    assert!(holds(rule, &[("A", "1".into()), ("C", "1".into())]));
    assert!(!holds(rule, &[("A", "1".into())]));
    let rule = "  s:\n    F: x\n  _h:\n    H: 1\n  condition: 1 of them";
    assert!(!holds(rule, &[("H", "1".into())]), "names with an underscore are not among `them`");
}

#[test]
fn neq_holds_of_what_is_none_of_the_values() {
    let rule = "  s:\n    F|neq:\n      - a\n      - b\n  condition: s";
    assert!(!holds(rule, &[("F", "a".into())]));
    assert!(holds(rule, &[("F", "c".into())]));
}

#[test]
fn a_placeholder_without_values_never_matches() {
    assert!(!field("F|expand: '%admins%'", "%admins%"));
}

#[test]
fn evidence_names_what_matched_and_leaves_out_what_did_not_happen() {
    let text = "title: t\nlogsource: {product: windows}\ndetection:\n  s:\n    A|contains: [x, y]\n    B: 1\n  f:\n    C: 2\n  condition: s and not f";
    let (rules, _) = crate::rule::load("t.yml", text);
    let mut event = Event::default();
    event.push("A", "a Y b");
    event.push("B", Value::Int(1));
    let found = evidence(&rules[0], &Seen::new(&event, &View::default()));
    assert_eq!(found, [("A".into(), "a Y b".into()), ("B".into(), "1".into())]);
}
