use crate::otel::{LogRecord, Taxonomy};
use crate::rule::LogSource;
use std::borrow::Cow;

const GUIDE: &str = include_str!("../../../../../docs/guide/mapping.md");

fn extended(text: &str) -> Taxonomy {
    Taxonomy::extended(&[("my.yaml", text)]).unwrap_or_else(|problem| panic!("{problem}"))
}

#[track_caller]
fn refused(text: &str, wanted: &str) {
    match Taxonomy::extended(&[("my.yaml", text)]) {
        Ok(_) => panic!("is taken: {text}"),
        Err(problem) => assert!(problem.to_string().contains(wanted), "{problem}"),
    }
}

/// The class of a record with this body and resource.
fn class(taxonomy: &Taxonomy, body: &str, resource: &[(&'static str, &'static str)]) -> String {
    let pair = |(k, v): &(&'static str, &'static str)| (Cow::Borrowed(*k), Cow::Borrowed(*v));
    let resources = resource.iter().map(pair).collect();
    let record = LogRecord { body: body.into(), resources, ..LogRecord::default() };
    let event = taxonomy.events(&record).remove(0);
    event.class.map_or("none".into(), |id| taxonomy.classes[usize::from(id.0)].name.clone())
}

/// The native names of `field` in every view of exactly this log source.
fn names(taxonomy: &Taxonomy, logsource: &str, field: &str) -> Vec<Vec<String>> {
    let views = taxonomy.classes.iter().flat_map(|class| &class.views);
    let views = views.filter(|view| view.logsource.to_string() == logsource);
    views.map(|view| view.native(field).into_iter().map(str::to_owned).collect()).collect()
}

/// The guide's examples: each block of YAML that is a mapping file.
fn guide_examples() -> Vec<&'static str> {
    let blocks = GUIDE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.starts_with("version: 1")).collect()
}

#[test]
fn the_guides_examples_are_what_they_say() {
    let examples = guide_examples();
    assert_eq!(examples.len(), 4);
    let all: Vec<(&str, &str)> = examples.iter().map(|text| ("guide.yaml", *text)).collect();
    let taxonomy = Taxonomy::extended(&all).unwrap_or_else(|problem| panic!("{problem}"));
    let login = r#"{"event":"login","result":"denied","actor":{"name":"eve","ip":"192.0.2.7"}}"#;
    assert_eq!(class(&taxonomy, login, &[("service.name", "shop")]), "shop/audit");
    assert_eq!(class(&taxonomy, login, &[("service.name", "other")]), "none");
    assert_eq!(names(&taxonomy, "shop/audit", "User"), [["actor.name"]]);
    let command = names(&taxonomy, "windows/process_creation", "CommandLine");
    assert!(command.iter().all(|names| names[0] == "full_command"), "{command:?}");
    let access = "192.0.2.7 - - [10/Oct/2026:13:55:36 +0000] \"GET /?id=1 HTTP/1.1\" 200 12 \"-\" \"curl/8\"";
    let edge = [("service.name", "edge-gateway")];
    assert_eq!(class(&taxonomy, access, &edge), "web/nginx/access");
    assert_eq!(class(&taxonomy, "some line that no form knows", &edge), "web/nginx/error");
    assert_eq!(class(&taxonomy, access, &[("service.name", "else")]), "web/access");
}

const SHOP: &str = "version: 1
sources:
  - class: shop/web
    when: {format: [json], resource: {service.name: [shop]}}
    views: [{product: Shop, category: webserver}]
";

#[test]
fn the_users_sources_are_tried_first_and_take_nothing_else() {
    let nginx = r#"{"remote_addr":"192.0.2.7","status":"200","request":"GET / HTTP/1.1"}"#;
    let shop = [("service.name", "shop")];
    let builtin = Taxonomy::builtin().unwrap();
    let taxonomy = extended(SHOP);
    assert_eq!(class(&builtin, nginx, &shop), "web/nginx/json");
    assert_eq!(class(&taxonomy, nginx, &shop), "shop/web");
    assert_eq!(class(&taxonomy, nginx, &[]), "web/nginx/json");
    assert_eq!(taxonomy.classes.len(), builtin.classes.len() + 1);
    // Rules' names are in lower case.
    assert_eq!(names(&taxonomy, "shop/webserver", "x").len(), 1);
}

#[test]
fn a_field_gets_further_names_in_every_spelling_and_keeps_its_own() {
    let before = Taxonomy::builtin().unwrap();
    let taxonomy = extended(
        "version: 1\nfields:\n  - logsource: {product: Windows}\n    fields:\n      \
         UserId: [mine]\n      Fresh: [other]\n",
    );
    let old = &names(&before, "windows/security", "UserID")[0];
    for spelling in ["UserId", "UserID", "userid", "User_Id"] {
        let now = &names(&taxonomy, "windows/security", spelling)[0];
        assert_eq!(now[0], "mine", "{spelling}");
        assert!(old.iter().all(|name| now.contains(name)), "{spelling}: {now:?}");
    }
    assert_eq!(names(&taxonomy, "windows/security", "Fresh")[0], ["other", "Fresh"]);
    assert_eq!(names(&taxonomy, "linux/auditd", "Fresh")[0], ["Fresh"], "another product");
}

#[test]
fn a_channel_joins_its_product_and_a_category_the_shipped_service() {
    let event = |channel: &str, id: u32| {
        format!(
            r#"{{"channel":"{channel}","event_id":{{"id":{id}}},"provider":{{"name":"P"}},"event_data":{{}}}}"#
        )
    };
    let taxonomy = extended(
        "version: 1\nchannels:\n  product: windows\n  services:\n    edr: {channels: [My EDR/Events]}\n  \
         categories:\n    process_creation:\n      - {service: edr, event_id: [7], fields: {Image: [exe]}}\n    \
         sql_audit: [{service: application, event_id: [33205]}]\n",
    );
    assert_eq!(class(&taxonomy, &event("My EDR/Events", 7), &[]), "windows/edr/7");
    assert_eq!(class(&taxonomy, &event("Security", 4688), &[]), "windows/security/4688");
    assert_eq!(class(&taxonomy, &event("Application", 33205), &[]), "windows/application/33205");
    let image = names(&taxonomy, "windows/process_creation", "Image");
    assert!(image.contains(&vec!["exe".to_owned()]) && image.len() > 1, "{image:?}");
    // The product's general names are the new service's too.
    assert_eq!(names(&taxonomy, "windows/edr", "Hostname")[0], ["Hostname", "Computer"]);
}

#[test]
fn without_files_it_is_the_shipped_mapping() {
    let (a, b) = (Taxonomy::builtin().unwrap(), Taxonomy::extended(&[]).unwrap());
    let empty = extended("version: 1\n");
    assert_eq!(a.classes, b.classes);
    let sorted = |taxonomy: &Taxonomy| {
        let mut names: Vec<String> = taxonomy.classes.iter().map(|class| format!("{class:?}")).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(&a), sorted(&empty));
}

#[test]
fn faults_name_file_and_line() {
    refused("version: 1\nsources:\n  - class: x\n    wen: {}\n", "my.yaml:4: ");
    refused("version: 1\nsources:\n  - class: x\n    when: {}\n    views: [{prodct: a}]\n", "my.yaml:5: ");
    refused("version: 2\n", "version 2 is not known");
    refused("versio", "my.yaml:1: ");
    refused(
        "version: 1\nfields:\n  - logsource: {product: nowhere}\n    fields: {a: [b]}\n",
        "my.yaml:3: no source of the mapping is nowhere",
    );
    refused(
        "version: 1\nfields:\n  - logsource: {}\n    fields: {a: [b]}\n",
        "my.yaml:3: `logsource` states",
    );
    refused("version: 1\nfields:\n  - logsource: {produkt: a}\n    fields: {a: [b]}\n", "my.yaml:3: ");
    refused("version: 1\nprograms:\n  - program: nginx\n    when: {}\n", "my.yaml:3: `when` of the program");
    refused("version: 1\nprograms:\n  - program: nginx\n    when: {format: [json]}\n", "my.yaml:4: ");
    refused(
        "version: 1\nchannels:\n  product: mine\n  services: {a: {channels: [security]}}\n",
        "my.yaml: the channel security is of another product already",
    );
    refused(
        "version: 1\nchannels:\n  product: windows\n  categories: {x: [{service: nope, event_id: [1]}]}\n",
        "my.yaml: category x names the unknown service nope",
    );
}

#[test]
fn there_is_an_end_to_what_is_taken() {
    let ids: Vec<String> = (0..20_000).map(|id| id.to_string()).collect();
    let many = format!(
        "version: 1\nchannels:\n  product: mine\n  services: {{a: {{channels: [Mine]}}}}\n  \
         categories: {{x: [{{service: a, event_id: [{}]}}]}}\n",
        ids.join(",")
    );
    refused(&many, "my.yaml: has more event ids than this program can hold");
    let channels: Vec<String> = (0..20_000).map(|n| format!("C{n}")).collect();
    let many = format!(
        "version: 1\nchannels:\n  product: mine\n  services: {{a: {{channels: [{}]}}}}\n",
        channels.join(",")
    );
    refused(&many, "my.yaml: has more channels than this program can hold");
}

#[test]
fn a_logsource_without_a_part_means_all_of_them() {
    let all = LogSource { product: Some("windows".into()), ..LogSource::default() };
    let taxonomy = extended("version: 1\nfields: [{logsource: {product: windows}, fields: {Zed: [z]}}]\n");
    let views = taxonomy.classes.iter().flat_map(|class| &class.views);
    for view in views.filter(|view| all.covers(&view.logsource)) {
        assert_eq!(view.native("Zed"), ["z", "Zed"], "{:?}", view.logsource);
    }
}
