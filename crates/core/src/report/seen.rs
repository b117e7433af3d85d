//! What really arrived, held against what the rules need: which hosts deliver which classes of
//! events, which fields have values there, which rules are blind for want of them, and what to
//! switch on.
//!
//! An [`Observer`] is fed with records and keeps counts only; its memory is bounded by the taxonomy,
//! the rules and [`HOSTS_MAX`].

use super::coverage::{Coverage, Feed, Resolved};
use super::truth::known;
use super::{RuleRef, count, list};
use crate::otel::{
    Advice, Assembler, AuditEvent, AuditRecord, ClassId, Event, LogRecord, Taxonomy, normal_name,
};
use crate::rule::Rule;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};

/// Most hosts told apart; events of further ones are counted together.
pub const HOSTS_MAX: usize = 10_000;
/// Most hosts that a finding names.
const HOSTS_NAMED_MAX: usize = 5;
/// Longest name of a host that is kept, bytes.
const NAME_BYTES_MAX: usize = 256;
/// Most kinds of unrecognised records told apart.
const UNKNOWN_MAX: usize = 100;

/// The report.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Seen {
    /// How many records were looked at.
    pub records: u64,
    /// How many events were in them.
    pub events: u64,
    /// How many events no class wanted.
    pub unrecognised: u64,
    /// Whose these are, as far as the record says (service, program or file), the most first.
    pub unrecognised_from: Vec<(String, u64)>,
    /// Event time of the oldest record, nanoseconds since the epoch; 0 without records.
    pub oldest_ns: u64,
    /// Event time of the newest record.
    pub newest_ns: u64,
    /// How many rules can fire on what was seen.
    pub rules_open: usize,
    /// Rules that could fire by the mapping and cannot on what was seen.
    pub blind: Vec<BlindRule>,
    /// What to switch on, the most rules first.
    pub findings: Vec<Finding>,
    /// Classes of events that were seen.
    pub classes: Vec<SeenClass>,
    /// Hosts that were seen, at most [`HOSTS_MAX`].
    pub hosts: Vec<SeenHost>,
    /// Events of hosts beyond that number.
    pub events_of_further_hosts: u64,
}

/// A class of events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeenClass {
    /// Its name.
    pub class: String,
    /// How many events.
    pub events: u64,
    /// From how many hosts.
    pub hosts: usize,
    /// Rules that can fire there, by the mapping.
    pub rules: usize,
    /// The fields that rules need there.
    pub fields: Vec<SeenField>,
}

/// A field that rules need.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeenField {
    /// As rules write it.
    pub field: String,
    /// What the source calls it.
    pub native: Vec<String>,
    /// In how many events it had a value.
    pub present: u64,
    /// How many rules ask for it.
    pub rules: usize,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeenHost {
    /// Its name.
    pub host: String,
    /// How many events.
    pub events: u64,
    /// Of which classes.
    pub classes: Vec<String>,
}

/// A rule that cannot fire on what was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlindRule {
    /// Number of the rule.
    #[serde(skip)]
    pub number: usize,
    /// Which.
    #[serde(flatten)]
    pub rule: RuleRef,
    /// Fields that were never seen with a value in the classes that did arrive; empty if no class
    /// that feeds the rule did.
    pub fields_never_seen: Vec<String>,
    /// The classes that would feed it.
    pub classes: Vec<String>,
}

/// Something to switch on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// All of it in one sentence.
    pub text: String,
    /// What to do.
    pub advice: String,
    /// Rules that would see on these hosts and do not.
    pub rules: usize,
    /// On how many hosts.
    pub hosts: usize,
    /// Some of them.
    pub examples: Vec<String>,
}

/// What the rules ask of one class.
#[derive(Default)]
struct Needs {
    /// Normal native name → fields that it serves.
    by_native: HashMap<String, Vec<usize>>,
    /// Field and its native names → number of the field.
    numbers: HashMap<(String, Vec<String>), usize>,
    fields: Vec<SeenField>,
    /// Advice that speaks of a field of this class: number of the advice, its fields.
    advised: Vec<(usize, Vec<usize>)>,
    rules: BTreeSet<usize>,
    events: u64,
}

#[derive(Default)]
struct Host {
    events: u64,
    classes: BTreeSet<u16>,
    /// Advice whose field was seen.
    seen: BTreeSet<usize>,
}

/// Counts.
pub struct Observer<'t> {
    rules: &'t [Rule],
    taxonomy: &'t Taxonomy,
    coverage: &'t Coverage,
    needs: Vec<Needs>,
    hosts: HashMap<String, Host>,
    unknown: HashMap<String, u64>,
    /// Working memory: which fields of the class the event has.
    present: Vec<bool>,
    /// Sampled rows tell no time, so what is not whole waits until the end.
    assembler: Assembler,
    report: Seen,
}

impl<'t> Observer<'t> {
    /// For `rules`, whose coverage by `taxonomy` is `coverage`.
    pub fn new(rules: &'t [Rule], taxonomy: &'t Taxonomy, coverage: &'t Coverage) -> Observer<'t> {
        let mut needs: Vec<Needs> = taxonomy.classes.iter().map(|_| Needs::default()).collect();
        for (number, rule) in coverage.rules.iter().enumerate() {
            for feed in rule.feeds.iter().filter(|feed| feed.can_fire) {
                for id in &feed.ids {
                    if let Some(needs) = needs.get_mut(usize::from(id.0)) {
                        needs.add(number, &feed.fields);
                    }
                }
            }
        }
        for (class, needs) in taxonomy.classes.iter().zip(&mut needs) {
            for (number, advice) in taxonomy.advice.iter().enumerate() {
                let Some(field) = &advice.field else { continue };
                if advice.is_about(&class.name) {
                    let fields = needs.fields.iter().enumerate().filter(|(_, need)| need.field == *field);
                    needs.advised.push((number, fields.map(|(index, _)| index).collect()));
                }
            }
        }
        Observer {
            rules,
            taxonomy,
            coverage,
            needs,
            hosts: HashMap::new(),
            unknown: HashMap::new(),
            present: vec![],
            assembler: Assembler::default(),
            report: Seen::default(),
        }
    }

    /// Counts one record.
    pub fn record(&mut self, record: &LogRecord<'_>) {
        self.report.records += 1;
        let time = record.timestamp_ns;
        self.report.newest_ns = self.report.newest_ns.max(time);
        self.report.oldest_ns = match self.report.oldest_ns {
            0 => time,
            oldest => oldest.min(time),
        };
        let taxonomy = self.taxonomy;
        taxonomy.recognise(record, &mut |event| {
            self.event(record, event);
            for part in AuditRecord::all(event, record, &[]) {
                self.assembler.add(part, 0);
            }
        });
        let whole = self.assembler.due(0);
        self.audit_events(&whole);
    }

    fn audit_events(&mut self, whole: &[AuditEvent]) {
        for audit in whole {
            if let Some(event) = self.taxonomy.audit_event(audit) {
                self.event(&audit.row.record(), &event);
            }
        }
    }

    fn event(&mut self, record: &LogRecord<'_>, event: &Event<'_>) {
        self.report.events += 1;
        let Some((id, needs)) = event.class.and_then(|id| Some((id, self.needs.get_mut(usize::from(id.0))?)))
        else {
            self.report.unrecognised += 1;
            let name = origin(record);
            if self.unknown.len() < UNKNOWN_MAX || self.unknown.contains_key(&name) {
                *self.unknown.entry(name).or_default() += 1;
            }
            host(&mut self.hosts, event, &mut self.report.events_of_further_hosts);
            return;
        };
        needs.events += 1;
        self.present.clear();
        self.present.resize(needs.fields.len(), false);
        for (name, value) in &event.fields {
            let Some(fields) = needs.by_native.get(&normal_name(name)) else { continue };
            let says = value.text().is_some_and(|text| !matches!(text.trim(), "" | "-"));
            fields.iter().filter(|_| says).for_each(|field| self.present[*field] = true);
        }
        for (field, present) in needs.fields.iter_mut().zip(&self.present) {
            field.present += u64::from(*present);
        }
        let needs = &self.needs[usize::from(id.0)];
        if let Some(host) = host(&mut self.hosts, event, &mut self.report.events_of_further_hosts) {
            host.classes.insert(id.0);
            for (advice, fields) in &needs.advised {
                if fields.iter().any(|field| self.present[*field]) {
                    host.seen.insert(*advice);
                }
            }
        }
    }

    /// The report.
    pub fn finish(mut self) -> Seen {
        let rest = self.assembler.flush();
        self.audit_events(&rest);
        let mut report = std::mem::take(&mut self.report);
        for (number, rule) in self.coverage.rules.iter().enumerate() {
            if rule.can_fire {
                match self.blind(number) {
                    Some(blind) => report.blind.push(blind),
                    None => report.rules_open += 1,
                }
            }
        }
        report.findings = self.findings();
        report.classes = self.classes();
        let mut unknown: Vec<(String, u64)> = self.unknown.into_iter().collect();
        unknown.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        report.unrecognised_from = unknown;
        let taxonomy = self.taxonomy;
        let names = |ids: &BTreeSet<u16>| -> Vec<String> {
            let all = ids.iter().filter_map(|id| taxonomy.classes.get(usize::from(*id)));
            all.map(|class| class.name.clone()).collect()
        };
        let hosts = self.hosts.into_iter();
        let hosts = hosts.map(|(name, host)| SeenHost {
            host: name,
            events: host.events,
            classes: names(&host.classes),
        });
        report.hosts = hosts.collect();
        report.hosts.sort_by(|a, b| a.host.cmp(&b.host));
        report
    }

    fn classes(&self) -> Vec<SeenClass> {
        let mut classes = vec![];
        for (number, (class, needs)) in self.taxonomy.classes.iter().zip(&self.needs).enumerate() {
            if needs.events == 0 {
                continue;
            }
            let mut fields = needs.fields.clone();
            fields.sort_by(|a, b| b.rules.cmp(&a.rules).then_with(|| a.field.cmp(&b.field)));
            classes.push(SeenClass {
                class: class.name.clone(),
                events: needs.events,
                hosts: self.hosts.values().filter(|host| host.classes.contains(&(number as u16))).count(),
                rules: needs.rules.len(),
                fields,
            });
        }
        classes.sort_by(|a, b| b.events.cmp(&a.events).then_with(|| a.class.cmp(&b.class)));
        classes
    }

    /// Why the rule cannot fire on what was seen; `None` if it can.
    fn blind(&self, number: usize) -> Option<BlindRule> {
        let rule = &self.coverage.rules[number];
        let mut never: BTreeSet<String> = BTreeSet::new();
        for feed in rule.feeds.iter().filter(|feed| feed.can_fire) {
            for id in &feed.ids {
                let Some(needs) = self.needs.get(usize::from(id.0)).filter(|needs| needs.events > 0) else {
                    continue;
                };
                let missing = |r: &&Resolved| !r.native.is_empty() && !needs.is_present(r);
                if self.opens(number, feed, &|r| needs.is_present(r)) {
                    return None;
                }
                never.extend(feed.fields.iter().filter(missing).map(|r| r.field.clone()));
            }
        }
        let classes: BTreeSet<String> = rule.feeds.iter().flat_map(|feed| feed.classes.clone()).collect();
        Some(BlindRule {
            number,
            rule: rule.rule.clone(),
            fields_never_seen: never.into_iter().collect(),
            classes: classes.into_iter().collect(),
        })
    }

    /// Whether the rule can be true in `feed` if the carried fields are those that `has` says.
    fn opens(&self, number: usize, feed: &Feed, has: &dyn Fn(&Resolved) -> bool) -> bool {
        let carried = |field: &str| {
            let resolved = feed.fields.iter().find(|r| r.field == field);
            resolved.is_some_and(|r| !r.native.is_empty() && has(r))
        };
        let rule = &self.rules[number];
        known(&rule.condition, rule, &carried) != Some(false)
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = vec![];
        for (number, advice) in self.taxonomy.advice.iter().enumerate() {
            findings.extend(self.finding(number, advice));
        }
        findings.sort_by(|a, b| b.rules.cmp(&a.rules).then_with(|| b.hosts.cmp(&a.hosts)));
        findings
    }

    /// The hosts on which this advice would open rules, if there are any.
    fn finding(&self, number: usize, advice: &Advice) -> Option<Finding> {
        let ids = |wanted: &dyn Fn(&str) -> bool| -> BTreeSet<u16> {
            let all = self.taxonomy.classes.iter().enumerate();
            all.filter(|(_, class)| wanted(&class.name)).map(|(id, _)| id as u16).collect()
        };
        let about = ids(&|name| advice.is_about(name));
        let brought = ids(&|name| advice.brings(name));
        let concerned = ids(&|name| advice.concerns(name));
        let is_concerned = |host: &Host| match &advice.field {
            Some(_) => !host.classes.is_disjoint(&about),
            None => !host.classes.is_disjoint(&concerned),
        };
        let lacks = |host: &Host| match &advice.field {
            Some(_) => !host.seen.contains(&number),
            None => host.classes.is_disjoint(&about),
        };
        let all = self.hosts.values().filter(|host| is_concerned(host)).count();
        let mut names: Vec<String> = vec![];
        // Hosts that deliver the same classes are blind to the same rules.
        let mut kinds: BTreeSet<&BTreeSet<u16>> = BTreeSet::new();
        for (name, host) in self.hosts.iter().filter(|(_, host)| is_concerned(host) && lacks(host)) {
            names.push(name.clone());
            kinds.insert(&host.classes);
        }
        let rules = match names.is_empty() {
            true => 0,
            false => {
                (0..self.rules.len()).filter(|rule| self.would_open(*rule, advice, &brought, &kinds)).count()
            }
        };
        if rules == 0 {
            return None;
        }
        names.sort();
        let hosts = names.len();
        let (some, all) = (count(hosts as u64), count(all as u64));
        let place = match &advice.field {
            Some(_) => format!("on {some} of {all} hosts that send such events"),
            None => format!("from {some} of {all} {} hosts", advice.hosts),
        };
        let blind = if rules == 1 {
            "1 rule blind".to_owned()
        } else {
            format!("{} rules blind", count(rules as u64))
        };
        let text = format!("{} {place}: {blind} there: {}", advice.what, advice.advice);
        names.truncate(HOSTS_NAMED_MAX);
        Some(Finding { text, advice: advice.advice.clone(), rules, hosts, examples: names })
    }

    /// Whether the rule is blind on hosts that deliver `kinds` and would not be with the advice.
    fn would_open(
        &self,
        number: usize,
        advice: &Advice,
        brought: &BTreeSet<u16>,
        kinds: &BTreeSet<&BTreeSet<u16>>,
    ) -> bool {
        let rule = &self.coverage.rules[number];
        let feeds = || rule.feeds.iter().filter(|feed| feed.can_fire);
        if !feeds().any(|feed| feed.ids.iter().any(|ClassId(id)| brought.contains(id))) {
            return false;
        }
        let opens_by = |feed: &Feed, ClassId(id): &ClassId| match &advice.field {
            Some(field) if brought.contains(id) => self.opens(number, feed, &|r| r.field != *field),
            _ => true,
        };
        let is_open = |kind: &BTreeSet<u16>| {
            feeds().any(|feed| feed.ids.iter().any(|id| kind.contains(&id.0) && opens_by(feed, id)))
        };
        kinds.iter().any(|kind| !is_open(kind))
    }
}

/// The host of an event, with this event counted; `None` beyond [`HOSTS_MAX`]. Events that name no
/// host are counted under an empty name.
fn host<'h>(
    hosts: &'h mut HashMap<String, Host>,
    event: &Event<'_>,
    further: &mut u64,
) -> Option<&'h mut Host> {
    let name = &event.host[..event.host.floor_char_boundary(NAME_BYTES_MAX)];
    if !hosts.contains_key(name) {
        if hosts.len() >= HOSTS_MAX {
            *further += 1;
            return None;
        }
        hosts.insert(name.to_owned(), Host::default());
    }
    let host = hosts.get_mut(name)?;
    host.events += 1;
    Some(host)
}

impl Needs {
    fn add(&mut self, rule: usize, fields: &[Resolved]) {
        let is_new = self.rules.insert(rule);
        for Resolved { field, native } in fields.iter().filter(|r| !r.native.is_empty()) {
            let next = self.fields.len();
            let number = *self.numbers.entry((field.clone(), native.clone())).or_insert(next);
            if number == next {
                self.fields.push(SeenField {
                    field: field.clone(),
                    native: native.clone(),
                    present: 0,
                    rules: 0,
                });
                for name in native.iter().map(|name| normal_name(name)).collect::<BTreeSet<_>>() {
                    self.by_native.entry(name).or_default().push(number);
                }
            }
            self.fields[number].rules += usize::from(is_new);
        }
    }

    fn is_present(&self, resolved: &Resolved) -> bool {
        let key = (resolved.field.clone(), resolved.native.clone());
        self.numbers.get(&key).is_some_and(|number| self.fields[*number].present > 0)
    }
}

/// Whose record it is, for one that is of no class.
fn origin(record: &LogRecord<'_>) -> String {
    let name = record
        .resource("service.name")
        .or_else(|| record.attribute("appname"))
        .or_else(|| record.attribute("log.file.name"))
        .or_else(|| record.resource("k8s.container.name"))
        .unwrap_or("unnamed");
    name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned()
}

impl Seen {
    /// A few words on a blind rule.
    pub fn why(blind: &BlindRule) -> String {
        match blind.fields_never_seen.is_empty() {
            true => format!("no event of {}", list(&blind.classes, 3)),
            false => format!("never seen with a value: {}", list(&blind.fields_never_seen, 3)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::coverage::coverage;

    fn rules() -> Vec<Rule> {
        let text = "title: image\nlogsource: {product: windows, category: process_creation}\n\
            detection: {s: {Image|endswith: '\\a.exe'}, condition: s}\n---\n\
            title: command line\nlogsource: {product: windows, category: process_creation}\n\
            detection: {s: {CommandLine|contains: x}, condition: s}\n---\n\
            title: script\nlogsource: {product: windows, category: ps_script}\n\
            detection: {s: {ScriptBlockText|contains: x}, condition: s}\n";
        let (rules, problems) = crate::rule::load("t.yml", text);
        assert_eq!(problems, []);
        rules
    }

    fn body(host: &str, channel: &str, id: u32, data: &str) -> String {
        format!(
            r#"{{"channel":"{channel}","computer":"{host}","event_id":{{"id":{id},"qualifiers":0}},"event_data":{{{data}}}}}"#
        )
    }

    fn seen(bodies: &[String]) -> Seen {
        let (rules, taxonomy) = (rules(), Taxonomy::builtin().unwrap());
        let coverage = coverage(&rules, &taxonomy);
        let mut observer = Observer::new(&rules, &taxonomy, &coverage);
        for (number, body) in bodies.iter().enumerate() {
            let timestamp_ns = 1_000 + number as u64;
            observer.record(&LogRecord { body: body.as_str().into(), timestamp_ns, ..LogRecord::default() });
        }
        observer.finish()
    }

    #[test]
    fn what_to_switch_on_is_told_with_hosts_and_rules() {
        let no_line = r#""NewProcessName":"C:\\b.exe","CommandLine":"""#;
        let with_line = r#""NewProcessName":"C:\\b.exe","CommandLine":"b y""#;
        let report = seen(&[
            body("w1", "Security", 4688, no_line),
            body("w2", "Security", 4688, no_line),
            body("w3", "Security", 4688, with_line),
            body("w4", "System", 7045, r#""ServiceName":"x""#),
            "what is this".to_owned(),
        ]);
        let told: Vec<&str> = report.findings.iter().map(|finding| finding.text.as_str()).collect();
        insta::assert_debug_snapshot!(told);
        let blind: Vec<&str> = report.blind.iter().map(|blind| blind.rule.title.as_str()).collect();
        assert_eq!((blind, report.rules_open), (vec!["script"], 2));
        assert_eq!((report.records, report.unrecognised, report.hosts.len()), (5, 1, 5));
        assert_eq!((report.oldest_ns, report.newest_ns), (1_000, 1_004));
    }

    #[test]
    fn a_field_that_never_has_a_value_blinds_the_rules_that_need_it() {
        let report =
            seen(&[body("w1", "Security", 4688, r#""NewProcessName":"C:\\b.exe","CommandLine":"""#)]);
        let blind: Vec<String> = report.blind.iter().map(Seen::why).collect();
        assert_eq!(blind[0], "never seen with a value: CommandLine");
        let class = &report.classes[0];
        assert_eq!((class.class.as_str(), class.events), ("windows/security/4688", 1));
        let present: Vec<(&str, u64)> = class.fields.iter().map(|f| (f.field.as_str(), f.present)).collect();
        assert_eq!(present, [("CommandLine", 0), ("Image", 1)]);
    }

    #[test]
    fn hosts_are_bounded() {
        let bodies: Vec<String> =
            (0..HOSTS_MAX + 3).map(|n| body(&format!("w{n}"), "System", 7045, "")).collect();
        let report = seen(&bodies);
        assert_eq!((report.hosts.len(), report.events_of_further_hosts), (HOSTS_MAX, 3));
    }
}
