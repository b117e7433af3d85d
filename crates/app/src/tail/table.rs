//! A table with parts, as the reader sees it. There are two: ClickHouse's, and a simulated one, on
//! which a test tries what cannot be waited for on a real one.

use super::part::Part;
use crate::clickhouse::{Fault, Rows};
use std::future::Future;

/// What the table offers besides parts and rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Merged rows keep the block in which they were inserted.
    pub blocks: bool,
    /// Rows tell when they were created, by ClickHouse's clock.
    pub created_at: bool,
    /// One server, no replicas: what it lists is all there is, and a part that is not listed any
    /// more is gone.
    pub plain: bool,
    /// Parts become visible in the order of their blocks: MergeTree numbers a part when it is shown. Replicated
    /// tables number it before, in Keeper. (ClickHouse's source, `MergeTreeSink`.)
    pub ordered: bool,
    /// Rows are shared with other workers: not all are ours.
    pub shared: bool,
}

/// The active parts at one moment.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// In no order.
    pub parts: Vec<Part>,
    /// ClickHouse's clock just before, nanoseconds since the epoch; 0 if it did not tell.
    pub clock_ns: u64,
}

/// A piece of a part, in the part's order.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The part.
    pub part: Part,
    /// First offset.
    pub from: u64,
    /// Offset after the last.
    pub to: u64,
}

/// Which rows of a merged part are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// All.
    Whole,
    /// Those that were inserted in other blocks than these, each from its first to its last.
    OutsideBlocks(Vec<(i64, i64)>),
    /// Those created between, nanoseconds since the epoch by ClickHouse's clock.
    Created { from_ns: u64, to_ns: u64 },
}

/// A row that was looked at.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Offset in the part.
    pub offset: u64,
    /// 64 bits that tell rows apart.
    pub key: u64,
    /// Event time, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// Whether it is in our share.
    pub ours: bool,
    /// Whether it is within the bound; a row that is not only proves that the part is there.
    pub bounded: bool,
}

/// A table with parts. A part that is merged away is silently absent from every answer; what is
/// told of a part that is there is of one moment.
pub trait Table: std::fmt::Debug + Send + Sync {
    /// What it offers.
    fn abilities(&self) -> Abilities;

    /// The active parts.
    fn list(&self) -> impl Future<Output = Result<Listing, Fault>> + Send;

    /// The active parts with the event time of their newest row.
    fn list_newest(&self) -> impl Future<Output = Result<Vec<(Part, u64)>, Fault>> + Send;

    /// Whether it is still the table that was opened, and not another of its name.
    fn is_same(&self) -> impl Future<Output = Result<bool, Fault>> + Send;

    /// The rows of pieces from `since_ns` on that are ours; of each piece that is there, its first
    /// row in any case.
    fn read(&self, pieces: &[Piece], since_ns: u64) -> impl Future<Output = Result<Rows, Fault>> + Send;

    /// The rows at these offsets, ascending.
    fn read_at(&self, part: &Part, offsets: &[u64]) -> impl Future<Output = Result<Rows, Fault>> + Send;

    /// Looks at rows of a part without reading them. `all`: at all within the bound; else at those
    /// from `since_ns` on that are ours, and the part's first row in any case.
    fn look(
        &self,
        part: &Part,
        bound: &Bound,
        all: bool,
        since_ns: u64,
        each: impl FnMut(Seen) + Send,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Place in `parts`, key and event time of every row of these parts from `since_ns` on that is
    /// ours.
    fn keys(
        &self,
        parts: &[Part],
        since_ns: u64,
    ) -> impl Future<Output = Result<Vec<(usize, u64, u64)>, Fault>> + Send;
}
