//! Reports for people who ask what the rules can do with the logs: pure data, printed elsewhere.
//!
//! Nothing here runs when logs are evaluated.

pub mod coverage;
pub mod explain;
pub mod navigator;
pub mod seen;
mod truth;

use crate::rule::RuleInfo;
use serde::Serialize;

/// A rule as reports name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleRef {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its level.
    pub level: &'static str,
    /// The log source it asks for, such as `windows/process_creation`.
    pub log_source: String,
    /// The file it stands in, as the user named it.
    pub path: String,
}

impl RuleRef {
    fn new(info: &RuleInfo) -> RuleRef {
        RuleRef {
            id: info.id.clone(),
            title: info.title.clone(),
            level: info.level.as_str(),
            log_source: info.logsource.to_string(),
            path: info.path.clone(),
        }
    }
}

/// At most `max` of `items`, as a list for people; what is left out is counted.
pub fn list(items: &[String], max: usize) -> String {
    match items.len() > max {
        false => items.join(", "),
        true => format!("{} and {} more", items[..max].join(", "), items.len() - max),
    }
}
