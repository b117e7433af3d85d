//! Which table holds the logs, which columns it has, and the SELECT list that brings every variant
//! to one form.
//!
//! Columns are read from `system.columns`, never assumed: an upgraded SigNoz keeps its old table
//! and gains columns, the contrib exporter changed types between versions.

use super::retention::Retention;
use super::tables::{self, Entry, has_proven_parts, is_other_table};
use super::{Client, Fault, Kind, Reader, sql_name, sql_text};
use crate::config;
use std::collections::BTreeMap;

/// Longest body read, bytes. A longer one is cut in SQL, before it costs transfer or memory; its
/// true length is known and the cut is counted. Sigma patterns look at the start of a record in
/// practice, and SigNoz's own limit for one log is of the same size.
pub const BODY_BYTES_MAX: u64 = 1 << 20;
/// Longest body read that is a list of events, bytes: a CloudTrail file is one row, and every record
/// in it counts. OTLP receivers take messages of 4 MiB unless told otherwise.
const LIST_BYTES_MAX: u64 = 16 << 20;

/// Who made the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// SigNoz's `logs_v2`.
    SigNoz,
    /// The contrib ClickHouse exporter's `otel_logs`.
    Contrib,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Who made the table.
    pub family: Family,
    /// Database and table for SQL, quoted.
    pub table: String,
    /// Database and table for people.
    pub name: String,
    /// Whether it is a Distributed table, so that parts are told apart by `_shard_num`.
    pub sharded: bool,
    /// The table's engine; of a Distributed table, that of the table behind it, if it can be seen.
    pub engine: String,
    /// Whether `_part` and `_part_offset` can be read, and are known to mean what the ledger takes them
    /// for: not so on a view, or with ClickHouse Cloud's SharedMergeTree.
    pub has_parts: bool,
    /// Which of the rows are read.
    pub share: config::Share,
    /// Whether merged rows keep the number of the block in which they were inserted
    /// (`enable_block_number_column` and `enable_block_offset_column`).
    pub keeps_blocks: bool,
    /// Whether it is a MergeTree of one server, without replicas.
    pub plain: bool,
    /// What tells this table from another that has its name later; empty if nothing does.
    pub identity: String,
    /// The column of event time by which the table is partitioned, if there is one.
    dated: Option<&'static str>,
    retention: Retention,
    /// Column → type.
    columns: BTreeMap<String, String>,
}

impl Layout {
    /// Looks for the table that `config` names, or for a known one.
    pub async fn detect(client: &Client, config: &config::ClickHouse) -> Result<Layout, Fault> {
        let database = config.database.as_str();
        let tables = tables::tables(client, database).await?;
        let table = match &config.table {
            Some(name) if tables.contains_key(name) => name.clone(),
            Some(name) => return Err(tables::not_there(client, database, name).await),
            None => match tables::choose(client, &tables).await? {
                Some(found) => found,
                None => return Err(tables::not_there(client, database, "logs_v2").await),
            },
        };
        let entry = tables.get(&table).cloned().unwrap_or_default();
        // The rows of a Distributed table stand in a local one, whose name it tells.
        let sharded = entry.engine == "Distributed";
        let local = tables::local(client, database, &tables, &entry).await?;
        let local = local.as_ref();
        let columns = columns(client, database, &table).await?;
        let name = format!("{database}.{table}");
        let family = family(&columns).ok_or_else(|| Fault {
            kind: Kind::Missing,
            message: format!("{name} is neither SigNoz's logs_v2 nor the contrib exporter's otel_logs"),
            hint: Some(match columns.is_empty() {
                true => format!("user `{}` sees none of its columns: GRANT SELECT ON {name}", client.user()),
                false => "check `clickhouse.database` and `clickhouse.table`".to_string(),
            }),
        })?;
        let mut layout = Layout {
            family,
            table: format!("{}.{}", sql_name(database), sql_name(&table)),
            name,
            sharded,
            engine: local.map_or_else(|| entry.engine.clone(), |local| local.engine.clone()),
            has_parts: true,
            share: config.share.clone(),
            keeps_blocks: local.is_some_and(Entry::keeps_blocks),
            plain: entry.engine == "MergeTree",
            identity: entry.identity_of(local),
            dated: dated(family, local),
            retention: Retention::Unknown,
            columns,
        };
        layout.has_parts = layout.probe_parts(client).await? && has_proven_parts(&layout.engine);
        if let Some(local) = local.filter(|_| layout.has_parts) {
            layout.retention = layout.probe_retention(client, local.retention(layout.dated)).await?;
        }
        Ok(layout)
    }

    /// Whether the table of that name is still the one that was found.
    pub async fn is_same(&self, client: &Client) -> Result<bool, Fault> {
        let Some((database, table)) = self.name.split_once('.') else { return Ok(true) };
        let tables = tables::tables(client, database).await?;
        let Some(entry) = tables.get(table) else { return Ok(true) };
        let local = tables::local(client, database, &tables, entry).await?;
        Ok(!is_other_table(&self.identity, &entry.identity_of(local.as_ref())))
    }

    /// Whether a later look found the same, but for the server that answered.
    pub fn is_as(&self, later: &Layout) -> bool {
        let same_server = Layout { identity: later.identity.clone(), ..self.clone() };
        same_server == *later && !is_other_table(&self.identity, &later.identity)
    }

    /// Whether it is a Distributed table, and the one behind it cannot be seen: that it was created anew would be
    /// told by the dates of its parts only.
    pub fn hides_its_parts(&self) -> bool {
        self.sharded && self.has_parts && self.identity.is_empty()
    }

    /// Proves that rows may be read, and finds out whether parts can be told.
    async fn probe_parts(&self, client: &Client) -> Result<bool, Fault> {
        let sql = format!("SELECT _partition_id, _part, _part_offset FROM {} LIMIT 0", self.table);
        match client.small(&sql).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.kind == Kind::Missing => {
                client.small(&format!("SELECT {} FROM {} LIMIT 0", self.time(), self.table)).await?;
                Ok(false)
            }
            Err(fault) => Err(fault),
        }
    }

    /// `retention`, if ClickHouse takes its condition.
    async fn probe_retention(&self, client: &Client, retention: Retention) -> Result<Retention, Fault> {
        let Retention::Until(expired) = &retention else { return Ok(retention) };
        match client.small(&format!("SELECT {expired} FROM {} LIMIT 0", self.table)).await {
            Ok(_) => Ok(retention),
            Err(fault) if matches!(fault.kind, Kind::Other | Kind::Missing) => Ok(Retention::Unknown),
            Err(fault) => Err(fault),
        }
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        let family = match self.family {
            Family::SigNoz => "SigNoz",
            Family::Contrib if self.is_json("LogAttributes") => "contrib exporter, JSON attributes",
            Family::Contrib => "contrib exporter",
        };
        let body = match self.json_body() {
            Some(column) if self.family == Family::SigNoz => format!(", JSON bodies in {column}"),
            _ => String::new(),
        };
        let shards = if self.sharded { ", over all shards" } else { "" };
        let parts = match self.has_parts {
            true => String::new(),
            false => format!(", engine {}: read by event time, not by parts", self.engine),
        };
        format!("{} ({family}{body}{shards}{parts})", self.name)
    }

    fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    fn is_json(&self, column: &str) -> bool {
        self.columns.get(column).is_some_and(|kind| kind.starts_with("JSON") || kind.starts_with("Object("))
    }

    /// `column` if the table has it, else `default`.
    fn or(&self, column: &str, default: &str) -> String {
        if self.has(column) { sql_name(column) } else { default.to_string() }
    }

    fn json_body(&self) -> Option<&'static str> {
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

    /// The columns of a row, in the order that [`super::Rows`] reads them.
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
            Family::Contrib => (format!("lower(hex({key}))"), "toUInt64(0)".into(), "''".into()),
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
    /// the JSON text; [`super::Rows`] flattens it.
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

/// The column of event time by which the table is partitioned. `local`: the table that has the parts; SigNoz
/// partitions all of its own by this column.
fn dated(family: Family, local: Option<&Entry>) -> Option<&'static str> {
    match (family, local) {
        (Family::SigNoz, None) => Some("timestamp"),
        (Family::SigNoz, Some(local)) => local.partitioned_by(&["timestamp"]),
        (Family::Contrib, Some(local)) => local.partitioned_by(&["Timestamp", "TimestampTime"]),
        (Family::Contrib, None) => None,
    }
}

async fn columns(client: &Client, database: &str, table: &str) -> Result<BTreeMap<String, String>, Fault> {
    let sql = format!(
        "SELECT toString(name), toString(type) FROM system.columns WHERE database = {} AND table = {}",
        sql_text(database),
        sql_text(table)
    );
    let bytes = client.small(&sql).await?;
    let mut reader = Reader::new(&bytes);
    let mut columns = BTreeMap::new();
    while !reader.is_empty() {
        columns.insert(reader.text()?.into_owned(), reader.text()?.into_owned());
    }
    Ok(columns)
}

fn family(columns: &BTreeMap<String, String>) -> Option<Family> {
    let has_all = |names: &[&str]| names.iter().all(|name| columns.contains_key(*name));
    if has_all(&["timestamp", "id", "body", "attributes_string"]) {
        Some(Family::SigNoz)
    } else if has_all(&["Timestamp", "Body", "LogAttributes"]) {
        Some(Family::Contrib)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn families_are_told_by_their_columns() {
        let of = |names: &[&str]| family(&names.iter().map(|n| (n.to_string(), String::new())).collect());
        assert_eq!(of(&["timestamp", "id", "body", "attributes_string"]), Some(Family::SigNoz));
        assert_eq!(of(&["Timestamp", "Body", "LogAttributes"]), Some(Family::Contrib));
        assert_eq!(of(&["a"]), None);
    }
}
