//! Text from logs and rules, made harmless for Keep, for Markdown and for a terminal.
//!
//! Three dangers: Keep renders templates in the *content* of alerts again when a workflow uses it,
//! so that `{{…}}` and `keep.function(…)` in a log line would be executed or make the notification
//! fail; control characters drive terminals; back-ticks end a code fence. Nothing is dropped
//! silently: what is replaced stays visible.

/// Zero-width space: breaks what Keep's renderer looks for and is invisible to people.
const BREAK: char = '\u{200b}';
/// Stands for a character that must not be shown as such.
const REPLACED: char = '\u{fffd}';
/// Says that something was cut off.
const CUT: char = '…';

/// One line, at most `bytes_max` bytes, harmless.
pub(crate) fn line(text: &str, bytes_max: usize) -> String {
    let shown = visible(text, bytes_max);
    let words: Vec<&str> = shown.split_whitespace().collect();
    cut(&neutral(&words.join(" ")), bytes_max)
}

/// Text of several lines, at most `bytes_max` bytes, harmless.
pub(crate) fn block(text: &str, bytes_max: usize) -> String {
    cut(&neutral(visible(text, bytes_max).trim()), bytes_max)
}

/// A Markdown code block that holds `text`, whatever back-ticks there are in it.
pub(crate) fn fence(text: &str) -> String {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    format!("{fence}\n{text}\n{fence}")
}

/// A Markdown code span that holds `text` (one line).
pub(crate) fn span(text: &str) -> String {
    let ticks = "`".repeat(longest_run(text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// Control characters as their pictures (escape becomes ␛), characters that reorder a text as �,
/// every kind of line end as a line feed. Reads no more than is needed for `bytes_max`.
fn visible(text: &str, bytes_max: usize) -> String {
    // A little more than fits, so that the cut is seen as one.
    let text = &text[..text.floor_char_boundary(bytes_max.saturating_add(8))];
    let text = text.replace("\r\n", "\n");
    let show = |c: char| match c {
        '\n' | '\t' => c,
        '\r' | '\u{2028}' | '\u{2029}' | '\u{85}' => '\n',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(REPLACED),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' => REPLACED,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => REPLACED,
        _ => c,
    };
    text.chars().map(show).collect()
}

/// Breaks `{{`, `}}` and `keep.` (Keep's `iohandler` looks for just these).
fn neutral(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let doubled = matches!(c, '{' | '}') && out.ends_with(c);
        if doubled || c == '.' && ends_with_keep(&out) {
            out.push(BREAK);
        }
        out.push(c);
    }
    out
}

fn ends_with_keep(text: &str) -> bool {
    text.len() >= 4 && text.as_bytes()[text.len() - 4..].eq_ignore_ascii_case(b"keep")
}

fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(CUT.len_utf8()));
    format!("{}{CUT}", text[..end].trim_end())
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn templates_are_broken() {
        assert_eq!(line("a {{ alert.x }} b", 99), "a {\u{200b}{ alert.x }\u{200b}} b");
        assert_eq!(line("{{{", 99), "{\u{200b}{\u{200b}{");
        assert_eq!(line("keep.len([1]) KEEP.x bookkeep.y", 99).matches("eep.").count(), 0);
        assert_eq!(line("ke\nep.x", 99), "ke ep.x");
    }

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(
            line("\u{1b}[31mred\u{7}\0 \u{9b}2J \u{202e}evil", 99),
            "␛[31mred␇␀ \u{fffd}2J \u{fffd}evil"
        );
        assert_eq!(block("a\r\nb\rc\td", 99), "a\nb\nc\td");
        assert_eq!(line("a\r\nb\u{2028}c\td  e", 99), "a b c d e");
    }

    #[test]
    fn long_text_is_cut_on_a_character() {
        assert_eq!(line("äöüäöü", 8), "äö…");
        assert_eq!(line("äöüä", 8), "äöüä");
    }

    #[test]
    fn no_back_ticks_end_a_fence_early() {
        assert_eq!(fence("x"), "```\nx\n```");
        assert_eq!(fence("```\nx````"), "`````\n```\nx````\n`````");
        assert_eq!(span("a`b"), "``a`b``");
        assert_eq!(span("`"), "`` ` ``");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_harmless_and_short(text in "[{}keEpP.\u{200b}\u{1b}\n`é ]{0,60}|\\PC{0,40}|.{0,40}", max in 4..60usize) {
            for out in [line(&text, max), block(&text, max)] {
                prop_assert!(out.len() <= max);
                prop_assert!(!out.contains("{{") && !out.contains("}}"));
                prop_assert!(!out.to_lowercase().contains("keep."));
                prop_assert!(!out.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            }
            prop_assert!(!line(&text, max).contains('\n'));
        }
    }
}
