//! Tells new rows from known ones by counting keys.

/// Of rows with one key, as many are known as the sorted list holds it times.
#[derive(Debug)]
pub struct Sieve {
    known: Vec<u64>,
    used: Vec<bool>,
}

impl Sieve {
    /// `known` must be sorted.
    pub fn new(known: Vec<u64>) -> Sieve {
        let used = vec![false; known.len()];
        Sieve { known, used }
    }

    /// Whether the row with this key is new; each row must be asked about once.
    pub fn is_new(&mut self, key: u64) -> bool {
        let from = self.known.partition_point(|k| *k < key);
        let same = (from..self.known.len()).take_while(|at| self.known[*at] == key);
        match same.into_iter().find(|at| !self.used[*at]) {
            Some(at) => {
                self.used[at] = true;
                false
            }
            None => true,
        }
    }
}
