//! Which table holds the logs and which columns it has; `columns` brings every variant to one form.
//!
//! Columns are read from `system.columns`, never assumed: an upgraded SigNoz keeps its old table
//! and gains columns, the contrib exporter changed types between versions.

mod columns;

pub use columns::BODY_BYTES_MAX;

use super::{Client, Fault, Kind, Reader, sql_name, sql_text};
use crate::config;
use std::collections::BTreeMap;

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
    /// Column → type.
    columns: BTreeMap<String, String>,
}

impl Layout {
    /// Looks for the table that `config` names, or for a known one.
    pub async fn detect(client: &Client, config: &config::ClickHouse) -> Result<Layout, Fault> {
        let database = config.database.as_str();
        let tables = tables(client, database).await?;
        let table = match &config.table {
            Some(name) if tables.contains_key(name) => name.clone(),
            Some(name) => return Err(not_there(client, database, name).await),
            None => match choose(client, &tables).await? {
                Some(found) => found,
                None => return Err(not_there(client, database, "logs_v2").await),
            },
        };
        let entry = tables.get(&table).cloned().unwrap_or_default();
        // The rows of a Distributed table stand in a local one, whose name it tells.
        let sharded = entry.engine == "Distributed";
        let local =
            if sharded { entry.local(database).and_then(|name| tables.get(name)) } else { Some(&entry) };
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
            identity: entry.identity(),
            columns,
        };
        layout.has_parts = layout.probe_parts(client).await? && has_proven_parts(&layout.engine);
        Ok(layout)
    }

    /// Whether the table of that name is still the one that was found.
    pub async fn is_same(&self, client: &Client) -> Result<bool, Fault> {
        let Some((database, table)) = self.name.split_once('.') else { return Ok(true) };
        let tables = tables(client, database).await?;
        Ok(tables.get(table).is_none_or(|entry| entry.identity() == self.identity))
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
}

/// What `system.tables` tells of a table.
#[derive(Debug, Clone, Default)]
struct Entry {
    engine: String,
    /// The engine with its arguments and settings.
    full: String,
    uuid: String,
}

impl Entry {
    /// The arguments of the engine that are in quotes.
    fn argument(&self, at: usize) -> Option<&str> {
        self.full.split('\'').skip(1).step_by(2).nth(at)
    }

    /// The local table of a Distributed one, if it is in this database.
    fn local(&self, database: &str) -> Option<&str> {
        self.argument(1).filter(|name| *name == database).and_then(|_| self.argument(2))
    }

    fn keeps_blocks(&self) -> bool {
        let settings = self.full.split_once("SETTINGS").map_or("", |(_, settings)| settings);
        let is_on = |name: &str| {
            settings.split(',').any(|setting| {
                setting.split_once('=').is_some_and(|(key, value)| {
                    key.trim() == name && matches!(value.trim(), "1" | "true" | "'1'" | "'true'")
                })
            })
        };
        is_on("enable_block_number_column") && is_on("enable_block_offset_column")
    }

    /// Tells the table from another of its name: its UUID, which each replica has of its own, so
    /// that of replicated tables the path in Keeper counts. A Distributed table may stand before
    /// any of several servers and has none.
    fn identity(&self) -> String {
        match self.engine.as_str() {
            "MergeTree" if !self.uuid.starts_with("00000000-0000-0000") => self.uuid.clone(),
            engine if engine.starts_with("Replicated") => self.argument(0).unwrap_or_default().to_string(),
            _ => String::new(),
        }
    }
}

/// Name → what it is, of all tables in `database` that we may see.
async fn tables(client: &Client, database: &str) -> Result<BTreeMap<String, Entry>, Fault> {
    let sql = format!(
        "SELECT toString(name), toString(engine), toString(engine_full), toString(uuid) FROM system.tables \
         WHERE database = {}",
        sql_text(database)
    );
    let bytes = client.small(&sql).await?;
    let mut reader = Reader::new(&bytes);
    let mut tables = BTreeMap::new();
    while !reader.is_empty() {
        let name = reader.text()?.into_owned();
        let (engine, full) = (reader.text()?.into_owned(), reader.text()?.into_owned());
        tables.insert(name, Entry { engine, full, uuid: reader.text()?.into_owned() });
    }
    Ok(tables)
}

/// Whether parts of this engine are named as the ledger reads them: proven on MergeTree, by its source
/// on the Replicated ones. SharedMergeTree's names look alike, but nobody has looked.
fn has_proven_parts(engine: &str) -> bool {
    engine == "Distributed" || engine.ends_with("MergeTree") && !engine.starts_with("Shared")
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

/// The table to read: SigNoz's before the contrib exporter's, the Distributed twin
/// where the cluster has more than one shard or the local table is not here.
async fn choose(client: &Client, tables: &BTreeMap<String, Entry>) -> Result<Option<String>, Fault> {
    let found = |name: &str| tables.contains_key(name).then(|| name.to_string());
    if let Some(entry) = tables.get("distributed_logs_v2")
        && (found("logs_v2").is_none() || shards(client, entry).await? > 1)
    {
        return Ok(found("distributed_logs_v2"));
    }
    Ok(found("logs_v2").or_else(|| found("otel_logs")))
}

/// How many shards the cluster of a Distributed table has. Without the right to know, many.
async fn shards(client: &Client, entry: &Entry) -> Result<u64, Fault> {
    let Some(cluster) = entry.argument(0) else { return Ok(1) };
    let sql =
        format!("SELECT uniqExact(shard_num) FROM system.clusters WHERE cluster = {}", sql_text(cluster));
    match client.small(&sql).await {
        Ok(bytes) => Reader::new(&bytes).u64(),
        Err(fault) if fault.kind == Kind::Denied => Ok(u64::MAX),
        Err(fault) => Err(fault),
    }
}

/// Why a table cannot be seen: it is not there, or there is no right to it. ClickHouse tells when
/// it is asked for it.
async fn not_there(client: &Client, database: &str, table: &str) -> Fault {
    let sql = format!("SELECT count() FROM {}.{} LIMIT 0", sql_name(database), sql_name(table));
    match client.small(&sql).await {
        Err(fault) => fault,
        Ok(_) => Fault {
            kind: Kind::Denied,
            message: format!("{database}.{table} can be read, but `system.tables` does not show it"),
            hint: Some(format!("GRANT SHOW ON {}.* TO {}", sql_name(database), sql_name(client.user()))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_trusted_of_engines_that_were_looked_at() {
        for proven in ["MergeTree", "ReplicatedMergeTree", "ReplacingMergeTree", "Distributed"] {
            assert!(has_proven_parts(proven), "{proven}");
        }
        for other in ["SharedMergeTree", "SharedReplacingMergeTree", "View", "Merge", "MaterializedView"] {
            assert!(!has_proven_parts(other), "{other}");
        }
    }

    #[test]
    fn the_engine_tells_blocks_identity_and_the_local_table() {
        let entry = |engine: &str, full: &str| Entry {
            engine: engine.into(),
            full: full.into(),
            uuid: "0b3c".into(),
        };
        let plain = entry(
            "MergeTree",
            "MergeTree PARTITION BY x SETTINGS index_granularity = 8192, enable_block_number_column = 1, enable_block_offset_column = 1",
        );
        assert!(plain.keeps_blocks() && plain.identity() == "0b3c");
        assert!(!entry("MergeTree", "MergeTree SETTINGS enable_block_number_column = 1").keeps_blocks());
        let replicated = entry("ReplicatedMergeTree", "ReplicatedMergeTree('/ch/t/1', 'r1') ORDER BY x");
        assert_eq!(replicated.identity(), "/ch/t/1");
        let distributed = entry("Distributed", "Distributed('c', 'd', 'logs_v2', cityHash64(id))");
        assert_eq!((distributed.local("d"), distributed.local("e")), (Some("logs_v2"), None));
        assert_eq!(distributed.identity(), "");
    }

    #[test]
    fn families_are_told_by_their_columns() {
        let of = |names: &[&str]| family(&names.iter().map(|n| (n.to_string(), String::new())).collect());
        assert_eq!(of(&["timestamp", "id", "body", "attributes_string"]), Some(Family::SigNoz));
        assert_eq!(of(&["Timestamp", "Body", "LogAttributes"]), Some(Family::Contrib));
        assert_eq!(of(&["a"]), None);
    }
}
