//! Ways in which a server fails, for tests of how the service bears it.

use std::sync::Mutex;
use std::time::Duration;

use crate::http::lock;

/// One way to fail, with the requests it befalls.
#[derive(Debug, Clone)]
pub struct Fault {
    kind: Kind,
    /// Only requests whose SQL holds this text; empty: all, `/ping` too.
    matching: String,
    /// How many more requests it befalls; none: all.
    times: Option<u32>,
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Drop,
    Delay(Duration),
    Cut { at: At, ended_by: EndedBy },
    Error { status: u16, code: u32, message: String },
}

/// Where an answer breaks off.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    Bytes(usize),
    Half,
}

/// What tells the end of an answer, and is missing where it breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The last chunk, as ClickHouse does.
    Chunk,
    /// `Content-Length`.
    Length,
    /// The end of the connection, as HTTP/1.0 has it: the break looks like the end.
    Connection,
}

impl Fault {
    fn new(kind: Kind) -> Self {
        Self { kind, matching: String::new(), times: None }
    }

    /// The connection closes without an answer.
    #[must_use]
    pub fn refuse() -> Self {
        Self::new(Kind::Drop)
    }

    /// The answer comes late.
    #[must_use]
    pub fn delay(by: Duration) -> Self {
        Self::new(Kind::Delay(by))
    }

    /// The answer breaks off after so many bytes of its body.
    #[must_use]
    pub fn cut(after_bytes: usize) -> Self {
        Self::new(Kind::Cut { at: At::Bytes(after_bytes), ended_by: EndedBy::Chunk })
    }

    /// The answer breaks off in the middle of its body: of an even number of rows of equal length, exactly
    /// between two.
    #[must_use]
    pub fn cut_in_half(ended_by: EndedBy) -> Self {
        Self::new(Kind::Cut { at: At::Half, ended_by })
    }

    /// A ClickHouse exception with status 500, e.g. code 241 `MEMORY_LIMIT_EXCEEDED`.
    #[must_use]
    pub fn exception(code: u32, message: &str) -> Self {
        Self::new(Kind::Error { status: 500, code, message: message.to_owned() })
    }

    /// Befalls only so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Befalls only requests whose SQL holds `text`.
    #[must_use]
    pub fn matching(mut self, text: &str) -> Self {
        text.clone_into(&mut self.matching);
        self
    }
}

/// The faults in force.
#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(super) fn add(&self, fault: Fault) {
        lock(&self.0).push(fault);
    }

    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// What befalls a request with this SQL; counts it. The first fault that fits wins.
    pub(super) fn next(&self, sql: &str) -> Option<Kind> {
        let mut faults = lock(&self.0);
        let at = faults.iter().position(|f| sql.contains(&f.matching) && f.times != Some(0))?;
        if let Some(times) = &mut faults[at].times {
            *times -= 1;
        }
        Some(faults[at].kind.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_befalls_what_it_names_as_often_as_it_says() {
        let faults = Faults::default();
        faults.add(Fault::refuse().matching("logs_v2").times(2));
        assert!(faults.next("SELECT 1").is_none());
        assert!(faults.next("SELECT 1 FROM logs_v2").is_some());
        assert!(faults.next("SELECT 2 FROM logs_v2").is_some());
        assert!(faults.next("SELECT 3 FROM logs_v2").is_none());
    }
}
