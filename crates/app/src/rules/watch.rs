//! Tells when the rules, or the mapping and pipelines they are loaded with, may have changed: on a change on disk, and on a timer for file systems that
//! do not report changes (network mounts, some containers).

use super::files;
use crate::config;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::sync::mpsc;

/// Quiet time after a change before it is reported: a checkout writes thousands of files.
const SETTLE: Duration = Duration::from_millis(300);
/// Longest a change is held back while further ones come.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// The rules on disk are not what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger;

/// Watches the rules of `config` and sends a [`Trigger`] for each change since `known`. Ends when the
/// receiver is dropped.
pub async fn watch(config: config::Rules, known: Fingerprint, out: mpsc::Sender<Trigger>) {
    let (wake, mut woken) = mpsc::channel::<()>(1);
    // A full channel already says that something changed.
    let handler = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = wake.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(handler)
        .inspect_err(|error| tracing::debug!("changes of rules are found by polling only: {error}"))
        .ok();
    for path in config.paths.iter().chain(&config.mapping).chain(&config.pipelines) {
        add(&mut watcher, path);
    }
    let mut known = known;
    loop {
        tokio::select! {
            () = out.closed() => return,
            // The poll is the fallback and finds what the watcher cannot see.
            () = tokio::time::sleep(config.reload_interval) => {}
            Some(()) = woken.recv() => settle(&mut woken).await,
        }
        let of = config.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || Fingerprint::of(&of)).await else { return };
        if now != known {
            known = now;
            if out.send(Trigger).await.is_err() {
                return;
            }
        }
    }
}

fn add(watcher: &mut Option<RecommendedWatcher>, path: &std::path::Path) {
    if let Some(watcher) = watcher
        && let Err(error) = watcher.watch(path, RecursiveMode::Recursive)
    {
        tracing::debug!("{} is watched by polling only: {error}", path.display());
    }
}

/// Waits until changes stop coming.
async fn settle(woken: &mut mpsc::Receiver<()>) {
    let end = tokio::time::Instant::now() + SETTLE_MAX;
    while tokio::time::Instant::now() < end {
        if tokio::time::timeout(SETTLE, woken.recv()).await.is_err() {
            return;
        }
    }
}

/// Names, sizes and times of all files that are read, as a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// As they are now: to be taken before they are read, so that a change meanwhile shows. For 4,000
    /// files it takes some 20 ms.
    pub fn of(config: &config::Rules) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        let all =
            [(&config.paths, "rules.paths"), (&config.mapping, "mapping"), (&config.pipelines, "pipelines")];
        let all = all.into_iter().flat_map(|(paths, key)| files(paths, key, &mut Vec::new()));
        for path in all {
            path.hash(&mut hasher);
            if let Ok(meta) = path.metadata() {
                (meta.len(), meta.modified().ok()).hash(&mut hasher);
            }
        }
        Fingerprint(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use otel_log_ai_core::rule::Level;

    #[tokio::test]
    async fn a_change_is_told_once_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let mapping = other.path().join("mapping.yaml");
        std::fs::write(&mapping, "version: 1").unwrap();
        let config = config::Rules {
            paths: vec![dir.path().to_path_buf()],
            mapping: vec![mapping.clone()],
            pipelines: vec![],
            min_level: Level::Low,
            status: vec![],
            include: Default::default(),
            exclude: Default::default(),
            reload_interval: Duration::from_millis(200),
            verify_one_in: 0,
            budget_ns: 0,
            engine: Default::default(),
            cache: None,
        };
        let (out, mut triggers) = mpsc::channel(1);
        let wait = Duration::from_secs(10);
        let known = Fingerprint::of(&config);
        std::fs::write(dir.path().join("early.yml"), "title: x").unwrap();
        let task = tokio::spawn(watch(config, known, out));
        assert_eq!(tokio::time::timeout(wait, triggers.recv()).await, Ok(Some(Trigger)), "before we watched");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(triggers.try_recv().is_err(), "nothing changed since");
        std::fs::write(dir.path().join("a.yml"), "title: x").unwrap();
        assert_eq!(tokio::time::timeout(wait, triggers.recv()).await, Ok(Some(Trigger)));
        std::fs::write(&mapping, "version: 1\nsources: []").unwrap();
        assert_eq!(tokio::time::timeout(wait, triggers.recv()).await, Ok(Some(Trigger)), "the mapping");
        drop(triggers);
        tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    }
}
