//! Which rows were inserted together, as far as their parts tell.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A number for the insert that a row of `part` came with; `None` where that cannot be told. `part` is
/// empty for a table without parts.
///
/// A part of a single block is one insert, so equal rows in it are no repetitions by a Collector. In a
/// merged part equal rows may be either. Where rows have the time at which an agent read them
/// (`is_observed`), equality to the nanosecond means that a batch was sent twice. Where they have
/// not, as in the contrib exporter's table, equal lines within the second of a syslog are ordinary:
/// there the part is taken for one insert.
pub fn insert_of(shard: u32, part: &str, is_observed: bool) -> Option<u64> {
    match single_block(part) {
        Some(block) => Some(hash((shard, block))),
        None if is_observed => None,
        None => Some(hash((shard, part))),
    }
}

/// Partition and block, if the part is of one block. Its name is
/// `partition_min_max_level[_mutation]`, where the partition's id may hold the separator too.
fn single_block(part: &str) -> Option<&str> {
    let number = |text: &str| text.parse::<u64>().ok();
    let (rest, _level) = part.rsplit_once('_')?;
    let (min_rest, max) = rest.rsplit_once('_')?;
    let (before, min) = min_rest.rsplit_once('_')?;
    if min == max && number(min).is_some() {
        return Some(min_rest);
    }
    // With a mutation the last number is one more.
    let (_, min_of_four) = before.rsplit_once('_')?;
    (min_of_four == min && number(min).is_some() && number(max).is_some()).then_some(before)
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_one_block_is_one_insert_at_whatever_level() {
        let block = insert_of(0, "20261123_417_417_0", true);
        assert!(block.is_some());
        for same in ["20261123_417_417_1", "20261123_417_417_0_930"] {
            assert_eq!(insert_of(0, same, true), block, "{same}");
        }
        for other in ["20261123_418_418_0", "20261124_417_417_0", "20261123-15_417_417_0"] {
            assert!(insert_of(0, other, true).is_some(), "{other}");
            assert_ne!(insert_of(0, other, true), block, "{other}");
        }
        assert_ne!(insert_of(1, "20261123_417_417_0", true), block);
        assert_ne!(insert_of(0, "a_b_3_3_0", true), None);
    }

    #[test]
    fn in_a_merged_part_the_agents_time_decides() {
        for merged in ["20261123_1_417_3", "20261123_1_417_3_930", ""] {
            assert_eq!(insert_of(0, merged, true), None, "{merged}");
            assert!(insert_of(0, merged, false).is_some(), "{merged}");
        }
    }
}
