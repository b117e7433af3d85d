//! `rules coverage`: which rules can fire on which logs, what was really seen, what to switch on.
//!
//! The report itself is made in the core; this reads and prints.

use super::{ConfigFile, Extensions, input, output, sample};
use anyhow::{Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use otel_log_ai_core::report::coverage::{Coverage, Reason, coverage};
use otel_log_ai_core::report::navigator;
use otel_log_ai_core::report::seen::{Observer, Seen};
use otel_log_ai_core::report::{count, list};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;

/// Most blind rules listed; JSON has all.
const BLIND_MAX: usize = 60;
/// Most classes listed of what was seen.
const CLASSES_MAX: usize = 40;
/// A field is listed if at least one in so many of the rules for its class asks for it: rules of a
/// whole log name the fields of all its events.
const FIELD_RULES_SHARE: usize = 50;
/// Most findings listed.
const FINDINGS_MAX: usize = 30;

/// For every rule: the classes of events that feed it, what its fields are called there, or why it
/// cannot fire. With `--against`, what really arrives is held against it: which hosts deliver what,
/// which rules are blind for want of it, and what to switch on.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  otel-log-ai rules coverage --rules ./rules
  otel-log-ai rules coverage --rules ./rules --output navigator > layer.json
  otel-log-ai rules coverage --rules ./rules --against rows.ndjson
  otel-log-ai rules coverage --rules ./rules --against-clickhouse --config otel-log-ai.yaml --hours 24
  otel-log-ai rules coverage --rules ./rules --output json | jq '.rules[] | select(.can_fire | not)'")]
pub struct Args {
    /// Rule file or directory; may be given several times
    #[arg(long, required = true, num_args = 1.., value_name = "DIR")]
    rules: Vec<PathBuf>,
    #[command(flatten)]
    extensions: Extensions,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Rows that really arrived, in any form that `scan` reads; `-` is standard input
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with = "against_clickhouse")]
    against: Vec<PathBuf>,
    /// Look at the log table that the configuration names
    #[arg(long)]
    against_clickhouse: bool,
    /// How far back to look there, in hours
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=8784))]
    hours: u64,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// One JSON object with everything
    Json,
    /// A layer for the ATT&CK Navigator
    Navigator,
}

/// The JSON form.
#[derive(Serialize)]
struct Report<'r> {
    #[serde(flatten)]
    coverage: &'r Coverage,
    /// What was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<&'r Seen>,
}

/// Runs the command. Blind rules are a finding and no failure: always `true`.
pub fn run(args: &Args, out: &mut impl Write) -> Result<bool> {
    let loaded = args.extensions.rules(&args.rules)?;
    for problem in &loaded.problems {
        tracing::warn!("{problem}");
    }
    if loaded.rules.is_empty() {
        bail!("no usable rule in {}", output::paths(&args.rules));
    }
    let taxonomy = args.extensions.taxonomy()?;
    let coverage = coverage(&loaded.rules, &taxonomy);
    let mut sample = None;
    let mut seen = None;
    if args.against_clickhouse || !args.against.is_empty() {
        let mut observer = Observer::new(&loaded.rules, &taxonomy, &coverage);
        sample = Some(match args.against_clickhouse {
            true => sample::clickhouse(&args.config, args.hours, &mut |record| observer.record(record))?,
            false => look_at_files(args, &mut observer)?,
        });
        seen = Some(observer.finish());
    }
    match args.output {
        Output::Json => {
            let report = Report { coverage: &coverage, sample: sample.as_deref(), seen: seen.as_ref() };
            serde_json::to_writer(&mut *out, &report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Output::Navigator => {
            let blind: BTreeSet<usize> =
                seen.iter().flat_map(|seen| &seen.blind).map(|blind| blind.number).collect();
            let name = if seen.is_some() { "Sigma on what arrives" } else { "Sigma on OpenTelemetry logs" };
            let layer = navigator::layer(&coverage, name, &|rule| !blind.contains(&rule));
            serde_json::to_writer_pretty(&mut *out, &layer).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Output::Table => {
            print_coverage(&coverage, out)?;
            if let (Some(sample), Some(seen)) = (&sample, &seen) {
                print_seen(sample, seen, out)?;
            }
        }
    }
    Ok(true)
}

fn look_at_files(args: &Args, observer: &mut Observer<'_>) -> Result<String> {
    for path in &args.against {
        input::each_record(path, &mut |_, record| {
            observer.record(record);
            Ok(true)
        })?;
    }
    Ok(format!("all rows of {}", output::paths(&args.against)))
}

fn print_coverage(coverage: &Coverage, out: &mut impl Write) -> Result<()> {
    let sum = &coverage.summary;
    let rows: Vec<[String; 5]> = (sum.log_sources.iter())
        .map(|source| {
            let reasons: Vec<String> = source.reasons.iter().cloned().collect();
            let classes: Vec<String> = source.classes.iter().cloned().collect();
            let by = match (source.can_fire, source.blind) {
                (0, _) => format!("blind: {}", list(&reasons, 2)),
                (_, 0) => list(&classes, 4),
                _ => format!("{}; blind ones: {}", list(&classes, 2), list(&reasons, 2)),
            };
            let numbers = [source.rules, source.can_fire, source.blind].map(|n| count(n as u64));
            let [rules, can_fire, blind] = numbers;
            [rules, can_fire, blind, output::line(&source.log_source, 60), output::line(&by, 160)]
        })
        .collect();
    output::table(out, ["RULES", "CAN FIRE", "BLIND", "LOG SOURCE", "FED BY, OR WHY NOT"], &rows)?;
    let blind: Vec<[String; 4]> = (coverage.rules.iter())
        .filter_map(|rule| {
            let why = rule.why_not.as_ref()?;
            Some([
                rule.rule.level.to_owned(),
                output::line(&rule.rule.log_source, 40),
                output::line(&rule.rule.title, 64),
                output::line(&why.text(), 160),
            ])
        })
        .collect();
    if !blind.is_empty() {
        writeln!(out, "\nRules that cannot fire, whatever arrives:")?;
        output::table(out, ["LEVEL", "LOG SOURCE", "RULE", "WHY"], &blind[..blind.len().min(BLIND_MAX)])?;
        more(blind.len(), BLIND_MAX, out)?;
    }
    let kinds: Vec<String> =
        sum.blind_by_kind.iter().map(|(kind, n)| format!("{n} {}", kind_text(kind))).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    writeln!(
        out,
        "\n{} of {} rules can fire; {} cannot{kinds}; {} of them without a reason",
        count(sum.can_fire as u64),
        count(sum.rules as u64),
        count(sum.blind as u64),
        sum.blind_without_reason
    )?;
    Ok(())
}

fn kind_text(kind: &str) -> &'static str {
    let no_source = Reason::NoSource { reason: None };
    match kind {
        kind if kind == Reason::Unsupported.kind() => "unsupported",
        kind if kind == no_source.kind() => "without a source",
        "placeholders" => "with placeholders",
        _ => "with fields that no source carries",
    }
}

fn more(all: usize, max: usize, out: &mut impl Write) -> io::Result<()> {
    match all > max {
        true => writeln!(out, "… and {} more (--output json has all)", count((all - max) as u64)),
        false => Ok(()),
    }
}

fn print_seen(sample: &str, seen: &Seen, out: &mut impl Write) -> Result<()> {
    writeln!(out, "\nSeen in {}:", output::line(sample, 300))?;
    if seen.records == 0 {
        writeln!(out, "nothing: no row")?;
        return Ok(());
    }
    let hosts = match seen.events_of_further_hosts {
        0 => count(seen.hosts.len() as u64),
        n => format!("{} (and {} events of further hosts)", count(seen.hosts.len() as u64), count(n)),
    };
    writeln!(
        out,
        "{} events of {hosts} hosts, {} to {}; {} of no known class{}",
        count(seen.events),
        output::time(seen.oldest_ns),
        output::time(seen.newest_ns),
        count(seen.unrecognised),
        unrecognised(seen)
    )?;
    let rows: Vec<[String; 5]> = (seen.classes.iter().take(CLASSES_MAX))
        .map(|class| {
            let is_gap = |present: u64| present < class.events;
            let matters = |rules: usize| rules * FIELD_RULES_SHARE >= class.rules;
            let gaps = class.fields.iter().filter(|field| is_gap(field.present) && matters(field.rules));
            let gaps: Vec<String> =
                gaps.map(|f| format!("{} {}", f.field, share(f.present, class.events))).collect();
            let numbers = [class.events, class.hosts as u64, class.rules as u64].map(count);
            let [events, hosts, rules] = numbers;
            [events, hosts, rules, output::line(&class.class, 60), output::line(&list(&gaps, 6), 120)]
        })
        .collect();
    writeln!(out)?;
    output::table(out, ["EVENTS", "HOSTS", "RULES", "CLASS", "FIELDS NOT ALWAYS THERE"], &rows)?;
    more(seen.classes.len(), CLASSES_MAX, out)?;
    print_blind(seen, out)?;
    if !seen.findings.is_empty() {
        writeln!(out, "\nWhat to switch on:")?;
        for (number, finding) in seen.findings.iter().take(FINDINGS_MAX).enumerate() {
            let named = &finding.examples[..finding.examples.len().min(3)];
            let hosts = match finding.hosts - named.len() {
                0 => named.join(", "),
                more => format!("{} and {} more", named.join(", "), count(more as u64)),
            };
            writeln!(out, "{:3}. {} [{}]", number + 1, finding.text, output::line(&hosts, 160))?;
        }
        more(seen.findings.len(), FINDINGS_MAX, out)?;
    }
    Ok(())
}

/// The blind rules by log source and cause: one line says what a hundred rules wait for.
fn print_blind(seen: &Seen, out: &mut impl Write) -> Result<()> {
    let mut causes: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for blind in &seen.blind {
        *causes.entry((&blind.rule.log_source, Seen::why(blind))).or_default() += 1;
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, rules)| std::cmp::Reverse(*rules));
    let rows: Vec<[String; 3]> = (causes.iter().take(BLIND_MAX))
        .map(|((source, why), rules)| {
            [count(*rules as u64), output::line(source, 60), output::line(why, 160)]
        })
        .collect();
    let all = seen.rules_open + seen.blind.len();
    writeln!(
        out,
        "\n{} of {} rules that could fire are blind on what was seen:",
        count(seen.blind.len() as u64),
        count(all as u64)
    )?;
    output::table(out, ["RULES", "LOG SOURCE", "WHY"], &rows)?;
    more(causes.len(), BLIND_MAX, out)?;
    Ok(())
}

fn unrecognised(seen: &Seen) -> String {
    if seen.unrecognised_from.is_empty() {
        return String::new();
    }
    let names = seen.unrecognised_from.iter().take(5);
    let names: Vec<String> =
        names.map(|(name, n)| format!("{} {}", output::line(name, 40), count(*n))).collect();
    format!(" ({})", names.join(", "))
}

/// How many of a hundred, without calling a few none or all.
fn share(part: u64, whole: u64) -> String {
    match part {
        0 => "never".into(),
        part => format!("{}%", (part * 100 / whole.max(1)).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(against: &[&str]) -> String {
        let text = "title: Odd Parent\nlevel: high\nlogsource: {product: windows, category: process_creation}\n\
            detection: {s: {ParentImage|endswith: '\\a.exe'}, condition: s}\n---\n\
            title: Odd Arguments\nlogsource: {product: windows, category: process_creation}\n\
            detection: {s: {CommandLine|contains: x}, condition: s}\n---\n\
            title: Renamed\nlogsource: {product: windows, category: file_rename}\n\
            detection: {s: {SourceFilename|endswith: .doc}, condition: s}\n---\n\
            title: Ours\nlogsource: {product: vms}\ndetection: {s: {a: b}, condition: s}\n---\n\
            title: Machines\nlogsource: {product: windows, service: security}\n\
            detection: {s: {TargetUserName|expand: '%machines%'}, condition: s}\n";
        let (rules, problems) = otel_log_ai_core::rule::load("t.yml", text);
        assert_eq!(problems, []);
        let taxonomy = otel_log_ai_core::otel::Taxonomy::builtin().unwrap();
        let coverage = coverage(&rules, &taxonomy);
        let mut out = Vec::new();
        print_coverage(&coverage, &mut out).unwrap();
        if !against.is_empty() {
            let mut observer = Observer::new(&rules, &taxonomy, &coverage);
            for row in against {
                input::each_record(row.as_ref(), &mut |_, record| {
                    observer.record(record);
                    Ok(true)
                })
                .unwrap();
            }
            print_seen("3 rows", &observer.finish(), &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_is_for_people() {
        insta::assert_snapshot!(printed(&[]));
    }

    #[test]
    fn what_was_seen_is_told_with_what_to_do() {
        let row = |host: &str, line: &str| {
            format!(
                r#"{{"timestamp":"1795424400000000000","body":"{{\"channel\":\"Security\",\"computer\":\"{host}\",\"event_id\":{{\"id\":4688}},\"event_data\":{{\"NewProcessName\":\"b.exe\",\"CommandLine\":\"{line}\"}}}}"}}"#
            )
        };
        let (a, b) = (row("w1", ""), row("w2", ""));
        let other =
            r#"{"timestamp":"1795424401000000000","body":"odd","resources_string":{"service.name":"shop"}}"#;
        insta::assert_snapshot!(printed(&[&a, &b, other]));
    }

    #[test]
    fn a_share_is_never_rounded_to_none() {
        assert_eq!([share(0, 9), share(1, 1000), share(9, 10)], ["never", "1%", "90%"]);
    }
}
