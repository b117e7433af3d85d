//! What happened, told by the records of one event, in the names of Sigma's taxonomy.

use super::assembler::{session, user};
use super::processes::Process;
use super::{AuditRecord, AuditRow, Key, Record, laurel};
use crate::otel::event::Event;
use std::borrow::Cow;

/// A whole event of the audit system.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditEvent {
    /// Host on which it happened.
    pub host: String,
    /// When it happened, milliseconds since the epoch.
    pub time_ms: u64,
    /// The event's number; with the time it is unique on its host.
    pub serial: u64,
    /// The row of its `SYSCALL` record, else the earliest.
    pub row: AuditRow,
    /// The records, decoded: `SYSCALL` first, then as they are counted.
    pub records: Vec<Record>,
    /// The process that made the process that did it, as far as it is known.
    pub parent: Option<Process>,
    /// The records as they were, one a line.
    pub source: String,
}

/// What the records of an event can come to, by its system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    Process,
    File,
    Connection,
    /// Nothing that Sigma has a category for.
    Nothing,
    /// The machine's numbers are not known.
    Unknown,
}

/// Longest text of an event that is kept for people, bytes.
const SOURCE_BYTES_MAX: usize = 8 << 10;
/// Longest command line, bytes.
const COMMAND_LINE_BYTES_MAX: usize = 64 << 10;
/// Flags of `open` and `unlinkat` (asm-generic/fcntl.h, linux/fcntl.h).
const O_CREAT: u64 = 0o100;
const AT_REMOVEDIR: u64 = 0x200;
/// `AT_FDCWD`: the lower 32 bits of -100.
const AT_FDCWD: u64 = 0xffff_ff9c;
/// A connection that is being made (`EINPROGRESS`), which is how sockets that do not block begin.
const IN_PROGRESS: [&str; 2] = ["-115", "EINPROGRESS"];

/// What a system call aims at.
pub(super) fn aim(call: &Record) -> Aim {
    let Some(name) = call.call() else { return Aim::Unknown };
    let is_done = call.get("success") != Some("no");
    let is_begun = is_done || call.get("exit").is_some_and(|exit| IN_PROGRESS.contains(&exit));
    let creates = |flags: &str| call.register(flags).is_none_or(|flags| flags & O_CREAT != 0);
    let is_file = match name {
        "execve" | "execveat" if is_done => return Aim::Process,
        "connect" | "sendto" | "sendmsg" | "accept" | "accept4" if is_begun => return Aim::Connection,
        // i386 and s390: the first argument says which call (linux/net.h).
        "socketcall" if is_begun => match call.register("a0") {
            Some(3 | 5 | 11 | 16 | 18) => return Aim::Connection,
            _ => false,
        },
        "open" => creates("a1"),
        "openat" => creates("a2"),
        "unlinkat" => call.register("a2").is_none_or(|flags| flags & AT_REMOVEDIR == 0),
        "creat" | "openat2" | "mknod" | "mknodat" | "link" | "linkat" | "symlink" | "symlinkat"
        | "rename" | "renameat" | "renameat2" | "unlink" => true,
        _ => false,
    };
    if is_file && is_done { Aim::File } else { Aim::Nothing }
}

/// Whether a `SOCKADDR` record tells an address of the network.
pub(super) fn is_network(record: &Record) -> bool {
    record.get("addr").is_some() || record.get("laddr").is_some()
}

/// Whether a call takes a connection rather than making one.
fn is_incoming(call: &Record) -> bool {
    let is_socketcall = call.call() == Some("socketcall") && matches!(call.register("a0"), Some(5 | 18));
    matches!(call.call(), Some("accept" | "accept4")) || is_socketcall
}

impl AuditEvent {
    pub(super) fn new(key: Key, mut records: Vec<AuditRecord>) -> AuditEvent {
        let mut decoded: Vec<(Record, String, AuditRow)> = vec![];
        for record in records.drain(..) {
            if let Some((read, _)) = Record::read(&record.text) {
                decoded.push((read, record.text, record.row));
            }
        }
        // In the kernel's order, so that the order of arrival does not show.
        decoded.sort_by_cached_key(|(record, text, _)| {
            let item = record.number::<u32>("item").unwrap_or(0);
            let first = record.arguments.first().map_or((0, 0), |(place, _)| *place);
            (rank(&record.kind), first, item, text.clone())
        });
        let calls = decoded.iter().filter(|(record, ..)| record.is_call());
        let row = calls.map(|(.., row)| row).next().or_else(|| decoded.iter().map(|(.., row)| row).min());
        let row = row.cloned().unwrap_or_default();
        let mut source = String::new();
        for (_, text, _) in &decoded {
            if source.len() + text.len() < SOURCE_BYTES_MAX {
                source.push_str(if source.is_empty() { "" } else { "\n" });
                source.push_str(text);
            }
        }
        if source.is_empty()
            && let Some((_, text, _)) = decoded.first()
        {
            source = text[..text.floor_char_boundary(SOURCE_BYTES_MAX)].to_owned();
        }
        let records = decoded.into_iter().map(|(record, ..)| record).collect();
        let Key { host, time_ms, serial } = key;
        AuditEvent { host, time_ms, serial, row, records, parent: None, source }
    }

    /// The records of a type.
    pub fn of<'s>(&'s self, kind: &'s str) -> impl Iterator<Item = &'s Record> {
        self.records.iter().filter(move |record| record.kind == kind)
    }

    fn call(&self) -> Option<&Record> {
        self.records.iter().find(|record| record.is_call())
    }

    /// The arguments of a started program, in order.
    pub fn arguments(&self) -> Vec<String> {
        let mut pieces: Vec<&((u32, u32), String)> =
            self.of("EXECVE").flat_map(|record| &record.arguments).collect();
        pieces.sort_by_key(|(place, _)| *place);
        let mut arguments: Vec<(u32, String)> = vec![];
        for ((number, _), text) in pieces {
            match arguments.last_mut() {
                Some((last, argument)) if last == number => argument.push_str(text),
                _ => arguments.push((*number, text.clone())),
            }
        }
        arguments.into_iter().map(|(_, argument)| argument).collect()
    }

    /// The command line: all arguments, else the title, of which the kernel keeps 128 bytes.
    fn command_line(&self) -> Option<String> {
        let told = || {
            let call = self.call()?;
            call.get("cmdline").or_else(|| call.get("proctitle"))
        };
        let arguments = self.arguments();
        let mut line = match arguments.is_empty() {
            false => arguments.join(" "),
            true => told().or_else(|| self.of("PROCTITLE").find_map(|r| r.get("proctitle")))?.to_owned(),
        };
        line.truncate(line.floor_char_boundary(COMMAND_LINE_BYTES_MAX));
        Some(line)
    }

    fn directory(&self) -> Option<&str> {
        let own = self.of("CWD").find_map(|record| record.get("cwd"));
        own.or_else(|| self.call().and_then(|call| call.get("cwd")))
    }

    fn aim(&self) -> Aim {
        match self.call().map(aim) {
            None | Some(Aim::Unknown) if self.of("EXECVE").next().is_some() => Aim::Process,
            Some(Aim::Unknown) if self.of("PATH").any(|path| nametype(path) == "CREATE") => Aim::File,
            aim => aim.unwrap_or(Aim::Nothing),
        }
    }

    /// The image: what runs, else what was asked to run.
    fn image(&self) -> Option<String> {
        let told = self.call().and_then(|call| call.get("exe")).map(str::to_owned);
        told.or_else(|| {
            let program = self.of("PATH").find(|path| path.get("item") == Some("0"))?;
            Some(absolute(program.get("name")?, self.directory()))
        })
    }

    /// The process that this event started, for the table of processes.
    pub(super) fn started(&self) -> Option<(u32, Process)> {
        let call = self.call().filter(|_| self.aim() == Aim::Process)?;
        let process = Process {
            since_ms: self.time_ms,
            image: self.image()?,
            command_line: self.command_line()?,
            user: user(call),
            session: session(call).to_owned(),
        };
        Some((call.number("pid")?, process))
    }

    /// The parent's process id, and the session.
    pub(super) fn parent_id(&self) -> Option<(u32, String)> {
        let call = self.call()?;
        Some((call.number("ppid")?, session(call).to_owned()))
    }
}

/// The kernel's order of records.
fn rank(kind: &str) -> usize {
    const ORDER: [&str; 5] = ["SYSCALL", "EXECVE", "SOCKADDR", "CWD", "PATH"];
    const LAST: [&str; 2] = ["PROCTITLE", "EOE"];
    match ORDER.iter().position(|name| *name == kind) {
        Some(place) => place,
        None => ORDER.len() + LAST.iter().position(|name| *name == kind).map_or(0, |place| place + 1),
    }
}

/// What a path was to the call: `CREATE`, `DELETE`, `PARENT`, `NORMAL`. Kernels before 4.x call it
/// `objtype`.
fn nametype(path: &Record) -> &str {
    path.get("nametype").or_else(|| path.get("objtype")).unwrap_or("")
}

fn is_directory(path: &Record) -> bool {
    path.get("mode").is_some_and(|mode| mode.starts_with("04"))
}

/// `name` below `directory`, with `.` and `..` taken out.
fn absolute(name: &str, directory: Option<&str>) -> String {
    let directory = directory.filter(|_| !name.starts_with('/'));
    if name.is_empty() || (directory.is_none() && !name.starts_with('/')) {
        return name.to_owned();
    }
    let mut parts: Vec<&str> = vec![];
    for part in directory.unwrap_or("").split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The event as Sigma sees it; `None` if it is of no category. The field `audit_event` names the
/// category, from which the taxonomy chooses the class.
pub(in crate::otel) fn event(audit: &AuditEvent) -> Option<Event<'static>> {
    let mut event = Event { host: Cow::Owned(audit.host.clone()), ..Event::default() };
    match audit.aim() {
        Aim::Process => event.push("audit_event", "process_creation"),
        Aim::File => files(audit, &mut event)?,
        Aim::Connection => connection(audit, &mut event)?,
        Aim::Nothing | Aim::Unknown => return None,
    }
    event.source = Cow::Owned(audit.source.clone());
    process(audit, &mut event);
    Some(event)
}

/// Who did it.
fn process(audit: &AuditEvent, event: &mut Event<'static>) {
    let mut push = |name: &'static str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            event.push(name, value);
        }
    };
    push("Image", audit.image());
    push("CommandLine", audit.command_line());
    push("CurrentDirectory", audit.directory().map(str::to_owned));
    let Some(call) = audit.call() else { return };
    let text = |name: &str| call.get(name).map(str::to_owned);
    push("User", Some(user(call)));
    push("LogonId", Some(session(call).to_owned()));
    push("ProcessId", text("pid"));
    push("ParentProcessId", text("ppid"));
    push("TerminalSessionId", Some(session(call).to_owned()));
    push("AuditUser", text("AUID").or_else(|| text("auid")).filter(|user| user != "4294967295"));
    push("SYSCALL", call.call().map(str::to_owned));
    push("key", text("key"));
    push("comm", text("comm"));
    push("tty", text("tty"));
    match (&audit.parent, audit.of(laurel::PARENT).next()) {
        (Some(parent), _) => {
            push("ParentImage", Some(parent.image.clone()));
            push("ParentCommandLine", Some(parent.command_line.clone()));
            push("ParentUser", Some(parent.user.clone()));
        }
        // What the sender knew of it.
        (None, Some(told)) => {
            push("ParentImage", told.get("exe").map(str::to_owned));
            push("ParentCommandLine", told.get("cmdline").map(str::to_owned));
        }
        (None, None) => {}
    }
}

/// The files that were made or deleted. A file that takes another name is made under the new one;
/// directories are not files.
fn files(audit: &AuditEvent, event: &mut Event<'static>) -> Option<()> {
    let call = audit.call()?;
    // Names are relative to the working directory unless a call has a directory of its own.
    let register = match call.call().unwrap_or("") {
        "openat" | "openat2" | "mknodat" | "unlinkat" => Some("a0"),
        "symlinkat" => Some("a1"),
        "linkat" | "renameat" | "renameat2" => Some("a2"),
        _ => None,
    };
    let own = register.and_then(|register| call.register(register));
    let directory = audit.directory().filter(|_| own.is_none_or(|fd| fd & 0xffff_ffff == AT_FDCWD));
    let of = |wanted: &'static str| {
        let paths = audit.of("PATH").filter(move |path| nametype(path) == wanted && !is_directory(path));
        paths.filter_map(|path| path.get("name")).map(move |name| absolute(name, directory))
    };
    let mut made: Vec<String> = of("CREATE").collect();
    let deleted: Vec<String> = of("DELETE").collect();
    let is_open = call.call().is_some_and(|name| name.starts_with("open") || name == "creat");
    if made.is_empty() && is_open {
        // With the flag that makes a file, but it was there before: it is written to.
        made = of("NORMAL").collect();
    }
    if made.is_empty() && deleted.is_empty() {
        return None;
    }
    if made.is_empty() {
        event.push("audit_event", "file_delete");
        deleted.into_iter().for_each(|name| event.push("TargetFilename", name));
        return Some(());
    }
    event.push("audit_event", "file_event");
    made.into_iter().for_each(|name| event.push("TargetFilename", name));
    deleted.into_iter().for_each(|name| event.push("SourceFilename", name));
    Some(())
}

/// The other end of a connection.
fn connection(audit: &AuditEvent, event: &mut Event<'static>) -> Option<()> {
    let socket = audit.of("SOCKADDR").find(|record| is_network(record))?;
    let address = socket.get("addr").or_else(|| socket.get("laddr"))?;
    let port = socket.get("port").or_else(|| socket.get("lport"));
    let is_six = address.contains(':');
    // An IPv4 address in the clothes of IPv6.
    let plain = address.strip_prefix("::ffff:").filter(|rest| rest.contains('.'));
    let is_six = is_six && plain.is_none();
    let incoming = is_incoming(audit.call()?);
    event.push("audit_event", "network_connection");
    event.push("Initiated", if incoming { "false" } else { "true" });
    let names = match incoming {
        true => ["SourceIp", "SourcePort", "SourceIsIpv6"],
        false => ["DestinationIp", "DestinationPort", "DestinationIsIpv6"],
    };
    event.push(names[0], plain.unwrap_or(address).to_owned());
    if let Some(port) = port {
        event.push(names[1], port.to_owned());
    }
    event.push(names[2], if is_six { "true" } else { "false" });
    Some(())
}
