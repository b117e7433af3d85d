//! `cargo xtask corpora rows`: the corpora's Windows events as SigNoz rows, one JSON object a line.
//!
//! The corpora are kept beside the repository, in `../shared/corpora`; nothing of them is committed.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use otel_log_ai_testkit::signoz::{LogRow, go_json::Html};
use otel_log_ai_testkit::windows::{Form, Shape, UserDataForm, WindowsEvent, evtx, nxlog};
use serde_json::Value;

/// A set of Windows events.
#[derive(Clone, Copy, ValueEnum)]
pub enum Set {
    SigmaRegression,
    EvtxAttack,
    EvtxOther,
    Mordor,
}

impl Set {
    fn file(self) -> &'static str {
        match self {
            Self::SigmaRegression => "sigma-regression/events.dev.ndjson.gz",
            Self::EvtxAttack => "evtx-attack/events.dev.ndjson.gz",
            Self::EvtxOther => "evtx-other/events.dev.ndjson.gz",
            Self::Mordor => "mordor/events.dev.ndjson.zst",
        }
    }
}

/// Print a corpus as SigNoz rows (`FORMAT JSONEachRow`); the id of a row is `source_file#n`.
#[derive(Args)]
pub struct Rows {
    /// Which events
    #[arg(long, value_enum)]
    set: Set,
    /// The shape of the body
    #[arg(long, value_enum)]
    shape: Shape,
    /// The form of `user_data`
    #[arg(long, value_enum, default_value_t = UserDataForm::GoMap)]
    user_data: UserDataForm,
    /// Write `<`, `>`, `&` as they are, as Collectors since v0.152 do
    #[arg(long)]
    plain_html: bool,
    /// At most so many rows
    #[arg(long)]
    limit: Option<usize>,
    /// Where to write; without it, standard output
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where the corpora are
    #[arg(long, default_value = "../shared/corpora")]
    corpora: PathBuf,
}

/// Writes the rows.
pub fn rows(arguments: &Rows) -> Result<()> {
    let path = arguments.corpora.join(arguments.set.file());
    let html = if arguments.plain_html { Html::Plain } else { Html::Escaped };
    let form = Form { shape: arguments.shape, user_data: arguments.user_data, html };
    let mut out: BufWriter<Box<dyn Write>> = BufWriter::new(match &arguments.out {
        Some(path) => Box::new(File::create(path).with_context(|| format!("create {}", path.display()))?),
        None => Box::new(std::io::stdout().lock()),
    });
    let mut written = 0;
    for line in open(&path)?.lines().take(arguments.limit.unwrap_or(usize::MAX)) {
        let line = line.with_context(|| format!("read {}", path.display()))?;
        let row = row(&line, form).with_context(|| format!("{} line {}", path.display(), written + 1))?;
        out.write_all(&row.to_json_each_row())?;
        out.write_all(b"\n")?;
        written += 1;
    }
    out.flush().context("write the rows")?;
    eprintln!("{written} rows");
    Ok(())
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "zst") {
        let mut decoder = zstd::Decoder::new(file).context("read zstd")?;
        // The corpora are compressed with a window of up to 128 MiB.
        decoder.window_log_max(27).context("widen the zstd window")?;
        Box::new(decoder)
    } else {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    };
    Ok(Box::new(BufReader::with_capacity(1 << 20, reader)))
}

fn row(line: &str, form: Form) -> Result<LogRow> {
    let line: Value = serde_json::from_str(line).context("parse JSON")?;
    let event: WindowsEvent = match (&line["Event"], &line["event"]) {
        (Value::Object(_), _) => evtx::read(&line["Event"]),
        (_, Value::Object(flat)) => nxlog::read(flat),
        _ => anyhow::bail!("neither `Event` nor `event` is an object"),
    };
    let mut row = event.row(form);
    row.id = format!("{}#{}", line["source_file"].as_str().unwrap_or_default(), line["n"]);
    Ok(row)
}
