//! The tables of a database, as `system.tables` tells them: what of a table follows from its engine, its
//! arguments and settings, and which table holds the logs.

use super::retention::Retention;
use super::{Client, Fault, Kind, Reader, sql_name, sql_text};
use std::collections::BTreeMap;

/// What `system.tables` tells of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub(super) engine: String,
    /// The engine with its arguments and settings.
    full: String,
    uuid: String,
    /// The expression by which it is partitioned.
    partition_key: String,
    /// The server that told it.
    host: String,
}

impl Entry {
    /// The arguments of the engine that are in quotes.
    pub(super) fn argument(&self, at: usize) -> Option<&str> {
        self.full.split('\'').skip(1).step_by(2).nth(at)
    }

    /// Database and name of the table behind a Distributed one.
    fn local(&self) -> Option<(&str, &str)> {
        (self.engine == "Distributed").then_some(self.argument(1).zip(self.argument(2))).flatten()
    }

    pub(super) fn keeps_blocks(&self) -> bool {
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

    /// Which of these columns the table is partitioned by: the oldest and newest value of such a column
    /// is told of each part without reading any row.
    pub(super) fn partitioned_by<'n>(&self, columns: &[&'n str]) -> Option<&'n str> {
        let is_no_name = |c: char| !c.is_alphanumeric() && c != '_';
        let names: Vec<&str> = self.partition_key.split(is_no_name).collect();
        columns.iter().copied().find(|column| names.contains(column))
    }

    /// What its merges may leave out. `dated`: the column of event time by which it is partitioned.
    pub(super) fn retention(&self, dated: Option<&str>) -> Retention {
        Retention::of(&self.full, &self.partition_key, dated)
    }

    /// Tells the table from another of its name: its UUID, which each replica has of its own, so
    /// that of replicated tables the path in Keeper counts.
    fn identity(&self) -> String {
        match self.engine.as_str() {
            "MergeTree" if !self.uuid.starts_with("00000000-0000-0000") => self.uuid.clone(),
            engine if engine.starts_with("Replicated") => {
                self.argument(0).unwrap_or_default().replace("{uuid}", &self.uuid)
            }
            _ => String::new(),
        }
    }

    /// What tells the table from another of its name. `local`: the one with the parts. Behind a Distributed
    /// table each server has one of its own, and any of the servers may have answered: it is noted which.
    pub(super) fn identity_of(&self, local: Option<&Entry>) -> String {
        match local {
            Some(local) if self.engine == "Distributed" && local.engine == "MergeTree" => {
                format!("{}@{}", local.identity(), local.host)
            }
            Some(local) => local.identity(),
            None => String::new(),
        }
    }
}

/// Whether two identities, an earlier one and one of now, are of two tables. Two servers may tell of their
/// own tables; and earlier versions noted the path in Keeper as it is written.
pub fn is_other_table(before: &str, now: &str) -> bool {
    let is_told = !before.is_empty() && !now.is_empty() && !before.contains("{uuid}");
    let hosts = before.split_once('@').zip(now.split_once('@'));
    is_told && before != now && hosts.is_none_or(|((_, before), (_, now))| before == now)
}

/// The table that has the parts: the one behind a Distributed one, if it is on this server and may be
/// seen.
pub(super) async fn local(
    client: &Client,
    database: &str,
    tables_here: &BTreeMap<String, Entry>,
    entry: &Entry,
) -> Result<Option<Entry>, Fault> {
    match entry.local() {
        None if entry.engine == "Distributed" => Ok(None),
        None => Ok(Some(entry.clone())),
        Some((other, name)) if other != database => Ok(tables(client, other).await?.remove(name)),
        Some((_, name)) => Ok(tables_here.get(name).cloned()),
    }
}

/// Name → what it is, of all tables in `database` that we may see.
pub(super) async fn tables(client: &Client, database: &str) -> Result<BTreeMap<String, Entry>, Fault> {
    let sql = format!(
        "SELECT toString(name), toString(engine), toString(engine_full), toString(uuid), \
         toString(partition_key), toString(hostName()) FROM system.tables WHERE database = {}",
        sql_text(database)
    );
    let bytes = client.small(&sql).await?;
    let mut reader = Reader::new(&bytes);
    let mut tables = BTreeMap::new();
    while !reader.is_empty() {
        let name = reader.text()?.into_owned();
        let (engine, full) = (reader.text()?.into_owned(), reader.text()?.into_owned());
        let (uuid, partition_key) = (reader.text()?.into_owned(), reader.text()?.into_owned());
        let host = reader.text()?.into_owned();
        tables.insert(name, Entry { engine, full, uuid, partition_key, host });
    }
    Ok(tables)
}

/// Whether parts of this engine are named as the ledger reads them: proven on MergeTree, by its source
/// on the Replicated ones. SharedMergeTree's names look alike, but nobody has looked.
pub(super) fn has_proven_parts(engine: &str) -> bool {
    engine == "Distributed" || engine.ends_with("MergeTree") && !engine.starts_with("Shared")
}

/// The table to read: SigNoz's before the contrib exporter's, the Distributed twin
/// where the cluster has more than one shard or the local table is not here.
pub(super) async fn choose(
    client: &Client,
    tables: &BTreeMap<String, Entry>,
) -> Result<Option<String>, Fault> {
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
pub(super) async fn not_there(client: &Client, database: &str, table: &str) -> Fault {
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
    fn tables_are_told_apart_only_by_the_same_server() {
        assert!(is_other_table("0b3c", "0b3d") && is_other_table("0b3c@a", "0b3d@a"));
        for (before, now) in
            [("", "0b3c"), ("0b3c", ""), ("0b3c", "0b3c"), ("0b3c@a", "0b3d@b"), ("/ch/{uuid}", "/ch/0b3c")]
        {
            assert!(!is_other_table(before, now), "{before} {now}");
        }
    }

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
            partition_key: "(toDate(timestamp / 1000000000), _retention_days)".into(),
            host: "ch-1".into(),
        };
        let plain = entry(
            "MergeTree",
            "MergeTree PARTITION BY x SETTINGS index_granularity = 8192, enable_block_number_column = 1, enable_block_offset_column = 1",
        );
        assert!(plain.keeps_blocks() && plain.identity() == "0b3c");
        assert_eq!(plain.partitioned_by(&["time", "timestamp"]), Some("timestamp"));
        assert!(!entry("MergeTree", "MergeTree SETTINGS enable_block_number_column = 1").keeps_blocks());
        let replicated = entry("ReplicatedMergeTree", "ReplicatedMergeTree('/ch/t/1', 'r1') ORDER BY x");
        assert_eq!(replicated.identity(), "/ch/t/1");
        let distributed = entry("Distributed", "Distributed('c', 'd', 'logs_v2', cityHash64(id))");
        assert_eq!((distributed.local(), plain.local()), (Some(("d", "logs_v2")), None));
        assert_eq!(distributed.identity_of(None), "");
        assert_eq!(distributed.identity_of(Some(&plain)), "0b3c@ch-1");
        assert_eq!(distributed.identity_of(Some(&replicated)), "/ch/t/1");
        let by_uuid = entry("ReplicatedMergeTree", "ReplicatedMergeTree('/ch/{uuid}/{shard}', '{replica}')");
        assert_eq!(by_uuid.identity(), "/ch/0b3c/{shard}");
    }
}
