//! Regular expressions of rules, checked when the rule is read and compiled when first run.

use super::found::Finder;
use regex_syntax::hir::Hir;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Upper bound of a compiled regular expression, bytes; a rule beyond it is rejected. Classes such as
/// `\w` are large in Unicode: SigmaHQ has `\w{1,64}`.
const REGEX_BYTES_MAX: usize = 10 << 20;

/// A regular expression that runs in linear time. Clones share what was compiled. Most are never run,
/// for want of a literal that they need, and a compiled one takes up to megabytes.
#[derive(Clone, Serialize, Deserialize)]
pub struct Expression {
    /// The expression, in the syntax of the `regex` crate.
    pub pattern: String,
    /// `i`, `m`, `s` as far as they are set.
    pub flags: String,
    #[serde(skip)]
    compiled: Arc<OnceLock<Option<regex::Regex>>>,
    /// `None` where only the whole expression can tell.
    #[serde(skip)]
    finder: Arc<OnceLock<Option<Finder>>>,
}

impl Expression {
    /// Compiles. The error says what the `regex` crate rejects.
    pub fn new(pattern: String, flags: String) -> Result<Expression, String> {
        let checked = compile(&pattern, &flags);
        checked.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("the regular expression '{pattern}' is too large when compiled")
            }
            error => {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
                format!("the regular expression '{pattern}' cannot be used: {reason}")
            }
        })?;
        Ok(Expression { pattern, flags, compiled: Arc::default(), finder: Arc::default() })
    }

    /// What it means; `None` where it was not made by [`Expression::new`] and is broken.
    pub fn parsed(&self) -> Option<Hir> {
        let mut parser = regex_syntax::ParserBuilder::new();
        let is_set = |flag| self.flags.contains(flag);
        parser.case_insensitive(is_set('i')).multi_line(is_set('m')).dot_matches_new_line(is_set('s'));
        parser.build().parse(&self.pattern).ok()
    }

    /// Whether it is found anywhere in `text`, as [`Expression::is_match`] says, found out faster.
    pub fn is_found(&self, text: &str) -> bool {
        let finder = self.finder.get_or_init(|| Finder::new(&self.parsed()?, REGEX_BYTES_MAX).ok());
        finder.as_ref().map_or_else(|| self.is_match(text), |finder| finder.is_found(text))
    }

    /// Whether it is found anywhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.pattern, &self.flags).ok());
        compiled.as_ref().is_some_and(|compiled| compiled.is_match(text))
    }
}

fn compile(pattern: &str, flags: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(pattern)
        .case_insensitive(flags.contains('i'))
        .multi_line(flags.contains('m'))
        .dot_matches_new_line(flags.contains('s'))
        .size_limit(REGEX_BYTES_MAX)
        .build()
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.pattern == other.pattern && self.flags == other.flags
    }
}

/// As rules are printed: `/pattern/flags`.
impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/{}", self.pattern, self.flags)
    }
}
