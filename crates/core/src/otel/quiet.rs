//! Events of which nothing came, kept for when the like comes again: much of what a host logs differs from
//! what it logged a moment ago in nothing that a rule looks at.
//!
//! An event is known by its kind (outline, channel, event id) and by each value that decides what comes of
//! it, as it stands in the document; so an answer is never another event's, whatever a log holds. The memory
//! is small, for what comes again mostly does so soon.

use crate::remembered::{Place, Remembered};

/// Events whose values are longer together hardly come again.
const BYTES_MAX: usize = 2048;
/// After so many looks it is seen whether they were worth it.
const TRIAL: u32 = 256;
/// They were if one in so many found something.
const LOOKS_PER_FIND: u32 = 8;
/// If not, so many events of the kind are not looked for.
const PAUSE: u32 = 4096;

/// Events of which nothing came; 256 KB.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    memory: Remembered<{ 1 << 8 }, BYTES_MAX, { 1 << 15 }>,
    /// What the event at hand says.
    said: Vec<u8>,
    /// How many kinds there were.
    kinds: u64,
}

/// Events that are alike but for the values that are compared here.
#[derive(Debug)]
pub(super) struct Kind {
    /// Tells it from every other.
    number: u64,
    looks: u32,
    finds: u32,
    pause: u32,
}

impl Kind {
    fn is_worth_a_look(&mut self) -> bool {
        if self.looks == TRIAL {
            let were_worth = self.finds * LOOKS_PER_FIND >= TRIAL;
            *self = Kind { looks: 0, finds: 0, pause: if were_worth { 0 } else { PAUSE }, ..*self };
        }
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        self.looks += 1;
        true
    }
}

impl Quiet {
    /// A new kind.
    pub fn kind(&mut self) -> Kind {
        self.kinds += 1;
        Kind { number: self.kinds, looks: 0, finds: 0, pause: 0 }
    }

    /// Whether nothing came of an event of the kind with these values; if it is not known, where to
    /// [`Quiet::keep`] it, if that may be done.
    pub fn find<'t>(
        &mut self,
        kind: &mut Kind,
        values: impl Iterator<Item = &'t [u8]>,
    ) -> Result<(), Option<Place>> {
        if !kind.is_worth_a_look() {
            return Err(None);
        }
        self.said.clear();
        for value in values {
            if self.said.len() + value.len() > BYTES_MAX {
                return Err(None);
            }
            self.said.extend_from_slice(&(value.len() as u32).to_le_bytes());
            self.said.extend_from_slice(value);
        }
        self.memory.find(kind.number, &self.said).map(|_| kind.finds += 1)
    }

    /// Keeps that nothing came of the event that was looked for last.
    pub fn keep(&mut self, place: Place) {
        self.memory.keep(place, &self.said, [&[]; 3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(quiet: &mut Quiet, kind: &mut Kind, values: &[&str]) -> Result<(), Option<Place>> {
        quiet.find(kind, values.iter().map(|value| value.as_bytes()))
    }

    fn keep(quiet: &mut Quiet, kind: &mut Kind, values: &[&str]) {
        let place = find(quiet, kind, values).err().flatten().expect("not known");
        quiet.keep(place);
    }

    #[test]
    fn an_event_is_known_by_its_kind_and_each_of_its_values() {
        let mut quiet = Quiet::default();
        let (mut kind, mut other) = (quiet.kind(), quiet.kind());
        keep(&mut quiet, &mut kind, &["ab", "c"]);
        assert!(find(&mut quiet, &mut kind, &["ab", "c"]).is_ok());
        assert!(find(&mut quiet, &mut other, &["ab", "c"]).is_err());
        for values in [&["a", "bc"][..], &["ab", "d"], &["abc"], &["ab", "c", ""], &[]] {
            assert!(find(&mut quiet, &mut kind, values).is_err(), "{values:?}");
        }
    }

    #[test]
    fn long_events_are_not_kept() {
        let mut quiet = Quiet::default();
        let mut kind = quiet.kind();
        let long = "x".repeat(BYTES_MAX);
        assert!(find(&mut quiet, &mut kind, &["x", &long]).is_err_and(|place| place.is_none()));
    }

    #[test]
    fn kinds_that_never_come_again_are_looked_for_seldom() {
        let mut quiet = Quiet::default();
        let mut kind = quiet.kind();
        let mut looks = |kind: &mut Kind, count: u32, say: fn(u32) -> String| {
            let looked = (0..count).filter(|number| {
                let found = find(&mut quiet, kind, &[&say(*number)]);
                if let Err(Some(place)) = found {
                    quiet.keep(place);
                }
                found != Err(None)
            });
            looked.count() as u32
        };
        assert_eq!(looks(&mut kind, 2 * (TRIAL + PAUSE), |number| number.to_string()), 2 * TRIAL);
        assert_eq!(looks(&mut kind, TRIAL, |_| "the same".to_owned()), TRIAL);
        assert_eq!(looks(&mut kind, PAUSE, |_| "the same".to_owned()), PAUSE);
    }
}
