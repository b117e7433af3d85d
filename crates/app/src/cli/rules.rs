//! `rules list|check|coverage|profile|show`: what is loaded, and what was rejected and why.

use super::{Extensions, coverage, output, profile};
use crate::rules::dear;
use anyhow::{Result, bail};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use otel_log_ai_core::engine::Engine;
use otel_log_ai_core::otel::Taxonomy;
use otel_log_ai_core::report::cost::BUDGET_NS;
use otel_log_ai_core::rule::{Expr, Item, Rule};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// Look at rules: what is loaded, what was rejected and why.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the rules that load
    List(Source),
    /// Report every file and line that does not load; exit code 1 if there is one
    ///
    /// Rules that load are told too if they can never match or cost more than their budget.
    Check {
        /// A rule may cost so many nanoseconds for an event of its log source; 0: anything
        #[arg(long, value_name = "N", default_value_t = BUDGET_NS)]
        budget_ns: u64,
        #[command(flatten)]
        source: Source,
    },
    /// Tell for every rule which logs feed it, how its fields resolve there, or why it cannot fire
    ///
    /// With `--against` or `--against-clickhouse`, what really arrives is held against it: which
    /// hosts deliver what, which rules are blind for want of it, and what to switch on.
    Coverage(coverage::Args),
    /// List rules by the time that they take and by their hits, on real rows
    ///
    /// Finds the rule that is dear and the rule that is noisy.
    Profile(profile::Args),
    /// Show one rule as it is evaluated
    Show {
        /// Rule id, or the beginning of its title
        rule: String,
        #[command(flatten)]
        source: Source,
    },
}

#[derive(Debug, ClapArgs)]
struct Source {
    /// Rule file or directory; may be given several times
    #[arg(long, required = true, num_args = 1.., value_name = "DIR")]
    rules: Vec<PathBuf>,
    #[command(flatten)]
    extensions: Extensions,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One JSON object a line
    Ndjson,
    /// For people
    Table,
}

/// Runs the command; `false` if it found faults.
pub fn run(args: &Args) -> Result<bool> {
    let mut out = BufWriter::new(io::stdout());
    let done = match &args.command {
        Command::List(source) => list(source, &mut out),
        Command::Check { budget_ns, source } => check(source, *budget_ns, &mut out),
        Command::Coverage(args) => coverage::run(args, &mut out),
        Command::Profile(args) => profile::run(args, &mut out),
        Command::Show { rule, source } => show(rule, source, &mut out),
    };
    match done.and_then(|fine| Ok((fine, out.flush()?))) {
        Err(error) if output::reader_left(&error) => Ok(true),
        done => done.map(|(fine, ())| fine),
    }
}

fn list(source: &Source, out: &mut impl Write) -> Result<bool> {
    let loaded = source.extensions.rules(&source.rules)?;
    if source.output == Output::Ndjson {
        for rule in &loaded.rules {
            writeln!(out, "{}", serde_json::to_string(&*rule.info)?)?;
        }
    } else {
        let rows: Vec<[String; 5]> = (loaded.rules.iter())
            .map(|rule| {
                let info = &rule.info;
                let status = info.status.map_or("", |s| s.as_str());
                [
                    info.level.to_string(),
                    status.into(),
                    info.logsource.to_string(),
                    info.id.clone(),
                    info.title.clone(),
                ]
            })
            .collect();
        output::table(out, ["LEVEL", "STATUS", "LOG SOURCE", "ID", "TITLE"], &rows)?;
        writeln!(
            out,
            "{} rules, {} problems (see `rules check`)",
            loaded.rules.len(),
            loaded.problems.len()
        )?;
    }
    Ok(true)
}

fn check(source: &Source, budget_ns: u64, out: &mut impl Write) -> Result<bool> {
    let loaded = source.extensions.rules(&source.rules)?;
    let taxonomy = source.extensions.taxonomy()?;
    let count = loaded.rules.len();
    let unmet: Vec<&Rule> = loaded.rules.iter().filter(|rule| !rule.unmet.is_empty()).collect();
    let blind = blind(&loaded.rules, &taxonomy);
    if source.output == Output::Ndjson {
        for problem in &loaded.problems {
            writeln!(out, "{}", serde_json::to_string(problem)?)?;
        }
    } else {
        for problem in &loaded.problems {
            writeln!(out, "error: {problem}")?;
        }
        for rule in unmet {
            let names = rule.unmet.join(", ");
            writeln!(
                out,
                "warn: {}: `{}` needs values for {names}, so it never matches",
                rule.info.path, rule.info.title
            )?;
        }
        for rule in &blind {
            writeln!(
                out,
                "warn: {}: `{}`: no known source of logs is {}, so it never matches",
                rule.info.path, rule.info.title, rule.info.logsource
            )?;
        }
        let dear = dear(&loaded.rules, budget_ns);
        for problem in &dear {
            writeln!(out, "warn: {problem}")?;
        }
        let engine = Engine::compile(loaded.rules.clone(), &taxonomy.classes);
        let classes = engine.rules_by_class().filter(|(_, rules)| *rules > 0).count();
        writeln!(
            out,
            "{count} rules load for {classes} classes of events; {} without a source, {} dear; {} problems in {} files",
            blind.len(),
            dear.len(),
            loaded.problems.len(),
            loaded.files
        )?;
    }
    Ok(loaded.problems.is_empty())
}

/// Rules whose log source no class of the mapping has.
fn blind<'r>(rules: &'r [Rule], taxonomy: &Taxonomy) -> Vec<&'r Rule> {
    let views = || taxonomy.classes.iter().flat_map(|class| &class.views);
    rules.iter().filter(|rule| !views().any(|view| view.takes(&rule.info.logsource))).collect()
}

/// The rule with this id, or whose title begins so.
pub fn find<'r>(rules: &'r [Rule], wanted: &str) -> Result<&'r Rule> {
    let title = wanted.to_lowercase();
    let found = (rules.iter())
        .find(|rule| rule.info.id.eq_ignore_ascii_case(wanted))
        .or_else(|| rules.iter().find(|rule| rule.info.title.to_lowercase().starts_with(&title)));
    match found {
        Some(rule) => Ok(rule),
        None => bail!("no rule has the id or title `{wanted}`; `rules list` shows all"),
    }
}

fn show(wanted: &str, source: &Source, out: &mut impl Write) -> Result<bool> {
    let loaded = source.extensions.rules(&source.rules)?;
    let rule = find(&loaded.rules, wanted)?;
    if source.output == Output::Ndjson {
        writeln!(out, "{}", serde_json::to_string(&*rule.info)?)?;
        return Ok(true);
    }
    let info = &rule.info;
    writeln!(out, "{}\n", info.title)?;
    let techniques = info.techniques().join(", ");
    for (name, value) in [
        ("id", info.id.as_str()),
        ("file", &info.path),
        ("level", info.level.as_str()),
        ("status", info.status.map_or("", |s| s.as_str())),
        ("log source", &info.logsource.to_string()),
        ("techniques", &techniques),
        ("author", &info.author),
        ("description", &info.description),
        ("false positives", &info.falsepositives.join("; ")),
        ("references", &info.references.join(" ")),
    ] {
        if !value.is_empty() {
            writeln!(out, "{name:16} {value}")?;
        }
    }
    writeln!(out)?;
    for (name, tree) in &rule.searches {
        writeln!(out, "{name}:")?;
        tree_lines(tree, rule, 1, out)?;
    }
    writeln!(out, "condition:")?;
    tree_lines(&rule.condition, rule, 1, out)?;
    Ok(true)
}

/// One line a comparison, indented by nesting.
fn tree_lines(tree: &Expr, rule: &Rule, depth: usize, out: &mut impl Write) -> io::Result<()> {
    let indent = "  ".repeat(depth);
    let mut branch = |name: String, trees: &[Expr]| -> io::Result<()> {
        writeln!(out, "{indent}{name}")?;
        trees.iter().try_for_each(|tree| tree_lines(tree, rule, depth + 1, out))
    };
    match tree {
        Expr::And(trees) => branch("all of".into(), trees),
        Expr::Or(trees) => branch("any of".into(), trees),
        Expr::AtLeast(n, trees) => branch(format!("at least {n} of"), trees),
        Expr::Not(tree) => branch("not".into(), std::slice::from_ref(tree)),
        Expr::Search(index) => {
            let name = rule.searches.get(*index).map_or("", |(name, _)| name);
            writeln!(out, "{indent}{name}")
        }
        Expr::Item(item) => writeln!(out, "{indent}{}", comparison(item)),
    }
}

fn comparison(item: &Item) -> String {
    format!("{} {}", item.field.as_deref().unwrap_or("keyword"), item.test)
}
