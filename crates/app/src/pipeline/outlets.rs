//! The targets as the loop sees them: what each wants, and a task that delivers to each.

use crate::config::Config;
use crate::events::Event;
use crate::outbox::{Counts, Outbox};
use crate::store::{Depth, SharedStore, lock};
use crate::telemetry::vitals::VITALS;
use otel_log_ai_core::rule::Level;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Beyond the outboxes' own drain, how long they are waited for.
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// What the loop needs to know of a target.
#[derive(Debug, Clone)]
pub struct Outlet {
    /// Its name.
    pub name: String,
    /// Alerts of rules below are not sent there.
    pub min_level: Level,
    /// To be notified after a commit that queued something.
    pub wake: Arc<Notify>,
    /// What was done.
    pub counts: Arc<Counts>,
}

/// The outboxes, not started yet.
#[derive(Debug)]
pub struct Outboxes {
    outboxes: Vec<(Outbox, Outlet)>,
    drain: Duration,
}

/// The outboxes at work.
#[derive(Debug)]
pub struct Running {
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    drain: Duration,
}

impl Outboxes {
    /// An outbox for each target of the configuration.
    pub fn new(config: &Config, store: &SharedStore) -> anyhow::Result<Outboxes> {
        let mut outboxes = Vec::new();
        let mut drain = Duration::ZERO;
        for delivery in config.deliveries()? {
            drain = drain.max(delivery.settings.drain);
            let outbox = Outbox::new(Arc::clone(store), delivery.target, delivery.settings);
            let outlet = Outlet {
                name: outbox.name().to_owned(),
                min_level: delivery.min_level,
                wake: outbox.waker(),
                counts: outbox.counts(),
            };
            VITALS.target(&outlet.name, outbox.health());
            outboxes.push((outbox, outlet));
        }
        Ok(Outboxes { outboxes, drain: drain + DRAIN_GRACE })
    }

    /// Tells of alerts that wait for targets which are not configured any more.
    pub fn tell_orphans(&self, store: &SharedStore) -> anyhow::Result<()> {
        for Depth { target, queued, .. } in lock(store).depths()? {
            if queued > 0 && !self.outboxes.iter().any(|(_, outlet)| outlet.name == target) {
                Event::OrphanQueue { target: &target, alerts: queued }.emit();
            }
        }
        Ok(())
    }

    /// What the loop needs to know of them.
    pub fn outlets(&self) -> Vec<Outlet> {
        self.outboxes.iter().map(|(_, outlet)| outlet.clone()).collect()
    }

    /// Starts a task for each.
    pub fn start(self) -> Running {
        let (stop, stopped) = watch::channel(false);
        let spawn = |(outbox, _): (Outbox, Outlet)| tokio::spawn(outbox.run(stopped.clone()));
        Running { tasks: self.outboxes.into_iter().map(spawn).collect(), stop, drain: self.drain }
    }
}

impl Running {
    /// Lets them send what can be sent at once, and waits for it, within limits.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let all = async {
            for task in self.tasks {
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(self.drain, all).await;
    }
}
