//! Alerts as JSON lines, appended to a file or written to standard output.
//!
//! The file is opened by its path for each batch, so a rotation by renaming needs no signal. A
//! batch is written whole: what a full disk cut off is taken back, and what a kill cut off is ended
//! with a line feed before the next line. A kill between writing and noting it writes the same lines
//! again: readers know them by `id`.

use super::Reply;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// The file; `None`: standard output.
    pub path: Option<PathBuf>,
    /// Whether the disk must have a batch before it counts as delivered.
    pub sync: bool,
}

/// A file or standard output.
#[derive(Debug)]
pub struct FileTarget {
    settings: FileSettings,
}

impl FileTarget {
    /// Opens nothing yet.
    pub fn new(settings: FileSettings) -> FileTarget {
        FileTarget { settings }
    }

    /// Where the lines go, for people.
    pub fn place(&self) -> String {
        match &self.settings.path {
            Some(path) => path.display().to_string(),
            None => "standard output".to_owned(),
        }
    }

    /// Appends whole lines.
    pub async fn append(&self, lines: Vec<u8>) -> Reply {
        match self.write(lines).await {
            Ok(()) => Reply::Accepted,
            Err(error) if is_lasting(&error) => Reply::Misconfigured { reason: self.told(&error) },
            Err(error) => Reply::Unreachable { sent: false, reason: self.told(&error) },
        }
    }

    /// Writes nothing, and says whether something could be written.
    pub async fn probe(&self) -> Result<(), String> {
        self.write(Vec::new()).await.map_err(|error| self.told(&error))
    }

    fn told(&self, error: &io::Error) -> String {
        format!("{} cannot be written: {error}", self.place())
    }

    /// Writes on a thread where waiting for the disk, or for a reader, holds up nobody.
    async fn write(&self, lines: Vec<u8>) -> io::Result<()> {
        let settings = self.settings.clone();
        let work = move || match &settings.path {
            Some(path) => append(path, &lines, settings.sync),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(&lines)?;
                out.flush()
            }
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// Whether somebody must change something.
fn is_lasting(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::IsADirectory
            | ErrorKind::ReadOnlyFilesystem
    )
}

fn append(path: &Path, lines: &[u8], sync: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    if lines.is_empty() {
        return Ok(());
    }
    let whole = file.metadata()?.len();
    let outcome = write(&mut file, lines, whole, sync);
    if outcome.is_err() && file.metadata().is_ok_and(|now| now.is_file()) {
        let _ = file.set_len(whole);
    }
    outcome
}

fn write(file: &mut File, lines: &[u8], length: u64, sync: bool) -> io::Result<()> {
    if length > 0 && file.metadata()?.is_file() {
        let mut last = [0];
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    file.write_all(lines)?;
    if sync { file.sync_data() } else { Ok(()) }
}
