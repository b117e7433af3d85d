//! The store keeps what it promised, whatever happens to the process.

use super::*;
use crate::keep::PayloadSettings;
use otel_log_ai_core::alert::{
    Detection, GroupField, Grouping, GroupingSettings, Identity, Notification, Origin,
};
use otel_log_ai_core::rule::{Level, RuleInfo};

fn settings(directory: &Path) -> StoreSettings {
    StoreSettings::new(directory.join("state.sqlite"))
}

fn grouping() -> Grouping {
    Grouping::new(GroupingSettings {
        instance: "default".into(),
        group_by: vec![GroupField::Host],
        group_wait: Duration::ZERO,
        group_interval: Duration::ZERO,
        repeat_interval: Duration::from_secs(60),
        window: Duration::from_secs(60),
        resolve: true,
        evidence_max: 5,
        rule_max: 1000,
        total_max: 1000,
        open_max: 100,
    })
}

fn detection(host: &str, n: u64) -> Detection {
    let rule =
        RuleInfo { id: "rule".into(), title: "Rule".into(), level: Level::High, ..RuleInfo::default() };
    let origin =
        Origin { record_id: format!("row-{n}"), timestamp_ns: n, host: host.into(), ..Origin::default() };
    Detection { rule: Arc::new(rule), origin, excerpt: "text".into(), ..Detection::default() }
}

fn item(notification: &Notification, target: &str, keep: &PayloadSettings) -> OutboxItem {
    let payload = crate::keep::payload(notification, keep).to_string().into_bytes();
    crate::keep::outbox_item(notification, target, payload)
}

/// What a turn of the pipeline at `now_ms` stores.
fn turn(grouping: &mut Grouping, now_ms: i64) -> Commit<'static> {
    let keep = PayloadSettings {
        environment: "test".into(),
        severity: crate::keep::SeverityMap::default(),
        signoz_url: None,
    };
    let due = grouping.due(now_ms);
    let outbox = due.iter().map(|notification| item(notification, "keep", &keep)).collect();
    Commit { open_changes: grouping.take_changes(), outbox, ..Commit::default() }
}

#[test]
fn a_commit_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(directory.path())).unwrap();
    assert_eq!(store.load().unwrap(), Saved::default());
    let mut grouping = grouping();
    grouping.observe(&detection("a", 1), 0);
    grouping.observe(&detection("b", 2), 0);
    let commit = Commit { position: Some("p1"), totals: vec![("rows", 7)], ..turn(&mut grouping, 0) };
    store.commit(&commit).unwrap();
    store.commit(&Commit { totals: vec![("rows", 3)], ..Commit::default() }).unwrap();
    drop(store);

    let store = Store::open(settings(directory.path())).unwrap();
    let saved = store.load().unwrap();
    assert_eq!(saved.position.as_deref(), Some("p1"));
    assert_eq!(saved.open, commit.open_changes.upserts);
    assert_eq!(saved.totals["rows"], 10);
    assert_eq!(store.outbox_len().unwrap(), 2);
    let ready = store.outbox_ready("keep", 0, 10).unwrap();
    assert_eq!(ready[0].payload, commit.outbox[0].payload);
}

#[test]
fn detections_of_late_are_stored_with_what_they_came_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(directory.path())).unwrap();
    let identity = |n: u8| Identity::from_bytes([n; Identity::BYTES]);
    let added = |seq: i64, identities: Vec<Identity>| RecentChanges {
        added: Some(Remembered { seq, at_ms: seq * 10, identities }),
        ..RecentChanges::default()
    };
    for (seq, identities) in [(1, vec![identity(1)]), (2, vec![identity(2), identity(2)]), (3, vec![])] {
        let recent_changes = added(seq, identities);
        store.commit(&Commit { recent_changes, ..Commit::default() }).unwrap();
    }
    let forgetting = RecentChanges { later_ms: 5, forgotten: Some(1), ..added(4, vec![identity(4)]) };
    store.commit(&Commit { recent_changes: forgetting, ..Commit::default() }).unwrap();
    drop(store);

    let saved = Store::open(settings(directory.path())).unwrap().load().unwrap();
    let expected = [(2, 25, vec![identity(2), identity(2)]), (3, 35, vec![]), (4, 40, vec![identity(4)])];
    let expected = expected.map(|(seq, at_ms, identities)| Remembered { seq, at_ms, identities });
    assert_eq!(saved.recent, expected);
}

#[test]
fn only_the_owner_may_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    std::fs::write(&settings.path, "").unwrap();
    let mut store = Store::open(settings).unwrap();
    store.commit(&Commit { position: Some("p"), ..Commit::default() }).unwrap();
    #[cfg(unix)]
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[test]
fn two_owners_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = Store::open(settings(directory.path())).unwrap();
    let error = Store::open(settings(directory.path())).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(!error.is_temporary(), "{error}");
    drop(first);
    Store::open(settings(directory.path())).unwrap();
}

#[test]
fn a_file_it_cannot_trust_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.sqlite");

    std::fs::write(&path, "this is not a database, but long enough to be taken for one ".repeat(100))
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Store::open(settings(directory.path())).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);

    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Store::open(settings(directory.path())).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);

    std::fs::remove_file(&path).unwrap();
    drop(Store::open(settings(directory.path())).unwrap());
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let error = Store::open(settings(directory.path())).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");

    let error = Store::open(StoreSettings::new(directory.path().join("no/such/state"))).unwrap_err();
    assert!(error.to_string().contains("directory does not exist"), "{error}");
    assert!(!error.is_temporary());
}

#[test]
fn damage_in_the_midst_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    let mut store = Store::open(settings.clone()).unwrap();
    let mut grouping = grouping();
    for n in 0..200 {
        grouping.observe(&detection(&format!("host-{n}"), n), 0);
    }
    store.commit(&turn(&mut grouping, 0)).unwrap();
    drop(store);
    let mut bytes = std::fs::read(&settings.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 20_000].fill(0xa5);
    std::fs::write(&settings.path, bytes).unwrap();
    let error = Store::open(settings).and_then(|store| store.load()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_full_outbox_refuses_the_whole_commit_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(StoreSettings { outbox_max: 2, ..settings(directory.path()) }).unwrap();
    let mut grouping = grouping();
    for n in 0..2 {
        grouping.observe(&detection(&format!("host-{n}"), n), 0);
    }
    store.commit(&turn(&mut grouping, 0)).unwrap();
    // An update takes the place of the unsent word before it: no more room is needed.
    grouping.observe(&detection("host-0", 3), 1);
    store.commit(&turn(&mut grouping, 1)).unwrap();
    assert_eq!(store.outbox_len().unwrap(), 2);

    grouping.observe(&detection("host-2", 4), 2);
    let commit = Commit { position: Some("later"), ..turn(&mut grouping, 2) };
    let error = store.commit(&commit).unwrap_err();
    assert!(matches!(error, StoreError::OutboxFull { limit: 2 }) && error.is_temporary(), "{error}");
    let saved = store.load().unwrap();
    assert_eq!((saved.position, saved.open.len()), (None, 2));

    let ready = store.outbox_ready("keep", 10, 1).unwrap();
    store.outbox_accepted(&ready, 0, None).unwrap();
    store.commit(&commit).unwrap();
    assert_eq!(store.load().unwrap().position.as_deref(), Some("later"));
}

#[test]
fn a_disk_without_room_is_said_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(directory.path())).unwrap();
    let pages: i64 = store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.connection.execute_batch(&format!("PRAGMA max_page_count = {}", pages + 2)).unwrap();
    let mut grouping = grouping();
    for n in 0..100 {
        grouping.observe(&detection(&format!("host-{n}"), n), 0);
    }
    let commit = Commit { position: Some("p"), ..turn(&mut grouping, 0) };
    let error = store.commit(&commit).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }) && error.is_temporary(), "{error}");
    assert_eq!(store.load().unwrap(), Saved::default());
    store.connection.execute_batch("PRAGMA max_page_count = 100000").unwrap();
    store.commit(&commit).unwrap();
    assert_eq!(store.outbox_len().unwrap(), 100);
}

/// A copy of the files at any moment is what a kill at that moment leaves behind.
#[test]
fn a_kill_at_any_moment_leaves_whole_commits() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(directory.path())).unwrap();
    let mut grouping = grouping();
    for n in 1..=30_u64 {
        grouping.observe(&detection(&format!("host-{}", n % 7), n), n as i64);
        let position = n.to_string();
        let commit =
            Commit { position: Some(&position), totals: vec![("rows", 1)], ..turn(&mut grouping, n as i64) };
        let copy = if n % 2 == 0 {
            store.commit(&commit).unwrap();
            copy_of(directory.path())
        } else {
            // In the midst of the transaction, before SQLite's commit.
            let mut copy = None;
            let midst = store.transaction(|transaction| {
                change_open(transaction, &commit.open_changes)?;
                copy = Some(copy_of(directory.path()));
                Ok(false)
            });
            midst.unwrap();
            let copy = copy.unwrap();
            store.commit(&commit).unwrap();
            copy
        };
        let expected = if n % 2 == 0 { n } else { n - 1 };
        let saved = Store::open(settings(copy.path())).unwrap().load().unwrap();
        let counted: u64 = saved.open.iter().map(|alert| alert.count).sum();
        let position = saved.position.map_or(0, |position| position.parse().unwrap());
        let rows = saved.totals.get("rows").copied().unwrap_or(0);
        assert_eq!((position, counted, rows), (expected, expected, expected));
    }
}

#[test]
fn a_torn_journal_loses_at_most_the_last_commit() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(directory.path())).unwrap();
    let mut grouping = grouping();
    for n in 1..=5_u64 {
        grouping.observe(&detection("host", n), n as i64);
        let position = n.to_string();
        let commit = Commit { position: Some(&position), ..turn(&mut grouping, n as i64) };
        store.commit(&commit).unwrap();
    }
    let journal = directory.path().join("state.sqlite-wal");
    let whole = std::fs::metadata(&journal).unwrap().len();
    for cut in 1..=12 {
        let copy = copy_of(directory.path());
        let journal =
            std::fs::OpenOptions::new().write(true).open(copy.path().join("state.sqlite-wal")).unwrap();
        journal.set_len(whole - cut * 512).unwrap();
        let saved = Store::open(settings(copy.path())).unwrap().load().unwrap();
        let position: u64 = saved.position.map_or(0, |position| position.parse().unwrap());
        assert!(position < 5, "the last commit is not whole any more");
        assert_eq!(saved.open.iter().map(|alert| alert.count).sum::<u64>(), position);
    }
}

fn copy_of(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

#[test]
fn dead_letters_are_kept_with_their_reason_within_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(StoreSettings { dead_letters_max: 3, ..settings(directory.path()) }).unwrap();
    let mut grouping = grouping();
    for n in 0..5 {
        grouping.observe(&detection(&format!("host-{n}"), n), 0);
    }
    store.commit(&turn(&mut grouping, 0)).unwrap();
    for item in store.outbox_ready("keep", 0, 10).unwrap() {
        store.outbox_dead(&[item], 1, "because").unwrap();
    }
    let dead = store.dead_letters(10).unwrap();
    assert_eq!((dead.len(), dead[0].reason.as_str(), dead[0].target.as_str()), (3, "because", "keep"));
    assert_eq!(store.outbox_len().unwrap(), 0);
    let totals = store.load().unwrap().totals;
    assert_eq!((totals["alerts_dead"], totals["dead_letters_dropped"]), (5, 2));
}

#[test]
fn a_newer_word_survives_the_delivery_of_the_older() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(directory.path())).unwrap();
    let mut grouping = grouping();
    grouping.observe(&detection("host", 1), 0);
    store.commit(&turn(&mut grouping, 0)).unwrap();
    let on_its_way = store.outbox_ready("keep", 0, 10).unwrap();
    store.outbox_begin(&on_its_way, 0, 5_000).unwrap();
    grouping.observe(&detection("host", 2), 1);
    store.commit(&turn(&mut grouping, 1)).unwrap();
    store.outbox_accepted(&on_its_way, 5_000, None).unwrap();
    // It is there, but keeps its distance.
    assert_eq!(store.outbox_ready("keep", 4_999, 10).unwrap(), []);
    let next = store.outbox_ready("keep", 5_000, 10).unwrap();
    assert_eq!(next.len(), 1);
    assert_ne!(next[0].id, on_its_way[0].id);
}

#[test]
fn audit_records_that_wait_for_others_are_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(directory.path())).unwrap();
    let record = |text: &str| AuditRecord { host: "h".into(), text: text.into(), ..AuditRecord::default() };
    let changes = |upserts: &[(&str, &str)], deletes: &[&str]| AuditChanges {
        upserts: upserts.iter().map(|(key, text)| ((*key).to_owned(), vec![record(text)])).collect(),
        deletes: deletes.iter().map(|key| (*key).to_owned()).collect(),
    };
    let first = changes(&[("1", "a"), ("2", "b")], &[]);
    store.commit(&Commit { audit_changes: first, ..Commit::default() }).unwrap();
    let second = changes(&[("2", "c"), ("3", "d")], &["1"]);
    store.commit(&Commit { audit_changes: second, ..Commit::default() }).unwrap();
    drop(store);
    let store = Store::open(settings(directory.path())).unwrap();
    assert_eq!(store.load().unwrap().audit, [vec![record("c")], vec![record("d")]]);
}

/// The same commit for two targets.
fn twice(mut commit: Commit<'static>) -> Commit<'static> {
    let copies: Vec<OutboxItem> =
        commit.outbox.iter().map(|item| OutboxItem { target: "siem".into(), ..item.clone() }).collect();
    commit.outbox.extend(copies);
    commit
}

#[test]
fn a_full_queue_stops_reading_only_where_no_other_has_room() {
    let directory = tempfile::tempdir().unwrap();
    let settings = StoreSettings { outbox_max: 2, ..settings(directory.path()) };
    let mut store = Store::open(settings).unwrap();
    let mut grouping = grouping();
    let fill = |store: &mut Store, grouping: &mut Grouping, from: u64| {
        (from..from + 2).for_each(|n| grouping.observe(&detection(&format!("host-{n}"), n), n as i64));
        store.commit(&twice(turn(grouping, from as i64 + 2)))
    };
    fill(&mut store, &mut grouping, 0).unwrap();
    // Both are full: nothing is taken in.
    assert!(matches!(fill(&mut store, &mut grouping, 10), Err(StoreError::OutboxFull { limit: 2 })));
    let delivered = store.outbox_ready("keep", 0, 10).unwrap();
    store.outbox_accepted(&delivered, 0, None).unwrap();
    // Keep has room again, the other target is dead: its surplus is kept aside, counted and told.
    assert_eq!(fill(&mut store, &mut grouping, 20).unwrap(), [("siem".to_owned(), 2)]);
    let depths = store.depths().unwrap();
    let expected = [("keep", 2, 0), ("siem", 2, 2)];
    let seen: Vec<_> = depths.iter().map(|depth| (depth.target.as_str(), depth.queued, depth.dead)).collect();
    assert_eq!(seen, expected);
    assert!(store.dead_letters(1).unwrap()[0].reason.contains("queue was full"));
    assert_eq!(store.load().unwrap().totals["alerts_overflowed"], 2);
}

#[test]
fn targets_share_nothing_but_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(directory.path())).unwrap();
    let mut grouping = grouping();
    grouping.observe(&detection("host", 1), 0);
    store.commit(&twice(turn(&mut grouping, 0))).unwrap();
    let keep = store.outbox_ready("keep", 0, 10).unwrap();
    store.outbox_begin(&keep, 0, 5_000).unwrap();
    assert!(store.outbox_ready("keep", 1, 10).unwrap().is_empty(), "it keeps its distance there");
    let siem = store.outbox_ready("siem", 1, 10).unwrap();
    assert_eq!((siem.len(), &siem[0].payload), (1, &keep[0].payload));
    store.outbox_dead(&siem, 2, "gone").unwrap();
    store.outbox_accepted(&keep, 0, None).unwrap();
    assert_eq!((store.outbox_len().unwrap(), store.dead_letters(9).unwrap().len()), (0, 1));
}

#[test]
fn a_file_of_an_earlier_version_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.sqlite");
    let old = Connection::open(&path).unwrap();
    for step in &schema::MIGRATIONS[..2] {
        old.execute_batch(step).unwrap();
    }
    old.execute_batch(
        "PRAGMA application_id = 0x4f544c41; PRAGMA user_version = 2;
         INSERT INTO position VALUES (1, 'p');
         INSERT INTO outbox (id, group_id, fingerprint, resolved, queued_at_ms, payload)
             VALUES ('i', 'g', 'f', 0, 7, x'7b7d');
         INSERT INTO paced VALUES ('f', 99);
         INSERT INTO dead_letters (id, fingerprint, queued_at_ms, died_at_ms, reason, payload)
             VALUES ('d', 'e', 1, 2, 'why', x'7b7d');",
    )
    .unwrap();
    drop(old);
    let error = Store::visit(settings(directory.path())).unwrap_err();
    assert!(matches!(error, StoreError::Older { found: 2, .. }), "{error}");
    let store = Store::open(settings(directory.path())).unwrap();
    assert_eq!(store.load().unwrap().position.as_deref(), Some("p"));
    let ready = store.outbox_ready("keep", 0, 10).unwrap();
    assert_eq!((ready[0].id.as_str(), ready[0].target.as_str(), ready[0].queued_at_ms), ("i", "keep", 7));
    let dead = store.dead_letters(10).unwrap();
    assert_eq!((dead[0].target.as_str(), dead[0].reason.as_str()), ("keep", "why"));
}

#[test]
fn a_visitor_works_beside_the_owner() {
    let directory = tempfile::tempdir().unwrap();
    let mut owner = Store::open(settings(directory.path())).unwrap();
    let mut grouping = grouping();
    for n in 0..3 {
        grouping.observe(&detection(&format!("host-{n}"), n), 0);
    }
    owner.commit(&turn(&mut grouping, 0)).unwrap();
    let ready = owner.outbox_ready("keep", 0, 10).unwrap();
    owner.outbox_dead(&ready[..2], 5, "because").unwrap();

    let mut visitor = Store::visit(settings(directory.path())).unwrap();
    assert_eq!(visitor.waiting(10).unwrap().len(), 1);
    let letters = visitor.dead_letters(10).unwrap();
    assert_eq!(letters.len(), 2);
    let retried = visitor.retry_dead(&[letters[0].seq], 9).unwrap();
    assert_eq!(retried, Retried { queued: 1, superseded: 0 });
    assert_eq!(visitor.drop_dead(&[letters[1].seq, 999]).unwrap(), 1);
    // The owner sees it, with the same bytes, and goes on writing.
    let ready = owner.outbox_ready("keep", 9, 10).unwrap();
    assert_eq!((ready.len(), &ready[1].payload), (2, &letters[0].payload));
    owner.outbox_accepted(&ready, 0, None).unwrap();
    assert_eq!(visitor.drop_waiting(&[ready[0].seq]).unwrap(), 0);
    assert_eq!(owner.load().unwrap().totals["alerts_dropped_by_hand"], 1);
    // While the visitor holds the file, the owner waits and says so; it does not fail for good.
    owner.connection.busy_timeout(Duration::from_millis(50)).unwrap();
    visitor.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = owner.add_total("x", 1).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }) && error.is_temporary(), "{error}");
    assert!(owner.writable().is_err());
    visitor.connection.execute_batch("ROLLBACK").unwrap();
    owner.add_total("x", 1).unwrap();
    owner.writable().unwrap();
}

#[test]
fn an_old_dead_letter_does_not_set_the_receiver_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(directory.path())).unwrap();
    let mut grouping = grouping();
    grouping.observe(&detection("host", 1), 0);
    store.commit(&turn(&mut grouping, 0)).unwrap();
    let older = store.outbox_ready("keep", 0, 10).unwrap();
    store.outbox_dead(&older, 1, "because").unwrap();
    let letter = store.dead_letters(1).unwrap()[0].seq;
    grouping.observe(&detection("host", 2), 2);
    store.commit(&turn(&mut grouping, 2)).unwrap();
    let superseded = Retried { queued: 0, superseded: 1 };
    assert_eq!(store.retry_dead(&[letter], 3).unwrap(), superseded, "a newer word waits");
    let newer = store.outbox_ready("keep", 3, 10).unwrap();
    store.outbox_accepted(&newer, 0, None).unwrap();
    assert_eq!(store.retry_dead(&[letter], 4).unwrap(), superseded, "a newer word was taken");
}

#[test]
fn what_was_taken_is_looked_for_and_sent_again_with_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(directory.path())).unwrap();
    let mut grouping = grouping();
    grouping.observe(&detection("a", 1), 0);
    grouping.observe(&detection("b", 2), 0);
    store.commit(&turn(&mut grouping, 0)).unwrap();
    let batch = store.outbox_ready("keep", 0, 10).unwrap();
    store.outbox_accepted(&batch, 0, Some(100)).unwrap();
    assert!(store.sent_due("keep", 99, 10).unwrap().is_empty());
    let due = store.sent_due("keep", 100, 10).unwrap();
    assert_eq!(due.len(), 2);
    store.sent_seen(&due[..1]).unwrap();
    store.sent_missed(&due[1..], 200).unwrap();
    let due = store.sent_due("keep", 200, 10).unwrap();
    assert_eq!((due.len(), due[0].misses, due[0].resends), (1, 1, 0));
    assert_eq!(store.sent_lost(&due, 201).unwrap(), 1);
    assert!(store.sent_due("keep", i64::MAX - 1, 10).unwrap().is_empty(), "not before it was taken again");
    let again = store.outbox_ready("keep", 201, 10).unwrap();
    let first = batch.iter().find(|item| item.id == again[0].id).unwrap();
    assert_eq!((again.len(), &again[0].payload), (1, &first.payload));
    store.outbox_accepted(&again, 0, Some(300)).unwrap();
    let due = store.sent_due("keep", 300, 10).unwrap();
    assert_eq!((due[0].misses, due[0].resends), (0, 1));
    // A newer word on its way makes the lost one superfluous.
    grouping.observe(&detection("a", 3), 400);
    grouping.observe(&detection("b", 4), 400);
    store.commit(&turn(&mut grouping, 400)).unwrap();
    assert_eq!(store.sent_lost(&due, 401).unwrap(), 0);
    assert_eq!(store.outbox_len().unwrap(), 2);
    store.sent_dead(&due, 402, "never there").unwrap();
    assert_eq!(store.dead_letters(1).unwrap()[0].reason, "never there");
}

#[test]
fn a_clock_that_is_set_back_holds_up_nothing() {
    const DAY_MS: i64 = 86_400_000;
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(directory.path())).unwrap();
    let mut grouping = grouping();
    grouping.observe(&detection("a", 1), 0);
    grouping.observe(&detection("b", 2), 0);
    store.commit(&turn(&mut grouping, 0)).unwrap();
    let batch = store.outbox_ready("keep", DAY_MS, 10).unwrap();
    store.outbox_begin(&batch, DAY_MS, DAY_MS + 5_000).unwrap();
    store.outbox_isolate(&batch[0], DAY_MS + 60_000).unwrap();
    assert!(store.outbox_ready("keep", DAY_MS + 1, 10).unwrap().is_empty());
    // The clock goes back by a day: nobody waits for tomorrow.
    assert_eq!(store.outbox_ready("keep", 1, 10).unwrap().len(), 2);
    store.outbox_accepted(&batch, DAY_MS + 5_000, Some(DAY_MS + 60_000)).unwrap();
    assert!(store.sent_due("keep", DAY_MS + 1, 10).unwrap().is_empty());
    assert_eq!(store.sent_due("keep", 1, 10).unwrap().len(), 2);
}
