//! Regular expressions of rules, compiled once when the rule is read.

use std::fmt;
use std::sync::Arc;

/// Upper bound of a compiled regular expression, bytes; a rule beyond it is rejected. Classes such as
/// `\w` are large in Unicode: SigmaHQ has `\w{1,64}`.
const REGEX_BYTES_MAX: usize = 10 << 20;

/// A regular expression that runs in linear time. Clones share what was compiled.
#[derive(Clone)]
pub struct Expression {
    /// The expression, in the syntax of the `regex` crate.
    pub pattern: String,
    /// `i`, `m`, `s` as far as they are set.
    pub flags: String,
    compiled: Arc<regex::Regex>,
}

impl Expression {
    /// Compiles. The error says what the `regex` crate rejects.
    pub fn new(pattern: String, flags: String) -> Result<Expression, String> {
        let compiled = regex::RegexBuilder::new(&pattern)
            .case_insensitive(flags.contains('i'))
            .multi_line(flags.contains('m'))
            .dot_matches_new_line(flags.contains('s'))
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    format!("the regular expression '{pattern}' is too large when compiled")
                }
                error => {
                    let reason = error.to_string();
                    let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    format!("the regular expression '{pattern}' cannot be used: {reason}")
                }
            })?;
        Ok(Expression { pattern, flags, compiled: Arc::new(compiled) })
    }

    /// Whether it is found anywhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }
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
