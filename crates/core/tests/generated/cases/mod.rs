//! Events made from a rule: to fulfil each of its comparisons, and to just miss it.
//!
//! [`Plot`] flattens a rule into a tree with numbered comparisons, [`Plot::event`] writes an event that
//! goes through one of them, [`vary`] changes one thing about an event, [`shrink`] makes an event on
//! which two engines differ as small as it can be. Nothing here knows what is right: an event need not
//! match its rule, it only has to be near. The same seed gives the same events.
//!
//! Shared by the tests of two crates, of which neither uses all of it.
#![allow(dead_code)]

pub mod corpus;
mod plot;
mod random;
mod shrink;
mod text;
mod vary;

pub use plot::Plot;
pub use random::Random;
pub use shrink::shrink;
pub use vary::vary;

use otel_log_ai_core::otel::Event;

/// An event as a line for people.
pub fn told(event: &Event<'_>) -> String {
    let fields: Vec<String> = event.fields.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    match event.texts.is_empty() {
        true => fields.join(", "),
        false => format!("{}; texts {:?}", fields.join(", "), event.texts),
    }
}

/// How much to try.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Of each rule, so many comparisons are aimed at.
    pub leaves: usize,
    /// So many events are made for each.
    pub rounds: usize,
    /// So many changes are made to each event.
    pub changes: usize,
}

/// From `OTEL_LOG_AI_CASES` (`quick`, the default, or `long`); the seed from `OTEL_LOG_AI_SEED`.
pub fn effort(quick: Effort, long: Effort) -> (Effort, u64) {
    let seed = std::env::var("OTEL_LOG_AI_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let effort = match std::env::var("OTEL_LOG_AI_CASES").as_deref() {
        Ok("long") => long,
        _ => quick,
    };
    eprintln!("OTEL_LOG_AI_SEED={seed}, {effort:?}");
    (effort, seed)
}
