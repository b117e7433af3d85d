use super::*;
use crate::tail::part::Times;
use crate::tail::sieve::Sieve;

/// Rows with these keys, each in a minute of its own number.
fn read(keys: impl IntoIterator<Item = u64>) -> Rows {
    let mut rows = Rows::default();
    keys.into_iter().for_each(|key| rows.add(key, 60_000_000_000 * key));
    rows.sort();
    rows
}

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
    ledger.consume(&parts[0], 5, None, read([1, 2, 3, 4, 5]));
    assert_eq!(ledger.plan(&parts), [fresh("1_1_0", 2)]);
}

#[test]
fn a_merge_of_consumed_parts_is_not_read() {
    let mut ledger = Ledger::default();
    ledger.consume(&part("1_1_0", 2), 2, None, read([1, 2]));
    ledger.consume(&part("3_3_0", 1), 1, None, read([3]));
    assert!(ledger.plan(&[part("1_3_1", 3)]).is_empty());
    assert_eq!(ledger.known(&part("1_9_2", 9)), [1, 2, 3]);
    // Its sources, shown by a lagging replica, are not new either.
    assert!(ledger.plan(&[part("1_1_0", 2), part("3_3_0", 1)]).is_empty());
}

#[test]
fn a_merge_that_swallowed_an_unread_part_is_mixed() {
    let mut ledger = Ledger::default();
    ledger.consume(&part("1_1_0", 2), 2, None, read([1, 2]));
    ledger.consume(&part("3_3_0", 1), 1, None, read([3]));
    let merged = part("1_3_1", 7);
    assert_eq!(ledger.plan(std::slice::from_ref(&merged)), [Work::Mixed(merged.clone())]);
    let mut sieve = Sieve::new(ledger.known(&merged));
    let new: Vec<u64> = [1, 10, 2, 11, 3, 3, 12].into_iter().filter(|k| sieve.is_new(*k)).collect();
    assert_eq!(new, [10, 11, 3, 12], "the second 3 is another row with the same content");
    ledger.deliver(&merged, 4, read([10, 11]));
    assert_eq!(ledger.known(&merged), [1, 2, 3, 10, 11]);
    // Merged further before it was finished: what was delivered stays known.
    let further = part("1_4_2", 8);
    assert_eq!(ledger.plan(std::slice::from_ref(&further)), [Work::Mixed(further.clone())]);
    ledger.deliver(&further, 8, read([3, 12, 13]));
    ledger.settle(&further, None);
    assert!(ledger.plan(std::slice::from_ref(&further)).is_empty());
    assert_eq!(ledger.known(&further).len(), 8);
    assert_eq!(ledger.unknown(&further), 0);
}

#[test]
fn a_half_read_part_goes_on_where_it_stopped_unless_it_was_merged() {
    let mut ledger = Ledger::default();
    let big = part("1_1_0", 100);
    ledger.consume(&big, 40, Some(40), read(0..40));
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
    ledger.consume(&part("1_1_0", 5), 5, None, read([1, 2, 3, 4, 5]));
    assert!(ledger.plan(&[part("1_1_0_7", 3)]).is_empty());
    assert!(matches!(ledger.plan(&[part("1_2_1_7", 6)])[..], [Work::Mixed(_)]));
}

#[test]
fn a_dropped_partition_is_forgotten_only_when_its_shard_answers() {
    let mut ledger = Ledger::default();
    ledger.consume(&part("1_1_0", 1), 1, None, read([1]));
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
        ledger.pass_over(part);
    }
    assert_eq!(ledger.unknown(&part("1_2_1", 5)), 5);
    assert_eq!(ledger.without_keys(&parts), [&parts[1], &parts[0]]);
    ledger.restore(&parts[0], read([5, 4]));
    assert_eq!(ledger.unknown(&part("1_2_1", 5)), 3);
    assert_eq!(ledger.known(&part("1_2_1", 5)), [4, 5]);
}

#[test]
fn later_parts_are_not_touched_by_a_mutation() {
    let mut ledger = Ledger::default();
    ledger.consume(&part("1_1_0", 2), 2, None, read([1, 2]));
    ledger.consume(&part("8_8_0", 1), 1, None, read([3]));
    assert!(ledger.plan(&[part("1_1_0_7", 1)]).is_empty());
    assert!(ledger.plan(&[part("1_8_1_7", 2)]).is_empty(), "the mutated and the later part, merged");
}

#[test]
fn on_a_plain_table_what_is_not_listed_is_gone() {
    let mut ledger = Ledger { plain: true, ..Ledger::default() };
    for n in 1..=5 {
        ledger.consume(&part(&format!("{n}_{n}_0"), 1), 1, None, read([n]));
    }
    assert!(ledger.plan(&[part("1_5_1", 5)]).is_empty());
    // All were dropped, and the numbers begin anew.
    let first = part("1_1_0", 1);
    assert_eq!(ledger.plan(std::slice::from_ref(&first)), [fresh("1_1_0", 1)]);
    assert_eq!(ledger.absent(), 1);
    assert_eq!(ledger.known_absent(&first), [1, 2, 3, 4, 5], "in case they are attached again");
    ledger.consume(&first, 1, None, read([6]));
    assert!(ledger.plan(std::slice::from_ref(&first)).is_empty());
    assert_eq!(ledger.known(&first), [6]);
}

#[test]
fn a_part_with_the_name_and_the_rows_of_a_consumed_one_is_told_from_it_by_its_times() {
    let dated = |name: &str, rows, oldest_ns, newest_ns| Part {
        times: Some(Times { oldest_ns, newest_ns }),
        ..part(name, rows)
    };
    for plain in [true, false] {
        let mut ledger = Ledger { plain, ..Ledger::default() };
        ledger.consume(&dated("1_1_0", 2, 10, 20), 2, None, read([1, 2]));
        ledger.consume(&dated("2_2_0", 9, 10, 20), 5, Some(5), read([3, 4, 5, 6, 7]));
        ledger.consume(&dated("3_6_1", 9, 10, 20), 9, None, read([8]));
        let begun = dated("2_2_0", 9, 10, 20);
        let same = [dated("1_1_0", 2, 10, 20), begun.clone(), dated("3_6_1", 9, 10, 20)];
        assert_eq!(ledger.plan(&same), [Work::Fresh { part: begun, from: 5 }]);
        // Deleted rows leave others of the same time; a mutation brings no newer ones.
        assert!(ledger.clone().plan(&[dated("1_1_0_7", 1, 10, 10)]).is_empty());
        assert!(matches!(ledger.clone().plan(&[dated("1_1_0_7", 1, 10, 21)])[..], [Work::Fresh { .. }]));
        // A merge of others is looked into, also where the numbers agree.
        assert!(matches!(ledger.clone().plan(&[dated("1_6_2", 20, 10, 21)])[..], [Work::Mixed(_)]));
        let twins = [dated("1_1_0", 2, 10, 21), dated("2_2_0", 9, 11, 20), dated("4_4_0", 1, 30, 30)];
        let fresh = twins.clone().map(|part| Work::Fresh { part, from: 0 });
        assert_eq!(ledger.plan(&twins), fresh, "plain: {plain}");
        assert_eq!(ledger.absent(), 3);
        assert_eq!(ledger.known_absent(&twins[0]).len(), 8, "in case they are attached again");
    }
}

#[test]
fn what_must_be_new_is_told_by_numbers_of_rows() {
    let mut ledger = Ledger::default();
    ledger.consume(&part("1_1_0", 2), 2, None, read([1, 2]));
    ledger.consume(&part("4_4_0", 9), 3, Some(3), read([3, 4, 5]));
    let merged = part("1_5_1", 20);
    assert_eq!(ledger.expected_new(&merged), Some(15));
    assert_eq!(ledger.consumed_blocks(&merged), Some(vec![(1, 1)]), "4 is not consumed to its end");
    assert_eq!(ledger.expected_new(&part("1_5_1_3", 20)), None, "a mutation deleted who knows what");
    assert_eq!(ledger.expected_new(&part("1_5_1", 4)), None, "rows were deleted");
    let by_minute = ledger.by_minute(&merged);
    assert!(by_minute.exact && !by_minute.passed);
    assert_eq!((by_minute.consumed.rows(4), by_minute.consumed.rows(9)), (1, 0));
}
