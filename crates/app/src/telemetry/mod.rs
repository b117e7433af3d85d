//! What the service tells about itself: numbers, whether it is well, the port where both are asked
//! for, and its own log and traces for a Collector.
//!
//! It only observes. Nothing here changes what is read, found or sent, and nothing waits for it.

pub mod http;
pub mod metrics;
pub mod otlp;
pub mod vitals;
