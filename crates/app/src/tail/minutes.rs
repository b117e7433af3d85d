//! How many rows there are of each minute of event time.
//!
//! Where the keys of consumed rows are forgotten, this tells what a merged part holds that is new:
//! the minutes of which it has more rows than were consumed. A few bytes a minute, against 8 a row.

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::collections::BTreeMap;

/// Most minutes held for one range. A partition of SigNoz and of the exporter is a day, 1,440.
const MINUTES_MAX: usize = 4_096;
const NS: u64 = 60 * 1_000_000_000;

/// Rows by minute since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Minutes(BTreeMap<u64, u64>);

impl Minutes {
    /// The minute of an event time, nanoseconds since the epoch.
    pub fn of(timestamp_ns: u64) -> u64 {
        timestamp_ns / NS
    }

    /// Counts `rows` more of a minute. With too many minutes they are not told any more, which
    /// shows in the [`Self::total`].
    pub fn add(&mut self, minute: u64, rows: u64) {
        if self.0.len() < MINUTES_MAX || self.0.contains_key(&minute) {
            *self.0.entry(minute).or_default() += rows;
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Minutes) {
        other.0.iter().for_each(|(minute, rows)| self.add(*minute, *rows));
    }

    /// Rows of a minute.
    pub fn rows(&self, minute: u64) -> u64 {
        self.0.get(&minute).copied().unwrap_or(0)
    }

    /// Rows of all minutes.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether it has at least the rows of `other` in every minute from `from` on.
    pub fn covers(&self, other: &Minutes, from: u64) -> bool {
        other.0.range(from..).all(|(minute, rows)| self.rows(*minute) >= *rows)
    }

    /// The first minute with rows.
    pub fn first(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }

    /// As text: minutes as differences, and their rows, in LEB128 and Base64.
    pub fn pack(&self) -> String {
        let mut bytes = Vec::with_capacity(self.0.len() * 4);
        let mut last = 0;
        for (minute, rows) in &self.0 {
            put(&mut bytes, minute - last);
            put(&mut bytes, *rows);
            last = *minute;
        }
        STANDARD_NO_PAD.encode(bytes)
    }

    /// From text.
    pub fn unpack(text: &str) -> anyhow::Result<Minutes> {
        let bytes = STANDARD_NO_PAD.decode(text).context("read the minutes of the saved position")?;
        let mut rest = bytes.as_slice();
        let mut minutes = Minutes::default();
        let mut minute = 0u64;
        while !rest.is_empty() {
            minute = minute.saturating_add(take(&mut rest)?);
            minutes.add(minute, take(&mut rest)?);
        }
        Ok(minutes)
    }
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> anyhow::Result<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else { break };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("the minutes of the saved position are cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_survive_storage() {
        let mut minutes = Minutes::default();
        for (minute, rows) in [(29_000_000, 5), (29_000_001, 600_000), (0, 1)] {
            minutes.add(minute, rows);
        }
        assert_eq!(Minutes::unpack(&minutes.pack()).unwrap(), minutes);
        assert_eq!(minutes.total(), 600_006);
        assert!(Minutes::unpack("/w").is_err());
    }

    #[test]
    fn the_number_of_minutes_is_bounded_and_what_is_left_out_shows() {
        let mut minutes = Minutes::default();
        (0..5_000).for_each(|minute| minutes.add(minute, 1));
        assert_eq!(minutes.total(), MINUTES_MAX as u64);
    }
}
