//! Windows events whose document has the outline of an earlier one: what each value is, is known, and
//! values that nobody asks for are not decoded.

use super::super::asks::Asks;
use super::super::json::Flat;
use super::super::json::outline::{Span, value};
use super::super::taxonomy::Taxonomy;
use super::json::{Fate, Layout, Role, fate, put};
use super::{Arena, Draft, Event, Identity, Part};
use crate::otel::class::Condition;
use crate::otel::event::ClassId;
use crate::otel::normal_name;
use crate::otel::json::Leaf;
use crate::value::fold;
use std::borrow::Cow;

/// What the values of a document are, in their order.
#[derive(Debug)]
pub(in crate::otel) struct Shape {
    places: Vec<Place>,
    /// Where the channel and the event id stand, if each stands once.
    identity: Option<(usize, usize)>,
    has_list: bool,
    /// By channel and event id, what is asked for.
    wants: Vec<Wants>,
}

#[derive(Debug)]
struct Place {
    what: What,
    /// The field that it becomes; for [`What::Open`], the key.
    name: Box<str>,
    /// Where it stands.
    prefix: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    System(Part),
    /// The event's own data, under a name that means nothing but itself.
    Data,
    /// The same, under a name that [`Draft::data`] must look at.
    Named,
    /// A field that is none of the event's own data.
    Other,
    Nothing,
    /// What it becomes depends on its value.
    Open(Role),
}

/// What is asked for of the events of one channel and event id.
#[derive(Debug)]
struct Wants {
    /// Who asks.
    number: u64,
    channel: Box<str>,
    event_id: u32,
    /// What the events may be.
    classes: Box<[ClassId]>,
    /// Whether other values matter for what they hold.
    is_searched: bool,
    /// By place.
    is_wanted: Box<[bool]>,
}

/// Of more channels and event ids in one outline, everything is decoded.
const WANTS_MAX: usize = 16;

impl Shape {
    /// The shape of a Windows event.
    pub fn of(flat: &Flat<'_>) -> Shape {
        let layout = Layout::of(flat);
        let places: Vec<Place> = flat.leaves.iter().map(|leaf| place(flat, &layout, leaf)).collect();
        let only = |part| {
            let mut found = places.iter().enumerate().filter(|(_, place)| place.what == What::System(part));
            let (first, _) = found.next()?;
            found.next().is_none().then_some(first)
        };
        let identity = only(Part::Channel).zip(only(Part::EventId));
        Shape { identity, has_list: layout.has_list, wants: vec![], places }
    }

    /// Finds out what is asked for of this document; `None`: everything may be.
    pub fn prepare(
        &mut self,
        taxonomy: &Taxonomy,
        asks: &dyn Asks,
        text: &str,
        spans: &[Span],
    ) -> Option<usize> {
        let (channel, event_id) = self.identity?;
        let of = |at: usize| spans.get(at).and_then(|span| text.get(span.start as usize..span.end as usize));
        let channel = of(channel).filter(|name| !name.is_empty() && !name.contains('\\'))?;
        let event_id: u32 = of(event_id)?.parse().ok()?;
        let number = asks.number();
        let is_known = |wants: &Wants| {
            wants.event_id == event_id && wants.number == number && *wants.channel == *channel
        };
        if let Some(known) = self.wants.iter().position(is_known) {
            return Some(known);
        }
        // What others asked for earlier, before rules were exchanged, is of no use.
        self.wants.retain(|wants| wants.number == number);
        if self.wants.len() >= WANTS_MAX {
            return None;
        }
        let (classes, conditions) = taxonomy.channels.possible(channel, event_id);
        let is_searched = classes.iter().any(|class| asks.searches(*class));
        let sole_id = self.is_only_id().then_some(event_id);
        let asked = |class: &ClassId, name: &str| asks.asks(*class, sole_id, name);
        let is_wanted = self.wanted(taxonomy, &asked, classes, conditions, is_searched)?;
        let (channel, classes) = (channel.into(), classes.into());
        self.wants.push(Wants { number, channel, event_id, classes, is_searched, is_wanted });
        Some(self.wants.len() - 1)
    }

    /// Whether any value that nobody asks for by name may matter for what it holds.
    pub fn may_find(
        &self,
        wants: usize,
        asks: &dyn Asks,
        text: &str,
        spans: &[Span],
        unasked: &mut String,
    ) -> bool {
        let wants = &self.wants[wants];
        if !wants.is_searched {
            return false;
        }
        unasked.clear();
        for (span, is_wanted) in spans.iter().zip(&wants.is_wanted) {
            if *is_wanted || !span.is_text {
                continue;
            }
            unasked.push_str(&text[span.start as usize..span.end as usize]);
            unasked.push('\0');
        }
        if may_hide_letters(unasked) {
            return true;
        }
        if unasked.is_ascii() {
            unasked.make_ascii_lowercase();
        } else {
            *unasked = fold(unasked);
        }
        wants.classes.iter().any(|class| asks.may_find(*class, unasked))
    }

    /// Whether no value but the event id can become an `EventID`.
    fn is_only_id(&self) -> bool {
        self.places.iter().all(|place| match place.what {
            What::Data | What::Named | What::Other => normal_name(&place.name) != "eventid",
            What::System(Part::Named(name)) => normal_name(name) != "eventid",
            What::Open(_) => false,
            What::System(_) | What::Nothing => true,
        })
    }

    fn wanted(
        &self,
        taxonomy: &Taxonomy,
        asks: &dyn Fn(&ClassId, &str) -> bool,
        classes: &[ClassId],
        conditions: &[Condition],
        is_searched: bool,
    ) -> Option<Box<[bool]>> {
        let mut read: Vec<&str> =
            conditions.iter().flat_map(|when| when.keys().map(String::as_str)).collect();
        for ClassId(class) in classes {
            for step in taxonomy.derive.get(usize::from(*class)).into_iter().flatten() {
                read.extend(step.reads()?);
            }
        }
        let asked = |name: &str| {
            read.iter().any(|read| read.eq_ignore_ascii_case(name))
                || classes.iter().any(|class| asks(class, name))
        };
        let has_open = self.places.iter().any(|place| matches!(place.what, What::Open(_)));
        let is_wanted = |place: &Place| match place.what {
            What::Nothing => false,
            What::Open(_) | What::Named => true,
            What::Data | What::Other => asked(&place.name),
            What::System(part) => match part {
                Part::Channel | Part::Computer | Part::EventId | Part::Provider => true,
                // They become words that do not stand in the document.
                Part::Level | Part::Keywords if is_searched => true,
                Part::Level => asked("Level"),
                // Whether an event is an audit's tells which number its level has.
                Part::Keywords => asked("Keywords") || asked("Level"),
                // Sysmon's has the names of data that come without.
                Part::Message | Part::RenderedMessage => has_open || asked("Message"),
                Part::Named(name) => asked(name),
            },
        };
        Some(self.places.iter().map(is_wanted).collect())
    }

    /// Reads the document into `event`. `None`: some value of it is broken, and `event` is to be dropped.
    pub fn read<'a>(
        &'a self,
        wants: Option<usize>,
        text: &'a str,
        spans: &[Span],
        event: &mut Event<'a>,
        arena: &'a Arena,
    ) -> Option<Identity<'a>> {
        let wants = wants.and_then(|number| self.wants.get(number));
        let is_unwanted = |number: usize, span: &Span| {
            wants.is_some_and(|wants| {
                // A number may be written otherwise than it is compared.
                !wants.is_wanted[number] && (span.is_text || !wants.is_searched)
            })
        };
        let mut draft = Draft::new(event, arena);
        for (number, (place, span)) in self.places.iter().zip(spans).enumerate() {
            if is_unwanted(number, span) {
                draft.id.has_data |= place.what == What::Data;
                continue;
            }
            let value = value(text, *span, arena)?;
            match place.what {
                What::System(part) => draft.system(part, value),
                What::Data => {
                    draft.id.has_data = true;
                    draft.event.fields.push((Cow::Borrowed(&place.name), value));
                }
                What::Named => draft.data(&place.name, value),
                What::Other => draft.event.push(&*place.name, value),
                What::Nothing => {}
                What::Open(role) => {
                    let leaf = Leaf { prefix: 0, key: &place.name, value };
                    put(&mut draft, role, &place.prefix, leaf, self.has_list);
                }
            }
        }
        Some(draft.finish())
    }
}

/// Whether an escape in the raw text stands for anything but a control or punctuation character, which
/// few writers do.
fn may_hide_letters(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    memchr::memmem::find_iter(bytes, b"\\u").any(|at| {
        let before = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        let is_harmless = match bytes.get(at + 2..at + 6) {
            Some([b'0', b'0', b'0'..=b'2', _]) => true,
            Some([b'0', b'0', b'3', last]) => !last.is_ascii_digit(),
            _ => false,
        };
        before % 2 == 0 && !is_harmless
    })
}

fn place(flat: &Flat<'_>, layout: &Layout<'_>, leaf: &Leaf<'_>) -> Place {
    let prefix = flat.prefixes[leaf.prefix];
    let role = layout.roles[leaf.prefix];
    let (what, name) = match layout.part(leaf) {
        Some(part) => (What::System(part), String::new()),
        None => match fate(role, prefix, leaf.key, layout.has_list) {
            Some(Fate::Data(name)) if Draft::is_plain(&name) => (What::Data, name),
            Some(Fate::Data(name)) => (What::Named, name),
            Some(Fate::Other(name)) => (What::Other, name),
            Some(Fate::Nothing) => (What::Nothing, String::new()),
            None => (What::Open(role), leaf.key.to_owned()),
        },
    };
    Place { what, name: name.into(), prefix: prefix.into() }
}
