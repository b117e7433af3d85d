//! Against the real engine: a view is read without its parts, and late rows are found all the same.

use super::*;
use crate::tail::ROW_ATTEMPTS;
use crate::tail::tests::{assert_each_once, fresh, note, rows, settings};
use otel_log_ai_testkit::clickhouse::{ClickHouse, Fault as Injected, Options};
use otel_log_ai_testkit::schema::Layout as Tables;
use otel_log_ai_testkit::signoz::Writer;
use std::collections::BTreeMap;

const MINUTE_NS: u64 = 60_000_000_000;

/// No waiting between looks.
fn looks() -> Looks {
    Looks { interval: Duration::ZERO, sweep_interval: Duration::from_secs(3600), ..Looks::default() }
}

/// A view on a database's log table, and a reader of it.
struct World<'s> {
    server: &'s ClickHouse,
    database: &'static str,
    tables: Tables,
    seen: BTreeMap<String, u32>,
}

impl<'s> World<'s> {
    fn new(server: &'s ClickHouse, tables: Tables, database: &'static str) -> World<'s> {
        fresh(tables, database);
        let table = if tables.is_signoz() { "logs_v2" } else { "otel_logs" };
        let sql = format!("CREATE VIEW {database}.v AS SELECT * FROM {database}.{table}");
        server.execute(&sql).unwrap();
        World { server, database, tables, seen: BTreeMap::new() }
    }

    fn write(&self, names: std::ops::Range<u32>, timestamp_ns: u64) {
        let mut writer = Writer::new(ClickHouse::shared(), self.tables, self.database);
        writer.write(&rows(names, timestamp_ns)).unwrap();
    }

    async fn open(&self, looks: Looks, saved: Option<&str>) -> ByTime {
        let settings =
            crate::config::ClickHouse { table: Some("v".into()), ..settings(self.server, self.database) };
        let client = Arc::new(Client::connect(&settings).await.unwrap());
        let layout = Layout::detect(&client, &settings).await.unwrap();
        assert!(!layout.has_parts && layout.describe().contains("engine View"), "{}", layout.describe());
        let saved = saved.map(|saved| Position::from_json(saved).unwrap());
        ByTime::open(client, layout, Start::Beginning, 100, looks, saved).await.unwrap()
    }

    /// Reads until there is nothing new; the position.
    async fn drain(&mut self, reader: &mut ByTime) -> String {
        while let Some(batch) = reader.next().await.unwrap() {
            note(&batch, &mut self.seen);
        }
        reader.position()
    }
}

#[tokio::test]
async fn a_row_five_minutes_late_is_found_at_the_next_look() {
    let mut world = World::new(ClickHouse::shared(), Tables::Signoz, "bytime_five");
    let now_ns = now_ns();
    world.write(0..250, now_ns);
    let mut reader = world.open(looks(), None).await;
    world.drain(&mut reader).await;
    assert_each_once(&world.seen, 250);
    world.write(250..260, now_ns - 5 * MINUTE_NS);
    world.write(260..270, now_ns - 14 * MINUTE_NS);
    let position = world.drain(&mut reader).await;
    assert_each_once(&world.seen, 270);
    // A restart neither loses nor doubles, and what comes late meanwhile is found.
    world.write(270..280, now_ns - 7 * MINUTE_NS);
    let mut reader = world.open(looks(), Some(&position)).await;
    world.drain(&mut reader).await;
    assert_each_once(&world.seen, 280);
}

#[tokio::test]
async fn a_row_three_hours_late_is_found_by_the_next_sweep_and_after_a_restart() {
    let mut world = World::new(ClickHouse::shared(), Tables::Signoz, "bytime_three");
    let now_ns = now_ns();
    world.write(0..50, now_ns);
    world.write(50..60, now_ns - 180 * MINUTE_NS);
    let mut reader = world.open(looks(), None).await;
    world.drain(&mut reader).await;
    world.write(60..70, now_ns - 180 * MINUTE_NS);
    let position = world.drain(&mut reader).await;
    assert_each_once(&world.seen, 60);
    let sweeping = Looks { sweep_interval: Duration::ZERO, ..looks() };
    let mut reader = world.open(sweeping.clone(), Some(&position)).await;
    world.drain(&mut reader).await;
    assert_each_once(&world.seen, 70);
    world.write(70..80, now_ns - 23 * 60 * MINUTE_NS);
    world.drain(&mut reader).await;
    assert_each_once(&world.seen, 80);
    // The window ends somewhere.
    world.write(80..90, now_ns - 25 * 60 * MINUTE_NS);
    world.drain(&mut reader).await;
    assert_each_once(&world.seen, 80);
}

#[tokio::test]
async fn more_new_rows_than_fit_are_read_in_pieces_and_across_restarts() {
    let mut world = World::new(ClickHouse::shared(), Tables::Signoz, "bytime_pieces");
    let now_ns = now_ns() / BUCKET_NS * BUCKET_NS;
    world.write(0..700, now_ns);
    world.write(700..1_500, now_ns - 600 * MINUTE_NS);
    let small = Looks { keys_max: 300, ..looks() };
    let mut position = None;
    for _ in 0..5 {
        let mut reader = world.open(small.clone(), position.as_deref()).await;
        let batch = reader.next().await.unwrap().unwrap();
        assert_eq!(batch.len(), 100);
        note(&batch, &mut world.seen);
        position = Some(batch.position);
    }
    let mut reader = world.open(small, position.as_deref()).await;
    world.drain(&mut reader).await;
    assert_each_once(&world.seen, 1_500);
}

#[tokio::test]
async fn where_keys_are_forgotten_the_time_of_insertion_tells_or_the_half_minute_is_read_again() {
    for (tables, database, again) in
        [(Tables::SignozCreatedAt, "bytime_created", 0), (Tables::Signoz, "bytime_forgotten", 40)]
    {
        let mut world = World::new(ClickHouse::shared(), tables, database);
        let old_ns = now_ns() / BUCKET_NS * BUCKET_NS - 60 * MINUTE_NS;
        world.write(0..40, old_ns);
        let mut reader = world.open(looks(), None).await;
        let position = world.drain(&mut reader).await;
        // As after millions of other rows, and more than two minutes later.
        let mut saved = Position::from_json(&position).unwrap();
        let scan = saved.scan.as_mut().unwrap();
        scan.seen.clear();
        assert!(scan.swept_ns > 0);
        world.server.execute("SELECT sleep(0.1)").unwrap();
        scan.swept_ns = now_ns() + CLOCKS_NS - 50_000_000;
        world.write(40..45, old_ns + MINUTE_NS / 4);
        let mut reader = world.open(looks(), Some(&saved.to_json())).await;
        world.drain(&mut reader).await;
        assert_eq!(world.seen.len(), 45, "{database}");
        let twice = world.seen.values().filter(|count| **count == 2).count();
        assert_eq!(
            (twice, world.seen.values().max()),
            (again, Some(&(1 + u32::from(again > 0)))),
            "{database}"
        );
        if again == 0 {
            continue;
        }
        // What was read again is known from now on.
        world.write(45..50, old_ns);
        let mut reader = world.open(looks(), Some(&reader.position())).await;
        world.drain(&mut reader).await;
        assert_eq!(world.seen.values().filter(|count| **count == 2).count(), again, "{database}");
        assert_eq!(world.seen.len(), 50);
    }
}

#[tokio::test]
async fn equal_rows_without_an_id_are_told_apart_by_their_number() {
    let mut world = World::new(ClickHouse::shared(), Tables::OtelClassic, "bytime_contrib");
    let now_ns = now_ns();
    for _ in 0..3 {
        world.write(0..5, now_ns);
    }
    let mut reader = world.open(looks(), None).await;
    let position = world.drain(&mut reader).await;
    assert!(world.seen.len() == 5 && world.seen.values().all(|count| *count == 3), "{:?}", world.seen);
    world.write(3..5, now_ns);
    let mut reader = world.open(looks(), Some(&position)).await;
    world.drain(&mut reader).await;
    assert_eq!(world.seen.values().copied().collect::<Vec<_>>(), [3, 3, 3, 4, 4]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_passed_over_alone() {
    let server = ClickHouse::with(Options::default()).unwrap();
    let mut world = World::new(&server, Tables::Signoz, "bytime_poison");
    world.write(0..20, now_ns());
    let mut reader = world.open(looks(), None).await;
    reader.slice_rows = 1;
    let batch = reader.next().await.unwrap().unwrap();
    note(&batch, &mut world.seen);
    let poison = Injected::exception(241, "Memory limit (for query) exceeded").matching("scope_name");
    // The first befalls two rows at a time.
    server.inject(poison.times(ROW_ATTEMPTS + 1));
    let mut failures = 0;
    loop {
        match reader.next().await {
            Ok(Some(batch)) => note(&batch, &mut world.seen),
            Ok(None) if reader.pending.is_empty() => break,
            Ok(None) => {}
            Err(_) => failures += 1,
        }
    }
    assert!(failures > 0);
    assert_each_once(&world.seen, 19);
}

#[tokio::test]
async fn workers_that_share_the_hosts_of_a_view_read_each_row_once() {
    let mut world = World::new(ClickHouse::shared(), Tables::Signoz, "bytime_share");
    let now_ns = now_ns();
    let mut writer = Writer::new(ClickHouse::shared(), Tables::Signoz, "bytime_share");
    let mut all = rows(0..60, now_ns);
    for (n, row) in all.iter_mut().enumerate() {
        row.resources = vec![("host.name".into(), format!("host-{}", n % 12))];
    }
    writer.write(&all).unwrap();
    let mut counts = Vec::new();
    for index in 0..2 {
        let mut reader = world.open(looks(), None).await;
        reader.layout.share = crate::config::Share { index, of: 2, shards: vec![] };
        let before = world.seen.len();
        world.drain(&mut reader).await;
        counts.push(world.seen.len() - before);
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert_each_once(&world.seen, 60);
}
