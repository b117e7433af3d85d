//! The parts of the way alone, by the clock on the wall, on the demo's estate and with the starter rules, which are
//! always at hand. `cargo xtask bench` runs them at its end; `cargo bench -p otel-log-ai-bench -- decode` runs one.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use otel_log_ai_bench::inputs::{self, Set};
use otel_log_ai_core::alert::Content;
use otel_log_ai_core::detect::Detector;
use otel_log_ai_core::engine::Scratch;
use otel_log_ai_core::otel::{Buffers, LogRecord, Taxonomy};
use otel_log_ai_core::rule::{Expression, Rule};
use std::sync::LazyLock;

const EVENTS: usize = 2_000;
const PRODUCTS: [&str; 2] = ["windows", "linux"];

fn main() {
    divan::main();
}

static ESTATE: LazyLock<Set> = LazyLock::new(|| inputs::estate(EVENTS));
static DETECTOR: LazyLock<Detector> = LazyLock::new(|| Detector::new(rules(), taxonomy()));

/// The starter rules, read and parsed.
fn rules() -> Vec<Rule> {
    otel_log_ai::rules::read(&[inputs::own_rules()]).expect("the starter rules").rules
}

fn taxonomy() -> Taxonomy {
    Taxonomy::builtin().expect("the mapping that ships")
}

/// The estate's records of one product.
fn records(product: &str) -> Vec<LogRecord<'static>> {
    let is_of = |record: &LogRecord<'_>| {
        let class = DETECTOR.taxonomy().events(record).first().and_then(|event| event.class);
        let class = class.map(|id| &DETECTOR.engine().classes()[usize::from(id.0)]);
        class.is_some_and(|class| class.name.starts_with(product))
    };
    ESTATE.records().into_iter().filter(is_of).collect()
}

#[divan::bench(args = PRODUCTS)]
fn decode(bencher: Bencher<'_, '_>, product: &str) {
    let (records, mut buffers) = (records(product), Buffers::default());
    bencher.counter(ItemsCount::new(records.len())).bench_local(|| {
        for record in &records {
            DETECTOR.taxonomy().recognise_in(&mut buffers, record, &mut |event| _ = black_box(event));
        }
    });
}

#[divan::bench(args = PRODUCTS)]
fn match_rules(bencher: Bencher<'_, '_>, product: &str) {
    let records = records(product);
    let events: Vec<_> = records.iter().flat_map(|record| DETECTOR.taxonomy().events(record)).collect();
    let mut scratch = Scratch::default();
    bencher.counter(ItemsCount::new(events.len())).bench_local(|| {
        for event in &events {
            black_box(DETECTOR.engine().run(event, &mut scratch));
        }
    });
}

/// The hash by which a record that is sent twice is told.
#[divan::bench(args = PRODUCTS)]
fn identity(bencher: Bencher<'_, '_>, product: &str) {
    let records = records(product);
    bencher.counter(ItemsCount::new(records.len())).bench_local(|| {
        for record in &records {
            black_box(Content::of(record));
        }
    });
}

/// Expressions of every kind that is looked for in its own way, on a script of 16 KB without a match.
#[divan::bench(args = [r"abc\d+xyz", r"[a-z]{40}", r"\w!(?:\w+|-)!", r"(?i)new-object\s+net"])]
fn expression(bencher: Bencher<'_, '_>, pattern: &str) {
    let expression = Expression::new(pattern.to_owned(), String::new()).expect("an expression");
    let script = "$r = Invoke-WebRequest -Uri ('https://files.example/' + $n) !\r\n".repeat(256);
    assert!(!expression.is_found(&script));
    bencher.counter(BytesCount::new(script.len())).bench_local(|| expression.is_found(black_box(&script)));
}

#[divan::bench]
fn read_rules(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(rules().len())).bench_local(rules);
}

#[divan::bench]
fn compile_rules(bencher: Bencher<'_, '_>) {
    let bencher = bencher.counter(ItemsCount::new(rules().len()));
    bencher.with_inputs(|| (rules(), taxonomy())).bench_local_values(|(rules, taxonomy)| {
        let detector = Detector::new(rules, taxonomy);
        detector.engine().prepare();
        detector
    });
}
