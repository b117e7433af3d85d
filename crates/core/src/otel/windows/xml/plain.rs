//! The fast way through an event's XML: elements, quoted attributes, texts and references, and nothing
//! else. At anything else (comments, CDATA, a cut text, what is broken) it gives up, and `quick_xml`
//! reads the text from its beginning.

use super::{Walk, entity, local};
use quick_xml::events::BytesRef;
use std::borrow::Cow;

impl<'a> Walk<'_, 'a> {
    /// Reads the event; `None`: it gave up.
    pub(super) fn read_plain(&mut self, fields_max: usize) -> Option<()> {
        let (source, bytes) = (self.source, self.source.as_bytes());
        let mut at = 0;
        loop {
            match bytes.get(at)? {
                b'<' if bytes.get(at + 1)? == &b'/' => {
                    let end = at + 2 + name_length(&bytes[at + 2..], is_name);
                    if end == at + 2 || bytes.get(end)? != &b'>' {
                        return None;
                    }
                    at = end + 1;
                    self.close();
                }
                b'<' => at = self.element(at + 1)?,
                b'&' => {
                    let end =
                        at + 1 + name_length(&bytes[at + 1..], |b| b.is_ascii_alphanumeric() || b == b'#');
                    let name = &source[at + 1..end];
                    if name.is_empty() || bytes.get(end)? != &b';' {
                        return None;
                    }
                    let character = BytesRef::new(name).resolve_char_ref().ok().flatten();
                    self.append(entity(character, name));
                    at = end + 1;
                }
                _ => {
                    let end = at + memchr::memchr2(b'<', b'&', &bytes[at..])?;
                    self.append(Cow::Borrowed(&source[at..end]));
                    at = end;
                }
            }
            if self.is_end() {
                return Some(());
            }
            if self.is_beyond(fields_max) {
                return None;
            }
        }
    }

    /// Opens the element whose name begins at `at`, and closes it where it is empty. Where it ends.
    fn element(&mut self, at: usize) -> Option<usize> {
        let (source, bytes) = (self.source, self.source.as_bytes());
        let end = at + name_length(bytes.get(at..)?, is_name);
        let name = local(&source[at..end]);
        if name.is_empty() {
            return None;
        }
        self.attributes.clear();
        let mut at = end;
        loop {
            let blanks = name_length(bytes.get(at..)?, |b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
            at += blanks;
            match bytes.get(at)? {
                b'>' => {
                    self.open(name);
                    return Some(at + 1);
                }
                b'/' if bytes.get(at + 1)? == &b'>' => {
                    self.open(name);
                    self.close();
                    return Some(at + 2);
                }
                _ if blanks == 0 => return None,
                _ => {}
            }
            let end = at + name_length(bytes.get(at..)?, is_name);
            let quote = *bytes.get(end + 1)?;
            if end == at || bytes[end] != b'=' || !matches!(quote, b'"' | b'\'') {
                return None;
            }
            let close = find(bytes, end + 2, quote)?;
            let value = &source[end + 2..close];
            if memchr::memchr2(b'<', b'>', value.as_bytes()).is_some() {
                return None;
            }
            self.attributes.push((&source[at..end], value));
            at = close + 1;
        }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':')
}

fn name_length(bytes: &[u8], is_part: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is_part(**byte)).count()
}

fn find(bytes: &[u8], from: usize, byte: u8) -> Option<usize> {
    memchr::memchr(byte, bytes.get(from..)?).map(|found| from + found)
}

#[cfg(test)]
mod tests {
    use super::super::{Arena, FIELDS_MAX, LogEvent, Walk};
    use proptest::prelude::*;

    /// What is read fast is read the same by the other reader; whether it was.
    #[track_caller]
    fn check(text: &str) -> bool {
        let arena = Arena::new();
        let (mut fast, mut any) = (LogEvent::default(), LogEvent::default());
        let mut walk = Walk::new(text, &mut fast, &arena);
        if walk.read_plain(FIELDS_MAX).is_none() {
            return false;
        }
        let plain = walk.draft.finish();
        let mut walk = Walk::new(text, &mut any, &arena);
        assert_eq!(walk.read_any(FIELDS_MAX), None, "{text}");
        assert_eq!(walk.draft.finish(), plain, "{text}");
        assert_eq!(any.fields, fast.fields, "{text}");
        true
    }

    #[test]
    fn what_agents_write_is_read_fast() {
        assert!(check(
            "<Event xmlns='http://x'>\r\n <System><Provider Name=\"P\" Guid='{1}'/><EventID>1</EventID>\
             <Security /></System><EventData><Data Name='a'>x &lt; &#65;&amp;ü</Data><Data></Data>\
             <Binary>00</Binary></EventData><UserData><e:E xmlns:e='y' n='&quot;'><v>1</v></e:E></UserData></Event>"
        ));
    }

    #[test]
    fn it_gives_up_on_anything_else() {
        for text in [
            "",
            "<",
            "<Event>",
            "<Event/>",
            "<Event><System/>",
            "<Event><System></System></Event",
            "<!-- --><Event/>",
            "<Event><System></System></E'vent>",
            "<Event><System></System></>",
            "<Event a=b><System/></Event>",
            "<Event a='1'b='2'><System/></Event>",
            "<Event><System>&x</System></Event>",
            "<Event a='<'><System/></Event>",
            "<Event><System><![CDATA[x]]></System></Event>",
            "< Event><System/></Event>",
        ] {
            assert!(!check(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_fast_is_read_the_same_otherwise(
            inner in "(<(/?(System|EventData|UserData|RenderingInfo)|Data( Name='[a&;]{0,3}')?|/Data|a:b x=\"1\"/|EventID|/EventID)>|&(lt|#65|x);|[a1\"' ]){0,12}",
        ) {
            check(&format!("<Event><System><EventID>1</EventID></System>{inner}</Event>"));
            check(&format!("<Event>{inner}<System></System></Event>"));
        }
    }
}
