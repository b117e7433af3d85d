//! What the TTL of a table lets merges leave out.
//!
//! Any merge leaves out rows that are older than the TTL, also where `ttl_only_drop_parts` is 1 (measured on
//! 25.5 and 26.7), and no part's name tells of it; 25.5 does not even correct the part's times. So
//! ClickHouse is asked whether the oldest row of a part may have expired: the TTL's expression, on
//! the least values of the columns that the table is partitioned by.

use super::sql_name;

/// Which rows merges may leave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Retention {
    /// None.
    Forever,
    /// Rows older than a time: the condition that the oldest row of a part is. It is answered from what
    /// ClickHouse keeps with the part.
    Until(String),
    /// Any.
    Unknown,
}

/// Functions that give no less for more, of those that TTLs are made of.
const GROWING: [&str; 21] = [
    "toDate",
    "toDate32",
    "toDateTime",
    "toDateTime64",
    "toUInt32",
    "toUInt64",
    "toInt64",
    "intDiv",
    "plus",
    "divide",
    "fromUnixTimestamp",
    "fromUnixTimestamp64Milli",
    "fromUnixTimestamp64Nano",
    "toStartOfHour",
    "toStartOfDay",
    "toIntervalSecond",
    "toIntervalMinute",
    "toIntervalHour",
    "toIntervalDay",
    "toIntervalWeek",
    "toIntervalMonth",
];
/// Time that the clocks of ClickHouse's servers may be apart.
const CLOCKS_S: u64 = 60;

impl Retention {
    /// Of a table with this engine (with its arguments, as `system.tables` tells them). `dated`: the column
    /// of event time by which it is partitioned.
    pub(super) fn of(engine_full: &str, partition_key: &str, dated: Option<&str>) -> Retention {
        let engine = engine_full.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        // Others join rows or take one for many.
        if !matches!(engine, "MergeTree" | "ReplicatedMergeTree") {
            return Retention::Unknown;
        }
        let Some((_, ttl)) = engine_full.split_once(" TTL ") else { return Retention::Forever };
        let ttl = ttl.split_once(" SETTINGS ").map_or(ttl, |(ttl, _)| ttl);
        let Some(dated) = dated else { return Retention::Unknown };
        let mut expired = Vec::new();
        for element in elements(ttl).filter(|element| deletes(element)) {
            let end = [" DELETE", " WHERE ", " GROUP BY "].iter().filter_map(|word| element.find(word)).min();
            match on_least(&element[..end.unwrap_or(element.len())], partition_key, dated) {
                Some(expression) => {
                    expired.push(format!("({expression}) <= now() + toIntervalSecond({CLOCKS_S})"));
                }
                None => return Retention::Unknown,
            }
        }
        match expired.is_empty() {
            true => Retention::Forever,
            false => Retention::Until(expired.join(" OR ")),
        }
    }
}

/// Whether rows go, and do not only move.
fn deletes(element: &str) -> bool {
    ![" TO DISK ", " TO VOLUME ", " RECOMPRESS "].iter().any(|moves| element.contains(moves))
}

/// What stands between commas that are not within parentheses.
fn elements(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0i32;
    let between = move |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    };
    text.split(between).map(str::trim)
}

/// An expression of a TTL with the least value of each column in a part in its place; `None` if that is not
/// surely the least value of the expression. A column by which the table is partitioned as it is
/// has one value in a part.
fn on_least(expression: &str, partition_key: &str, dated: &str) -> Option<String> {
    let key = partition_key.strip_prefix('(').and_then(|key| key.strip_suffix(')')).unwrap_or(partition_key);
    let is_fixed = |name: &str| elements(key).any(|element| element == name);
    let mut out = String::new();
    let mut rest = expression.trim();
    while let Some(first) = rest.chars().next() {
        let is_word = first.is_alphanumeric() || first == '_';
        let end = match is_word {
            true => rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (word, after) = rest.split_at(end);
        let is_call = after.starts_with('(');
        match word {
            _ if first.is_ascii_digit() => out += word,
            "+" | "/" | "(" | ")" | "," | " " => out += word,
            _ if is_call && GROWING.contains(&word) => out += word,
            _ if is_word && !is_call && (word == dated || is_fixed(word)) => {
                out += &format!("min({})", sql_name(word));
            }
            _ => return None,
        }
        rest = after;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(engine_full: &str) -> Retention {
        let key = "(toDate(timestamp / 1000000000), _retention_days, _retention_days_cold)";
        Retention::of(engine_full, key, Some("timestamp"))
    }

    #[test]
    fn the_ttl_of_signoz_is_asked_for_the_oldest_row() {
        let ttl = "toDateTime(timestamp / 1000000000) + toIntervalDay(_retention_days)";
        let least = "(toDateTime(min(`timestamp`) / 1000000000) + toIntervalDay(min(`_retention_days`))) \
                     <= now() + toIntervalSecond(60)";
        let engine = |ttl: &str| format!("MergeTree PARTITION BY x ORDER BY y{ttl} SETTINGS a = 1");
        assert_eq!(of(&engine(&format!(" TTL {ttl}"))), Retention::Until(least.into()));
        assert_eq!(
            of(&engine(&format!(" TTL {ttl} DELETE WHERE body = ''"))),
            Retention::Until(least.into())
        );
        let moved = format!(" TTL {ttl}, toDateTime(x) TO VOLUME 'cold'");
        assert_eq!(of(&engine(&moved)), Retention::Until(least.into()));
        assert_eq!(of(&engine(" TTL toDateTime(x) TO VOLUME 'cold'")), Retention::Forever);
        assert_eq!(of(&engine("")), Retention::Forever);
        assert_eq!(of("ReplicatedMergeTree('/a', 'r') ORDER BY y"), Retention::Forever);
    }

    #[test]
    fn what_is_not_surely_by_age_may_be_any_row() {
        for other in [
            "MergeTree ORDER BY y TTL toDateTime(observed) + toIntervalDay(1)",
            "MergeTree ORDER BY y TTL toDateTime(timestamp) - toIntervalDay(1)",
            "MergeTree ORDER BY y TTL if(timestamp > 5, now(), timestamp)",
            "MergeTree ORDER BY y TTL toDateTime(timestamp) + toIntervalDay(severity_number)",
            "MergeTree ORDER BY y TTL `timestamp`",
            "ReplacingMergeTree ORDER BY y",
            "SummingMergeTree ORDER BY y",
        ] {
            assert_eq!(of(other), Retention::Unknown, "{other}");
        }
        let undated = Retention::of("MergeTree ORDER BY y TTL timestamp", "", None);
        assert_eq!(undated, Retention::Unknown);
    }
}
