//! What tests and the demo need of the world around the service, run inside the process:
//!
//! - [`libchdb`], [`clickhouse`]: the real ClickHouse engine behind its HTTP interface;
//! - [`schema`], [`signoz`]: SigNoz's and the contrib exporter's tables, and rows written as they write them;
//! - [`windows`]: Windows events in every body shape the Collector has produced;
//! - [`keep`]: a receiver that answers as Keep's backend does;
//! - [`estate`]: a seeded simulation of hosts with attacks planted among ordinary work.
//!
//! It is never linked into the service, binds only to loopback, and reaches the network once: npm
//! fetches the engine's library.

pub mod clickhouse;
pub mod estate;
pub mod keep;
pub mod libchdb;
pub mod schema;
pub mod signoz;
pub mod windows;

mod http;
