//! Everything of OpenTelemetry Log AI that touches the world. The binary is a thin caller.

pub mod keep;
pub mod outbox;
pub mod signoz;
pub mod store;
