//! rsigma on the same events and rules: its parse, its evaluation, routed by log source, on events
//! that are already JSON values under the names its rules ask for.

use crate::report::{Report, rate};
use anyhow::{Result, anyhow};
use otel_log_ai_bench::inputs::Set;
use otel_log_ai_core::detect::Detector;
use otel_log_ai_core::engine::Scratch;
use otel_log_ai_core::otel::{Event, View};
use rsigma_eval::Engine;
use rsigma_eval::event::JsonEvent;
use rsigma_parser::LogSource;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::path::PathBuf;

/// Rules told by name where the two differ.
const DIFFERENCES_TOLD: usize = 40;

/// Measures the peer and compares.
pub fn measure(detector: &Detector, paths: &[PathBuf], sets: &[Set], report: &mut Report) -> Result<()> {
    let engine = engine(detector, paths)?;
    for set in sets {
        let records = set.records();
        let events: Vec<Event<'_>> =
            records.iter().flat_map(|record| detector.taxonomy().events(record)).collect();
        let theirs: Vec<Vec<(LogSource, Value)>> =
            events.iter().map(|event| routed(detector, event)).collect();
        let per_s = rate(events.len(), || {
            for (logsource, value) in theirs.iter().flatten() {
                black_box(engine.evaluate_with_logsource(&JsonEvent::borrow(value), logsource));
            }
        });
        report.add("rsigma: evaluate alone", set.name, per_s, "/s");
        let ours = report.value("match from memory", set.name).unwrap_or_default();
        report.add("match from memory over rsigma's evaluate", set.name, ours / per_s, "x");
        let parsed = report.value("bound: read by sonic-rs", set.name).unwrap_or_default();
        report.add("bound: sonic-rs over rsigma's evaluate", set.name, parsed / per_s, "x");
        let whole = report.value("recognise, decode, match", set.name).unwrap_or_default();
        report.aim("recognise, decode, match over rsigma's evaluate", set.name, whole / per_s, "x", 10.0);
        let whole = report.value("the same, with evidence and identity", set.name).unwrap_or_default();
        report.add("the same, with evidence and identity, over it", set.name, whole / per_s, "x");
        compare(detector, &engine, set.name, &events, &theirs, report);
    }
    Ok(())
}

/// The rules that we use, as rsigma compiles them.
fn engine(detector: &Detector, paths: &[PathBuf]) -> Result<Engine> {
    let wanted: BTreeSet<&str> = detector.rules().iter().map(|rule| rule.info.id.as_str()).collect();
    let mut engine = Engine::new();
    for path in paths {
        let rules = rsigma_parser::parse_sigma_directory(path).map_err(|error| anyhow!("rsigma: {error}"))?;
        let ours = rules.rules.iter().filter(|rule| rule.id.as_deref().is_some_and(|id| wanted.contains(id)));
        for (_, error) in engine.add_rules(ours) {
            eprintln!("rsigma: {error}");
        }
    }
    Ok(engine)
}

/// An event once for each category it belongs to, with that category's names.
fn routed(detector: &Detector, event: &Event<'_>) -> Vec<(LogSource, Value)> {
    let Some(class) = event.class else { return vec![] };
    let class = &detector.engine().classes()[usize::from(class.0)];
    let service = class.views.iter().find_map(|view| view.logsource.service.clone());
    let mut routed = vec![];
    let categories: Vec<&View> =
        class.views.iter().filter(|view| view.logsource.category.is_some()).collect();
    let views = if categories.is_empty() { class.views.iter().take(1).collect() } else { categories };
    for view in views {
        let logsource = LogSource {
            product: view.logsource.product.clone(),
            category: view.logsource.category.clone(),
            service: service.clone(),
            ..LogSource::default()
        };
        routed.push((logsource, value(event, view)));
    }
    routed
}

/// The fields by their native names and by those of the view.
fn value(event: &Event<'_>, view: &View) -> Value {
    let mut map: Map<String, Value> = Map::new();
    for (name, value) in &event.fields {
        let value = value.text().map_or(Value::Null, |text| Value::String(text.into_owned()));
        add(&mut map, name, value);
    }
    let native = map.clone();
    for (name, sources) in view.fields.iter() {
        map.remove(name);
        for source in sources {
            match native.get(source) {
                Some(Value::Array(list)) => list.iter().for_each(|value| add(&mut map, name, value.clone())),
                Some(value) => add(&mut map, name, value.clone()),
                None => {}
            }
        }
    }
    Value::Object(map)
}

fn add(map: &mut Map<String, Value>, name: &str, value: Value) {
    match map.get_mut(name) {
        None => {
            map.insert(name.to_owned(), value);
        }
        Some(Value::Array(list)) => list.push(value),
        Some(first) => {
            let one = first.take();
            *first = Value::Array(vec![one, value]);
        }
    }
}

/// Lists the rules on which the two differ.
fn compare(
    detector: &Detector,
    engine: &Engine,
    set: &str,
    events: &[Event<'_>],
    theirs: &[Vec<(LogSource, Value)>],
    report: &mut Report,
) {
    let mut scratch = Scratch::default();
    let mut only: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let (mut both, mut differ) = (0, 0);
    for (event, routed) in events.iter().zip(theirs) {
        let hits = detector.engine().run(event, &mut scratch);
        let ours: BTreeSet<String> =
            hits.iter().map(|hit| detector.rules()[hit.rule].info.id.clone()).collect();
        let found = routed.iter().flat_map(|(logsource, value)| {
            engine.evaluate_with_logsource(&JsonEvent::borrow(value), logsource)
        });
        let found: BTreeSet<String> = found.filter_map(|result| result.header.rule_id.clone()).collect();
        both += ours.intersection(&found).count();
        for (side, id) in ours
            .difference(&found)
            .map(|id| ("ours", id))
            .chain(found.difference(&ours).map(|id| ("rsigma's", id)))
        {
            differ += 1;
            *only.entry((side, id.clone())).or_default() += 1;
        }
    }
    report.notes.push(format!("{set}: {both} matches agree, {differ} differ"));
    for ((side, id), count) in only.iter().take(DIFFERENCES_TOLD) {
        let rule = detector.rules().iter().find(|rule| rule.info.id == *id);
        let title = rule.map_or("", |rule| rule.info.title.as_str());
        report.notes.push(format!("  only {side}: {count} × {id} {title}"));
    }
}
