//! The whole way of one record: recognise, match, explain. What `scan` and `run` call.

use crate::alert::{Content, Detection, Identity, Origin};
use crate::engine::{self, Engine, Hit, Options};
use crate::otel::{Asks, AuditEvent, AuditRecord, Buffers, ClassId, Event, LogRecord, Taxonomy};
use crate::review::{Review, review};
use crate::rule::Rule;
use crate::spec::{self, MatchedFields, Seen};
use std::cell::OnceCell;
use std::iter::repeat_n;
use std::sync::Arc;

/// Rules and mapping compiled together. Immutable and shared between threads.
#[derive(Debug)]
pub struct Detector {
    taxonomy: Taxonomy,
    engine: Engine,
}

impl Asks for Detector {
    fn number(&self) -> u64 {
        self.engine.number()
    }

    fn asks(&self, class: ClassId, event_id: Option<u32>, field: &str) -> bool {
        let is_told = || USER_FIELDS.contains(&field) || SRC_IP_FIELDS.contains(&field);
        self.decides(class, event_id, field) || (is_told() && self.engine.has_rules(class))
    }

    fn decides(&self, class: ClassId, event_id: Option<u32>, field: &str) -> bool {
        let event_id = event_id.map(|id| id.to_string());
        let known = event_id.as_deref().map(|id| ("eventid", id));
        self.engine.asks(class, known, field)
    }

    fn searches(&self, class: ClassId) -> bool {
        self.engine.searches(class)
    }

    fn may_find(&self, class: ClassId, texts: &[u8]) -> bool {
        self.engine.may_find(class, texts)
    }

    fn may_find_unfolded(&self, class: ClassId, texts: &[u8]) -> bool {
        self.engine.may_find_unfolded(class, texts)
    }

    fn may_find_in_numbers(&self, class: ClassId) -> bool {
        self.engine.may_find_in_numbers(class)
    }
}

/// What became of one record, besides its detections.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Outcome {
    /// Whether a class of the taxonomy wanted any event of it.
    pub recognised: bool,
    /// What was wrong with the record first, if anything.
    pub fault: Option<String>,
    /// Audit records in it, to be put together by an [`crate::otel::Assembler`].
    pub audit: Vec<AuditRecord>,
}

/// Where an event comes from.
struct Source<'a> {
    record: &'a LogRecord<'a>,
    /// The audit event that `record` is a row of, if the event was put together.
    audit: Option<&'a AuditEvent>,
    /// Number of the event in the record.
    number: u64,
    /// Hash of the content, once it is wanted.
    content: &'a OnceCell<Content>,
}

impl Source<'_> {
    fn identity(&self, rule: &Rule) -> Identity {
        let content = self.content.get_or_init(|| match self.audit {
            Some(audit) => Content::of_audit(audit),
            None => Content::of(self.record),
        });
        Identity::new(&rule.info.id, content, self.number)
    }
}

/// One thread's working memory, kept from record to record.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For decoding.
    buffers: Buffers,
    /// For matching.
    engine: engine::Scratch,
}

impl Detector {
    /// Compiles.
    pub fn new(rules: Vec<Rule>, taxonomy: Taxonomy) -> Detector {
        Detector::with_options(rules, taxonomy, Options::default())
    }

    /// [`Detector::new`] with some of the engine's optimisations left out.
    pub fn with_options(rules: Vec<Rule>, taxonomy: Taxonomy, options: Options) -> Detector {
        let engine = Engine::compile_with(rules, &taxonomy.classes, options);
        Detector { taxonomy, engine }
    }

    /// The compiled rules.
    pub fn rules(&self) -> &[Rule] {
        self.engine.rules()
    }

    /// The mapping.
    pub fn taxonomy(&self) -> &Taxonomy {
        &self.taxonomy
    }

    /// The compiled rules with their programs.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Appends the detections of one record, in the order of its events and of the rules. `scratch`
    /// is one thread's working memory, reused from record to record.
    pub fn detect(&self, record: &LogRecord<'_>, scratch: &mut Scratch, out: &mut Vec<Detection>) -> Outcome {
        self.detect_reviewed(record, scratch, out, &mut ())
    }

    /// [`Detector::detect`]; the events that `review` wants are evaluated by definition as well, whose
    /// answer then counts.
    pub fn detect_reviewed(
        &self,
        record: &LogRecord<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<Detection>,
        review: &mut impl Review,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let Scratch { buffers, engine } = scratch;
        let (mut number, content) = (0, OnceCell::new());
        let each = &mut |event: &mut Event<'_>| {
            let source = Source { record, audit: None, number, content: &content };
            self.run(&source, event, engine, out, review);
            number += 1;
            outcome.audit.extend(AuditRecord::all(event, record, &ORIGIN_RESOURCES));
            outcome.recognised |= event.class.is_some();
            outcome.fault = outcome.fault.take().or_else(|| event.fault.take());
        };
        match self.engine.options().outlines {
            true => self.taxonomy.recognise_for(self, buffers, record, each),
            false => {
                buffers.forget();
                self.taxonomy.recognise_in(buffers, record, each);
            }
        }
        outcome
    }

    /// Appends the detections of an event that was put together from audit records.
    pub fn detect_audit(&self, audit: &AuditEvent, scratch: &mut Scratch, out: &mut Vec<Detection>) {
        self.detect_audit_reviewed(audit, scratch, out, &mut ());
    }

    /// [`Detector::detect_audit`], reviewed as in [`Detector::detect_reviewed`].
    pub fn detect_audit_reviewed(
        &self,
        audit: &AuditEvent,
        scratch: &mut Scratch,
        out: &mut Vec<Detection>,
        review: &mut impl Review,
    ) {
        if let Some(mut event) = self.taxonomy.audit_event(audit) {
            let (record, content) = (audit.row.record(), OnceCell::new());
            let source = Source { record: &record, audit: Some(audit), number: 0, content: &content };
            self.run(&source, &mut event, &mut scratch.engine, out, review);
        }
    }

    /// The rules that match an event which was decoded for this detector, in their order. Of an event without
    /// any it is said that nothing comes of it, so that its like need not be matched again.
    pub fn hits<'s>(&self, event: &mut Event<'_>, scratch: &'s mut engine::Scratch) -> &'s [Hit] {
        if event.is_quiet {
            return &[];
        }
        let hits = self.engine.run(event, scratch);
        event.is_quiet = hits.is_empty() && self.engine.options().quiet;
        hits
    }

    /// Evaluates one event of a record.
    fn run(
        &self,
        source: &Source<'_>,
        event: &mut Event<'_>,
        scratch: &mut engine::Scratch,
        out: &mut Vec<Detection>,
        review: &mut impl Review,
    ) {
        let hits = self.hits(event, scratch).to_vec();
        if event.class.is_some() && review.wants(source.record, event, source.number) {
            return self.run_reviewed(source, event, &hits, scratch, out, review);
        }
        if hits.is_empty() {
            return;
        }
        let origins = repeat_n(origin(source.record, event), hits.len());
        for (hit, origin) in hits.into_iter().zip(origins) {
            let fields = self.engine.evidence(event, scratch, hit);
            out.push(detection(&self.engine.rules()[hit.rule], fields, origin, source, event));
        }
    }

    /// The same event with all its fields; `None` where the document is broken in one that nobody asks
    /// for, so that it cannot be read as a whole.
    fn whole(&self, source: &Source<'_>, event: &Event<'_>) -> Option<Event<'static>> {
        let mut events = self.taxonomy.events(source.record).into_iter();
        let whole = events.nth(usize::try_from(source.number).ok()?)?;
        (whole.class == event.class && whole.fault.is_none()).then(|| whole.into_owned())
    }

    /// Holds `hits` against the definition and appends the detections as that has them.
    fn run_reviewed(
        &self,
        source: &Source<'_>,
        event: &Event<'_>,
        hits: &[Hit],
        scratch: &mut engine::Scratch,
        out: &mut Vec<Detection>,
        review: &mut impl Review,
    ) {
        let rules = self.engine.rules();
        let Some(class) = event.class.and_then(|id| self.engine.classes().get(usize::from(id.0))) else {
            return;
        };
        // The definition is asked of the whole event, of which only what rules ask for was decoded.
        let whole = source.audit.is_none().then(|| self.whole(source, event)).flatten();
        let whole = whole.as_ref().unwrap_or(event);
        let (matched, differences) = self::review(rules, class, whole, hits);
        review.done(&differences);
        let origins = repeat_n(origin(source.record, whole), matched.len());
        for (matched, origin) in matched.into_iter().zip(origins) {
            let rule = &rules[matched.rule];
            let fields = match matched.hit {
                Some(hit) => self.engine.evidence(event, scratch, hit),
                None => spec::evidence(rule, &Seen::new(whole, matched.view)),
            };
            out.push(detection(rule, fields, origin, source, event));
        }
    }
}

fn detection(
    rule: &Rule,
    mut fields: MatchedFields,
    origin: Origin,
    source: &Source<'_>,
    event: &Event<'_>,
) -> Detection {
    fields.truncate(Detection::FIELDS_MAX);
    for (_, value) in &mut fields {
        cut(value, Detection::VALUE_BYTES_MAX);
    }
    let excerpt = event.source[..floor(&event.source, Detection::EXCERPT_BYTES_MAX)].to_owned();
    let (rule, identity) = (Arc::clone(&rule.info), source.identity(rule));
    Detection { rule, origin, fields, excerpt, identity, insert: None }
}

/// Native field names that say who acted, the likelier first.
const USER_FIELDS: [&str; 27] = [
    "User",
    "SubjectUserName",
    "TargetUserName",
    "user.name",
    "AUID",
    "user",
    "cs-username",
    "userIdentity.userName",
    "acct",
    "ecs.user",
    "user.name",
    "process.user.name",
    "user.username",
    "userIdentity.arn",
    "properties.initiatedBy.user.userPrincipalName",
    "initiatedBy.user.userPrincipalName",
    "properties.userPrincipalName",
    "userPrincipalName",
    "protoPayload.authenticationInfo.principalEmail",
    "UserId",
    "actor.alternateId",
    "actor.email",
    "actor_user_name",
    "actor",
    "caller",
    "user.email",
    "columns.username",
];
/// Native field names that say from where.
const SRC_IP_FIELDS: [&str; 20] = [
    "IpAddress",
    "SourceIp",
    "c-ip",
    "src_ip",
    "source.address",
    "client.address",
    "sourceIPAddress",
    "addr",
    "rhost",
    "source.ip",
    "callerIpAddress",
    "properties.ipAddress",
    "ipAddress",
    "protoPayload.requestMetadata.callerIp",
    "client.ipAddress",
    "sourceIPs",
    "ClientIP",
    "ipaddr",
    "actor_ip",
    "src_host",
];

/// Resource attributes of which [`Origin`] tells.
const ORIGIN_RESOURCES: [&str; 5] =
    ["service.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name", "container.name"];

fn origin(record: &LogRecord<'_>, event: &Event<'_>) -> Origin {
    let first = |names: &[&str]| {
        let values = names.iter().filter_map(|name| event.field(name)).filter_map(|value| value.text());
        let mut told = values.filter(|text| !matches!(text.trim(), "" | "-" | "?" | "unset"));
        told.next().map(|text| bounded(&text)).unwrap_or_default()
    };
    let resource = |name: &str| record.resource(name).map(bounded).unwrap_or_default();
    let container = resource("k8s.container.name");
    Origin {
        record_id: bounded(&record.id),
        timestamp_ns: record.timestamp_ns,
        host: bounded(&event.host),
        user: first(&USER_FIELDS),
        src_ip: first(&SRC_IP_FIELDS),
        service: resource("service.name"),
        k8s_namespace: resource("k8s.namespace.name"),
        k8s_pod: resource("k8s.pod.name"),
        container: if container.is_empty() { resource("container.name") } else { container },
        trace_id: bounded(&record.trace_id),
    }
}

/// An identifying text is never longer than this, bytes.
const NAME_BYTES_MAX: usize = 256;

fn bounded(text: &str) -> String {
    text[..floor(text, NAME_BYTES_MAX)].to_owned()
}

fn cut(text: &mut String, bytes: usize) {
    text.truncate(floor(text, bytes));
}

/// The largest character boundary not beyond `bytes`.
fn floor(text: &str, bytes: usize) -> usize {
    text.floor_char_boundary(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review::Difference;

    /// Wants every event and remembers what differed.
    #[derive(Default)]
    struct Always {
        events: usize,
        differences: Vec<(String, String, bool)>,
    }

    impl Review for Always {
        fn wants(&mut self, _: &LogRecord<'_>, _: &Event<'_>, _: u64) -> bool {
            self.events += 1;
            true
        }
        fn done(&mut self, differences: &[Difference<'_>]) {
            let told = |d: &Difference<'_>| (d.rule.info.title.clone(), d.class.to_owned(), d.right);
            self.differences.extend(differences.iter().map(told));
        }
    }

    fn detector() -> Detector {
        let rule = |title: &str, value: &str| {
            format!(
                "title: {title}\nlogsource: {{product: windows, service: security}}\ndetection:\n  s:\n    \
                 TargetUserName: {value}\n  condition: s\n"
            )
        };
        let text = [rule("A", "bob"), rule("B", "eve"), rule("C", "bob")].join("---\n");
        let (rules, problems) = crate::rule::load("t.yml", &text);
        assert_eq!(problems, []);
        Detector::new(rules, Taxonomy::builtin().unwrap())
    }

    const BODY: &str = r#"{"channel":"Security","computer":"w","event_id":{"id":4624},"event_data":{"TargetUserName":"bob"}}"#;

    fn titles(found: &[Detection]) -> Vec<&str> {
        found.iter().map(|detection| detection.rule.title.as_str()).collect()
    }

    #[test]
    fn a_review_of_right_answers_changes_nothing() {
        let detector = detector();
        let record = LogRecord { body: BODY.into(), ..LogRecord::default() };
        let (mut plain, mut reviewed, mut review) = (vec![], vec![], Always::default());
        detector.detect(&record, &mut Scratch::default(), &mut plain);
        detector.detect_reviewed(&record, &mut Scratch::default(), &mut reviewed, &mut review);
        assert_eq!(titles(&plain), ["A", "C"]);
        assert_eq!(plain, reviewed);
        assert_eq!((review.events, review.differences), (1, vec![]));
    }

    #[test]
    fn where_the_engine_is_wrong_the_definition_counts() {
        let detector = detector();
        let record = LogRecord { body: BODY.into(), ..LogRecord::default() };
        let event = detector.taxonomy().events(&record).remove(0);
        let mut scratch = engine::Scratch::default();
        let mut wrong = detector.engine().run(&event, &mut scratch).to_vec();
        // The engine is made to miss A and to find B.
        wrong[0].rule = 1;
        let (mut found, mut review) = (vec![], Always::default());
        let content = OnceCell::new();
        let source = Source { record: &record, audit: None, number: 0, content: &content };
        detector.run_reviewed(&source, &event, &wrong, &mut scratch, &mut found, &mut review);
        assert_eq!(titles(&found), ["A", "C"]);
        assert_eq!(found[0].fields, [("TargetUserName".into(), "bob".to_owned())]);
        let class = detector.engine().classes()[usize::from(event.class.unwrap().0)].name.clone();
        assert_eq!(review.differences, [("A".into(), class.clone(), true), ("B".into(), class, false)]);
    }

    #[test]
    fn an_event_that_differs_in_nothing_that_decides_is_not_decoded_again() {
        let detector = detector();
        let mut scratch = Scratch::default();
        let mut read = |user: &str, id: u32| {
            let body = BODY
                .replace("bob", user)
                .replace("4624", "4625")
                .replace("\"computer\"", &format!("\"record_id\":{id},\"computer\""));
            let record = LogRecord { body: body.into(), ..LogRecord::default() };
            let Scratch { buffers, engine } = &mut scratch;
            let mut found = (0, 0, None);
            detector.taxonomy().recognise_for(&detector, buffers, &record, &mut |event| {
                let fields = event.fields.len();
                found = (fields, detector.hits(event, engine).len(), event.class);
            });
            (found.0 > 0, found.1, found.2.is_some())
        };
        // The first teaches the outline.
        assert_eq!(read("ann", 1), (true, 0, true));
        assert_eq!(read("ann", 2), (true, 0, true));
        assert_eq!(read("ann", 3), (false, 0, true));
        assert_eq!(read("bob", 4), (true, 2, true));
        assert_eq!(read("bob", 5), (true, 2, true));
        assert_eq!(read("ann", 6), (false, 0, true));
    }

    #[test]
    fn events_of_which_nothing_comes_are_reviewed_all_the_same() {
        let detector = detector();
        let body = BODY.replace("bob", "ann");
        let record = LogRecord { body: body.into(), ..LogRecord::default() };
        let (mut scratch, mut found, mut review) = (Scratch::default(), vec![], Always::default());
        for _ in 0..4 {
            detector.detect_reviewed(&record, &mut scratch, &mut found, &mut review);
        }
        assert_eq!((found, review.events, review.differences), (vec![], 4, vec![]));
    }

    #[test]
    fn a_record_under_a_fresh_id_is_detected_as_the_same_and_equal_events_in_one_record_are_not() {
        let detector = detector();
        let found = |id: &'static str, body: String| {
            let record = LogRecord { id: id.into(), body: body.into(), ..LogRecord::default() };
            let mut found = vec![];
            detector.detect(&record, &mut Scratch::default(), &mut found);
            found.into_iter().map(|detection| detection.identity).collect::<Vec<_>>()
        };
        assert_eq!(found("1", BODY.into()), found("2", BODY.into()));
        let twice = found("1", format!("[{BODY},{BODY}]"));
        assert_eq!(twice.len(), 4);
        assert!((0..4).all(|at| !twice[..at].contains(&twice[at])), "{twice:?}");
    }
}
