//! The user's own mapping and pipelines, read from files.
//!
//! Unlike a rule, one of these that is broken stops the whole: with a half of them, rules would
//! silently mean something else. The service then keeps what it had.

use super::{files, problem, read_file};
use otel_log_ai_core::otel::Taxonomy;
use otel_log_ai_core::problem::Problem;
use otel_log_ai_core::rule::Pipelines;
use std::path::PathBuf;

/// Most files of each kind.
const FILES_MAX: usize = 64;

/// The shipped mapping, extended by the files and directories of `paths`.
pub fn mapping(paths: &[PathBuf]) -> Result<Taxonomy, Problem> {
    let texts = texts(paths, "mapping")?;
    Taxonomy::extended(&pairs(&texts))
}

/// The pipelines in the files and directories of `paths`.
pub fn pipelines(paths: &[PathBuf]) -> Result<Pipelines, Problem> {
    let texts = texts(paths, "pipelines")?;
    Pipelines::read(&pairs(&texts))
}

/// Path and text of each file; `key` is the setting that names them.
fn texts(paths: &[PathBuf], key: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut problems = vec![];
    let found = files(paths, key, &mut problems);
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem);
    }
    if found.len() > FILES_MAX {
        let name = found[FILES_MAX].display().to_string();
        let hint = Some(format!("check the directories of `{key}`"));
        return Err(problem(&name, "", format!("is file {} of at most {FILES_MAX}", FILES_MAX + 1), hint));
    }
    let mut texts = Vec::with_capacity(found.len());
    for path in found {
        let name = path.display().to_string();
        let text = read_file(&path).map_err(|message| problem(&name, "", message, None))?;
        texts.push((name, text));
    }
    Ok(texts)
}

fn pairs(texts: &[(String, String)]) -> Vec<(&str, &str)> {
    texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read_in_order_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let source = |class: &str| {
            format!(
                "version: 1\nsources: [{{class: {class}, when: {{format: [json]}}, views: [{{product: x}}]}}]\n"
            )
        };
        std::fs::write(dir.path().join("b.yml"), source("second")).unwrap();
        std::fs::write(dir.path().join("a.yaml"), source("first")).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "no mapping").unwrap();
        let paths = [dir.path().to_path_buf()];
        let taxonomy = mapping(&paths).unwrap();
        let at = |name: &str| taxonomy.classes.iter().position(|class| class.name == name).unwrap();
        assert!(at("first") < at("second"));
        for number in 0..FILES_MAX {
            std::fs::write(dir.path().join(format!("c{number:03}.yml")), "version: 1\n").unwrap();
        }
        assert!(mapping(&paths).unwrap_err().to_string().contains("is file 65 of at most 64"));
    }

    #[test]
    fn what_is_missing_or_broken_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.yaml");
        let told = |paths: &[PathBuf]| mapping(paths).unwrap_err().to_string();
        assert!(told(std::slice::from_ref(&path)).ends_with("m.yaml: does not exist (check `mapping`)"));
        std::fs::write(&path, "version: 1\nsorces: []\n").unwrap();
        assert!(told(std::slice::from_ref(&path)).contains("m.yaml:2: "));
        std::fs::write(&path, "transformations: [{type: nope}]\n").unwrap();
        let problem = pipelines(&[path]).unwrap_err().to_string();
        assert!(problem.contains("m.yaml:1: `nope`"), "{problem}");
    }
}
