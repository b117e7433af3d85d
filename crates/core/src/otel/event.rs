//! A log record as Sigma sees it.

use crate::value::Value;
use std::borrow::Cow;

/// Index of a class in [`super::Taxonomy::classes`]: the closed set of Sigma log sources that an
/// event belongs to, with one mapping of field names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub u16);

/// A field's name as the log source writes it (`Image`, `Threat Name`, `userIdentity.type`).
pub type FieldName<'a> = Cow<'a, str>;

/// What decided an event's class, for whoever asks why; [`super::Taxonomy::decision`] tells it in words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decided {
    /// Form of the record: `windows`, `audit`, `syslog`, `access`, `json`, `text`, or the name of a
    /// line's form; empty where nothing was decided.
    pub form: &'static str,
    /// Number of the taxonomy's source whose conditions held. Windows events have none: channel and
    /// event id decide.
    pub source: Option<u16>,
}

/// The decoded event. Fields carry their *native* names; what a rule calls them is the business of
/// the class ([`super::View::fields`]), which the engine resolves once, when it compiles.
#[derive(Debug, Clone, Default)]
pub struct Event<'a> {
    /// What it is; `None` where no class of the taxonomy wants it.
    pub class: Option<ClassId>,
    /// Decoded fields in the order of the source. A name may repeat: any of its values counts.
    pub fields: Vec<(FieldName<'a>, Value<'a>)>,
    /// Further texts that keyword rules search besides the field values: the line, the rendered
    /// message. Never our own metadata.
    pub texts: Vec<Cow<'a, str>>,
    /// The text it was read from, as an analyst is shown it: the record's body, or the one document
    /// of a list that this event is. Empty where the content stands in attributes.
    pub source: Cow<'a, str>,
    /// Host the event happened on, by the precedence of the mapping (the origin's name before the
    /// forwarder's); empty if nothing tells.
    pub host: Cow<'a, str>,
    /// The audit records in it that are parts of a larger event, each from `type=` on; see
    /// [`super::Assembler`].
    pub audit: Vec<Cow<'a, str>>,
    /// Set where the body was not what it seemed (broken JSON, cut XML): what was wrong. The rest
    /// of the event is still used.
    pub fault: Option<String>,
    /// Why it is of its class.
    pub decided: Decided,
    /// So many of the first fields are known to hold none of the keywords that are looked for by the one
    /// for whom the event was decoded.
    pub searched: usize,
    /// Nothing comes of it. Said by the one who takes events; and handed out with a later event that is the
    /// same in all that decides about it, which then has neither fields nor host.
    pub is_quiet: bool,
}

impl<'a> Event<'a> {
    /// First value of the field with this exact native name.
    pub fn field(&self, name: &str) -> Option<&Value<'a>> {
        self.fields.iter().find(|(k, _)| k == name).map(|(_, v)| v)
    }

    /// Adds a field.
    pub fn push(&mut self, name: impl Into<FieldName<'a>>, value: impl Into<Value<'a>>) {
        self.fields.push((name.into(), value.into()));
    }

    /// Takes over the fields of an event that was read from shorter-lived text.
    pub(super) fn absorb(&mut self, other: Event<'_>) {
        self.fields.extend(other.into_owned().fields);
    }

    /// The same event, independent of the record it was read from.
    pub fn into_owned(self) -> Event<'static> {
        let fields = self.fields.into_iter().map(|(name, value)| (owned(name), value.into_owned()));
        Event {
            class: self.class,
            fields: fields.collect(),
            texts: self.texts.into_iter().map(owned).collect(),
            source: owned(self.source),
            host: owned(self.host),
            audit: self.audit.into_iter().map(owned).collect(),
            fault: self.fault,
            decided: self.decided,
            // Someone else may look for others.
            searched: 0,
            is_quiet: self.is_quiet,
        }
    }
}

/// The text, independent of where it was borrowed from.
pub(super) fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}
