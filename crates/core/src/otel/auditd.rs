//! One record of the Linux audit log: `type=EXECVE msg=audit(1785924930.123:4567): argc=2 …`.
//!
//! Sigma's `auditd` rules are written for single records, so each is an event of its own; putting
//! the records of one event together is the business of [`super::audit_event`]. Fields that the kernel writes in
//! hexadecimal, because a user may choose their content, are decoded; the translated fields of
//! `log_format=ENRICHED` (`UID="root"`) keep their upper-case names beside the raw ones.

use super::audit_event::laurel;
use super::event::Event;
use super::syscalls;
use crate::value::Value;
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// More fields than this are not read from one record.
const FIELDS_MAX: usize = 1000;

/// Between the raw and the translated half of an enriched record.
const ENRICHED: char = '\x1d';

/// The head of a record, and the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Head<'t> {
    /// Host that `node=` names; empty where it does not.
    pub node: &'t str,
    /// Name of the record's type.
    pub kind: &'t str,
    /// `seconds.milliseconds:serial`, the same for all records of one event.
    pub id: &'t str,
    /// The fields.
    pub fields: &'t str,
    /// The record without its node and the kernel's header.
    pub record: &'t str,
}

/// Takes a record apart; `None` if `text` is none.
pub(super) fn head(text: &str) -> Option<Head<'_>> {
    let text = text.trim_start();
    // The kernel's own form in syslog: `[49787.970285] audit: type=1400 audit(…): …`.
    let text = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(text, |(_, rest)| rest);
    let text = text.strip_prefix("audit: ").unwrap_or(text);
    let (node, record) = match text.strip_prefix("node=") {
        Some(rest) => rest.split_once(' ')?,
        None => ("", text),
    };
    let (kind, rest) = record.strip_prefix("type=")?.split_once(' ')?;
    let rest = rest.strip_prefix("msg=").unwrap_or(rest).strip_prefix("audit(")?;
    let (id, fields) = rest.split_once(')')?;
    let fields = fields.strip_prefix(':').unwrap_or(fields);
    Some(Head { node, kind: type_name(kind), id, fields, record })
}

/// Decodes `text` into `event` if it is an audit record. Returns the host that `node=` names.
pub(super) fn decode<'t>(text: &'t str, event: &mut Event<'t>) -> Option<&'t str> {
    let head = head(text)?;
    event.push("type", head.kind);
    event.push("audit_id", head.id);
    decode_fields(head.kind, head.fields, event);
    if is_part(head.kind) {
        event.audit.push(Cow::Borrowed(head.record));
    }
    Some(head.node)
}

/// Whether records of this type say what process, file or connection an event is about, so that
/// they are wanted for putting it together.
fn is_part(kind: &str) -> bool {
    let is_kernels = matches!(kind, "SYSCALL" | "EXECVE" | "CWD" | "PATH" | "SOCKADDR" | "PROCTITLE");
    is_kernels || matches!(kind, "AUOMS_EXECVE" | "AUOMS_SYSCALL" | laurel::PARENT)
}

/// Decodes the fields of a record of type `kind`.
pub(super) fn decode_fields<'t>(kind: &str, text: &'t str, event: &mut Event<'t>) {
    let first = event.fields.len();
    let (raw, enriched) = text.split_once(ENRICHED).unwrap_or((text, ""));
    let form = Form { kind, first, is_joined: true };
    pairs(form, raw, event, 0);
    pairs(form, enriched, event, 0);
    let value = |name: &str| {
        let of_name = event.fields[first..].iter().find(|(field, _)| field == name);
        of_name.map(|(_, value)| value.clone()).filter(|value| *value != Value::Null)
    };
    let is_translated = value("SYSCALL").is_some();
    let address = value("saddr").filter(|_| !enriched.contains("laddr="));
    if !is_translated
        && let (Some(number), Some(arch)) = (value("syscall"), value("arch"))
        && let (Some(number), Some(arch)) = (number.text(), arch.text())
        && let Ok(number) = number.parse()
        && let Some(name) = syscalls::name(&arch, number)
    {
        event.push("SYSCALL", name);
    }
    if let Some(address) = address.as_ref().and_then(Value::text) {
        push_address(&address, event);
    }
}

/// The arguments of an `EXECVE` record by number and, where one is written in pieces, by piece
/// (`a1[0]=…`, `a1[1]=…`), which may go on in another record of the same event.
pub(super) fn arguments(fields: &str) -> Vec<((u32, u32), String)> {
    let mut event = Event::default();
    let raw = fields.split_once(ENRICHED).map_or(fields, |(raw, _)| raw);
    pairs(Form { kind: "EXECVE", first: 0, is_joined: false }, raw, &mut event, 0);
    let mut arguments = vec![];
    for (name, value) in event.fields {
        let Some(name) = name.strip_prefix('a') else { continue };
        let (number, piece) = match name.split_once('[') {
            Some((number, piece)) => (number, piece.trim_end_matches(']')),
            None => (name, "0"),
        };
        if let (Ok(number), Ok(piece), Some(text)) = (number.parse(), piece.parse(), value.text()) {
            arguments.push(((number, piece), text.into_owned()));
        }
    }
    arguments
}

/// How a record's pairs are read.
#[derive(Clone, Copy)]
struct Form<'k> {
    /// Type of the record.
    kind: &'k str,
    /// Index of the record's first field in the event.
    first: usize,
    /// Whether the pieces of a long argument are joined.
    is_joined: bool,
}

/// The parts of a `struct sockaddr`, written in hexadecimal: family in the machine's byte order,
/// then port and address in the network's, or a path.
fn push_address(saddr: &str, event: &mut Event<'_>) {
    let Some(bytes) = bytes_of(saddr) else { return };
    let port = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]).to_string();
    match bytes.as_slice() {
        [2, 0, _, _, a, b, c, d, ..] => {
            event.push("family", "ipv4");
            event.push("port", port(&bytes));
            event.push("addr", Ipv4Addr::new(*a, *b, *c, *d).to_string());
        }
        [10, 0, _, _, _, _, _, _, rest @ ..] => {
            let Some(address) = rest.first_chunk::<16>() else { return };
            event.push("family", "ipv6");
            event.push("port", port(&bytes));
            event.push("addr", Ipv6Addr::from(*address).to_string());
        }
        [1, 0, path @ ..] => {
            // An abstract socket's name begins with NUL.
            let path = path.strip_prefix(&[0]).unwrap_or(path);
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            event.push("family", "unix");
            event.push("path", String::from_utf8_lossy(path).into_owned());
        }
        [16, 0, ..] => event.push("family", "netlink"),
        [family, 0, ..] => event.push("family", family.to_string()),
        _ => {}
    }
}

/// Reads `key=value` pairs; words without `=` are passed over.
fn pairs<'t>(form: Form<'_>, text: &'t str, event: &mut Event<'t>, depth: usize) {
    let mut rest = text;
    while event.fields.len() - form.first < FIELDS_MAX {
        rest = rest.trim_start_matches([' ', ',', '\n']);
        let Some(end) = memchr::memchr2(b'=', b' ', rest.as_bytes()) else { return };
        if rest.as_bytes()[end] == b' ' {
            rest = &rest[end + 1..];
            continue;
        }
        let key = &rest[..end];
        rest = &rest[end + 1..];
        if let Some((value, after)) = unquoted_end(form.kind, key, rest) {
            push(form, key, Cow::Borrowed(value), event);
            rest = after;
            continue;
        }
        let quote = rest.bytes().next().filter(|b| matches!(b, b'"' | b'\''));
        let Some(quote) = quote else {
            let end = memchr::memchr(b' ', rest.as_bytes()).unwrap_or(rest.len());
            plain(form, key, &rest[..end], event);
            rest = &rest[end..];
            continue;
        };
        let inner = &rest[1..];
        let end = memchr::memchr(quote, inner.as_bytes()).unwrap_or(inner.len());
        let value = &inner[..end];
        rest = inner.get(end + 1..).unwrap_or("");
        match quote {
            // `msg='op=login acct="bob" …'` of messages from user space.
            b'\'' if key == "msg" && depth == 0 => pairs(form, value, event, depth + 1),
            _ => push(form, key, Cow::Borrowed(value), event),
        }
    }
}

/// The command line of Azure's agent (`type=AUOMS_EXECVE … cmdline="a "b c"" redactors= …`), whose
/// inner quotes are not escaped, so that only the field behind it tells its end.
fn unquoted_end<'t>(kind: &str, key: &str, rest: &'t str) -> Option<(&'t str, &'t str)> {
    if !kind.starts_with("AUOMS_") || !matches!(key, "cmdline" | "proctitle") {
        return None;
    }
    let (value, after) = rest.split_once(" redactors=")?;
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some((inner.unwrap_or(value), after))
}

/// An unquoted value: nothing, hexadecimal, or a word.
fn plain<'t>(form: Form<'_>, key: &'t str, value: &'t str, event: &mut Event<'t>) {
    if value == "(null)" {
        event.push(key, Value::Null);
        return;
    }
    let text = if is_encoded(form.kind, key) { hex(value) } else { None };
    let Some(text) = text else {
        return push(form, key, Cow::Borrowed(value), event);
    };
    match key {
        // Several keys of one rule are joined with this character.
        "key" => {
            for key in text.split('\u{1}') {
                event.push("key", key.to_owned());
            }
        }
        _ => push(form, key, Cow::Owned(text), event),
    }
}

/// Adds a field; the pieces of a long argument (`a1[0]=…`, `a1[1]=…`) become one.
fn push<'t>(form: Form<'_>, key: &'t str, value: Cow<'t, str>, event: &mut Event<'t>) {
    let Some((name, _)) = key.split_once('[').filter(|_| form.is_joined) else {
        event.push(key, value);
        return;
    };
    let earlier = event.fields[form.first..].iter_mut().find(|(field, _)| field == name);
    match earlier {
        Some((_, Value::Str(text))) => text.to_mut().push_str(&value),
        _ => event.push(name, value),
    }
}

/// Whether the kernel or `auditd` writes this field in hexadecimal when it holds blanks, quotes or
/// control characters (audit-userspace `auparse`, fields of type *escaped*).
pub(super) fn is_encoded(kind: &str, key: &str) -> bool {
    let is_argument = || {
        let number = key.strip_prefix('a').unwrap_or("").split('[').next().unwrap_or("");
        kind == "EXECVE" && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let name = matches!(
        key,
        "proctitle"
            | "comm"
            | "exe"
            | "name"
            | "cwd"
            | "path"
            | "cmd"
            | "cmdline"
            | "acct"
            | "data"
            | "dir"
            | "file"
            | "key"
            | "watch"
            | "ocomm"
            | "old-disk"
            | "new-disk"
            | "vm"
            | "device"
            | "root_dir"
            | "profile"
            | "cgroup"
    );
    name || is_argument()
}

/// Text from upper-case hexadecimal. NUL bytes separate the words of a command line.
fn hex(value: &str) -> Option<String> {
    let mut bytes = bytes_of(value)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    for byte in bytes.iter_mut().filter(|byte| **byte == 0) {
        *byte = b' ';
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The bytes of upper-case hexadecimal, as the kernel writes it.
fn bytes_of(value: &str) -> Option<Vec<u8>> {
    let digits = value.as_bytes();
    let is_hex = |b: &u8| b.is_ascii_digit() || (b'A'..=b'F').contains(b);
    if digits.len() < 2 || !digits.len().is_multiple_of(2) || !digits.iter().all(is_hex) {
        return None;
    }
    let digit = |b: u8| if b.is_ascii_digit() { b - b'0' } else { b - b'A' + 10 };
    Some(digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
}

/// Names of the record types that the kernel writes by number (linux/audit.h).
fn type_name(kind: &str) -> &str {
    match kind {
        "1112" => "USER_LOGIN",
        "1300" => "SYSCALL",
        "1302" => "PATH",
        "1305" => "CONFIG_CHANGE",
        "1306" => "SOCKADDR",
        "1307" => "CWD",
        "1309" => "EXECVE",
        "1326" => "SECCOMP",
        "1327" => "PROCTITLE",
        "1400" => "AVC",
        kind => kind,
    }
}

#[cfg(test)]
mod tests;
