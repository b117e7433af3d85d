//! The map from Sigma's log sources and fields to OpenTelemetry, read from `taxonomy/`.
//!
//! A file of `taxonomy/` speaks of *channels* (Windows events: channel and event id tell what it
//! is) or of *sources* (everything else: conditions tell). Both end as classes; the format is
//! described at the top of `taxonomy/windows.yaml` and `taxonomy/linux.yaml`.

use super::advice::{Advice, Uncarried};
use super::asks::Asks;
use super::audit_event::{self, AuditEvent};
use super::buffers::{Arena, Buffers};
use super::class::{Channels, Format, Found, Program};
use super::derive::Derive;
use super::event::{ClassId, Event};
use super::record::LogRecord;
use super::sources::Sources;
use super::{extend, file};
use crate::problem::Problem;
use crate::rule::LogSource;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// One of the log sources that a class belongs to, and what its rules call the fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// Sigma's name of it: product, category and service as far as they apply.
    pub logsource: LogSource,
    /// Sigma field → native field names, any of whose values count. A field not listed is looked
    /// up under its own name; an empty list says that this source cannot carry the field.
    pub fields: Arc<BTreeMap<String, Vec<String>>>,
    /// Whether the event repeats what other events have told: then rules that name neither category
    /// nor service do not apply, since they have seen those.
    pub is_repeat: bool,
}

impl View {
    /// Whether a rule of this log source applies to events of the view.
    pub fn takes(&self, rule: &LogSource) -> bool {
        let is_general = rule.category.is_none() && rule.service.is_none();
        rule.covers(&self.logsource) && !(self.is_repeat && is_general)
    }

    /// The native names under which a rule of this log source finds `field`.
    pub fn native<'s>(&'s self, field: &'s str) -> Vec<&'s str> {
        let names = self.fields.get(field).or_else(|| {
            let wanted = normal_name(field);
            self.fields.iter().find(|(name, _)| normal_name(name) == wanted).map(|(_, names)| names)
        });
        match names {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => vec![field],
        }
    }
}

/// A closed set of log sources: every event of the class belongs to all of `views` and to no other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Class {
    /// Readable name, such as `windows/sysmon/1`.
    pub name: String,
    /// The log sources.
    pub views: Vec<View>,
}

/// The loaded mapping.
#[derive(Debug, Clone, Default)]
pub struct Taxonomy {
    /// All classes; a [`ClassId`] is an index into this.
    pub classes: Vec<Class>,
    /// Log sources that no OpenTelemetry source can carry, with the reason.
    pub uncarried: Vec<Uncarried>,
    /// What to switch on where logs or fields do not arrive.
    pub advice: Vec<Advice>,
    /// Names of fields, as the views share them.
    names: Names,
    /// What is computed for the events of each class, by [`ClassId`].
    pub(super) derive: Vec<Vec<Derive>>,
    pub(super) channels: Channels,
    /// In the order in which they are tried.
    pub(super) programs: Vec<Program>,
    /// In the order in which they are tried.
    pub(super) sources: Sources,
}

/// Most classes: an id has 16 bits, and adding one compares it with all.
const CLASSES_MAX: usize = 8192;

/// The shipped files, in the order in which their sources are tried.
const BUILTIN: &[(&str, &str)] = &[
    ("taxonomy/windows.yaml", include_str!("../../../../taxonomy/windows.yaml")),
    ("taxonomy/windows-positions.yaml", include_str!("../../../../taxonomy/windows-positions.yaml")),
    ("taxonomy/rpc-firewall.yaml", include_str!("../../../../taxonomy/rpc-firewall.yaml")),
    // Before Linux, which takes every line of syslog: these write documents through it too.
    ("taxonomy/services.yaml", include_str!("../../../../taxonomy/services.yaml")),
    ("taxonomy/macos.yaml", include_str!("../../../../taxonomy/macos.yaml")),
    ("taxonomy/linux.yaml", include_str!("../../../../taxonomy/linux.yaml")),
    ("taxonomy/web.yaml", include_str!("../../../../taxonomy/web.yaml")),
    ("taxonomy/network.yaml", include_str!("../../../../taxonomy/network.yaml")),
    ("taxonomy/cloud.yaml", include_str!("../../../../taxonomy/cloud.yaml")),
    ("taxonomy/azure.yaml", include_str!("../../../../taxonomy/azure.yaml")),
    ("taxonomy/ecs.yaml", include_str!("../../../../taxonomy/ecs.yaml")),
    ("taxonomy/semconv.yaml", include_str!("../../../../taxonomy/semconv.yaml")),
    ("taxonomy/application.yaml", include_str!("../../../../taxonomy/application.yaml")),
    ("taxonomy/advice.yaml", include_str!("../../../../taxonomy/advice.yaml")),
];

impl Taxonomy {
    /// The mapping that ships with the product (`taxonomy/*.yaml`, compiled in).
    pub fn builtin() -> Result<Taxonomy, Problem> {
        Taxonomy::from_files(BUILTIN)
    }

    /// The shipped mapping, extended by the user's files: `(path, YAML text)` pairs, of which `path`
    /// is only used to name what is wrong. The user's programs and sources are tried first, their
    /// channels join the shipped product's, and their `fields` stand before all other native names.
    pub fn extended(user: &[(&str, &str)]) -> Result<Taxonomy, Problem> {
        match user.is_empty() {
            true => Taxonomy::builtin(),
            false => extend::read(user, BUILTIN),
        }
    }

    /// Reads `(path, YAML text)` pairs; `path` is only used to name what is wrong.
    pub fn from_files(files: &[(&str, &str)]) -> Result<Taxonomy, Problem> {
        let mut taxonomy = Taxonomy::default();
        for (path, text) in files {
            file::read(path, text, &mut taxonomy)?;
        }
        Ok(taxonomy)
    }

    /// Keeps equal names of fields once: hundreds of classes differ in other things.
    pub(super) fn share_fields(&mut self) {
        self.names.clear();
        for view in self.classes.iter_mut().flat_map(|class| &mut class.views) {
            share(&mut self.names, view);
        }
    }

    /// Decodes `record` and hands out each event in it: one as a rule, several where the body is a
    /// list of them (a CloudTrail file). Total: any bytes in, at least one event out.
    pub fn recognise(&self, record: &LogRecord<'_>, each: &mut dyn FnMut(&mut Event<'_>)) {
        self.recognise_in(&mut Buffers::default(), record, each);
    }

    /// The same in memory that is kept from record to record, which is faster.
    pub fn recognise_in(
        &self,
        buffers: &mut Buffers,
        record: &LogRecord<'_>,
        each: &mut dyn FnMut(&mut Event<'_>),
    ) {
        super::recognise::recognise(self, record, None, buffers, each);
    }

    /// The same for someone who asks for some fields only. Others may be missing, and what is broken in
    /// them goes unnoticed; host, class and texts are as ever.
    pub fn recognise_for(
        &self,
        asks: &dyn Asks,
        buffers: &mut Buffers,
        record: &LogRecord<'_>,
        each: &mut dyn FnMut(&mut Event<'_>),
    ) {
        super::recognise::recognise(self, record, Some(asks), buffers, each);
    }

    /// The events in `record`, collected.
    pub fn events(&self, record: &LogRecord<'_>) -> Vec<Event<'static>> {
        let mut events = vec![];
        self.recognise(record, &mut |event| events.push(std::mem::take(event).into_owned()));
        events
    }

    /// What an event of the audit system is to Sigma; `None` where no class wants it.
    pub fn audit_event(&self, audit: &AuditEvent) -> Option<Event<'static>> {
        let mut event = audit_event::event(audit)?;
        let found = Found { format: Format::AuditEvent, ..Found::default() };
        let row = audit.row.record();
        event.class = self.sources.find(&found, &row, &event, &Arena::new()).map(|(_, class)| class);
        event.class.is_some().then_some(event)
    }

    /// Adds a class and gives its id; sources that differ in nothing but their conditions share one.
    /// `None`: there are too many.
    pub(super) fn add(&mut self, mut class: Class, derive: Vec<Derive>) -> Option<ClassId> {
        class.views.iter_mut().for_each(|view| share(&mut self.names, view));
        let known = self.classes.iter().zip(&self.derive);
        if let Some(id) = { known }.position(|(other, steps)| *other == class && *steps == derive) {
            return Some(ClassId(id as u16));
        }
        if self.classes.len() >= CLASSES_MAX {
            return None;
        }
        self.classes.push(class);
        self.derive.push(derive);
        Some(ClassId((self.classes.len() - 1) as u16))
    }
}

/// The names of a view's fields.
type Names = HashSet<Arc<BTreeMap<String, Vec<String>>>>;

fn share(known: &mut Names, view: &mut View) {
    match known.get(&view.fields) {
        Some(same) => view.fields = Arc::clone(same),
        None => _ = known.insert(Arc::clone(&view.fields)),
    }
}

/// Field names are compared without letter case, blanks and underscores: Defender writes
/// `Threat Name` where rules say `ThreatName`, Sysmon 10 `SourceProcessGUID` where rules say
/// `SourceProcessGuid`.
pub fn normal_name(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, ' ' | '_')).flat_map(char::to_lowercase).collect()
}
