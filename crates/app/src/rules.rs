//! Reads rule files from directories.

use anyhow::{Result, bail};
use otel_log_ai_core::problem::Problem;
use otel_log_ai_core::rule::{self, Rule};
use std::path::PathBuf;

/// What was found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Usable rules, in the order of their files.
    pub rules: Vec<Rule>,
    /// What was rejected.
    pub problems: Vec<Problem>,
    /// Number of files read.
    pub files: usize,
}

/// Reads all `.yml` and `.yaml` files below `paths`.
pub fn read(paths: &[PathBuf]) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    for root in paths {
        if !root.exists() {
            bail!("{} does not exist", root.display());
        }
        for entry in walkdir::WalkDir::new(root).sort_by_file_name().follow_links(true) {
            let entry = entry?;
            let yaml = entry.path().extension().is_some_and(|e| e == "yml" || e == "yaml");
            if !entry.file_type().is_file() || !yaml {
                continue;
            }
            loaded.files += 1;
            let text = std::fs::read_to_string(entry.path())?;
            let (rules, problems) = rule::load(&entry.path().display().to_string(), &text);
            loaded.rules.extend(rules);
            loaded.problems.extend(problems);
        }
    }
    Ok(loaded)
}
