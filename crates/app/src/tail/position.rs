//! The position as it is stored: opaque JSON to everyone else.
//!
//! It holds every consumed range and, bounded, the keys of rows consumed last. Keys are needed
//! where ClickHouse merges rows we have read with rows we have not while we are away. Ranges whose
//! part is still there get their keys back from ClickHouse on opening; for those that were merged
//! meanwhile the stored keys decide. Where neither helps, rows of the last hour before the stop may
//! be seen again (never lost); this is counted.

use super::by_time::Scan;
use super::ledger::{Ledger, Loose, Partition, Segment};
use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

/// Most row keys stored with the position: 8 bytes each, about 350 KB of JSON.
pub const KEYS_STORED_MAX: usize = 32_768;

const VERSION: u32 = 1;

/// Everything that is needed to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// `database.table` it is about.
    pub table: String,
    /// Rows with an earlier event time are not wanted, nanoseconds since the epoch.
    pub since_ns: u64,
    /// When everything listed had been consumed last, by our clock.
    pub as_of_ns: u64,
    /// By parts.
    pub ledger: Ledger,
    /// By event time, for tables without parts.
    pub scan: Option<Scan>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    table: String,
    since_ns: u64,
    as_of_ns: u64,
    partitions: Vec<StoredPartition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scan: Option<Scan>,
}

#[derive(Serialize, Deserialize)]
struct StoredPartition {
    shard: u32,
    id: String,
    segments: Vec<StoredSegment>,
    /// First block, last block, keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    loose: Vec<(i64, i64, String)>,
}

#[derive(Serialize, Deserialize)]
struct StoredSegment {
    blocks: (i64, i64),
    level: u64,
    mutation: i64,
    rows: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
    serial: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    keys: String,
}

impl Position {
    /// A position before everything.
    pub fn start(table: &str, since_ns: u64, as_of_ns: u64) -> Position {
        Position { table: table.into(), since_ns, as_of_ns, ledger: Ledger::default(), scan: None }
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        let stored_serial_min = self.oldest_stored_serial();
        let partitions = self.ledger.partitions.iter().map(|((shard, id), partition)| StoredPartition {
            shard: *shard,
            id: id.clone(),
            segments: partition
                .segments
                .iter()
                .map(|s| StoredSegment {
                    blocks: (s.lo, s.hi),
                    level: s.level,
                    mutation: s.mutation,
                    rows: s.rows,
                    next_offset: s.next_offset,
                    serial: s.serial,
                    keys: if s.serial >= stored_serial_min && s.keys.len() <= KEYS_STORED_MAX {
                        pack(&s.keys)
                    } else {
                        String::new()
                    },
                })
                .collect(),
            loose: partition
                .loose
                .iter()
                .map(|l| (l.lo, l.hi, pack(&l.keys[..l.keys.len().min(KEYS_STORED_MAX)])))
                .collect(),
        });
        let stored = Stored {
            version: VERSION,
            table: self.table.clone(),
            since_ns: self.since_ns,
            as_of_ns: self.as_of_ns,
            partitions: partitions.collect(),
            scan: self.scan.clone(),
        };
        serde_json::to_string(&stored).expect("plain data without maps always serialises")
    }

    /// The keys of segments with this serial and later are stored. A segment too big to be stored
    /// is passed over: its part is hardly ever merged while we are away.
    fn oldest_stored_serial(&self) -> u64 {
        let segments = self.ledger.partitions.values().flat_map(|p| &p.segments);
        let mut sizes: Vec<(u64, usize)> = segments
            .filter(|s| !s.keys.is_empty() && s.keys.len() <= KEYS_STORED_MAX)
            .map(|s| (s.serial, s.keys.len()))
            .collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = KEYS_STORED_MAX;
        let mut oldest = u64::MAX;
        for (serial, size) in sizes {
            if size > left {
                break;
            }
            left -= size;
            oldest = serial;
        }
        oldest
    }

    /// From JSON.
    pub fn from_json(text: &str) -> anyhow::Result<Position> {
        let stored: Stored = serde_json::from_str(text).context("read the saved position")?;
        if stored.version != VERSION {
            bail!("the saved position has version {}, this program knows {VERSION}", stored.version);
        }
        let mut ledger = Ledger::default();
        for partition in stored.partitions {
            let mut segments = Vec::with_capacity(partition.segments.len());
            for s in partition.segments {
                segments.push(Segment {
                    lo: s.blocks.0,
                    hi: s.blocks.1,
                    level: s.level,
                    mutation: s.mutation,
                    rows: s.rows,
                    next_offset: s.next_offset,
                    serial: s.serial,
                    keys: unpack(&s.keys)?,
                });
            }
            let mut loose = Vec::new();
            for (lo, hi, keys) in partition.loose {
                loose.push(Loose { lo, hi, keys: unpack(&keys)? });
            }
            ledger
                .partitions
                .insert((partition.shard, partition.id), Partition { segments, loose, absent: 0 });
        }
        ledger.resume_serial();
        let Stored { table, since_ns, as_of_ns, scan, .. } = stored;
        Ok(Position { table, since_ns, as_of_ns, ledger, scan })
    }
}

fn pack(keys: &[u64]) -> String {
    let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    STANDARD_NO_PAD.encode(bytes)
}

fn unpack(text: &str) -> anyhow::Result<Vec<u64>> {
    let bytes = STANDARD_NO_PAD.decode(text).context("read the keys of the saved position")?;
    let (words, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        bail!("the keys of the saved position are cut");
    }
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::ledger::Part;

    fn part(name: &str, rows: u64) -> Part {
        Part::parse(0, "p", name, rows).unwrap()
    }

    #[test]
    fn a_position_survives_storage() {
        let mut position = Position::start("d.t", 5, 6);
        position.ledger.consume(&part("p_1_1_0", 2), 2, None, vec![9, 3]);
        position.ledger.consume(&part("p_2_2_0", 10), 4, Some(4), vec![1, 2, 3, 4]);
        position.ledger.deliver(&part("p_1_5_1", 20), vec![8]);
        assert_eq!(Position::from_json(&position.to_json()).unwrap(), position);
    }

    #[test]
    fn stored_keys_are_bounded_and_the_newest_are_kept() {
        let mut position = Position::start("d.t", 0, 0);
        for n in 1..=10 {
            let keys = (0..10_000).map(|k| n * 1_000_000 + k).collect();
            position.ledger.consume(&part(&format!("p_{n}_{n}_0"), 10_000), 10_000, None, keys);
        }
        let json = position.to_json();
        assert!(json.len() < 500_000, "{}", json.len());
        let read = Position::from_json(&json).unwrap();
        let known: Vec<usize> =
            read.ledger.partitions.values().flat_map(|p| &p.segments).map(|s| s.keys.len()).collect();
        assert_eq!(known, [0, 0, 0, 0, 0, 0, 0, 10_000, 10_000, 10_000]);
        assert_eq!(read.ledger.unknown(&part("p_1_10_1", 100_000)), 70_000);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Position::from_json("{}").is_err());
        assert!(Position::from_json("[1]").is_err());
        let json = Position::start("d.t", 0, 0).to_json().replace("\"version\":1", "\"version\":9");
        assert!(Position::from_json(&json).unwrap_err().to_string().contains("version 9"));
    }
}
