//! Reading one pipeline file, with the line of whatever is wrong in it.

use super::{Conditions, Join, OneOrMany, Pipeline, Scalar, Step, What};
use crate::problem::Problem;
use rsigma_parser as sigma;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;

/// Deepest nesting of `nest`.
const NEST_MAX: usize = 8;

/// Longest `…_cond_expr`; it bounds how deeply it is nested.
const EXPRESSION_BYTES_MAX: usize = 1000;

/// Transformations of pySigma that have no meaning here, and why.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "query_expression_placeholders",
        "there is no query to put an expression into; use `value_placeholders`",
    ),
    ("file_placeholders", "give the values in `vars`"),
    ("http_placeholders", "give the values in `vars`"),
    ("command_placeholders", "give the values in `vars`"),
    ("field_name_transform", "it needs a function of Python; use `field_name_mapping`"),
    ("strict_field_mapping_failure", "use `rules coverage`, which tells the fields that cannot be found"),
    ("regex", "letter case does not count here anyway"),
    ("extract_fields", "write the rule's items as fields of their own"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(default)]
    priority: i64,
    #[serde(default)]
    #[serde(rename = "allowed_backends")]
    _allowed_backends: Vec<String>,
    #[serde(default)]
    vars: BTreeMap<String, OneOrMany<Scalar>>,
    #[serde(default)]
    transformations: Vec<Spanned<Json>>,
    postprocessing: Option<Spanned<Json>>,
    finalizers: Option<Spanned<Json>>,
}

pub(super) fn read(path: &str, text: &str) -> Result<Pipeline, Problem> {
    let problem = |line: usize, subject: &str, message: String, hint: Option<&str>| Problem {
        path: path.to_owned(),
        line,
        subject: subject.to_owned(),
        message,
        hint: hint.map(str::to_owned),
    };
    // `y`, `no` and `off` are names and values like others; only true and false are truth values.
    let options = serde_saphyr::options! { strict_booleans: true };
    let file: File = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |place| place.line() as usize);
        let message = error.without_snippet().to_string();
        problem(line, "", message.lines().next().unwrap_or_default().to_owned(), None)
    })?;
    for (name, section) in [("postprocessing", &file.postprocessing), ("finalizers", &file.finalizers)] {
        if let Some(section) = section
            && section.value.as_array().is_none_or(|list| !list.is_empty())
        {
            let message = "forms the text of queries, and rules are evaluated here without any".to_owned();
            return Err(problem(section.referenced.line() as usize, name, message, Some("leave it out")));
        }
    }
    let mut steps = Vec::with_capacity(file.transformations.len());
    for item in file.transformations {
        let line = item.referenced.line() as usize;
        steps.push(step(item.value, line, 0).map_err(|wrong| {
            let line = line_of(text, line, &wrong.message);
            problem(line, &wrong.name, wrong.message, wrong.hint)
        })?);
    }
    let mut vars = BTreeMap::new();
    for (name, list) in file.vars {
        let values: Vec<String> = list.as_slice().iter().map(Scalar::text).collect();
        if values.is_empty() {
            let message = format!("`{name}` has no values");
            return Err(problem(line_of(text, 1, &message), "vars", message, Some("leave it out")));
        }
        vars.insert(name, values);
    }
    Ok(Pipeline { path: path.to_owned(), priority: file.priority, vars, steps })
}

/// What is wrong with one transformation.
struct Wrong {
    name: String,
    message: String,
    hint: Option<&'static str>,
}

fn step(item: Json, line: usize, depth: usize) -> Result<Step, Wrong> {
    let wrong = |name: &str, message: String| Wrong { name: name.to_owned(), message, hint: None };
    let Json::Object(mut item) = item else {
        return Err(wrong("transformations", "an entry is not a mapping".to_owned()));
    };
    let kind = match item.get("type") {
        Some(Json::String(kind)) => kind.clone(),
        _ => return Err(wrong("transformations", "an entry states no `type`".to_owned())),
    };
    if let Some((_, hint)) = UNSUPPORTED.iter().find(|(name, _)| *name == kind) {
        return Err(Wrong {
            name: kind,
            message: "is a transformation that is not supported".into(),
            hint: Some(hint),
        });
    }
    let id = match item.shift_remove("id") {
        Some(Json::String(id)) => Some(id),
        None => None,
        Some(_) => return Err(wrong(&kind, "`id` is not a text".to_owned())),
    };
    let name = id.clone().unwrap_or_else(|| kind.clone());
    let rule = conditions(&mut item, "rule").map_err(|message| wrong(&name, message))?;
    let detection = conditions(&mut item, "detection_item").map_err(|message| wrong(&name, message))?;
    let field = conditions(&mut item, "field_name").map_err(|message| wrong(&name, message))?;
    let has_item_conditions = !detection.named.is_empty() || !field.named.is_empty();
    if has_item_conditions && !changes_items(&kind) {
        let message = "it changes the rule as a whole, so conditions on its items or fields have no meaning";
        return Err(wrong(&name, message.to_owned()));
    }
    let what = match kind.as_str() {
        "nest" => {
            let Some(Json::Array(items)) = item.shift_remove("items") else {
                return Err(wrong(&name, "`items` is not a list of transformations".to_owned()));
            };
            if depth >= NEST_MAX {
                return Err(wrong(&name, format!("is nested more than {NEST_MAX} deep")));
            }
            let steps = items.into_iter().map(|item| step(item, line, depth + 1));
            What::Nest { steps: steps.collect::<Result<_, _>>()? }
        }
        _ => serde_json::from_value(Json::Object(item)).map_err(|error| wrong(&name, error.to_string()))?,
    };
    if let What::ValuePlaceholders { include: Some(_), exclude: Some(_) }
    | What::WildcardPlaceholders { include: Some(_), exclude: Some(_) } = &what
    {
        return Err(wrong(&name, "`include` and `exclude` exclude each other".to_owned()));
    }
    Ok(Step { line, name, id, what, rule, item: detection, field })
}

/// Whether transformations of this type are carried out on each item by itself.
fn changes_items(kind: &str) -> bool {
    !matches!(kind, "nest" | "add_condition" | "change_logsource" | "set_state" | "rule_failure")
}

/// Takes the conditions of one kind (`rule_conditions`, `rule_cond_op`, …) out of a transformation.
fn conditions<C: DeserializeOwned>(
    item: &mut Map<String, Json>,
    kind: &str,
) -> Result<Conditions<C>, String> {
    let key = format!("{kind}_conditions");
    let read = |name: &str, value: Json| {
        serde_json::from_value(value).map_err(|error| format!("{key}: condition {name}: {error}"))
    };
    let mut named: Vec<(String, C)> = vec![];
    match item.shift_remove(&key) {
        None => {}
        Some(Json::Array(list)) => {
            for (number, value) in list.into_iter().enumerate() {
                let name = (number + 1).to_string();
                named.push((name.clone(), read(&name, value)?));
            }
        }
        Some(Json::Object(map)) => {
            for (name, value) in map {
                named.push((name.clone(), read(&name, value)?));
            }
        }
        Some(_) => return Err(format!("`{key}` is neither a list nor a mapping")),
    }
    let negated = match item.shift_remove(&format!("{kind}_cond_not")) {
        None => false,
        Some(Json::Bool(negated)) => negated,
        Some(_) => return Err(format!("`{kind}_cond_not` is neither true nor false")),
    };
    let operator = item.shift_remove(&format!("{kind}_cond_op"));
    let join = match item.shift_remove(&format!("{kind}_cond_expr")) {
        Some(Json::String(text)) => Join::Expression(expression(&text, &named, kind)?),
        Some(_) => return Err(format!("`{kind}_cond_expr` is not a text")),
        None => match operator.as_ref().map(|o| o.as_str().unwrap_or_default()) {
            None | Some("and") => Join::All,
            Some("or") => Join::Any,
            Some(_) => return Err(format!("`{kind}_cond_op` is neither `and` nor `or`")),
        },
    };
    Ok(Conditions { named, join, negated })
}

fn expression<C>(text: &str, named: &[(String, C)], kind: &str) -> Result<sigma::ConditionExpr, String> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(format!("`{kind}_cond_expr` is longer than {EXPRESSION_BYTES_MAX} bytes"));
    }
    let tree = sigma::parse_condition(text)
        .map_err(|error| format!("`{kind}_cond_expr` cannot be read: {error}"))?;
    let mut open = vec![&tree];
    while let Some(tree) = open.pop() {
        match tree {
            sigma::ConditionExpr::And(trees) | sigma::ConditionExpr::Or(trees) => open.extend(trees),
            sigma::ConditionExpr::Not(tree) => open.push(tree),
            sigma::ConditionExpr::Identifier(name) if named.iter().any(|(n, _)| n == name) => {}
            sigma::ConditionExpr::Identifier(name) => {
                return Err(format!("`{kind}_cond_expr` names `{name}`, which is no condition of it"));
            }
            sigma::ConditionExpr::Selector { .. } => {
                return Err(format!("`{kind}_cond_expr` takes names, `and`, `or` and `not` only"));
            }
        }
    }
    Ok(tree)
}

/// The line, from the transformation's on, that holds what the message puts in backquotes.
fn line_of(text: &str, from: usize, message: &str) -> usize {
    let words = message.split('`').skip(1).step_by(2).filter(|word| !word.is_empty());
    let lines = || text.lines().enumerate().skip(from.saturating_sub(1));
    for word in words {
        if let Some((index, _)) = lines().find(|(_, line)| line.contains(word)) {
            return index + 1;
        }
    }
    from
}
