//! What values were found to fulfil, kept for when they come again. A value is known by its field, its kind
//! and all its bytes.

use super::program::{Lists, Program};
use crate::remembered::{self, Place, Remembered};

/// Longer values are not remembered: they hardly come again. Their long lines may.
const VALUE_BYTES_MAX: usize = 4096;
const LINE_BYTES_MAX: usize = 1 << 14;
/// Values that fulfil more than so many predicates are not remembered.
const PREDS_MAX: usize = 256;

/// Values of fields, and what each fulfils; 8 MB, which hostile values could fill.
#[derive(Debug, Default)]
pub(super) struct Values {
    memory: Remembered<{ 1 << 12 }, VALUE_BYTES_MAX, { 1 << 20 }>,
    /// What follows from the value at hand.
    groups: Vec<u32>,
    rules: Vec<u32>,
}

/// Long lines of long values, and the literals that were found in each; 2 MB.
#[derive(Debug, Default)]
pub(super) struct Lines(Remembered<{ 1 << 5 }, LINE_BYTES_MAX, { 1 << 18 }>);

/// Which values are the same if their bytes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Field {
    /// Number of the program.
    pub program: u32,
    /// The list of slots that take the value.
    pub list: u32,
    /// Whether the bytes are those of a number and not a text.
    pub is_number: bool,
}

impl Field {
    #[inline]
    fn owner(self) -> u64 {
        u64::from(self.program) << 33 | u64::from(self.list) << 1 | u64::from(self.is_number)
    }
}

/// What came of a value: what is to be marked when it comes again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'m>(remembered::Known<'m>);

impl Known<'_> {
    /// Whether there is anything to be marked; mostly not.
    #[inline]
    pub fn is_nothing(&self) -> bool {
        self.0.is_nothing()
    }

    /// The predicates that the value fulfils.
    pub fn preds(&self) -> impl Iterator<Item = u32> {
        self.0.list::<0>()
    }

    /// The groups that they make true.
    pub fn groups(&self) -> impl Iterator<Item = u32> {
        self.0.list::<1>()
    }

    /// The rules that these wake.
    pub fn rules(&self) -> impl Iterator<Item = u32> {
        self.0.list::<2>()
    }
}

impl Values {
    /// What is known of the value; or, if it is not known, where to remember it, if that may
    /// be done.
    #[inline(always)]
    pub fn find(&self, field: Field, value: &[u8]) -> Result<Known<'_>, Option<Place>> {
        self.memory.find(field.owner(), value).map(Known)
    }

    /// Remembers that `value` fulfils `preds`.
    pub fn remember(&mut self, place: Place, value: &[u8], preds: &[u32], program: &Program) {
        if preds.len() > PREDS_MAX {
            return;
        }
        let Values { memory, groups, rules } = self;
        follow(preds, &program.pred_groups, groups);
        follow(groups, &program.group_rules, rules);
        memory.keep(place, value, [preds, groups, rules]);
    }
}

impl Lines {
    /// The literals that were found in the line, as pairs of numbers in the first list; or where to remember them.
    #[inline]
    pub fn find(&self, field: Field, line: &[u8]) -> Result<remembered::Known<'_>, Option<Place>> {
        self.0.find(field.owner(), line)
    }

    /// Remembers the literals that were found in a line.
    pub fn remember(&mut self, place: Place, line: &[u8], found: &[u32]) {
        if found.len() <= PREDS_MAX {
            self.0.keep(place, line, [found, &[], &[]]);
        }
    }
}

/// What is listed under some numbers, each once.
fn follow(numbers: &[u32], lists: &Lists, all: &mut Vec<u32>) {
    all.clear();
    numbers.iter().for_each(|number| all.extend_from_slice(lists.get(*number)));
    all.sort_unstable();
    all.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELD: Field = Field { program: 1, list: 2, is_number: false };

    fn known(memory: &Values, field: Field, value: &[u8]) -> Option<Vec<u32>> {
        memory.find(field, value).ok().map(|known| known.preds().collect())
    }

    fn remember(memory: &mut Values, field: Field, value: &[u8], preds: &[u32]) {
        let place = memory.find(field, value).err().flatten().expect("not known and short enough");
        memory.remember(place, value, preds, &Program::default());
    }

    #[test]
    fn a_value_is_known_in_its_own_field_only() {
        let mut memory = Values::default();
        remember(&mut memory, FIELD, b"cmd.exe", &[7, 8]);
        assert_eq!(known(&memory, FIELD, b"cmd.exe"), Some(vec![7, 8]));
        assert_eq!(known(&memory, FIELD, b"CMD.EXE"), None);
        for other in
            [Field { program: 2, ..FIELD }, Field { list: 3, ..FIELD }, Field { is_number: true, ..FIELD }]
        {
            assert_eq!(known(&memory, other, b"cmd.exe"), None, "{other:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_remembered() {
        let mut memory = Values::default();
        assert!(memory.find(FIELD, &[b'x'; VALUE_BYTES_MAX + 1]).is_err_and(|place| place.is_none()));
        let place = memory.find(FIELD, b"much").err().flatten().expect("not known");
        memory.remember(place, b"much", &[0; PREDS_MAX + 1], &Program::default());
        assert_eq!(known(&memory, FIELD, b"much"), None);
    }

    #[test]
    fn what_follows_from_a_value_is_known_with_it() {
        let mut memory = Values::default();
        let program = Program {
            pred_groups: Lists::new(&[vec![2, 0], vec![], vec![0]]),
            group_rules: Lists::new(&[vec![9], vec![8], vec![7, 9]]),
            ..Program::default()
        };
        let place = memory.find(FIELD, b"a").err().flatten().expect("not known");
        memory.remember(place, b"a", &[0, 2], &program);
        let known = memory.find(FIELD, b"a").expect("known");
        assert_eq!(known.preds().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(known.groups().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(known.rules().collect::<Vec<_>>(), [7, 9]);
    }
}
