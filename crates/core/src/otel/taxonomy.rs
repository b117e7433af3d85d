//! The map from Sigma's log sources and fields to OpenTelemetry, read from `taxonomy/`.

use super::event::{ClassId, Event};
use super::record::LogRecord;
use crate::problem::Problem;
use crate::rule::LogSource;
use std::collections::BTreeMap;

/// One of the log sources that a class belongs to, and what its rules call the fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// Sigma's name of it: product, category and service as far as they apply.
    pub logsource: LogSource,
    /// Sigma field → native field names, any of whose values count. A field not listed is looked
    /// up under its own name; an empty list says that this source cannot carry the field.
    pub fields: BTreeMap<String, Vec<String>>,
}

impl View {
    /// The native names under which a rule of this log source finds `field`.
    pub fn native<'s>(&'s self, field: &'s str) -> Vec<&'s str> {
        match self.fields.get(field) {
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
}

impl Taxonomy {
    /// The mapping that ships with the product (`taxonomy/*.yaml`, compiled in).
    pub fn builtin() -> Result<Taxonomy, Problem> {
        todo!()
    }

    /// Decodes `record` into `event` and says what it is. Total: any bytes in, an event out.
    pub fn recognise<'a>(&self, record: &'a LogRecord<'a>, event: &mut Event<'a>) {
        event.clear();
        let _ = (record, ClassId(0));
    }
}

/// Field names are compared without letter case, blanks and underscores: Defender writes
/// `Threat Name` where rules say `ThreatName`, Sysmon 10 `SourceProcessGUID` where rules say
/// `SourceProcessGuid`.
pub fn normal_name(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, ' ' | '_')).flat_map(char::to_lowercase).collect()
}
