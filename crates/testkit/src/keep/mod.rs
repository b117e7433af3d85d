//! A receiver that answers as Keep's backend (0.54) does, on loopback.
//!
//! As there: 202 means "queued in memory", alerts are processed one after another later, a restart
//! loses what is queued, and several kinds of bad input are accepted and then dropped. It has no
//! correlation, workflows, incidents or mappings.

mod handle;
mod store;
mod validate;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Map, Value};

use crate::http::{HttpServer, lock};
pub use store::{Outcome, Received};
use store::{Shared, Store};

/// What an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Read and write.
    Admin,
    /// Write alerts only.
    Webhook,
    /// Read only.
    Noc,
}

/// A key of the instance.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Its name, kept with every alert sent with it.
    pub name: String,
    /// What a sender presents.
    pub secret: String,
    /// What it may do.
    pub role: Role,
}

/// How a receiver is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// 0: any free port.
    pub port: u16,
    /// The keys; none: `AUTH_TYPE=NOAUTH`, where any key will do but one must come.
    pub keys: Vec<ApiKey>,
    /// Time to process one alert. A real backend needs 40 to 100 ms.
    pub per_alert: Duration,
    /// Requests allowed a minute; none: no limit, as by default.
    pub limit_per_minute: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: 0, keys: Vec::new(), per_alert: Duration::from_millis(1), limit_per_minute: None }
    }
}

/// A way to fail, for so many requests to `/alerts/event` (none: all).
#[derive(Debug, Clone)]
pub struct Fault {
    kind: Kind,
    times: Option<u32>,
}

#[derive(Debug, Clone)]
enum Kind {
    Status(u16),
    /// 429 with `Retry-After`, in seconds.
    RateLimit(u64),
    Hang(Duration),
    Close,
    /// Takes the alerts, then closes without an answer.
    TakeAndClose,
}

impl Fault {
    /// Answers with this status: 500 and 503 with Keep's words, 429 without `Retry-After`, as there.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { kind: Kind::Status(status), times: None }
    }

    /// Answers 429 with `Retry-After`, as a proxy before Keep does.
    #[must_use]
    pub fn retry_after(seconds: u64) -> Self {
        Self { kind: Kind::RateLimit(seconds), times: None }
    }

    /// Answers as usual, but so much later.
    #[must_use]
    pub fn hang(by: Duration) -> Self {
        Self { kind: Kind::Hang(by), times: None }
    }

    /// Closes the connection without an answer; nothing is taken.
    #[must_use]
    pub fn close() -> Self {
        Self { kind: Kind::Close, times: None }
    }

    /// Takes the alerts, but the answer is lost: the sender cannot know.
    #[must_use]
    pub fn take_and_close() -> Self {
        Self { kind: Kind::TakeAndClose, times: None }
    }

    /// Befalls only so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// A running receiver; it stops when dropped.
pub struct Keep {
    server: HttpServer,
    shared: Arc<Shared>,
}

impl Keep {
    /// A receiver on any free port that takes any key.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start() -> Result<Self> {
        Self::with(Options::default())
    }

    /// A receiver as told.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn with(options: Options) -> Result<Self> {
        let port = options.port;
        let shared = Arc::new(Shared::new(options));
        let for_handler = shared.clone();
        let server = HttpServer::start(port, move |request| {
            let shared = for_handler.clone();
            async move { handle::answer(&shared, request).await }
        })?;
        Ok(Self { server, shared })
    }

    /// `http://127.0.0.1:<port>`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Refuses connections, and forgets what is queued but not processed, as a killed backend does.
    pub fn stop(&self) {
        self.server.stop();
        self.shared.lose_queue();
    }

    /// Serves again on the same port, with what had been processed.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub fn restart(&self) -> Result<()> {
        self.server.restart()
    }

    /// Forgets what is queued but not processed, without a sign to the senders; gives how many alerts
    /// that were.
    pub fn lose(&self) -> usize {
        let queued = self.queued();
        self.shared.lose_queue();
        queued
    }

    /// From now on `fault` befalls requests.
    pub fn inject(&self, fault: Fault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Every alert processed so far, in order, with its arrival time and what became of it.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.store().received.clone()
    }

    /// The last state of every fingerprint, as `GET /alerts` gives it.
    #[must_use]
    pub fn alerts(&self) -> Vec<Map<String, Value>> {
        self.store().alerts.values().map(|alert| alert.fields.clone()).collect()
    }

    /// What was accepted and then dropped, with the reason.
    #[must_use]
    pub fn errors(&self) -> Vec<(Value, String)> {
        self.store().errors.clone()
    }

    /// Alerts accepted and not yet processed.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.queued()
    }

    /// Every request to `/alerts/event` with the status it got (0: none) and its arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<(Instant, u16)> {
        lock(&self.shared.requests).clone()
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        lock(&self.shared.store)
    }
}

/// The fault that befalls the next request; counts it.
fn next_fault(faults: &Mutex<Vec<Fault>>) -> Option<Kind> {
    let mut faults = lock(faults);
    let fault = faults.iter_mut().find(|fault| fault.times != Some(0))?;
    if let Some(times) = &mut fault.times {
        *times -= 1;
    }
    Some(fault.kind.clone())
}
