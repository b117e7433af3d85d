//! All rules compiled together.

use crate::alert::Detection;
use crate::otel::{Event, LogRecord, Taxonomy};
use crate::problem::Problem;
use crate::rule::Rule;

/// Compiled rules.
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Rule>,
}

/// One thread's working memory.
#[derive(Debug, Default)]
pub struct Scratch {}

impl Engine {
    /// Compiles.
    pub fn compile(rules: Vec<Rule>, _taxonomy: &Taxonomy) -> (Engine, Vec<Problem>) {
        (Engine { rules }, vec![])
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Appends the detections of `event`.
    pub fn run(
        &self,
        _record: &LogRecord<'_>,
        _event: &Event<'_>,
        _scratch: &mut Scratch,
        _out: &mut Vec<Detection>,
    ) {
    }
}
