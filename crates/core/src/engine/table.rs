//! Literals filed under a number made of a few of their bytes, in flat tables.
//!
//! A bit for each number says at once, for most of what is looked up, that nothing is filed there;
//! where something is, a lookup costs the memory that it touches: one entry of each table.

/// Bits of the filter for each filed literal, of which two are set: one lookup in some two hundred is a
/// needless one.
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
    /// Two bits in one word for each key under which something is filed.
    filter: Vec<u64>,
    /// How far a hash is shifted to give the word, and the place in `starts`.
    word_shift: u32,
    start_shift: u32,
    /// Where what has the same first bits of the hash begins in `filed`; and the end.
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
        let places = filed.len().next_power_of_two().max(2);
        table.word_shift = 64 - (bits / 64).trailing_zeros();
        table.start_shift = 64 - places.trailing_zeros();
        table.filter = vec![0; bits / 64];
        table.starts = vec![0; places + 1];
        filed.sort_by_key(|filed| (hash(filed.key) >> table.start_shift, filed.key));
        for filed in &filed {
            let hash = hash(filed.key);
            let (first, second) = bits_of(hash);
            table.filter[(hash >> table.word_shift) as usize] |= 1 << first | 1 << second;
            table.starts[(hash >> table.start_shift) as usize + 1] += 1;
        }
        let mut end = 0;
        for start in &mut table.starts {
            end += *start;
            *start = end;
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
        let hash = hash(key);
        let word = self.filter[(hash >> self.word_shift) as usize];
        let (first, second) = bits_of(hash);
        // Both at once: which of them is missing cannot be foretold.
        (word >> first & word >> second) & 1 == 1
    }

    /// What is filed under `key`. Must not be asked of an empty table.
    #[inline]
    pub fn filed(&self, key: u32) -> impl Iterator<Item = &Filed> {
        let place = (hash(key) >> self.start_shift) as usize;
        let (start, end) = (self.starts[place] as usize, self.starts[place + 1] as usize);
        let same = self.keys[start..end].iter().zip(start..).filter(move |(known, _)| **known == key);
        same.map(|(_, at)| &self.filed[at])
    }
}

#[inline(always)]
fn hash(key: u32) -> u64 {
    u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Which bits of its word a key has.
#[inline(always)]
fn bits_of(hash: u64) -> (u64, u64) {
    (hash >> 32 & 63, hash >> 26 & 63)
}
