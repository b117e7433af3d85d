//! What is wrong with something that was given to us, told so that a person can act on it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A fault in a rule, a mapping or a record. It never stops the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// File the fault stands in, as the user named it; empty where there is none.
    pub path: String,
    /// 1-based line in `path`; 0 where it is not known.
    pub line: usize,
    /// Rule id or title where one is known, else empty.
    pub subject: String,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it, where that can be said.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}", self.path)?;
            if self.line > 0 {
                write!(f, ":{}", self.line)?;
            }
            write!(f, ": ")?;
        }
        if !self.subject.is_empty() {
            write!(f, "`{}`: ", self.subject)?;
        }
        write!(f, "{}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}
