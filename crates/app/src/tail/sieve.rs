//! Tells new rows from known ones by counting keys.

/// Of rows with one key, as many are known as the sorted list holds it times.
#[derive(Debug)]
pub struct Sieve {
    known: Vec<u64>,
    used: Vec<Option<u64>>,
}

impl Sieve {
    /// `known` must be sorted.
    pub fn new(known: Vec<u64>) -> Sieve {
        let used = vec![None; known.len()];
        Sieve { known, used }
    }

    /// Whether the row with this key is new; each row must be asked about once. Of equal rows the
    /// first that are asked about are the known ones.
    pub fn is_new(&mut self, key: u64) -> bool {
        self.left_over(key, 0).is_some()
    }

    /// The same for rows of one part that come in any order: of equal rows those with the lowest
    /// offsets are the known ones. The offset of the row that turns out to be new by this one: its
    /// own, or that of an equal one that came before it.
    pub fn left_over(&mut self, key: u64, offset: u64) -> Option<u64> {
        let from = self.known.partition_point(|k| *k < key);
        let same = (from..self.known.len()).take_while(|at| self.known[*at] == key);
        let mut highest: Option<(u64, usize)> = None;
        for at in same {
            let Some(used) = self.used[at] else {
                self.used[at] = Some(offset);
                return None;
            };
            highest = highest.max(Some((used, at)));
        }
        match highest {
            Some((used, at)) if used > offset => {
                self.used[at] = Some(offset);
                Some(used)
            }
            _ => Some(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_rows_the_last_of_the_part_are_new_in_whatever_order_they_come() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [1, 3, 2]] {
            let mut sieve = Sieve::new(vec![7]);
            let mut new: Vec<u64> = order.iter().filter_map(|offset| sieve.left_over(7, *offset)).collect();
            new.sort_unstable();
            assert_eq!(new, [2, 3]);
        }
    }
}
