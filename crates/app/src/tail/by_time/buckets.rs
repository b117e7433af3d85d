//! What was consumed of a table without parts: how many rows of each half minute of event time, and
//! of the latest the rows' keys. Pure: no I/O.

use crate::tail::position::KEYS_STORED_MAX;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Length of a bucket. A day is 2,880 of them, and a late row costs the keys of one.
pub const BUCKET_NS: u64 = 30_000_000_000;
/// Most keys held, 8 bytes each; beyond, those of the oldest buckets are forgotten.
pub const KEYS_MAX: usize = 4_000_000;

/// Pairs of numbers: bucket and rows, or event time and key.
type Pairs = Vec<(u64, u64)>;

/// The position in such a table, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// Everything dated before was looked for at least once, nanoseconds since the epoch.
    pub through_ns: u64,
    /// When the last look at the whole window began of which everything is consumed, by our clock.
    #[serde(default)]
    pub swept_ns: u64,
    /// Bucket and consumed rows.
    #[serde(default)]
    pub buckets: Vec<(u64, u64)>,
    /// Event time and key of the rows consumed last, bounded.
    pub seen: Vec<(u64, u64)>,
}

/// A bucket with rows that were not consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grown {
    /// Event time divided by [`BUCKET_NS`].
    pub bucket: u64,
    /// Rows listed.
    pub rows: u64,
}

/// Consumed rows.
#[derive(Debug, Default)]
pub struct Buckets {
    buckets: BTreeMap<u64, Bucket>,
    keys: usize,
}

#[derive(Debug, Default)]
struct Bucket {
    rows: u64,
    /// Of all rows, or of none.
    keys: Vec<(u64, u64)>,
}

impl Bucket {
    fn is_known(&self) -> bool {
        self.keys.len() as u64 == self.rows
    }
}

impl Buckets {
    /// As they were stored.
    pub fn restore(scan: &Scan) -> Buckets {
        let mut buckets: BTreeMap<u64, Bucket> = BTreeMap::new();
        for (bucket, rows) in &scan.buckets {
            buckets.insert(*bucket, Bucket { rows: *rows, keys: Vec::new() });
        }
        for row in &scan.seen {
            if let Some(bucket) = buckets.get_mut(&(row.0 / BUCKET_NS)) {
                bucket.keys.push(*row);
            }
        }
        for bucket in buckets.values_mut().filter(|bucket| !bucket.is_known()) {
            bucket.keys.clear();
        }
        let keys = buckets.values().map(|bucket| bucket.keys.len()).sum();
        Buckets { buckets, keys }
    }

    /// To be stored: the counts, and keys of whole buckets, the latest first.
    pub fn store(&self) -> (Pairs, Pairs) {
        let counts = self.buckets.iter().map(|(bucket, of)| (*bucket, of.rows)).collect();
        let mut seen = Vec::new();
        for bucket in self.buckets.values().rev() {
            if seen.len() + bucket.keys.len() > KEYS_STORED_MAX {
                break;
            }
            seen.extend_from_slice(&bucket.keys);
        }
        (counts, seen)
    }

    /// Which of the listed buckets have more rows than were consumed. Fewer are no reason to forget
    /// any: another replica may have answered.
    pub fn grown(&self, listed: &[Grown]) -> Vec<Grown> {
        listed.iter().copied().filter(|grown| grown.rows > self.rows(grown.bucket)).collect()
    }

    /// Consumed rows of a bucket.
    pub fn rows(&self, bucket: u64) -> u64 {
        self.buckets.get(&bucket).map_or(0, |bucket| bucket.rows)
    }

    /// The keys of all consumed rows of a bucket, sorted; `None` if they are not known any more.
    pub fn keys(&self, bucket: u64) -> Option<Vec<u64>> {
        let Some(bucket) = self.buckets.get(&bucket) else { return Some(Vec::new()) };
        let mut keys: Vec<u64> = bucket.keys.iter().map(|(_, key)| *key).collect();
        keys.sort_unstable();
        bucket.is_known().then_some(keys)
    }

    /// Takes all rows of a bucket for new.
    pub fn start_over(&mut self, bucket: u64) {
        if let Some(old) = self.buckets.remove(&bucket) {
            self.keys -= old.keys.len();
        }
    }

    /// Notes consumed rows: event time and key.
    pub fn consume(&mut self, rows: &[(u64, u64)]) {
        let mut touched = BTreeSet::new();
        for row in rows {
            let bucket = self.buckets.entry(row.0 / BUCKET_NS).or_default();
            if bucket.is_known() {
                bucket.keys.push(*row);
                self.keys += 1;
            }
            bucket.rows += 1;
            touched.insert(row.0 / BUCKET_NS);
        }
        // The bucket at work is never forgotten, or it could not be finished.
        let oldest = self.buckets.iter_mut().filter(|(bucket, _)| !touched.contains(bucket));
        for (_, bucket) in oldest {
            if self.keys <= KEYS_MAX {
                break;
            }
            self.keys -= bucket.keys.len();
            bucket.keys = Vec::new();
        }
    }

    /// Forgets what is before `bucket`.
    pub fn forget_before(&mut self, bucket: u64) {
        let kept = self.buckets.split_off(&bucket);
        for old in std::mem::replace(&mut self.buckets, kept).into_values() {
            self.keys -= old.keys.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(bucket: u64, keys: std::ops::Range<u64>) -> Vec<(u64, u64)> {
        keys.map(|key| (bucket * BUCKET_NS + key, key)).collect()
    }

    fn listed(counts: &[(u64, u64)]) -> Vec<Grown> {
        counts.iter().map(|(bucket, rows)| Grown { bucket: *bucket, rows: *rows }).collect()
    }

    fn stored(buckets: &Buckets) -> Scan {
        let (counts, seen) = buckets.store();
        Scan { buckets: counts, seen, ..Scan::default() }
    }

    #[test]
    fn only_buckets_with_more_rows_than_before_are_read() {
        let mut buckets = Buckets::default();
        assert_eq!(buckets.grown(&listed(&[(5, 2)])), listed(&[(5, 2)]));
        buckets.consume(&rows(5, 0..2));
        buckets.consume(&rows(6, 0..3));
        assert_eq!(buckets.grown(&listed(&[(5, 2), (6, 2), (7, 1)])), listed(&[(7, 1)]));
        assert_eq!(buckets.keys(5), Some(vec![0, 1]));
        assert_eq!(buckets.keys(9), Some(vec![]));
    }

    #[test]
    fn what_is_stored_comes_back_with_the_keys_of_the_latest_buckets() {
        let mut buckets = Buckets::default();
        buckets.consume(&rows(5, 0..20_000));
        buckets.consume(&rows(6, 0..20_000));
        let mut restored = Buckets::restore(&stored(&buckets));
        assert_eq!((restored.rows(5), restored.keys(5)), (20_000, None));
        assert_eq!(restored.keys(6).map(|keys| keys.len()), Some(20_000));
        // A bucket that is half known is unknown.
        let mut scan = stored(&buckets);
        scan.seen.pop();
        assert_eq!(Buckets::restore(&scan).keys(6), None);
        // Once it is read anew, it is known again.
        restored.start_over(5);
        assert_eq!(restored.rows(5), 0);
        restored.consume(&rows(5, 0..3));
        assert_eq!(restored.keys(5), Some(vec![0, 1, 2]));
        // What is added to an unknown bucket leaves it unknown.
        let mut restored = Buckets::restore(&stored(&buckets));
        restored.consume(&rows(5, 20_000..20_002));
        assert_eq!((restored.rows(5), restored.keys(5)), (20_002, None));
    }

    #[test]
    fn keys_are_bounded_but_for_the_bucket_at_work() {
        let mut buckets = Buckets::default();
        let half = KEYS_MAX as u64 / 2;
        for bucket in 0..3 {
            buckets.consume(&rows(bucket, 0..half));
        }
        assert_eq!(buckets.keys, KEYS_MAX);
        assert_eq!((buckets.rows(0), buckets.keys(0)), (half, None));
        buckets.consume(&rows(2, half..2 * half + 1));
        assert!(buckets.keys(2).is_some() && buckets.keys(1).is_none());
        buckets.forget_before(2);
        assert_eq!((buckets.rows(1), buckets.keys), (0, KEYS_MAX + 1));
    }
}
