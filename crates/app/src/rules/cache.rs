//! Rules as they were read before, by the content of their files: what has not changed need not be parsed
//! again. The files always count: an entry is for one content of one file, read by one program.

use otel_log_ai_core::problem::Problem;
use otel_log_ai_core::rule::Rule;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

/// What is in one file.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Read {
    /// Its rules, unfiltered.
    pub rules: Vec<Rule>,
    /// What is wrong with others.
    pub problems: Vec<Problem>,
}

/// Hash of a file's name and content.
pub type Key = [u8; 32];

/// What was read before: after a line that names the program, one for each file, its key in hexadecimal and
/// [`Read`] as JSON.
#[derive(Debug, Default)]
pub struct Cache {
    text: String,
    /// Where the JSON stands.
    entries: HashMap<Key, (usize, usize)>,
}

/// Largest cache read, bytes; that of SigmaHQ has 9 MB.
const BYTES_MAX: u64 = 256 << 20;

impl Cache {
    /// Reads `path`. Whatever is wrong with it: nothing is known then.
    pub fn open(path: &Path) -> Cache {
        let is_small = std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() <= BYTES_MAX);
        let text = is_small.then(|| std::fs::read_to_string(path).ok()).flatten().unwrap_or_default();
        let Some((program, _)) = text.split_once('\n') else { return Cache::default() };
        if program != this_program() {
            return Cache::default();
        }
        let mut entries = HashMap::new();
        let mut at = program.len() + 1;
        while let Some(end) = text[at..].find('\n').map(|length| at + length) {
            if let Some((key, _)) = text[at..end].split_once(' ')
                && let Some(key) = from_hex(key)
            {
                entries.insert(key, (at + 2 * key.len() + 1, end));
            }
            at = end + 1;
        }
        Cache { text, entries }
    }

    /// What is in the file of this key, if it was read before.
    pub fn find(&self, key: &Key) -> Option<Read> {
        let (start, end) = *self.entries.get(key)?;
        serde_json::from_str(&self.text[start..end]).ok()
    }

    /// How many files it knows.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The key of a file.
pub fn key(name: &str, text: &str) -> Key {
    let mut hash = Sha256::new();
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name);
    hash.update(text);
    hash.finalize().into()
}

/// Writes what was read to `path`, at once or not at all.
pub fn store<'r>(path: &Path, read: impl Iterator<Item = (&'r Key, &'r Read)>) -> std::io::Result<()> {
    let mut text = this_program().into_bytes();
    text.push(b'\n');
    for (key, read) in read {
        for byte in key {
            write!(text, "{byte:02x}")?;
        }
        text.push(b' ');
        serde_json::to_writer(&mut text, read)?;
        text.push(b'\n');
    }
    let unfinished = path.with_extension("rules.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&unfinished)?.write_all(&text)?;
    std::fs::rename(&unfinished, path)
}

/// Tells this program from any other build: what is stored is of its own types.
fn this_program() -> String {
    let data = std::env::current_exe().and_then(std::fs::metadata).ok();
    let bytes = data.as_ref().map_or(0, std::fs::Metadata::len);
    let built = data.and_then(|data| data.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok());
    format!("otel-log-ai {} {bytes} {}", env!("CARGO_PKG_VERSION"), built.unwrap_or_default().as_nanos())
}

fn from_hex(text: &str) -> Option<Key> {
    let mut key = Key::default();
    if text.len() != 2 * key.len() || !text.is_ascii() {
        return None;
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read() -> Read {
        let text = "title: t\nlogsource: {product: x}\ndetection:\n  s:\n    A|re: 'a+'\n    B|gt: 1.5\n    \
                    C|cidr: 10.0.0.0/8\n    D|windash|contains: ' -x'\n    E: null\n    F|fieldref: G\n    H|exists: true\n    \
                    I|minute: 5\n    J: ä?*\n  condition: s\n---\ntitle: u\nlogsource: {product: x}\n";
        let (rules, problems) = otel_log_ai_core::rule::load("t.yml", text);
        assert_eq!((rules.len(), problems.len()), (1, 1), "{problems:?}");
        Read { rules, problems }
    }

    #[test]
    fn what_was_stored_is_found_by_its_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.rules");
        let (one, read) = (key("a", "text"), read());
        store(&path, [(&one, &read)].into_iter()).unwrap();
        let cache = Cache::open(&path);
        assert_eq!(cache.find(&one), Some(read));
        assert_eq!(cache.len(), 1);
        for other in [key("a", "texts"), key("at", "ext"), key("", "atext")] {
            assert_eq!(cache.find(&other), None);
        }
    }

    #[test]
    fn a_cache_that_is_torn_foreign_or_away_knows_nothing_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.rules");
        assert_eq!(Cache::open(&path).len(), 0);
        assert_eq!(Cache::open(dir.path()).len(), 0);
        let (one, two, read) = (key("a", "1"), key("b", "2"), read());
        store(&path, [(&one, &read), (&two, &read)].into_iter()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for end in (0..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..end]).unwrap();
            let cache = Cache::open(&path);
            assert!([&one, &two].into_iter().all(|key| cache.find(key).is_none_or(|found| found == read)));
        }
        let other = String::from_utf8(whole).unwrap().replacen("otel-log-ai ", "otel-log-ai 9", 1);
        std::fs::write(&path, other).unwrap();
        assert_eq!(Cache::open(&path).len(), 0);
        std::fs::write(&path, b"\xff\xfe\n").unwrap();
        assert_eq!(Cache::open(&path).len(), 0);
    }

    #[test]
    #[cfg(unix)]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.rules");
        store(&path, std::iter::empty()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
