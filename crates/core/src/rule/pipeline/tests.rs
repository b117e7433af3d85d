use super::Pipelines;
use crate::rule::{self, Rule};

const GUIDE: &str = include_str!("../../../../../docs/guide/mapping.md");

fn pipelines(texts: &[&str]) -> Pipelines {
    let files: Vec<(&str, &str)> = texts.iter().map(|text| ("p.yml", *text)).collect();
    Pipelines::read(&files).unwrap_or_else(|problem| panic!("{problem}"))
}

fn rule_text(logsource: &str, detection: &str) -> String {
    format!("title: T\nstatus: test\nlevel: high\nlogsource: {{{logsource}}}\ndetection:\n{detection}")
}

fn load(pipelines: &Pipelines, text: &str) -> Result<Rule, String> {
    let (mut rules, problems) = rule::load_with("r.yml", text, pipelines);
    match problems.first() {
        Some(problem) => Err(problem.to_string()),
        None => Ok(rules.remove(0)),
    }
}

/// The searches of the rule as `pipeline` leaves it, and its log source.
fn changed(pipeline: &str, detection: &str) -> String {
    let text = rule_text("product: windows, category: process_creation", detection);
    let rule = load(&pipelines(&[pipeline]), &text).unwrap_or_else(|problem| panic!("{problem}"));
    let searches: Vec<String> =
        rule.searches.iter().map(|(name, tree)| format!("{name}: {}", shown(tree, &rule))).collect();
    format!("{} | {}", searches.join("; "), shown(&rule.condition, &rule))
}

fn shown(tree: &rule::Expr, rule: &Rule) -> String {
    use rule::Expr;
    let list = |trees: &[Expr], word: &str| {
        let trees: Vec<String> = trees.iter().map(|tree| shown(tree, rule)).collect();
        format!("({})", trees.join(word))
    };
    match tree {
        Expr::And(trees) => list(trees, " and "),
        Expr::Or(trees) => list(trees, " or "),
        Expr::AtLeast(n, trees) => format!("{n} of {}", list(trees, ", ")),
        Expr::Not(tree) => format!("not {}", shown(tree, rule)),
        Expr::Search(index) => rule.searches[*index].0.clone(),
        Expr::Item(item) => format!("{} {}", item.field.as_deref().unwrap_or("keyword"), item.test),
    }
}

/// A pipeline of one transformation; `keys` are its lines.
fn one(kind: &str, keys: &str) -> String {
    let keys: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    format!("transformations:\n  - type: {kind}\n{keys}")
}

const CMD: &str = "  sel:\n    Image|endswith: '\\cmd.exe'\n  condition: sel\n";

#[test]
fn fields_are_renamed() {
    for (kind, keys, wanted) in [
        ("field_name_mapping", "mapping: {Image: exe}", "sel: exe = *\\cmd.exe | sel"),
        ("field_name_mapping", "mapping: {image: exe}", "sel: Image = *\\cmd.exe | sel"),
        ("field_name_mapping", "mapping: {Image: [a, b]}", "sel: (a = *\\cmd.exe or b = *\\cmd.exe) | sel"),
        ("field_name_prefix", "prefix: 'win.'", "sel: win.Image = *\\cmd.exe | sel"),
        ("field_name_suffix", "suffix: .text", "sel: Image.text = *\\cmd.exe | sel"),
        ("field_name_prefix_mapping", "mapping: {Im: proc.im}", "sel: proc.image = *\\cmd.exe | sel"),
    ] {
        assert_eq!(changed(&one(kind, keys), CMD), wanted, "{kind} {keys}");
    }
    let both = "  sel:\n    A|fieldref: Image\n    B|neq: x\n  condition: sel\n";
    let mapping = one("field_name_mapping", "mapping: {Image: exe, B: [c, d]}");
    assert_eq!(changed(&mapping, both), "sel: (A = field exe and not c = x and not d = x) | sel");
}

#[test]
fn conditions_decide_where_a_transformation_is_carried_out() {
    let is_renamed = |conditions: &str| {
        let pipeline = one("field_name_prefix", &format!("prefix: x.\n{conditions}"));
        changed(&pipeline, CMD).starts_with("sel: x.Image")
    };
    for (conditions, wanted) in [
        ("rule_conditions: [{type: logsource, product: windows}]", true),
        ("rule_conditions: [{type: logsource, product: linux}]", false),
        ("rule_conditions: [{type: logsource, product: linux}]\nrule_cond_not: true", true),
        (
            "rule_conditions: [{type: logsource, product: linux}, {type: contains_field, field: Image}]\n\
             rule_cond_op: or",
            true,
        ),
        (
            "rule_conditions: {a: {type: tag, tag: x}, b: {type: contains_field, field: Image}}\n\
             rule_cond_expr: b and not a",
            true,
        ),
        ("rule_conditions: [{type: rule_attribute, attribute: level, value: medium, op: gte}]", true),
        ("rule_conditions: [{type: rule_attribute, attribute: level, value: high, op: gt}]", false),
        ("rule_conditions: [{type: rule_attribute, attribute: status, value: test}]", true),
        ("rule_conditions: [{type: is_sigma_correlation_rule}]", false),
        ("field_name_conditions: [{type: include_fields, fields: [Image]}]", true),
        ("field_name_conditions: [{type: exclude_fields, fields: [Image]}]", false),
        ("field_name_conditions: [{type: include_fields, fields: ['Im.*'], mode: re}]", true),
        ("field_name_conditions: [{type: include_fields, fields: ['mage'], mode: re}]", false),
        ("detection_item_conditions: [{type: match_string, cond: any, pattern: '.*cmd'}]", true),
        ("detection_item_conditions: [{type: match_string, cond: all, pattern: 'cmd'}]", false),
        ("detection_item_conditions: [{type: contains_wildcard, cond: any}]", false),
        ("rule_conditions: [{type: processing_item_applied, processing_item_id: other}]", false),
    ] {
        assert_eq!(is_renamed(conditions), wanted, "{conditions}");
    }
}

#[test]
fn the_state_of_a_rule_is_kept_over_pipelines_in_the_order_of_their_priority() {
    let later = "priority: 20\ntransformations:\n  - type: field_name_prefix\n    prefix: b.\n    rule_conditions:\n      \
                 - {type: processing_item_applied, processing_item_id: first}\n      \
                 - {type: processing_state, key: k, val: v}\n";
    let first = "priority: 10\ntransformations:\n  - {type: set_state, key: k, val: v, id: first}\n";
    let rule = load(&pipelines(&[later, first]), &rule_text("product: windows", CMD)).unwrap();
    assert_eq!(shown(&rule.searches[0].1, &rule), "b.Image = *\\cmd.exe");
}

#[test]
fn values_are_changed_and_expressions_are_not() {
    let two = "  sel:\n    A: ['C:\\x*', 7]\n    B|re: 'x.*'\n  condition: sel\n";
    for (kind, keys, wanted) in [
        ("replace_string", "regex: '^C:'\nreplacement: '\\Device'", "A = \\Device\\x* or A = 7"),
        (
            "replace_string",
            "regex: '(x)'\nreplacement: '<\\1$>'\nskip_special: true",
            "A = C:\\<x$>* or A = 7",
        ),
        ("case", "method: upper", "A = C:\\X* or A = 7"),
        ("map_string", "mapping: {'x.*': y, 'C:\\x*': [a, b]}", "A = a or A = b or A = 7"),
    ] {
        let shown = changed(&one(kind, keys), two);
        assert!(shown.starts_with(&format!("sel: (({wanted}) and B =~ ")), "{kind} {keys}: {shown}");
        assert!(shown.contains("x.*"), "the expression is as it was: {shown}");
    }
    let of_a = "value: v\nfield_name_conditions: [{type: include_fields, fields: [A]}]";
    assert!(changed(&one("set_value", of_a), two).starts_with("sel: (A = v and B =~ "));
    let number = "  sel:\n    A: '7'\n  condition: sel\n";
    assert_eq!(changed(&one("convert_type", "target_type: num"), number), "sel: A = 7 | sel");
    let hashes = "  sel:\n    Hashes|contains: ['SHA1=AA', 'MD5=BB', 'IMPHASH=CC']\n  condition: sel\n";
    assert_eq!(
        changed(&one("hashes_fields", "valid_hash_algos: [SHA1, MD5]\nfield_prefix: file."), hashes),
        "sel: (file.MD5 = BB or file.SHA1 = AA) | sel"
    );
}

#[test]
fn a_rule_gets_conditions_and_another_log_source_and_loses_items() {
    let added =
        changed(&one("add_condition", "conditions: {Channel: Security, EventID: [1, 2]}\nname: c"), CMD);
    assert_eq!(
        added,
        "c: (Channel = Security and (EventID = 1 or EventID = 2)); sel: Image = *\\cmd.exe | (c and sel)"
    );
    let templated = one(
        "add_condition",
        "conditions: {index: 'logs-$product-*'}\ntemplate: true\nnegated: true\nname: c",
    );
    assert!(changed(&templated, CMD).ends_with("(not c and sel)"));
    assert!(changed(&templated, CMD).contains("index = logs-windows-*"));
    let with_filter = "  sel:\n    A: 1\n    C: 2\n  filter:\n    B: 1\n  condition: sel and not filter\n";
    let drop = |field: &str| {
        one(
            "drop_detection_item",
            &format!("field_name_conditions: [{{type: include_fields, fields: [{field}]}}]"),
        )
    };
    assert_eq!(changed(&drop("B"), with_filter), "sel: (A = 1 and C = 2) | (sel)");
    assert_eq!(changed(&drop("C"), with_filter), "filter: B = 1; sel: A = 1 | (sel and not filter)");
    let moved = one("change_logsource", "category: other");
    let rule = load(&pipelines(&[&moved]), &rule_text("product: windows, service: x", CMD)).unwrap();
    assert_eq!(rule.info.logsource.to_string(), "other");
    let nested = one(
        "nest",
        "items:\n  - {type: field_name_prefix, prefix: a.}\n  - {type: field_name_suffix, suffix: .b}",
    );
    assert_eq!(changed(&nested, CMD), "sel: a.Image.b = *\\cmd.exe | sel");
}

#[test]
fn placeholders_get_their_values_whether_or_not_a_transformation_asks() {
    let expand = "  sel:\n    User|expand: '%Admins%'\n    Path: '%TEMP%\\a'\n  condition: sel\n";
    let wanted = "sel: ((User = adm_* or User = root) and Path = %TEMP%\\a) | sel";
    let vars = "vars: {Admins: ['adm_*', root], TEMP: x}\n";
    assert_eq!(changed(vars, expand), wanted);
    assert_eq!(changed(&format!("{vars}{}", one("value_placeholders", "include: [Admins]")), expand), wanted);
    assert_eq!(
        changed(&one("wildcard_placeholders", ""), expand),
        "sel: (User = * and Path = %TEMP%\\a) | sel"
    );
    let around = "  sel:\n    User|expand|contains: 'x%A%y%B%'\n  condition: sel\n";
    assert_eq!(changed("vars: {A: [1, 2], B: b}\n", around), "sel: (User = *x1yb* or User = *x2yb*) | sel");
    let text = rule_text("product: windows", expand);
    assert_eq!(load(&pipelines(&["vars: {Other: x}\n"]), &text).unwrap().unmet, ["%Admins%"]);
    assert_eq!(load(&pipelines(&[vars]), &text).unwrap().unmet, Vec::<String>::new());
}

#[test]
fn a_rule_that_a_pipeline_refuses_says_where() {
    let text = rule_text("product: windows", CMD);
    for (pipeline, wanted) in [
        (one("rule_failure", "message: not for us"), "p.yml:2: transformation `rule_failure`: not for us"),
        (
            one("drop_detection_item", "id: away"),
            "p.yml:2: transformation `away`: leaves nothing of the rule",
        ),
        (one("convert_type", "target_type: num"), "is not a number"),
        (one("value_placeholders", "") + "vars: {A: b}\n", "`vars` has no values for the placeholder %U%"),
    ] {
        let text = text.replace("condition: sel", "other:\n    User|expand: '%U%'\n  condition: sel");
        let problem = load(&pipelines(&[&pipeline]), &text).unwrap_err();
        assert!(problem.starts_with("r.yml") && problem.contains(wanted), "{problem}");
    }
    // A condition that names what is not there stays a mistake.
    let text = rule_text("product: windows", &CMD.replace("condition: sel", "condition: sel and typo"));
    let drop = one("drop_detection_item", "field_name_conditions: [{type: include_fields, fields: [B]}]");
    assert!(load(&pipelines(&[&drop]), &text).unwrap_err().contains("'typo'"));
}

#[test]
fn a_file_that_is_not_understood_is_refused_with_its_line() {
    for (text, wanted) in [
        ("nam: x\n", "p.yml:1: "),
        (
            "transformations:\n  - type: field_name_mapping\n    mapping: {}\n    maping: {}\n",
            "p.yml:4: `field_name_mapping`: ",
        ),
        ("transformations:\n  - id: a\n    type: nope\n", "p.yml:3: `a`: unknown variant `nope`"),
        (
            "transformations:\n  - type: file_placeholders\n",
            "p.yml:2: `file_placeholders`: is a transformation that is not supported",
        ),
        ("transformations:\n  - type: query_expression_placeholders\n    expression: x\n", "not supported"),
        ("transformations:\n  - mapping: {}\n", "p.yml:2: `transformations`: an entry states no `type`"),
        (
            "transformations:\n  - type: case\n    rule_conditions: [{type: logsourc}]\n",
            "p.yml:3: `case`: rule_conditions: condition 1: ",
        ),
        (
            "transformations:\n  - type: case\n    rule_conditions: [{type: tag, tag: a}]\n    rule_cond_expr: b\n",
            "names `b`",
        ),
        ("transformations:\n  - type: replace_string\n    regex: '(?=x)'\n    replacement: x\n", "p.yml:3: "),
        (
            "transformations:\n  - type: case\n    field_name_conditions: [{type: include_fields, fields: ['('], mode: re}]\n",
            "no regular expression",
        ),
        (
            "transformations:\n  - type: set_state\n    key: a\n    val: b\n    field_name_conditions: [{type: include_fields, fields: [a]}]\n",
            "as a whole",
        ),
        ("postprocessing:\n  - type: embed\n", "forms the text of queries"),
        ("finalizers:\n  - type: concat\n", "forms the text of queries"),
        ("vars:\n  A: []\n", "p.yml:2: `vars`: `A` has no values"),
        (
            "transformations:\n  - type: map_string\n    mapping: {a: 1}\n",
            "p.yml:2: `map_string`: one value or a list of values is wanted",
        ),
        ("- x\n", "p.yml:1: "),
    ] {
        match Pipelines::read(&[("p.yml", text)]) {
            Ok(_) => panic!("is taken: {text}"),
            Err(problem) => assert!(problem.to_string().contains(wanted), "{problem}\nwanted: {wanted}"),
        }
    }
    let deep = "(".repeat(10_000);
    let text = one("case", &format!("rule_conditions: [{{type: tag, tag: a}}]\nrule_cond_expr: '{deep}'"));
    assert!(Pipelines::read(&[("p.yml", &text)]).is_err());
}

#[test]
fn the_guides_example_is_one() {
    let block = GUIDE.split("```yaml\n").find(|rest| rest.starts_with("name: ")).expect("the example");
    let example = pipelines(&[block.split("```").next().unwrap_or_default()]);
    let text = rule_text(
        "product: windows, service: security",
        "  sel:\n    SubjectUserName: a\n    Host|expand: '%Workstations%'\n  condition: sel\n",
    );
    let rule = load(&example, &text).unwrap();
    assert_eq!(shown(&rule.searches[0].1, &rule), "(user.name = a and (Host = WS-* or Host = LAPTOP-*))");
}
