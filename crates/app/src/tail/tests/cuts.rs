//! Answers of the real engine over real HTTP that break off exactly between two rows.

use super::*;
use otel_log_ai_testkit::clickhouse::EndedBy;

/// What is asked, and whether the rows before it were merged with consumed ones.
const QUESTIONS: [(&str, bool); 4] = [
    ("now64(9)", false),                     // which parts there are
    ("substring(", false),                   // the rows of a new part
    ("SELECT toUInt64(_part_offset)", true), // the keys of a merged one
    ("_part_offset BETWEEN", true),          // its new rows
];

#[tokio::test]
async fn an_answer_that_is_cut_between_two_rows_is_no_answer() {
    let server = ClickHouse::with(Options::default()).unwrap();
    for (n, ended_by) in [EndedBy::Chunk, EndedBy::Length, EndedBy::Connection].into_iter().enumerate() {
        // Where not all rows are wanted, their number proves nothing.
        for all in [true, false] {
            cut(&server, ended_by, &format!("cut_{n}_{all}"), all).await;
        }
    }
}

async fn cut(server: &ClickHouse, ended_by: EndedBy, database: &str, all: bool) {
    fresh(Tables::Signoz, database);
    let now_ns = now_ns();
    let start = if all { Start::Beginning } else { Start::At(now_ns - HOUR_NS) };
    let settings = Settings { start, ..settings(server, database) };
    let mut writer = Writer::new(server, Tables::Signoz, database);
    let mut seen = BTreeMap::new();
    let mut tail = open(&settings, None).await;
    for (n, (question, merged)) in (0u32..).zip(QUESTIONS) {
        // An even number of rows of equal length: half an answer is half of them.
        writer.write(&rows(10 + n * 20..30 + n * 20, now_ns)).unwrap();
        if merged {
            server.execute(&format!("OPTIMIZE TABLE {database}.logs_v2 FINAL")).unwrap();
        }
        server.inject(Injected::cut_in_half(ended_by).matching(question).times(2));
        for _ in 0..2 {
            let fault = tail.next().await.expect_err(question);
            assert_eq!(fault.kind, crate::clickhouse::Kind::Unreachable, "{question} {ended_by:?}: {fault}");
        }
        let position = drain(&mut tail, &mut seen).await;
        assert_each_once(&seen, 20 + n * 20);
        // Keys that are read back on opening.
        server.inject(Injected::cut_in_half(ended_by).matching("toString(_part), cityHash64").times(1));
        let mut saved = Position::from_json(&position).unwrap();
        saved.ledger.forget_keys();
        let client = Arc::new(Client::connect(&settings).await.unwrap());
        let layout = Layout::detect(&client, &settings).await.unwrap();
        let opened = Tail::open(client, layout, &settings, Some(&saved.to_json())).await;
        assert!(opened.is_err(), "{ended_by:?}");
    }
}
