use super::*;

fn part(name: &str, rows: u64) -> Part {
    Part::parse(0, "20261122-15", &format!("20261122-15_{name}"), rows).unwrap()
}

fn fresh(name: &str, rows: u64) -> Work {
    Work::Fresh { part: part(name, rows), from: 0 }
}

#[test]
fn names_are_parsed_against_the_partition() {
    let p = Part::parse(2, "20261122_15", "20261122_15_3_9_2_41", 5).unwrap();
    assert_eq!((p.lo, p.hi, p.level, p.mutation, p.shard), (3, 9, 2, 41, 2));
    assert!(Part::parse(0, "a", "b_1_1_0", 1).is_none());
    assert!(Part::parse(0, "a", "a_1_1", 1).is_none());
    assert!(Part::parse(0, "a", "a_x_1_0", 1).is_none());
    assert!(Part::parse(0, "a", "a_5_1_0", 1).is_none());
}

#[test]
fn new_parts_come_in_the_order_of_insertion_and_once() {
    let mut ledger = Ledger::default();
    let parts = [part("3_3_0", 5), part("1_1_0", 2)];
    assert_eq!(ledger.plan(&parts), [fresh("1_1_0", 2), fresh("3_3_0", 5)]);
    ledger.consume(&parts[0], 5, None, vec![1, 2, 3, 4, 5]);
    assert_eq!(ledger.plan(&parts), [fresh("1_1_0", 2)]);
}

#[test]
fn a_merge_of_consumed_parts_is_not_read() {
    let mut ledger = Ledger::default();
    ledger.consume(&part("1_1_0", 2), 2, None, vec![1, 2]);
    ledger.consume(&part("3_3_0", 1), 1, None, vec![3]);
    assert!(ledger.plan(&[part("1_3_1", 3)]).is_empty());
    assert_eq!(ledger.known(&part("1_9_2", 9)), [1, 2, 3]);
    // Its sources, shown by a lagging replica, are not new either.
    assert!(ledger.plan(&[part("1_1_0", 2), part("3_3_0", 1)]).is_empty());
}

#[test]
fn a_merge_that_swallowed_an_unread_part_is_mixed() {
    let mut ledger = Ledger::default();
    ledger.consume(&part("1_1_0", 2), 2, None, vec![1, 2]);
    ledger.consume(&part("3_3_0", 1), 1, None, vec![3]);
    let merged = part("1_3_1", 7);
    assert_eq!(ledger.plan(std::slice::from_ref(&merged)), [Work::Mixed(merged.clone())]);
    let mut sieve = Sieve::new(ledger.known(&merged));
    let new: Vec<u64> = [1, 10, 2, 11, 3, 3, 12].into_iter().filter(|k| sieve.is_new(*k)).collect();
    assert_eq!(new, [10, 11, 3, 12], "the second 3 is another row with the same content");
    ledger.deliver(&merged, vec![10, 11]);
    assert_eq!(ledger.known(&merged), [1, 2, 3, 10, 11]);
    // Merged further before it was finished: what was delivered stays known.
    let further = part("1_4_2", 8);
    assert_eq!(ledger.plan(std::slice::from_ref(&further)), [Work::Mixed(further.clone())]);
    ledger.deliver(&further, vec![3, 12, 13]);
    ledger.settle(&further);
    assert!(ledger.plan(&[further.clone()]).is_empty());
    assert_eq!(ledger.known(&further).len(), 8);
    assert_eq!(ledger.unknown(&further), 0);
}

#[test]
fn a_half_read_part_goes_on_where_it_stopped_unless_it_was_merged() {
    let mut ledger = Ledger::default();
    let big = part("1_1_0", 100);
    ledger.consume(&big, 40, Some(40), (0..40).collect());
    assert_eq!(ledger.plan(std::slice::from_ref(&big)), [Work::Fresh { part: big.clone(), from: 40 }]);
    let merged = part("1_2_1", 110);
    assert_eq!(ledger.plan(std::slice::from_ref(&merged)), [Work::Mixed(merged.clone())]);
    assert_eq!(ledger.known(&merged).len(), 40);
    // Rewritten alone, its order may have changed.
    let rewritten = part("1_1_1", 100);
    assert_eq!(ledger.plan(std::slice::from_ref(&rewritten)), [Work::Mixed(rewritten.clone())]);
}

#[test]
fn a_mutation_adds_no_rows() {
    let mut ledger = Ledger::default();
    ledger.consume(&part("1_1_0", 5), 5, None, vec![1, 2, 3, 4, 5]);
    assert!(ledger.plan(&[part("1_1_0_7", 3)]).is_empty());
    assert!(matches!(ledger.plan(&[part("1_2_1_7", 6)])[..], [Work::Mixed(_)]));
}

#[test]
fn a_dropped_partition_is_forgotten_only_when_its_shard_answers() {
    let mut ledger = Ledger::default();
    ledger.consume(&part("1_1_0", 1), 1, None, vec![1]);
    for _ in 0..=ABSENT_MAX {
        ledger.plan(&[]);
    }
    assert_eq!(ledger.partitions.len(), 1, "a silent shard proves nothing");
    let other = Part::parse(0, "other", "other_1_1_0", 1).unwrap();
    for _ in 0..=ABSENT_MAX {
        ledger.plan(std::slice::from_ref(&other));
    }
    assert_eq!(ledger.partitions.len(), 1, "only `other` is left");
}

#[test]
fn keys_come_back_while_the_part_is_there() {
    let mut ledger = Ledger::default();
    let parts = [part("1_1_0", 2), part("2_2_0", 3)];
    for part in &parts {
        ledger.consume(part, part.rows, None, vec![]);
    }
    assert_eq!(ledger.unknown(&part("1_2_1", 5)), 5);
    assert_eq!(ledger.without_keys(&parts), [&parts[1], &parts[0]]);
    ledger.restore_keys(&parts[0], vec![5, 4]);
    ledger.restore_keys(&parts[1], vec![1]);
    assert_eq!(ledger.unknown(&part("1_2_1", 5)), 3, "one key for three rows proves nothing");
}
