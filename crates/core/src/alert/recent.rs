//! What was detected lately, so that the same happening is not counted again when its record comes a
//! second time: a Collector that got no answer sends its batch again, and SigNoz's exporter gives the
//! rows fresh ids; after a long absence the tail may not be able to tell consumed rows from new ones.
//!
//! Detections are remembered, not rows: they are few. Equal records of *one* insert did all happen (a
//! line repeated within the clock's resolution), since a Collector never sends a record twice in one
//! batch. So of each identity as many are admitted as the insert with the most of them had.
//!
//! Pure, as [`super::Grouping`] is: the clock is an argument, the state goes in by
//! [`Recent::restore`] and out by [`Recent::take_changes`].

use super::{Detection, Identity};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// For how long and how much is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentSettings {
    /// How long a detection is remembered. Time in which the service was down does not count.
    pub window: Duration,
    /// Most detections remembered; beyond, the oldest are forgotten.
    pub max: usize,
}

impl Default for RecentSettings {
    /// A good day and half a million: 50 MB when it is full, which takes a storm.
    ///
    /// A Collector tries again for 5 minutes (`retry_on_failure.max_elapsed_time`), with a queue on disk
    /// for as long as it was cut off; rows that the tail cannot tell from consumed ones are of a day
    /// at most. Longer does no harm: records that are equal to the nanosecond are one happening
    /// whenever they come.
    fn default() -> RecentSettings {
        RecentSettings { window: Duration::from_secs(26 * 3600), max: 500_000 }
    }
}

/// Detections that were admitted together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Higher is later.
    pub seq: i64,
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// An identity stands here as often as it was admitted.
    pub identities: Vec<Identity>,
}

/// What of the memory changed, for the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecentChanges {
    /// To be added to every stored [`Remembered::at_ms`], before all else.
    pub later_ms: i64,
    /// Everything up to this [`Remembered::seq`] is forgotten.
    pub forgotten: Option<i64>,
    /// To be stored.
    pub added: Option<Remembered>,
}

impl RecentChanges {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.later_ms == 0 && self.forgotten.is_none() && self.added.is_none()
    }
}

/// The memory.
#[derive(Debug)]
pub struct Recent {
    settings: RecentSettings,
    known: HashMap<Identity, Known>,
    /// What was stored, oldest first.
    stored: VecDeque<Remembered>,
    /// What is not stored yet.
    fresh: Remembered,
    /// How many identities are remembered, repetitions counted.
    held: usize,
    changes: RecentChanges,
    forgotten_early: u64,
}

/// What is known of an identity.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// How often it was admitted.
    admitted: u32,
    /// The insert it came with last, if that could be told, and how often it came with that.
    insert: Option<u64>,
    in_insert: u32,
}

impl Recent {
    /// Goes on with what was stored. The latest is taken to be of just now: nothing can have come
    /// again while nobody looked.
    pub fn restore(settings: RecentSettings, mut stored: Vec<Remembered>, now_ms: i64) -> Recent {
        stored.sort_by_key(|remembered| remembered.seq);
        let later_ms = stored.last().map_or(0, |latest| now_ms.saturating_sub(latest.at_ms));
        let mut known: HashMap<Identity, Known> = HashMap::new();
        for remembered in &mut stored {
            remembered.at_ms = remembered.at_ms.saturating_add(later_ms);
            for identity in &remembered.identities {
                known.entry(*identity).or_default().admitted += 1;
            }
        }
        let seq = stored.last().map_or(0, |latest| latest.seq) + 1;
        Recent {
            settings,
            known,
            held: stored.iter().map(|remembered| remembered.identities.len()).sum(),
            stored: stored.into(),
            fresh: Remembered { seq, ..Remembered::default() },
            changes: RecentChanges { later_ms, ..RecentChanges::default() },
            forgotten_early: 0,
        }
    }

    /// For each of the detections of one batch, whether it is to be counted.
    pub fn admit(&mut self, detections: &[Detection], now_ms: i64) -> Vec<bool> {
        self.forget(now_ms);
        let mut order: Vec<usize> = (0..detections.len()).collect();
        order.sort_by_key(|at| (detections[*at].identity, detections[*at].insert));
        let mut admitted = vec![false; detections.len()];
        for at in order {
            let Detection { identity, insert, .. } = &detections[at];
            let known = self.known.entry(*identity).or_default();
            let is_same = insert.is_some() && known.insert == *insert;
            known.in_insert = if is_same { known.in_insert.saturating_add(1) } else { 1 };
            known.insert = *insert;
            if known.in_insert > known.admitted {
                known.admitted += 1;
                admitted[at] = true;
                self.fresh.identities.push(*identity);
                self.held += 1;
            }
        }
        self.fresh.at_ms = now_ms;
        self.forget(now_ms);
        admitted
    }

    /// What changed since the last call, to be stored together with the position after the rows that
    /// the detections are of.
    pub fn take_changes(&mut self) -> RecentChanges {
        let mut changes = std::mem::take(&mut self.changes);
        if !self.fresh.identities.is_empty() {
            let seq = self.fresh.seq + 1;
            let fresh = std::mem::replace(&mut self.fresh, Remembered { seq, ..Remembered::default() });
            changes.added = Some(fresh.clone());
            self.stored.push_back(fresh);
        }
        changes
    }

    /// How many detections were forgotten before their time, because there were too many, since the
    /// start.
    pub fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }

    fn forget(&mut self, now_ms: i64) {
        let window_ms = i64::try_from(self.settings.window.as_millis()).unwrap_or(i64::MAX);
        while let Some(oldest) = self.stored.front() {
            let is_old = oldest.at_ms.saturating_add(window_ms) <= now_ms;
            if !is_old && self.held <= self.settings.max {
                break;
            }
            let Some(oldest) = self.stored.pop_front() else { break };
            self.forgotten_early += if is_old { 0 } else { oldest.identities.len() as u64 };
            self.held -= oldest.identities.len();
            self.changes.forgotten = Some(oldest.seq);
            for identity in &oldest.identities {
                let Some(known) = self.known.get_mut(identity) else { continue };
                known.admitted = known.admitted.saturating_sub(1);
                if known.admitted == 0 {
                    self.known.remove(identity);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Content;
    use crate::otel::LogRecord;

    /// A detection on the record `body`.
    fn detection(body: &str, insert: Option<u64>) -> Detection {
        let record = LogRecord { body: body.into(), ..LogRecord::default() };
        Detection {
            identity: Identity::new("rule", &Content::of(&record), 0),
            insert,
            ..Detection::default()
        }
    }

    fn recent(max: usize) -> Recent {
        Recent::restore(RecentSettings { max, ..RecentSettings::default() }, vec![], 0)
    }

    const MINUTE_MS: i64 = 60_000;

    #[test]
    fn what_comes_again_in_another_insert_is_refused() {
        let mut recent = recent(100);
        let first = [detection("a", Some(1)), detection("b", Some(1))];
        assert_eq!(recent.admit(&first, 0), [true, true]);
        let again = [detection("b", Some(2)), detection("c", Some(2)), detection("a", None)];
        assert_eq!(recent.admit(&again, 5 * MINUTE_MS), [false, true, false]);
    }

    #[test]
    fn both_copies_in_one_batch_are_one_whichever_comes_first() {
        for inserts in [[Some(1), Some(2)], [None, None], [Some(3), None]] {
            let both = inserts.map(|insert| detection("a", insert));
            let admitted = recent(100).admit(&both, 0);
            assert_eq!(admitted.iter().filter(|admitted| **admitted).count(), 1, "{inserts:?}");
        }
    }

    #[test]
    fn equal_records_of_one_insert_all_happened() {
        let mut recent = recent(100);
        let three = vec![detection("a", Some(1)); 3];
        assert_eq!(recent.admit(&three, 0), [true; 3]);
        // Sent again: nothing new. Sent again with one more that had not arrived: one new.
        assert_eq!(recent.admit(&vec![detection("a", Some(2)); 3], 1), [false; 3]);
        assert_eq!(recent.admit(&vec![detection("a", Some(3)); 4], 2), [false, false, false, true]);
        // An insert that is read in two batches, with others between its rows.
        let mixed = [Some(4), Some(5), Some(4), Some(5), Some(4)].map(|insert| detection("b", insert));
        assert_eq!(recent.admit(&mixed, 3), [true, false, true, false, true]);
        assert_eq!(recent.admit(&[detection("b", Some(5)), detection("b", Some(5))], 4), [false, true]);
    }

    #[test]
    fn it_survives_a_restart_and_the_time_between_does_not_count() {
        let mut before = recent(100);
        before.admit(&[detection("a", Some(1)), detection("a", Some(1))], 0);
        let mut stored: Vec<Remembered> = before.take_changes().added.into_iter().collect();
        before.admit(&[detection("b", Some(2))], 60 * MINUTE_MS);
        stored.extend(before.take_changes().added);
        let week_ms = 7 * 24 * 60 * MINUTE_MS;
        let mut after = Recent::restore(RecentSettings::default(), stored, week_ms);
        let again = [detection("a", Some(9)), detection("a", Some(9)), detection("b", None)];
        assert_eq!(after.admit(&again, week_ms), [false; 3]);
        let changes = after.take_changes();
        assert_eq!((changes.later_ms, changes.added), (week_ms - 60 * MINUTE_MS, None));
        // The older one has had an hour of its 26 before.
        assert_eq!(after.admit(&again, week_ms + 25 * 60 * MINUTE_MS), [true, true, false]);
        assert_eq!(after.take_changes().forgotten, Some(1));
    }

    #[test]
    fn a_clock_that_was_set_back_between_two_runs_forgets_nothing() {
        let stored = Remembered { seq: 7, at_ms: 1_000_000, identities: vec![detection("a", None).identity] };
        let mut recent = Recent::restore(RecentSettings::default(), vec![stored], 500);
        assert_eq!(recent.admit(&[detection("a", None)], 500), [false]);
        assert_eq!(recent.admit(&[detection("a", None)], 500 + 26 * 60 * MINUTE_MS), [true]);
        assert_eq!(recent.take_changes().added.unwrap().seq, 8);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let mut recent = recent(3);
        for (at_ms, body) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            assert_eq!(recent.admit(&[detection(body, None)], at_ms as i64), [true]);
            recent.take_changes();
        }
        assert_eq!((recent.known.len(), recent.forgotten_early()), (3, 2));
        assert_eq!(recent.admit(&[detection("c", None), detection("a", None)], 9), [false, true]);
        // One batch beyond the bound is remembered until the next one comes.
        let many: Vec<Detection> = (0..10).map(|n| detection(&n.to_string(), None)).collect();
        recent.admit(&many, 10);
        recent.take_changes();
        recent.admit(&[detection("z", None)], 11);
        recent.take_changes();
        assert!(recent.held <= 3 && recent.known.len() <= 3, "{recent:?}");
    }
}
