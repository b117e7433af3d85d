//! The figures: a table for people, JSON for comparison.

use anyhow::{Context, Result};
use cpu_time::ThreadTime;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// All figures of a run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// In the order in which they were measured.
    pub figures: Vec<Figure>,
    /// Differences to the peer and other things to know.
    pub notes: Vec<String>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What was done.
    pub what: String,
    /// On which events.
    pub on: String,
    /// The figure.
    pub value: f64,
    /// Its unit: `/s` is records or events a second of one core.
    pub unit: &'static str,
    /// What we aim at, in the same unit.
    pub target: Option<f64>,
}

impl Report {
    /// Adds a figure without a target.
    pub fn add(&mut self, what: &str, on: &str, value: f64, unit: &'static str) {
        self.aim(what, on, value, unit, None);
    }

    /// Adds a figure.
    pub fn aim(
        &mut self,
        what: &str,
        on: &str,
        value: f64,
        unit: &'static str,
        target: impl Into<Option<f64>>,
    ) {
        let figure = Figure { what: what.into(), on: on.into(), value, unit, target: target.into() };
        eprintln!("{}", line(&figure));
        self.figures.push(figure);
    }

    /// The value of an earlier figure.
    pub fn value(&self, what: &str, on: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.what == what && figure.on == on).map(|figure| figure.value)
    }

    /// Prints the table.
    pub fn print(&self) {
        println!("{:44} {:22} {:>12} {:6} target", "what", "on", "figure", "unit");
        for figure in &self.figures {
            println!("{}", line(figure));
        }
        for note in &self.notes {
            println!("{note}");
        }
    }

    /// Writes the JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
    }
}

fn line(figure: &Figure) -> String {
    let value = match figure.value {
        value if value >= 1000.0 => format!("{value:.0}"),
        value => format!("{value:.3}"),
    };
    let target = figure.target.map(|target| format!("{target}")).unwrap_or_default();
    format!("{:44} {:22} {value:>12} {:6} {target}", figure.what, figure.on, figure.unit)
}

/// The rate of what is left when a part is taken off that alone is done at the rate `part`.
pub fn without(part: f64, whole: f64) -> f64 {
    (whole.recip() - part.recip()).recip()
}

/// Least time of one round; below, rounds are repeated.
const ROUND_MIN: Duration = Duration::from_millis(300);
/// How many rounds are measured; the fastest counts, since whatever disturbs only makes it slower.
pub const ROUNDS: usize = 5;

/// How many units a second of processor time `work` does, which does `units` at a call.
pub fn rate(units: usize, mut work: impl FnMut()) -> f64 {
    let mut best: f64 = 0.0;
    work();
    for _ in 0..ROUNDS {
        let started = ThreadTime::now();
        let mut done = 0;
        while started.elapsed() < ROUND_MIN {
            work();
            done += units;
        }
        best = best.max(done as f64 / started.elapsed().as_secs_f64());
    }
    best
}
