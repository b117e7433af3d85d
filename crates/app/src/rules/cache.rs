//! Rules as they were read before, by the content of their files: what has not changed need not be parsed
//! again. The files always count: an entry is for one content of one file, read by one program.

use crate::hex;
use otel_log_ai_core::problem::Problem;
use otel_log_ai_core::rule::Rule;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::LazyLock;

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

/// What was read before: after a line that names the program, one for each file: its key and a hash of the
/// whole, both in hexadecimal, and [`Read`] as JSON.
#[derive(Debug, Default)]
pub struct Cache {
    text: String,
    /// Where the JSON stands, and its hash.
    entries: HashMap<Key, (usize, usize, Key)>,
}

/// Largest cache read, bytes; that of SigmaHQ has 9 MB.
const BYTES_MAX: u64 = 256 << 20;

impl Cache {
    /// Reads `path`. Whatever is wrong with it: nothing is known then.
    pub fn open(path: &Path) -> Cache {
        let is_small = std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() <= BYTES_MAX);
        let text = is_small.then(|| std::fs::read_to_string(path).ok()).flatten().unwrap_or_default();
        let Some((program, _)) = text.split_once('\n') else { return Cache::default() };
        if program != *THIS_PROGRAM {
            return Cache::default();
        }
        let mut entries = HashMap::new();
        let mut at = program.len() + 1;
        while let Some(end) = text[at..].find('\n').map(|length| at + length) {
            let mut words = text[at..end].splitn(3, ' ');
            if let (Some(key), Some(hash), Some(json)) =
                (words.next().and_then(hex::decode), words.next().and_then(hex::decode), words.next())
            {
                entries.insert(key, (end - json.len(), end, hash));
            }
            at = end + 1;
        }
        Cache { text, entries }
    }

    /// What is in the file of this key, if it was read before.
    pub fn find(&self, key: &Key) -> Option<Read> {
        let (start, end, hash) = *self.entries.get(key)?;
        let json = &self.text[start..end];
        // A damaged rule could be one as well.
        (hash_of(key, json.as_bytes()) == hash).then(|| serde_json::from_str(json).ok()).flatten()
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

fn hash_of(key: &Key, json: &[u8]) -> Key {
    Sha256::new().chain_update(key).chain_update(json).finalize().into()
}

/// Writes what was read to `path`, at once or not at all.
pub fn store<'r>(path: &Path, read: impl Iterator<Item = (&'r Key, &'r Read)>) -> std::io::Result<()> {
    let mut text = THIS_PROGRAM.clone().into_bytes();
    text.push(b'\n');
    for (key, read) in read {
        let json = serde_json::to_vec(read)?;
        write!(text, "{} {} ", hex::encode(key), hex::encode(&hash_of(key, &json)))?;
        text.extend(json);
        text.push(b'\n');
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    let stored = write_new(unfinished, &text).and_then(|()| std::fs::rename(unfinished, path));
    if stored.is_err() {
        // What is left over would be replaced the next time.
        _ = std::fs::remove_file(unfinished);
    }
    stored
}

/// Writes a file that is not there yet, or takes the place of one left over, never the place of what a link
/// leads to.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}

/// Bytes of a piece of the program, and how many are looked at.
const PIECE_BYTES: usize = 4096;
const PIECES: u64 = 64;

/// Tells this program from any other build, also from one of the same version, size and date: what is
/// stored is of its own types, and as it understands rules.
static THIS_PROGRAM: LazyLock<String> = LazyLock::new(this_program);

fn this_program() -> String {
    let name = |hash: Key| format!("otel-log-ai {} {}", env!("CARGO_PKG_VERSION"), hex::encode(&hash));
    let Ok(mut file) = std::env::current_exe().and_then(std::fs::File::open) else {
        return name(Key::default());
    };
    let mut hash = Sha256::new();
    if let Ok(data) = file.metadata() {
        hash.update(data.len().to_le_bytes());
        let built = data.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        hash.update(built.unwrap_or_default().as_nanos().to_le_bytes());
        let mut piece = [0; PIECE_BYTES];
        for number in 0..PIECES {
            let at = data.len() / PIECES * number;
            let read = file.seek(std::io::SeekFrom::Start(at)).and_then(|_| file.read(&mut piece));
            hash.update(&piece[..read.unwrap_or(0)]);
        }
    }
    name(hash.finalize().into())
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
        let is_right = || {
            let cache = Cache::open(&path);
            [&one, &two].into_iter().all(|key| cache.find(key).is_none_or(|found| found == read))
        };
        for at in (0..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(is_right(), "cut at {at}");
            let mut damaged = whole.clone();
            damaged[at] = if damaged[at] == b'a' { b'b' } else { b'a' };
            std::fs::write(&path, damaged).unwrap();
            assert!(is_right(), "damaged at {at}");
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
