//! The log tables of SigNoz and of the contrib exporter, as the versions in use created them.
//!
//! The SQL stands in `crates/testkit/sql/`, the facts restated from SigNoz's schema migrator and the
//! contrib exporter's templates. Replicated engines are left out: the embedded engine has no Keeper.

use anyhow::{Context, Result};

use crate::clickhouse::ClickHouse;

const BASE_OLD: &str = include_str!("../sql/signoz/base_old.sql");
const BASE: &str = include_str!("../sql/signoz/base.sql");
const JSON_BODY: &str = include_str!("../sql/signoz/2001_json_body.sql");
const ARRIVAL: &str = include_str!("../sql/signoz/2002_arrival.sql");
const DISTRIBUTED: &str = include_str!("../sql/signoz/distributed.sql");
const OTEL_CLASSIC: &str = include_str!("../sql/otel/classic.sql");
const OTEL_NEWEST: &str = include_str!("../sql/otel/newest.sql");
const OTEL_JSON: &str = include_str!("../sql/otel/json.sql");

/// A version of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// `logs_v2` of Collectors before v0.129.4: no `_retention_days`, no `resource`.
    SignozOld,
    /// `logs_v2` since v0.129.4: with `resource`.
    Signoz,
    /// After migration 2001 with JSON mode on: `body` is empty, the event stands in `body_v2`.
    SignozJsonBody,
    /// After migration 2002 with JSON mode off: all 25 columns, `created_at` among them.
    SignozCreatedAt,
    /// The contrib exporter's `otel_logs` with maps and `TimestampTime`.
    OtelClassic,
    /// The contrib exporter's `otel_logs` with maps, since v0.152.
    OtelNewest,
    /// The contrib exporter's `otel_logs` with JSON attributes.
    OtelJson,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::SignozOld,
        Self::Signoz,
        Self::SignozJsonBody,
        Self::SignozCreatedAt,
        Self::OtelClassic,
        Self::OtelNewest,
        Self::OtelJson,
    ];

    /// Whether it is SigNoz's `logs_v2`, and not the contrib exporter's `otel_logs`.
    #[must_use]
    pub fn is_signoz(self) -> bool {
        !matches!(self, Self::OtelClassic | Self::OtelNewest | Self::OtelJson)
    }

    /// The database it stands in by default.
    #[must_use]
    pub fn database(self) -> &'static str {
        if self.is_signoz() { "signoz_logs" } else { "otel" }
    }

    /// The table with the records.
    #[must_use]
    pub fn table(self) -> &'static str {
        if self.is_signoz() { "logs_v2" } else { "otel_logs" }
    }

    /// Whether `logs_v2` has the column `resource`.
    pub(crate) fn has_resource(self) -> bool {
        self.is_signoz() && self != Self::SignozOld
    }

    /// Whether `logs_v2` has the columns of migration 2001.
    pub(crate) fn has_body_v2(self) -> bool {
        matches!(self, Self::SignozJsonBody | Self::SignozCreatedAt)
    }

    /// The scripts that create it, in order.
    fn scripts(self) -> &'static [&'static str] {
        match self {
            Self::SignozOld => &[BASE_OLD],
            Self::Signoz => &[BASE],
            Self::SignozJsonBody => &[BASE, JSON_BODY],
            Self::SignozCreatedAt => &[BASE, JSON_BODY, ARRIVAL],
            Self::OtelClassic => &[OTEL_CLASSIC],
            Self::OtelNewest => &[OTEL_NEWEST],
            Self::OtelJson => &[OTEL_JSON],
        }
    }
}

/// Creates the tables of `layout` in `database`, which must not have them yet unless they are there
/// already (then nothing is done).
///
/// # Errors
/// The engine's exception, with the statement.
pub fn create(server: &ClickHouse, layout: Layout, database: &str) -> Result<()> {
    let exists = server.execute(&format!("EXISTS TABLE `{database}`.`{}`", layout.table()))?;
    if exists.trim() == "1" {
        return Ok(());
    }
    for script in layout.scripts() {
        run(server, &script.replace("{database}", database))?;
    }
    Ok(())
}

/// Creates the distributed twins over `cluster`.
///
/// # Errors
/// The engine's exception, for example that the cluster is not defined.
pub fn create_distributed(server: &ClickHouse, database: &str, cluster: &str) -> Result<()> {
    run(server, &DISTRIBUTED.replace("{database}", database).replace("{cluster}", cluster))
}

/// Removes the retention of SigNoz's tables, for events of earlier years: their parts would be dropped.
///
/// # Errors
/// The engine's exception.
pub fn keep_forever(server: &ClickHouse, database: &str) -> Result<()> {
    for table in ["logs_v2", "logs_v2_resource"] {
        run(server, &format!("ALTER TABLE `{database}`.{table} REMOVE TTL"))?;
    }
    Ok(())
}

/// Statements are parted by `;` at a line's end; no statement here holds one inside.
fn run(server: &ClickHouse, script: &str) -> Result<()> {
    for statement in script.split(";\n") {
        let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
        let sql: Vec<&str> = lines.collect();
        let sql = sql.join("\n");
        if !sql.trim().is_empty() {
            server
                .execute(&sql)
                .with_context(|| format!("run {}", sql.trim().lines().next().unwrap_or_default()))?;
        }
    }
    Ok(())
}
