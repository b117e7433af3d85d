//! The table with parts in ClickHouse: what the reader asks, as SQL.
//!
//! Listing the parts costs ClickHouse some 10 ms and no data (measured on 10 M rows, 420 parts: it
//! is answered from the parts' own counts) and needs no right but SELECT on the table.

use super::BATCH_BYTES_MAX;
use super::part::{Expired, Part, Times};
use super::table::{Abilities, Bound, Listing, Piece, Seen, Table};
use crate::clickhouse::{Client, Fault, Kind, Layout, Reader, Rows, sql_text};
use crate::events::{COUNTERS, add};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most bytes of the keys of some parts: a million rows and their parts' names.
const KEYS_BYTES_MAX: usize = 512 << 20;

/// The table.
#[derive(Debug)]
pub struct Sql {
    client: Arc<Client>,
    layout: Layout,
}

impl Sql {
    /// The table that was found.
    pub fn new(client: Arc<Client>, layout: Layout) -> Sql {
        Sql { client, layout }
    }

    /// Reads rows.
    async fn rows(&self, sql: &str) -> Result<Rows, Fault> {
        let bytes = self.client.bytes(sql, BATCH_BYTES_MAX).await?;
        add(&COUNTERS.read_bytes, bytes.len() as u64);
        let rows = Rows::decode(bytes)?;
        add(&COUNTERS.bodies_read, rows.len() as u64);
        Ok(rows)
    }

    /// Which rows are wanted; `None`: all.
    fn wanted(&self, since_ns: u64) -> Option<String> {
        let since = (since_ns > 0).then(|| self.layout.since(since_ns));
        let conditions: Vec<String> = since.into_iter().chain(self.layout.share_condition()).collect();
        (!conditions.is_empty()).then(|| conditions.join(" AND "))
    }

    fn part_condition(&self, part: &Part) -> String {
        let name = sql_text(&part.name);
        match self.layout.sharded {
            true => format!("_shard_num = {} AND _part = {name}", part.shard),
            false => format!("_part = {name}"),
        }
    }

    /// The condition that selects a piece. Where not all rows are wanted, the first row of the piece
    /// is selected in any case: it proves that the part is still there.
    fn piece_condition(&self, piece: &Piece, since_ns: u64) -> String {
        let mut condition = self.part_condition(&piece.part);
        if piece.from > 0 {
            condition += &format!(" AND _part_offset >= {}", piece.from);
        }
        if piece.to < piece.part.rows {
            condition += &format!(" AND _part_offset < {}", piece.to);
        }
        if let Some(wanted) = self.wanted(since_ns) {
            condition += &format!(" AND ({wanted} OR _part_offset = {})", piece.from);
        }
        format!("({condition})")
    }

    /// The condition of a bound.
    fn bound_condition(&self, bound: &Bound) -> String {
        match bound {
            Bound::Whole => "1".into(),
            Bound::OutsideBlocks(ranges) => {
                let inside = ranges.iter().map(|(lo, hi)| format!("_block_number BETWEEN {lo} AND {hi}"));
                let inside: Vec<String> = inside.collect();
                if inside.is_empty() { "1".into() } else { format!("NOT ({})", inside.join(" OR ")) }
            }
            Bound::Created { from_ns, to_ns } => self.layout.created_between(*from_ns, *to_ns),
        }
    }

    /// The active parts; `extra` is a further column of type UInt64.
    async fn parts(&self, extra: &str) -> Result<Vec<(Part, u64)>, Fault> {
        let (shard, group) = match self.layout.sharded {
            true => ("_shard_num", "_shard_num, "),
            false => ("toUInt32(0)", ""),
        };
        let shards = self.layout.shard_condition().map_or_else(String::new, |c| format!(" WHERE {c}"));
        let times = self.layout.times_of_parts();
        let sql = format!(
            "SELECT {shard}, _partition_id, _part, count(), {}, {}, {extra} FROM {}{shards} GROUP BY {group}_partition_id, _part",
            times.as_deref().unwrap_or("toUInt64(0), toUInt64(0)"),
            self.layout.expired(),
            self.layout.table
        );
        let bytes = self.client.small(&sql).await?;
        let mut reader = Reader::new(&bytes);
        let mut parts = Vec::new();
        while !reader.is_empty() {
            let (shard, partition, name) = (reader.u32()?, reader.text()?, reader.text()?);
            let rows = reader.u64()?;
            let told = Times { oldest_ns: reader.u64()?, newest_ns: reader.u64()? };
            let expired = match reader.u8()? {
                0 => Expired::Nothing,
                1 => Expired::Oldest,
                _ => Expired::Any,
            };
            let (extra, times) = (reader.u64()?, times.is_some().then_some(told));
            match Part::parse(shard, &partition, &name, rows) {
                Some(part) => parts.push((Part { times, expired, ..part }, extra)),
                None => {
                    let message = format!(
                        "{} has a part `{name}`, which is not named as MergeTree does",
                        self.layout.name
                    );
                    return Err(Fault::new(Kind::Other, message));
                }
            }
        }
        Ok(parts)
    }

    /// Reads rows of three UInt64 and two UInt8.
    async fn seen(&self, sql: &str, mut each: impl FnMut(Seen)) -> Result<(), Fault> {
        let mut carry: Vec<u8> = Vec::new();
        let stream = self.client.stream(sql, |chunk| {
            carry.extend_from_slice(chunk);
            let mut reader = Reader::new(&carry);
            while carry.len() - reader.position() >= 26 {
                each(Seen {
                    offset: reader.u64()?,
                    key: reader.u64()?,
                    timestamp_ns: reader.u64()?,
                    ours: reader.flag()?,
                    bounded: reader.flag()?,
                });
            }
            let read = reader.position();
            carry.drain(..read);
            Ok(())
        });
        stream.await?;
        match carry.is_empty() {
            true => Ok(()),
            false => Err(Fault::new(Kind::Garbled, "an answer of ClickHouse ends inside a row")),
        }
    }
}

impl Table for Sql {
    fn abilities(&self) -> Abilities {
        Abilities {
            blocks: self.layout.keeps_blocks,
            created_at: self.layout.has_created_at(),
            plain: self.layout.plain,
            ordered: self.layout.engine == "MergeTree",
            shared: self.layout.share.by_host(),
        }
    }

    async fn list(&self) -> Result<Listing, Fault> {
        let listed = self.parts("toUInt64(toUnixTimestamp64Nano(now64(9)))").await?;
        let clock_ns = listed.iter().map(|(_, clock_ns)| *clock_ns).min().unwrap_or(0);
        Ok(Listing { parts: listed.into_iter().map(|(part, _)| part).collect(), clock_ns })
    }

    async fn list_newest(&self) -> Result<Vec<(Part, u64)>, Fault> {
        self.parts(&format!("max({})", self.layout.time())).await
    }

    async fn is_same(&self) -> Result<bool, Fault> {
        self.layout.is_same(&self.client).await
    }

    async fn read(&self, pieces: &[Piece], since_ns: u64) -> Result<Rows, Fault> {
        let conditions: Vec<String> = pieces.iter().map(|p| self.piece_condition(p, since_ns)).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE _part IN ({}) AND ({})",
            self.layout.select_list(),
            self.layout.table,
            names(pieces.iter().map(|piece| &piece.part)),
            conditions.join(" OR ")
        );
        self.rows(&sql).await
    }

    async fn read_at(&self, part: &Part, offsets: &[u64]) -> Result<Rows, Fault> {
        let (Some(from), Some(to)) = (offsets.first(), offsets.last()) else { return Ok(Rows::default()) };
        let offsets: Vec<String> = offsets.iter().map(u64::to_string).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} AND _part_offset BETWEEN {from} AND {to} AND _part_offset IN ({})",
            self.layout.select_list(),
            self.layout.table,
            self.part_condition(part),
            offsets.join(",")
        );
        self.rows(&sql).await
    }

    async fn look(
        &self,
        part: &Part,
        bound: &Bound,
        all: bool,
        since_ns: u64,
        each: impl FnMut(Seen) + Send,
    ) -> Result<(), Fault> {
        let bounded = self.bound_condition(bound);
        let wanted = if all { None } else { self.wanted(since_ns) };
        let mut conditions: Vec<String> = wanted.into_iter().collect();
        if *bound != Bound::Whole {
            conditions.push(bounded.clone());
        }
        let condition = match conditions.is_empty() {
            true => String::new(),
            false => format!(" AND ({} OR _part_offset = 0)", conditions.join(" AND ")),
        };
        let sql = format!(
            "SELECT toUInt64(_part_offset), {}, {}, toUInt8({}), toUInt8({bounded}) FROM {} WHERE {}{condition}",
            self.layout.key(),
            self.layout.time(),
            self.layout.share_condition().unwrap_or_else(|| "1".into()),
            self.layout.table,
            self.part_condition(part),
        );
        self.seen(&sql, each).await
    }

    async fn keys(&self, parts: &[Part], since_ns: u64) -> Result<Vec<(usize, u64, u64)>, Fault> {
        let conditions: Vec<String> = parts.iter().map(|p| format!("({})", self.part_condition(p))).collect();
        let wanted = self.wanted(since_ns).map_or_else(String::new, |wanted| format!(" AND {wanted}"));
        let sql = format!(
            "SELECT {}, toString(_part), {}, {} FROM {} WHERE _part IN ({}) AND ({}){wanted}",
            self.layout.shard(),
            self.layout.key(),
            self.layout.time(),
            self.layout.table,
            names(parts.iter()),
            conditions.join(" OR ")
        );
        let bytes = self.client.bytes(&sql, KEYS_BYTES_MAX).await?;
        let places: BTreeMap<(u32, &str), usize> =
            parts.iter().enumerate().map(|(at, part)| ((part.shard, part.name.as_str()), at)).collect();
        let mut keys = Vec::new();
        let mut reader = Reader::new(&bytes);
        while !reader.is_empty() {
            let (shard, name) = (reader.u32()?, reader.text()?);
            let (key, timestamp_ns) = (reader.u64()?, reader.u64()?);
            if let Some(at) = places.get(&(shard, name.as_ref())) {
                keys.push((*at, key, timestamp_ns));
            }
        }
        Ok(keys)
    }
}

/// Part names as an SQL list. Conditions on `_part` alone are what ClickHouse picks parts by.
fn names<'p>(parts: impl Iterator<Item = &'p Part>) -> String {
    let names: Vec<String> = parts.map(|part| sql_text(&part.name)).collect();
    names.join(",")
}
