//! Which optimisations are in use. Every one can be switched off, which changes the time that an
//! evaluation takes and nothing else; that is how a test, or someone who doubts an answer, finds out
//! which of them is wrong.

/// Switches of the engine, all on unless something is to be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Texts are found by an index over all rules; off, each comparison is made when a rule asks.
    #[doc(hidden)]
    pub index: bool,
    /// A rule is looked at only when something it needs was seen; off, for every event.
    #[doc(hidden)]
    pub wake: bool,
    /// A regular expression is tried only where a literal that it needs was seen.
    #[doc(hidden)]
    pub guards: bool,
    /// What else it needs is looked for in the value before it is run.
    #[doc(hidden)]
    pub checks: bool,
    /// Of an expression only what decides whether it is found anywhere is run, and runs of one class are counted.
    #[doc(hidden)]
    pub finders: bool,
    /// All texts of an event are searched at once for any keyword, before each is for all.
    #[doc(hidden)]
    pub prefilter: bool,
    /// The order of the fields of a class's last event is remembered.
    #[doc(hidden)]
    pub names: bool,
    /// What a value was found to fulfil is remembered for when it comes again.
    #[doc(hidden)]
    pub values: bool,
    /// What matters is narrowed down by the value of one field, where rules want certain ones.
    #[doc(hidden)]
    pub cases: bool,
    /// Values that wake no rule are looked at when a rule asks.
    #[doc(hidden)]
    pub later: bool,
    /// Texts of up to three bytes are looked for when a rule asks, where something else wakes it.
    #[doc(hidden)]
    pub short: bool,
    /// Expressions and other comparisons of one value that a rule could only be woken by are made once for
    /// each new value; off, for every event.
    #[doc(hidden)]
    pub compared: bool,
    /// Windows events are read along the outline of earlier ones, and only what rules ask for is decoded.
    #[doc(hidden)]
    pub outlines: bool,
    /// Windows events that are the same as one of which nothing came, in all that decides, are not matched.
    #[doc(hidden)]
    pub quiet: bool,
    /// The question that decides most often is asked first; off, as the rule has them.
    #[doc(hidden)]
    pub order: bool,
}

/// A switch of [`Options`].
type Switch = fn(&mut Options) -> &mut bool;

impl Options {
    /// Names of the switches, for hidden flags and for the tests that turn each off.
    #[doc(hidden)]
    pub const SWITCHES: &[(&str, Switch)] = &[
        ("index", |options| &mut options.index),
        ("wake", |options| &mut options.wake),
        ("guards", |options| &mut options.guards),
        ("checks", |options| &mut options.checks),
        ("finders", |options| &mut options.finders),
        ("prefilter", |options| &mut options.prefilter),
        ("names", |options| &mut options.names),
        ("values", |options| &mut options.values),
        ("cases", |options| &mut options.cases),
        ("later", |options| &mut options.later),
        ("short", |options| &mut options.short),
        ("compared", |options| &mut options.compared),
        ("outlines", |options| &mut options.outlines),
        ("quiet", |options| &mut options.quiet),
        ("order", |options| &mut options.order),
    ];

    /// All on but those named. The error names the switches that there are.
    #[doc(hidden)]
    pub fn without<S: AsRef<str>>(names: &[S]) -> Result<Options, String> {
        let mut options = Options::default();
        for name in names {
            let name = name.as_ref();
            let Some((_, switch)) = Options::SWITCHES.iter().find(|(known, _)| *known == name) else {
                let known: Vec<&str> = Options::SWITCHES.iter().map(|(name, _)| *name).collect();
                return Err(format!("`{name}` is none of {}", known.join(", ")));
            };
            *switch(&mut options) = false;
        }
        Ok(options)
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            index: true,
            wake: true,
            guards: true,
            checks: true,
            finders: true,
            prefilter: true,
            names: true,
            values: true,
            cases: true,
            later: true,
            short: true,
            compared: true,
            outlines: true,
            quiet: true,
            order: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_turned_off_by_its_name() {
        let options = Options::without(&["wake", "order"]).unwrap();
        assert_eq!(options, Options { wake: false, order: false, ..Options::default() });
        assert_eq!(
            Options::without(&["speed"]),
            Err("`speed` is none of index, wake, guards, checks, finders, prefilter, names, values, cases, later, \
                 short, compared, outlines, quiet, order"
                .into())
        );
    }
}
