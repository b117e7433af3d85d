//! What is measured: rules and records, for the bench and for the benches of the parts.
#![deny(missing_docs)]

pub mod inputs;
