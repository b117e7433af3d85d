//! Keep, the alert platform: what an alert looks like there, and how it is posted.
//!
//! The only place that knows Keep's field names and replies. When something is sent, and what
//! becomes of it then, is the business of [`crate::outbox`].

mod client;
mod description;
mod payload;
pub(crate) mod text;

pub use client::{ApiKey, Client, KeepSettings};
pub use payload::{KeepSeverity, PayloadSettings, SeverityMap, outbox_item, payload, shortened, without};
