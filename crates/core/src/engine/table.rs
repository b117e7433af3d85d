//! Literals filed under a number made of a few of their bytes, in flat tables.
//!
//! A bit for each number says at once, for most of what is looked up, that nothing is filed there;
//! where something is, a lookup costs the memory that it touches: one entry of each table.

/// Bits of the filter for each filed literal: one lookup in so many is a needless one.
const BITS_PER_LITERAL: usize = 32;
/// Bounds of the filter: at least a cache line or two, at most what stays in a near cache.
const BITS_MIN: usize = 1 << 10;
const BITS_MAX: usize = 1 << 20;

/// What is filed: a literal, and who wants to know of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filed {
    /// The number under which it is filed.
    pub key: u32,
    /// Where in the literal the bytes stand that the number is made of.
    pub offset: u32,
    /// The literal: where in the index's text it begins, and its length.
    pub text: (u32, u32),
    /// Who wants to know: from where to where in the index's entries.
    pub entries: (u32, u32),
}

/// Literals by number.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// One bit for each hash of a key under which something is filed.
    filter: Vec<u64>,
    /// For each word of `filter`, how many bits are set in the words before it.
    ranks: Vec<u32>,
    shift: u32,
    /// For each set bit, where its literals begin in `filed`; and the end.
    starts: Vec<u32>,
    filed: Vec<Filed>,
    /// The keys of `filed`: what passes the filter without being filed looks no further.
    keys: Vec<u32>,
}

impl Table {
    /// Files literals.
    pub fn new(mut filed: Vec<Filed>) -> Table {
        let mut table = Table::default();
        if filed.is_empty() {
            return table;
        }
        let bits = (filed.len() * BITS_PER_LITERAL).next_power_of_two().clamp(BITS_MIN, BITS_MAX);
        table.shift = 32 - bits.trailing_zeros();
        table.filter = vec![0; bits / 64];
        filed.sort_by_key(|filed| (table.bit(filed.key), filed.key));
        for (index, filed) in filed.iter().enumerate() {
            let bit = table.bit(filed.key);
            let (word, mask) = (bit / 64, 1 << (bit % 64));
            if table.filter[word] & mask == 0 {
                table.filter[word] |= mask;
                table.starts.push(index as u32);
            }
        }
        table.starts.push(filed.len() as u32);
        let mut rank = 0;
        for word in &table.filter {
            table.ranks.push(rank);
            rank += word.count_ones();
        }
        table.keys = filed.iter().map(|filed| filed.key).collect();
        table.filed = filed;
        table
    }

    /// Whether nothing is filed.
    pub fn is_empty(&self) -> bool {
        self.filed.is_empty()
    }

    /// Whether something may be filed under `key`. Must not be asked of an empty table.
    #[inline(always)]
    pub fn may_have(&self, key: u32) -> bool {
        let bit = self.bit(key);
        self.filter[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// What is filed under `key`, of which [`Table::may_have`] is true.
    #[inline]
    pub fn filed(&self, key: u32) -> impl Iterator<Item = &Filed> {
        let bit = self.bit(key);
        let before = self.filter[bit / 64] & ((1 << (bit % 64)) - 1);
        let bucket = (self.ranks[bit / 64] + before.count_ones()) as usize;
        let (start, end) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        let same = self.keys[start..end].iter().zip(start..).filter(move |(known, _)| **known == key);
        same.map(|(_, at)| &self.filed[at])
    }

    #[inline(always)]
    fn bit(&self, key: u32) -> usize {
        (key.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }
}
