//! Windows events whose document has the outline of an earlier one: what each value is, is known, and
//! values that nobody asks for are not decoded.

use super::super::asks::Asks;
use super::super::derive::Derive;
use super::super::json::outline::{Span, value};
use super::super::json::{Flat, Twice};
use super::super::quiet::{Kind, Quiet};
use super::super::taxonomy::Taxonomy;
use super::json::{Fate, Layout, Role, fate, put};
use super::{Arena, Draft, Event, Identity, Named, Part, WORDS};
use crate::otel::class::Condition;
use crate::otel::event::ClassId;
use crate::otel::json::Leaf;
use crate::otel::{NEVER_ESCAPED, normal_name};
use crate::remembered;
use crate::value::fold;
use memchr::memmem::Finder;
use std::borrow::Cow;
use std::sync::LazyLock;

/// What the values of a document are, in their order.
#[derive(Debug)]
pub(in crate::otel) struct Shape {
    places: Vec<Place>,
    /// Where the channel and the event id stand, if each stands once.
    identity: Option<(usize, usize)>,
    has_list: bool,
    /// Whether any is certain to be the event's own data.
    has_data: bool,
    /// Whether what a value becomes may depend on it: [`What::Open`].
    has_open: bool,
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
    /// What they are, where that depends on nothing else.
    class: Option<Option<ClassId>>,
    /// Whether values matter for what they hold.
    is_searched: bool,
    /// Whether values matter for what they hold that do not stand in the document as they are written.
    is_rewritten: bool,
    /// By place.
    is_wanted: Box<[bool]>,
    /// The places whose values are decoded if nothing else is found in the document.
    decoded: Box<[usize]>,
    /// The places of values that decide whether anything comes of the event, where nothing but values does.
    deciding: Option<(Kind, Box<[usize]>)>,
    /// Whether fields are asked for that are made of the identity.
    identity: Named,
}

/// What the texts of a document may hold of what is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::otel) enum Holds {
    /// Nothing, in none of them.
    Nothing,
    /// Something in what is asked for by name, at most.
    InAsked,
    /// Something, anywhere.
    Anywhere,
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
        let has_open = places.iter().any(|place| matches!(place.what, What::Open(_)));
        let has_data = places.iter().any(|place| place.what == What::Data);
        Shape { identity, has_list: layout.has_list, has_data, has_open, wants: vec![], places }
    }

    /// Finds out what is asked for of this document; `None`: everything may be.
    pub fn prepare(
        &mut self,
        taxonomy: &Taxonomy,
        asks: &dyn Asks,
        text: &str,
        spans: &[Span],
        quiet: &mut Quiet,
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
        let is_rewritten = classes.iter().any(|class| {
            asks.searches(*class)
                && (asks.may_find(*class, WORDS.as_bytes()) || asks.may_find_in_numbers(*class))
        });
        let sole_id = self.is_only_id().then_some(event_id);
        let read = read(taxonomy, classes, conditions)?;
        let is_read = |name: &str| read.iter().any(|read| read.eq_ignore_ascii_case(name));
        let asked =
            |name: &str| is_read(name) || classes.iter().any(|class| asks.asks(*class, sole_id, name));
        let class = (classes.len() < 2 && !self.has_open).then(|| classes.first().copied());
        let is_wanted = self.wanted(&asked, is_rewritten, class.is_some());
        // Which values are texts is the same in all documents with the outline.
        let is_decoded = |number: &usize| is_wanted[*number] || is_rewritten && !spans[*number].is_text;
        let decoded = (0..self.places.len()).filter(is_decoded).collect();
        let identity = Named {
            channel: asked("Channel"),
            provider: asked("Provider_Name"),
            computer: asked("Computer"),
        };
        let deciding = (class.flatten())
            .filter(|class| self.has_data && !reads_resource(taxonomy, *class))
            .map(|class| {
                let decides = |name: &str| is_read(name) || asks.decides(class, sole_id, name);
                (quiet.kind(), self.deciding(&decides))
            });
        let (channel, classes) = (channel.into(), classes.into());
        let wants = Wants {
            number,
            channel,
            event_id,
            classes,
            class,
            is_searched,
            is_rewritten,
            is_wanted,
            decoded,
            deciding,
            identity,
        };
        self.wants.push(wants);
        Some(self.wants.len() - 1)
    }

    /// Where values stand that may matter for what they hold.
    pub fn search(
        &self,
        wants: usize,
        asks: &dyn Asks,
        text: &str,
        spans: &[Span],
        twice: &Twice,
        folded: &mut Vec<u8>,
    ) -> Holds {
        let wants = &self.wants[wants];
        let may_find = |folded: &[u8]| wants.classes.iter().any(|class| asks.may_find(*class, folded));
        if !wants.is_searched {
            return Holds::Nothing;
        }
        // What stands there twice is looked at once.
        let parts = [&text[..twice.again.start], &text[twice.again.end..]];
        let parts = || parts.into_iter().filter(|part| !part.is_empty());
        let may_hold = |class: &ClassId| parts().any(|part| asks.may_find_unfolded(*class, part.as_bytes()));
        if !wants.is_rewritten && !wants.classes.iter().any(may_hold) {
            return Holds::Nothing;
        }
        let hides_letters = parts().any(may_hide_letters);
        if !hides_letters && !wants.is_rewritten {
            folded.clear();
            add_folded(text, folded);
            if !may_find(folded) {
                return Holds::Nothing;
            }
        }
        folded.clear();
        let unasked =
            spans.iter().zip(&wants.is_wanted).filter(|(span, is_wanted)| span.is_text && !**is_wanted);
        for (Span { start, end, .. }, _) in unasked {
            let text = &text[*start as usize..*end as usize];
            if hides_letters && may_hide_letters(text) {
                return Holds::Anywhere;
            }
            add_folded(text, folded);
            folded.push(0);
        }
        if may_find(folded) { Holds::Anywhere } else { Holds::InAsked }
    }

    /// Whether no value but the event id can become an `EventID`.
    fn is_only_id(&self) -> bool {
        let is_other = |place: &Place| match place.what {
            What::Data | What::Named | What::Other => normal_name(&place.name) != "eventid",
            What::System(Part::Named(name)) => normal_name(name) != "eventid",
            What::System(_) | What::Open(_) | What::Nothing => true,
        };
        !self.has_open && self.places.iter().all(is_other)
    }

    fn wanted(&self, asked: &dyn Fn(&str) -> bool, is_rewritten: bool, has_class: bool) -> Box<[bool]> {
        let is_wanted = |place: &Place| match place.what {
            What::Nothing => false,
            What::Open(_) | What::Named => true,
            What::Data | What::Other => asked(&place.name),
            What::System(part) => match part {
                Part::Computer | Part::EventId => true,
                // Otherwise they tell the class.
                Part::Channel => !has_class || asked("Channel"),
                Part::Provider => !has_class || asked("Provider_Name"),
                Part::Level | Part::Keywords if is_rewritten => true,
                Part::Level => asked("Level"),
                // Whether an event is an audit's tells which number its level has.
                Part::Keywords => asked("Keywords") || asked("Level"),
                // Sysmon's has the names of data that come without.
                Part::Message | Part::RenderedMessage => self.has_open || asked("Message"),
                Part::Named(name) => asked(name),
            },
        };
        self.places.iter().map(is_wanted).collect()
    }

    /// The places of the values that decide, where the event id is known.
    fn deciding(&self, decides: &dyn Fn(&str) -> bool) -> Box<[usize]> {
        let wanted = self.wanted(decides, false, true);
        let is_deciding = |number: &usize| match self.places[*number].what {
            What::System(Part::EventId) => false,
            What::System(Part::Computer) => decides("Computer"),
            _ => wanted[*number],
        };
        (0..self.places.len()).filter(is_deciding).collect()
    }

    /// Whether nothing came of a document that says the same, where `holds` says that nothing else decides;
    /// if it is not known, where to keep it.
    pub fn is_quiet(
        &mut self,
        (wants, holds): (usize, Holds),
        text: &str,
        spans: &[Span],
        quiet: &mut Quiet,
    ) -> Result<(), Option<remembered::Place>> {
        let deciding = self.wants[wants].deciding.as_mut().filter(|_| holds == Holds::Nothing);
        let Some((kind, places)) = deciding else { return Err(None) };
        let value = |place: &usize| {
            let Span { start, end, .. } = spans[*place];
            &text.as_bytes()[start as usize..end as usize]
        };
        quiet.find(kind, places.iter().map(value))
    }

    /// The class of all documents of which the same is asked for, `None` where it depends on more than that.
    pub fn class(&self, wants: usize) -> Option<Option<ClassId>> {
        self.wants[wants].class
    }

    /// Reads the document into `event`. `None`: some value of it is broken, and `event` is to be dropped.
    pub fn read<'a>(
        &'a self,
        wants: Option<(usize, Holds)>,
        text: &'a str,
        spans: &[Span],
        event: &mut Event<'a>,
        arena: &'a Arena,
    ) -> Option<Identity<'a>> {
        let holds = wants.map_or(Holds::Anywhere, |(_, holds)| holds);
        let wants = wants.filter(|_| holds != Holds::Anywhere).and_then(|(number, _)| self.wants.get(number));
        let mut draft = Draft::new(event, arena);
        if let Some(wants) = wants.filter(|_| holds == Holds::Nothing) {
            draft.named = wants.identity;
        }
        draft.id.has_data = self.has_data;
        let all = 0..if wants.is_none() { self.places.len() } else { 0 };
        let decoded = wants.map_or(&[][..], |wants| &wants.decoded);
        for number in all.chain(decoded.iter().copied()) {
            let (place, value) = (&self.places[number], value(text, spans[number], arena)?);
            match place.what {
                What::System(part) => draft.system(part, value),
                What::Data => draft.event.fields.push((Cow::Borrowed(&place.name), value)),
                What::Named => draft.data(&place.name, value),
                What::Other => draft.event.push(&*place.name, value),
                What::Nothing => {}
                What::Open(role) => {
                    let leaf = Leaf { prefix: 0, key: &place.name, value };
                    put(&mut draft, role, &place.prefix, leaf, self.has_list);
                }
            }
        }
        let identity = draft.finish();
        if holds == Holds::Nothing && !self.has_open {
            event.searched = event.fields.len();
        }
        Some(identity)
    }
}

/// The fields that conditions and computed fields of the classes are made of; `None` where it may be any.
fn read<'t>(
    taxonomy: &'t Taxonomy,
    classes: &[ClassId],
    conditions: &'t [Condition],
) -> Option<Vec<&'t str>> {
    let mut read: Vec<&str> = conditions.iter().flat_map(|when| when.keys().map(String::as_str)).collect();
    for ClassId(class) in classes {
        for step in taxonomy.derive.get(usize::from(*class)).into_iter().flatten() {
            read.extend(step.reads()?);
        }
    }
    Some(read)
}

/// Whether a computed field of the class is made of something else than the event.
fn reads_resource(taxonomy: &Taxonomy, ClassId(class): ClassId) -> bool {
    let steps = taxonomy.derive.get(usize::from(class));
    steps.into_iter().flatten().any(|step| matches!(step, Derive::Resource(_)))
}

fn add_folded(text: &str, folded: &mut Vec<u8>) {
    if text.is_ascii() {
        folded.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    } else {
        folded.extend_from_slice(fold(text).as_bytes());
    }
}

/// What begins the escape of any character.
static ESCAPED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\\u"));

/// Whether an escape in the raw text stands for anything but a control or punctuation character, which
/// few writers do; [`NEVER_ESCAPED`] is as if letters.
fn may_hide_letters(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    ESCAPED.find_iter(bytes).any(|at| {
        let before = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        let is_harmless = match bytes.get(at + 2..at + 6) {
            Some([b'0', b'0', high @ b'0'..=b'3', low]) => {
                let byte = char::from(*low).to_digit(16).map(|low| (high - b'0') << 4 | low as u8);
                byte.is_some_and(|byte| !byte.is_ascii_digit() && !NEVER_ESCAPED.contains(&byte))
            }
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
