//! From detections to alerts: what happened once becomes one alert.

mod detection;
pub use detection::{Detection, Origin};
