//! Which table holds the logs and which columns it has; `columns` brings every variant to one form.
//!
//! Columns are read from `system.columns`, never assumed: an upgraded SigNoz keeps its old table
//! and gains columns, the contrib exporter changed types between versions.

mod columns;

use super::retention::Retention;
use super::tables::{self, Entry, has_proven_parts, is_other_table};
use super::{Client, Fault, Kind, Reader, sql_name, sql_text};
use crate::config;
pub use columns::BODY_BYTES_MAX;
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

    #[test]
    fn families_are_told_by_their_columns() {
        let of = |names: &[&str]| family(&names.iter().map(|n| (n.to_string(), String::new())).collect());
        assert_eq!(of(&["timestamp", "id", "body", "attributes_string"]), Some(Family::SigNoz));
        assert_eq!(of(&["Timestamp", "Body", "LogAttributes"]), Some(Family::Contrib));
        assert_eq!(of(&["a"]), None);
    }
}
