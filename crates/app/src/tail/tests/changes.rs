//! What administrators, retention and migrations do to the table while it is read, on the real
//! engine.

use super::*;

/// As `drain`, for a table that may have been created anew: then the tail is opened again from
/// its position, as the service does.
async fn drain_anew(settings: &Settings, tail: &mut Tail, seen: &mut BTreeMap<String, u32>) -> String {
    let position = tail.position();
    match tail.next().await {
        Ok(batch) => {
            batch.iter().for_each(|batch| note(batch, seen));
        }
        Err(fault) => {
            assert_eq!(fault.kind, crate::clickhouse::Kind::Missing, "{fault}");
            *tail = open(settings, Some(&position)).await;
        }
    }
    drain(tail, seen).await
}

fn partition_of(server: &ClickHouse, table: &str, body: &str) -> String {
    let sql = format!("SELECT _partition_id FROM {table} WHERE body = '{body}' LIMIT 1");
    server.execute(&sql).unwrap().trim().to_string()
}

/// Inserts of 30 rows each.
fn write_parts(writer: &mut Writer<'_>, numbers: std::ops::Range<u32>, now_ns: u64) {
    numbers.for_each(|n| writer.write(&rows(n * 30..(n + 1) * 30, now_ns)).unwrap());
}

fn attached() -> u64 {
    crate::events::COUNTERS.rows_attached.load(std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test]
async fn a_table_that_is_dropped_and_created_anew_is_read_from_its_first_row() {
    let tables = Tables::Signoz;
    for (database, restarts) in [("anew_running", false), ("anew_away", true)] {
        let server = fresh(tables, database);
        let settings = settings(server, database);
        let now_ns = now_ns();
        let mut seen = BTreeMap::new();
        let mut tail = open(&settings, None).await;
        write_parts(&mut Writer::new(server, tables, database), 0..4, now_ns);
        let position = drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 120);
        server.execute(&format!("DROP DATABASE {database} SYNC")).unwrap();
        schema::create(server, tables, database).unwrap();
        // Blocks are numbered from 1 again: these parts have the names and the numbers of rows of earlier ones.
        write_parts(&mut Writer::new(server, tables, database), 4..8, now_ns);
        if restarts {
            tail = open(&settings, Some(&position)).await;
        }
        drain_anew(&settings, &mut tail, &mut seen).await;
        assert_each_once(&seen, 240);
        Writer::new(server, tables, database).write(&rows(240..250, now_ns)).unwrap();
        server.execute(&format!("OPTIMIZE TABLE {database}.logs_v2 FINAL")).unwrap();
        drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 250);
    }
}

#[tokio::test]
async fn after_truncate_new_rows_are_read() {
    let tables = Tables::Signoz;
    for (database, restarts) in [("truncated_running", false), ("truncated_away", true)] {
        let server = fresh(tables, database);
        let settings = settings(server, database);
        let now_ns = now_ns();
        let mut writer = Writer::new(server, tables, database);
        let mut seen = BTreeMap::new();
        let mut tail = open(&settings, None).await;
        write_parts(&mut writer, 0..4, now_ns);
        let position = drain(&mut tail, &mut seen).await;
        server.execute(&format!("TRUNCATE TABLE {database}.logs_v2")).unwrap();
        if restarts {
            // ClickHouse starts anew as well, and counts blocks from what is left.
            server.execute(&format!("DETACH TABLE {database}.logs_v2 SYNC")).unwrap();
            server.execute(&format!("ATTACH TABLE {database}.logs_v2")).unwrap();
        }
        // Then these parts have the names and the numbers of rows of earlier ones.
        write_parts(&mut writer, 4..7, now_ns);
        if restarts {
            tail = open(&settings, Some(&position)).await;
        }
        drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 210);
        // Once they are told from the earlier ones, they stay what they are.
        server.execute(&format!("OPTIMIZE TABLE {database}.logs_v2 FINAL")).unwrap();
        drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 210);
    }
}

#[tokio::test]
async fn rows_that_are_detached_and_attached_are_known() {
    let tables = Tables::Signoz;
    for (database, looks, restarts) in
        [("attach_seen", true, false), ("attach_unseen", false, false), ("attach_away", true, true)]
    {
        let server = fresh(tables, database);
        let settings = settings(server, database);
        let now_ns = now_ns();
        let mut writer = Writer::new(server, tables, database);
        let mut seen = BTreeMap::new();
        let mut tail = open(&settings, None).await;
        writer.write(&rows(0..60, now_ns)).unwrap();
        writer.write(&rows(60..90, now_ns)).unwrap();
        let mut position = drain(&mut tail, &mut seen).await;
        let before = attached();
        let table = format!("{database}.logs_v2");
        let partition = partition_of(server, &table, "row 0");
        server.execute(&format!("ALTER TABLE {table} DETACH PARTITION ID '{partition}'")).unwrap();
        if looks {
            drain(&mut tail, &mut seen).await;
            position = tail.position();
        }
        writer.write(&rows(90..100, now_ns)).unwrap();
        server.execute(&format!("ALTER TABLE {table} ATTACH PARTITION ID '{partition}'")).unwrap();
        if restarts {
            tail = open(&settings, Some(&position)).await;
        }
        drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 100);
        assert_eq!(attached() - before, 90, "{database}");
        writer.write(&rows(100..120, now_ns)).unwrap();
        server.execute(&format!("OPTIMIZE TABLE {table} FINAL")).unwrap();
        drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 120);
    }
}

#[tokio::test]
async fn mutations_lose_nothing_and_double_nothing() {
    for tables in [Tables::Signoz, Tables::SignozCreatedAt] {
        let database = format!("mutated_{tables:?}").to_lowercase();
        let server = fresh(tables, &database);
        let table = format!("{database}.logs_v2");
        let settings = settings(server, &database);
        let now_ns = now_ns();
        let mutate = |what: &str| {
            server.execute(&format!("ALTER TABLE {table} {what} SETTINGS mutations_sync = 1")).unwrap();
        };
        let mut writer = Writer::new(server, tables, &database);
        let mut seen = BTreeMap::new();
        let mut tail = open(&settings, None).await;
        writer.write(&rows(0..150, now_ns)).unwrap();
        // A part is half read, another not at all.
        note(&tail.next().await.unwrap().unwrap(), &mut seen);
        writer.write(&rows(150..200, now_ns)).unwrap();
        mutate("DELETE WHERE body IN ('row 3', 'row 7')");
        mutate("UPDATE trace_id = 'changed' WHERE body LIKE 'row 1%'");
        let position = drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 200);
        // Deleted rows, changed rows and new rows in one merged part, as many new as deleted.
        mutate("DELETE WHERE body IN ('row 20', 'row 21', 'row 160')");
        writer.write(&rows(200..203, now_ns)).unwrap();
        mutate("UPDATE severity_number = 9 WHERE 1");
        server.execute(&format!("OPTIMIZE TABLE {table} FINAL")).unwrap();
        drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 203);
        // The same by a reader that was away.
        let mut again = BTreeMap::new();
        let mut away = open(&settings, Some(&position)).await;
        drain(&mut away, &mut again).await;
        assert_each_once(&again, 3);
        for n in 0..4 {
            writer.write(&rows(203 + n * 10..213 + n * 10, now_ns)).unwrap();
            server.execute(&format!("OPTIMIZE TABLE {table} FINAL")).unwrap();
        }
        drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 243);
    }
}

#[tokio::test]
async fn what_retention_removes_takes_no_new_row_with_it() {
    let server = fresh(Tables::Signoz, "expiring");
    let table = "expiring.logs_v2";
    let settings = settings(server, "expiring");
    let now_ns = now_ns();
    let day_ns = 24 * HOUR_NS;
    let mut writer = Writer::new(server, Tables::Signoz, "expiring");
    let mut seen = BTreeMap::new();
    let mut tail = open(&settings, None).await;
    // Whole parts, as SigNoz's tables drop them.
    writer.write(&rows(0..80, now_ns - 10 * day_ns)).unwrap();
    writer.write(&rows(80..120, now_ns)).unwrap();
    drain(&mut tail, &mut seen).await;
    let ttl = |hours: u64| {
        let expiry = format!("toDateTime(timestamp / 1000000000) + toIntervalHour({hours})");
        server
            .execute(&format!("ALTER TABLE {table} MODIFY TTL {expiry} SETTINGS mutations_sync = 1"))
            .unwrap();
        server.execute(&format!("OPTIMIZE TABLE {table} FINAL")).unwrap();
    };
    writer.write(&rows(120..150, now_ns)).unwrap();
    ttl(24 * 5);
    assert_eq!(server.execute(&format!("SELECT count() FROM {table}")).unwrap().trim(), "70");
    let position = drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 150);
    // Single rows, within a merge with new ones.
    server.execute(&format!("ALTER TABLE {table} MODIFY SETTING ttl_only_drop_parts = 0")).unwrap();
    let mut mixed = rows(150..170, now_ns - 2 * HOUR_NS);
    mixed.extend(rows(170..190, now_ns));
    writer.write(&mixed).unwrap();
    drain(&mut tail, &mut seen).await;
    writer.write(&rows(190..221, now_ns)).unwrap();
    ttl(1);
    assert_eq!(server.execute(&format!("SELECT count() FROM {table}")).unwrap().trim(), "121");
    drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 221);
    // By a reader that was away, the rows that are left.
    let mut again = BTreeMap::new();
    let mut away = open(&settings, Some(&position)).await;
    drain(&mut away, &mut again).await;
    assert_each_once(&again, 51);
}

#[tokio::test]
async fn a_merge_that_removes_as_many_rows_as_it_takes_in_is_read() {
    let tables = Tables::Signoz;
    // Whole parts are dropped first where ClickHouse is told so, but a merge removes single rows all the same.
    for (only_drop_parts, is_away) in [(1, false), (0, false), (1, true), (0, true)] {
        let database = format!("balanced_{only_drop_parts}_{is_away}");
        let server = fresh(tables, &database);
        let table = format!("{database}.logs_v2");
        let execute = |sql: String| drop(server.execute(&sql).unwrap());
        // Of one day, which is of one partition: what is older than eleven o'clock has expired.
        let noon_ns = now_ns() / (24 * HOUR_NS) * 24 * HOUR_NS - 12 * HOUR_NS;
        let kept_s = (now_ns() - noon_ns + HOUR_NS) / 1_000_000_000;
        let ttl = format!("toDateTime(timestamp / 1000000000) + toIntervalSecond({kept_s})");
        execute(format!("ALTER TABLE {table} MODIFY TTL {ttl}"));
        execute(format!("ALTER TABLE {table} MODIFY SETTING ttl_only_drop_parts = {only_drop_parts}"));
        execute(format!("SYSTEM STOP MERGES {table}"));
        let settings = settings(server, &database);
        let mut writer = Writer::new(server, tables, &database);
        let mut seen = BTreeMap::new();
        let mut tail = open(&settings, None).await;
        let mixed = |names: std::ops::Range<u32>| {
            let middle = names.start + (names.end - names.start) / 2;
            [rows(names.start..middle, noon_ns - 2 * HOUR_NS), rows(middle..names.end, noon_ns)].concat()
        };
        writer.write(&mixed(0..40)).unwrap();
        let position = drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 40);
        writer.write(&rows(40..60, noon_ns)).unwrap();
        let merge = |left: &str| {
            execute(format!("SYSTEM START MERGES {table}"));
            execute(format!("OPTIMIZE TABLE {table} FINAL"));
            execute(format!("SYSTEM STOP MERGES {table}"));
            let sql = format!("SELECT count(), uniqExact(_part) FROM {table}");
            assert_eq!(server.execute(&sql).unwrap().trim(), left);
        };
        merge("40\t1");
        if is_away {
            tail = open(&settings, Some(&position)).await;
        }
        drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 60);
        // Where all is consumed, a merge that removes rows is not looked into.
        writer.write(&mixed(60..80)).unwrap();
        drain(&mut tail, &mut seen).await;
        let keys_read = || crate::events::COUNTERS.keys_read.load(std::sync::atomic::Ordering::Relaxed);
        let before = keys_read();
        merge("50\t1");
        drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 80);
        // The counter is of the process; nextest gives each test its own.
        assert!(std::env::var_os("NEXTEST").is_none() || keys_read() == before);
    }
}

#[tokio::test]
async fn a_column_that_is_added_brings_no_old_row_back() {
    let tables = Tables::Signoz;
    let server = fresh(tables, "migrated");
    let settings = settings(server, "migrated");
    let now_ns = now_ns();
    let mut writer = Writer::new(server, tables, "migrated");
    let mut seen = BTreeMap::new();
    let mut tail = open(&settings, None).await;
    for n in 0..5 {
        writer.write(&rows(n * 100..(n + 1) * 100, now_ns)).unwrap();
    }
    drain(&mut tail, &mut seen).await;
    for column in ["inserted_at DateTime64(3)", "created_at DateTime64(3) DEFAULT now64(3)"] {
        server.execute(&format!("ALTER TABLE migrated.logs_v2 ADD COLUMN {column}")).unwrap();
    }
    writer.write(&rows(500..530, now_ns)).unwrap();
    let position = drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 530);
    // A merge writes down, for the rows older than the column, that they were created now.
    let mut tail = open(&settings, Some(&position)).await;
    for n in 0..4 {
        let first = 530 + n * 10;
        writer.write(&rows(first..first + 10, now_ns)).unwrap();
        server.execute("OPTIMIZE TABLE migrated.logs_v2 FINAL").unwrap();
        drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, first + 10);
    }
    let bodies = crate::events::COUNTERS.bodies_read.load(std::sync::atomic::Ordering::Relaxed);
    // The counter is of the process; nextest gives each test its own.
    if std::env::var_os("NEXTEST").is_some() {
        assert_eq!(bodies, 570);
    }
}
