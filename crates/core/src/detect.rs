//! The whole way of one record: recognise, match, explain. What `scan` and `run` call.

use crate::alert::Detection;
use crate::engine::{Engine, Scratch};
use crate::otel::{Event, LogRecord, Taxonomy};
use crate::problem::Problem;
use crate::rule::Rule;

/// Rules and mapping compiled together. Immutable and shared between threads.
#[derive(Debug)]
pub struct Detector {
    taxonomy: Taxonomy,
    engine: Engine,
}

/// What became of one record, besides its detections.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Outcome {
    /// Whether a class of the taxonomy wanted it.
    pub recognised: bool,
    /// What was wrong with the record, if anything.
    pub fault: Option<String>,
}

impl Detector {
    /// Compiles. Rules that cannot be compiled are in the second part and the others go on.
    pub fn new(rules: Vec<Rule>, taxonomy: Taxonomy) -> (Detector, Vec<Problem>) {
        let (engine, problems) = Engine::compile(rules, &taxonomy);
        (Detector { taxonomy, engine }, problems)
    }

    /// The compiled rules.
    pub fn rules(&self) -> &[Rule] {
        self.engine.rules()
    }

    /// Appends the detections of one record, in the order of the rules. `scratch` is one thread's
    /// working memory, reused from record to record.
    pub fn detect(&self, record: &LogRecord<'_>, scratch: &mut Scratch, out: &mut Vec<Detection>) -> Outcome {
        let mut event = Event::default();
        self.taxonomy.recognise(record, &mut event);
        self.engine.run(record, &event, scratch, out);
        Outcome { recognised: event.class.is_some(), fault: event.fault }
    }
}
