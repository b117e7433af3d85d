//! Reads Sigma rules from directories and files, filters them, and compiles what is left.
//!
//! What is broken is reported and the rest loads. Walking is bounded (depth, files, size) and does
//! not follow symbolic links out of the tree they are in.

mod cache;
mod cost;
mod extension;
mod filter;
mod watch;

pub use cost::dear;
pub use extension::{mapping, pipelines};
pub use watch::{Fingerprint, Trigger, watch};

use crate::config;
use cache::{Cache, Read};
use filter::Filter;
use otel_log_ai_core::detect::Detector;
use otel_log_ai_core::parallel;
use otel_log_ai_core::problem::Problem;
use otel_log_ai_core::rule::{self, Pipelines, Rule, RuleInfo};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Largest rule file read, bytes. The largest of SigmaHQ's has some 40 KB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most rule files read; SigmaHQ's tree has some 4,000.
const FILES_MAX: usize = 100_000;
/// Deepest directory entered.
const DEPTH_MAX: usize = 32;

/// What was found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Rules that passed the filters, in the order of paths, ids unique.
    pub rules: Vec<Rule>,
    /// How many rules the filters left out.
    pub filtered: usize,
    /// How many files were read.
    pub files: usize,
    /// What was wrong, by file and line.
    pub problems: Vec<Problem>,
    /// Rules that load and cost more than their budget, the dearest first.
    pub dear: Vec<Problem>,
}

/// Reads all rules below `paths`, for commands without a configuration. A path that does not exist
/// is an error: it is what the user asked for.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Loaded> {
    read_with(paths, &Pipelines::default())
}

/// [`read`], with `pipelines` carried out on each rule.
pub fn read_with(paths: &[PathBuf], pipelines: &Pipelines) -> anyhow::Result<Loaded> {
    if let Some(absent) = paths.iter().find(|path| !path.exists()) {
        anyhow::bail!("{} does not exist", absent.display());
    }
    Ok(load_wanted(paths, pipelines, None, |_| true))
}

/// Reads the rules that `config` names and wants.
pub fn load(config: &config::Rules, pipelines: &Pipelines) -> Loaded {
    let filter = Filter::new(config);
    load_wanted(&config.paths, pipelines, config.cache.as_deref(), |info| filter.wants(info))
}

fn load_wanted(
    paths: &[PathBuf],
    pipelines: &Pipelines,
    cache: Option<&Path>,
    wants: impl Fn(&RuleInfo) -> bool,
) -> Loaded {
    let mut loaded = Loaded::default();
    let mut seen: HashMap<String, String> = HashMap::new();
    let paths = files(paths, "rules.paths", &mut loaded.problems);
    // What pipelines make of a rule is not in its file.
    let cache = cache.filter(|_| pipelines.is_empty());
    for (name, read) in parsed(&paths, pipelines, cache) {
        let Read { rules, problems } = match read {
            Ok(read) => read,
            Err(message) => {
                loaded.problems.push(problem(&name, "", message, None));
                continue;
            }
        };
        loaded.files += 1;
        loaded.problems.extend(problems);
        for rule in rules {
            if !wants(&rule.info) {
                loaded.filtered += 1;
                continue;
            }
            if let Some(first) = seen.get(&rule.info.id) {
                let message = format!("has the id {} of a rule in {first}", rule.info.id);
                let hint = Some("the first one is used; give this one an id of its own".to_string());
                loaded.problems.push(problem(&name, &rule.info.title, message, hint));
                continue;
            }
            seen.insert(rule.info.id.clone(), name.clone());
            loaded.rules.push(rule);
        }
    }
    loaded
}

/// Name and content of each file; what is in `cache` is not parsed again.
fn parsed(
    paths: &[PathBuf],
    pipelines: &Pipelines,
    cache: Option<&Path>,
) -> Vec<(String, Result<Read, String>)> {
    let known = cache.map(Cache::open).unwrap_or_default();
    let read = parallel::each(paths, |path| {
        let name = path.display().to_string();
        let text = match read_file(path) {
            Ok(text) => text,
            Err(message) => return (name, None, Err(message)),
        };
        let key = cache.map(|_| cache::key(&name, &text));
        if let Some(read) = key.and_then(|key| known.find(&key)) {
            return (name, key.map(|key| (key, true)), Ok(read));
        }
        let (rules, problems) = rule::load_with(&name, &text, pipelines);
        (name, key.map(|key| (key, false)), Ok(Read { rules, problems }))
    });
    let keyed = || read.iter().filter_map(|(_, key, read)| Some((key.as_ref()?, read.as_ref().ok()?)));
    let is_whole = keyed().count() == known.len() && keyed().all(|((_, is_known), _)| *is_known);
    if let Some(path) = cache.filter(|_| !is_whole)
        && let Err(error) = cache::store(path, keyed().map(|((key, _), read)| (key, read)))
    {
        let path = path.display();
        tracing::warn!("{path}, which would make the next start faster, cannot be written: {error}");
    }
    read.into_iter().map(|(name, _, read)| (name, read)).collect()
}

/// Reads and compiles. Rules that do not load are told; a mapping or pipeline that does not is an
/// error, since rules would mean something else without it.
pub fn compile(config: &config::Rules) -> Result<(Detector, Loaded), Problem> {
    let pipelines = pipelines(&config.pipelines)?;
    let (taxonomy, mut loaded) = std::thread::scope(|scope| {
        let taxonomy = scope.spawn(|| mapping(&config.mapping));
        let loaded = load(config, &pipelines);
        (taxonomy.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), loaded)
    });
    let taxonomy = taxonomy?;
    loaded.dear = dear(&loaded.rules, config.budget_ns);
    let detector = Detector::with_options(std::mem::take(&mut loaded.rules), taxonomy, config.engine);
    Ok((detector, loaded))
}

fn problem(path: &str, subject: &str, message: String, hint: Option<String>) -> Problem {
    Problem { path: path.into(), line: 0, subject: subject.into(), message, hint }
}

fn read_file(path: &Path) -> Result<String, String> {
    let bytes = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("is {bytes} bytes long, more than the {FILE_BYTES_MAX} that a file may have"));
    }
    let text = std::fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    String::from_utf8(text).map_err(|_| "is not UTF-8 text".to_string())
}

/// All YAML files below `paths`, sorted, each once. A path that is not there is a problem; `key` is
/// the setting to look at then.
fn files(paths: &[PathBuf], key: &str, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in paths {
        let name = root.display().to_string();
        if !root.exists() {
            let hint = Some(format!("check `{key}`"));
            problems.push(problem(&name, "", "does not exist".into(), hint));
            continue;
        }
        // The root itself may be a link, as in a mounted ConfigMap; links below it are entered only
        // as files, so that a circle of directories cannot form.
        for entry in WalkDir::new(root).max_depth(DEPTH_MAX).sort_by_file_name() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    problems.push(problem(&name, "", format!("cannot be walked: {error}"), None));
                    continue;
                }
            };
            let is_rule = entry.path().extension().is_some_and(|ext| ext == "yml" || ext == "yaml");
            // A named file is read whatever its name; a hidden one in a tree is not a rule.
            let hidden = entry.depth() > 0 && entry.file_name().to_string_lossy().starts_with('.');
            if (is_rule && !hidden || entry.depth() == 0) && entry.path().is_file() {
                found.push(entry.into_path());
            }
            if found.len() >= FILES_MAX {
                let message = format!("more than {FILES_MAX} files, the others are not read");
                problems.push(problem(&name, "", message, None));
                return found;
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Selection;
    use otel_log_ai_core::rule::{Level, Status};
    use std::time::Duration;

    fn settings(path: &Path) -> config::Rules {
        config::Rules {
            paths: vec![path.to_path_buf()],
            mapping: vec![],
            pipelines: vec![],
            min_level: Level::Low,
            status: vec![Status::Stable, Status::Test],
            include: Selection::default(),
            exclude: Selection::default(),
            reload_interval: Duration::from_secs(1),
            verify_one_in: 0,
            budget_ns: 0,
            engine: Default::default(),
            cache: None,
        }
    }

    fn text(id: u32, level: &str, status: &str) -> String {
        format!(
            "title: Rule {id}\nid: 00000000-0000-4000-8000-{id:012}\nstatus: {status}\nlevel: {level}\n\
             logsource: {{product: windows, category: process_creation}}\n\
             detection: {{sel: {{Image|endswith: '\\x{id}.exe'}}, condition: sel}}\n"
        )
    }

    #[test]
    fn what_loads_loads_and_the_rest_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        write("b.yml", &text(1, "high", "stable"));
        write("a.yaml", &text(2, "low", "test"));
        write("sub/c.yml", &text(3, "informational", "stable"));
        write("d.yml", &text(4, "high", "experimental"));
        write("e.yml", &text(1, "high", "stable"));
        write("broken.yml", "title: [\n");
        write("README.md", "not a rule");
        write(".hidden.yml", &text(9, "high", "stable"));
        std::fs::write(dir.path().join("latin.yml"), b"title: \xff").unwrap();
        let loaded = load(&settings(dir.path()), &Pipelines::default());
        let titles: Vec<&str> = loaded.rules.iter().map(|r| r.info.title.as_str()).collect();
        assert_eq!(titles, ["Rule 2", "Rule 1"]);
        assert_eq!(loaded.filtered, 2);
        let problems: Vec<String> = loaded.problems.iter().map(|p| p.to_string()).collect();
        assert_eq!(problems.len(), 3, "{problems:#?}");
        assert!(problems.iter().any(|p| p.contains("e.yml") && p.contains("has the id")));
        assert!(problems.iter().any(|p| p.contains("broken.yml")));
        assert!(problems.iter().any(|p| p.contains("latin.yml") && p.contains("UTF-8")));
    }

    #[test]
    fn from_the_cache_comes_what_is_in_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let rules = dir.path().join("rules");
        std::fs::create_dir(&rules).unwrap();
        let write = |name: &str, text: &str| std::fs::write(rules.join(name), text).unwrap();
        write("a.yml", &text(1, "high", "stable"));
        write("b.yml", &text(2, "high", "stable"));
        write("broken.yml", "title: [\n");
        let plain = settings(&rules);
        let cached = config::Rules { cache: Some(dir.path().join("x.rules")), ..plain.clone() };
        let read = |settings| {
            let loaded = load(settings, &Pipelines::default());
            (loaded.rules, loaded.problems, loaded.files, loaded.filtered)
        };
        assert_eq!(read(&cached), read(&plain), "nothing is known yet");
        assert_eq!(read(&cached), read(&plain), "all is known");
        // As long as before, and at once after it.
        write("b.yml", &text(3, "high", "stable"));
        std::fs::remove_file(rules.join("a.yml")).unwrap();
        write("c.yml", &text(4, "low", "stable"));
        assert_eq!(read(&cached), read(&plain), "one is new, one is changed, one is gone");
        assert_eq!(read(&cached).0.len(), 2);
        // Where it cannot be written, rules are read as ever.
        let cached = config::Rules { cache: Some(dir.path().join("absent/x.rules")), ..plain.clone() };
        assert_eq!(read(&cached), read(&plain));
    }

    #[test]
    fn a_missing_path_and_a_huge_file_are_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("huge.yml"), vec![b'#'; FILE_BYTES_MAX as usize + 1]).unwrap();
        let mut settings = settings(dir.path());
        settings.paths.push(dir.path().join("absent"));
        let loaded = load(&settings, &Pipelines::default());
        let problems: Vec<String> = loaded.problems.iter().map(|p| p.to_string()).collect();
        assert!(problems[0].contains("absent: does not exist"), "{problems:?}");
        assert!(problems[1].contains("huge.yml: is 1048577 bytes long"), "{problems:?}");
    }

    #[test]
    fn with_a_broken_mapping_or_pipeline_nothing_is_compiled() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yml"), text(1, "high", "stable")).unwrap();
        let broken = dir.path().join("broken.txt");
        std::fs::write(&broken, "version: 1\nnope: 1\n").unwrap();
        let fine = settings(dir.path());
        assert!(compile(&fine).is_ok());
        let with_mapping = config::Rules { mapping: vec![broken.clone()], ..fine.clone() };
        let with_pipeline = config::Rules { pipelines: vec![broken], ..fine };
        for (settings, line) in [(with_mapping, "broken.txt:2: "), (with_pipeline, "broken.txt:1: ")] {
            let problem = compile(&settings).expect_err("a problem").to_string();
            assert!(problem.contains(line), "{problem}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn links_to_directories_are_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yml"), text(1, "high", "stable")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("a.yml"), dir.path().join("z.yml")).unwrap();
        let loaded = load(&settings(dir.path()), &Pipelines::default());
        assert_eq!((loaded.rules.len(), loaded.problems.len()), (1, 1), "the link is the same rule again");
    }
}
