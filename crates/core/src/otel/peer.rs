//! Who and from where, in a line that a program wrote for people: `Failed password for bob from
//! 203.0.113.9 port 51514`, `… rhost=203.0.113.9  user=root`, `[client 203.0.113.9:50700] …`.
//!
//! Hundreds of programs say the same in their own words, so this goes by the word in front of an
//! address or a name rather than by program. A line that says it in fields of its own does not come
//! here. What an attacker may choose (names, requests) can hold anything; of several addresses the
//! one behind the better word counts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a line says of who did it.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Peer {
    /// Address or name of the machine it came from.
    pub address: Option<String>,
    /// Name of the account.
    pub user: Option<String>,
}

/// In so many bytes of a line is looked.
const LINE_BYTES_MAX: usize = 4096;
/// No address with a port is longer (`INET6_ADDRSTRLEN`, and brackets and port).
const ADDRESS_BYTES_MAX: usize = 64;
/// So many addresses of a line are looked at.
const ADDRESSES_MAX: usize = 16;

/// Words in front of the other end, the better first.
const FROM: [&[&str]; 2] = [
    &[
        "from",
        "rhost",
        "client",
        "remoteaddress",
        "clientip",
        "client_ip",
        "remoteip",
        "remote_ip",
        "remote_addr",
        "srcip",
        "src_ip",
    ],
    &[
        "ip", "host", "remote", "src", "source", "address", "addr", "peer", "by", "hostname", "sip",
        "ipaddr", "lhost",
    ],
];
/// Words in front of an address that is not the other end.
const NOT_FROM: [&str; 16] = [
    "to",
    "localaddress",
    "laddr",
    "dst",
    "dest",
    "destination",
    "server",
    "local",
    "listen",
    "listening",
    "i",
    "version",
    "daddr",
    "via",
    "for",
    "dstip",
];

/// Reads what stands behind the header of a line.
pub(super) fn read(message: &str) -> Peer {
    let line = &message[..message.floor_char_boundary(LINE_BYTES_MAX)];
    // What was asked for says nothing of who asked.
    let request = if line.contains('"') { line.rfind(" request: \"") } else { None };
    let line = request.map_or(line, |end| &line[..end]);
    Peer { address: address(line), user: user(line) }
}

fn address(line: &str) -> Option<String> {
    let mut best: Option<(i32, IpAddr)> = None;
    let mut at = 0;
    let mut seen = 0;
    while let Some(found) = line[at..].find(|c: char| c.is_ascii_hexdigit() || c == ':') {
        // `UDP:192.0.2.1`
        let is_colon = line[at + found..].starts_with(':') && !line[at + found..].starts_with("::");
        let start = at + found + usize::from(is_colon);
        let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
        // Longer than any address: not read to its end again and again.
        let length = line[start..].chars().take(ADDRESS_BYTES_MAX).take_while(|c| is_part(*c)).count();
        let end = start + length;
        at = end;
        if !line[start..end].contains(['.', ':']) {
            // A number or a part of a word.
            continue;
        }
        let is_inside = line[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let goes_on = line[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if let (true, Some(colon @ 1..)) = (is_inside, line[start..end].find(':')) {
            // `ipv4:192.0.2.1`
            at = start + colon;
            continue;
        }
        let is_other = is_inside || goes_on || is_network(&line[end..]);
        let Some(address) = parse(&line[start..end]).filter(|_| !is_other) else { continue };
        let mut score = score(&line[..start]);
        if score == 0 && (line[end..].starts_with(" port ") || line[end..].starts_with("->")) {
            score = 1;
        }
        // Behind equal words the last: what was chosen by someone else stands before it.
        if best.is_none_or(|(best, _)| score > best || (score == best && score > 0)) {
            best = Some((score, address));
        }
        seen += 1;
        if seen >= ADDRESSES_MAX {
            break;
        }
    }
    match best {
        Some((score, address)) if score >= 0 => Some(address.to_string()),
        best => name_of_machine(line).or_else(|| best.map(|(_, address)| address.to_string())),
    }
}

/// Whether what follows an address makes it one of a network: `/24`, but not `/192.0.2.1`.
fn is_network(after: &str) -> bool {
    let Some(bits) = after.strip_prefix('/') else { return false };
    let end = bits.find(|c: char| !c.is_ascii_digit()).unwrap_or(bits.len());
    (1..=3).contains(&end) && !bits[end..].starts_with(['.', ':'])
}

/// An address, also with a port behind it (`1.2.3.4:80`, `1.2.3.4.80`), or at the end of a sentence.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim_end_matches(['.', ':']);
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4));
    }
    let mut ends = text.match_indices(['.', ':']).map(|(at, _)| at).skip(3);
    let four = ends.next().map_or(text, |end| &text[..end]);
    if let Ok(address) = four.parse::<Ipv4Addr>() {
        let rest = &text[four.len()..];
        let is_port = rest.is_empty() || rest[1..].bytes().all(|b| b.is_ascii_digit());
        return is_port.then_some(IpAddr::V4(address));
    }
    let (six, port) = text.rsplit_once(':')?;
    if let Some(four) = six.strip_prefix("::ffff:").and_then(|four| four.parse::<Ipv4Addr>().ok()) {
        return Some(IpAddr::V4(four));
    }
    // Five digits are no part of an address, so they are a port.
    (port.len() == 5).then(|| six.parse::<Ipv6Addr>().ok()).flatten().map(IpAddr::V6)
}

/// How well the words before an address say that it is the other end.
fn score(before: &str) -> i32 {
    // `user from [1.2.3.4`, `client=mail.example[1.2.3.4`, `Host: 1.2.3.4`, `from='1.2.3.4`
    let is_frame = |c: char| !c.is_alphanumeric() && c != '_';
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = before.trim_end_matches(is_frame);
    if rest.ends_with(" failed for") {
        return 7;
    }
    for distance in 0..2 {
        let start = rest
            .rfind(|c: char| !is_word(c))
            .map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
        let word = rest[start..].to_ascii_lowercase();
        if word.is_empty() {
            break;
        }
        if (distance == 0 || word == "localaddress") && NOT_FROM.contains(&word.as_str()) {
            return -1;
        }
        if word == "host" && rest[..start].trim_end().ends_with("local") {
            return -1;
        }
        if let Some(place) = FROM.iter().position(|words| words.contains(&word.as_str())) {
            return 6 - 2 * place as i32 - distance;
        }
        // One word between: `from example.com[1.2.3.4]`, `client @0x7f65 1.2.3.4`.
        let end = rest[..start].trim_end_matches(|c: char| !c.is_whitespace() && c != '=');
        rest = end.trim_end_matches(is_frame);
    }
    0
}

/// Behind a word that only stands before machines.
fn name_of_machine(line: &str) -> Option<String> {
    for word in ["rhost=", " from "] {
        let Some(at) = line.rfind(word) else { continue };
        let rest = line[at + word.len()..].trim_start_matches(['\'', '"', '[', '<']);
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')))
            .unwrap_or(rest.len());
        let name = rest[..end].trim_end_matches('.');
        if name.contains('.') && name.len() > 3 {
            return Some(name.to_owned());
        }
    }
    None
}

/// Words in front of a name, the better first: those with `=` stand alone, the others need a blank.
const USERS: [&str; 17] = [
    " user=",
    "(user=",
    "acct=",
    "username=",
    "user: ",
    "invalid user ",
    "illegal user ",
    "username ",
    "unknown user ",
    "for user ",
    "account ",
    "login as ",
    "user ",
    "login for ",
    "ruser=",
    " as ",
    " for ",
];

/// Words that stand where a name would, but are none.
const NOT_USERS: [&str; 22] = [
    "from",
    "not",
    "unknown",
    "invalid",
    "illegal",
    "login",
    "user",
    "name",
    "is",
    "was",
    "the",
    "by",
    "for",
    "and",
    "does",
    "of",
    "account",
    "authentication",
    "has",
    "with",
    "in",
    "database",
];

fn user(line: &str) -> Option<String> {
    let lower = line.to_ascii_lowercase();
    let pairs = Pairs::of(lower.as_bytes());
    for word in USERS {
        if !pairs.may_hold(word.as_bytes()) {
            continue;
        }
        for (at, _) in lower.match_indices(word).take(4) {
            let rest = &line[at + word.len()..];
            let open = rest.chars().next().filter(|c| matches!(c, '\'' | '"' | '`' | '<' | '[' | '('));
            let rest = open.map_or(rest, |_| &rest[1..]);
            let close = match open {
                Some('<') => '>',
                Some('[') => ']',
                Some('(') => ')',
                Some(quote) => quote,
                None => ' ',
            };
            let is_end = |(at, c): (usize, char)| {
                let next = rest[at + c.len_utf8()..].chars().next();
                let is_apostrophe = open.is_some() && next.is_some_and(char::is_alphanumeric);
                let is_stop = open.is_none() && matches!(c, ';' | ',' | '"' | '\'' | ')' | ']');
                (c == close && !is_apostrophe) || is_stop
            };
            let end = rest.char_indices().find(|found| is_end(*found)).map_or(rest.len(), |(at, _)| at);
            let mut name = &rest[..end];
            // A name may hold blanks where the line goes on with where it came from.
            if let (None, true, Some(end)) = (open, word.ends_with("user "), rest.find(" from ")) {
                name = &rest[..end];
            }
            let name = if open.is_none() { name.trim_end_matches(['.', ':']) } else { name };
            let is_name =
                !name.is_empty() && name.len() <= 256 && !name.contains('=') && parse(name).is_none();
            // A bare word behind a bare word: only what cannot go on as a sentence.
            if is_name && (open.is_some() || !NOT_USERS.contains(&name.to_ascii_lowercase().as_str())) {
                return Some(name.to_owned());
            }
        }
    }
    None
}

/// Which two bytes follow each other somewhere in a line, as far as a bit each tells: most words are
/// ruled out by it without a search.
struct Pairs([u64; 16]);

impl Pairs {
    fn of(line: &[u8]) -> Pairs {
        let mut pairs = Pairs([0; 16]);
        for pair in line.windows(2) {
            let (word, bit) = Pairs::place(pair);
            pairs.0[word] |= bit;
        }
        pairs
    }

    fn may_hold(&self, text: &[u8]) -> bool {
        text.windows(2).all(|pair| {
            let (word, bit) = Pairs::place(pair);
            self.0[word] & bit != 0
        })
    }

    fn place(pair: &[u8]) -> (usize, u64) {
        let number = usize::from(pair[0]) * 37 + usize::from(pair[1]);
        (number / 64 % 16, 1 << (number % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, address: &str, user: &str) {
        let peer = read(line);
        assert_eq!(
            (peer.address.as_deref().unwrap_or(""), peer.user.as_deref().unwrap_or("")),
            (address, user),
            "{line}"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read(line in ".*", words in "( from |user |client:|:|::ffff:|1\\.2\\.3\\.4|ä|'|/24| ){0,20}") {
            read(&line);
            read(&words);
        }
    }

    #[test]
    fn programs_say_it_in_many_words() {
        check(
            "Failed password for invalid user admin from 203.0.113.9 port 51514 ssh2",
            "203.0.113.9",
            "admin",
        );
        check(
            "pam_unix(x:auth): authentication failure; ruser=a rhost=192.0.2.7  user=root",
            "192.0.2.7",
            "root",
        );
        check("Login failed for user 'Backend'. Reason: x. [CLIENT: 192.0.2.1]", "192.0.2.1", "Backend");
        check("badlogin: example.com[198.51.100.4] PLAIN authentication failure", "198.51.100.4", "");
        check("AUTHFAIL: user=typist ip=::ffff:10.1.1.5 time=1", "10.1.1.5", "typist");
        check("client 2001:db8::7#31337: query denied", "2001:db8::7", "");
        check("block(1): tcp/accept ]: 192.0.2.5.50550 0.0.0.0.1080: x", "192.0.2.5", "");
        check("connected to 192.0.2.1 from 192.0.2.2.", "192.0.2.2", "");
        check("authentication failure; rhost=a.example.com", "a.example.com", "");
        check("session opened at 10:15:30, version 1.2.3", "", "");
        check("login failure for user two words from 192.0.2.3 via ssh", "192.0.2.3", "two words");
        check("Request from '\"1\" <sip:1@192.0.2.1>' failed for '192.0.2.9:48336' - x", "192.0.2.9", "");
        check("Login failed for user 'O'Leary'. [CLIENT: 192.0.2.4]", "192.0.2.4", "O'Leary");
        check("2001:db8::1234:58430 [14/Nov/2015] x", "2001:db8::1234", "");
        check("from 192.0.2.0/24 query 192.0.2.105", "192.0.2.105", "");
        check(
            "client: 192.0.2.8, server: x, request: \"GET /?client: 192.0.2.66 HTTP/1.1\"",
            "192.0.2.8",
            "",
        );
        check("error for james from a.example.com via 192.0.2.1", "a.example.com", "james");
        check("Call (UDP:192.0.2.1:65049) to extension '1'", "192.0.2.1", "");
        check("remote host [ipv4:192.0.2.1:62419] x. local host [ipv4:10.1.1.1:445]", "192.0.2.1", "");
        check(
            "10.0.0.1 in:e1 src-mac 00:17:10:88:bc:02, 192.0.2.1:59388->192.0.2.9:23, len",
            "192.0.2.1",
            "",
        );
        check("std::f::ab::1 x::", "", "");
        check("", "", "");
    }
}
