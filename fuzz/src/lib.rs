//! What the fuzz targets share: a record made of an input's bytes goes the whole way of recognition,
//! within its time and size.

use cpu_time::ThreadTime;
use otel_log_ai_core::otel::{LogRecord, Taxonomy};
use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

static TAXONOMY: LazyLock<Taxonomy> =
    LazyLock::new(|| Taxonomy::builtin().unwrap_or_else(|problem| panic!("{problem}")));

/// Longest time of one record of at most 1 MiB, in this instrumented build with debug assertions. It
/// is some three times slower than a release build, which has 50 ms.
const RECORD_TIME_MAX: Duration = Duration::from_millis(150);
/// Most fields of one event: what the decoders may read, and what may be computed from it.
const FIELDS_MAX: usize = 10_000;

/// An input is one byte that chooses a beginning of the text, then the rest of it. Beginnings lead
/// the fuzzer behind what is hard to find by chance.
pub fn text(beginnings: &[&str], data: &[u8]) -> String {
    let Some((choice, rest)) = data.split_first() else { return String::new() };
    let beginning = beginnings[usize::from(*choice) % beginnings.len()];
    format!("{beginning}{}", String::from_utf8_lossy(rest))
}

/// A record with this body, from a file of one of these names.
pub fn body(beginnings: &[&str], files: &[&str], data: &[u8]) {
    let text = text(beginnings, data);
    let mut record = LogRecord { body: Cow::Borrowed(&text), ..LogRecord::default() };
    if let Some(file) = files.get(text.len() % (files.len() + 1)) {
        record.attributes_string.push(("log.file.name".into(), (*file).into()));
    }
    recognise(&record);
}

/// Recognises the record.
///
/// # Panics
/// If it panics, takes too long, or gives more than it may.
pub fn recognise(record: &LogRecord<'_>) {
    let taxonomy = &*TAXONOMY;
    // A first slow run may be the machine's doing.
    for attempt in 0..3 {
        let started = ThreadTime::now();
        taxonomy.recognise(record, &mut |event| {
            assert!(event.fields.len() <= FIELDS_MAX, "{} fields", event.fields.len());
        });
        let took = started.elapsed();
        if took <= RECORD_TIME_MAX {
            break;
        }
        assert!(attempt < 2, "a record of {} bytes took {took:?}", record.body.len());
    }
}
