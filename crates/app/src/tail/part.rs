//! One active part, told by its name.

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
}

impl Part {
    /// Parses the name; `None` if it is not a MergeTree part's. It is parsed against the partition
    /// id, which may itself hold separators.
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
        (lo <= hi).then_some(Part { shard, partition, name, lo, hi, level, mutation, rows })
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
