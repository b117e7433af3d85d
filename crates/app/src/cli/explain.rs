//! `explain`: why a rule did or did not match a row.

use super::{Extensions, input, output, rules};
use anyhow::Result;
use clap::{Args as ClapArgs, ValueEnum};
use otel_log_ai_core::otel::{Assembler, AuditEvent, AuditRecord, Taxonomy};
use otel_log_ai_core::report::coverage::coverage;
use otel_log_ai_core::report::explain::{Explanation, Part, State, Through, explain, explain_audit};
use otel_log_ai_core::report::list;
use otel_log_ai_core::rule::Rule;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// Of a list of alternatives, so many false ones are printed; JSON has all.
const FALSE_PARTS_MAX: usize = 8;
/// Widest line.
const WIDTH: usize = 200;

/// Tell why a rule did or did not match a row: what the row was recognised as and by what, where
/// each field of the rule was found, and what is true of each part of the rule.
///
/// Without a row, the logs that feed the rule are told.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  otel-log-ai explain --rule e3eb85fa-536c-4cd6-9047-b4506c5df11b --rules ./rules rows.ndjson
  otel-log-ai explain --rule 'Remote Desktop Enabled' --rules ./rules '{\"body\":\"…\"}'
  otel-log-ai explain --rule 'Remote Desktop Enabled' --rules ./rules")]
pub struct Args {
    /// Rule id, or the beginning of its title
    #[arg(long, value_name = "ID")]
    rule: String,
    /// Rule file or directory; may be given several times
    #[arg(long, required = true, num_args = 1.., value_name = "DIR")]
    rules: Vec<PathBuf>,
    #[command(flatten)]
    extensions: Extensions,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Tree)]
    output: Output,
    /// Most rows explained
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// File of rows in any form that `scan` reads, `-` for standard input, or one row in JSON
    #[arg(value_name = "ROWS")]
    rows: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Tree,
    /// One JSON object an event
    Json,
}

/// The JSON form.
#[derive(Serialize)]
struct Line<'e> {
    /// Line of the input, from 1.
    line: u64,
    #[serde(flatten)]
    explanation: &'e Explanation,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let (rows, paths) = input::parted(&args.rules, &args.rows);
    let loaded = args.extensions.rules(&paths)?;
    for problem in &loaded.problems {
        tracing::warn!("{problem}");
    }
    let rule = rules::find(&loaded.rules, &args.rule)?;
    let taxonomy = args.extensions.taxonomy()?;
    let mut out = BufWriter::new(io::stdout());
    let done = match rows.is_empty() {
        true => print_feeds(rule, &taxonomy, args.output, &mut out),
        false => explain_rows(args, rule, &taxonomy, &rows, &mut out),
    };
    match done.and_then(|()| Ok(out.flush()?)) {
        Err(error) if output::reader_left(&error) => Ok(()),
        done => done,
    }
}

fn explain_rows(
    args: &Args,
    rule: &Rule,
    taxonomy: &Taxonomy,
    rows: &[PathBuf],
    out: &mut impl Write,
) -> Result<()> {
    let mut left = args.limit;
    let mut assembler = Assembler::default();
    let mut last_line = 0;
    for path in rows {
        input::each_record(path, &mut |line, record| {
            if left == 0 {
                tracing::warn!("only the first {} rows are explained; --limit changes that", args.limit);
                return Ok(false);
            }
            left -= 1;
            for explanation in &explain(rule, taxonomy, record) {
                tell(args.output, line, explanation, out)?;
            }
            taxonomy.recognise(record, &mut |event| {
                for part in AuditRecord::all(event, record, &[]) {
                    assembler.add(part, 0);
                }
            });
            last_line = line;
            for audit in &assembler.due(0) {
                tell_audit(args.output, line, rule, taxonomy, audit, out)?;
            }
            Ok(true)
        })?;
        if left == 0 {
            break;
        }
    }
    for audit in &assembler.flush() {
        tell_audit(args.output, last_line, rule, taxonomy, audit, out)?;
    }
    Ok(())
}

/// Tells of an audit event that the row on `line` made whole.
fn tell_audit(
    output: Output,
    line: u64,
    rule: &Rule,
    taxonomy: &Taxonomy,
    audit: &AuditEvent,
    out: &mut impl Write,
) -> Result<()> {
    match explain_audit(rule, taxonomy, audit) {
        Some(explanation) => tell(output, line, &explanation, out),
        None => Ok(()),
    }
}

fn tell(output: Output, line: u64, explanation: &Explanation, out: &mut impl Write) -> Result<()> {
    match output {
        Output::Tree => print(line, explanation, out)?,
        Output::Json => {
            serde_json::to_writer(&mut *out, &Line { line, explanation }).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

/// What would feed the rule.
fn print_feeds(rule: &Rule, taxonomy: &Taxonomy, output: Output, out: &mut impl Write) -> Result<()> {
    let report = coverage(std::slice::from_ref(rule), taxonomy);
    let Some(rule) = report.rules.first() else { return Ok(()) };
    if output == Output::Json {
        serde_json::to_writer(&mut *out, rule).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "{}: wants {}", output::line(&rule.rule.title, WIDTH), rule.rule.log_source)?;
    if let Some(why) = &rule.why_not {
        writeln!(out, "✗ cannot fire: {}", why.text())?;
    }
    for feed in &rule.feeds {
        writeln!(out, "{} {} as {}", mark(feed.can_fire), list(&feed.classes, 6), feed.through)?;
        for field in &feed.fields {
            let native = match field.native.is_empty() {
                true => "not carried".to_owned(),
                false => field.native.join(" or "),
            };
            writeln!(out, "    {:24} {native}", field.field)?;
        }
    }
    Ok(())
}

fn mark(truth: bool) -> char {
    if truth { '✓' } else { '✗' }
}

fn print(line: u64, told: &Explanation, out: &mut impl Write) -> io::Result<()> {
    let clean = |text: &str| output::line(text, WIDTH);
    let verdict = if told.matches { "matches" } else { "does not match" };
    writeln!(out, "{} line {line}: `{}` {verdict}", mark(told.matches), clean(&told.rule.title))?;
    let place = [
        ("record", told.record_id.clone()),
        ("time", output::time(told.timestamp_ns)),
        ("host", told.host.clone()),
        ("fault", told.fault.clone().unwrap_or_default()),
    ];
    for (name, value) in place.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(out, "  {name}: {}", clean(value))?;
    }
    let class = told.class.as_deref().unwrap_or("nothing known");
    writeln!(out, "  {} recognised as {class}, by", mark(told.class.is_some()))?;
    for reason in &told.decided_by {
        writeln!(out, "      {}", clean(reason))?;
    }
    if !told.unmet.is_empty() {
        writeln!(out, "  ✗ the rule needs values for {}, so it never matches", told.unmet.join(", "))?;
    }
    if !told.covered {
        let sources = match told.log_sources.is_empty() {
            true => "no log source".to_owned(),
            false => told.log_sources.join(", "),
        };
        writeln!(out, "  ✗ the rule wants {}; this is {}", told.rule.log_source, clean(&sources))?;
    }
    for view in &told.seen {
        print_view(&told.rule.log_source, view, out)?;
    }
    writeln!(out)
}

fn print_view(wanted: &str, view: &Through, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "  ✓ the rule wants {wanted}; seen as {}", view.log_source)?;
    if !view.fields.is_empty() {
        writeln!(out, "  fields")?;
    }
    for field in &view.fields {
        let text = match field.state {
            State::NotCarried => "not carried by this source".to_owned(),
            State::Absent => "absent".to_owned(),
            State::Found => field.values.join(" | "),
        };
        let (found, name) = (mark(field.state == State::Found), &field.field);
        let native = match field.native.as_slice() {
            [] => String::new(),
            [same] if same == name => String::new(),
            others => format!(" ← {}", others.join(" or ")),
        };
        writeln!(out, "    {found} {name}{native}: {}", output::line(&text, WIDTH))?;
    }
    for search in &view.searches {
        print_part(search, 1, out)?;
    }
    writeln!(out, "  {} condition", mark(view.condition.truth))?;
    print_part(&view.condition, 2, out)
}

fn print_part(part: &Part, depth: usize, out: &mut impl Write) -> io::Result<()> {
    let indent = "  ".repeat(depth);
    writeln!(out, "{indent}{} {}", mark(part.truth), output::line(&part.label, WIDTH))?;
    let mut left_out = 0;
    let mut false_parts = 0;
    for inner in &part.parts {
        // Of a hundred alternatives, those that hold are the answer.
        if !inner.truth && part.label == "any of" {
            false_parts += 1;
            if false_parts > FALSE_PARTS_MAX {
                left_out += 1;
                continue;
            }
        }
        print_part(inner, depth + 1, out)?;
    }
    match left_out {
        0 => Ok(()),
        n => writeln!(out, "{indent}  ✗ … and {n} more, none of them true"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "title: Encoded\nlogsource: {product: windows, category: process_creation}\n\
        detection:\n  selection: {Image|endswith: ['\\powershell.exe', '\\pwsh.exe'], CommandLine|contains: ' -enc '}\n\
        \x20 filter: {Hashes|contains: abc, ParentImage|endswith: '\\x.exe'}\n  condition: selection and not filter\n";

    fn told(row: &str) -> String {
        let (rules, problems) = otel_log_ai_core::rule::load("t.yml", RULE);
        assert_eq!(problems, []);
        let taxonomy = Taxonomy::builtin().unwrap();
        let mut out = Vec::new();
        input::each_record(row.as_ref(), &mut |line, record| {
            for explanation in &explain(&rules[0], &taxonomy, record) {
                print(line, explanation, &mut out)?;
            }
            Ok(true)
        })
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_match_and_a_miss_are_told() {
        let row = |line: &str| {
            format!(
                r#"{{"id":"r1","timestamp":"1795424400000000000","body":"{{\"channel\":\"Security\",\"computer\":\"w1\",\"event_id\":{{\"id\":4688}},\"event_data\":{{\"NewProcessName\":\"C:\\\\powershell.exe\",\"CommandLine\":\"{line}\"}}}}"}}"#
            )
        };
        let other = r#"{"id":"r2","body":"<34>Oct 11 22:14:15 web1 sshd[77]: Accepted password for root"}"#;
        let all = [told(&row("p -enc x")), told(&row("p -x")), told(other)].concat();
        insta::assert_snapshot!(all);
    }

    #[test]
    fn a_rule_without_a_row_is_told_with_what_feeds_it() {
        let (rules, _) = otel_log_ai_core::rule::load("t.yml", RULE);
        let mut out = Vec::new();
        print_feeds(&rules[0], &Taxonomy::builtin().unwrap(), Output::Tree, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("✓ windows/security/4688 as windows/process_creation"), "{text}");
        assert!(text.contains("Image                    NewProcessName"), "{text}");
    }
}
