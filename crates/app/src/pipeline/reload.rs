//! Exchanges the rules, with mapping and pipelines, while the service runs: on SIGHUP and on a change on disk.

use super::signals::Hangup;
use crate::config;
use crate::events::Event;
use crate::rules::{self, Fingerprint, Loaded, Trigger};
use arc_swap::ArcSwap;
use otel_log_ai_core::detect::Detector;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Most rule problems logged at a time; `rules check` shows all.
const PROBLEMS_LOGGED_MAX: usize = 20;

/// Waits for changes since `known` and exchanges the detector. A batch under way ends with the rules
/// it began with.
pub async fn run(
    config: config::Rules,
    known: Fingerprint,
    detector: Arc<ArcSwap<Detector>>,
    mut hangup: Hangup,
) {
    let (out, mut changed) = mpsc::channel(1);
    let watching = tokio::spawn(rules::watch(config.clone(), known, out));
    loop {
        tokio::select! {
            () = hangup.next() => {}
            Some(Trigger) = changed.recv() => {}
            else => break,
        }
        let config = config.clone();
        match tokio::task::spawn_blocking(move || rules::compile(&config)).await {
            Ok(Ok((new, loaded))) => exchange(&detector, new, &loaded),
            Ok(Err(problem)) => keep(&detector, &problem.to_string()),
            Err(error) => keep(&detector, &format!("compiling the rules failed: {error}")),
        }
    }
    watching.abort();
}

fn exchange(detector: &ArcSwap<Detector>, new: Detector, loaded: &Loaded) {
    if new.rules().is_empty() {
        return keep(detector, "no rule is left to use");
    }
    tell(&new, loaded, true);
    detector.store(Arc::new(new));
}

fn keep(detector: &ArcSwap<Detector>, why: &str) {
    Event::RulesKept { why, rules: detector.load().rules().len() }.emit();
}

/// Logs what was loaded and what was not.
pub fn tell(detector: &Detector, loaded: &Loaded, reload: bool) {
    for problem in loaded.problems.iter().take(PROBLEMS_LOGGED_MAX) {
        Event::RuleProblem { problem }.emit();
    }
    if loaded.problems.len() > PROBLEMS_LOGGED_MAX {
        let more =
            format!("{} more; see `otel-log-ai rules check`", loaded.problems.len() - PROBLEMS_LOGGED_MAX);
        Event::RuleProblem { problem: &more }.emit();
    }
    for problem in loaded.dear.iter().take(PROBLEMS_LOGGED_MAX) {
        Event::RuleDear { problem }.emit();
    }
    Event::RulesLoaded {
        rules: detector.rules().len(),
        rejected: loaded.problems.len(),
        filtered: loaded.filtered,
        reload,
    }
    .emit();
}
