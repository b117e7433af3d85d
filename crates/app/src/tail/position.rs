//! The position as it is stored: opaque JSON to everyone else.
//!
//! It holds every consumed range and, bounded, the keys of rows consumed last. Keys are needed
//! where ClickHouse merges rows we have read with rows we have not while we are away. Ranges whose
//! part is still there get their keys back from ClickHouse on opening; for those that were merged
//! meanwhile the stored keys decide. Where neither helps, the consumed rows of each minute are known
//! by number: rows of minutes with more may be seen again (never lost); this is counted.

use super::by_time::Scan;
use super::ledger::{Ledger, Loose, Partition, Rows, Segment};
use super::minutes::Minutes;
use super::part::Times;
use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

/// Most row keys stored with the position: 8 bytes each, about 350 KB of JSON.
pub const KEYS_STORED_MAX: usize = 32_768;
/// Most ranges of unread blocks of one partition that are stored, some 20 bytes each.
const UNREAD_STORED_MAX: usize = 200;
/// How much earlier than the first start a row of a part that was passed over may be dated, to be
/// delivered if it cannot be told from those, nanoseconds.
const LATENESS_NS: u64 = 3_600 * 1_000_000_000;

const VERSION: u32 = 1;

/// Everything that is needed to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// `database.table` it is about.
    pub table: String,
    /// What tells this table from another of the same name; empty if nothing does.
    pub identity: String,
    /// Which share of the rows was read, for people; empty in positions of earlier versions.
    pub share: String,
    /// Rows with an earlier event time are not wanted, nanoseconds since the epoch.
    pub since_ns: u64,
    /// When everything listed had been consumed last, by ClickHouse's clock.
    pub as_of_ns: u64,
    /// Rows dated earlier, in parts that were passed over at the start, were there before it.
    pub passed_ns: u64,
    /// By parts.
    pub ledger: Ledger,
    /// By event time, for tables without parts.
    pub scan: Option<Scan>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    table: String,
    #[serde(default)]
    identity: String,
    #[serde(default)]
    share: String,
    since_ns: u64,
    as_of_ns: u64,
    #[serde(default)]
    passed_ns: Option<u64>,
    partitions: Vec<StoredPartition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scan: Option<Scan>,
}

#[derive(Serialize, Deserialize)]
struct StoredPartition {
    shard: u32,
    id: String,
    segments: Vec<StoredSegment>,
    /// First block, last block, keys: as earlier versions wrote it.
    #[serde(default, skip_serializing)]
    loose: Vec<(i64, i64, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mixed: Vec<StoredLoose>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unread: Vec<(i64, i64)>,
}

#[derive(Serialize, Deserialize)]
struct StoredSegment {
    blocks: (i64, i64),
    level: u64,
    mutation: i64,
    /// Oldest and newest; earlier versions did not note them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<(u64, u64)>,
    rows: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
    serial: u64,
    /// Earlier versions did not tell: then all rows count as passed over, unless their keys are there.
    #[serde(default)]
    passed: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
    #[serde(flatten)]
    read: StoredRows,
}

#[derive(Serialize, Deserialize)]
struct StoredLoose {
    blocks: (i64, i64),
    level: u64,
    mutation: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<(u64, u64)>,
    next_offset: u64,
    #[serde(flatten)]
    read: StoredRows,
}

#[derive(Serialize, Deserialize)]
struct StoredRows {
    #[serde(default)]
    wanted: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    keys: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    minutes: String,
}

impl StoredRows {
    fn of(rows: &Rows, with_keys: bool) -> StoredRows {
        let keys = if with_keys { pack(&rows.keys) } else { String::new() };
        StoredRows { wanted: rows.wanted, keys, minutes: rows.minutes.pack() }
    }

    fn rows(&self) -> anyhow::Result<Rows> {
        Ok(Rows { wanted: self.wanted, keys: unpack(&self.keys)?, minutes: Minutes::unpack(&self.minutes)? })
    }
}

impl Position {
    /// A position before everything.
    pub fn start(table: &str, since_ns: u64, as_of_ns: u64) -> Position {
        Position {
            table: table.into(),
            identity: String::new(),
            share: String::new(),
            since_ns,
            as_of_ns,
            passed_ns: as_of_ns.saturating_sub(LATENESS_NS),
            ledger: Ledger::default(),
            scan: None,
        }
    }

    /// Other rows are wanted from now on.
    pub fn share_anew(&mut self, share: String) {
        self.share = share;
        self.passed_ns = self.as_of_ns.saturating_sub(LATENESS_NS);
        self.ledger.forget_wanted();
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        let stored_serial_min = self.oldest_stored_serial();
        let partitions = self.ledger.partitions.iter().map(|((shard, id), partition)| StoredPartition {
            shard: *shard,
            id: id.clone(),
            segments: partition.segments.iter().map(|s| s.stored(stored_serial_min)).collect(),
            loose: Vec::new(),
            mixed: partition.loose.iter().map(Loose::stored).collect(),
            unread: stored_blocks(&partition.unread),
        });
        let stored = Stored {
            version: VERSION,
            table: self.table.clone(),
            identity: self.identity.clone(),
            share: self.share.clone(),
            since_ns: self.since_ns,
            as_of_ns: self.as_of_ns,
            passed_ns: Some(self.passed_ns),
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
            .filter(|s| !s.read.keys.is_empty() && s.read.keys.len() <= KEYS_STORED_MAX)
            .map(|s| (s.serial, s.read.keys.len()))
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
            for segment in partition.segments {
                segments.push(segment.segment()?);
            }
            let mut loose = Vec::new();
            for (lo, hi, keys) in partition.loose {
                let keys = unpack(&keys)?;
                let read = Rows { wanted: keys.len() as u64, keys, minutes: Minutes::default() };
                loose.push(Loose { lo, hi, read, ..Loose::default() });
            }
            for mixed in partition.mixed {
                let StoredLoose { blocks: (lo, hi), level, mutation, times, next_offset, read } = mixed;
                let (times, read) = (times.map(from_pair), read.rows()?);
                loose.push(Loose { lo, hi, level, mutation, times, next_offset, read });
            }
            ledger.partitions.insert(
                (partition.shard, partition.id),
                Partition { segments, unread: partition.unread, loose, absent: 0 },
            );
        }
        ledger.resume_serial();
        let Stored { table, identity, share, since_ns, as_of_ns, scan, .. } = stored;
        let passed_ns = stored.passed_ns.unwrap_or(as_of_ns.saturating_sub(LATENESS_NS));
        Ok(Position { table, identity, share, since_ns, as_of_ns, passed_ns, ledger, scan })
    }
}

impl Segment {
    fn stored(&self, serial_min: u64) -> StoredSegment {
        let with_keys = self.serial >= serial_min && self.read.keys.len() <= KEYS_STORED_MAX;
        StoredSegment {
            blocks: (self.lo, self.hi),
            level: self.level,
            mutation: self.mutation,
            times: self.times.map(as_pair),
            rows: self.rows,
            next_offset: self.next_offset,
            serial: self.serial,
            passed: Some(self.passed),
            gone: self.gone,
            read: StoredRows::of(&self.read, with_keys),
        }
    }
}

impl StoredSegment {
    fn segment(self) -> anyhow::Result<Segment> {
        let mut read = self.read.rows()?;
        let passed = self.passed.unwrap_or_else(|| {
            read.wanted = read.keys.len() as u64;
            self.rows.saturating_sub(read.wanted)
        });
        Ok(Segment {
            lo: self.blocks.0,
            hi: self.blocks.1,
            level: self.level,
            mutation: self.mutation,
            times: self.times.map(from_pair),
            rows: self.rows,
            passed,
            next_offset: self.next_offset,
            serial: self.serial,
            read,
            absent: false,
            gone: self.gone,
        })
    }
}

impl Loose {
    fn stored(&self) -> StoredLoose {
        StoredLoose {
            blocks: (self.lo, self.hi),
            level: self.level,
            mutation: self.mutation,
            times: self.times.map(as_pair),
            next_offset: self.next_offset,
            read: StoredRows::of(&self.read, self.read.keys.len() <= KEYS_STORED_MAX),
        }
    }
}

/// Blocks of unread parts; if they are many, as one range with all of them.
fn stored_blocks(unread: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let ends = (unread.iter().map(|(lo, _)| *lo).min(), unread.iter().map(|(_, hi)| *hi).max());
    match ends {
        (Some(lo), Some(hi)) if unread.len() > UNREAD_STORED_MAX => vec![(lo, hi)],
        _ => unread.to_vec(),
    }
}

fn as_pair(times: Times) -> (u64, u64) {
    (times.oldest_ns, times.newest_ns)
}

fn from_pair((oldest_ns, newest_ns): (u64, u64)) -> Times {
    Times { oldest_ns, newest_ns }
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
    use crate::tail::part::Part;

    fn keys(keys: impl IntoIterator<Item = u64>) -> Rows {
        let mut rows = Rows::default();
        keys.into_iter().for_each(|key| rows.add(key, 60_000_000_000 * key));
        rows.sort();
        rows
    }

    fn part(name: &str, rows: u64) -> Part {
        Part::parse(0, "p", name, rows).unwrap()
    }

    #[test]
    fn a_position_survives_storage() {
        let mut position = Position::start("d.t", 5, 6);
        position.ledger.consume(&part("p_1_1_0", 2), 2, None, keys([9, 3]));
        position.ledger.consume(&part("p_2_2_0", 10), 4, Some(4), keys([1, 2, 3, 4]));
        let times = Some(Times { oldest_ns: 60_000_000_000, newest_ns: 70_000_000_000 });
        position.ledger.consume(&Part { times, ..part("p_3_3_0", 1) }, 1, None, keys([5]));
        position.ledger.deliver(&Part { times, ..part("p_1_5_1", 20) }, 7, keys([8]));
        position.ledger.plan(&[part("p_7_7_0", 1)]);
        let mut read = Position::from_json(&position.to_json()).unwrap();
        // Segments are told to be absent by each listing anew.
        read.ledger.plan(&[part("p_7_7_0", 1)]);
        assert_eq!(read, position);
        assert_eq!(stored_blocks(&[(1, 1), (5, 6), (3, 3)].repeat(100)), [(1, 6)]);
    }

    #[test]
    fn stored_keys_are_bounded_and_the_newest_are_kept() {
        let mut position = Position::start("d.t", 0, 0);
        for n in 1..=10 {
            let mut read = Rows::default();
            (0..10_000).for_each(|k| read.add(n * 1_000_000 + k, n));
            position.ledger.consume(&part(&format!("p_{n}_{n}_0"), 10_000), 10_000, None, read);
        }
        let json = position.to_json();
        assert!(json.len() < 500_000, "{}", json.len());
        let read = Position::from_json(&json).unwrap();
        let known: Vec<usize> =
            read.ledger.partitions.values().flat_map(|p| &p.segments).map(|s| s.read.keys.len()).collect();
        assert_eq!(known, [0, 0, 0, 0, 0, 0, 0, 10_000, 10_000, 10_000]);
        assert_eq!(read.ledger.unknown(&part("p_1_10_1", 100_000)), 70_000);
    }

    #[test]
    fn a_position_of_an_earlier_version_is_understood() {
        let json = r#"{"version":1,"table":"d.t","since_ns":0,"as_of_ns":7200000000000,"partitions":[{"shard":0,
            "id":"p","segments":[{"blocks":[1,1],"level":0,"mutation":0,"rows":1,"serial":1,"keys":"CQAAAAAAAAA"},
            {"blocks":[2,2],"level":0,"mutation":0,"rows":5,"serial":2}],"loose":[[1,3,"CAAAAAAAAAA"]]}]}"#;
        let position = Position::from_json(json).unwrap();
        assert_eq!(position.passed_ns, 3_600_000_000_000);
        let merged = part("p_1_3_1", 20);
        assert_eq!(position.ledger.known(&merged), [8, 9]);
        assert_eq!(position.ledger.unknown(&merged), 5);
        assert_eq!(position.ledger.expected_new(&merged), Some(13));
        // Times are noted when the part is listed next; from then on another part is told from it.
        let mut ledger = position.ledger;
        let at = |newest_ns| Part { times: Some(Times { oldest_ns: 7, newest_ns }), ..part("p_2_2_0", 5) };
        assert!(ledger.plan(&[at(8)]).is_empty());
        assert_eq!(ledger.plan(&[at(9)]).len(), 1);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Position::from_json("{}").is_err());
        assert!(Position::from_json("[1]").is_err());
        let json = Position::start("d.t", 0, 0).to_json().replace("\"version\":1", "\"version\":9");
        assert!(Position::from_json(&json).unwrap_err().to_string().contains("version 9"));
    }
}
