//! Says of all texts of an event at once, in one vectorised pass, that none of the keywords can be
//! in them: the usual case.

use super::index::Builder;
use aho_corasick::packed::{Config, MatchKind, Searcher};

/// Longer pieces of the literals are no better a filter.
const PIECE_BYTES: usize = 4;

/// A filter before the index of all texts.
#[derive(Debug, Default)]
pub struct Prefilter(Option<Searcher>);

impl Prefilter {
    /// Filters for what is filed in `builder`; without effect where that is too much for a filter, or not
    /// only literals to be found anywhere.
    pub fn new(builder: &Builder) -> Prefilter {
        let Some(literals) = builder.only_contains() else { return Prefilter(None) };
        let mut pieces: Vec<&[u8]> = literals.map(|literal| piece(literal.as_bytes())).collect();
        pieces.sort_unstable();
        pieces.dedup();
        let mut config = Config::new();
        let mut searcher = config.match_kind(MatchKind::LeftmostFirst).builder();
        searcher.extend(pieces);
        Prefilter(searcher.build())
    }

    /// Whether one of the predicates may be true of a piece of `texts`.
    pub fn may_match(&self, texts: &str) -> bool {
        self.0.as_ref().is_none_or(|searcher| searcher.find(texts).is_some())
    }
}

/// The piece of a literal that is the rarest by its letters.
fn piece(literal: &[u8]) -> &[u8] {
    let pieces = literal.windows(PIECE_BYTES.min(literal.len()).max(1));
    pieces
        .min_by_key(|piece| piece.iter().map(|byte| super::grams::commonness(*byte)).sum::<u32>())
        .unwrap_or(literal)
}
