//! Rules that will cost more than they should, with the line of their file that is to blame.

use super::read_file;
use otel_log_ai_core::problem::Problem;
use otel_log_ai_core::report::cost::{Dear, dear as estimate};
use otel_log_ai_core::rule::Rule;
use std::path::Path;

/// Most rules told with their line, for which a file has to be read again.
const LINES_MAX: usize = 50;

/// The rules that cost more than `budget_ns` nanoseconds for each event of their log source, the
/// dearest first. 0: none.
pub fn dear(rules: &[Rule], budget_ns: u64) -> Vec<Problem> {
    let mut found = estimate(rules, budget_ns);
    found.sort_by_key(|dear| std::cmp::Reverse(dear.cost_ns));
    let place = |(at, dear): (usize, Dear)| {
        let line = if at < LINES_MAX {
            line(&rules[dear.rule].info.path, &rules[dear.rule].info.id, &dear.text)
        } else {
            0
        };
        Problem { line, ..dear.problem }
    };
    found.into_iter().enumerate().map(place).collect()
}

/// The line on which `text` stands in the document of the rule, else that of the rule's id; 0 if the
/// file tells neither.
fn line(path: &str, id: &str, text: &str) -> usize {
    let Ok(file) = read_file(Path::new(path)) else { return 0 };
    let lines: Vec<&str> = file.lines().collect();
    let id = lines.iter().position(|line| line.contains(id)).unwrap_or(0);
    let start = lines[..id].iter().rposition(|line| line.starts_with("---")).unwrap_or(0);
    let end = lines[id..].iter().position(|line| line.starts_with("---")).map_or(lines.len(), |at| id + at);
    let own = start..end.max(start);
    // YAML in single quotes doubles a quote and nothing else.
    let quoted = text.replace('\'', "''");
    let stands = |line: &&str| !text.is_empty() && (line.contains(text) || line.contains(&quoted));
    match lines[own].iter().position(stands) {
        Some(at) => start + at + 1,
        None if lines.get(id).is_some_and(|line| line.contains("id:")) => id + 1,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dear_rule_is_told_with_the_line_of_what_is_dear() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yml");
        let rule = |id: &str, value: &str| {
            format!(
                "title: T\nid: {id}\nlogsource: {{product: windows, category: ps_script}}\ndetection:\n  s:\n    \
                 ScriptBlockText|re:\n      - '{value}'\n  condition: s\n"
            )
        };
        let dear_one = rule("00000000-0000-4000-8000-000000000002", "''[a-z]{2}''");
        let text = [rule("00000000-0000-4000-8000-000000000001", "abcdef"), dear_one].join("---\n");
        std::fs::write(&path, &text).unwrap();
        let (rules, problems) = otel_log_ai_core::rule::load(&path.display().to_string(), &text);
        assert_eq!(problems, []);
        let found = dear(&rules, 1000);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 16, "{}", found[0]);
        assert!(found[0].to_string().contains("windows/ps_script"), "{}", found[0]);
    }
}
