//! Reports for people who ask what the rules can do with the logs: pure data, printed elsewhere.
//!
//! Nothing here runs when logs are evaluated.

pub mod cost;
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

/// A number with a comma between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_lists_an_end() {
        assert_eq!([0, 999, 1104, 1_000_000].map(count), ["0", "999", "1,104", "1,000,000"]);
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!((list(&names, 3), list(&names, 1)), ("a, b, c".into(), "a and 2 more".into()));
    }
}
