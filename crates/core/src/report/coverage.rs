//! Which rules can fire on which logs, by the mapping alone: what feeds each rule, how its fields
//! resolve there, or why it cannot fire. What really arrives is the business of [`super::seen`].

use super::RuleRef;
use super::truth::{fields, known};
use crate::otel::{ClassId, Taxonomy, View};
use crate::rule::{LogSource, Rule, Status};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The report.
#[derive(Debug, Clone, Serialize)]
pub struct Coverage {
    /// Sums.
    pub summary: Summary,
    /// Every rule, in the order given.
    pub rules: Vec<RuleCoverage>,
}

/// Sums over all rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// How many rules there are.
    pub rules: usize,
    /// How many of them can fire.
    pub can_fire: usize,
    /// How many cannot.
    pub blind: usize,
    /// How many cannot and nobody says why: neither the rule nor the taxonomy. A gap in the mapping.
    pub blind_without_reason: usize,
    /// Of the blind rules, how many for each kind of [`Reason`].
    pub blind_by_kind: BTreeMap<&'static str, usize>,
    /// By the log source that the rules ask for, those with blind rules first.
    pub log_sources: Vec<SourceSummary>,
}

/// The rules of one log source.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SourceSummary {
    /// Such as `windows/process_creation`.
    pub log_source: String,
    /// How many rules ask for it.
    pub rules: usize,
    /// How many of them can fire.
    pub can_fire: usize,
    /// How many cannot.
    pub blind: usize,
    /// The classes of events that feed it.
    pub classes: BTreeSet<String>,
    /// Why rules are blind, each reason once.
    pub reasons: BTreeSet<String>,
}

/// One rule.
#[derive(Debug, Clone, Serialize)]
pub struct RuleCoverage {
    /// Which.
    #[serde(flatten)]
    pub rule: RuleRef,
    /// ATT&CK techniques it is tagged with.
    pub techniques: Vec<String>,
    /// Whether any event of any class can make it true.
    pub can_fire: bool,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<Reason>,
    /// What feeds it; classes in which it is seen the same way stand together.
    pub feeds: Vec<Feed>,
}

/// Classes whose events a rule is held against.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Feed {
    /// Names of the classes, such as `windows/sysmon/1`.
    pub classes: Vec<String>,
    /// Their numbers in the taxonomy.
    #[serde(skip)]
    pub ids: Vec<ClassId>,
    /// The log source through which the rule sees them.
    pub through: String,
    /// Whether the rule can be true there.
    pub can_fire: bool,
    /// The rule's fields.
    pub fields: Vec<Resolved>,
}

/// Where a rule's field comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resolved {
    /// As the rule writes it.
    pub field: String,
    /// Native names, any of whose values count; empty: the source does not carry it.
    pub native: Vec<String>,
}

/// Why a rule cannot fire.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// Its status says that it cannot be used as it is.
    Unsupported,
    /// It has placeholders that need values.
    Placeholders {
        /// Their names.
        names: Vec<String>,
    },
    /// No class has its log source.
    NoSource {
        /// Why nothing can carry it, if the taxonomy knows.
        reason: Option<String>,
    },
    /// Every class that feeds it lacks fields without which it cannot be true.
    NotCarried {
        /// The fields, as the rule writes them.
        fields: Vec<String>,
        /// Why, if the taxonomy knows.
        reason: Option<String>,
    },
}

impl Reason {
    /// The kind, as the JSON form names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Reason::Unsupported => "unsupported",
            Reason::Placeholders { .. } => "placeholders",
            Reason::NoSource { .. } => "no_source",
            Reason::NotCarried { .. } => "not_carried",
        }
    }

    /// In words.
    pub fn text(&self) -> String {
        match self {
            Reason::Unsupported => "its status is unsupported".into(),
            Reason::Placeholders { names } => format!("needs values for {}", names.join(", ")),
            Reason::NoSource { reason: Some(reason) } => reason.clone(),
            Reason::NoSource { reason: None } => "no source of logs is mapped to this log source".into(),
            Reason::NotCarried { reason: Some(reason), .. } => reason.clone(),
            Reason::NotCarried { fields, reason: None } => {
                format!("no source carries {} here", fields.join(", "))
            }
        }
    }

    /// Whether it is a gap that nobody has explained.
    fn is_gap(&self) -> bool {
        matches!(self, Reason::NoSource { reason: None } | Reason::NotCarried { reason: None, .. })
    }
}

/// Holds `rules` against every class of `taxonomy`.
pub fn coverage(rules: &[Rule], taxonomy: &Taxonomy) -> Coverage {
    let mut views = Views::of(taxonomy);
    let rules: Vec<RuleCoverage> =
        rules.iter().map(|rule| rule_coverage(rule, &mut views, taxonomy)).collect();
    Coverage { summary: summary(&rules), rules }
}

/// The different views of a taxonomy, each with the classes that have it.
struct Views<'t> {
    views: Vec<(&'t View, Vec<ClassId>)>,
    /// What a field is called in a view.
    native: HashMap<(usize, String), Vec<String>>,
}

impl<'t> Views<'t> {
    fn of(taxonomy: &'t Taxonomy) -> Views<'t> {
        let mut views: Vec<(&View, Vec<ClassId>)> = vec![];
        let mut by_source: HashMap<&LogSource, Vec<usize>> = HashMap::new();
        for (number, class) in taxonomy.classes.iter().enumerate() {
            for view in &class.views {
                let same = by_source.entry(&view.logsource).or_default();
                let known = same.iter().find(|index| views[**index].0.fields == view.fields);
                let index = known.copied().unwrap_or_else(|| {
                    views.push((view, vec![]));
                    same.push(views.len() - 1);
                    views.len() - 1
                });
                views[index].1.push(ClassId(number as u16));
            }
        }
        Views { views, native: HashMap::new() }
    }

    fn native(&mut self, view: usize, field: &str) -> Vec<String> {
        let Views { views, native } = self;
        let names = native.entry((view, field.to_owned()));
        let names =
            names.or_insert_with(|| views[view].0.native(field).into_iter().map(str::to_owned).collect());
        names.clone()
    }
}

fn rule_coverage(rule: &Rule, views: &mut Views<'_>, taxonomy: &Taxonomy) -> RuleCoverage {
    let wanted = fields(rule);
    let unusable = match rule.info.status == Some(Status::Unsupported) {
        true => Some(Reason::Unsupported),
        false if !rule.unmet.is_empty() => {
            let mut names = rule.unmet.clone();
            let mut told = BTreeSet::new();
            names.retain(|name| told.insert(name.clone()));
            Some(Reason::Placeholders { names })
        }
        false => None,
    };
    let mut feeds: Vec<Feed> = vec![];
    for index in 0..views.views.len() {
        if !views.views[index].0.takes(&rule.info.logsource) {
            continue;
        }
        let resolved: Vec<Resolved> = wanted
            .iter()
            .map(|field| Resolved { field: field.clone(), native: views.native(index, field) })
            .collect();
        let carried = |field: &str| resolved.iter().any(|r| r.field == field && !r.native.is_empty());
        let can_fire = unusable.is_none() && known(&rule.condition, rule, &carried) != Some(false);
        let (view, ids) = &views.views[index];
        let names = ids.iter().filter_map(|id| taxonomy.classes.get(usize::from(id.0)));
        let names = names.map(|class| class.name.clone());
        let through = view.logsource.to_string();
        let same = |feed: &&mut Feed| feed.through == through && feed.fields == resolved;
        match feeds.iter_mut().find(same) {
            Some(feed) => {
                feed.classes.extend(names);
                feed.ids.extend(ids);
            }
            None => feeds.push(Feed {
                classes: names.collect(),
                ids: ids.clone(),
                through,
                can_fire,
                fields: resolved,
            }),
        }
    }
    let can_fire = feeds.iter().any(|feed| feed.can_fire);
    let why_not = match can_fire {
        true => None,
        false => Some(unusable.unwrap_or_else(|| why_not(rule, &feeds, taxonomy))),
    };
    RuleCoverage {
        rule: RuleRef::new(&rule.info),
        techniques: rule.info.techniques(),
        can_fire,
        why_not,
        feeds,
    }
}

fn why_not(rule: &Rule, feeds: &[Feed], taxonomy: &Taxonomy) -> Reason {
    let reason = |fields: &[String]| taxonomy.reason(&rule.info.logsource, fields).map(str::to_owned);
    if feeds.is_empty() {
        return Reason::NoSource { reason: reason(&[]) };
    }
    let resolved = || feeds.iter().flat_map(|feed| &feed.fields);
    let missing = resolved().filter(|r| r.native.is_empty()).map(|r| r.field.clone());
    let fields: Vec<String> = missing.collect::<BTreeSet<_>>().into_iter().collect();
    let reason = reason(&fields);
    Reason::NotCarried { fields, reason }
}

fn summary(rules: &[RuleCoverage]) -> Summary {
    let mut sum = Summary { rules: rules.len(), ..Summary::default() };
    let mut sources: BTreeMap<&str, SourceSummary> = BTreeMap::new();
    for rule in rules {
        let name = rule.rule.log_source.as_str();
        let source = sources.entry(name).or_default();
        source.rules += 1;
        let opened = rule.feeds.iter().filter(|feed| feed.can_fire || !rule.can_fire);
        source.classes.extend(opened.flat_map(|feed| feed.classes.iter().cloned()));
        match &rule.why_not {
            None => {
                sum.can_fire += 1;
                source.can_fire += 1;
            }
            Some(reason) => {
                sum.blind += 1;
                sum.blind_without_reason += usize::from(reason.is_gap());
                *sum.blind_by_kind.entry(reason.kind()).or_default() += 1;
                source.blind += 1;
                source.reasons.insert(reason.text());
            }
        }
    }
    let named =
        sources.into_iter().map(|(name, source)| SourceSummary { log_source: name.to_owned(), ..source });
    sum.log_sources = named.collect();
    sum.log_sources.sort_by_key(|source| (source.blind == 0, std::cmp::Reverse(source.rules)));
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;

    const TAXONOMY: &str = r"
version: 1
sources:
  - class: cloud/audit
    when: {field: {kind: [audit]}}
    views: [{product: cloud, service: audit, fields: {Gone: [], User: [actor.name, actor.mail]}}]
  - class: cloud/audit/2
    when: {field: {kind: [audit2]}}
    views: [{product: cloud, service: audit, fields: {Gone: [], User: [actor.name, actor.mail]}}]
uncarried:
  - {product: windows, category: file_rename, reason: nothing tells of renames}
  - {product: cloud, service: audit, fields: [Gone], reason: the cloud does not say}
";

    fn rule(logsource: &str, detection: &str) -> Rule {
        let text = format!(
            "title: t\ntags: [attack.t1059.001]\nlogsource: {{{logsource}}}\ndetection: {{{detection}}}\n"
        );
        let (mut rules, problems) = crate::rule::load("t.yml", &text);
        assert_eq!(problems, []);
        rules.remove(0)
    }

    fn covered(rules: &[Rule]) -> Coverage {
        coverage(rules, &Taxonomy::from_files(&[("t.yaml", TAXONOMY)]).unwrap())
    }

    #[test]
    fn a_rule_is_told_with_what_feeds_it_and_how_its_fields_resolve() {
        let report =
            covered(&[rule("product: cloud, service: audit", "s: {User: x, Gone: null}, condition: s")]);
        insta::assert_yaml_snapshot!(report);
    }

    #[test]
    fn a_rule_that_cannot_fire_is_told_with_the_reason() {
        let report = covered(&[
            rule("product: cloud, service: audit", "s: {User: x}, f: {Gone: y}, condition: s and f"),
            rule("product: cloud, service: audit", "s: {User: x}, f: {Gone: y}, condition: s and not f"),
            rule("product: windows, category: file_rename", "s: {a: b}, condition: s"),
            rule("product: vms", "s: {a: b}, condition: s"),
            rule("product: cloud", "s: {'User|expand': '%admins%'}, condition: s"),
        ]);
        let reasons: Vec<String> =
            report.rules.iter().map(|r| r.why_not.as_ref().map(Reason::text).unwrap_or_default()).collect();
        insta::assert_debug_snapshot!(reasons);
        assert_eq!((report.summary.blind, report.summary.blind_without_reason), (4, 1));
    }

    #[test]
    fn what_can_fire_is_what_the_plan_holds() {
        let taxonomy = Taxonomy::builtin().unwrap();
        let rules = [
            rule("product: windows, category: process_creation", "s: {Hashes: x}, condition: s"),
            rule(
                "product: windows, category: process_creation",
                "s: {Image: x, IntegrityLevel: null}, condition: s",
            ),
            rule(
                "product: windows, service: security",
                "s: {EventID: 1102}, f: {Nope: x}, condition: 1 of them",
            ),
            rule("product: linux, category: process_creation", "s: {Hashes: x}, condition: s"),
            rule("category: proxy", "s: {c-uri|contains: x, r-dns: y}, condition: s"),
        ];
        let report = coverage(&rules, &taxonomy);
        for (number, class) in taxonomy.classes.iter().enumerate() {
            let planned = plan(&rules, class);
            for (index, rule) in report.rules.iter().enumerate() {
                let here = |feed: &&Feed| feed.ids.contains(&ClassId(number as u16));
                let told = rule.feeds.iter().filter(here).any(|feed| feed.can_fire);
                let is_planned = planned.rules.iter().any(|p| p.rule == index);
                assert_eq!(told, is_planned, "{} in {}", rule.rule.log_source, class.name);
            }
        }
    }
}
