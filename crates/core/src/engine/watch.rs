//! A seam for whoever wants to know what an evaluation spends its time on.

/// Looks on while the rules of one event are evaluated. The calls come in this order: `begins`,
/// `scanned`, then `asked` for each rule that was looked at. The core has no clock; the one who watches
/// may have one.
pub trait Watch {
    /// The values of an event of this class (index into the engine's classes) are going to be read and
    /// searched, for all rules at once.
    fn begins(&mut self, class: usize) {
        let _ = class;
    }
    /// That is done; now the woken rules are asked one by one.
    fn scanned(&mut self) {}
    /// A rule, by its index in the rule set, was asked. It may be asked again if the class has several
    /// views.
    fn asked(&mut self, rule: usize, matches: bool) {
        let _ = (rule, matches);
    }
}

/// Nobody watches: costs nothing.
impl Watch for () {}
