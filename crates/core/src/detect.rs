//! The whole way of one record: recognise, match, explain. What `scan` and `run` call.

use crate::alert::{Detection, Origin};
use crate::engine::{self, Engine};
use crate::otel::{AuditEvent, AuditRecord, Buffers, Event, LogRecord, Taxonomy};
use crate::rule::Rule;
use std::sync::Arc;

/// Rules and mapping compiled together. Immutable and shared between threads.
#[derive(Debug)]
pub struct Detector {
    taxonomy: Taxonomy,
    engine: Engine,
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
        let engine = Engine::compile(rules, &taxonomy.classes);
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
        let mut outcome = Outcome::default();
        let Scratch { buffers, engine } = scratch;
        self.taxonomy.recognise_in(buffers, record, &mut |event| {
            self.run(record, event, engine, out);
            outcome.audit.extend(AuditRecord::all(event, record, &ORIGIN_RESOURCES));
            outcome.recognised |= event.class.is_some();
            outcome.fault = outcome.fault.take().or_else(|| event.fault.take());
        });
        outcome
    }

    /// Appends the detections of an event that was put together from audit records.
    pub fn detect_audit(&self, audit: &AuditEvent, scratch: &mut Scratch, out: &mut Vec<Detection>) {
        if let Some(event) = self.taxonomy.audit_event(audit) {
            self.run(&audit.row.record(), &event, &mut scratch.engine, out);
        }
    }

    fn run(
        &self,
        record: &LogRecord<'_>,
        event: &Event<'_>,
        scratch: &mut engine::Scratch,
        out: &mut Vec<Detection>,
    ) {
        let hits = self.engine.run(event, scratch).to_vec();
        if hits.is_empty() {
            return;
        }
        let origin = origin(record, event);
        for hit in hits {
            let fields = self.engine.evidence(event, scratch, hit);
            out.push(detection(&self.engine.rules()[hit.rule], fields, &origin, event));
        }
    }
}

fn detection(
    rule: &Rule,
    mut fields: Vec<(String, String)>,
    origin: &Origin,
    event: &Event<'_>,
) -> Detection {
    fields.truncate(Detection::FIELDS_MAX);
    for (_, value) in &mut fields {
        cut(value, Detection::VALUE_BYTES_MAX);
    }
    let excerpt = event.source[..floor(&event.source, Detection::EXCERPT_BYTES_MAX)].to_owned();
    Detection { rule: Arc::clone(&rule.info), origin: origin.clone(), fields, excerpt }
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
