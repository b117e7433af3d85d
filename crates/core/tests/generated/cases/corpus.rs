//! SigmaHQ's rules, from an archive beside the checkout; they are no part of the project.

use flate2::read::GzDecoder;
use std::io::Read;
use std::path::{Path, PathBuf};

const ARCHIVE: &str = "../../../shared/corpora/sigma-rules/sigmahq-rules-8eaafff1.tar.gz";
/// The folders of rules that are meant to be used.
const FOLDERS: [&str; 6] = [
    "rules/",
    "rules-emerging-threats/",
    "rules-threat-hunting/",
    "rules-compliance/",
    "rules-dfir/",
    "rules-placeholder/",
];

/// Path and text of every rule file; none, with a notice, where the archive is absent. `root` is the
/// folder of the package that asks.
pub fn rule_files(root: &str) -> Vec<(String, String)> {
    let path: PathBuf = Path::new(root).join(ARCHIVE);
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("skipped: no {}", path.display());
        return vec![];
    };
    let mut files = Vec::new();
    for entry in tar::Archive::new(GzDecoder::new(file)).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let wanted = FOLDERS.iter().any(|folder| path.trim_start_matches("./").starts_with(folder));
        if wanted && path.ends_with(".yml") {
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("a rule is text");
            files.push((path, text));
        }
    }
    files.sort();
    files
}
