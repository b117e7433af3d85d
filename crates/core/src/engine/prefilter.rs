//! Says of all texts of an event at once, in one vectorised pass, that none of the keywords can be
//! in them: the usual case.

use super::index::Builder;
use aho_corasick::packed::{Config, MatchKind, Searcher};

/// Longer pieces of the literals are no better a filter.
const PIECE_BYTES: usize = 4;

/// A filter before the index of all texts.
#[derive(Debug, Default)]
pub struct Prefilter {
    searcher: Option<Searcher>,
    /// Whether it looks for letters and digits alone.
    is_plain: bool,
}

impl Prefilter {
    /// Filters for what is filed in `builder`; without effect where that is too much for a filter, or not
    /// only literals to be found anywhere.
    pub fn new(builder: &Builder) -> Prefilter {
        let Some(literals) = builder.only_contains() else { return Prefilter::default() };
        let mut pieces: Vec<&[u8]> = literals.map(|literal| piece(literal.as_bytes())).collect();
        pieces.sort_unstable();
        pieces.dedup();
        let is_plain = pieces.iter().all(|piece| is_plain(piece));
        let mut config = Config::new();
        let mut searcher = config.match_kind(MatchKind::LeftmostFirst).builder();
        searcher.extend(pieces);
        Prefilter { searcher: searcher.build(), is_plain }
    }

    /// Whether one of the predicates may be true of a piece of `texts`.
    pub fn may_match(&self, texts: &str) -> bool {
        self.searcher.as_ref().is_none_or(|searcher| searcher.find(texts).is_some())
    }

    /// Whether it may be asked about texts in which other characters than letters and digits are written
    /// with escapes.
    pub fn takes_escapes(&self) -> bool {
        self.searcher.is_some() && self.is_plain
    }
}

fn is_plain(piece: &[u8]) -> bool {
    piece.iter().all(u8::is_ascii_alphanumeric)
}

/// The piece of a literal that is the rarest by its letters; one of letters and digits, if there is any.
fn piece(literal: &[u8]) -> &[u8] {
    let pieces = literal.windows(PIECE_BYTES.min(literal.len()).max(1));
    pieces
        .min_by_key(|piece| {
            let commonness = piece.iter().map(|byte| super::grams::commonness(*byte)).sum::<u32>();
            (!is_plain(piece), commonness)
        })
        .unwrap_or(literal)
}
