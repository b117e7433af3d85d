//! The service as a child process: built, configured, watched, stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{cargo, root};

/// Where the demo's own key stands for the service.
const KEY_ENV: &str = "OTEL_LOG_AI_DEMO_KEEP_KEY";
/// The service writes its statistics to the file this names, every second and at its end.
const STATS_ENV: &str = "OTEL_LOG_AI_STATS_FILE";

/// What the service is to talk to.
pub(crate) struct Config {
    pub(crate) clickhouse_url: String,
    pub(crate) keep_url: String,
    /// The variable with the API key; none: the demo's own.
    pub(crate) api_key_env: Option<String>,
}

/// The numbers of the service that the demo shows.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Stats {
    pub(crate) rows: u64,
    pub(crate) detections: u64,
    pub(crate) batches: u64,
    pub(crate) faults: u64,
    pub(crate) rules: u64,
    pub(crate) alerts_delivered: u64,
    pub(crate) alerts_dead: u64,
}

/// The running service; killed if it is dropped before it has stopped.
pub(crate) struct Service {
    child: Child,
    stats_file: PathBuf,
    log_file: PathBuf,
}

/// Builds the service with the release profile; gives the program's path.
pub(crate) fn build() -> Result<PathBuf> {
    println!("building otel-log-ai");
    let output = cargo()
        .args(["build", "--release", "-p", "otel-log-ai", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    if !output.status.success() {
        bail!("building otel-log-ai failed");
    }
    // Cargo tells where it put the program; the target directory may be anywhere.
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut programs =
        messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter_map(|m| {
            let is_ours = m["target"]["name"] == "otel-log-ai";
            m["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
        });
    programs.next_back().context("find the built otel-log-ai")
}

impl Service {
    /// Writes the configuration and starts the service.
    pub(crate) fn start(binary: &Path, directory: &Path, config: &Config) -> Result<Self> {
        let config_file = directory.join("config.yaml");
        fs::write(&config_file, yaml(directory, config)).context("write the service's configuration")?;
        let (stats_file, log_file) = (directory.join("stats.json"), directory.join("service.log"));
        let log = File::create(&log_file).context("create the service's log file")?;
        let child = Command::new(binary)
            .args(["run", "--config"])
            .arg(&config_file)
            .env(STATS_ENV, &stats_file)
            .env(KEY_ENV, "demo")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log file")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        Ok(Self { child, stats_file, log_file })
    }

    /// Waits for the first statistics, which the service writes once it runs.
    pub(crate) fn wait_until_ready(&mut self, patience: Duration) -> Result<()> {
        let since = Instant::now();
        while !self.stats_file.exists() {
            self.check_alive()?;
            if since.elapsed() > patience {
                bail!("the service was not ready after {} s", patience.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Fails if the service has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait().context("look after the service")? {
            Some(status) => bail!("the service ended by itself: {status}"),
            None => Ok(()),
        }
    }

    /// The latest statistics; zeros before the first.
    pub(crate) fn stats(&self) -> Stats {
        let text = fs::read(&self.stats_file).unwrap_or_default();
        let json: Value = serde_json::from_slice(&text).unwrap_or_default();
        let number = |name: &str| json[name].as_u64().unwrap_or_default();
        Stats {
            rows: number("rows"),
            detections: number("detections"),
            batches: number("batches"),
            faults: number("faults"),
            rules: number("rules"),
            alerts_delivered: number("alerts_delivered"),
            alerts_dead: number("alerts_dead"),
        }
    }

    /// Sends SIGTERM and waits; whether it ended well.
    pub(crate) fn stop(&mut self, patience: Duration) -> Result<bool> {
        let pid = self.child.id().to_string();
        let sent =
            Command::new("kill").args(["-TERM", &pid]).status().context("send SIGTERM to the service")?;
        if !sent.success() {
            bail!("SIGTERM could not be sent to the service");
        }
        let since = Instant::now();
        while since.elapsed() < patience {
            if let Some(status) = self.child.try_wait().context("wait for the service")? {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!("the service did not end within {} s of SIGTERM", patience.as_secs());
        Ok(false)
    }

    /// The end of what the service logged, for when something went wrong.
    pub(crate) fn last_log_lines(&self) -> String {
        let log = fs::read(&self.log_file).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        format!("the service's last lines:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn yaml(directory: &Path, config: &Config) -> String {
    let quoted = |path: PathBuf| Value::from(path.display().to_string()).to_string();
    format!(
        "clickhouse:\n  url: {}\n  database: signoz_logs\n  start: now\n\
         rules:\n  paths: [{}]\n\
         http:\n  listen: '127.0.0.1:0'\n\
         alerts:\n  instance: demo\n  environment: demo\n\
         keep:\n  url: {}\n  api_key: ${{env:{}}}\n\
         state:\n  path: {}\n",
        Value::from(config.clickhouse_url.clone()),
        quoted(root().join("rules")),
        Value::from(config.keep_url.clone()),
        config.api_key_env.as_deref().unwrap_or(KEY_ENV),
        quoted(directory.join("state.sqlite")),
    )
}
