//! Walking and pruning the parser's detections.

use super::super::lower::Fault;
use rsigma_parser::{ConditionExpr, Detection, DetectionItem, SigmaRule};

/// Deepest detection that is walked; deeper is a mistake or an attack.
const DEPTH_MAX: usize = 64;

/// What became of a detection item.
pub(super) enum Changed {
    /// It stays as it now is.
    Same(DetectionItem),
    /// Any of these.
    Any(Vec<DetectionItem>),
    /// All of these: what is asked of each is that it is not so.
    All(Vec<DetectionItem>),
    /// It is left out.
    Gone,
}

/// Replaces every item of `rule` by what `change` makes of it. A search of which nothing is left is
/// taken out of the condition.
pub(super) fn change_items(
    rule: &mut SigmaRule,
    change: &mut dyn FnMut(DetectionItem) -> Result<Changed, Fault>,
) -> Result<(), Fault> {
    // By name, so that the same rule fails with the same message each time.
    let mut names: Vec<String> = rule.detection.named.keys().cloned().collect();
    names.sort();
    let mut gone = vec![];
    for name in names {
        let Some(detection) = rule.detection.named.remove(&name) else { continue };
        let was_empty = is_empty(&detection);
        let changed = walk(detection, change, 0)?;
        match is_empty(&changed) && !was_empty {
            true => gone.push(name),
            false => {
                rule.detection.named.insert(name, changed);
            }
        }
    }
    if gone.is_empty() { Ok(()) } else { prune(rule, &gone) }
}

fn walk(
    detection: Detection,
    change: &mut dyn FnMut(DetectionItem) -> Result<Changed, Fault>,
    depth: usize,
) -> Result<Detection, Fault> {
    if depth > DEPTH_MAX {
        return Err(fault("the detection is nested too deeply"));
    }
    let mut list = |list: Vec<Detection>| -> Result<Vec<Detection>, Fault> {
        let mut kept = Vec::with_capacity(list.len());
        for detection in list {
            kept.push(walk(detection, change, depth + 1)?);
        }
        kept.retain(|detection| !is_empty(detection));
        Ok(kept)
    };
    Ok(match detection {
        Detection::AnyOf(detections) => Detection::AnyOf(list(detections)?),
        Detection::And(detections) => Detection::And(list(detections)?),
        Detection::AllOf(items) => {
            let (mut plain, mut choices) = (vec![], vec![]);
            for item in items {
                match change(item)? {
                    Changed::Same(item) => plain.push(item),
                    Changed::All(items) => plain.extend(items),
                    Changed::Any(items) => choices.push(Detection::AnyOf(
                        items.into_iter().map(|i| Detection::AllOf(vec![i])).collect(),
                    )),
                    Changed::Gone => {}
                }
            }
            match choices.is_empty() {
                true => Detection::AllOf(plain),
                false => {
                    if !plain.is_empty() {
                        choices.push(Detection::AllOf(plain));
                    }
                    Detection::And(choices)
                }
            }
        }
        Detection::Keywords(values) => {
            let field = rsigma_parser::FieldSpec::new(None, vec![]);
            match change(DetectionItem { field, values })? {
                Changed::Same(item) => Detection::Keywords(item.values),
                Changed::All(items) => Detection::AllOf(items),
                Changed::Any(items) => {
                    Detection::AnyOf(items.into_iter().map(|i| Detection::AllOf(vec![i])).collect())
                }
                Changed::Gone => Detection::Keywords(vec![]),
            }
        }
        // Not supported in rules either; lowering says so.
        other @ (Detection::ArrayMatch { .. } | Detection::Conditional { .. }) => other,
    })
}

fn is_empty(detection: &Detection) -> bool {
    match detection {
        Detection::AllOf(items) => items.is_empty(),
        Detection::AnyOf(list) | Detection::And(list) => list.is_empty(),
        Detection::Keywords(values) => values.is_empty(),
        Detection::ArrayMatch { .. } | Detection::Conditional { .. } => false,
    }
}

/// Calls `each` for every item that stands in `rule`.
pub(super) fn each_item(rule: &SigmaRule, each: &mut dyn FnMut(&DetectionItem)) {
    let mut open: Vec<&Detection> = rule.detection.named.values().collect();
    while let Some(detection) = open.pop() {
        match detection {
            Detection::AllOf(items) => items.iter().for_each(&mut *each),
            Detection::AnyOf(list) | Detection::And(list) => open.extend(list),
            Detection::Keywords(_) | Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {}
        }
    }
}

/// Takes the searches that are `gone` out of the condition. What it names without it ever having been
/// there stays, and is told as the mistake that it is.
fn prune(rule: &mut SigmaRule, gone: &[String]) -> Result<(), Fault> {
    let left: Vec<&String> = rule.detection.named.keys().collect();
    let conditions = std::mem::take(&mut rule.detection.conditions);
    let kept: Vec<_> = conditions.into_iter().filter_map(|tree| pruned(tree, gone, &left, 0)).collect();
    if kept.is_empty() {
        return Err(fault("leaves nothing of the rule's detection"));
    }
    rule.detection.conditions = kept;
    Ok(())
}

fn pruned(tree: ConditionExpr, gone: &[String], left: &[&String], depth: usize) -> Option<ConditionExpr> {
    if depth > DEPTH_MAX {
        return Some(tree);
    }
    let list = |trees: Vec<ConditionExpr>| -> Option<Vec<ConditionExpr>> {
        let kept: Vec<_> = trees.into_iter().filter_map(|tree| pruned(tree, gone, left, depth + 1)).collect();
        (!kept.is_empty()).then_some(kept)
    };
    match tree {
        ConditionExpr::And(trees) => list(trees).map(ConditionExpr::And),
        ConditionExpr::Or(trees) => list(trees).map(ConditionExpr::Or),
        ConditionExpr::Not(tree) => {
            pruned(*tree, gone, left, depth + 1).map(|t| ConditionExpr::Not(Box::new(t)))
        }
        ConditionExpr::Identifier(name) => (!gone.contains(&name)).then_some(ConditionExpr::Identifier(name)),
        ConditionExpr::Selector { ref pattern, .. } => {
            let is_left = left.iter().any(|name| pattern.matches_detection_name(name));
            let was_there = gone.iter().any(|name| pattern.matches_detection_name(name));
            (is_left || !was_there).then_some(tree)
        }
    }
}

pub(super) fn fault(message: impl Into<String>) -> Fault {
    Fault { message: message.into(), hint: None }
}
