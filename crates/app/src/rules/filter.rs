//! Which rules are wanted: level, status, include and exclude.

use crate::config;
use globset::{Glob, GlobSet, GlobSetBuilder};
use otel_log_ai_core::rule::{Level, RuleInfo, Status};

/// The filters of the configuration, ready to be asked.
pub struct Filter<'a> {
    min_level: Level,
    status: &'a [Status],
    include: Selection<'a>,
    exclude: Selection<'a>,
}

struct Selection<'a> {
    ids: &'a [String],
    tags: &'a [String],
    paths: GlobSet,
}

impl<'a> Filter<'a> {
    /// Prepares the filters.
    pub fn new(config: &'a config::Rules) -> Filter<'a> {
        Filter {
            min_level: config.min_level,
            status: &config.status,
            include: Selection::new(&config.include),
            exclude: Selection::new(&config.exclude),
        }
    }

    /// Whether the rule is wanted. A rule that states no status counts as `test`, as most converters
    /// take it; an explicit include does not overrule level and status.
    pub fn wants(&self, rule: &RuleInfo) -> bool {
        rule.level >= self.min_level
            && self.status.contains(&rule.status.unwrap_or(Status::Test))
            && (self.include.is_empty() || self.include.holds(rule))
            && !self.exclude.holds(rule)
    }
}

impl<'a> Selection<'a> {
    fn new(config: &'a config::Selection) -> Selection<'a> {
        let mut paths = GlobSetBuilder::new();
        for glob in &config.paths {
            // The configuration was checked; a glob that is wrong all the same selects nothing.
            if let Ok(glob) = Glob::new(glob) {
                paths.add(glob);
            }
        }
        let paths = paths.build().unwrap_or_else(|_| GlobSet::empty());
        Selection { ids: &config.ids, tags: &config.tags, paths }
    }

    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.tags.is_empty() && self.paths.is_empty()
    }

    fn holds(&self, rule: &RuleInfo) -> bool {
        self.ids.iter().any(|id| id.eq_ignore_ascii_case(&rule.id))
            || rule.tags.iter().any(|tag| self.tags.contains(tag))
            || self.paths.is_match(&rule.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn rule(id: &str, level: Level, tags: &[&str], path: &str) -> RuleInfo {
        let (rules, problems) = otel_log_ai_core::rule::load(
            path,
            "title: t\nlogsource: {product: windows}\ndetection: {s: {a: b}, condition: s}\n",
        );
        assert!(problems.is_empty(), "{problems:?}");
        let mut info = (*rules[0].info).clone();
        info.id = id.into();
        info.level = level;
        info.tags = tags.iter().map(|t| t.to_string()).collect();
        info
    }

    #[test]
    fn level_status_include_and_exclude() {
        let mut config = config::Rules {
            paths: vec![],
            mapping: vec![],
            pipelines: vec![],
            min_level: Level::Medium,
            status: vec![Status::Stable, Status::Test],
            include: config::Selection::default(),
            exclude: config::Selection { paths: vec!["**/web/*".into()], ..Default::default() },
            reload_interval: Duration::from_secs(1),
            verify_one_in: 0,
            budget_ns: 0,
            engine: Default::default(),
            cache: None,
        };
        let plain = rule("a", Level::High, &["attack.t1059"], "rules/windows/x.yml");
        assert!(Filter::new(&config).wants(&plain));
        assert!(!Filter::new(&config).wants(&rule("a", Level::Low, &[], "x.yml")));
        assert!(!Filter::new(&config).wants(&rule("a", Level::High, &[], "rules/web/x.yml")));
        assert!(!Filter::new(&config).wants(&RuleInfo { status: Some(Status::Deprecated), ..plain.clone() }));
        config.include.tags = vec!["attack.t1003".into()];
        assert!(!Filter::new(&config).wants(&plain));
        config.include.ids = vec!["A".into()];
        assert!(Filter::new(&config).wants(&plain));
    }
}
