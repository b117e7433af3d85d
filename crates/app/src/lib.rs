//! Everything of OpenTelemetry Log AI that touches the world. The binary is a thin caller.

pub mod cli;
pub mod clickhouse;
pub mod config;
pub mod events;
mod hex;
pub mod keep;
pub mod outbox;
pub mod pipeline;
pub mod rows;
pub mod rules;
pub mod signoz;
pub mod store;
pub mod tail;
pub mod target;
pub mod telemetry;
pub mod tls;
