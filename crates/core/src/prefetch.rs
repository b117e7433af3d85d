//! Memory that is about to be read, fetched while something else is done.

/// So much of a text is fetched; of longer ones the processor sees by itself what comes next.
const BYTES_MAX: usize = 1 << 14;
const CACHE_LINE_BYTES: usize = 64;

/// Has all cache lines of a text fetched at once, at most the first 16 KB. Reading would wait for one after the
/// other, for what is read next depends on what was read before.
pub fn prefetch(bytes: &[u8]) {
    let lines = bytes.iter().take(BYTES_MAX).step_by(CACHE_LINE_BYTES);
    #[cfg(target_arch = "x86_64")]
    lines.for_each(safe_arch::prefetch_t0);
    // Without an instruction for it, a byte of each is read.
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(lines.fold(0, |all, byte| all ^ byte));
}

/// The items in their order; while one is worked on, the text of the next is fetched.
pub fn ahead<'i, I, T>(items: I, text: fn(&'i T) -> &'i [u8]) -> impl Iterator<Item = &'i T>
where
    I: IntoIterator<Item = &'i T>,
    T: 'i,
{
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        let item = items.next()?;
        if let Some(next) = items.peek() {
            prefetch(text(next));
        }
        Some(item)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_items_come_in_their_order() {
        let texts = ["a".to_owned(), String::new(), "b".repeat(3 * BYTES_MAX)];
        for count in 0..=texts.len() {
            let items: Vec<&String> = ahead(&texts[..count], |text| text.as_bytes()).collect();
            assert_eq!(items, texts[..count].iter().collect::<Vec<_>>());
        }
    }
}
