//! Which fields anyone wants to know, so that what nobody asks for need not be decoded.

use super::event::ClassId;

/// Characters besides letters and digits that writers of JSON do not escape.
pub const NEVER_ESCAPED: &[u8] = b" -.:_";

/// Someone who takes events.
pub trait Asks {
    /// Tells it from everyone else of the process; its answers are remembered.
    fn number(&self) -> u64;

    /// Whether the field of this native name may matter in an event of the class, whatever it holds.
    /// `event_id`: the only value of the event's `EventID`, where it is known to have just one.
    fn asks(&self, class: ClassId, event_id: Option<u32>, field: &str) -> bool;

    /// Whether it may matter for whether anything comes of the event, and not only for what is told then.
    fn decides(&self, class: ClassId, event_id: Option<u32>, field: &str) -> bool;

    /// Whether any other value may matter as well, for what it holds.
    fn searches(&self, class: ClassId) -> bool;

    /// Whether values may matter for what they hold, of which `texts` are all, folded; controls and
    /// punctuation but [`NEVER_ESCAPED`] may stand in them as JSON writes them.
    fn may_find(&self, class: ClassId, texts: &[u8]) -> bool;

    /// The same of texts that are not folded, in which any character may stand as JSON writes it. It may say yes
    /// without reason, and is quick to say no.
    fn may_find_unfolded(&self, class: ClassId, texts: &[u8]) -> bool;

    /// Whether numbers or truth values may matter for how they are written.
    fn may_find_in_numbers(&self, class: ClassId) -> bool;
}
