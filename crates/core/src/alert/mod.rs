//! From detections to alerts: what happened once becomes one alert.
//!
//! ```text
//! Detection ─► Recent::admit ─► Grouping::observe ─► OpenAlert (one per rule and entity)
//!                                                        │ Grouping::due
//!                                                        ▼
//!                                                   Notification ─► an alert receiver
//! ```
//! Pure: the clock is an argument, the state goes in by `restore` and out by `take_changes`. What an
//! alert looks like to a receiver is not decided here.

mod detection;
pub use detection::{Detection, Origin};
mod fingerprint;
pub use fingerprint::{Fingerprint, GroupField};
mod identity;
pub use identity::{Content, Identity};
mod open;
pub use open::{Delivered, Distinct, Evidence, OpenAlert, Start};
mod notification;
pub use notification::{Kind, Notification};
mod grouping;
pub use grouping::{Changes, Grouping, GroupingSettings};
mod recent;
pub use recent::{Recent, RecentChanges, RecentSettings, Remembered};
