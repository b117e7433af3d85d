//! A rule as a tree with numbered comparisons, and an event for each of them.

use super::Random;
use super::text::{character, filling, of_expression, of_pattern};
use otel_log_ai_core::otel::Event;
use otel_log_ai_core::rule::{Expr, Item, Order, Part, Pattern, Rule, Test, TimePart};
use otel_log_ai_core::value::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Field under which keywords are told, where they are not told as a text of their own.
const KEYWORD_FIELD: &str = "Message";

/// A rule with its named searches put in their places.
#[derive(Debug)]
pub struct Plot {
    /// All comparisons, in the order in which the condition comes to them.
    pub leaves: Vec<Item>,
    tree: Node,
}

#[derive(Debug)]
struct Node {
    /// The comparisons below it.
    leaves: Range<usize>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    And(Vec<Node>),
    Or(Vec<Node>),
    AtLeast(usize, Vec<Node>),
    Not(Box<Node>),
    Leaf,
}

impl Plot {
    /// Of a rule.
    pub fn new(rule: &Rule) -> Plot {
        let mut leaves = Vec::new();
        let tree = node(&rule.condition, rule, &mut leaves);
        Plot { leaves, tree }
    }

    /// The field names that the rule uses.
    pub fn fields(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for item in &self.leaves {
            let other = match &item.test {
                Test::FieldRef { field, .. } => Some(field.as_str()),
                _ => None,
            };
            for name in item.field.as_deref().into_iter().chain(other) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// An event that fulfils the condition by way of comparison `target`; of a comparison under a
    /// `not`, one that the filter should take out. Fields have the rule's own names.
    pub fn event(&self, target: usize, random: &mut Random) -> Event<'static> {
        let mut chosen = Vec::new();
        choose(&self.tree, target, random, &mut chosen);
        chosen.sort_unstable();
        chosen.dedup();
        let mut event = Event::default();
        let mut done: Vec<Option<&str>> = Vec::new();
        for leaf in &chosen {
            let field = self.leaves[*leaf].field.as_deref();
            if done.contains(&field) {
                continue;
            }
            done.push(field);
            let tests: Vec<&Test> = (chosen.iter())
                .filter(|other| self.leaves[**other].field.as_deref() == field)
                .map(|other| &self.leaves[*other].test)
                .collect();
            tell(field, &tests, random, &mut event);
        }
        if random.chance(20) && !event.fields.is_empty() {
            let at = random.below(event.fields.len() + 1);
            event.fields.insert(at, ("Unrelated".into(), filling(random).into()));
        }
        event
    }

    /// A value that fulfils one of the comparisons with `field`, if there is one with text.
    pub fn other_value(&self, field: &str, random: &mut Random) -> Option<String> {
        let of_field: Vec<&Item> =
            self.leaves.iter().filter(|item| item.field.as_deref() == Some(field)).collect();
        if of_field.is_empty() {
            return None;
        }
        value(&random.pick(&of_field).test, random).and_then(|value| Some(value.text()?.into_owned()))
    }
}

fn node(tree: &Expr, rule: &Rule, leaves: &mut Vec<Item>) -> Node {
    let start = leaves.len();
    let mut all = |trees: &[Expr]| trees.iter().map(|tree| node(tree, rule, leaves)).collect();
    let kind = match tree {
        Expr::And(trees) => Kind::And(all(trees)),
        Expr::Or(trees) => Kind::Or(all(trees)),
        Expr::AtLeast(n, trees) => Kind::AtLeast(*n, all(trees)),
        Expr::Not(tree) => Kind::Not(Box::new(node(tree, rule, leaves))),
        Expr::Search(index) => return node(&rule.searches[*index].1, rule, leaves),
        Expr::Item(item) => {
            leaves.push(item.clone());
            Kind::Leaf
        }
    };
    Node { leaves: start..leaves.len(), kind }
}

/// Collects the comparisons that make `node` true, by way of `target` if that is below it.
fn choose(node: &Node, target: usize, random: &mut Random, chosen: &mut Vec<usize>) {
    match &node.kind {
        Kind::Leaf => chosen.push(node.leaves.start),
        Kind::And(nodes) => nodes.iter().for_each(|node| choose(node, target, random, chosen)),
        Kind::Or(nodes) => choose_some(nodes, 1, target, random, chosen),
        Kind::AtLeast(n, nodes) => choose_some(nodes, *n, target, random, chosen),
        Kind::Not(inner) => {
            if inner.leaves.contains(&target) || random.chance(3) {
                choose(inner, target, random, chosen);
            }
        }
    }
}

fn choose_some(nodes: &[Node], n: usize, target: usize, random: &mut Random, chosen: &mut Vec<usize>) {
    if nodes.is_empty() {
        return;
    }
    let aimed = nodes.iter().position(|node| node.leaves.contains(&target));
    let first = aimed.unwrap_or_else(|| random.below(nodes.len()));
    let more = usize::from(random.chance(10));
    for step in 0..(n + more).clamp(1, nodes.len()) {
        choose(&nodes[(first + step) % nodes.len()], target, random, chosen);
    }
}

/// Adds values of `field` that fulfil all of `tests`, in one value where that can be done.
fn tell(field: Option<&str>, tests: &[&Test], random: &mut Random, event: &mut Event<'static>) {
    let mut values: Vec<Value<'static>> = Vec::new();
    let patterns: Vec<&Pattern> =
        tests.iter().filter_map(|test| if let Test::Text(p) = test { Some(p) } else { None }).collect();
    match joined(&patterns, random) {
        Some(text) => values.push(typed(text, random)),
        None => values.extend(patterns.iter().map(|p| typed(of_pattern(p, random), random))),
    }
    for test in tests.iter().filter(|test| !matches!(test, Test::Text(_))) {
        if let Test::FieldRef { field: other, .. } = test {
            let text = format!("{}x", filling(random));
            event.push(other.clone(), text.clone());
            values.push(text.into());
        } else {
            values.extend(value(test, random));
        }
    }
    for value in values {
        match (field, &value) {
            (Some(name), _) => event.push(name.to_owned(), value),
            (None, Value::Str(text)) if random.chance(50) => event.texts.push(text.clone()),
            (None, _) => event.push(KEYWORD_FIELD, value),
        }
    }
}

/// One text that fulfils all of several patterns, where they say no more than how it begins, what it
/// contains and how it ends.
fn joined(patterns: &[&Pattern], random: &mut Random) -> Option<String> {
    if patterns.is_empty() || (patterns.len() > 1 && random.chance(15)) {
        return None;
    }
    if let [only] = patterns {
        return Some(of_pattern(only, random));
    }
    let open = |part: Option<&Part>| part == Some(&Part::Any);
    let (mut first, mut middle, mut last) = (None, String::new(), None);
    for pattern in patterns {
        let text = of_pattern(pattern, random);
        match (open(pattern.parts.first()), open(pattern.parts.last())) {
            (true, true) => {
                middle.push_str(&text);
                middle.push_str(&filling(random));
            }
            (false, true) if first.is_none() => first = Some(text),
            (true, false) if last.is_none() => last = Some(text),
            _ => return None,
        }
    }
    Some(format!("{}{middle}{}", first.unwrap_or_default(), last.unwrap_or_default()))
}

/// A value that fulfils `test`, or is at its bound; none where it asks for none.
pub fn value(test: &Test, random: &mut Random) -> Option<Value<'static>> {
    Some(match test {
        Test::Text(pattern) => typed(of_pattern(pattern, random), random),
        Test::Regex(expression) => of_expression(expression, random).into(),
        Test::Cidr(network) => address(network, random).to_string().into(),
        Test::Number(order, bound) => number(*order, *bound, random),
        Test::Exists(true) => filling(random).into(),
        Test::Exists(false) => return random.chance(10).then(|| filling(random).into()),
        Test::Null => return random.chance(50).then_some(Value::Null),
        Test::FieldRef { .. } => format!("{}{}", filling(random), character(random)).into(),
        Test::TimePart(part, wanted) => time(*part, *wanted).into(),
    })
}

/// Text that reads as a number or truth is sometimes told as such.
fn typed(text: String, random: &mut Random) -> Value<'static> {
    if random.chance(70) {
        return text.into();
    }
    let canonical = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
    match (canonical, text.as_str()) {
        (Some(number), _) if random.chance(50) => Value::Int(number),
        (Some(number), _) => Value::Float(number as f64),
        (None, "true" | "false") => Value::Bool(text == "true"),
        _ => text.into(),
    }
}

fn number(order: Order, bound: f64, random: &mut Random) -> Value<'static> {
    let inside = if matches!(order, Order::Gt | Order::Gte) { 1.0 } else { -1.0 };
    let near = bound + inside * *random.pick(&[0.0, 1.0, 1.0, 0.5, 1000.0, -1.0]);
    match random.below(3) {
        0 => Value::Float(near),
        1 if near.fract() == 0.0 => Value::Int(near as i64),
        _ => near.to_string().into(),
    }
}

/// Mostly in the network: at its bounds or anywhere; sometimes just outside.
fn address(network: &ipnet::IpNet, random: &mut Random) -> IpAddr {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let (first, last) = (bits(network.network()), bits(network.broadcast()));
    let wide = u128::from(random.next()) << 64 | u128::from(random.next());
    let at = match random.below(8) {
        0 => first,
        1 => last,
        2 => first.wrapping_sub(1),
        3 => last.wrapping_add(1),
        _ => first + wide % (last - first).max(1),
    };
    match network {
        ipnet::IpNet::V4(_) if random.chance(10) => IpAddr::V6(Ipv4Addr::from(at as u32).to_ipv6_mapped()),
        ipnet::IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(at as u32)),
        ipnet::IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(at)),
    }
}

fn time(part: TimePart, wanted: i64) -> String {
    let (mut year, mut month, mut day, mut hour, mut minute) = (2026, 8, 5, 10, 30);
    match part {
        TimePart::Minute => minute = wanted,
        TimePart::Hour => hour = wanted,
        TimePart::Day => day = wanted,
        // The fourth of January is always in the first week.
        TimePart::Week => (month, day) = ((wanted * 7 - 3) / 31 + 1, ((wanted * 7 - 3) % 31).max(1)),
        TimePart::Month => month = wanted,
        TimePart::Year => year = wanted,
    }
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z")
}
