//! The task that reads: connects, finds the table, tails it, and starts over when ClickHouse was
//! away. It never gives up.

use super::poll::Pause;
use crate::clickhouse::{Client, Fault, Kind, Layout};
use crate::config;
use crate::events::Event;
use crate::tail::{Batch, Tail};
use crate::telemetry::metrics::{METRICS, Poll};
use crate::telemetry::otlp::Span;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Waits after a failure: from the first to the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How often the table's columns are looked at: SigNoz adds some when it is upgraded.
const LAYOUT_INTERVAL: Duration = Duration::from_secs(120);

/// What the task tells.
#[derive(Debug)]
pub enum FromSource {
    /// Reading begins at this position.
    Opened { position: String },
    /// New rows.
    Batch(Box<Batch>),
    /// Reading failed and will be tried again.
    Away,
}

/// Why reading stopped.
enum Stopped {
    /// Nobody wants the rows any more.
    Unwanted,
    /// ClickHouse failed.
    Fault(Fault),
    /// The table is not what it was.
    Changed,
    /// The saved position cannot be used.
    Position(anyhow::Error),
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Stopped {
        Stopped::Fault(fault)
    }
}

/// Reads until the receiver is gone. `saved` is the committed position.
pub async fn run(config: config::ClickHouse, saved: Option<String>, out: mpsc::Sender<FromSource>) {
    let mut source = Source { config, position: saved, out, failing: None };
    loop {
        let stopped = source.read().await;
        let fault = match stopped {
            Stopped::Unwanted => return,
            Stopped::Changed => continue,
            Stopped::Fault(fault) => fault,
            Stopped::Position(error) => Fault {
                kind: Kind::Other,
                message: format!("{error:#}"),
                hint: Some("move the state file away to start over at `clickhouse.start`".into()),
            },
        };
        if !source.wait_after(&fault).await {
            return;
        }
    }
}

struct Source {
    config: config::ClickHouse,
    /// Position after the last batch that was handed over.
    position: Option<String>,
    out: mpsc::Sender<FromSource>,
    failing: Option<Failing>,
}

struct Failing {
    since: Instant,
    kind: Kind,
    wait: Duration,
}

impl Source {
    /// Connects and hands over batches until something stops it.
    async fn read(&mut self) -> Stopped {
        match self.try_read().await {
            Ok(never) => match never {},
            Err(stopped) => stopped,
        }
    }

    async fn try_read(&mut self) -> Result<std::convert::Infallible, Stopped> {
        let client = Arc::new(Client::connect(&self.config).await?);
        let layout = Layout::detect(&client, &self.config).await?;
        Event::SourceOpened { layout: &layout.describe(), version: client.version() }.emit();
        if !client.settings_allowed() {
            Event::NoSettings { user: client.user() }.emit();
        }
        let saved = self.position.as_deref();
        let opened = Tail::open(Arc::clone(&client), layout.clone(), &self.config, saved).await;
        let mut tail = match opened {
            Ok(tail) => tail,
            Err(error) => match error.downcast::<Fault>() {
                Ok(fault) => return Err(Stopped::Fault(fault)),
                Err(error) => return Err(Stopped::Position(error)),
            },
        };
        self.hand_over(FromSource::Opened { position: tail.position() }).await?;
        let (mut looked, mut pause) = (Instant::now(), Pause::new(self.config.poll_interval));
        loop {
            let (began, span) = (Instant::now(), Span::begin());
            let next = tail.next().await;
            let outcome = match &next {
                Ok(Some(_)) => Poll::Rows,
                Ok(None) => Poll::Nothing,
                Err(_) => Poll::Failure,
            };
            let took = began.elapsed();
            METRICS.poll(outcome, took);
            if let Ok(Some(batch)) = &next {
                span.end("poll", &[("rows", batch.len() as u64)]);
            }
            match next {
                Ok(batch) => {
                    self.recovered();
                    match batch {
                        Some(batch) => {
                            pause.found();
                            self.position = Some(batch.position.clone());
                            self.hand_over(FromSource::Batch(Box::new(batch))).await?;
                        }
                        None => tokio::time::sleep(pause.nothing(took)).await,
                    }
                }
                // A missing column or table: look at the table anew.
                Err(fault) if fault.kind == Kind::Missing => return Err(fault.into()),
                Err(fault) => {
                    if !self.wait_after(&fault).await {
                        return Err(Stopped::Unwanted);
                    }
                }
            }
            if looked.elapsed() >= LAYOUT_INTERVAL {
                looked = Instant::now();
                if !layout.is_as(&Layout::detect(&client, &self.config).await?) {
                    return Err(Stopped::Changed);
                }
            }
        }
    }

    async fn hand_over(&self, message: FromSource) -> Result<(), Stopped> {
        self.out.send(message).await.map_err(|_| Stopped::Unwanted)
    }

    fn recovered(&mut self) {
        if let Some(failing) = self.failing.take() {
            Event::SourceBack { away: failing.since.elapsed() }.emit();
        }
    }

    /// Tells of a failure, once for each kind in a row, and waits. `false`: nobody wants the rows
    /// any more.
    async fn wait_after(&mut self, fault: &Fault) -> bool {
        let (since, wait, first) = match &self.failing {
            None => (Instant::now(), BACKOFF.0, true),
            Some(f) => (f.since, (f.wait * 2).min(BACKOFF.1), f.kind != fault.kind),
        };
        Event::SourceFailed { why: &fault.to_string(), first, retry_in: wait }.emit();
        self.failing = Some(Failing { since, kind: fault.kind, wait });
        // If the loop is busy it will see rows next, not silence.
        let _ = self.out.try_send(FromSource::Away);
        tokio::select! {
            () = self.out.closed() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }
}
