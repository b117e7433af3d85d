//! The dependency tree held against `deny.toml`, by cargo-deny.
//!
//! Where cargo-deny is not installed, it is built once into `target/tools`, some minutes. Where it
//! cannot be had, that is said, and is a failure only in CI (`CI` is set there). Advisories need the
//! database of RustSec; where it cannot be reached they are not checked, which is said too.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version that is built.
const VERSION: &str = "0.20.2";

/// Checks licences, bans and sources, and advisories where that can be done. `true`: nothing is wrong.
pub fn check() -> Result<bool> {
    let Some(deny) = find() else {
        println!(
            "NOT CHECKED: cargo-deny cannot be installed here (`cargo install cargo-deny` does it by hand)"
        );
        return Ok(std::env::var_os("CI").is_none());
    };
    let status = Command::new(&deny)
        .args(["check", "licenses", "bans", "sources"])
        .current_dir(crate::root())
        .status()
        .context("run cargo-deny")?;
    Ok(status.success() && advisories(&deny)?)
}

fn advisories(deny: &Path) -> Result<bool> {
    let output = Command::new(deny)
        .args(["check", "advisories"])
        .current_dir(crate::root())
        .output()
        .context("run cargo-deny on advisories")?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && told.contains("failed to fetch advisory database") {
        println!("NOT CHECKED: advisories, for their database cannot be reached from here");
        return Ok(true);
    }
    eprint!("{told}");
    Ok(output.status.success())
}

/// cargo-deny as it is installed, in `target/tools`, or built there now.
fn find() -> Option<PathBuf> {
    let tools = crate::root().join("target/tools");
    let built = tools.join("bin/cargo-deny");
    for candidate in [PathBuf::from("cargo-deny"), built.clone()] {
        let mut probe = Command::new(&candidate);
        probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        if probe.status().is_ok_and(|status| status.success()) {
            return Some(candidate);
        }
    }
    println!("building cargo-deny {VERSION} into {}, once", tools.display());
    let scratch = tools.join("build");
    let status = crate::cargo()
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--debug", "--quiet", "--root"])
        .arg(&tools)
        .arg("--target-dir")
        .arg(&scratch)
        .status();
    // A gigabyte that nobody needs again.
    let _ = std::fs::remove_dir_all(&scratch);
    status.is_ok_and(|status| status.success()).then_some(built)
}
