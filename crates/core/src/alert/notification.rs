//! What is to be told to the alert receiver.

use super::OpenAlert;
use uuid::Uuid;

/// Namespace of the ids of notifications and groups.
const NAMESPACE: Uuid = Uuid::from_u128(0x9d2f_61a4_3c57_4e0b_8f1d_5a70_c2e6_b914);

/// Why a notification is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The first word of a group.
    New,
    /// More detections came since the last word.
    Update,
    /// Nothing new: said again in case the receiver lost it. Has the id of the last word, so that
    /// a receiver that has it still sees a duplicate.
    Repeat,
    /// The group is over.
    Resolved,
}

/// A snapshot of an alert, to be delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// UUIDv5 of the group, the status and the count: whoever computes the same notification
    /// again, after a crash or by replaying, computes the same id.
    pub id: Uuid,
    /// UUIDv5 of fingerprint, time and row id of the group's first event: tells one group from the
    /// next one of the same fingerprint.
    pub group_id: Uuid,
    /// Why.
    pub kind: Kind,
    /// When it became due, milliseconds since the epoch, by the clock that the caller gave.
    pub at_ms: i64,
    /// The alert as it stood then.
    pub alert: OpenAlert,
}

impl Notification {
    pub(super) fn new(kind: Kind, at_ms: i64, alert: &OpenAlert) -> Notification {
        let start = &alert.start;
        let group = format!("{}\n{}\n{}", alert.fingerprint, start.timestamp_ns, start.record_id);
        let group_id = Uuid::new_v5(&NAMESPACE, group.as_bytes());
        let status = if kind == Kind::Resolved { "resolved" } else { "firing" };
        let id = Uuid::new_v5(&group_id, format!("{status}\n{}", alert.count).as_bytes());
        Notification { id, group_id, kind, at_ms, alert: alert.clone() }
    }

    /// Whether it says that the alert is over.
    pub fn is_resolved(&self) -> bool {
        self.kind == Kind::Resolved
    }
}
