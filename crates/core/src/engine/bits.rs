//! Sets of small numbers, a bit each: what is true of an event fits into the nearest cache.

/// A set of numbers below a bound.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Empties it, for numbers below `bound`.
    pub fn reset(&mut self, bound: usize) {
        self.0.clear();
        self.0.resize(bound.div_ceil(64), 0);
    }

    /// Whether a number is in it.
    #[inline]
    pub fn has(&self, number: u32) -> bool {
        self.0[number as usize / 64] >> (number % 64) & 1 == 1
    }

    /// Adds a number; whether it was not there.
    #[inline]
    pub fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = (&mut self.0[number as usize / 64], 1 << (number % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Takes a number out; whether it was there.
    #[inline]
    pub fn remove(&mut self, number: u32) -> bool {
        let (word, bit) = (&mut self.0[number as usize / 64], 1 << (number % 64));
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_from_when_it_is_added_until_it_is_taken_out() {
        let mut bits = Bits::default();
        bits.reset(65);
        assert!(!bits.has(64));
        assert!(bits.insert(64));
        assert!(!bits.insert(64));
        assert!(bits.has(64) && !bits.has(63));
        assert!(bits.remove(64));
        assert!(!bits.remove(64));
        bits.insert(3);
        bits.reset(4);
        assert!(!bits.has(3));
    }
}
