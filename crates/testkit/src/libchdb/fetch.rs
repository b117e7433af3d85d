//! Gets `libchdb` through the npm client and keeps it in a per-user cache.
//!
//! The version is pinned. npm checks the registry's integrity hash; on top of it the library's
//! SHA-256 is compared with the one on record here, so that a registry that changes its mind is
//! noticed. Several processes may ask at once: one fetches under a file lock, the others wait, and
//! the library appears under its final name only when it is whole.

use std::fs::{self, File};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

/// The release of the npm packages; its engine is ClickHouse 26.7.
const VERSION: &str = "26.7.3-stable.1";
/// A library given by hand, for machines without npm or network.
const LIBRARY_ENV: &str = "OTEL_LOG_AI_LIBCHDB";
/// Where downloads are kept.
const CACHE_ENV: &str = "OTEL_LOG_AI_CACHE";

/// One platform's npm package.
struct Package {
    name: &'static str,
    /// Of `libchdb.so` inside the package, lower-case hex. Absent where we could not fetch the
    /// package to take it: then npm's integrity check stands alone, and a notice says so.
    library_sha256: Option<&'static str>,
    /// Size of the download, for the progress bar only.
    download_bytes: u64,
}

const PACKAGES: [((&str, &str), Package); 4] = [
    (
        ("linux", "x86_64"),
        Package {
            name: "@chdb/lib-linux-x64-gnu",
            library_sha256: Some("36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5"),
            download_bytes: 177_817_999,
        },
    ),
    (
        ("linux", "aarch64"),
        Package { name: "@chdb/lib-linux-arm64-gnu", library_sha256: None, download_bytes: 180_000_000 },
    ),
    (
        ("macos", "aarch64"),
        Package { name: "@chdb/lib-darwin-arm64", library_sha256: None, download_bytes: 150_000_000 },
    ),
    (
        ("macos", "x86_64"),
        Package { name: "@chdb/lib-darwin-x64", library_sha256: None, download_bytes: 160_000_000 },
    ),
];

/// Path of the library, fetched on first use (about 180 MB to download, 570 MB on disk).
///
/// `OTEL_LOG_AI_LIBCHDB` names a library to use instead; `OTEL_LOG_AI_CACHE` another cache.
///
/// # Errors
/// When the platform has no package, npm is missing or fails, or the checksum is wrong.
pub fn library() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(LIBRARY_ENV) {
        return Ok(PathBuf::from(path));
    }
    library_in(&cache_directory()?)
}

/// As [`library`], with a cache directory of the caller's choice.
///
/// # Errors
/// As [`library`].
pub fn library_in(cache: &Path) -> Result<PathBuf> {
    let package = package(std::env::consts::OS, std::env::consts::ARCH)?;
    let directory =
        cache.join(format!("libchdb-{VERSION}-{}-{}", std::env::consts::OS, std::env::consts::ARCH));
    let library = directory.join("libchdb.so");
    if library.is_file() {
        return Ok(library);
    }
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let lock_path = directory.join("lock");
    let lock = File::create(&lock_path).with_context(|| format!("create {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("wait for {}", lock_path.display()))?;
    // Another process may have fetched it while this one waited for the lock.
    if !library.is_file() {
        fetch(package, &directory, &library)?;
    }
    Ok(library)
}

/// The per-user cache directory.
///
/// # Errors
/// When the environment names neither a cache nor a home directory.
pub fn cache_directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os(CACHE_ENV) {
        return Ok(PathBuf::from(directory));
    }
    if let Some(directory) = std::env::var_os("XDG_CACHE_HOME").filter(|d| !d.is_empty()) {
        return Ok(PathBuf::from(directory).join("otel-log-ai"));
    }
    let home = std::env::home_dir().context("find a cache directory: set OTEL_LOG_AI_CACHE")?;
    Ok(home.join(".cache").join("otel-log-ai"))
}

fn package(os: &str, arch: &str) -> Result<&'static Package> {
    match PACKAGES.iter().find(|((o, a), _)| (*o, *a) == (os, arch)) {
        Some((_, package)) => Ok(package),
        None => {
            bail!("no ClickHouse library is published for {os} on {arch}: set {LIBRARY_ENV} to one of yours")
        }
    }
}

fn fetch(package: &Package, directory: &Path, library: &Path) -> Result<()> {
    let work = directory.join("fetching");
    // What an interrupted run left; nobody else is here, we hold the lock.
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let tarball = npm_pack(package, &work)?;
    let unpacked = work.join("libchdb.so");
    let sha256 = unpack(&tarball, &unpacked)?;
    match package.library_sha256 {
        Some(expected) if expected != sha256 => bail!(
            "{}@{VERSION}: libchdb.so has SHA-256 {sha256}, expected {expected}; the download is not used",
            package.name
        ),
        Some(_) => {}
        None => eprintln!(
            "notice: no checksum of {}@{VERSION} is on record; npm's integrity check stands alone",
            package.name
        ),
    }
    fs::rename(&unpacked, library).with_context(|| format!("move the library to {}", library.display()))?;
    let _ = fs::remove_dir_all(&work);
    Ok(())
}

/// Runs `npm pack` with a cache of its own, whose growth is the progress.
fn npm_pack(package: &Package, work: &Path) -> Result<PathBuf> {
    let npm_cache = work.join("npm");
    let spec = format!("{}@{VERSION}", package.name);
    let mut child = Command::new("npm")
        .args(["pack", &spec, "--silent", "--pack-destination"])
        .arg(work)
        .env("npm_config_cache", &npm_cache)
        .env("npm_config_update_notifier", "false")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run npm to fetch the ClickHouse library: is Node.js installed?")?;
    show_progress(&mut child, &npm_cache, package)?;
    let output = child.wait_with_output().context("wait for npm")?;
    if !output.status.success() {
        bail!("npm pack {spec} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let entries = fs::read_dir(work).with_context(|| format!("list {}", work.display()))?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .with_context(|| format!("npm pack {spec} left no archive in {}", work.display()))
}

fn show_progress(child: &mut Child, npm_cache: &Path, package: &Package) -> Result<()> {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(package.download_bytes)
    } else {
        eprintln!("fetching the ClickHouse engine ({}@{VERSION}) through npm", package.name);
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}") {
        bar.set_style(style);
    }
    bar.set_message("ClickHouse engine");
    while child.try_wait().context("wait for npm")?.is_none() {
        bar.set_position(directory_bytes(npm_cache).min(package.download_bytes));
        std::thread::sleep(Duration::from_millis(100));
    }
    bar.finish_and_clear();
    Ok(())
}

fn directory_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let mut bytes = 0;
    for entry in entries.filter_map(Result::ok) {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += directory_bytes(&entry.path()),
            Ok(metadata) => bytes += metadata.len(),
            Err(_) => {}
        }
    }
    bytes
}

/// Takes `libchdb.so` out of the archive; returns its SHA-256 in hex.
fn unpack(tarball: &Path, to: &Path) -> Result<String> {
    let file = File::open(tarball).with_context(|| format!("open {}", tarball.display()))?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in archive.entries().with_context(|| format!("read {}", tarball.display()))? {
        let mut entry = entry.with_context(|| format!("read {}", tarball.display()))?;
        let is_library = entry.path().is_ok_and(|path| path.ends_with("libchdb.so"));
        if is_library {
            return copy_hashed(&mut entry, to).with_context(|| format!("unpack {}", tarball.display()));
        }
    }
    bail!("{} holds no libchdb.so", tarball.display())
}

fn copy_hashed(from: &mut impl Read, to: &Path) -> Result<String> {
    let mut file = File::create(to).with_context(|| format!("create {}", to.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        file.write_all(&buffer[..n])?;
    }
    file.sync_all()?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_platform_is_told_what_to_do() {
        let error = package("plan9", "mips").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("plan9") && error.contains(LIBRARY_ENV), "{error}");
    }

    #[test]
    fn the_copy_is_hashed() {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("x");
        let sha256 = copy_hashed(&mut &b"abc"[..], &to).unwrap();
        assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(fs::read(to).unwrap(), b"abc");
    }

    #[test]
    fn many_at_once_get_one_library() {
        let cache = cache_directory().unwrap();
        let paths: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| library_in(&cache).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(paths.iter().all(|path| path == &paths[0] && path.is_file()));
    }
}
