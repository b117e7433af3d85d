//! What is known of a condition before any event is seen: three-valued logic over which fields a
//! source carries. It gives a constant exactly where [`crate::plan`] does.

use crate::rule::{Expr, Rule, Test};
use std::collections::BTreeSet;

/// Truth of `tree` where it is known: a field that is not carried makes its comparisons false,
/// except those that ask for its absence.
pub(super) fn known(tree: &Expr, rule: &Rule, carried: &dyn Fn(&str) -> bool) -> Option<bool> {
    match tree {
        Expr::And(trees) => all(trees.iter().map(|tree| known(tree, rule, carried))),
        Expr::Or(trees) => {
            all(trees.iter().map(|tree| known(tree, rule, carried).map(|t| !t))).map(|truth| !truth)
        }
        Expr::Not(tree) => known(tree, rule, carried).map(|truth| !truth),
        Expr::AtLeast(n, trees) => {
            let truths: Vec<Option<bool>> = trees.iter().map(|tree| known(tree, rule, carried)).collect();
            let sure = truths.iter().filter(|truth| **truth == Some(true)).count();
            let open = truths.iter().filter(|truth| truth.is_none()).count();
            match *n {
                n if sure >= n => Some(true),
                n if sure + open < n => Some(false),
                _ => None,
            }
        }
        Expr::Search(index) => match rule.searches.get(*index) {
            Some((_, tree)) => known(tree, rule, carried),
            None => Some(false),
        },
        Expr::Item(item) => match &item.field {
            None => None,
            Some(field) if !carried(field) => Some(matches!(item.test, Test::Null | Test::Exists(false))),
            Some(_) => match &item.test {
                Test::FieldRef { field, .. } if !carried(field) => Some(false),
                _ => None,
            },
        },
    }
}

fn all(truths: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(true);
    for truth in truths {
        match truth {
            Some(false) => return Some(false),
            Some(true) => {}
            None => result = None,
        }
    }
    result
}

/// The fields that a rule asks for, by its own names.
pub(super) fn fields(rule: &Rule) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(&rule.condition, rule, &mut found);
    found
}

fn collect(tree: &Expr, rule: &Rule, found: &mut BTreeSet<String>) {
    match tree {
        Expr::And(trees) | Expr::Or(trees) | Expr::AtLeast(_, trees) => {
            trees.iter().for_each(|tree| collect(tree, rule, found));
        }
        Expr::Not(tree) => collect(tree, rule, found),
        Expr::Search(index) => {
            if let Some((_, tree)) = rule.searches.get(*index) {
                collect(tree, rule, found);
            }
        }
        Expr::Item(item) => {
            found.extend(item.field.clone());
            if let Test::FieldRef { field, .. } = &item.test {
                found.insert(field.clone());
            }
        }
    }
}
