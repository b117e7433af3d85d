//! Processing pipelines in pySigma's YAML form: they change a rule before it is used, for rules that
//! need it (fields of another name, a condition to add, values for placeholders).
//!
//! [`file`] reads them, strictly: a key, condition or transformation that is not known is an error
//! with file and line, because a pipeline that is only half carried out changes what a rule means.
//! [`apply`] carries them out on the parser's syntax tree, before the modifiers are.
//!
//! What has no meaning where rules are evaluated rather than turned into queries
//! (postprocessing, finalizers, query expressions, files and commands as sources of values) is an
//! error too. (`rsigma-eval` has pipelines as well. They are not used, because keys that it does not
//! know are passed over, and because it looks for placeholders in values without `|expand` too and
//! takes these values' escapes away.) Values are seen as the rule writes them: `|endswith` has not added its wildcard yet.

mod apply;
mod change;
mod file;
mod tree;

use super::lower::Fault;
use crate::problem::Problem;
use rsigma_parser as sigma;
use std::collections::{BTreeMap, HashMap};

/// All pipelines, in the order in which they are applied: by priority, then as they were given.
#[derive(Debug, Clone, Default)]
pub struct Pipelines {
    pipelines: Vec<Pipeline>,
    /// Values of placeholders; a later pipeline's come before an earlier one's.
    vars: BTreeMap<String, Vec<String>>,
}

impl Pipelines {
    /// Reads `(path, YAML text)` pairs; `path` is only used to name what is wrong.
    pub fn read(files: &[(&str, &str)]) -> Result<Pipelines, Problem> {
        let mut pipelines = Vec::with_capacity(files.len());
        for (path, text) in files {
            pipelines.push(file::read(path, text)?);
        }
        pipelines.sort_by_key(|pipeline: &Pipeline| pipeline.priority);
        let vars = pipelines.iter().flat_map(|pipeline| pipeline.vars.clone()).collect();
        Ok(Pipelines { pipelines, vars })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pipelines.is_empty()
    }

    /// Changes `rule` as all pipelines want it. Afterwards placeholders that still stand get their
    /// values from `vars`, even if no pipeline has the transformation `value_placeholders`.
    pub(super) fn apply(&self, rule: &mut sigma::SigmaRule) -> Result<(), Fault> {
        if self.is_empty() {
            return Ok(());
        }
        let mut state = State { vars: &self.vars, values: HashMap::new(), applied: vec![] };
        for pipeline in &self.pipelines {
            for step in &pipeline.steps {
                apply::step(step, rule, &mut state).map_err(|fault| Fault {
                    message: format!(
                        "{}:{}: transformation `{}`: {}",
                        pipeline.path, step.line, step.name, fault.message
                    ),
                    hint: fault.hint,
                })?;
            }
        }
        change::known_placeholders(rule, &self.vars)
    }
}

/// One file.
#[derive(Debug, Clone)]
struct Pipeline {
    path: String,
    priority: i64,
    vars: BTreeMap<String, Vec<String>>,
    steps: Vec<Step>,
}

/// One transformation with its conditions.
#[derive(Debug, Clone)]
struct Step {
    /// Line in the file.
    line: usize,
    /// Its `id`, else its type, for messages.
    name: String,
    id: Option<String>,
    what: What,
    rule: Conditions<RuleCondition>,
    item: Conditions<ItemCondition>,
    field: Conditions<FieldCondition>,
}

/// What is remembered while one rule is worked on.
#[derive(Debug)]
struct State<'p> {
    vars: &'p BTreeMap<String, Vec<String>>,
    values: HashMap<String, Scalar>,
    /// Ids of the transformations that were applied.
    applied: Vec<String>,
}

/// Conditions of one kind, and how they are joined. None hold always.
#[derive(Debug, Clone)]
struct Conditions<C> {
    named: Vec<(String, C)>,
    join: Join,
    negated: bool,
}

#[derive(Debug, Clone)]
enum Join {
    All,
    Any,
    /// `…_cond_expr`, over the names.
    Expression(sigma::ConditionExpr),
}

impl<C> Conditions<C> {
    fn hold(&self, holds: impl Fn(&C) -> bool) -> bool {
        if self.named.is_empty() {
            return true;
        }
        let result = match &self.join {
            Join::All => self.named.iter().all(|(_, condition)| holds(condition)),
            Join::Any => self.named.iter().any(|(_, condition)| holds(condition)),
            Join::Expression(tree) => {
                let of =
                    |name: &str| self.named.iter().find(|(n, _)| n == name).is_some_and(|(_, c)| holds(c));
                expression(tree, &of)
            }
        };
        result != self.negated
    }
}

fn expression(tree: &sigma::ConditionExpr, of: &dyn Fn(&str) -> bool) -> bool {
    match tree {
        sigma::ConditionExpr::And(trees) => trees.iter().all(|tree| expression(tree, of)),
        sigma::ConditionExpr::Or(trees) => trees.iter().any(|tree| expression(tree, of)),
        sigma::ConditionExpr::Not(tree) => !expression(tree, of),
        sigma::ConditionExpr::Identifier(name) => of(name),
        // `1 of x*` is refused when the file is read.
        sigma::ConditionExpr::Selector { .. } => false,
    }
}

/// A text, number or Boolean of the file.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Scalar::Bool(truth) => truth.to_string(),
            Scalar::Int(number) => number.to_string(),
            Scalar::Float(number) => crate::value::float_text(*number),
            Scalar::Text(text) => text.clone(),
        }
    }
}

/// One value or several.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(
    untagged,
    expecting = "one value or a list of values is wanted; texts that look like numbers need quotes"
)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

type Names = BTreeMap<String, OneOrMany<String>>;

/// The transformations, under pySigma's names and with its parameters.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum What {
    FieldNameMapping {
        mapping: Names,
    },
    FieldNamePrefixMapping {
        mapping: Names,
    },
    FieldNamePrefix {
        prefix: String,
    },
    FieldNameSuffix {
        suffix: String,
    },
    DropDetectionItem {},
    AddCondition {
        conditions: BTreeMap<String, OneOrMany<Option<Scalar>>>,
        #[serde(default)]
        negated: bool,
        #[serde(default)]
        template: bool,
        #[serde(default)]
        name: Option<String>,
    },
    ChangeLogsource {
        #[serde(default)]
        product: Option<String>,
        #[serde(default)]
        category: Option<String>,
        #[serde(default)]
        service: Option<String>,
    },
    ReplaceString {
        regex: Expression,
        replacement: String,
        #[serde(default)]
        skip_special: bool,
    },
    MapString {
        mapping: Names,
    },
    SetValue {
        value: Option<Scalar>,
    },
    ConvertType {
        target_type: Type,
    },
    Case {
        #[serde(default)]
        method: Case,
    },
    HashesFields {
        valid_hash_algos: Vec<String>,
        #[serde(default)]
        field_prefix: String,
        #[serde(default)]
        drop_algo_prefix: bool,
    },
    ValuePlaceholders {
        #[serde(default)]
        include: Option<Vec<String>>,
        #[serde(default)]
        exclude: Option<Vec<String>>,
    },
    WildcardPlaceholders {
        #[serde(default)]
        include: Option<Vec<String>>,
        #[serde(default)]
        exclude: Option<Vec<String>>,
    },
    SetState {
        key: String,
        val: Scalar,
    },
    RuleFailure {
        message: String,
    },
    DetectionItemFailure {
        message: String,
    },
    /// Its items are read by [`file`].
    #[serde(skip)]
    Nest {
        steps: Vec<Step>,
    },
    // What a backend shows of a match is not ours: these change nothing here.
    AddField {
        #[serde(rename = "field")]
        _field: OneOrMany<String>,
    },
    RemoveField {
        #[serde(rename = "field")]
        _field: OneOrMany<String>,
    },
    SetField {
        #[serde(rename = "fields")]
        _fields: Vec<String>,
    },
    SetCustomAttribute {
        #[serde(rename = "attribute")]
        _attribute: String,
        #[serde(rename = "value")]
        _value: Scalar,
    },
}

#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Str,
    Num,
}

#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Case {
    #[default]
    Lower,
    Upper,
}

/// Conditions on the rule.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum RuleCondition {
    Logsource {
        #[serde(default)]
        product: Option<String>,
        #[serde(default)]
        category: Option<String>,
        #[serde(default)]
        service: Option<String>,
    },
    ContainsDetectionItem {
        field: String,
        value: Scalar,
    },
    ContainsField {
        field: String,
    },
    ProcessingItemApplied {
        processing_item_id: String,
    },
    ProcessingState {
        key: String,
        val: Scalar,
        #[serde(default)]
        op: Relation,
    },
    IsSigmaRule {},
    IsSigmaCorrelationRule {},
    RuleAttribute {
        attribute: String,
        value: Scalar,
        #[serde(default)]
        op: Relation,
    },
    Tag {
        tag: String,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Relation {
    #[default]
    Eq,
    Ne,
    Gte,
    Gt,
    Lte,
    Lt,
    In,
    NotIn,
}

/// Conditions on one detection item.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum ItemCondition {
    MatchString {
        cond: Of,
        /// Has to fit at the start of the value.
        pattern: Expression,
        #[serde(default)]
        negate: bool,
    },
    MatchValue {
        cond: Of,
        value: Scalar,
    },
    ContainsWildcard {
        cond: Of,
    },
    IsNull {
        cond: Of,
    },
    ProcessingState {
        key: String,
        val: Scalar,
        #[serde(default)]
        op: Relation,
    },
}

/// Of how many values of the item.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Of {
    Any,
    All,
}

/// Conditions on a field's name.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum FieldCondition {
    IncludeFields(FieldList),
    ExcludeFields(FieldList),
    ProcessingState {
        key: String,
        val: Scalar,
        #[serde(default)]
        op: Relation,
    },
}

/// Names of fields, or expressions that fit at the start of one.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(try_from = "FieldListText")]
enum FieldList {
    Plain(Vec<String>),
    Re(Vec<Expression>),
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldListText {
    fields: Vec<String>,
    #[serde(default)]
    mode: Mode,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Plain,
    Re,
}

impl TryFrom<FieldListText> for FieldList {
    type Error = String;

    fn try_from(list: FieldListText) -> Result<FieldList, String> {
        match list.mode {
            Mode::Plain => Ok(FieldList::Plain(list.fields)),
            Mode::Re => {
                let expressions = list.fields.iter().map(|text| Expression::new(text));
                Ok(FieldList::Re(expressions.collect::<Result<_, _>>()?))
            }
        }
    }
}

/// A regular expression that was checked when the file was read.
#[derive(Debug, Clone)]
struct Expression(regex::Regex);

impl<'de> serde::Deserialize<'de> for Expression {
    fn deserialize<D: serde::Deserializer<'de>>(yaml: D) -> Result<Expression, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(yaml)?;
        Expression::new(&text).map_err(serde::de::Error::custom)
    }
}

impl Expression {
    fn new(text: &str) -> Result<Expression, String> {
        let regex = regex::RegexBuilder::new(text).size_limit(1 << 20).build();
        regex.map(Expression).map_err(|error| {
            let last = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
            format!("`{text}` is no regular expression that runs in linear time: {last}")
        })
    }

    /// Whether it fits at the start of `text`, which is what Python's `match` asks.
    fn fits_start(&self, text: &str) -> bool {
        self.0.find(text).is_some_and(|hit| hit.start() == 0)
    }
}

#[cfg(test)]
mod tests;
