//! Text looked at in blocks of bytes, each byte of a block at once.

use wide::u8x32;

/// Bytes of a block.
pub(super) const BLOCK: usize = 32;
/// The bytes of a block, as they stand in a text.
pub(super) type Block = [u8; BLOCK];

/// The block that begins at `at`, if so much is left.
#[inline]
pub(super) fn block(bytes: &[u8], at: usize) -> Option<&Block> {
    bytes.get(at..)?.first_chunk()
}

/// How many bytes from the first on are the same.
#[inline]
pub(super) fn alike(a: &Block, b: &Block) -> usize {
    (!u8x32::new(*a).simd_eq(u8x32::new(*b)).to_bitmask()).trailing_zeros() as usize
}

/// Where from `from` on the first byte stands that ends a text, begins an escape or must not stand in
/// a text.
#[inline]
pub(super) fn special(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(block) = block(bytes, at) {
        let marks = specials(block);
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize);
        }
        at += BLOCK;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    bytes.get(at..)?.iter().position(is_special).map(|found| at + found)
}

/// A bit for each byte that is this one, the lowest for the first.
#[inline]
pub(super) fn is(block: &Block, byte: u8) -> u32 {
    same(u8x32::new(*block), byte).to_bitmask()
}

/// All bits set in each byte that is this one.
#[inline]
fn same(block: u8x32, byte: u8) -> u8x32 {
    block.simd_eq(u8x32::splat(byte))
}

/// A bit for each quote, backslash and control character, the lowest for the first byte.
#[inline]
fn specials(block: &Block) -> u32 {
    let block = u8x32::new(*block);
    let is_control = block.min(u8x32::splat(b' ' - 1)).simd_eq(block);
    (same(block, b'"') | same(block, b'\\') | is_control).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specials_are_found_wherever_they_stand() {
        for length in 0..100 {
            for (mark, is_mark) in
                [(b'"', true), (b'\\', true), (0, true), (0x1f, true), (b'!', false), (0xa2, false)]
            {
                let mut bytes = vec![b'x'; 100];
                bytes[length] = mark;
                assert_eq!(special(&bytes, 0), is_mark.then_some(length), "{mark} at {length}");
                assert_eq!(special(&bytes, length), is_mark.then_some(length), "{mark} at {length}");
            }
        }
    }

    #[test]
    fn blocks_are_alike_up_to_the_first_difference() {
        let block = [b'a'; BLOCK];
        assert_eq!(alike(&block, &block), BLOCK);
        for at in 0..BLOCK {
            let mut other = block;
            other[at..].fill(b'b');
            assert_eq!(alike(&block, &other), at);
        }
    }
}
