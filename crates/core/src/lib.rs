//! Sigma on OpenTelemetry logs.
//!
//! From a row of a log table to a detection, without touching the world: no I/O, no clock, no
//! global state, no panic on any input. What comes in is text and bytes, what goes out is data;
//! everything wrong with the input is data too (see [`problem::Problem`]).
//!
//! ```text
//! rule text ──► rule::load ──► Rule ─┐
//! taxonomy  ──► otel::Taxonomy ──────┼─► engine::Engine ─┐
//! row ─► LogRecord ─► otel::Taxonomy::recognise ─► Event ┴─► alert::Detection ─► alert::Grouping
//! ```
#![deny(missing_docs)]

pub mod alert;
pub mod detect;
pub mod engine;
pub mod otel;
pub mod parallel;
pub mod plan;
pub mod prefetch;
pub mod problem;
mod remembered;
pub mod report;
pub mod review;
pub mod rule;
pub mod spec;
pub mod value;
