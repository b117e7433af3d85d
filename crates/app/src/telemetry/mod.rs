//! What the service tells about itself: numbers, whether it is well, and the port where both are
//! asked for.
//!
//! It only observes. Nothing here changes what is read, found or sent, and nothing waits for it.

pub mod http;
pub mod metrics;
pub mod vitals;
