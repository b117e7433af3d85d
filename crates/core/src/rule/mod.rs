//! Sigma rules in our own small form.
//!
//! [`load`] turns YAML into [`Rule`]s; it is the only code that names `rsigma_parser` types, whose
//! shape changes with every minor release. A broken rule becomes a [`crate::problem::Problem`]
//! with file and line, and the rest load.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// How bad it is if the rule is right (Sigma specification, `level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For context only.
    Informational,
    /// Worth a look when there is time.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth a look now.
    High,
    /// Worth waking someone.
    Critical,
}

impl Level {
    /// The Sigma word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Informational => "informational",
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
            Level::Critical => "critical",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Maturity of a rule (Sigma specification, `status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not to be used any more.
    Deprecated,
    /// Cannot be used as it is.
    Unsupported,
    /// New; may be noisy.
    Experimental,
    /// Mostly good; needs fine tuning.
    Test,
    /// Good for production.
    Stable,
}

impl Status {
    /// The Sigma word.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Deprecated => "deprecated",
            Status::Unsupported => "unsupported",
            Status::Experimental => "experimental",
            Status::Test => "test",
            Status::Stable => "stable",
        }
    }
}

/// Which logs a rule is for (Sigma specification, `logsource`); lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogSource {
    /// Operating system or product, e.g. `windows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Kind of event, e.g. `process_creation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Log of the product, e.g. `security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl LogSource {
    /// Whether a rule with this log source applies to an event of `source`: everything the rule
    /// states must be so.
    pub fn covers(&self, source: &LogSource) -> bool {
        let holds = |rule: &Option<String>, event: &Option<String>| rule.is_none() || rule == event;
        holds(&self.product, &source.product)
            && holds(&self.category, &source.category)
            && holds(&self.service, &source.service)
    }
}

impl fmt::Display for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.product, &self.category, &self.service];
        let mut parts = parts.into_iter().flatten();
        f.write_str(parts.next().map_or("any", String::as_str))?;
        parts.try_for_each(|part| write!(f, "/{part}"))
    }
}

/// Everything about a rule that people read; shared by all detections of the rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// The rule's UUID; a rule without one gets a UUIDv5 of its title and path.
    pub id: String,
    /// Title.
    pub title: String,
    /// Level; `medium` where the rule states none.
    pub level: Level,
    /// Status, where stated.
    pub status: Option<Status>,
    /// Description, possibly empty.
    pub description: String,
    /// Author, possibly empty.
    pub author: String,
    /// Links.
    pub references: Vec<String>,
    /// Known causes of false alarms.
    pub falsepositives: Vec<String>,
    /// Tags in lower case, such as `attack.t1059.001`.
    pub tags: Vec<String>,
    /// Log source.
    pub logsource: LogSource,
    /// File the rule was read from, as the user named it.
    pub path: String,
}

impl RuleInfo {
    /// ATT&CK tactics by their Sigma names (`credential-access`).
    pub fn tactics(&self) -> Vec<&str> {
        self.attack_tags()
            .filter(|t| !is_technique(t) && !t.starts_with(['g', 's']) || is_tactic(t))
            .collect()
    }

    /// ATT&CK techniques (`T1059.001`).
    pub fn techniques(&self) -> Vec<String> {
        self.attack_tags().filter(|t| is_technique(t)).map(str::to_uppercase).collect()
    }

    fn attack_tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().filter_map(|t| t.strip_prefix("attack."))
    }
}

fn is_technique(tag: &str) -> bool {
    tag.strip_prefix('t').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Tactic names may start with the letters that otherwise mark software and groups.
fn is_tactic(tag: &str) -> bool {
    !tag[1..].starts_with(|c: char| c.is_ascii_digit())
}

/// A detection rule, ready to be planned.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What people read.
    pub info: Arc<RuleInfo>,
}
