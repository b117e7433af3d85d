//! Outlines of documents that were read before: what stands between their values.
//!
//! The same writer writes the same keys in the same order, again and again. A document whose bytes
//! between the values are those of an earlier one has its names, and what they mean need not be found
//! out anew. The outlines form a tree: each node is the bytes before a value, its children are what may
//! follow. A document that follows no path is read as any other and, if it was whole, becomes a path.
//!
//! Since a path fixes all brackets, keys and kinds of values, a document on it has the structure of the
//! first that took it. What stands inside a text is looked at where the text is wanted.

use super::blocks::{BLOCK, Block, alike, block};
use super::{Flat, LEAVES_MAX, Twice, scan, text};
use crate::otel::buffers::Arena;
use crate::value::Value;

/// Bounds: what hostile documents could fill. Beyond, all is forgotten and learnt anew.
const NODES_MAX: usize = 1 << 16;
const BYTES_MAX: usize = 4 << 20;
/// What shapes may take, bytes: each holds the names of all its values.
const SHAPES_BYTES_MAX: usize = 16 << 20;
/// What a shape takes for each value besides its names, bytes.
const SHAPE_VALUE_BYTES: usize = 64;
/// A place with more ways on has keys that are data; documents through it are not worth learning.
const WAYS_MAX: u16 = 48;
/// Longest piece between two values, bytes.
const GAP_BYTES_MAX: usize = 4096;
/// So many are learnt in any case.
const EAGER: u64 = 1024;
/// After this many documents without a path for each that had one, few are still learnt.
const MISSES_PER_HIT: u64 = 4;
/// Of so many documents one is learnt then.
const SELDOM: u64 = 64;

const NONE: u32 = u32::MAX;

/// Outlines that lead to a `T`, which is made of the first document of each.
#[derive(Debug)]
pub(in crate::otel) struct Outlines<T> {
    nodes: Vec<Node>,
    /// The bytes of all gaps.
    gaps: Vec<u8>,
    shapes: Vec<T>,
    /// About what the shapes take.
    shapes_bytes: usize,
    hits: u64,
    misses: u64,
}

/// The bytes before a value, or behind the last. A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Node {
    /// The first bytes of the gap.
    start: Block,
    /// Where in the bytes of all gaps it stands.
    gap: u32,
    gap_bytes: u16,
    /// How many children it has.
    ways: u16,
    kind: Kind,
    child: u32,
    sibling: u32,
    /// At an end: which shape.
    shape: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A text follows, whose opening quote belongs to the gap.
    Text,
    /// A number or a word follows.
    Word,
    /// The document ends.
    End,
}

/// Where a value stands: a text without its quotes, anything else as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::otel) struct Span {
    pub start: u32,
    pub end: u32,
    pub is_text: bool,
    /// Whether it is a text without escapes, which means what it says.
    pub is_plain: bool,
}

impl<T> Default for Outlines<T> {
    fn default() -> Self {
        let root = Node {
            start: Block::default(),
            gap: 0,
            gap_bytes: 0,
            ways: 0,
            kind: Kind::Word,
            child: NONE,
            sibling: NONE,
            shape: NONE,
        };
        Outlines { nodes: vec![root], gaps: vec![], shapes: vec![], shapes_bytes: 0, hits: 0, misses: 0 }
    }
}

impl<T> Outlines<T> {
    /// The shape of a document and what stands in it twice; `spans` become its values, in their order.
    pub fn find(&mut self, text: &str, spans: &mut Vec<Span>) -> Option<(usize, Twice)> {
        spans.clear();
        let mut twice = Twice::default();
        let shape = self.walk(text.as_bytes(), spans, &mut twice)?;
        self.hits += 1;
        Some((shape, twice))
    }

    /// A shape by its number.
    pub fn shape(&self, number: usize) -> &T {
        &self.shapes[number]
    }

    /// The same, to be changed.
    pub fn shape_mut(&mut self, number: usize) -> &mut T {
        &mut self.shapes[number]
    }

    #[inline]
    fn walk(&mut self, bytes: &[u8], spans: &mut Vec<Span>, twice: &mut Twice) -> Option<usize> {
        let (mut at, mut parent) = (0, 0);
        loop {
            let mut way = self.nodes[parent].child;
            if !self.is_here(self.nodes.get(way as usize)?, bytes, at) {
                way = self.next_way(way, bytes, at)?;
            }
            let node = &self.nodes[way as usize];
            let start = at + usize::from(node.gap_bytes);
            let is_text = node.kind == Kind::Text;
            let (end, is_plain) = match node.kind {
                Kind::Text => text::end(bytes, start, twice)?,
                Kind::Word => (word_end(bytes, start), false),
                Kind::End => return Some(node.shape as usize),
            };
            spans.push(Span { start: start as u32, end: end as u32, is_text, is_plain });
            at = end + usize::from(is_text);
            parent = way as usize;
        }
    }

    /// Which of the ways beside the `first` is the one. It changes places with the one before it, so that
    /// those which are often taken come to stand in front.
    #[cold]
    fn next_way(&mut self, first: u32, bytes: &[u8], at: usize) -> Option<u32> {
        let mut before = first;
        loop {
            let way = self.nodes[before as usize].sibling;
            let node = *self.nodes.get(way as usize)?;
            if !self.is_here(&node, bytes, at) {
                before = way;
                continue;
            }
            self.nodes.swap(before as usize, way as usize);
            // Each keeps its place in the chain and takes the content of the other.
            let sibling = std::mem::replace(&mut self.nodes[before as usize].sibling, way);
            self.nodes[way as usize].sibling = sibling;
            return Some(before);
        }
    }

    /// Whether this is what stands at `at`.
    #[inline(always)]
    fn is_here(&self, node: &Node, bytes: &[u8], at: usize) -> bool {
        let gap_bytes = usize::from(node.gap_bytes);
        let end = at + gap_bytes;
        // Most gaps are short.
        let is_same = match block(bytes, at) {
            Some(here) if gap_bytes <= BLOCK => alike(here, &node.start) >= gap_bytes,
            _ => bytes.get(at..end) == Some(self.gap(node)),
        };
        is_same
            && match node.kind {
                Kind::Text => true,
                Kind::Word => bytes.get(end).is_some_and(|byte| is_word(*byte)),
                Kind::End => end == bytes.len(),
            }
    }

    fn gap(&self, node: &Node) -> &[u8] {
        &self.gaps[node.gap as usize..node.gap as usize + usize::from(node.gap_bytes)]
    }

    /// Whether a document without a path should be learnt.
    fn is_eager(&self) -> bool {
        self.misses < EAGER || self.misses < self.hits * MISSES_PER_HIT || self.misses.is_multiple_of(SELDOM)
    }

    /// Makes a path of a whole document that was read into `flat`, leading to what `shape` makes of it.
    pub fn learn(&mut self, text: &str, flat: &Flat<'_>, shape: impl FnOnce(&Flat<'_>) -> T) {
        self.misses += 1;
        if !self.is_eager() {
            return;
        }
        let Some(pieces) = pieces(text.as_bytes()) else { return };
        // An end is a piece too.
        if pieces.len() != flat.leaves.len() + 1 || !flat.message_bytes.is_empty() {
            return;
        }
        let names = flat.leaves.iter().map(|leaf| leaf.key.len() + flat.prefixes[leaf.prefix].len());
        let shape_bytes = names.map(|bytes| bytes + SHAPE_VALUE_BYTES).sum::<usize>();
        if shape_bytes > SHAPES_BYTES_MAX / 16 {
            return;
        }
        let is_full = self.nodes.len() + pieces.len() > NODES_MAX
            || self.gaps.len() + text.len() > BYTES_MAX
            || self.shapes_bytes + shape_bytes > SHAPES_BYTES_MAX;
        if is_full {
            *self = Outlines::default();
        }
        let mut here = 0;
        for (start, end, kind) in pieces {
            let gap = &text.as_bytes()[start..end];
            here = match self.child(here, gap, kind) {
                Some(known) => known,
                None if self.nodes[here].ways >= WAYS_MAX => return,
                None => self.add(here, gap, kind),
            };
        }
        if self.nodes[here].shape == NONE {
            self.nodes[here].shape = self.shapes.len() as u32;
            self.shapes.push(shape(flat));
            self.shapes_bytes += shape_bytes;
        }
    }

    fn child(&self, parent: usize, gap: &[u8], kind: Kind) -> Option<usize> {
        let mut way = self.nodes[parent].child;
        while let Some(node) = self.nodes.get(way as usize) {
            if self.gap(node) == gap && node.kind == kind {
                return Some(way as usize);
            }
            way = node.sibling;
        }
        None
    }

    fn add(&mut self, parent: usize, gap: &[u8], kind: Kind) -> usize {
        let number = self.nodes.len();
        let mut start = Block::default();
        start.iter_mut().zip(gap).for_each(|(byte, known)| *byte = *known);
        self.nodes.push(Node {
            start,
            gap: self.gaps.len() as u32,
            gap_bytes: gap.len() as u16,
            ways: 0,
            kind,
            child: NONE,
            sibling: self.nodes[parent].child,
            shape: NONE,
        });
        self.gaps.extend_from_slice(gap);
        self.nodes[parent].child = number as u32;
        self.nodes[parent].ways += 1;
        number
    }
}

/// The pieces between the values of a whole document, each with what follows; `None` where it has too
/// many or one is too long.
fn pieces(bytes: &[u8]) -> Option<Vec<(usize, usize, Kind)>> {
    let mut pieces = vec![];
    let (mut start, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        let next = match byte {
            b'"' => {
                let end = text::end(bytes, at + 1, &mut Twice::default())?.0 + 1;
                let blanks = bytes.get(end..)?.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                if bytes.get(end + blanks) == Some(&b':') {
                    at = end + blanks;
                    continue;
                }
                pieces.push((start, at + 1, Kind::Text));
                end
            }
            byte if is_word(*byte) => {
                pieces.push((start, at, Kind::Word));
                word_end(bytes, at)
            }
            _ => {
                at += 1;
                continue;
            }
        };
        (start, at) = (next, next);
    }
    pieces.push((start, bytes.len(), Kind::End));
    let is_bounded = |(start, end, _): &(usize, usize, Kind)| end - start <= GAP_BYTES_MAX;
    (pieces.len() <= LEAVES_MAX && pieces.iter().all(is_bounded)).then_some(pieces)
}

/// Whether a byte begins or continues a number or a word.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

fn word_end(bytes: &[u8], from: usize) -> usize {
    from + bytes[from..].iter().take_while(|byte| is_word(**byte)).count()
}

/// The value at `span`; `None` where it is broken, which only a look at the whole document explains.
pub(in crate::otel) fn value<'a>(text: &'a str, span: Span, arena: &'a Arena) -> Option<Value<'a>> {
    let (start, end) = (span.start as usize, span.end as usize);
    if span.is_text {
        return text::said(text, (start, end), span.is_plain, arena).map(Value::from);
    }
    let (value, found) = scan::scalar(text, start, arena)?;
    (found == end).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otel::buffers::Buffers;

    fn learn(outlines: &mut Outlines<usize>, text: &str) {
        let mut buffers = Buffers::default();
        let (arena, room) = buffers.begin();
        let (mut flat, event) = room.take(arena);
        assert!(flat.read_whole(text), "{text}");
        outlines.learn(text, &flat, |flat| flat.leaves.len());
        room.put(flat, event);
    }

    fn values<'t>(outlines: &mut Outlines<usize>, text: &'t str) -> Option<Vec<&'t str>> {
        let mut spans = vec![];
        let (found, _) = outlines.find(text, &mut spans)?;
        assert_eq!(*outlines.shape(found), spans.len());
        Some(spans.iter().map(|span| &text[span.start as usize..span.end as usize]).collect())
    }

    #[test]
    fn a_document_with_the_same_outline_has_the_same_values_in_other_words() {
        let mut outlines = Outlines::default();
        assert_eq!(values(&mut outlines, r#"{"a":"x","b":1}"#), None);
        learn(&mut outlines, r#"{"a":"x","b":1}"#);
        assert_eq!(values(&mut outlines, r#"{"a":"\\\"\\","b":-2.5}"#), Some(vec![r#"\\\"\\"#, "-2.5"]));
        for other in [r#"{"a":"x","c":1}"#, r#"{"a":1,"b":1}"#, r#"{"a":"x","b":1} "#, r#"{"a":"x","b":1"#] {
            assert_eq!(values(&mut outlines, other), None, "{other}");
        }
    }

    #[test]
    fn ways_that_change_places_still_lead_where_they_did() {
        let mut outlines = Outlines::default();
        let text = |n: usize| format!(r#"{{"id":{n},"key{n}":"v","end{n}":[{}]}}"#, vec!["7"; n].join(","));
        (0..6).for_each(|n| learn(&mut outlines, &text(n)));
        for n in [3, 0, 0, 5, 3, 1, 0, 4, 2, 2, 5, 0, 1] {
            assert_eq!(values(&mut outlines, &text(n)).map(|found| found.len()), Some(n + 2), "{n}");
        }
        learn(&mut outlines, &text(6));
        assert!((0..7).all(|n| values(&mut outlines, &text(n)).is_some()));
    }

    #[test]
    fn many_long_outlines_do_not_fill_the_memory() {
        let mut outlines = Outlines::default();
        let long: String = (0..100).map(|n| format!("\"{}{n}\":1,", "k".repeat(90))).collect();
        for n in 0..3_000 {
            learn(&mut outlines, &format!("{{{long}\"{n}\":1}}"));
            assert!(outlines.shapes_bytes <= SHAPES_BYTES_MAX && outlines.nodes.len() <= NODES_MAX);
        }
        let short: String = (0..100).map(|n| format!("\"{n}\":1,")).collect();
        for n in 0..3_000 {
            let names: String =
                (0..8).map(|bit| if n >> bit & 1 == 1 { "\"y\":1," } else { "\"z\":1," }).collect();
            learn(&mut outlines, &format!("{{{short}{names}\"{n}\":1}}"));
            assert!(outlines.shapes.iter().sum::<usize>() * SHAPE_VALUE_BYTES <= SHAPES_BYTES_MAX);
        }
    }
}
