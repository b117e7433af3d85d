//! The tables of every layout take the exporter's rows and give them back.
#![allow(clippy::unwrap_used, reason = "a test that fails by panicking says enough")]

use otel_log_ai_testkit::clickhouse::ClickHouse;
use otel_log_ai_testkit::schema::{self, Layout};
use otel_log_ai_testkit::signoz::{LogRow, Writer};

fn rows() -> Vec<LogRow> {
    let now = 1_000_000_000 * 1_795_000_000_u64;
    let mut row = LogRow::new(
        now,
        &[("host.name", "lin01"), ("os.type", "linux"), ("service.name", "x")],
        "hello / \"world\"\\ \u{1}\u{2028} ö",
    );
    row.severity_text = "INFO".into();
    row.severity_number = 9;
    row.attributes_string = vec![("log.file.name".into(), "auth.log".into())];
    row.attributes_number = vec![("priority".into(), 38.0), ("x".into(), 0.25)];
    row.attributes_bool = vec![("ok".into(), true)];
    row.trace_id = "0af7651916cd43dd8448eb211c80319c".into();
    let mut broken = LogRow::new(now + 1, &[("host.name", "lin02")], b"bad \xff bytes".to_vec());
    broken.scope_name = "s".into();
    vec![
        row,
        broken,
        LogRow::new(now + 2, &[("host.name", "w")], r#"{"channel":"Security","event_id":{"id":1}}"#),
    ]
}

#[test]
fn every_layout_takes_and_gives_the_rows() {
    let server = ClickHouse::shared();
    for layout in Layout::ALL {
        let database = format!("layout_{}", format!("{layout:?}").to_lowercase());
        schema::create(server, layout, &database).unwrap();
        schema::create(server, layout, &database).unwrap();
        Writer::new(server, layout, &database).write(&rows()).unwrap();
        let count = server.execute(&format!("SELECT count() FROM {database}.{}", layout.table())).unwrap();
        assert_eq!(count, "3\n", "{layout:?}");
        let (body, attribute) = match layout {
            Layout::SignozJsonBody => ("body_v2.message", "attributes_string['log.file.name']"),
            Layout::OtelClassic | Layout::OtelNewest => ("Body", "LogAttributes['log.file.name']"),
            Layout::OtelJson => ("Body", "LogAttributes.log.file.name"),
            _ => ("body", "attributes_string['log.file.name']"),
        };
        let time = if layout.is_signoz() { "timestamp" } else { "Timestamp" };
        let sql = format!(
            "SELECT {body} LIKE 'hello%', {attribute} FROM {database}.{} ORDER BY {time} LIMIT 1",
            layout.table()
        );
        assert_eq!(server.execute(&sql).unwrap(), "1\tauth.log\n", "{layout:?}");
        if layout.is_signoz() {
            let labels = server
                .execute(&format!(
                    "SELECT labels, fingerprint FROM {database}.logs_v2_resource ORDER BY labels LIMIT 1"
                ))
                .unwrap();
            assert!(labels.starts_with("{\"host.name\":\"lin01\",\"os.type\":\"linux\",\"service.name\":\"x\"}\tservice.name=x;host.name=lin01;hash="), "{labels}");
        }
    }
}

#[test]
fn json_mode_leaves_the_body_empty() {
    let server = ClickHouse::shared();
    schema::create(server, Layout::SignozJsonBody, "json_mode").unwrap();
    Writer::new(server, Layout::SignozJsonBody, "json_mode").write(&rows()).unwrap();
    let sql = "SELECT body, toJSONString(body_v2) FROM json_mode.logs_v2 ORDER BY timestamp DESC LIMIT 1";
    assert_eq!(
        server.execute(sql).unwrap(),
        "\t{\"channel\":\"Security\",\"event_id\":{\"id\":1},\"message\":\"\"}\n"
    );
}

#[test]
fn rows_print_as_the_engine_prints_them() {
    let server = ClickHouse::shared();
    schema::create(server, Layout::Signoz, "prints").unwrap();
    let rows = rows();
    Writer::new(server, Layout::Signoz, "prints").write(&rows).unwrap();
    let printed =
        server.execute("SELECT * FROM prints.logs_v2 ORDER BY timestamp FORMAT JSONEachRow").unwrap();
    let ours: Vec<String> =
        rows.iter().map(|row| String::from_utf8_lossy(&row.to_json_each_row()).into_owned()).collect();
    let theirs: Vec<&str> = printed.lines().collect();
    assert_eq!(ours, theirs);
}

#[test]
fn retention_can_be_removed_for_old_events() {
    let server = ClickHouse::shared();
    schema::create(server, Layout::Signoz, "old_events").unwrap();
    schema::keep_forever(server, "old_events").unwrap();
    let row = LogRow::new(1_500_000_000_000_000_000, &[("host.name", "h")], "old");
    Writer::new(server, Layout::Signoz, "old_events").write(&[row]).unwrap();
    server.execute("OPTIMIZE TABLE old_events.logs_v2 FINAL").unwrap();
    assert_eq!(server.execute("SELECT count() FROM old_events.logs_v2").unwrap(), "1\n");
}
