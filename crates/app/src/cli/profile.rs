//! `rules profile`: which rules take the time and which are noisy, on real rows.
//!
//! What reading and searching an event's values takes is done once for all rules of its class and is
//! told by class; a rule's time is what its own code takes once the rule was looked at.

mod measure;

use super::{ConfigFile, Extensions, input, output, sample};
use anyhow::{Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use measure::{Costs, Profiler};
use otel_log_ai_core::engine::Engine;
use otel_log_ai_core::report::count;
use otel_log_ai_core::rule::Status;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;

/// List rules by the time that they take and by their hits, on real rows.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  otel-log-ai rules profile --rules ./rules rows.ndjson
  otel-log-ai rules profile --rules ./rules --by hits --top 50 rows.ndjson
  otel-log-ai rules profile --rules ./rules --clickhouse --config otel-log-ai.yaml --hours 24
  otel-log-ai rules profile --rules ./rules --output json rows.ndjson | jq '.rules[] | select(.hits > 1000)'")]
pub struct Args {
    /// Rule file or directory; may be given several times
    #[arg(long, required = true, num_args = 1.., value_name = "DIR")]
    rules: Vec<PathBuf>,
    #[command(flatten)]
    extensions: Extensions,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Which rules come first
    #[arg(long, value_enum, default_value_t = By::Time)]
    by: By,
    /// So many rules and classes are listed; JSON has all
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Look at the log table that the configuration names
    #[arg(long)]
    clickhouse: bool,
    /// How far back to look there, in hours
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=8784))]
    hours: u64,
    #[command(flatten)]
    config: ConfigFile,
    /// Files of rows in any form that `scan` reads; `-` is standard input
    #[arg(value_name = "ROWS", conflicts_with = "clickhouse")]
    rows: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// One JSON object with everything
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Those that take the most time
    Time,
    /// Those that match the most events
    Hits,
}

/// Runs the command. Dear rules are a finding and no failure: always `true`.
pub fn run(args: &Args, out: &mut impl Write) -> Result<bool> {
    let (rows, paths) = input::parted(&args.rules, &args.rows);
    if rows.is_empty() && !args.clickhouse {
        bail!(
            "what is the time to be measured on? give a file of rows, `-` for standard input, or `--clickhouse`"
        );
    }
    let mut loaded = args.extensions.rules(&paths)?;
    loaded.rules.retain(|rule| rule.info.status != Some(Status::Unsupported));
    for problem in &loaded.problems {
        tracing::warn!("{problem}");
    }
    if loaded.rules.is_empty() {
        bail!("no usable rule in {}", output::paths(&paths));
    }
    let taxonomy = args.extensions.taxonomy()?;
    let engine = Engine::compile(loaded.rules, &taxonomy.classes);
    let mut profiler = Profiler::new(&engine, &taxonomy);
    let on = if args.clickhouse {
        sample::clickhouse(&args.config, args.hours, &mut |record| profiler.record(record))?
    } else {
        for path in &rows {
            input::each_record(path, &mut |_, record| {
                profiler.record(record);
                Ok(true)
            })?;
        }
        format!("all rows of {}", output::paths(&rows))
    };
    let report = Report::new(&on, &profiler.finish(), &engine, args.by);
    match args.output {
        Output::Json => {
            serde_json::to_writer(&mut *out, &report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Output::Table => print(&report, args.top, out)?,
    }
    Ok(true)
}

/// The JSON form.
#[derive(Debug, Serialize)]
struct Report<'r> {
    /// What was looked at.
    on: &'r str,
    rows: u64,
    /// Events of a class that a rule wants or could want.
    events: u64,
    /// Reading and searching values, for all rules at once.
    scan_ns: u64,
    /// The rules' own code.
    rules_ns: u64,
    /// The dearest first.
    classes: Vec<ClassLine<'r>>,
    /// The dearest first, or the noisiest.
    rules: Vec<Line<'r>>,
    /// Rules of the set that were not looked at once.
    never_asked: usize,
}

#[derive(Debug, Serialize)]
struct ClassLine<'r> {
    class: &'r str,
    events: u64,
    hits: u64,
    /// Rules looked at for an event, on average.
    asked_per_event: f64,
    scan_ns: u64,
    rules_ns: u64,
    ns_per_event: u64,
}

#[derive(Debug, Serialize)]
struct Line<'r> {
    id: &'r str,
    title: &'r str,
    path: &'r str,
    asked: u64,
    hits: u64,
    time_ns: u64,
    ns_per_event: u64,
    /// Of the time of all rules.
    share: f64,
}

impl<'r> Report<'r> {
    fn new(on: &'r str, costs: &Costs, engine: &'r Engine, by: By) -> Report<'r> {
        let rules_ns: u64 = costs.rules.iter().map(|cost| cost.time_ns).sum();
        let per = |time_ns: u64, count: u64| time_ns / count.max(1);
        let lines = engine.rules().iter().zip(&costs.rules).filter(|(_, cost)| cost.asked > 0);
        let mut rules: Vec<Line<'_>> = lines
            .map(|(rule, cost)| Line {
                id: &rule.info.id,
                title: &rule.info.title,
                path: &rule.info.path,
                asked: cost.asked,
                hits: cost.hits,
                time_ns: cost.time_ns,
                ns_per_event: per(cost.time_ns, cost.asked),
                share: cost.time_ns as f64 / rules_ns.max(1) as f64,
            })
            .collect();
        match by {
            By::Time => rules.sort_by_key(|line| std::cmp::Reverse((line.time_ns, line.asked))),
            By::Hits => rules.sort_by_key(|line| std::cmp::Reverse((line.hits, line.time_ns))),
        }
        let lines = engine.classes().iter().zip(&costs.classes).filter(|(_, cost)| cost.events > 0);
        let mut classes: Vec<ClassLine<'_>> = lines
            .map(|(class, cost)| ClassLine {
                class: &class.name,
                events: cost.events,
                hits: cost.hits,
                asked_per_event: cost.asked as f64 / cost.events as f64,
                scan_ns: cost.scan_ns,
                rules_ns: cost.rules_ns,
                ns_per_event: per(cost.scan_ns + cost.rules_ns, cost.events),
            })
            .collect();
        classes.sort_by_key(|line| std::cmp::Reverse(line.scan_ns + line.rules_ns));
        Report {
            on,
            rows: costs.rows,
            events: costs.events,
            scan_ns: costs.classes.iter().map(|cost| cost.scan_ns).sum(),
            rules_ns,
            never_asked: engine.rules().len() - rules.len(),
            classes,
            rules,
        }
    }
}

/// A time for people.
fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

fn print(report: &Report<'_>, top: usize, out: &mut impl Write) -> Result<()> {
    let rows: Vec<[String; 7]> = (report.rules.iter().take(top))
        .map(|line| {
            [
                time(line.time_ns),
                format!("{:.1}%", line.share * 100.0),
                count(line.asked),
                time(line.ns_per_event),
                count(line.hits),
                output::line(line.title, 60),
                format!("{} {}", line.id, output::line(line.path, 120)),
            ]
        })
        .collect();
    output::table(out, ["TIME", "SHARE", "ASKED", "PER EVENT", "HITS", "RULE", "ID AND FILE"], &rows)?;
    more(report.rules.len(), top, out)?;
    let rows: Vec<[String; 7]> = (report.classes.iter().take(top))
        .map(|line| {
            [
                time(line.scan_ns + line.rules_ns),
                count(line.events),
                time(line.ns_per_event),
                time(line.scan_ns / line.events.max(1)),
                format!("{:.1}", line.asked_per_event),
                count(line.hits),
                output::line(line.class, 60),
            ]
        })
        .collect();
    writeln!(out)?;
    let head = ["TIME", "EVENTS", "PER EVENT", "OF IT SEARCH", "RULES ASKED", "HITS", "CLASS"];
    output::table(out, head, &rows)?;
    more(report.classes.len(), top, out)?;
    writeln!(
        out,
        "\n{} events of {} rows ({}): {} to read and search their values, {} in {} rules; rules never asked: {}",
        count(report.events),
        count(report.rows),
        report.on,
        time(report.scan_ns),
        time(report.rules_ns),
        count(report.rules.len() as u64),
        count(report.never_asked as u64)
    )?;
    Ok(())
}

fn more(all: usize, top: usize, out: &mut impl Write) -> io::Result<()> {
    match all.saturating_sub(top) {
        0 => Ok(()),
        more => writeln!(out, "… and {more} more (`--top`, or `--output json` for all)"),
    }
}

#[cfg(test)]
mod tests {
    use super::measure::{ClassCost, Cost};
    use super::*;
    use otel_log_ai_core::otel::{LogRecord, Taxonomy};

    fn engine() -> (Taxonomy, Engine) {
        let rule = |title: &str, value: &str| {
            format!(
                "title: {title}\nid: {title}\nlogsource: {{product: windows, service: security}}\n\
                 detection: {{s: {{TargetUserName|contains: {value}}}, condition: s}}\n"
            )
        };
        let text = ["Alpha", "Beta", "Gamma"].map(|title| rule(title, &title[..2])).join("---\n");
        let (rules, problems) = otel_log_ai_core::rule::load("rules/t.yml", &text);
        assert_eq!(problems, []);
        let taxonomy = Taxonomy::builtin().unwrap();
        let engine = Engine::compile(rules, &taxonomy.classes);
        (taxonomy, engine)
    }

    #[test]
    fn the_table_is_for_people() {
        let (_, engine) = engine();
        let mut costs = Costs {
            rows: 1_500_000,
            events: 1_234_567,
            rules: vec![
                Cost { asked: 1_000_000, hits: 12, time_ns: 90_000_000 },
                Cost { asked: 10, hits: 10, time_ns: 30_000_000_000 },
                Cost::default(),
            ],
            classes: vec![ClassCost::default(); engine.classes().len()],
        };
        costs.classes[0] =
            ClassCost { events: 1_000, asked: 2_500, hits: 3, scan_ns: 5_000_000, rules_ns: 1_000_000 };
        costs.classes[1] =
            ClassCost { events: 7, asked: 7, hits: 0, scan_ns: 20_000_000, rules_ns: 40_000_000 };
        let printed = |by, top| {
            let mut out = Vec::new();
            print(&Report::new("all rows of x", &costs, &engine, by), top, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        insta::assert_snapshot!("by_time", printed(By::Time, 20));
        insta::assert_snapshot!("by_hits", printed(By::Hits, 1));
    }

    #[test]
    fn rules_are_asked_and_hit_as_the_engine_has_them() {
        let (taxonomy, engine) = engine();
        let mut profiler = Profiler::new(&engine, &taxonomy);
        for user in ["alfred", "albeta", "nobody"] {
            let body = format!(
                r#"{{"channel":"Security","event_id":{{"id":4624}},"event_data":{{"TargetUserName":"{user}"}}}}"#
            );
            profiler.record(&LogRecord { body: body.into(), ..LogRecord::default() });
        }
        let costs = profiler.finish();
        assert_eq!((costs.rows, costs.events), (3, 3));
        assert_eq!(costs.rules.iter().map(|rule| rule.hits).collect::<Vec<_>>(), [2, 1, 0]);
        assert!(costs.rules.iter().all(|rule| rule.asked >= rule.hits));
        assert_eq!(costs.classes.iter().map(|class| class.events).sum::<u64>(), 3);
    }
}
