//! Sigma rules in our own small form.
//!
//! [`load`] turns YAML into [`Rule`]s, after [`Pipelines`] have changed what they want to change;
//! only what lies below this module names `rsigma_parser` types, whose
//! shape changes with every minor release. A broken rule becomes a [`crate::problem::Problem`]
//! with file and line, and the rest load.

mod expression;
mod found;
mod load;
mod lower;
mod pipeline;
mod place;
pub use expression::Expression;
pub use load::{load, load_with};
pub use pipeline::Pipelines;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// How bad it is if the rule is right (Sigma specification, `level`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For context only.
    Informational,
    /// Worth a look when there is time.
    Low,
    /// Worth a look today. What a rule without a level has.
    #[default]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
        self.attack_tags().filter(|t| is_tactic(t)).collect()
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

/// `g0032` is a group, `s0154` a piece of software, `t1059` a technique, all else a tactic.
fn is_tactic(tag: &str) -> bool {
    tag.chars().nth(1).is_some_and(|c| !c.is_ascii_digit())
}

/// A detection rule: named searches and the condition that combines them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What people read.
    pub info: Arc<RuleInfo>,
    /// Search identifiers (`selection`, `filter_main`, …) in the order of their names.
    pub searches: Vec<(String, Expr)>,
    /// The condition; its leaves are [`Expr::Search`].
    pub condition: Expr,
    /// Why the rule can never match as it stands, though it is valid: placeholders without values.
    pub unmet: Vec<String>,
}

/// A Boolean expression over the fields of one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Expr {
    /// All of them; true if there are none.
    And(Vec<Expr>),
    /// Any of them; false if there are none.
    Or(Vec<Expr>),
    /// The contrary. A field that is missing makes the inside false, so the outside true.
    Not(Box<Expr>),
    /// At least so many of them (`2 of selection_*`).
    AtLeast(usize, Vec<Expr>),
    /// Index into [`Rule::searches`].
    Search(usize),
    /// One comparison.
    Item(Item),
}

/// One comparison with the values of a field; true if any value passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Field name as the rule writes it; `None` is a keyword: all texts of the event.
    pub field: Option<String>,
    /// The comparison.
    pub test: Test,
}

/// A comparison with all modifiers already carried out (Sigma specification, appendix Modifiers).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Test {
    /// Text with wildcards. Numbers and Booleans are compared by their text too.
    Text(Pattern),
    /// `|re`: found anywhere in the value.
    Regex(Expression),
    /// `|cidr`: an address in the network.
    Cidr(ipnet::IpNet),
    /// `|gt`, `|gte`, `|lt`, `|lte` against a number.
    Number(Order, #[serde(with = "bits")] f64),
    /// `|exists`.
    Exists(bool),
    /// `null`: the field is missing or has no value. An empty text is not null.
    Null,
    /// `|fieldref`: against the values of another field.
    FieldRef {
        /// The other field.
        field: String,
        /// Equal, or where the other value has to stand.
        place: Place,
        /// `|cased`.
        cased: bool,
    },
    /// `|minute` … `|year`: a part of the time that the value states, in UTC.
    TimePart(TimePart, i64),
}

/// Order relation of a numeric comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
}

/// Where the right-hand text has to stand in the left-hand one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// It is the whole.
    Whole,
    /// Anywhere.
    Anywhere,
    /// At the start.
    Start,
    /// At the end.
    End,
}

/// A part of a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimePart {
    /// 0–59.
    Minute,
    /// 0–23.
    Hour,
    /// Day of the month.
    Day,
    /// ISO 8601 week.
    Week,
    /// 1–12.
    Month,
    /// Year.
    Year,
}

/// A text with wildcards, in its original letter case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pattern {
    /// The parts in order; neighbouring texts are joined, neighbouring `Any`s are one.
    pub parts: Vec<Part>,
    /// `|cased`: letter case counts.
    pub cased: bool,
}

/// A piece of a [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Part {
    /// Literal text.
    Text(String),
    /// `*`: any characters, none and line breaks included.
    Any,
    /// `?`: exactly one character.
    One,
    /// `|windash`: one of `-`, `/`, en dash, em dash, horizontal bar.
    Dash,
}

/// The characters that `|windash` takes for one another.
pub const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// A number to be stored exactly: JSON knows neither all digits nor infinity.
mod bits {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(number.to_bits())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

impl fmt::Display for Test {
    /// The comparison as people read it, such as `= *\\cmd.exe`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Text(pattern) => write!(f, "= {pattern}"),
            Test::Regex(expression) => write!(f, "=~ {expression:?}"),
            Test::Cidr(network) => write!(f, "in {network}"),
            Test::Number(order, bound) => {
                let sign = match order {
                    Order::Gt => ">",
                    Order::Gte => ">=",
                    Order::Lt => "<",
                    Order::Lte => "<=",
                };
                write!(f, "{sign} {bound}")
            }
            Test::Exists(true) => f.write_str("exists"),
            Test::Exists(false) => f.write_str("does not exist"),
            Test::Null => f.write_str("is null"),
            Test::FieldRef { field, place, .. } => match place {
                Place::Whole => write!(f, "= field {field}"),
                Place::Anywhere => write!(f, "contains field {field}"),
                Place::Start => write!(f, "starts with field {field}"),
                Place::End => write!(f, "ends with field {field}"),
            },
            Test::TimePart(part, wanted) => write!(f, "{part:?} = {wanted}"),
        }
    }
}

impl fmt::Display for Pattern {
    /// With `*` and `?` for the wildcards, `-` for any dash, and literal ones escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(&text.replace('*', "\\*").replace('?', "\\?"))?,
                Part::Any => f.write_str("*")?,
                Part::One => f.write_str("?")?,
                Part::Dash => f.write_str("-")?,
            }
        }
        if self.cased { f.write_str(" (letter case counts)") } else { Ok(()) }
    }
}
