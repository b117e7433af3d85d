//! Reads Sigma YAML into [`Rule`]s.

use super::lower::{self, Fault};
use super::place::line_of;
use super::{Level, LogSource, Pipelines, Rule, RuleInfo, Status};
use crate::problem::Problem;
use rsigma_parser as sigma;
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

/// Reads all rules of one file. `path` is only for messages and for [`RuleInfo::path`].
///
/// What cannot be read becomes a [`Problem`]; the other documents of the file still load.
/// Correlation and filter documents are reported too: they are not evaluated yet.
pub fn load(path: &str, text: &str) -> (Vec<Rule>, Vec<Problem>) {
    load_with(path, text, &Pipelines::default())
}

/// [`load`], with `pipelines` carried out on each rule first. A rule that one of them refuses is a
/// problem of the rule.
pub fn load_with(path: &str, text: &str, pipelines: &Pipelines) -> (Vec<Rule>, Vec<Problem>) {
    let problem = |subject: &str, message: String, hint: Option<String>| Problem {
        path: path.to_owned(),
        line: line_of(text, &message),
        subject: subject.to_owned(),
        message,
        hint,
    };
    let collection = match sigma::parse_sigma_yaml(text) {
        Ok(collection) => collection,
        Err(error) => return (vec![], vec![problem("", error.to_string(), None)]),
    };
    let mut problems: Vec<Problem> =
        collection.errors.iter().map(|error| problem("", error.clone(), None)).collect();
    for (kind, title) in (collection.correlations.iter().map(|c| ("correlation", &c.title)))
        .chain(collection.filters.iter().map(|f| ("filter", &f.title)))
    {
        problems.push(problem(title, format!("a {kind} document is not supported yet"), None));
    }
    let mut rules = Vec::new();
    for document in &collection.rules {
        match rule(path, document, pipelines) {
            Ok(rule) => rules.push(rule),
            Err(fault) => problems.push(problem(&document.title, fault.message, fault.hint)),
        }
    }
    (rules, problems)
}

fn rule(path: &str, document: &sigma::SigmaRule, pipelines: &Pipelines) -> Result<Rule, Fault> {
    let mut document = Cow::Borrowed(document);
    if !pipelines.is_empty() {
        pipelines.apply(document.to_mut())?;
    }
    let (searches, condition, unmet) = lower::detection(&document.detection)?;
    Ok(Rule { info: Arc::new(info(path, &document)), searches, condition, unmet })
}

fn info(path: &str, rule: &sigma::SigmaRule) -> RuleInfo {
    let lower = |s: &Option<String>| s.as_ref().map(|s| s.to_lowercase());
    let text = |s: &Option<String>| s.as_deref().unwrap_or_default().trim().to_owned();
    RuleInfo {
        id: rule.id.clone().unwrap_or_else(|| {
            Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{path}#{}", rule.title).as_bytes()).to_string()
        }),
        title: rule.title.clone(),
        level: rule.level.map_or(Level::default(), level),
        status: rule.status.map(status),
        description: text(&rule.description),
        author: text(&rule.author),
        references: rule.references.clone(),
        falsepositives: rule.falsepositives.clone(),
        tags: rule.tags.iter().map(|t| t.to_lowercase()).collect(),
        logsource: LogSource {
            product: lower(&rule.logsource.product),
            category: lower(&rule.logsource.category),
            service: lower(&rule.logsource.service),
        },
        path: path.to_owned(),
    }
}

fn level(level: sigma::Level) -> Level {
    match level {
        sigma::Level::Informational => Level::Informational,
        sigma::Level::Low => Level::Low,
        sigma::Level::Medium => Level::Medium,
        sigma::Level::High => Level::High,
        sigma::Level::Critical => Level::Critical,
    }
}

pub(super) fn status(status: sigma::Status) -> Status {
    match status {
        sigma::Status::Deprecated => Status::Deprecated,
        sigma::Status::Unsupported => Status::Unsupported,
        sigma::Status::Experimental => Status::Experimental,
        sigma::Status::Test => Status::Test,
        sigma::Status::Stable => Status::Stable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "title: T\nid: 6f0d6c7e-0000-4000-8000-000000000001\nstatus: test\nlevel: high\n\
        tags: [attack.execution, attack.t1059.001, attack.g0032]\nlogsource: {product: Windows, category: process_creation}\n\
        detection:\n  sel:\n    Image|endswith: '\\cmd.exe'\n  condition: sel\n";

    #[test]
    fn a_rule_is_read_with_all_that_people_need() {
        let (rules, problems) = load("a.yml", GOOD);
        assert_eq!(problems, []);
        let info = &rules[0].info;
        assert_eq!((info.title.as_str(), info.level, info.status), ("T", Level::High, Some(Status::Test)));
        assert_eq!(info.logsource.to_string(), "windows/process_creation");
        assert_eq!(info.tactics(), ["execution"]);
        assert_eq!(info.techniques(), ["T1059.001"]);
    }

    #[test]
    fn a_broken_document_is_reported_with_its_line_and_the_others_load() {
        let text = format!("{GOOD}---\n{}", GOOD.replace("endswith", "endwith"));
        let (rules, problems) = load("dir/a.yml", &text);
        assert_eq!(rules.len(), 1);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].line, 20, "{}", problems[0]);
        assert!(problems[0].to_string().starts_with("dir/a.yml:20: "), "{}", problems[0]);
    }

    #[test]
    fn what_is_no_yaml_is_one_problem() {
        let (rules, problems) = load("a.yml", "title: [\n");
        assert!(rules.is_empty());
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn the_same_rule_without_an_id_keeps_the_id_it_was_given() {
        let text = GOOD.replace("id: 6f0d6c7e-0000-4000-8000-000000000001\n", "");
        assert_eq!(load("a.yml", &text).0[0].info.id, load("a.yml", &text).0[0].info.id);
    }
}
