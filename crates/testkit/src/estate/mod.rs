//! A simulated estate: hosts that do ordinary work, and attacks planted among it.
//!
//! Everything follows from the seed. Rows have the exact form a Collector and SigNoz's exporter give
//! them; hosts differ in the form as agents in the field do. Each story is planted once, on one host,
//! with the starter rules that must find it; ordinary work must match none of them.

mod linux;
mod random;
mod stories;
mod windows;

use std::time::Duration;

use crate::signoz::{LogRow, ksuid};
use crate::windows::Shape;
use random::Random;

/// How the estate is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// The same seed gives the same events.
    pub seed: u64,
    /// How many hosts; at least 6, so that every kind is there.
    pub hosts: usize,
    /// Rows a second, of all hosts together.
    pub rate: f64,
    /// When it begins, nanoseconds since the epoch.
    pub start_ns: u64,
    /// How long it runs. The attacks come between a tenth and nine tenths of it.
    pub duration: Duration,
}

/// An attack that must be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planted {
    /// What happens.
    pub story: &'static str,
    /// Where, by the name its events carry.
    pub host: String,
    /// The starter rule that must find it.
    pub rule_id: &'static str,
    /// When its event comes, nanoseconds since the epoch.
    pub at_ns: u64,
    /// The row whose arrival must raise the alert.
    pub row_id: String,
}

/// How a Linux host's agent collects its log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Collection {
    /// Files, by the filelog receiver.
    Files,
    /// The journal, by the journald receiver.
    Journal,
    /// Syslog over the network, by the syslog receiver.
    Syslog,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Workstation(Shape),
    Server(Shape),
    Linux(Collection),
}

#[derive(Debug, Clone)]
struct Host {
    name: String,
    kind: Kind,
    /// The last octet and more of its address, and the number of its user.
    number: usize,
}

/// The running simulation.
pub struct Estate {
    hosts: Vec<Host>,
    random: Random,
    options: Options,
    planted: Vec<Planted>,
    /// Rows of the stories, the latest first.
    pending: Vec<LogRow>,
    /// Ordinary rows made so far.
    made: u64,
    record_id: u64,
}

impl Estate {
    /// Makes the hosts and plants the stories.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut random = Random::new(options.seed);
        let hosts = hosts(options.hosts.max(6));
        let mut record_id = 100_000;
        let (planted, mut pending) = stories::plant(&hosts, &options, &mut random, &mut record_id);
        pending.sort_by_key(|row| std::cmp::Reverse(row.timestamp_ns));
        Self { hosts, random, options, planted, pending, made: 0, record_id }
    }

    /// The attacks, in order of time.
    #[must_use]
    pub fn planted(&self) -> &[Planted] {
        &self.planted
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The rows of all events that have happened by `until_ns` and were not given yet, in order of time.
    pub fn rows_until(&mut self, until_ns: u64) -> Vec<LogRow> {
        let end = self.options.start_ns.saturating_add(nanos(self.options.duration));
        let until = until_ns.min(end);
        let mut rows = Vec::new();
        loop {
            let at = self.options.start_ns + (self.made as f64 * 1e9 / self.options.rate.max(0.001)) as u64;
            if at > until || at >= end {
                break;
            }
            self.made += 1;
            let host = self.random.pick(&self.hosts).clone();
            let row = self.ordinary(&host, at);
            rows.push(row);
        }
        while self.pending.last().is_some_and(|row| row.timestamp_ns <= until) {
            rows.extend(self.pending.pop());
        }
        rows.sort_by_key(|row| row.timestamp_ns);
        rows
    }

    fn ordinary(&mut self, host: &Host, at_ns: u64) -> LogRow {
        let mut row = match host.kind {
            Kind::Linux(_) => linux::ordinary(host, at_ns, &mut self.random),
            Kind::Workstation(shape) | Kind::Server(shape) => {
                self.record_id += 1;
                windows::ordinary(host, at_ns, self.record_id, &mut self.random).row(shape.into())
            }
        };
        row.id = ksuid::with_payload(at_ns, self.random.bytes());
        row
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Two of six are workstations, one a Windows server, three Linux; forms go round.
fn hosts(count: usize) -> Vec<Host> {
    let shapes = [Shape::D, Shape::C, Shape::Xml];
    let collections = [Collection::Files, Collection::Journal, Collection::Syslog];
    (0..count)
        .map(|number| {
            let round = number / 6;
            let (name, kind) = match number % 6 {
                0 | 1 => {
                    let shape = shapes[(round * 2 + number) % shapes.len()];
                    (format!("WS-{number:04}.corp.example"), Kind::Workstation(shape))
                }
                2 => (
                    format!("SRV-{number:04}.corp.example"),
                    Kind::Server(shapes[(round + 2) % shapes.len()]),
                ),
                of_three => (format!("lin-{number:04}"), Kind::Linux(collections[of_three - 3])),
            };
            Host { name, kind, number }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(seed: u64) -> Options {
        Options {
            seed,
            hosts: 20,
            rate: 200.0,
            start_ns: 1_795_000_000_000_000_000,
            duration: Duration::from_secs(20),
        }
    }

    #[test]
    fn a_seed_gives_the_same_estate() {
        let all = |seed| {
            let mut estate = Estate::new(options(seed));
            let mut rows = estate.rows_until(options(seed).start_ns + 7_000_000_000);
            rows.extend(estate.rows_until(u64::MAX));
            rows
        };
        let rows = all(1);
        assert_eq!(rows, all(1));
        assert_ne!(rows, all(2));
        assert!(rows.len() > 4000 && rows.is_sorted_by_key(|row| row.timestamp_ns));
    }

    #[test]
    fn every_story_is_planted_once_and_its_row_comes() {
        let mut estate = Estate::new(options(3));
        let planted = estate.planted().to_vec();
        assert!(planted.len() >= 15 && planted.is_sorted_by_key(|planted| planted.at_ns));
        let mut keys: Vec<_> = planted.iter().map(|planted| (planted.rule_id, &planted.host)).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), planted.len());
        let rows = estate.rows_until(u64::MAX);
        for planted in &planted {
            let row = rows.iter().find(|row| row.id == planted.row_id).unwrap();
            assert_eq!(row.timestamp_ns, planted.at_ns, "{planted:?}");
        }
    }

    #[test]
    fn the_hosts_send_every_form() {
        let hosts = hosts(18);
        for shape in [Shape::C, Shape::D, Shape::Xml] {
            assert!(hosts.iter().any(|host| host.kind == Kind::Workstation(shape)), "{shape:?}");
        }
        for collection in [Collection::Files, Collection::Journal, Collection::Syslog] {
            assert!(hosts.iter().any(|host| host.kind == Kind::Linux(collection)));
        }
    }
}
