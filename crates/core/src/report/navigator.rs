//! A layer for the ATT&CK Navigator (layer format 4.5): which techniques the rules can see.

use super::coverage::Coverage;
use super::list;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most rules that the comment of a technique names.
const NAMED_MAX: usize = 5;

#[derive(Default)]
struct Technique {
    can_fire: Vec<String>,
    blind: Vec<String>,
}

/// The layer. A technique's score is the number of its rules that can fire and that `is_open` does
/// not rule out (by number of the rule); techniques with blind rules alone have score 0.
pub fn layer(coverage: &Coverage, name: &str, is_open: &dyn Fn(usize) -> bool) -> Value {
    let mut techniques: BTreeMap<&str, Technique> = BTreeMap::new();
    for (number, rule) in coverage.rules.iter().enumerate() {
        for technique in &rule.techniques {
            let entry = techniques.entry(technique).or_default();
            let is_seeing = rule.can_fire && is_open(number);
            let titles = if is_seeing { &mut entry.can_fire } else { &mut entry.blind };
            titles.push(rule.rule.title.clone());
        }
    }
    let score_max = techniques.values().map(|technique| technique.can_fire.len()).max().unwrap_or(0);
    let entries: Vec<Value> = techniques
        .iter()
        .map(|(id, technique)| {
            json!({
                "techniqueID": id,
                "score": technique.can_fire.len(),
                "comment": comment(technique),
                "enabled": true,
                "showSubtechniques": technique.can_fire.is_empty(),
                "metadata": [
                    {"name": "rules that can fire", "value": technique.can_fire.len().to_string()},
                    {"name": "blind rules", "value": technique.blind.len().to_string()},
                ],
            })
        })
        .collect();
    json!({
        "name": name,
        "versions": {"layer": "4.5", "navigator": "5.1.0"},
        "domain": "enterprise-attack",
        "description": format!(
            "{} of {} Sigma rules can fire; the score of a technique is the number of its rules that can",
            coverage.rules.iter().enumerate().filter(|(n, rule)| rule.can_fire && is_open(*n)).count(),
            coverage.rules.len()
        ),
        "sorting": 3,
        "layout": {"layout": "side", "showID": true, "showName": true, "showAggregateScores": false},
        "hideDisabled": false,
        "techniques": entries,
        "gradient": {
            "colors": ["#ff6666ff", "#ffe766ff", "#8ec843ff"],
            "minValue": 0,
            "maxValue": score_max.max(1),
        },
        "legendItems": [{"label": "blind: rules exist, none can fire", "color": "#ff6666"}],
        "selectTechniquesAcrossTactics": true,
        "selectSubtechniquesWithParent": false,
    })
}

fn comment(technique: &Technique) -> String {
    match technique.can_fire.is_empty() {
        true => format!("blind: {}", list(&technique.blind, NAMED_MAX)),
        false => list(&technique.can_fire, NAMED_MAX),
    }
}
