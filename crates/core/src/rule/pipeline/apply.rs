//! Carrying out one transformation where its conditions hold.

use super::tree::{self, Changed, fault};
use super::{
    FieldCondition, FieldList, ItemCondition, Names, Of, Relation, RuleCondition, Scalar, State, Step, What,
    change,
};
use crate::rule::load;
use crate::rule::lower::Fault;
use rsigma_parser::{
    ConditionExpr, Detection, DetectionItem, FieldSpec, Modifier, SigmaRule, SigmaString, SigmaValue,
};
use std::cmp::Ordering;

pub(super) fn step(step: &Step, rule: &mut SigmaRule, state: &mut State<'_>) -> Result<(), Fault> {
    if !step.rule.hold(|condition| rule_holds(condition, rule, state)) {
        return Ok(());
    }
    match &step.what {
        What::Nest { steps } => steps.iter().try_for_each(|inner| self::step(inner, rule, state))?,
        What::AddCondition { conditions, negated, template, name } => {
            let items = conditions.iter().map(|(field, values)| {
                let values =
                    values.as_slice().iter().map(|value| sigma_value(value.as_ref(), *template, rule));
                DetectionItem { field: FieldSpec::new(Some(field.clone()), vec![]), values: values.collect() }
            });
            let items = items.collect();
            add_condition(rule, items, *negated, name.as_deref());
        }
        // The whole log source is exchanged, as pySigma does it.
        What::ChangeLogsource { product, category, service } => {
            rule.logsource.product = product.clone();
            rule.logsource.category = category.clone();
            rule.logsource.service = service.clone();
        }
        What::SetState { key, val } => {
            state.values.insert(key.clone(), val.clone());
        }
        What::RuleFailure { message } => return Err(fault(message.clone())),
        What::AddField { .. }
        | What::RemoveField { .. }
        | What::SetField { .. }
        | What::SetCustomAttribute { .. } => {}
        what => tree::change_items(rule, &mut |item| change_item(step, what, item, state))?,
    }
    state.applied.extend(step.id.clone());
    Ok(())
}

fn change_item(
    step: &Step,
    what: &What,
    mut item: DetectionItem,
    state: &State<'_>,
) -> Result<Changed, Fault> {
    if !step.item.hold(|condition| item_holds(condition, &item, state)) {
        return Ok(Changed::Same(item));
    }
    let wants = |field: Option<&str>| step.field.hold(|condition| field_holds(condition, field, state));
    // What `|fieldref` refers to is a field's name too, and renamed as such.
    field_reference(what, &mut item, &wants);
    if !wants(item.field.name.as_deref()) {
        return Ok(Changed::Same(item));
    }
    match what {
        What::FieldNameMapping { .. }
        | What::FieldNamePrefixMapping { .. }
        | What::FieldNamePrefix { .. }
        | What::FieldNameSuffix { .. } => return Ok(rename(what, item)),
        What::DropDetectionItem {} => return Ok(Changed::Gone),
        What::DetectionItemFailure { message } => return Err(fault(message.clone())),
        What::HashesFields { valid_hash_algos, field_prefix, drop_algo_prefix } => {
            return change::hashes(item, valid_hash_algos, field_prefix, *drop_algo_prefix);
        }
        What::ReplaceString { regex, replacement, skip_special } => {
            change::texts(&mut item, |text| {
                vec![change::replaced(text, &regex.0, replacement, *skip_special)]
            });
        }
        What::MapString { mapping } => change::texts(&mut item, |text| match mapping.get(&text.original) {
            Some(new) => new.as_slice().iter().map(|new| SigmaString::new(new)).collect(),
            None => vec![text],
        }),
        What::SetValue { value } => {
            let value = value.as_ref().map_or(SigmaValue::Null, plain_value);
            item.values.iter_mut().for_each(|old| *old = value.clone());
            item.values.truncate(1);
        }
        What::ConvertType { target_type } => change::convert(&mut item, *target_type)?,
        What::Case { method } => change::texts(&mut item, |text| vec![change::cased(text, *method)]),
        What::ValuePlaceholders { include, exclude } => {
            change::placeholders(&mut item, &|name| match chosen(name, include, exclude) {
                false => Ok(None),
                true => match state.vars.get(name) {
                    Some(values) => Ok(Some(values.iter().map(|value| SigmaString::new(value)).collect())),
                    None => Err(fault(format!("`vars` has no values for the placeholder %{name}%"))),
                },
            })?;
        }
        What::WildcardPlaceholders { include, exclude } => change::placeholders(&mut item, &|name| {
            Ok(chosen(name, include, exclude).then(|| vec![SigmaString::new("*")]))
        })?,
        _ => {}
    }
    match item.values.is_empty() {
        // With `|all`, nothing would be asked of the field at all.
        true => Err(fault("leaves a field of the rule without a value")),
        false => Ok(Changed::Same(item)),
    }
}

fn chosen(name: &str, include: &Option<Vec<String>>, exclude: &Option<Vec<String>>) -> bool {
    let has = |list: &Vec<String>| list.iter().any(|other| other == name);
    include.as_ref().is_none_or(has) && !exclude.as_ref().is_some_and(has)
}

/// The item under its new names.
fn rename(what: &What, mut item: DetectionItem) -> Changed {
    let names = item.field.name.as_deref().and_then(|name| new_names(what, name));
    let Some(mut names) = names.filter(|names| !names.is_empty()) else { return Changed::Same(item) };
    if names.len() == 1 {
        item.field.name = names.pop();
        return Changed::Same(item);
    }
    let renamed = |name| DetectionItem {
        field: FieldSpec::new(Some(name), item.field.modifiers.clone()),
        values: item.values.clone(),
    };
    let items = names.into_iter().map(renamed).collect();
    match item.field.has_modifier(Modifier::Neq) {
        true => Changed::All(items),
        false => Changed::Any(items),
    }
}

/// The field that `|fieldref` refers to is renamed too; of several names the first counts.
fn field_reference(what: &What, item: &mut DetectionItem, wants: &dyn Fn(Option<&str>) -> bool) {
    if !item.field.has_modifier(Modifier::FieldRef) {
        return;
    }
    for value in &mut item.values {
        if let SigmaValue::String(text) = value
            && wants(Some(&text.original))
            && let Some(name) = new_names(what, &text.original).and_then(|names| names.into_iter().next())
        {
            *value = SigmaValue::String(SigmaString::from_raw(&name));
        }
    }
}

fn new_names(what: &What, name: &str) -> Option<Vec<String>> {
    match what {
        What::FieldNameMapping { mapping } => mapping.get(name).map(|names| names.as_slice().to_vec()),
        What::FieldNamePrefixMapping { mapping } => prefix_names(mapping, name),
        What::FieldNamePrefix { prefix } => Some(vec![format!("{prefix}{name}")]),
        What::FieldNameSuffix { suffix } => Some(vec![format!("{name}{suffix}")]),
        _ => None,
    }
}

fn prefix_names(mapping: &Names, name: &str) -> Option<Vec<String>> {
    // Of several prefixes that fit, the longest is the most telling.
    let fits = mapping
        .iter()
        .filter_map(|(prefix, new)| Some((prefix.len(), name.strip_prefix(prefix.as_str())?, new)));
    let (_, rest, new) = fits.max_by_key(|(length, ..)| *length)?;
    Some(new.as_slice().iter().map(|prefix| format!("{prefix}{rest}")).collect())
}

fn add_condition(rule: &mut SigmaRule, items: Vec<DetectionItem>, negated: bool, name: Option<&str>) {
    let detection = &mut rule.detection;
    let mut name = name.unwrap_or("_pipeline").to_owned();
    while detection.named.contains_key(&name) {
        name.push('_');
    }
    detection.named.insert(name.clone(), Detection::AllOf(items));
    let added = match negated {
        true => ConditionExpr::Not(Box::new(ConditionExpr::Identifier(name))),
        false => ConditionExpr::Identifier(name),
    };
    for condition in &mut detection.conditions {
        *condition = ConditionExpr::And(vec![added.clone(), condition.clone()]);
    }
}

/// A value of the file as a value of a rule; a template's `$product` and so on are filled in.
fn sigma_value(value: Option<&Scalar>, template: bool, rule: &SigmaRule) -> SigmaValue {
    match value {
        None => SigmaValue::Null,
        Some(Scalar::Text(text)) if template => {
            let mut text = text.clone();
            for (name, part) in [
                ("product", &rule.logsource.product),
                ("category", &rule.logsource.category),
                ("service", &rule.logsource.service),
            ] {
                let part = part.as_deref().unwrap_or_default();
                text = text.replace(&format!("${{{name}}}"), part).replace(&format!("${name}"), part);
            }
            SigmaValue::String(SigmaString::new(&text))
        }
        Some(value) => plain_value(value),
    }
}

fn plain_value(value: &Scalar) -> SigmaValue {
    match value {
        Scalar::Bool(truth) => SigmaValue::Bool(*truth),
        Scalar::Int(number) => SigmaValue::Integer(*number),
        Scalar::Float(number) => SigmaValue::Float(*number),
        Scalar::Text(text) => SigmaValue::String(SigmaString::new(text)),
    }
}

fn rule_holds(condition: &RuleCondition, rule: &SigmaRule, state: &State<'_>) -> bool {
    match condition {
        RuleCondition::Logsource { product, category, service } => {
            let same = |wanted: &Option<String>, is: &Option<String>| {
                wanted.as_ref().is_none_or(|w| is.as_ref().is_some_and(|i| i.eq_ignore_ascii_case(w)))
            };
            let source = &rule.logsource;
            same(product, &source.product)
                && same(category, &source.category)
                && same(service, &source.service)
        }
        RuleCondition::ContainsDetectionItem { field, value } => {
            let wanted = plain_value(value);
            let same = |is: &SigmaValue| match (is, &wanted) {
                (SigmaValue::String(a), SigmaValue::String(b)) => a.parts == b.parts,
                (a, b) => a == b,
            };
            let mut found = false;
            tree::each_item(rule, &mut |item| {
                found |= item.field.name.as_ref() == Some(field) && item.values.iter().any(same);
            });
            found
        }
        RuleCondition::ContainsField { field } => {
            let mut found = false;
            tree::each_item(rule, &mut |item| found |= item.field.name.as_ref() == Some(field));
            found
        }
        RuleCondition::ProcessingItemApplied { processing_item_id } => {
            state.applied.contains(processing_item_id)
        }
        RuleCondition::ProcessingState { key, val, op } => state_holds(state, key, val, *op),
        RuleCondition::IsSigmaRule {} => true,
        RuleCondition::IsSigmaCorrelationRule {} => false,
        RuleCondition::RuleAttribute { attribute, value, op } => attribute_holds(rule, attribute, value, *op),
        RuleCondition::Tag { tag } => rule.tags.iter().any(|t| t.eq_ignore_ascii_case(tag)),
    }
}

fn state_holds(state: &State<'_>, key: &str, wanted: &Scalar, op: Relation) -> bool {
    state.values.get(key).is_some_and(|is| relation(op, &is.text(), &wanted.text()))
}

/// Compares numbers as such and everything else as text.
fn relation(op: Relation, is: &str, wanted: &str) -> bool {
    let order = match (is.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(is), Ok(wanted)) => is.partial_cmp(&wanted),
        _ => Some(is.cmp(wanted)),
    };
    ordered(op, order)
}

fn ordered(op: Relation, order: Option<Ordering>) -> bool {
    match op {
        Relation::Eq => order == Some(Ordering::Equal),
        Relation::Ne => order != Some(Ordering::Equal),
        Relation::Gte => order.is_some_and(Ordering::is_ge),
        Relation::Gt => order.is_some_and(Ordering::is_gt),
        Relation::Lte => order.is_some_and(Ordering::is_le),
        Relation::Lt => order.is_some_and(Ordering::is_lt),
        Relation::In | Relation::NotIn => false,
    }
}

const LEVELS: [&str; 5] = ["informational", "low", "medium", "high", "critical"];
const STATUSES: [&str; 5] = ["unsupported", "deprecated", "experimental", "test", "stable"];

fn attribute_holds(rule: &SigmaRule, attribute: &str, wanted: &Scalar, op: Relation) -> bool {
    let wanted = wanted.text();
    let list = |list: &[String]| match op {
        Relation::In => list.contains(&wanted),
        Relation::NotIn => !list.contains(&wanted),
        other => other == Relation::Ne,
    };
    let text = |text: &Option<String>| text.as_ref().is_some_and(|is| relation(op, is, &wanted));
    let rank = |words: &[&str], is: Option<String>| {
        let place = |word: &str| words.iter().position(|w| w.eq_ignore_ascii_case(word));
        match (is.as_deref().and_then(place), place(&wanted)) {
            (Some(is), Some(wanted)) => ordered(op, Some(is.cmp(&wanted))),
            _ => false,
        }
    };
    match attribute {
        "title" => relation(op, &rule.title, &wanted),
        "id" => text(&rule.id),
        "name" => text(&rule.name),
        "taxonomy" => text(&rule.taxonomy),
        "description" => text(&rule.description),
        "license" => text(&rule.license),
        "author" => text(&rule.author),
        "date" => text(&rule.date),
        "modified" => text(&rule.modified),
        "level" => rank(&LEVELS, rule.level.map(|level| level.as_str().to_owned())),
        "status" => rank(&STATUSES, rule.status.map(|s| load::status(s).as_str().to_owned())),
        "references" => list(&rule.references),
        "fields" => list(&rule.fields),
        "falsepositives" => list(&rule.falsepositives),
        "scope" => list(&rule.scope),
        "tags" => list(&rule.tags),
        _ => false,
    }
}

fn item_holds(condition: &ItemCondition, item: &DetectionItem, state: &State<'_>) -> bool {
    let of = |of: Of, holds: &dyn Fn(&SigmaValue) -> bool| match of {
        Of::Any => item.values.iter().any(holds),
        Of::All => item.values.iter().all(holds),
    };
    match condition {
        ItemCondition::MatchString { cond, pattern, negate } => of(*cond, &|value| {
            let fits = match value {
                SigmaValue::String(text) => pattern.fits_start(&text.original),
                _ => false,
            };
            fits != *negate
        }),
        ItemCondition::MatchValue { cond, value } => {
            let wanted = value.text();
            of(*cond, &|value| match value {
                SigmaValue::String(text) => text.original == wanted,
                SigmaValue::Null => false,
                other => other.to_string() == wanted,
            })
        }
        ItemCondition::ContainsWildcard { cond } => {
            of(*cond, &|value| matches!(value, SigmaValue::String(text) if text.contains_wildcards()))
        }
        ItemCondition::IsNull { cond } => of(*cond, &|value| matches!(value, SigmaValue::Null)),
        ItemCondition::ProcessingState { key, val, op } => state_holds(state, key, val, *op),
    }
}

fn field_holds(condition: &FieldCondition, field: Option<&str>, state: &State<'_>) -> bool {
    let listed = |list: &FieldList| {
        field.is_some_and(|field| match list {
            FieldList::Plain(names) => names.iter().any(|name| name == field),
            FieldList::Re(expressions) => expressions.iter().any(|expression| expression.fits_start(field)),
        })
    };
    match condition {
        FieldCondition::IncludeFields(list) => listed(list),
        FieldCondition::ExcludeFields(list) => !listed(list),
        FieldCondition::ProcessingState { key, val, op } => state_holds(state, key, val, *op),
    }
}
