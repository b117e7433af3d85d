//! What the taxonomy knows beyond the mapping: log sources that nothing carries, and what to switch
//! on where something could. The format is described at the top of `taxonomy/advice.yaml`.

use super::class::any;
use super::taxonomy::Taxonomy;
use crate::rule::LogSource;
use serde::Deserialize;

/// A log source that no OpenTelemetry source can carry.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uncarried {
    /// Sigma's product.
    pub product: Option<String>,
    /// Sigma's category.
    pub category: Option<String>,
    /// Sigma's service.
    pub service: Option<String>,
    /// Fields that are not carried there, where the log source itself is; empty: the whole of it.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Why, in one sentence.
    pub reason: String,
}

/// What to switch on if events of some classes, or a field of them, do not arrive.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advice {
    /// Names of the classes; `*` may begin or end one.
    pub class: Vec<String>,
    /// Sigma's name of the field that is missing; without it, the events themselves are.
    pub field: Option<String>,
    /// Where events are missing: hosts that deliver any of these classes should deliver them.
    #[serde(default)]
    pub among: Vec<String>,
    /// What such hosts are called, such as `Windows`.
    #[serde(default)]
    pub hosts: String,
    /// What is wrong, in the words before "on 3 hosts" or "from 2 of 5 hosts".
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl Advice {
    /// Whether it speaks of this class.
    pub fn is_about(&self, class: &str) -> bool {
        any(&self.class, class)
    }

    /// Whether a host with events of this class is one that should deliver.
    pub fn concerns(&self, class: &str) -> bool {
        any(&self.among, class)
    }
}

impl Taxonomy {
    /// Why no source can carry `source`, or, with `fields`, one of these fields of it.
    pub fn reason(&self, source: &LogSource, fields: &[String]) -> Option<&str> {
        let speaks_of = |entry: &&Uncarried| {
            let stated = LogSource {
                product: entry.product.clone(),
                category: entry.category.clone(),
                service: entry.service.clone(),
            };
            let of_fields = match entry.fields.is_empty() {
                true => fields.is_empty(),
                false => entry.fields.iter().any(|field| fields.contains(field)),
            };
            of_fields && stated.covers(source)
        };
        self.uncarried.iter().find(speaks_of).map(|entry| entry.reason.as_str())
    }
}
