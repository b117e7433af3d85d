//! The ClickHouse engine as a shared library: fetched once through npm ([`fetch`]) and loaded at
//! run time ([`engine`]). No header is published with the npm packages, so the functions are
//! declared by hand there.

pub mod engine;
pub mod fetch;

pub use engine::{Connection, Engine, EngineError, Stats};
pub use fetch::library;
