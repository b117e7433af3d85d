//! The embedded server as the official client and curl-like requests see it.
#![allow(clippy::unwrap_used, reason = "a test that fails by panicking says enough")]

use std::time::{Duration, Instant};

use clickhouse::error::Error;
use clickhouse::{Client, Compression, Row};
use otel_log_ai_testkit::clickhouse::{ClickHouse, Fault, Options};
use serde::{Deserialize, Serialize};

#[derive(Row, Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Item {
    a: u64,
    s: String,
    m: Vec<(String, String)>,
}

#[derive(Row, Deserialize, Debug)]
struct Number {
    n: u64,
}

fn clients(server: &ClickHouse) -> Vec<(&'static str, Client)> {
    let base = Client::default().with_url(server.url()).with_user("default").with_password("");
    vec![
        ("lz4, checked types", base.clone()),
        ("plain, checked types", base.clone().with_compression(Compression::None)),
        ("plain, unchecked types", base.with_compression(Compression::None).with_validation(false)),
    ]
}

#[tokio::test]
async fn the_official_client_is_served_in_every_way() {
    let server = ClickHouse::shared();
    for (name, client) in clients(server) {
        client.query("CREATE DATABASE IF NOT EXISTS ways").execute().await.unwrap();
        let client = client.with_database("ways");
        client.query("DROP TABLE IF EXISTS t SYNC").execute().await.unwrap();
        let ddl = "CREATE TABLE t (a UInt64, s String, m Map(LowCardinality(String), String)) ENGINE = MergeTree ORDER BY a";
        client.query(ddl).execute().await.unwrap();
        let item = |i: u64| Item {
            a: i,
            s: format!("line\n{i}; 'x' FORMAT"),
            m: vec![("k".into(), format!("v{i}"))],
        };
        let mut insert = client.insert::<Item>("t").await.unwrap();
        for i in 0..150_000 {
            insert.write(&item(i)).await.unwrap();
        }
        insert.end().await.unwrap();

        let some: Vec<Item> = client
            .query("SELECT ?fields FROM t WHERE a < ? ORDER BY a")
            .bind(3u64)
            .fetch_all()
            .await
            .unwrap();
        assert_eq!(some, [item(0), item(1), item(2)], "{name}");
        let all = client.query("SELECT ?fields FROM t ORDER BY a").fetch_all::<Item>().await.unwrap();
        assert_eq!(all.len(), 150_000, "{name}");
        assert_eq!(all[149_999], item(149_999), "{name}");
        let none = client.query("SELECT ?fields FROM t WHERE a > 1000000").fetch_all::<Item>().await.unwrap();
        assert!(none.is_empty(), "{name}");

        let one: Number = client
            .query("SELECT a AS n FROM t WHERE s = {x:String} AND a IN {ids:Array(UInt64)}")
            .param("x", "line\n7; 'x' FORMAT")
            .param("ids", vec![6u64, 7])
            .fetch_one()
            .await
            .unwrap();
        assert_eq!(one.n, 7, "{name}");

        let error = client.query("SELECT n FROM nope").fetch_all::<Number>().await.unwrap_err();
        assert!(error.to_string().contains("Code: 60"), "{name}: {error}");
        let query = client.query("SELECT 1 AS n").with_setting("no_such_setting", "1");
        let error = query.fetch_all::<Number>().await.unwrap_err();
        assert!(error.to_string().contains("Code: 115"), "{name}: {error}");
        let query =
            client.query("SELECT toUInt64(getSetting('max_threads')) AS n").with_setting("max_threads", "1");
        assert_eq!(query.fetch_one::<Number>().await.unwrap().n, 1, "{name}");
    }
}

#[tokio::test]
async fn a_late_exception_breaks_the_stream_off() {
    let server = ClickHouse::shared();
    for (name, client) in clients(server) {
        let sql = "SELECT throwIf(number = 3000000) + number AS n FROM numbers(10000000)";
        let mut rows = client.query(sql).fetch::<Number>().unwrap();
        let mut read = 0;
        let error = loop {
            match rows.next().await {
                Ok(Some(_)) => read += 1,
                Ok(None) => panic!("{name}: ended as if whole after {read} rows"),
                Err(error) => break error,
            }
        };
        assert!(read > 0 && read < 10_000_000, "{name}: {read} rows, then {error}");
    }
}

#[tokio::test]
async fn credentials_are_asked_for_as_the_server_does() {
    let server = ClickHouse::with(Options {
        credentials: Some(("reader".into(), "s3cret".into())),
        ..Options::default()
    })
    .unwrap();
    let client = Client::default().with_url(server.url());
    let good = client.clone().with_user("reader").with_password("s3cret");
    assert_eq!(good.query("SELECT toUInt64(1) AS n").fetch_one::<Number>().await.unwrap().n, 1);
    let bad = client.clone().with_user("reader").with_password("wrong");
    let error = bad.query("SELECT toUInt64(1) AS n").fetch_one::<Number>().await.unwrap_err().to_string();
    assert!(error.contains("Code: 516") && !error.contains("wrong"), "{error}");

    let http = reqwest::Client::new();
    let sql = |request: reqwest::RequestBuilder| request.body("SELECT 1").send();
    let status = |response: Result<reqwest::Response, reqwest::Error>| response.unwrap().status().as_u16();
    assert_eq!(status(sql(http.post(server.url())).await), 401);
    assert_eq!(status(sql(http.post(server.url()).basic_auth("reader", Some("s3cret"))).await), 200);
    assert_eq!(status(sql(http.post(server.url()).basic_auth("reader", Some("x"))).await), 403);
    let url = format!("{}/?user=reader&password=s3cret", server.url());
    assert_eq!(status(sql(http.post(url)).await), 200);
    let ping = http.get(format!("{}/ping", server.url())).send().await.unwrap();
    assert_eq!(ping.text().await.unwrap(), "Ok.\n");
}

#[tokio::test]
async fn plain_requests_are_answered_as_the_server_does() {
    let server = ClickHouse::shared();
    let http = reqwest::Client::new();
    let get = |query: &str| http.get(format!("{}/?{query}", server.url())).send();
    let answer = get("query=SELECT%201,'a'").await.unwrap();
    assert!(answer.headers().contains_key("x-clickhouse-summary"));
    assert_eq!(answer.text().await.unwrap(), "1\ta\n");
    let denied = get("query=CREATE%20DATABASE%20nope").await.unwrap();
    assert_eq!(denied.headers()["x-clickhouse-exception-code"], "164");
    let json = get("query=SELECT%201%20AS%20x%20FORMAT%20JSONEachRow").await.unwrap();
    assert_eq!(json.text().await.unwrap(), "{\"x\":1}\n");
    assert_eq!(get("").await.unwrap().text().await.unwrap(), "Ok.\n");
    let syntax = get("query=SELECT%20((").await.unwrap();
    assert_eq!(
        (syntax.status().as_u16(), syntax.headers()["x-clickhouse-exception-code"].to_str().unwrap()),
        (400, "62")
    );
    let named = http.post(format!("{}/?query_id=me", server.url())).body("SELECT 1").send().await.unwrap();
    assert_eq!(named.headers()["x-clickhouse-query-id"], "me");

    // A session keeps its settings; without one they are gone.
    let post =
        |query: &str, sql: &'static str| http.post(format!("{}/?{query}", server.url())).body(sql).send();
    post("session_id=s1", "SET max_threads = 3").await.unwrap();
    let kept = post("session_id=s1", "SELECT getSetting('max_threads')").await.unwrap();
    assert_eq!(kept.text().await.unwrap(), "3\n");
    let fresh = post("", "SELECT getSetting('max_threads')").await.unwrap();
    assert_ne!(fresh.text().await.unwrap(), "3\n");
}

#[tokio::test]
async fn faults_befall_and_heal() {
    let server = ClickHouse::start().unwrap();
    let client = Client::default().with_url(server.url()).with_compression(Compression::None);
    let ask = || client.query("SELECT number AS n FROM numbers(100000)").fetch_all::<Number>();

    server.inject(Fault::refuse().times(1));
    assert!(matches!(ask().await, Err(Error::Network(_))));
    assert_eq!(ask().await.unwrap().len(), 100_000);

    server.inject(Fault::exception(241, "memory limit exceeded").matching("numbers").times(1));
    assert!(ask().await.unwrap_err().to_string().contains("Code: 241"));

    server.inject(Fault::cut(1000).times(1));
    assert!(ask().await.is_err());

    server.inject(Fault::delay(Duration::from_millis(300)).times(1));
    let started = Instant::now();
    assert_eq!(ask().await.unwrap().len(), 100_000);
    assert!(started.elapsed() >= Duration::from_millis(300));

    server.inject(Fault::refuse());
    assert!(ask().await.is_err() && ask().await.is_err());
    server.heal();
    assert_eq!(ask().await.unwrap().len(), 100_000);
}

#[tokio::test]
async fn it_stops_and_comes_back_on_its_port() {
    let server = ClickHouse::start().unwrap();
    server.execute("CREATE DATABASE IF NOT EXISTS restarts").unwrap();
    let url = server.url();
    let client = Client::default().with_url(&url);
    let ask = || {
        client
            .query("SELECT count() AS n FROM system.databases WHERE name = 'restarts'")
            .fetch_one::<Number>()
    };
    assert_eq!(ask().await.unwrap().n, 1);
    server.stop();
    assert!(matches!(ask().await, Err(Error::Network(_))));
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(ask().await.unwrap().n, 1);
}
