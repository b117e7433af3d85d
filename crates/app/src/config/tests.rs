use super::*;
use std::collections::BTreeSet;

fn env(name: &str) -> Option<String> {
    match name {
        "CLICKHOUSE_PASSWORD" => Some("hunter2".into()),
        "KEEP_API_KEY" => Some("k-123".into()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<(Config, Vec<String>), String> {
    Config::parse("c.yaml", text, Path::new("/etc/ola"), &env)
        .map_err(|problems| problems.iter().map(|p| format!("{p}\n")).collect())
}

const LEAST: &str =
    "clickhouse: {url: 'http://ch:8123/'}\nrules: {paths: ./rules}\nkeep: {url: 'http://keep:8080'}\n";

fn keys(node: &yaml::Node, prefix: &str, out: &mut BTreeSet<String>) {
    if let yaml::Tree::List(items) = &node.value {
        items.iter().for_each(|item| keys(item, prefix, out));
    }
    if let yaml::Tree::Map(entries) = &node.value {
        for (key, _, value) in entries {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            keys(value, &path, out);
            out.insert(path);
        }
    }
}

#[test]
fn the_example_is_the_reference() {
    let (config, asked) = parse(EXAMPLE).unwrap();
    let mut documented = BTreeSet::new();
    keys(&yaml::parse(EXAMPLE).unwrap(), "", &mut documented);
    assert_eq!(asked.into_iter().collect::<BTreeSet<_>>(), documented);
    insta::assert_debug_snapshot!(config);
}

#[test]
fn what_is_kept_of_rules_never_takes_the_place_of_the_state() {
    for name in ["state.sqlite", "state.rules", "state"] {
        let text = format!("{LEAST}state: {{path: ./{name}}}\n");
        let (config, _) = parse(&text).unwrap();
        assert_eq!(config.rules.cache, Some(format!("/etc/ola/{name}.rules").into()));
    }
}

#[test]
fn the_example_states_the_defaults() {
    let (mut example, _) = parse(EXAMPLE).unwrap();
    let (least, _) = parse(LEAST).unwrap();
    example.clickhouse.url = least.clickhouse.url.clone();
    example.keep.url = least.keep.url.clone();
    example.clickhouse.password = Secret::default();
    example.keep.api_key = Secret::default();
    example.signoz_url = None;
    assert_eq!(format!("{example:#?}"), format!("{least:#?}"));
}

/// The first YAML block of the guide has every key of every kind of target.
#[test]
fn the_guide_shows_every_key_of_a_target() {
    let guide = include_str!("../../../../docs/guide/targets.md");
    let block = guide.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let block = block.replace("${file:/run/secrets/siem}", "t").replace("${env:SIEM_SECRET}", "s");
    let (config, asked) = parse(&format!("{LEAST}{block}")).unwrap();
    let names: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["siem", "archive", "console"]);
    assert_eq!(config.target_names(), ["keep", "siem", "archive", "console"]);
    let mut documented = BTreeSet::new();
    keys(&yaml::parse(&block).unwrap(), "", &mut documented);
    let asked: BTreeSet<String> = asked.into_iter().filter(|key| key.starts_with("targets")).collect();
    assert_eq!(asked, documented);
}

#[test]
fn targets_may_stand_for_keep() {
    let without_keep = "clickhouse: {url: 'http://ch:8123/'}\nrules: {paths: ./rules}\n";
    let error = parse(without_keep).unwrap_err();
    assert!(error.contains("keep.url"), "{error}");
    let (config, _) = parse(&format!("{without_keep}targets: [{{name: out, type: stdout}}]\n")).unwrap();
    assert_eq!(config.target_names(), ["out"]);
    assert_eq!(config.deliveries().unwrap().len(), 1);
    let twice = "targets: [{name: out, type: stdout}, {name: out, type: stdout}, {name: keep, type: smoke}, {name: A}, 7]";
    let error = parse(&format!("{LEAST}{twice}\n")).unwrap_err();
    for expected in ["is taken", "`smoke` is not", "`A` is not a name", "targets.type", "must be a mapping"] {
        assert!(error.contains(expected), "{expected} in {error}");
    }
}

#[test]
fn others_reach_the_port_only_with_a_token() {
    let http = |http: &str| parse(&format!("{LEAST}http: {{{http}}}\n")).map(|(config, _)| config.http);
    assert!(http("listen: ''").unwrap().is_none());
    assert!(http("listen: '127.0.0.1:1'").unwrap().is_some());
    assert!(http("listen: '[::1]:1'").unwrap().is_some());
    assert!(http("listen: '0.0.0.0:1'").unwrap_err().contains("set `http.token`"));
    assert!(http("listen: '0.0.0.0:1', token: t").unwrap().is_some());
    assert!(http("listen: 'everywhere'").unwrap_err().contains("not an address"));
}

#[test]
fn everything_wrong_is_told_at_once_with_its_line() {
    let text = "clickhouse:
  url: ftp://x
  pasword: x
  password: 0123
  poll_interval: 5
  batch_rows: many
  start: yesterday
  max_memory: 1KiB
rules:
  min_level: hihg
  status: [stabel]
  include: {paths: ['[']}
alerts: [1]
keep:
  url: http://user:pa55@keep
  api_key: ${env:NOPE}
  severity: {medium: warn}
log: {level: 'a=b=c', format: xml}
zzz: 1
";
    let problems = parse(text).unwrap_err();
    assert!(!problems.contains("pa55"), "a secret shows: {problems}");
    insta::assert_snapshot!(problems);
}

#[test]
fn secrets_do_not_print() {
    let (config, _) = parse(EXAMPLE).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("k-123"));
    assert_eq!(config.clickhouse.password.reveal(), "hunter2");
    assert!(config.literal_secrets.is_empty());
    let text = LEAST.replace("'http://keep:8080'", "'http://keep:8080', api_key: in-the-file");
    assert_eq!(parse(&text).unwrap().0.literal_secrets, ["keep.api_key"]);
}

#[test]
fn paths_that_start_with_a_dot_are_beside_the_file() {
    let (config, _) = parse(LEAST).unwrap();
    assert_eq!(config.rules.paths, [PathBuf::from("/etc/ola/rules")]);
    assert_eq!(config.state_path, PathBuf::from("/etc/ola/otel-log-ai.sqlite"));
    assert_eq!(config.clickhouse.url, "http://ch:8123");
    let (config, _) = parse(&LEAST.replace("./rules", "/srv/r")).unwrap();
    assert_eq!(config.rules.paths, [PathBuf::from("/srv/r")]);
    let (config, _) = parse(&format!("{LEAST}mapping: [./m, /n.yaml]\npipelines: ./p.yml\n")).unwrap();
    assert_eq!(config.rules.mapping, [PathBuf::from("/etc/ola/m"), PathBuf::from("/n.yaml")]);
    assert_eq!(config.rules.pipelines, [PathBuf::from("/etc/ola/p.yml")]);
}

#[test]
fn a_share_is_a_number_below_how_many_there_are() {
    let share = |share: &str| parse(&LEAST.replace("ch:8123/'", &format!("ch:8123/', share: {{{share}}}")));
    let (config, _) = share("index: 1, of: 2, shards: [3]").unwrap();
    assert_eq!(config.clickhouse.share.to_string(), "hosts 1 of 2, shards 3");
    assert!(share("index: 2, of: 2").unwrap_err().contains("must be below 2"));
    assert!(share("shards: [0]").unwrap_err().contains("counted from 1"));
}

#[test]
fn start_times() {
    assert_eq!(start("now"), Ok(Start::Now));
    assert_eq!(start("2026-01-01T00:00:00Z"), Ok(Start::At(1_767_225_600_000_000_000)));
    assert!(start("1960-01-01T00:00:00Z").is_err());
}
