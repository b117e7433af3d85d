//! An alert that is not over yet: everything known of it, within limits.

use super::{Detection, Fingerprint, Origin};
use crate::rule::RuleInfo;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Detections of one rule on one entity, close enough in time to be one matter.
///
/// Its size is bounded whatever the logs hold, because it is kept in memory and written to disk
/// with every change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenAlert {
    /// Identity at the receiver.
    pub fingerprint: Fingerprint,
    /// The rule, as it was loaded when it last matched.
    #[serde(with = "shared")]
    pub rule: Arc<RuleInfo>,
    /// The event that opened the group.
    pub start: Start,
    /// The entity: the first value seen of each property, cut at [`OpenAlert::VALUE_BYTES_MAX`];
    /// nothing where there are many. The time is that of the first event.
    pub origin: Origin,
    /// Whether it stands for many entities, because there were too many alerts for one each.
    #[serde(default)]
    pub of_many: bool,
    /// Detections so far.
    pub count: u64,
    /// Earliest event time, nanoseconds since the epoch.
    pub first_seen_ns: u64,
    /// Latest event time, nanoseconds since the epoch.
    pub last_seen_ns: u64,
    /// The first detections that came and the last one.
    pub evidence: Vec<Evidence>,
    /// Hosts seen.
    #[serde(default)]
    pub hosts: Distinct,
    /// Accounts seen.
    pub users: Distinct,
    /// Source addresses seen.
    pub src_ips: Distinct,
    /// When the group was opened, milliseconds since the epoch, by the clock of the machine.
    pub opened_ms: i64,
    /// When its latest detection came, likewise.
    pub active_ms: i64,
    /// What the receiver was last told; `None` before the first notification.
    pub delivered: Option<Delivered>,
}

/// The event that opened a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Event time, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// The row's id.
    pub record_id: String,
}

/// What was last told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// With which count.
    pub count: u64,
    /// Whether that count has been repeated since.
    pub repeated: bool,
    /// How often it was told of further detections.
    #[serde(default)]
    pub updates: u32,
}

/// One detection kept as a specimen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The row's id.
    pub record_id: String,
    /// Event time, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// Fields and values that made the rule match.
    pub fields: Vec<(String, String)>,
    /// The log text. Hostile input.
    pub excerpt: String,
}

/// Different values in the order in which they came, up to [`Distinct::MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distinct {
    /// The values, each cut at [`OpenAlert::VALUE_BYTES_MAX`]; never empty ones.
    pub values: Vec<String>,
    /// Whether there were more.
    pub more: bool,
}

impl OpenAlert {
    /// Longest value of the entity that is kept, bytes.
    pub const VALUE_BYTES_MAX: usize = 256;

    /// Opens an alert with its first detection.
    pub(super) fn open(
        fingerprint: Fingerprint,
        of_many: bool,
        detection: &Detection,
        now_ms: i64,
    ) -> OpenAlert {
        let origin = &detection.origin;
        OpenAlert {
            fingerprint,
            rule: Arc::clone(&detection.rule),
            start: Start {
                timestamp_ns: origin.timestamp_ns,
                record_id: cut(&origin.record_id, Self::VALUE_BYTES_MAX).to_owned(),
            },
            origin: Origin { timestamp_ns: origin.timestamp_ns, ..Origin::default() },
            of_many,
            count: 0,
            first_seen_ns: origin.timestamp_ns,
            last_seen_ns: origin.timestamp_ns,
            evidence: Vec::new(),
            hosts: Distinct::default(),
            users: Distinct::default(),
            src_ips: Distinct::default(),
            opened_ms: now_ms,
            active_ms: now_ms,
            delivered: None,
        }
    }

    /// Counts one detection in. The work does not depend on how many came before.
    pub(super) fn add(&mut self, detection: &Detection, now_ms: i64, evidence_max: usize) {
        let from = &detection.origin;
        self.count = self.count.saturating_add(1);
        self.first_seen_ns = self.first_seen_ns.min(from.timestamp_ns);
        self.last_seen_ns = self.last_seen_ns.max(from.timestamp_ns);
        self.active_ms = self.active_ms.max(now_ms);
        if !Arc::ptr_eq(&self.rule, &detection.rule) {
            self.rule = Arc::clone(&detection.rule);
        }
        if !self.of_many {
            self.learn(from);
        }
        self.hosts.add(&from.host);
        self.users.add(&from.user);
        self.src_ips.add(&from.src_ip);
        if self.evidence.len() < evidence_max {
            self.evidence.push(Evidence::of(detection));
        } else if evidence_max > 1
            && let Some(last) = self.evidence.last_mut()
        {
            *last = Evidence::of(detection);
        }
    }

    /// Fills in what is not known yet of the entity.
    fn learn(&mut self, from: &Origin) {
        let origin = &mut self.origin;
        for (known, value) in [
            (&mut origin.record_id, &from.record_id),
            (&mut origin.host, &from.host),
            (&mut origin.user, &from.user),
            (&mut origin.src_ip, &from.src_ip),
            (&mut origin.service, &from.service),
            (&mut origin.k8s_namespace, &from.k8s_namespace),
            (&mut origin.k8s_pod, &from.k8s_pod),
            (&mut origin.container, &from.container),
            (&mut origin.trace_id, &from.trace_id),
        ] {
            if known.is_empty() && !value.is_empty() {
                *known = cut(value, Self::VALUE_BYTES_MAX).to_owned();
            }
        }
    }

    /// Whether detections came that the receiver was not told of.
    pub fn has_news(&self) -> bool {
        self.delivered.is_none_or(|delivered| delivered.count < self.count)
    }
}

impl Evidence {
    /// Most bytes of text in one specimen, log text and fields together.
    pub const BYTES_MAX: usize = 4096;

    fn of(detection: &Detection) -> Evidence {
        let excerpt = cut(&detection.excerpt, Detection::EXCERPT_BYTES_MAX);
        let mut room = Self::BYTES_MAX - excerpt.len();
        let mut fields = Vec::new();
        for (name, value) in &detection.fields {
            let name = cut(name, OpenAlert::VALUE_BYTES_MAX);
            let value = cut(value, Detection::VALUE_BYTES_MAX);
            // An empty pair still costs: many of them must not add up to much memory.
            let cost = name.len() + value.len() + 16;
            if cost > room {
                break;
            }
            room -= cost;
            fields.push((name.to_owned(), value.to_owned()));
        }
        Evidence {
            record_id: cut(&detection.origin.record_id, OpenAlert::VALUE_BYTES_MAX).to_owned(),
            timestamp_ns: detection.origin.timestamp_ns,
            fields,
            excerpt: excerpt.to_owned(),
        }
    }
}

impl Distinct {
    /// Most values kept.
    pub const MAX: usize = 16;

    fn add(&mut self, value: &str) {
        let value = cut(value, OpenAlert::VALUE_BYTES_MAX);
        if value.is_empty() || self.values.iter().any(|known| known == value) {
            return;
        }
        if self.values.len() < Self::MAX {
            self.values.push(value.to_owned());
        } else {
            self.more = true;
        }
    }
}

/// The longest start of `text` that has at most `bytes_max` bytes and no broken character.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Serialises a shared rule as the rule itself.
mod shared {
    use super::{Arc, Deserialize, RuleInfo, Serialize};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(rule: &Arc<RuleInfo>, serializer: S) -> Result<S::Ok, S::Error> {
        rule.as_ref().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<RuleInfo>, D::Error> {
        RuleInfo::deserialize(deserializer).map(Arc::new)
    }
}
