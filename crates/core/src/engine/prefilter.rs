//! Says of all texts of an event at once, in one vectorised pass, that none of the keywords can be
//! in them: the usual case.

use super::index::Builder;
use crate::otel::NEVER_ESCAPED;
use aho_corasick::packed::{Config, MatchKind, Searcher};

/// Longer pieces of the literals are no better a filter.
const PIECE_BYTES: usize = 8;
/// So many bytes of each the searcher looks for at every position.
const FIRST_BYTES: usize = 4;
/// Shorter ones are hardly any.
const PIECE_BYTES_MIN: usize = 3;

/// So many pieces one searcher takes, and so many searchers are no dearer than asking for each literal.
const PIECES_MAX: usize = 48;
const SEARCHERS_MAX: usize = 4;

/// A filter before the index of all texts.
#[derive(Debug, Default)]
pub struct Prefilter {
    /// `None`: anything may match.
    searchers: Option<Vec<Searcher>>,
    /// Whether it looks for nothing that may be escaped.
    is_plain: bool,
    /// Whether something it looks for may stand in a number.
    takes_numbers: bool,
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
        let takes_numbers = pieces.iter().any(|piece| is_of_number(piece));
        let searchers = match pieces.len() <= SEARCHERS_MAX * PIECES_MAX {
            true => pieces.chunks(PIECES_MAX).map(searcher).collect(),
            false => None,
        };
        Prefilter { searchers, is_plain, takes_numbers }
    }

    /// Whether one of the predicates may be true of a piece of `texts`.
    pub fn may_match(&self, texts: &[u8]) -> bool {
        (self.searchers.as_ref())
            .is_none_or(|searchers| searchers.iter().any(|searcher| searcher.find(texts).is_some()))
    }

    /// Whether it may be asked about texts in which controls and punctuation but [`NEVER_ESCAPED`] are
    /// written with escapes.
    pub fn takes_escapes(&self) -> bool {
        self.searchers.is_some() && self.is_plain
    }

    /// Whether something it looks for may stand in a number, decimal or not, or in `true` or `false`.
    pub fn takes_numbers(&self) -> bool {
        self.searchers.is_none() || self.takes_numbers
    }
}

/// A searcher for a few pieces, if there can be one.
fn searcher(pieces: &[&[u8]]) -> Option<Searcher> {
    let mut config = Config::new();
    let mut searcher = config.match_kind(MatchKind::LeftmostFirst).builder();
    searcher.extend(pieces);
    searcher.build()
}

fn is_plain(piece: &[u8]) -> bool {
    piece.iter().all(|byte| byte.is_ascii_alphanumeric() || NEVER_ESCAPED.contains(byte))
}

fn is_of_number(piece: &[u8]) -> bool {
    let is_in = |word: &[u8]| word.windows(piece.len().max(1)).any(|part| part == piece);
    piece.iter().all(|byte| b"0123456789abcdefx+-.".contains(byte)) || is_in(b"true") || is_in(b"false")
}

/// The piece of a literal that is the rarest by its letters; one that is never escaped, if there is any of
/// a few bytes.
fn piece(literal: &[u8]) -> &[u8] {
    let rarest = |bytes: usize| {
        let pieces = literal.windows(bytes).filter(|piece| is_plain(piece));
        let commonness = |bytes: &[u8]| bytes.iter().map(|byte| super::grams::commonness(*byte)).sum::<u32>();
        // Whole words may be common, as `kerberos` is, but not what stands before `::`. By the first bytes
        // the searcher finds out where to look.
        pieces.min_by_key(|piece| {
            let has_no_pair = !piece.windows(2).any(is_rare_pair);
            (has_no_pair, commonness(&piece[..FIRST_BYTES.min(bytes)]), commonness(piece))
        })
    };
    let longest = PIECE_BYTES.min(literal.len());
    (PIECE_BYTES_MIN.min(longest)..=longest)
        .rev()
        .filter(|bytes| *bytes > 0)
        .find_map(rarest)
        .unwrap_or(&literal[..longest])
}

/// Whether two bytes are punctuation that rarely stands together.
fn is_rare_pair(pair: &[u8]) -> bool {
    pair.iter().all(|byte| byte.is_ascii_punctuation())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(literals: &[String]) -> Prefilter {
        let mut builder = Builder::default();
        (0..).zip(literals).for_each(|(pred, literal)| builder.add_contains(pred, literal));
        Prefilter::new(&builder)
    }

    #[test]
    fn a_word_alone_is_no_sign_of_a_command() {
        let filter = filter(&["kerberos::golden".to_owned()]);
        assert!(!filter.may_match(b"authentication package: kerberos"));
        assert!(filter.may_match(b"mimikatz # kerberos::golden /user:a"));
    }

    #[test]
    fn more_pieces_than_one_searcher_takes_are_all_found() {
        let literals: Vec<String> = (100..100 + 2 * PIECES_MAX).map(|n| format!("literal{n}")).collect();
        let filter = filter(&literals);
        assert!(filter.searchers.is_some());
        assert!(literals.iter().all(|literal| filter.may_match(format!("a {literal} b").as_bytes())));
        assert!(!filter.may_match(b"literal099"));
    }
}
