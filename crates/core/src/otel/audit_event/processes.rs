//! What is known of running processes: the image and command line behind a process id.
//!
//! A cache with a bound, in two generations: when the younger one is full it becomes the older one,
//! whose entries are dropped unless someone asked for them since. So a daemon whose children are
//! seen stays known, however long ago it was started.

use std::collections::HashMap;

/// A process, from a moment on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// Since when it was known to be so, milliseconds since the epoch.
    pub since_ms: u64,
    /// Path of its program.
    pub image: String,
    /// Its command line; empty where its start was not audited.
    pub command_line: String,
    /// Who runs it; empty where that is not known.
    pub user: String,
    /// Its audit session; empty where it has none.
    pub session: String,
}

/// Longest image and command line kept, bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// The processes of all hosts.
#[derive(Debug, Default)]
pub(super) struct Processes {
    processes_max: usize,
    bytes_max: usize,
    young: Generation,
    old: Generation,
}

/// The last two states of one process id: the second is what it was before it ran another program or
/// was given to another process, for events that come late.
type History = [Option<Process>; 2];

#[derive(Debug, Default)]
struct Generation {
    hosts: HashMap<String, HashMap<u32, History>>,
    processes: usize,
    bytes: usize,
}

impl Processes {
    /// Keeps about twice `processes_max` process ids and `bytes_max` bytes at most.
    pub fn new(processes_max: usize, bytes_max: usize) -> Processes {
        Processes { processes_max, bytes_max, ..Processes::default() }
    }

    /// Takes note of a process. Without a command line it says no more than that the process runs
    /// this image, and does not replace what is known of the same image.
    pub fn learn(&mut self, host: &str, pid: u32, mut process: Process) {
        cut(&mut process.image);
        cut(&mut process.command_line);
        let [now, before] = self.recall(host, pid).unwrap_or_default();
        let is_weaker = |known: &Process| known.image == process.image && process.command_line.is_empty();
        let history = match now {
            None => [Some(process), None],
            Some(now) if is_weaker(&now) && process.since_ms >= now.since_ms => [Some(now), before],
            Some(now) if process.since_ms > now.since_ms => [Some(process), Some(now)],
            Some(now) if process.since_ms == now.since_ms => [Some(process), before],
            Some(now) => match before {
                Some(before) if before.since_ms > process.since_ms => [Some(now), Some(before)],
                _ => [Some(now), Some(process)],
            },
        };
        self.store(host, pid, history);
    }

    /// What ran under `pid` at `time_ms`. A process of another audit session cannot be the parent of
    /// one of `session`, so the process id has been given away since.
    pub fn find(&mut self, host: &str, pid: u32, time_ms: u64, session: &str) -> Option<Process> {
        let history = self.recall(host, pid)?;
        let found = history.iter().flatten().find(|process| process.since_ms <= time_ms).cloned();
        self.store(host, pid, history);
        found.filter(|process| process.session.is_empty() || session.is_empty() || process.session == session)
    }

    /// Takes the history of `pid` out.
    fn recall(&mut self, host: &str, pid: u32) -> Option<History> {
        self.young.take(host, pid).or_else(|| self.old.take(host, pid))
    }

    fn store(&mut self, host: &str, pid: u32, history: History) {
        if self.young.processes >= self.processes_max || self.young.bytes >= self.bytes_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.processes += 1;
        self.young.bytes += size(&history);
        if let Some(processes) = self.young.hosts.get_mut(host) {
            processes.insert(pid, history);
            return;
        }
        self.young.bytes += host.len();
        self.young.hosts.entry(host.to_owned()).or_default().insert(pid, history);
    }
}

impl Generation {
    fn take(&mut self, host: &str, pid: u32) -> Option<History> {
        let history = self.hosts.get_mut(host)?.remove(&pid)?;
        self.processes -= 1;
        self.bytes -= size(&history);
        Some(history)
    }
}

fn size(history: &History) -> usize {
    let texts = |p: &Process| p.image.len() + p.command_line.len() + p.user.len() + p.session.len();
    history.iter().flatten().map(texts).sum()
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(since_ms: u64, image: &str, command_line: &str) -> Process {
        let (image, command_line) = (image.to_owned(), command_line.to_owned());
        Process { since_ms, image, command_line, ..Process::default() }
    }

    fn image(processes: &mut Processes, pid: u32, time_ms: u64) -> Option<String> {
        processes
            .find("h", pid, time_ms, "")
            .map(|process| format!("{} {}", process.image, process.command_line))
    }

    #[test]
    fn a_process_id_is_what_it_was_at_the_time() {
        let mut all = Processes::new(100, 1 << 20);
        all.learn("h", 7, process(10, "sh", "sh -c x"));
        all.learn("h", 7, process(12, "sh", ""));
        all.learn("h", 7, process(20, "cat", "cat y"));
        assert_eq!(image(&mut all, 7, 9), None);
        assert_eq!(image(&mut all, 7, 15).as_deref(), Some("sh sh -c x"));
        assert_eq!(image(&mut all, 7, 20).as_deref(), Some("cat cat y"));
        assert_eq!(all.find("other", 7, 20, ""), None);
        // What comes late stands where it belongs.
        all.learn("h", 8, process(20, "b", "b"));
        all.learn("h", 8, process(10, "a", "a"));
        assert_eq!(image(&mut all, 8, 12).as_deref(), Some("a a"));
        assert_eq!(image(&mut all, 8, 30).as_deref(), Some("b b"));
        // The command line of the same moment completes the image.
        all.learn("h", 9, process(10, "a", ""));
        all.learn("h", 9, process(10, "a", "a -x"));
        all.learn("h", 9, process(10, "a", ""));
        assert_eq!(image(&mut all, 9, 12).as_deref(), Some("a a -x"));
    }

    #[test]
    fn another_session_means_another_process() {
        let mut all = Processes::new(100, 1 << 20);
        all.learn("h", 7, Process { session: "3".into(), ..process(1, "sh", "sh") });
        assert!(all.find("h", 7, 2, "3").is_some());
        assert!(all.find("h", 7, 2, "").is_some());
        assert_eq!(all.find("h", 7, 2, "4"), None);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_is_asked_for() {
        let mut all = Processes::new(10, 1 << 20);
        all.learn("h", 1, process(1, "daemon", ""));
        for pid in 2..1000 {
            all.learn("h", pid, process(2, "x", ""));
            assert!(all.find("h", 1, 3, "").is_some(), "{pid}");
            assert!(all.young.processes + all.old.processes <= 20);
        }
        assert_eq!(all.find("h", 5, 3, ""), None);
    }
}
