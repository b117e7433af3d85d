//! Commands.
pub mod output;
pub mod rules;
pub mod scan;
