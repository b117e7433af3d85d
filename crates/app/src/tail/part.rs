//! One active part, told by its name.

/// Event times of the oldest and the newest row of a part, nanoseconds since the epoch, as coarse as
/// the column is by which the table is partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Of the oldest.
    pub oldest_ns: u64,
    /// Of the newest.
    pub newest_ns: u64,
}

impl Times {
    /// Whether `other` lies within.
    pub fn hold(&self, other: &Times) -> bool {
        self.oldest_ns <= other.oldest_ns && other.newest_ns <= self.newest_ns
    }

    /// The times of the rows of both.
    pub fn and(&self, other: &Times) -> Times {
        Times {
            oldest_ns: self.oldest_ns.min(other.oldest_ns),
            newest_ns: self.newest_ns.max(other.newest_ns),
        }
    }
}

/// Whether both are told and differ.
pub fn differ(one: Option<Times>, other: Option<Times>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// Which rows of a part may be gone without a mutation that its name would tell of: merges leave rows
/// out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expired {
    /// None.
    #[default]
    Nothing,
    /// The oldest: they may be older than the table keeps rows.
    Oldest,
    /// Any.
    Any,
}

/// One active part as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Shard number; 0 where there is only one.
    pub shard: u32,
    /// Partition id.
    pub partition: String,
    /// Full name.
    pub name: String,
    /// First insert block.
    pub lo: i64,
    /// Last insert block.
    pub hi: i64,
    /// How often it was merged.
    pub level: u64,
    /// Mutation version; 0 for none.
    pub mutation: i64,
    /// Rows.
    pub rows: u64,
    /// Tell it from another part of its name, with as many rows, of a table that was created anew or
    /// whose blocks are counted anew; `None` where they cannot be told without reading rows.
    pub times: Option<Times>,
    /// Which rows of its sources it may lack.
    pub expired: Expired,
}

impl Part {
    /// Parses the name; `None` if it is not a MergeTree part's. It is parsed against the partition
    /// id, which may itself hold separators. What else is told of it is to be
    /// added.
    pub fn parse(shard: u32, partition: &str, name: &str, rows: u64) -> Option<Part> {
        let rest = name.strip_prefix(partition)?.strip_prefix('_')?;
        let numbers: Vec<i64> = rest.split('_').map(str::parse).collect::<Result<_, _>>().ok()?;
        let (lo, hi, level, mutation) = match numbers[..] {
            [lo, hi, level] => (lo, hi, level, 0),
            [lo, hi, level, mutation] => (lo, hi, level, mutation),
            _ => return None,
        };
        let level = u64::try_from(level).ok()?;
        let (partition, name) = (partition.to_string(), name.to_string());
        let (times, expired) = (None, Expired::Nothing);
        let part = Part { shard, partition, name, lo, hi, level, mutation, rows, times, expired };
        (lo <= hi).then_some(part)
    }

    /// Shard and partition.
    pub fn partition_key(&self) -> (u32, String) {
        (self.shard, self.partition.clone())
    }

    /// Whether it holds all blocks from `lo` to `hi`.
    pub fn holds(&self, lo: i64, hi: i64) -> bool {
        self.lo <= lo && hi <= self.hi
    }

    /// Whether it holds any of these blocks.
    pub fn overlaps(&self, lo: i64, hi: i64) -> bool {
        self.lo <= hi && lo <= self.hi
    }
}
