//! The collecting: records in, whole events out.
//!
//! An event is finished as soon as everything is there that its category needs, whatever the order
//! of arrival, so that batches and permutations make no difference; else when it has waited long
//! enough, or when a bound is reached. (`auparse` ends an event at `EOE`, `PROCTITLE` or 2 s of
//! event time, which relies on one stream in order; rows of a table are not that.)

use super::happening::{Aim, AuditEvent, aim, is_network};
use super::processes::{Process, Processes};
use super::{AuditRecord, Key, Record, laurel};
use crate::otel::auditd;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

/// Bounds of an [`Assembler`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssemblerSettings {
    /// How long an event waits for its next records, milliseconds. A Collector may hold back one
    /// half of an event as long as its `batch` processor waits: 10 s in SigNoz's configuration.
    pub wait_ms: i64,
    /// Most events that wait; beyond, the oldest is finished as it is.
    pub events_max: usize,
    /// Most bytes that wait; beyond, the oldest event is finished as it is.
    pub bytes_max: usize,
    /// Most bytes of one event; further records of it are dropped.
    pub event_bytes_max: usize,
    /// Processes remembered, about.
    pub processes_max: usize,
    /// Bytes of remembered processes, about.
    pub processes_bytes_max: usize,
    /// Hand out every event, also those of no category, and none before its time.
    pub is_complete: bool,
}

impl Default for AssemblerSettings {
    fn default() -> AssemblerSettings {
        AssemblerSettings {
            wait_ms: 15_000,
            events_max: 50_000,
            bytes_max: 64 << 20,
            event_bytes_max: 512 << 10,
            processes_max: 100_000,
            processes_bytes_max: 16 << 20,
            is_complete: false,
        }
    }
}

/// What became of records and events so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AssemblerCounts {
    /// Events finished.
    pub events: u64,
    /// … of these, because they had waited too long for a record.
    pub incomplete: u64,
    /// … of these, because too much was waiting.
    pub early: u64,
    /// Records dropped because their event was too large.
    pub dropped: u64,
}

/// What of the waiting events must change in the state file. The keys are opaque.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditChanges {
    /// Key of a waiting event, and its records.
    pub upserts: Vec<(String, Vec<AuditRecord>)>,
    /// Keys of events that wait no more.
    pub deletes: Vec<String>,
}

impl AuditChanges {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.deletes.is_empty()
    }
}

/// Puts records together. See the module.
#[derive(Debug)]
pub struct Assembler {
    settings: AssemblerSettings,
    waiting: HashMap<Key, Waiting>,
    /// Waiting events by the time of their first record; may hold some that are finished.
    pub(super) queue: VecDeque<(i64, Key)>,
    /// Finished, to be handed out.
    ready: Vec<(Key, Waiting)>,
    /// Events that are finished, or of no category: further records of them are passed over.
    done: [HashSet<Key>; 2],
    /// Waiting events with changes that are not stored.
    changed: Vec<Key>,
    /// Stored events that are finished.
    deletes: Vec<String>,
    pub(super) bytes: usize,
    processes: Processes,
    counts: AssemblerCounts,
}

impl Default for Assembler {
    fn default() -> Assembler {
        Assembler::new(AssemblerSettings::default())
    }
}

/// An event in the making.
#[derive(Debug, Default)]
struct Waiting {
    records: Vec<AuditRecord>,
    bytes: usize,
    progress: Progress,
    is_stored: bool,
    is_changed: bool,
}

/// Finished events remembered in each of two generations.
const DONE_MAX: usize = 20_000;
/// What a record takes besides its texts, bytes, roughly.
const RECORD_BYTES: usize = 200;

impl Assembler {
    /// Nothing waits yet.
    pub fn new(settings: AssemblerSettings) -> Assembler {
        Assembler {
            waiting: HashMap::new(),
            queue: VecDeque::new(),
            ready: vec![],
            done: Default::default(),
            changed: vec![],
            deletes: vec![],
            bytes: 0,
            processes: Processes::new(settings.processes_max, settings.processes_bytes_max),
            counts: AssemblerCounts::default(),
            settings,
        }
    }

    /// Goes on with the events that waited when the changes were stored last. What was known of
    /// processes is learnt anew.
    pub fn restore(settings: AssemblerSettings, stored: Vec<Vec<AuditRecord>>, now_ms: i64) -> Assembler {
        let mut assembler = Assembler::new(settings);
        let mut keys = BTreeSet::new();
        for record in stored.into_iter().flatten() {
            keys.extend(auditd::head(&record.text).and_then(|head| Key::new(&record.host, head.id)));
            assembler.add(record, now_ms);
        }
        assembler.changed.clear();
        for key in keys {
            match assembler.waiting.get_mut(&key) {
                Some(waiting) => (waiting.is_stored, waiting.is_changed) = (true, false),
                None => assembler.deletes.push(name(&key)),
            }
        }
        assembler
    }

    /// Takes a record that arrived at `now_ms`.
    pub fn add(&mut self, record: AuditRecord, now_ms: i64) {
        let Some((decoded, id)) = Record::read(&record.text) else { return };
        let Some(key) = Key::new(&record.host, id) else { return };
        if self.done.iter().any(|done| done.contains(&key)) {
            return;
        }
        if decoded.is_call() {
            self.see(&key, &decoded);
        }
        let waiting = self.waiting.entry(key.clone()).or_insert_with(|| {
            self.queue.push_back((now_ms, key.clone()));
            Waiting::default()
        });
        // A batch that was sent twice.
        if waiting.records.iter().any(|known| known.text == record.text) {
            return;
        }
        let bytes = record.text.len() + record.host.len() + RECORD_BYTES;
        if waiting.bytes + bytes > self.settings.event_bytes_max {
            self.counts.dropped += 1;
            return;
        }
        waiting.progress.take(&decoded);
        waiting.records.push(record);
        waiting.bytes += bytes;
        self.bytes += bytes;
        if !waiting.is_changed {
            waiting.is_changed = true;
            self.changed.push(key.clone());
        }
        if !self.settings.is_complete {
            match waiting.progress.state() {
                State::Waits => {}
                State::Whole => self.finish(&key),
                State::Unwanted => drop(self.take(&key)),
            }
        }
        while self.waiting.len() > self.settings.events_max || self.bytes > self.settings.bytes_max {
            let Some((_, oldest)) = self.queue.pop_front() else { break };
            if self.waiting.contains_key(&oldest) {
                self.counts.early += 1;
                self.finish(&oldest);
            }
        }
        if self.queue.len() > 2 * self.waiting.len() + 1024 {
            self.queue.retain(|(_, key)| self.waiting.contains_key(key));
        }
    }

    /// The events that are finished at `now_ms`, in the order in which they happened.
    pub fn due(&mut self, now_ms: i64) -> Vec<AuditEvent> {
        while let Some((since_ms, key)) = self.queue.front() {
            if self.waiting.contains_key(key) {
                if since_ms.saturating_add(self.settings.wait_ms) > now_ms {
                    break;
                }
                self.counts.incomplete += 1;
            }
            let Some((_, key)) = self.queue.pop_front() else { break };
            self.finish(&key);
        }
        self.hand_out()
    }

    /// All events, however much of them is missing.
    pub fn flush(&mut self) -> Vec<AuditEvent> {
        for (_, key) in std::mem::take(&mut self.queue) {
            self.counts.incomplete += u64::from(self.waiting.contains_key(&key));
            self.finish(&key);
        }
        self.hand_out()
    }

    /// When [`Assembler::due`] has something if nothing arrives before; `None` if nothing waits.
    pub fn next_due_ms(&self) -> Option<i64> {
        let first = self.queue.iter().find(|(_, key)| self.waiting.contains_key(key));
        match self.ready.is_empty() {
            true => first.map(|(since_ms, _)| since_ms.saturating_add(self.settings.wait_ms)),
            false => Some(i64::MIN),
        }
    }

    /// What changed since the last call, to be stored together with the position up to which rows
    /// were added.
    pub fn take_changes(&mut self) -> AuditChanges {
        let mut changes = AuditChanges { deletes: std::mem::take(&mut self.deletes), ..Default::default() };
        for key in std::mem::take(&mut self.changed) {
            let Some(waiting) = self.waiting.get_mut(&key) else { continue };
            (waiting.is_changed, waiting.is_stored) = (false, true);
            changes.upserts.push((name(&key), waiting.records.clone()));
        }
        changes
    }

    /// What became of records and events.
    pub fn counts(&self) -> AssemblerCounts {
        self.counts
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Every system call tells what runs under its process id.
    fn see(&mut self, key: &Key, call: &Record) {
        let (Some(pid), Some(image)) = (call.number("pid"), call.get("exe")) else { return };
        let process = Process {
            since_ms: key.time_ms,
            image: image.to_owned(),
            user: user(call),
            session: session(call).to_owned(),
            ..Process::default()
        };
        let is_fork = matches!(call.call(), Some("fork" | "vfork" | "clone" | "clone3"));
        if let (true, Some(child)) = (is_fork, call.number("exit").filter(|child| *child > 0)) {
            let parent = self.processes.find(&key.host, pid, key.time_ms, &process.session);
            let parent = parent.filter(|parent| parent.image == process.image);
            let child_is = Process { since_ms: key.time_ms, ..parent.unwrap_or_else(|| process.clone()) };
            self.processes.learn(&key.host, child, child_is);
        }
        self.processes.learn(&key.host, pid, process);
    }

    fn finish(&mut self, key: &Key) {
        if let Some(waiting) = self.take(key) {
            self.ready.push((key.clone(), waiting));
        }
    }

    /// Takes an event out of those that wait.
    fn take(&mut self, key: &Key) -> Option<Waiting> {
        let waiting = self.waiting.remove(key)?;
        self.bytes -= waiting.bytes;
        if waiting.is_stored {
            self.deletes.push(name(key));
        }
        if self.done[0].len() >= DONE_MAX {
            self.done.swap(0, 1);
            self.done[0].clear();
        }
        self.done[0].insert(key.clone());
        Some(waiting)
    }

    /// Gives away what is ready. All processes are learnt before any parent is looked up, so that
    /// the order within a batch does not count.
    fn hand_out(&mut self) -> Vec<AuditEvent> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.counts.events += ready.len() as u64;
        let mut events: Vec<AuditEvent> =
            ready.into_iter().map(|(key, waiting)| AuditEvent::new(key, waiting.records)).collect();
        for event in &events {
            if let Some((pid, process)) = event.started() {
                self.processes.learn(&event.host, pid, process);
            }
        }
        for event in &mut events {
            event.parent = event
                .parent_id()
                .and_then(|(pid, session)| self.processes.find(&event.host, pid, event.time_ms, &session));
        }
        events
    }
}

/// The name of an event in the state file.
fn name(key: &Key) -> String {
    format!("{}.{:03}:{} {}", key.time_ms / 1000, key.time_ms % 1000, key.serial, key.host)
}

/// Who made a call: the translated name, else the number, of which everyone knows 0.
pub(super) fn user(call: &Record) -> String {
    let name = call.get("UID").or_else(|| call.get("user")).filter(|name| !matches!(*name, "" | "unset"));
    match (name, call.get("uid")) {
        (Some(name), _) => name.to_owned(),
        (None, Some("0")) => "root".to_owned(),
        (None, number) => number.unwrap_or_default().to_owned(),
    }
}

/// The audit session of a call; empty where it has none.
pub(super) fn session(call: &Record) -> &str {
    call.get("ses").filter(|ses| !matches!(*ses, "4294967295" | "-1" | "unset")).unwrap_or("")
}

/// What of an event has arrived.
#[derive(Debug, Default)]
struct Progress {
    aim: Option<Aim>,
    items: u32,
    paths: u32,
    has_directory: bool,
    has_title: bool,
    /// Whether the address is one of the network.
    address: Option<bool>,
    /// How many arguments there are.
    argc: Option<usize>,
    arguments: BTreeSet<u32>,
    is_chunked: bool,
    is_alone: bool,
}

enum State {
    Waits,
    Whole,
    Unwanted,
}

impl Progress {
    fn take(&mut self, record: &Record) {
        match record.kind.as_str() {
            "SYSCALL" => {
                self.aim = Some(aim(record));
                self.items = record.number("items").unwrap_or(0);
            }
            "AUOMS_EXECVE" | "AUOMS_SYSCALL" => {
                self.aim = Some(aim(record));
                self.is_alone = true;
            }
            "EXECVE" => {
                self.argc = self.argc.or_else(|| record.number("argc"));
                self.arguments.extend(record.arguments.iter().map(|((number, _), _)| number));
                self.is_chunked |= record.fields.iter().any(|(name, _)| name.ends_with("_len"));
            }
            "PATH" => self.paths += 1,
            "CWD" => self.has_directory = true,
            "PROCTITLE" | laurel::PARENT => self.has_title = true,
            "SOCKADDR" => self.address = Some(is_network(record)),
            _ => {}
        }
    }

    /// What is needed for a category must not depend on the order in which records arrive: an event
    /// is whole only with everything that may still change it.
    fn state(&self) -> State {
        let has_paths = self.has_directory && self.paths >= self.items;
        let has_arguments = self.argc.is_some_and(|argc| self.arguments.len() >= argc) && !self.is_chunked;
        let is_whole = match self.aim {
            Some(Aim::Nothing) => return State::Unwanted,
            Some(_) if self.is_alone => true,
            Some(Aim::Process) => has_paths && has_arguments,
            Some(Aim::File) => has_paths && self.has_title,
            Some(Aim::Connection) if self.address == Some(false) => return State::Unwanted,
            Some(Aim::Connection) => self.address.is_some() && self.has_title,
            Some(Aim::Unknown) | None => false,
        };
        if is_whole { State::Whole } else { State::Waits }
    }
}
