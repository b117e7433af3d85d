//! One rule that matched one log record.

use super::Identity;
use crate::rule::RuleInfo;
use crate::spec::MatchedFields;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A match, with what an analyst needs; independent of the row it was made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detection {
    /// The rule.
    pub rule: Arc<RuleInfo>,
    /// Where and when.
    pub origin: Origin,
    /// The fields and values that made the rule match, by the names the rule uses; values are cut
    /// at [`Detection::VALUE_BYTES_MAX`].
    pub fields: MatchedFields,
    /// The log text, cut at [`Detection::EXCERPT_BYTES_MAX`] on a character boundary. Hostile input:
    /// every output neutralises it for itself.
    pub excerpt: String,
    /// What was detected, whatever row told of it.
    pub identity: Identity,
    /// A number for the insert that the row came with; `None` where that cannot be told.
    pub insert: Option<u64>,
}

impl Detection {
    /// Most matched fields kept.
    pub const FIELDS_MAX: usize = 32;
    /// Longest matched value kept, bytes.
    pub const VALUE_BYTES_MAX: usize = 1024;
    /// Longest excerpt kept, bytes.
    pub const EXCERPT_BYTES_MAX: usize = 2048;
}

/// Where a detection's event came from. Unknown values are empty strings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The row's id.
    pub record_id: String,
    /// Event time, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// Host the event happened on.
    pub host: String,
    /// Account that acted (`User`, `SubjectUserName`, `TargetUserName`, auditd `AUID`, …).
    pub user: String,
    /// Address it came from.
    pub src_ip: String,
    /// `service.name`.
    pub service: String,
    /// `k8s.namespace.name`.
    pub k8s_namespace: String,
    /// `k8s.pod.name`.
    pub k8s_pod: String,
    /// `container.name` or `k8s.container.name`.
    pub container: String,
    /// Trace the log belongs to.
    pub trace_id: String,
}
