//! The SELECT list and the conditions that bring every variant of the table to one form.

use super::{Family, Layout};
use crate::clickhouse::retention::Retention;
use crate::clickhouse::sql_name;

/// Longest body read, bytes. A longer one is cut in SQL, before it costs transfer or memory; its
/// true length is known and the cut is counted. Sigma patterns look at the start of a record in
/// practice, and SigNoz's own limit for one log is of the same size.
pub const BODY_BYTES_MAX: u64 = 1 << 20;
/// Longest body read that is a list of events, bytes: a CloudTrail file is one row, and every record
/// in it counts. OTLP receivers take messages of 4 MiB unless told otherwise.
const LIST_BYTES_MAX: u64 = 16 << 20;

impl Layout {
    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    pub(super) fn is_json(&self, column: &str) -> bool {
        self.columns.get(column).is_some_and(|kind| kind.starts_with("JSON") || kind.starts_with("Object("))
    }

    /// `column` if the table has it, else `default`.
    fn or(&self, column: &str, default: &str) -> String {
        if self.has(column) { sql_name(column) } else { default.to_string() }
    }

    pub(super) fn json_body(&self) -> Option<&'static str> {
        ["body_v2", "body_json"].into_iter().find(|column| self.is_json(column))
    }

    /// Event time as nanoseconds since the epoch, UInt64.
    pub fn time(&self) -> &'static str {
        match self.family {
            Family::SigNoz => "toUInt64(`timestamp`)",
            Family::Contrib => "toUInt64(greatest(toUnixTimestamp64Nano(toDateTime64(`Timestamp`, 9)), 0))",
        }
    }

    /// Event time of the oldest and of the newest row of a part, each as UInt64 in nanoseconds since the
    /// epoch; `None` where that cannot be told without reading rows. ClickHouse keeps the least
    /// and the greatest value of the columns that a table is partitioned by with each part, and answers
    /// from these only if they are asked for as they are.
    pub fn times_of_parts(&self) -> Option<String> {
        let of = |function: &str, column: &str| match self.family {
            Family::SigNoz => format!("toUInt64({function}({}))", sql_name(column)),
            Family::Contrib => format!(
                "toUInt64(greatest(toUnixTimestamp64Nano(toDateTime64({function}({}), 9)), 0))",
                sql_name(column)
            ),
        };
        self.dated.map(|column| format!("{}, {}", of("min", column), of("max", column)))
    }

    /// Which rows of a part merges may have left out, as UInt8: 0 none, 1 the oldest, 2 any.
    pub fn expired(&self) -> String {
        match &self.retention {
            Retention::Forever => "toUInt8(0)".into(),
            Retention::Until(expired) => format!("toUInt8({expired})"),
            Retention::Unknown => "toUInt8(2)".into(),
        }
    }

    /// A condition on the event time that the table's indexes can use.
    pub fn since(&self, ns: u64) -> String {
        match self.family {
            Family::SigNoz => format!("`timestamp` >= {ns}"),
            Family::Contrib => format!("`Timestamp` >= fromUnixTimestamp64Nano(toInt64({ns}))"),
        }
    }

    /// Whether rows tell when they were created, by ClickHouse's clock.
    pub fn has_created_at(&self) -> bool {
        self.columns.get("created_at").is_some_and(|kind| kind.starts_with("DateTime64"))
    }

    /// A condition on when a row was created, nanoseconds since the epoch, both included.
    pub fn created_between(&self, from_ns: u64, to_ns: u64) -> String {
        let at = |ns: u64| format!("fromUnixTimestamp64Milli(toInt64({}))", ns / 1_000_000);
        format!("`created_at` BETWEEN {} AND {}", at(from_ns), at(to_ns))
    }

    /// The condition that a row is in our share of the hosts; `None`: all are. The rows of a host
    /// are in one share: by `host.name`, else by whatever else stays the same for a resource.
    pub fn share_condition(&self) -> Option<String> {
        let share = self.share.by_host().then_some(&self.share)?;
        Some(format!("cityHash64({}) % {} = {}", self.origin(), share.of, share.index))
    }

    /// The condition that picks our shards; `None`: all are read.
    pub fn shard_condition(&self) -> Option<String> {
        if !self.sharded || self.share.shards.is_empty() {
            return None;
        }
        let shards: Vec<String> = self.share.shards.iter().map(u32::to_string).collect();
        Some(format!("_shard_num IN ({})", shards.join(",")))
    }

    /// Where a row comes from: its host, else its resource. SigNoz's fingerprint is the same for
    /// all rows of a resource; hosts are named in any case.
    fn origin(&self) -> String {
        let (map, json, rest) = match self.family {
            Family::SigNoz => ("resources_string", "resource", "resource_fingerprint"),
            Family::Contrib => ("ResourceAttributes", "ResourceAttributes", "ServiceName"),
        };
        let mut names = Vec::new();
        if self.has(map) && !self.is_json(map) {
            names.push(format!("{}['host.name']", sql_name(map)));
        }
        if self.is_json(json) {
            names.push(format!("ifNull(toString({}.`host`.`name`), '')", sql_name(json)));
        }
        let rest = format!("toString({})", self.or(rest, "''"));
        names.iter().rfold(rest, |rest, name| format!("if({name} != '', lower({name}), {rest})"))
    }

    /// The condition that a row was inserted at this time or later, nanoseconds since the epoch; `None`
    /// where no column tells. Rows older than the column may be told to be of now.
    pub fn inserted_since(&self, ns: u64) -> Option<String> {
        let column = ["created_at", "inserted_at"].into_iter().find(|column| self.has(column))?;
        Some(format!("{} >= fromUnixTimestamp64Nano(toInt64({ns}))", sql_name(column)))
    }

    /// 64 bits that tell rows apart: of the id, or of the content where there is none. Identical
    /// rows without an id share one key; the readers count keys, so that both are seen.
    pub fn key(&self) -> String {
        match self.family {
            Family::SigNoz => "cityHash64(`id`)".to_string(),
            Family::Contrib => {
                let text = |column: &str| match (self.has(column), self.is_json(column)) {
                    (false, _) => "''".to_string(),
                    (true, true) => format!("toJSONString({})", sql_name(column)),
                    (true, false) => format!("toString({})", sql_name(column)),
                };
                let columns =
                    ["TraceId", "SpanId", "SeverityText", "Body", "ResourceAttributes", "LogAttributes"];
                format!("cityHash64(`Timestamp`, {})", columns.map(text).join(", "))
            }
        }
    }

    /// The columns of a row, in the order that [`crate::clickhouse::Rows`] reads them.
    pub fn select_list(&self) -> String {
        let key = self.key();
        let (trace, severity, number, scope) = match self.family {
            Family::SigNoz => ("trace_id", "severity_text", "severity_number", "scope_name"),
            Family::Contrib => ("TraceId", "SeverityText", "SeverityNumber", "ScopeName"),
        };
        let (id, observed, fingerprint) = match self.family {
            Family::SigNoz => (
                "toString(`id`)".to_string(),
                format!("toUInt64({})", self.or("observed_timestamp", "0")),
                format!("toString({})", self.or("resource_fingerprint", "''")),
            ),
            Family::Contrib => {
                // `hex` leaves zeros in front out.
                (format!("leftPad(lower(hex({key})), 16, '0')"), "toUInt64(0)".into(), "''".into())
            }
        };
        let body = self.body();
        let number = self.or(number, "0");
        [
            self.share_condition().map_or_else(|| "toUInt8(1)".into(), |ours| format!("toUInt8({ours})")),
            self.shard(),
            match self.has_parts {
                true => "toString(_part), toUInt64(_part_offset)".into(),
                false => "'', toUInt64(0)".into(),
            },
            key,
            id,
            self.time().to_string(),
            observed,
            format!("toString({})", self.or(trace, "''")),
            format!("toString({})", self.or(severity, "''")),
            format!("toUInt8(if({number} BETWEEN 0 AND 24, {number}, 0))"),
            format!("toUInt64(length({body}))"),
            format!(
                "substring({body}, 1, if(startsWith({body}, '{{\"Records\"') OR startsWith({body}, '{{\"records\"') \
                 OR startsWith({body}, '['), {LIST_BYTES_MAX}, {BODY_BYTES_MAX}))"
            ),
            self.map(["attributes_string", "LogAttributes"], "String"),
            self.map(["attributes_number", ""], "Float64"),
            self.map(["attributes_bool", ""], "Bool"),
            self.resources(),
            format!("toString({})", self.or(scope, "''")),
            fingerprint,
        ]
        .join(", ")
    }

    /// The shard as UInt32; 0 where there is only one.
    pub fn shard(&self) -> String {
        if self.sharded { "toUInt32(_shard_num)".into() } else { "toUInt32(0)".into() }
    }

    /// The text of the body. In SigNoz's JSON mode `body` is empty and the JSON column is rendered;
    /// a JSON column that says nothing stays an empty body.
    fn body(&self) -> String {
        if self.family == Family::Contrib {
            return format!("toString({})", self.or("Body", "''"));
        }
        match self.json_body() {
            None => "toString(`body`)".to_string(),
            Some(column) => {
                let json = format!("toJSONString({})", sql_name(column));
                format!(
                    "multiIf(`body` != '', `body`, {json} IN ('{{}}', '{{\"message\":\"\"}}'), '', {json})"
                )
            }
        }
    }

    /// An attribute map. A JSON column becomes a map of one entry with an empty key, whose value is
    /// the JSON text; [`crate::clickhouse::Rows`] flattens it.
    fn map(&self, names: [&str; 2], value: &str) -> String {
        let name = match self.family {
            Family::SigNoz => names[0],
            Family::Contrib => names[1],
        };
        if !self.has(name) {
            return format!("CAST(map(), 'Map(String, {value})')");
        }
        match self.is_json(name) {
            true => format!("CAST(map('', toJSONString({})), 'Map(String, String)')", sql_name(name)),
            false => format!("CAST({}, 'Map(String, {value})')", sql_name(name)),
        }
    }

    /// Resource attributes. SigNoz writes both `resources_string` and, since v0.129.4, the JSON
    /// column `resource`; either may be empty.
    fn resources(&self) -> String {
        if self.family == Family::SigNoz && self.is_json("resource") {
            let json = "CAST(map('', toJSONString(`resource`)), 'Map(String, String)')";
            if !self.has("resources_string") {
                return json.to_string();
            }
            let map = self.map(["resources_string", ""], "String");
            return format!("if(empty(`resources_string`), {json}, {map})");
        }
        self.map(["resources_string", "ResourceAttributes"], "String")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn layout(family: Family, columns: &[(&str, &str)]) -> Layout {
        let columns = columns.iter().map(|(n, t)| (n.to_string(), t.to_string())).collect();
        let table = "`d`.`t`".to_string();
        let (name, share) = ("d.t".to_string(), config::Share::default());
        let (engine, identity) = ("MergeTree".to_string(), String::new());
        let (sharded, has_parts, keeps_blocks, plain) = (false, true, false, true);
        Layout {
            family,
            table,
            name,
            sharded,
            engine,
            has_parts,
            share,
            keeps_blocks,
            plain,
            identity,
            dated: None,
            retention: Retention::Forever,
            columns,
        }
    }

    #[test]
    fn only_columns_that_are_there_are_asked_for() {
        let old = layout(
            Family::SigNoz,
            &[
                ("timestamp", "UInt64"),
                ("id", "String"),
                ("body", "String"),
                ("attributes_string", "Map(String, String)"),
            ],
        );
        let list = old.select_list();
        for absent in
            ["body_v2", "resources_string", "severity_text", "scope_name", "created_at", "`resource`"]
        {
            assert!(!list.contains(absent), "{absent} in {list}");
        }
    }

    #[test]
    fn a_body_in_json_is_used_where_body_is_empty() {
        let mut new = layout(Family::SigNoz, &[("body", "String"), ("body_v2", "JSON(max_dynamic_paths=0)")]);
        assert!(new.body().contains("toJSONString(`body_v2`)"));
        new.columns.insert("body_v2".into(), "String".into());
        assert_eq!(new.body(), "toString(`body`)");
    }
}
