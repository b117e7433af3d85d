//! Says of all texts of an event at once, in one vectorised pass, that none of the keywords can be
//! in them: the usual case.

use super::index::Builder;
use crate::otel::NEVER_ESCAPED;
use aho_corasick::packed::{Config, MatchKind, Searcher};
use memchr::memchr;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Longer pieces of the literals are no better a filter.
const PIECE_BYTES: usize = 8;
/// So many bytes of each the searcher looks for at every position.
const FIRST_BYTES: usize = 4;
/// Shorter ones are hardly any.
const PIECE_BYTES_MIN: usize = 3;

/// So many pieces one searcher takes, and so many searchers are no dearer than asking for each literal.
const PIECES_MAX: usize = 48;
const SEARCHERS_MAX: usize = 4;

/// So many bytes of a literal are looked for in texts that are not folded, in all their spellings.
const SPELLED_BYTES: usize = 3;
/// So much commoner a piece may be that stands in other literals too.
const NEARLY: u32 = 6;

/// So many ways to begin are tried.
const FIRSTS_MAX: usize = 64;

/// How escapes begin that stand for what may be looked for: of ASCII characters, and of those that are folded to it.
const ESCAPES: [&[u8]; 2] = [b"\\u0", b"\\u2"];

/// First byte of `K` (U+212A), which is folded to `k`.
const KELVIN: u8 = 0xe2;
/// First byte of `İ` (U+0130), which is folded to `i` and a dot above. Nothing else beyond ASCII is folded to a
/// character of it.
const DOTTED_I: u8 = 0xc4;

/// A filter before the index of all texts.
#[derive(Debug, Default)]
pub struct Prefilter {
    /// `None`: anything may match.
    searchers: Option<Vec<Searcher>>,
    /// The same for texts as JSON writes them, not folded; it finds escapes of letters too. Nothing if it looks for
    /// what is mostly escaped.
    spelled: Option<Vec<Searcher>>,
    /// Whether what it looks for there may be spelled with one of these characters.
    has_kelvin: bool,
    has_dotted_i: bool,
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
        let literals: Vec<&[u8]> = literals.map(str::as_bytes).collect();
        let pieces = sorted(literals.iter().map(|literal| piece(literal)));
        let is_plain = pieces.iter().all(|piece| is_plain(piece));
        let takes_numbers = pieces.iter().any(|piece| is_of_number(piece));
        let searchers = self::searchers(&pieces);
        let mut filter = Prefilter { searchers, is_plain, takes_numbers, ..Prefilter::default() };
        if is_plain {
            // Where all are plain, all that is spelled is short.
            let chosen = spelled(&literals);
            filter.has_kelvin = chosen.iter().any(|piece| piece.contains(&b'k'));
            // The dot comes next.
            filter.has_dotted_i = chosen.iter().any(|piece| piece.ends_with(b"i"));
            let escapes = ESCAPES.map(|escape| vec![escape.to_vec()]);
            let pieces = chosen.into_iter().map(spellings).chain(escapes);
            filter.spelled = self::searchers(&apart(pieces.collect()));
        }
        filter
    }

    /// Whether one of the predicates may be true of a piece of `texts`, in which controls and punctuation
    /// but [`NEVER_ESCAPED`] may be written with escapes.
    pub fn may_match_written(&self, texts: &[u8]) -> bool {
        !self.takes_escapes() || self.may_match(texts)
    }

    /// The same of texts that are not folded, in which any character may be written with an escape.
    pub fn may_match_unfolded(&self, texts: &[u8]) -> bool {
        let is_found = |searchers: &Vec<Searcher>| searchers.iter().any(|one| one.find(texts).is_some());
        self.spelled.as_ref().is_none_or(is_found)
            || self.has_kelvin && memchr(KELVIN, texts).is_some()
            || self.has_dotted_i && memchr(DOTTED_I, texts).is_some()
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

fn sorted<P: Ord>(pieces: impl Iterator<Item = P>) -> Vec<P> {
    let mut pieces: Vec<P> = pieces.collect();
    pieces.sort_unstable();
    pieces.dedup();
    pieces
}

/// All spellings of some pieces, first one of each piece. A searcher deals pieces out to its few buckets in
/// their order, but keeps those together that differ in case only, and looks the closer the more it has in a
/// bucket.
fn apart(pieces: Vec<Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
    let mut pieces: Vec<_> = pieces.into_iter().map(Vec::into_iter).collect();
    let mut all = vec![];
    loop {
        let before = all.len();
        all.extend(pieces.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}

/// Searchers for a few pieces, if there can be such.
fn searchers(pieces: &[impl AsRef<[u8]>]) -> Option<Vec<Searcher>> {
    let searcher = |pieces: &[_]| {
        let mut config = Config::new();
        let mut searcher = config.match_kind(MatchKind::LeftmostFirst).builder();
        searcher.extend(pieces);
        searcher.build()
    };
    let few = (pieces.len() <= SEARCHERS_MAX * PIECES_MAX).then_some(pieces)?;
    few.chunks(PIECES_MAX).map(searcher).collect()
}

/// Pieces of which each literal has one, few enough to look for all their spellings.
fn spelled<'l>(literals: &[&'l [u8]]) -> BTreeSet<&'l [u8]> {
    // By piece, the literals that have it.
    let mut having: Having<'_> = BTreeMap::new();
    for (number, literal) in literals.iter().enumerate() {
        rare(literal).for_each(|piece| _ = having.entry(piece).or_default().insert(number));
    }
    // What covers most is not always the best to begin with.
    let shared = having.iter().filter(|(_, numbers)| numbers.len() > 1).take(FIRSTS_MAX);
    let firsts = std::iter::once(None).chain(shared.map(|(piece, _)| Some(*piece)));
    let covers = firsts.map(|first| cover(having.clone(), first));
    let spellings = |cover: &BTreeSet<&[u8]>| cover.iter().map(|piece| spellings(piece).len()).sum::<usize>();
    covers.min_by_key(spellings).unwrap_or_default()
}

/// By piece, the numbers of the literals that have it.
type Having<'l> = BTreeMap<&'l [u8], BTreeSet<usize>>;

/// The pieces that cover most, one after the other; `first` before all others.
fn cover<'l>(mut having: Having<'l>, first: Option<&'l [u8]>) -> BTreeSet<&'l [u8]> {
    let mut chosen = BTreeSet::new();
    let mut next = first.or_else(|| most(&having));
    while let Some(piece) = next {
        let covered = having.remove(piece).unwrap_or_default();
        chosen.insert(piece);
        having.values_mut().for_each(|numbers| numbers.retain(|number| !covered.contains(number)));
        next = most(&having);
    }
    chosen
}

/// The piece that covers most, of these the rarest; none where nothing is left.
fn most<'l>(having: &Having<'l>) -> Option<&'l [u8]> {
    let left = having.iter().filter(|(_, numbers)| !numbers.is_empty());
    left.max_by_key(|(piece, numbers)| (numbers.len(), Reverse(commonness(piece)))).map(|(piece, _)| *piece)
}

/// The rarest pieces of a literal, or nearly so; those with a rare pair where there are any.
fn rare(literal: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pieces = |literal| <[u8]>::windows(literal, SPELLED_BYTES).filter(|piece| is_plain(piece));
    let rareness = |piece: &[u8]| (!piece.windows(2).any(is_rare_pair), commonness(piece));
    let rarest = pieces(literal).map(rareness).min().unwrap_or_default();
    let whole = pieces(literal).next().is_none().then_some(literal);
    let is_rare = move |piece: &&[u8]| {
        let (has_no_pair, common) = rareness(piece);
        has_no_pair == rarest.0 && (!has_no_pair || common <= rarest.1 + NEARLY)
    };
    pieces(literal).filter(is_rare).chain(whole)
}

fn commonness(piece: &[u8]) -> u32 {
    piece.iter().map(|byte| super::grams::commonness(*byte)).sum()
}

/// What a folded piece is folded from, if that is ASCII.
fn spellings(piece: &[u8]) -> Vec<Vec<u8>> {
    piece.iter().fold(vec![vec![]], |spellings, byte| {
        let cases = sorted([byte.to_ascii_uppercase(), *byte].into_iter());
        let with =
            |start: &Vec<u8>| cases.iter().map(|case| [start, &[*case][..]].concat()).collect::<Vec<_>>();
        spellings.iter().flat_map(with).collect()
    })
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
    use proptest::prelude::*;

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
    fn a_few_pieces_stand_for_literals_that_share_them() {
        let literals: [&[u8]; 5] =
            [b"privilege::debug", b"privilege::driver", b"event::drop", b"mimidrv.sys", b"mimilib.dll"];
        assert_eq!(spelled(&literals), BTreeSet::from([&b"::d"[..], b"mim"]));
        // `::d` is rarer and stands in as many as `e::`, but leaves more.
        let literals: [&[u8]; 5] = [
            b"privilege::backup",
            b"privilege::debug",
            b"privilege::driver",
            b"event::clear",
            b"event::drop",
        ];
        assert_eq!(spelled(&literals), BTreeSet::from([&b"e::"[..], b"t::"]));
        assert_eq!(spelled(&[b"ab", b"a"]), BTreeSet::from([&b"ab"[..], b"a"]));
    }

    #[test]
    fn two_characters_beyond_ascii_are_folded_to_it() {
        let folded = ('\u{80}'..=char::MAX)
            .filter(|c| crate::value::fold(c.encode_utf8(&mut [0; 4])).contains(|c: char| c.is_ascii()));
        let first = |c: char| c.encode_utf8(&mut [0; 4]).as_bytes()[0];
        assert_eq!(
            folded.map(|c| (c, first(c))).collect::<Vec<_>>(),
            [('\u{130}', DOTTED_I), ('\u{212a}', KELVIN)]
        );
    }

    proptest! {
        #[test]
        fn what_a_text_holds_is_found_however_it_is_written(
            literals in prop::collection::vec("[abi:. k]{1,6}", 1..4),
            text in prop::collection::vec(
                (prop::sample::select("aAbBkKiI:. \u{212a}\u{130}\u{307}äÖ".chars().collect::<Vec<_>>()), 0..8_u8),
                0..16,
            ),
        ) {
            let written: String = text.iter().map(|(character, how)| match how {
                0 => format!("\\u{:04x}", u32::from(*character)),
                1 => format!("\\u{:04X}", u32::from(*character)),
                _ => character.to_string(),
            }).collect();
            let text: String = text.into_iter().map(|(character, _)| character).collect();
            let is_held = literals.iter().any(|literal| crate::value::fold(&text).contains(literal.as_str()));
            let filter = filter(&literals);
            prop_assert!(!is_held || filter.may_match_unfolded(written.as_bytes()), "{:?}", literals);
            prop_assert!(!is_held || filter.may_match(crate::value::fold(&text).as_bytes()));
        }
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
