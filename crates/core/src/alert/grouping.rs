//! Which detections become one alert, and when the receiver is told of it.
//!
//! A group opens with its first detection. The receiver hears of it `group_wait` later, hears of
//! further detections after `group_interval`, then after twice that time, and so on up to
//! `repeat_interval`: a storm that goes on is no news. It hears the same again every
//! `repeat_interval` while the group is open, because it may have lost what it accepted. A group
//! is over when no detection came for `window`.
//!
//! Where one rule has `rule_max` groups open, or all rules together `total_max`, the detections of
//! further entities are counted in one group of the rule that stands for all of them. So every rule
//! that matches is seen, every detection is counted, and the number of alerts is bounded.
//!
//! Every deadline is by the clock that the caller passes as `now_ms`; it should not run backwards.
//! Event times only decide what `first_seen` and `last_seen` say, so that late rows alert at once.

use super::{Delivered, Detection, Fingerprint, GroupField, Kind, Notification, OpenAlert};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How detections are grouped (`alerts` in the configuration).
#[derive(Debug, Clone, PartialEq)]
pub struct GroupingSettings {
    /// Tells two installations apart that send to one receiver; part of every fingerprint.
    pub instance: String,
    /// What besides the rule makes a group. Order and repetitions do not matter.
    pub group_by: Vec<GroupField>,
    /// From the first detection of a group to its first notification, so that a burst arrives
    /// with its real count.
    pub group_wait: Duration,
    /// Least time between the first two notifications of a group with different counts; it doubles
    /// with each up to [`GroupingSettings::repeat_interval`].
    pub group_interval: Duration,
    /// How long after the last notification an unchanged one is sent again while the group is open.
    pub repeat_interval: Duration,
    /// A group is over after so long without a detection. Time in which nothing could be read does
    /// not count, see [`Grouping::restore`] and [`Grouping::hold`].
    pub window: Duration,
    /// Whether the receiver is told that a group is over.
    pub resolve: bool,
    /// Specimens kept of a group: the first ones and the last. At least 1, at most
    /// [`GroupingSettings::EVIDENCE_MAX`] are kept whatever stands here.
    pub evidence_max: usize,
    /// Most groups of one rule open at a time; further entities share one more.
    pub rule_max: usize,
    /// Most groups open at a time before further entities share one of their rule.
    pub total_max: usize,
    /// Most groups open at a time, those for many entities included. One more closes the one that was quiet for longest, which is
    /// notified first where the receiver does not know its last count.
    pub open_max: usize,
}

impl GroupingSettings {
    /// Upper limit of [`GroupingSettings::evidence_max`]: bounds an alert to some 80 KB.
    pub const EVIDENCE_MAX: usize = 20;
    /// A good [`GroupingSettings::open_max`]: with five specimens each of the largest size these
    /// are 200 MB, with ordinary log lines 20 MB.
    pub const OPEN_MAX: usize = 10_000;
    /// A good [`GroupingSettings::rule_max`]: what a person will look at one by one, and more.
    pub const RULE_MAX: usize = 500;
    /// A good [`GroupingSettings::total_max`]: leaves room for every rule of SigmaHQ to have one for
    /// many entities.
    pub const TOTAL_MAX: usize = 5_000;
}

/// What of the open alerts changed, for the store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Opened or altered: to be written over what is there.
    pub upserts: Vec<OpenAlert>,
    /// Over: to be removed.
    pub deletes: Vec<Fingerprint>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.deletes.is_empty()
    }
}

/// The open alerts.
///
/// A caller's turn is: [`observe`](Self::observe) each detection of a batch,
/// [`due`](Self::due), [`take_changes`](Self::take_changes); then it stores position, changes and
/// notifications together. Detection by detection the work is logarithmic in the number of open
/// alerts and does not depend on their counts.
#[derive(Debug)]
pub struct Grouping {
    settings: GroupingSettings,
    open: BTreeMap<Fingerprint, Slot>,
    /// When to look at which alert. An alert is never looked at later than its deadline, but may
    /// be earlier: a deadline that moves away is not moved here before it is looked at.
    looks: BTreeSet<(i64, Fingerprint)>,
    /// By latest detection, oldest first; brought up to date when looked at, as above.
    idle: BTreeSet<(i64, Fingerprint)>,
    /// Closed to make room, not yet told.
    evicted: Vec<OpenAlert>,
    changed: BTreeSet<Fingerprint>,
    closed: BTreeSet<Fingerprint>,
    /// Up to when nothing could be read; `None` before the first call with a time.
    blind_until_ms: Option<i64>,
    evicted_total: u64,
    /// Open groups of each rule, without those for many entities.
    by_rule: BTreeMap<String, usize>,
    folded_total: u64,
}

#[derive(Debug)]
struct Slot {
    alert: OpenAlert,
    /// Its time in [`Grouping::looks`].
    look_ms: i64,
    /// Its time in [`Grouping::idle`].
    idle_ms: i64,
}

impl Grouping {
    /// Starts with no open alert.
    pub fn new(settings: GroupingSettings) -> Grouping {
        Grouping::restore(settings, Vec::new())
    }

    /// Goes on with the alerts that were open when the service stopped. The time it was down does
    /// not count as quiet: nobody looked.
    pub fn restore(mut settings: GroupingSettings, alerts: Vec<OpenAlert>) -> Grouping {
        settings.group_by.sort();
        settings.group_by.dedup();
        settings.evidence_max = settings.evidence_max.clamp(1, GroupingSettings::EVIDENCE_MAX);
        settings.open_max = settings.open_max.max(1);
        let mut grouping = Grouping {
            settings,
            open: BTreeMap::new(),
            looks: BTreeSet::new(),
            idle: BTreeSet::new(),
            evicted: Vec::new(),
            changed: BTreeSet::new(),
            closed: BTreeSet::new(),
            blind_until_ms: None,
            evicted_total: 0,
            by_rule: BTreeMap::new(),
            folded_total: 0,
        };
        for alert in alerts {
            // Deadlines depend on the present time, which the first call will tell: look then.
            grouping.insert(alert, i64::MIN);
        }
        grouping
    }

    /// Takes in one detection, that came at `now_ms`.
    pub fn observe(&mut self, detection: &Detection, now_ms: i64) {
        self.blind_until_ms.get_or_insert(now_ms);
        let settings = &self.settings;
        let rule_id = &detection.rule.id;
        let print = Fingerprint::new(&settings.instance, rule_id, &settings.group_by, &detection.origin);
        let evidence_max = settings.evidence_max;
        let of_many = !self.open.contains_key(&print) && self.is_crowded(rule_id);
        let print = if of_many { Fingerprint::of_many(&settings.instance, rule_id) } else { print };
        self.folded_total += u64::from(of_many);
        if !self.open.contains_key(&print) {
            self.make_room();
            self.insert(OpenAlert::open(print, of_many, detection, now_ms), i64::MAX);
        }
        let Some(slot) = self.open.get_mut(&print) else { return };
        slot.alert.add(detection, now_ms, evidence_max);
        self.changed.insert(print);
        self.look_by_deadline(print);
    }

    /// Whether a further entity of this rule gets no group of its own.
    fn is_crowded(&self, rule_id: &str) -> bool {
        let of_rule = self.by_rule.get(rule_id).copied().unwrap_or(0);
        of_rule >= self.settings.rule_max || self.open.len() >= self.settings.total_max
    }

    /// The notifications that are due at `now_ms`, in the order in which they became due.
    pub fn due(&mut self, now_ms: i64) -> Vec<Notification> {
        self.blind_until_ms.get_or_insert(now_ms);
        let mut out = Vec::new();
        for mut alert in std::mem::take(&mut self.evicted) {
            self.tell(&mut alert, now_ms, true, &mut out);
            if !self.open.contains_key(&alert.fingerprint) {
                self.closed.insert(alert.fingerprint);
            }
        }
        while let Some(&(look_ms, print)) = self.looks.first()
            && look_ms <= now_ms
        {
            let Some(mut slot) = self.remove(print) else { break };
            let over = now_ms >= self.over_ms(&slot.alert);
            let told = self.tell(&mut slot.alert, now_ms, over, &mut out);
            if over {
                self.changed.remove(&print);
                self.closed.insert(print);
                continue;
            }
            if told {
                self.changed.insert(print);
            }
            // Later than now in any case, or intervals of zero would keep us here for ever.
            let look_ms = self.deadline_ms(&slot.alert).max(now_ms.saturating_add(1));
            self.insert(slot.alert, look_ms);
        }
        out
    }

    /// The notifications of all groups that the receiver never heard of, without waiting for
    /// `group_wait`. For the end of the service.
    pub fn flush(&mut self, now_ms: i64) -> Vec<Notification> {
        let mut out = self.due(now_ms);
        for (print, slot) in &mut self.open {
            if slot.alert.delivered.is_none() {
                out.push(deliver(Kind::New, now_ms, &mut slot.alert));
                self.changed.insert(*print);
            }
        }
        out
    }

    /// When [`due`](Self::due) should be called next, milliseconds since the epoch; it may find
    /// that nothing is due yet. `None` while no alert is open.
    pub fn next_due_ms(&self) -> Option<i64> {
        if !self.evicted.is_empty() {
            return Some(i64::MIN);
        }
        self.looks.first().map(|(look_ms, _)| *look_ms)
    }

    /// Says that up to `now_ms` nothing could be read (the database was away), so that silence
    /// is not taken for quiet.
    pub fn hold(&mut self, now_ms: i64) {
        self.blind_until_ms = self.blind_until_ms.max(Some(now_ms));
    }

    /// What changed since the last call. Call [`due`](Self::due) before, and store the result
    /// together with what `due` returned: each alone is only half of the truth.
    pub fn take_changes(&mut self) -> Changes {
        // What was evicted and opened again stays with its old state until it has been told.
        let waiting: BTreeSet<_> = self.evicted.iter().map(|alert| alert.fingerprint).collect();
        let (later, now) = std::mem::take(&mut self.changed).into_iter().partition(|p| waiting.contains(p));
        self.changed = later;
        let alert = |print: Fingerprint| self.open.get(&print).map(|slot| slot.alert.clone());
        Changes {
            upserts: BTreeSet::into_iter(now).filter_map(alert).collect(),
            deletes: std::mem::take(&mut self.closed).into_iter().collect(),
        }
    }

    /// Number of open alerts.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// How many alerts were closed early because [`GroupingSettings::open_max`] was reached, since
    /// the start.
    pub fn evicted_total(&self) -> u64 {
        self.evicted_total
    }

    /// How many detections were counted in a group for many entities, since the start.
    pub fn folded_total(&self) -> u64 {
        self.folded_total
    }

    /// Appends what there is to tell of `alert` now. `over`: it is the last occasion.
    fn tell(&self, alert: &mut OpenAlert, now_ms: i64, over: bool, out: &mut Vec<Notification>) -> bool {
        let settings = &self.settings;
        let kind = match alert.delivered {
            None => (over || now_ms >= after(alert.opened_ms, settings.group_wait)).then_some(Kind::New),
            Some(last) if last.count < alert.count => {
                // When it is to be resolved at once, that word carries the count.
                let due = now_ms >= after(last.at_ms, self.interval(last));
                if over { !settings.resolve } else { due }.then_some(Kind::Update)
            }
            Some(last) => {
                // The last word on an alert is said twice: a receiver that restarts loses what it
                // had accepted, and after this nobody would ever say it again.
                let closing = over && !settings.resolve && !last.repeated;
                let due = !over && now_ms >= after(last.at_ms, settings.repeat_interval);
                (closing || due).then_some(Kind::Repeat)
            }
        };
        let before = out.len();
        out.extend(kind.map(|kind| deliver(kind, now_ms, alert)));
        if over && settings.resolve {
            out.push(Notification::new(Kind::Resolved, now_ms, alert));
        }
        out.len() > before
    }

    /// How long after the last word further detections are told.
    fn interval(&self, last: Delivered) -> Duration {
        let settings = &self.settings;
        let doubled = settings.group_interval.saturating_mul(1 << last.updates.min(16));
        doubled.min(settings.repeat_interval.max(settings.group_interval))
    }

    /// When something is due on `alert`.
    fn deadline_ms(&self, alert: &OpenAlert) -> i64 {
        let settings = &self.settings;
        let word_ms = match alert.delivered {
            None => after(alert.opened_ms, settings.group_wait),
            Some(last) if last.count < alert.count => after(last.at_ms, self.interval(last)),
            Some(last) => after(last.at_ms, settings.repeat_interval),
        };
        word_ms.min(self.over_ms(alert))
    }

    /// When `alert` is over if no further detection comes.
    fn over_ms(&self, alert: &OpenAlert) -> i64 {
        let quiet_since_ms = self.blind_until_ms.map_or(alert.active_ms, |ms| ms.max(alert.active_ms));
        after(quiet_since_ms, self.settings.window)
    }

    /// Brings the look at an alert forward where its deadline is nearer.
    fn look_by_deadline(&mut self, print: Fingerprint) {
        let Some(slot) = self.open.get(&print) else { return };
        let deadline_ms = self.deadline_ms(&slot.alert);
        if deadline_ms < slot.look_ms
            && let Some(slot) = self.open.get_mut(&print)
        {
            self.looks.remove(&(slot.look_ms, print));
            self.looks.insert((deadline_ms, print));
            slot.look_ms = deadline_ms;
        }
    }

    fn insert(&mut self, alert: OpenAlert, look_ms: i64) {
        let (print, idle_ms) = (alert.fingerprint, alert.active_ms);
        if !alert.of_many {
            match self.by_rule.get_mut(&alert.rule.id) {
                Some(count) => *count += 1,
                None => {
                    self.by_rule.insert(alert.rule.id.clone(), 1);
                }
            }
        }
        self.closed.remove(&print);
        self.looks.insert((look_ms, print));
        self.idle.insert((idle_ms, print));
        self.open.insert(print, Slot { alert, look_ms, idle_ms });
    }

    fn remove(&mut self, print: Fingerprint) -> Option<Slot> {
        let slot = self.open.remove(&print)?;
        if !slot.alert.of_many
            && let Some(count) = self.by_rule.get_mut(&slot.alert.rule.id)
        {
            *count -= 1;
            if *count == 0 {
                self.by_rule.remove(&slot.alert.rule.id);
            }
        }
        self.looks.remove(&(slot.look_ms, print));
        self.idle.remove(&(slot.idle_ms, print));
        Some(slot)
    }

    /// Closes those that were quiet for longest until one more alert fits.
    fn make_room(&mut self) {
        while self.open.len() >= self.settings.open_max
            && let Some((idle_ms, print)) = self.idle.pop_first()
            && let Some(slot) = self.open.get_mut(&print)
        {
            if slot.alert.active_ms > idle_ms {
                slot.idle_ms = slot.alert.active_ms;
                self.idle.insert((slot.idle_ms, print));
                continue;
            }
            if let Some(slot) = self.remove(print) {
                self.changed.remove(&print);
                self.evicted.push(slot.alert);
                self.evicted_total += 1;
            }
        }
    }
}

/// The notification, noted in the alert as told.
fn deliver(kind: Kind, now_ms: i64, alert: &mut OpenAlert) -> Notification {
    let repeated = kind == Kind::Repeat;
    let before = alert.delivered.map_or(0, |delivered| delivered.updates);
    let updates = before.saturating_add(u32::from(kind == Kind::Update));
    alert.delivered = Some(Delivered { at_ms: now_ms, count: alert.count, repeated, updates });
    Notification::new(kind, now_ms, alert)
}

fn after(ms: i64, interval: Duration) -> i64 {
    ms.saturating_add(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
