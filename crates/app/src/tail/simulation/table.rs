//! The simulated table as the reader has it: what it answers, and how it fails.

use super::world::{Retention, Row, Stored, World};
use crate::clickhouse::{Fault, Kind, Rows};
use crate::tail::part::{Expired, Part};
use crate::tail::table::{Abilities, Bound, Listing, Piece, Seen, Table};
use rand::RngExt;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

impl World {
    fn shown(&self, part: &Part) -> Option<&Stored> {
        self.replicas[self.asked].iter().find(|stored| stored.part.name == part.name)
    }

    /// Whether the question fails, and how.
    fn trouble(&mut self) -> Result<(), Fault> {
        self.questions += 1;
        if self.calm {
            return Ok(());
        }
        if self.random.random_bool(0.3) {
            self.step();
        }
        if self.random.random_range(0..100) >= self.kinds.failures {
            return Ok(());
        }
        let kind = [Kind::Unreachable, Kind::TooBig, Kind::Garbled][self.random.random_range(0..3)];
        Err(Fault::new(kind, "simulated"))
    }

    fn wants(&self, row: &Row, since_ns: u64) -> bool {
        row.ours && row.timestamp_ns >= since_ns
    }
}

/// The table as the reader has it.
#[derive(Debug, Clone)]
pub struct Simulated {
    pub world: Arc<Mutex<World>>,
    /// The identity it had when it was opened.
    pub identity: u32,
}

impl Simulated {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

/// Rows as ClickHouse sends them.
fn answer(world: &mut World, rows: &[(String, u64, Row)]) -> Result<Rows, Fault> {
    let mut bytes = Vec::new();
    let put = |bytes: &mut Vec<u8>, text: &str| {
        bytes.push(text.len() as u8);
        bytes.extend(text.as_bytes());
    };
    let mut ends = BTreeSet::from([0]);
    for (part, offset, row) in rows {
        bytes.push(u8::from(row.ours));
        bytes.extend(0u32.to_le_bytes());
        put(&mut bytes, part);
        bytes.extend(offset.to_le_bytes());
        bytes.extend(row.key.to_le_bytes());
        put(&mut bytes, &row.id.to_string());
        bytes.extend(row.timestamp_ns.to_le_bytes());
        // Observed, trace, severity, its number, length of the body, body, four maps, scope, fingerprint.
        bytes.extend([0; 8 + 1 + 1 + 1 + 8 + 1 + 4 + 1 + 1]);
        ends.insert(bytes.len());
    }
    if !world.calm && world.random.random_range(0..200) < world.kinds.failures && !bytes.is_empty() {
        let end = world.random.random_range(0..bytes.len());
        // HTTP tells of a body that ends too early; the cut between two rows shows nowhere else.
        if ends.contains(&end) {
            return Err(Fault::new(Kind::Unreachable, "simulated"));
        }
        bytes.truncate(end);
    }
    Rows::decode(bytes)
}

impl Table for Simulated {
    fn abilities(&self) -> Abilities {
        self.world().kinds.abilities
    }

    async fn list(&self) -> Result<Listing, Fault> {
        let mut world = self.world();
        world.trouble()?;
        let told = |stored: &Stored| {
            let times = stored.part.times.filter(|_| world.kinds.times);
            let expired = match (world.kinds.retention, times) {
                (Retention::Forever, _) => Expired::Nothing,
                (Retention::Until(age_ns), Some(times)) if times.oldest_ns + age_ns > world.clock_ns => {
                    Expired::Nothing
                }
                (Retention::Until(_), Some(_)) => Expired::Oldest,
                _ => Expired::Any,
            };
            Part { times, expired, ..stored.part.clone() }
        };
        let parts = world.replicas[world.asked].iter().map(told).collect();
        if world.passed.is_none() {
            let rows = world.replicas[world.asked].iter().flat_map(|stored| &stored.rows);
            world.passed = Some(rows.map(|row| row.id).collect());
        }
        Ok(Listing { parts, clock_ns: world.clock_ns })
    }

    async fn list_newest(&self) -> Result<Vec<(Part, u64)>, Fault> {
        let world = self.world();
        let newest = |rows: &[Row]| rows.iter().map(|row| row.timestamp_ns).max().unwrap_or(0);
        Ok(world.replicas[world.asked].iter().map(|s| (s.part.clone(), newest(&s.rows))).collect())
    }

    async fn is_same(&self) -> Result<bool, Fault> {
        let mut world = self.world();
        world.trouble()?;
        Ok(world.identity == self.identity)
    }

    async fn read(&self, pieces: &[Piece], since_ns: u64) -> Result<Rows, Fault> {
        let mut world = self.world();
        world.trouble()?;
        let filtered = since_ns > 0 || world.kinds.abilities.shared;
        let mut found = Vec::new();
        for piece in pieces {
            let Some(stored) = world.shown(&piece.part) else { continue };
            // Without an upper end, a piece reaches to the end of the part.
            let to = if piece.to < piece.part.rows { piece.to } else { u64::MAX };
            for (offset, row) in (0u64..).zip(&stored.rows) {
                let inside = piece.from <= offset && offset < to && !row.masked;
                if inside && (!filtered || offset == piece.from || world.wants(row, since_ns)) {
                    found.push((piece.part.name.clone(), offset, row.clone()));
                }
            }
        }
        answer(&mut world, &found)
    }

    async fn read_at(&self, part: &Part, offsets: &[u64]) -> Result<Rows, Fault> {
        let mut world = self.world();
        world.trouble()?;
        let mut found = Vec::new();
        if let Some(stored) = world.shown(part) {
            for (offset, row) in (0u64..).zip(&stored.rows) {
                if offsets.contains(&offset) && !row.masked {
                    found.push((part.name.clone(), offset, row.clone()));
                }
            }
        }
        answer(&mut world, &found)
    }

    async fn look(
        &self,
        part: &Part,
        bound: &Bound,
        all: bool,
        since_ns: u64,
        mut each: impl FnMut(Seen) + Send,
    ) -> Result<(), Fault> {
        let mut world = self.world();
        world.trouble()?;
        let Some(stored) = world.shown(part) else { return Ok(()) };
        let mut rows: Vec<(u64, Row)> = (0u64..).zip(stored.rows.iter().cloned()).collect();
        rows.retain(|(_, row)| !row.masked);
        // Several threads read a part: their blocks come in any order.
        let first = world.random.random_range(0..=rows.len());
        rows.rotate_left(first);
        for (offset, row) in rows {
            let bounded = match bound {
                Bound::Whole => true,
                Bound::OutsideBlocks(ranges) => {
                    !ranges.iter().any(|(lo, hi)| (*lo..=*hi).contains(&row.block))
                }
                Bound::Created { from_ns, to_ns } => {
                    let created_ns = row.created_ns.unwrap_or(world.clock_ns + 1);
                    (*from_ns..=*to_ns).contains(&created_ns)
                }
            };
            if (bounded && (all || world.wants(&row, since_ns))) || offset == 0 {
                let Row { key, timestamp_ns, ours, .. } = row;
                each(Seen { offset, key, timestamp_ns, ours, bounded });
            }
        }
        Ok(())
    }

    async fn keys(&self, parts: &[Part], since_ns: u64) -> Result<Vec<(usize, u64, u64)>, Fault> {
        let mut world = self.world();
        world.trouble()?;
        let mut keys = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let Some(stored) = world.shown(part) else { continue };
            let rows = stored.rows.iter().filter(|row| !row.masked && world.wants(row, since_ns));
            keys.extend(rows.map(|row| (at, row.key, row.timestamp_ns)));
        }
        Ok(keys)
    }
}
