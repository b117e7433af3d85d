//! SigNoz's distributed twins over a cluster of the embedded server. A process has one engine with one
//! configuration, so this has a test binary of its own.
#![allow(clippy::unwrap_used, reason = "a test that fails by panicking says enough")]

use otel_log_ai_testkit::clickhouse::{ClickHouse, Options};
use otel_log_ai_testkit::schema::{self, Layout};
use otel_log_ai_testkit::signoz::{LogRow, Writer};

const CLUSTER: &str = "<clickhouse><tcp_port>9000</tcp_port><remote_servers><cluster><shard><replica>\
<host>localhost</host><port>9000</port></replica></shard></cluster></remote_servers></clickhouse>";

#[test]
fn the_twins_read_what_the_local_tables_hold() {
    let directory = tempfile::tempdir().unwrap();
    let config_file = directory.path().join("config.xml");
    std::fs::write(&config_file, CLUSTER).unwrap();
    let server = ClickHouse::with(Options {
        path: Some(directory.path().join("data")),
        config_file: Some(config_file),
        ..Options::default()
    })
    .unwrap();
    schema::create(&server, Layout::SignozCreatedAt, "signoz_logs").unwrap();
    schema::create_distributed(&server, "signoz_logs", "cluster").unwrap();
    let row = LogRow::new(1_795_000_000_000_000_000, &[("host.name", "h")], "hello");
    Writer::new(&server, Layout::SignozCreatedAt, "signoz_logs").write(&[row]).unwrap();
    let sql = "SELECT body, _shard_num FROM signoz_logs.distributed_logs_v2";
    assert_eq!(server.execute(sql).unwrap(), "hello\t1\n");
    let sql = "SELECT count() FROM signoz_logs.distributed_logs_v2_resource";
    assert_eq!(server.execute(sql).unwrap(), "1\n");
}
