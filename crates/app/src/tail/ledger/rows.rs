//! What is remembered of consumed rows.

use crate::tail::minutes::Minutes;

/// Rows that were consumed, to tell them from new ones after a merge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// How many are wanted; the others are older than the start, or another worker's.
    pub wanted: u64,
    /// Keys of wanted rows, sorted, with repetitions; fewer than `wanted` if some are forgotten.
    pub keys: Vec<u64>,
    /// Wanted rows by event time; fewer than `wanted` if not all were counted.
    pub minutes: Minutes,
}

impl Rows {
    /// Notes one wanted row; [`Self::sort`] afterwards.
    pub fn add(&mut self, key: u64, timestamp_ns: u64) {
        self.wanted += 1;
        self.keys.push(key);
        self.minutes.add(Minutes::of(timestamp_ns), 1);
    }

    /// Notes a row that may have been noted before.
    pub fn add_uncertain(&mut self, key: u64) {
        self.wanted += 1;
        self.keys.push(key);
    }

    /// Brings the keys into order.
    pub fn sort(&mut self) {
        // The sort is adaptive: sorted runs merge in linear time.
        self.keys.sort();
    }

    /// Adds all of `more`.
    pub fn merge(&mut self, more: Rows) {
        self.wanted += more.wanted;
        self.minutes.merge(&more.minutes);
        if self.keys.is_empty() {
            self.keys = more.keys;
        } else {
            self.keys.extend(more.keys);
        }
        self.sort();
    }
}
