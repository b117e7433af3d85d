//! The configuration: read, checked, with units and defaults resolved.
//!
//! Everything wrong is reported at once, with file and line. Secrets are in [`Secret`], which does
//! not print. `docs/config.example.yaml` is the reference; a test holds it and this file together.

#![expect(missing_docs, reason = "each key is described once, in docs/config.example.yaml")]

mod delivery;
mod secret;
mod section;
mod units;
mod yaml;

pub use delivery::{Delivery, Keep, Outlet, OutletKind, Port};
pub use secret::Secret;
pub use section::word;

use crate::keep::PayloadSettings;
use crate::telemetry::otlp::OtlpSettings;
use crate::tls::TlsSettings;
use otel_log_ai_core::alert::{GroupField, GroupingSettings};
use otel_log_ai_core::engine::Options;
use otel_log_ai_core::problem::Problem;
use otel_log_ai_core::report::cost;
use otel_log_ai_core::rule::{Level, Status};
use section::{Section, Source};
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// The commented example that `config example` prints.
pub const EXAMPLE: &str = include_str!("../../../../docs/config.example.yaml");

/// Largest configuration file read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    pub clickhouse: ClickHouse,
    pub rules: Rules,
    pub alerts: Alerts,
    pub keep: Keep,
    /// Where alerts go besides Keep, or instead of it.
    pub targets: Vec<Outlet>,
    /// Health and metrics; `None`: no port.
    pub http: Option<Port>,
    /// Our own log and traces, to a Collector; `None`: they are not sent.
    pub telemetry: Option<OtlpSettings>,
    /// Base URL of SigNoz's UI; `None`: alerts carry no link.
    pub signoz_url: Option<Url>,
    /// SQLite file with cursor, open alerts and outbox.
    pub state_path: PathBuf,
    pub log: Log,
    /// Keys of secrets that stand in the file itself and not in the environment or a file of their
    /// own.
    pub literal_secrets: Vec<String>,
}

/// Where the logs are, and how gently to read them.
#[derive(Debug, Clone)]
pub struct ClickHouse {
    pub url: String,
    pub user: String,
    pub password: Secret,
    pub database: String,
    /// `None`: find it.
    pub table: Option<String>,
    pub start: Start,
    pub poll_interval: PollInterval,
    /// Most rows of one batch.
    pub batch_rows: u64,
    pub max_threads: u64,
    pub max_memory_bytes: u64,
    pub max_execution_time: Duration,
    /// Which of the rows this worker reads.
    pub share: Share,
    pub catch_up: CatchUp,
    pub tls: TlsSettings,
}

/// How often to ask for new rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollInterval {
    /// More often while rows come, more rarely while none do.
    Auto,
    Fixed(Duration),
}

/// Which rows of the table one worker reads, where several share the work. The rows of a host are
/// all in one share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// This worker's number, from 0.
    pub index: u64,
    /// How many workers share the hosts; 0 and 1: this one reads all of them.
    pub of: u64,
    /// The shards of a Distributed table that are read; empty: all.
    pub shards: Vec<u32>,
}

impl Share {
    /// Whether hosts are shared with other workers.
    pub fn by_host(&self) -> bool {
        self.of > 1
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.by_host() {
            true => write!(f, "hosts {} of {}", self.index, self.of)?,
            false => f.write_str("all hosts")?,
        }
        if self.shards.is_empty() {
            return Ok(());
        }
        let shards: Vec<String> = self.shards.iter().map(u32::to_string).collect();
        write!(f, ", shards {}", shards.join(","))
    }
}

/// In which order rows are read that waited while the service was away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// In the order of their arrival.
    #[default]
    OldestFirst,
    /// What matters now before what is over.
    NewestFirst,
}

/// Where the very first start begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Only what arrives from now on.
    Now,
    /// Everything in the table.
    Beginning,
    /// Rows with an event time from here on, nanoseconds since the epoch.
    At(u64),
}

/// Which rules are used, and what they are loaded with.
#[derive(Debug, Clone)]
pub struct Rules {
    pub paths: Vec<PathBuf>,
    /// The root's `mapping`: the user's own files of the taxonomy's form.
    pub mapping: Vec<PathBuf>,
    /// The root's `pipelines`.
    pub pipelines: Vec<PathBuf>,
    pub min_level: Level,
    pub status: Vec<Status>,
    pub include: Selection,
    pub exclude: Selection,
    pub reload_interval: Duration,
    /// One event in so many is also evaluated by the definition of right; 0: none.
    pub verify_one_in: u64,
    /// What a rule may cost for each event before it is told, nanoseconds; 0: anything.
    pub budget_ns: u64,
    /// The engine's optimisations: no key of the file, but a hidden flag of `run`.
    pub engine: Options,
    /// Where what is in the rule files is kept, so that the next start need not parse them: no key of the
    /// file, but beside the state.
    pub cache: Option<PathBuf>,
}

/// Rules by id, tag or path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub ids: Vec<String>,
    /// Lower case.
    pub tags: Vec<String>,
    /// Globs.
    pub paths: Vec<String>,
}

/// How detections become alerts.
#[derive(Debug, Clone)]
pub struct Alerts {
    pub instance: String,
    pub environment: String,
    pub group_by: Vec<GroupField>,
    pub group_wait: Duration,
    pub group_interval: Duration,
    pub repeat_interval: Duration,
    pub window: Duration,
    pub resolve: bool,
    pub evidence_max: usize,
    /// Most alerts of one rule open at a time, and of all rules together, before further hosts
    /// share one alert of their rule.
    pub limits: Limits,
}

/// Limits of open alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub per_rule: usize,
    pub total: usize,
}

/// Our own log, on standard error.
#[derive(Debug, Clone)]
pub struct Log {
    /// A level or a `tracing` filter.
    pub level: String,
    pub json: bool,
}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Config, Vec<Problem>> {
        let name = path.display().to_string();
        let fault = |message: String| {
            vec![Problem { path: name.clone(), line: 0, subject: String::new(), message, hint: None }]
        };
        let length = std::fs::metadata(path).map_err(|e| fault(format!("cannot be read: {e}")))?.len();
        if length > FILE_BYTES_MAX {
            return Err(fault(format!("is {length} bytes long, more than the {FILE_BYTES_MAX} allowed")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
        let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Config::parse(&name, &text, &base, &|name| std::env::var(name).ok()).map(|(config, _)| config)
    }

    /// Checks `text`; relative paths that start with `./` are taken from `base`. Returns the keys
    /// that were asked for as well.
    fn parse(
        path: &str,
        text: &str,
        base: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Config, Vec<String>), Vec<Problem>> {
        let root = yaml::parse(text).map_err(|(line, message)| {
            vec![Problem { path: path.into(), line, subject: String::new(), message, hint: None }]
        })?;
        let source = Source {
            path,
            env,
            problems: Default::default(),
            asked: Default::default(),
            literal_secrets: Default::default(),
        };
        let top = Section::root(&source, &root);
        let targets = delivery::targets(&top, base);
        let mut config = Config {
            clickhouse: clickhouse(top.section("clickhouse"), base),
            rules: Rules {
                mapping: top.list("mapping", vec![], |text| Ok(beside(base, text))),
                pipelines: top.list("pipelines", vec![], |text| Ok(beside(base, text))),
                ..rules(top.section("rules"), base)
            },
            alerts: alerts(top.section("alerts")),
            keep: delivery::keep(top.section("keep"), base, targets.is_empty()),
            targets,
            http: delivery::port(top.section("http")),
            telemetry: delivery::telemetry(top.section("telemetry"), base),
            signoz_url: signoz(top.section("signoz")),
            state_path: state(top.section("state"), base),
            log: log(top.section("log")),
            literal_secrets: vec![],
        };
        config.literal_secrets = source.literal_secrets.take();
        // Behind the whole name, so that it can be no other's and never the state itself.
        let mut cache = config.state_path.clone().into_os_string();
        cache.push(".rules");
        config.rules.cache = Some(cache.into());
        top.finish();
        let mut problems = source.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        if problems.is_empty() { Ok((config, source.asked.into_inner())) } else { Err(problems) }
    }
}

impl Config {
    /// How detections are grouped.
    pub fn grouping_settings(&self) -> GroupingSettings {
        let alerts = &self.alerts;
        GroupingSettings {
            instance: alerts.instance.clone(),
            group_by: alerts.group_by.clone(),
            group_wait: alerts.group_wait,
            group_interval: alerts.group_interval,
            repeat_interval: alerts.repeat_interval,
            window: alerts.window,
            resolve: alerts.resolve,
            evidence_max: alerts.evidence_max,
            rule_max: alerts.limits.per_rule,
            total_max: alerts.limits.total,
            open_max: GroupingSettings::OPEN_MAX,
        }
    }

    /// How alerts are written for Keep.
    pub fn payload_settings(&self) -> PayloadSettings {
        PayloadSettings {
            environment: self.alerts.environment.clone(),
            severity: self.keep.severity,
            signoz_url: self.signoz_url.clone(),
        }
    }
}

const LEVELS: [(&str, Level); 5] = [
    ("informational", Level::Informational),
    ("low", Level::Low),
    ("medium", Level::Medium),
    ("high", Level::High),
    ("critical", Level::Critical),
];
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn clickhouse(s: Section<'_>, base: &Path) -> ClickHouse {
    let name = |text: &str| match text.is_empty() || text.contains(['`', '\\', '\0']) {
        true => Err(format!("`{text}` is not a usable name")),
        false => Ok(text.to_string()),
    };
    let parsed = ClickHouse {
        url: s.required("url", http_url),
        user: s.text("user", "default"),
        password: s.secret("password"),
        database: s.parsed("database", "signoz_logs".into(), name),
        table: s.parsed("table", None, |text| if text == "auto" { Ok(None) } else { name(text).map(Some) }),
        start: s.parsed("start", Start::Now, start),
        poll_interval: s.parsed("poll_interval", PollInterval::Auto, poll_interval),
        batch_rows: s.number("batch_rows", 10_000, 1..=1_000_000),
        max_threads: s.number("max_threads", 2, 1..=256),
        max_memory_bytes: s.parsed("max_memory", 1 << 30, |text| match units::size_bytes(text)? {
            bytes if bytes < 64 << 20 => Err(format!("`{text}` is too little, at least 64MiB is needed")),
            bytes => Ok(bytes),
        }),
        max_execution_time: s.duration("max_execution_time", MINUTE, SECOND),
        share: share(s.section("share")),
        catch_up: s.word(
            "catch_up",
            CatchUp::OldestFirst,
            &[("oldest_first", CatchUp::OldestFirst), ("newest_first", CatchUp::NewestFirst)],
        ),
        tls: delivery::tls(s.section("tls"), base),
    };
    s.finish();
    parsed
}

fn poll_interval(text: &str) -> Result<PollInterval, String> {
    const MIN: Duration = Duration::from_millis(50);
    match text {
        "auto" => Ok(PollInterval::Auto),
        _ => match units::duration(text) {
            Ok(wait) if wait < MIN => Err(format!("`{text}` is too short, at least 50ms is needed")),
            Ok(wait) => Ok(PollInterval::Fixed(wait)),
            Err(error) => Err(format!("{error}, nor `auto`")),
        },
    }
}

fn share(s: Section<'_>) -> Share {
    let shard = |text: &str| match text.parse::<u32>() {
        Ok(shard) if shard > 0 => Ok(shard),
        _ => Err(format!("`{text}` is not the number of a shard, which is counted from 1")),
    };
    let parsed = Share {
        index: s.number("index", 0, 0..=1023),
        of: s.number("of", 1, 1..=1024),
        shards: s.list("shards", vec![], shard),
    };
    if parsed.index >= parsed.of {
        s.problem("index", format!("is counted from 0, so with `of: {0}` it must be below {0}", parsed.of));
    }
    s.finish();
    parsed
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "now" => Ok(Start::Now),
        "beginning" => Ok(Start::Beginning),
        _ => match text.parse::<jiff::Timestamp>() {
            Ok(at) => u64::try_from(at.as_nanosecond())
                .map(Start::At)
                .map_err(|_| format!("`{text}` is before 1970 or after 2554")),
            Err(_) => {
                Err(format!("`{text}` is not `now`, `beginning` or a time such as 2026-01-31T12:00:00Z"))
            }
        },
    }
}

/// An absolute http(s) URL without a trailing slash. Credentials in it would end up in messages.
fn http_url(text: &str) -> Result<String, String> {
    // The text is not repeated where it may hold a password.
    let url = Url::parse(text).map_err(|e| format!("is not a URL such as http://localhost:8123 ({e})"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("must start with http:// or https:// and name a host, not `{}:`", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password, there are keys of their own for them".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not hold `?` or `#`".into());
    }
    Ok(text.trim_end_matches('/').to_string())
}

fn base_url(text: &str) -> Result<Url, String> {
    Url::parse(&http_url(text)?).map_err(|e| format!("is not a URL: {e}"))
}

fn beside(base: &Path, text: &str) -> PathBuf {
    match text.strip_prefix("./") {
        Some(rest) => base.join(rest),
        None if text == "." => base.to_path_buf(),
        None => PathBuf::from(text),
    }
}

fn rules(s: Section<'_>, base: &Path) -> Rules {
    const STATUSES: [(&str, Status); 5] = [
        ("stable", Status::Stable),
        ("test", Status::Test),
        ("experimental", Status::Experimental),
        ("deprecated", Status::Deprecated),
        ("unsupported", Status::Unsupported),
    ];
    let paths = s.list("paths", vec![], |text| Ok(beside(base, text)));
    if paths.is_empty() {
        s.problem("paths", "is missing or empty: name at least one directory or file with Sigma rules");
    }
    let parsed = Rules {
        paths,
        mapping: vec![],
        pipelines: vec![],
        min_level: s.word("min_level", Level::Low, &LEVELS),
        status: s.list("status", vec![Status::Stable, Status::Test, Status::Experimental], |text| {
            word(text, &STATUSES)
        }),
        include: selection(s.section("include")),
        exclude: selection(s.section("exclude")),
        reload_interval: s.duration("reload_interval", 5 * SECOND, SECOND),
        verify_one_in: s.number("verify_one_in", 10_000, 0..=1_000_000_000),
        budget_ns: s.number("budget_ns", cost::BUDGET_NS, 0..=1_000_000_000),
        engine: Options::default(),
        cache: None,
    };
    s.finish();
    parsed
}

fn selection(s: Section<'_>) -> Selection {
    let lower = |text: &str| Ok(text.to_lowercase());
    let parsed = Selection {
        ids: s.list("ids", vec![], lower),
        tags: s.list("tags", vec![], lower),
        paths: s.list("paths", vec![], |text| match globset::Glob::new(text) {
            Ok(_) => Ok(text.to_string()),
            Err(error) => Err(error.to_string()),
        }),
    };
    s.finish();
    parsed
}

fn alerts(s: Section<'_>) -> Alerts {
    let parsed = Alerts {
        instance: s.text("instance", "default"),
        environment: s.text("environment", "production"),
        group_by: s.list("group_by", vec![GroupField::Host], str::parse),
        group_wait: s.duration("group_wait", SECOND / 4, Duration::ZERO),
        group_interval: s.duration("group_interval", MINUTE, SECOND),
        repeat_interval: s.duration("repeat_interval", 30 * MINUTE, MINUTE),
        window: s.duration("window", 15 * MINUTE, SECOND),
        resolve: s.boolean("resolve", false),
        evidence_max: s.number("evidence_max", 5, 1..=GroupingSettings::EVIDENCE_MAX as u64) as usize,
        limits: limits(s.section("limits")),
    };
    s.finish();
    parsed
}

fn limits(s: Section<'_>) -> Limits {
    let open_max = GroupingSettings::OPEN_MAX as u64;
    let parsed = Limits {
        per_rule: s.number("per_rule", GroupingSettings::RULE_MAX as u64, 1..=open_max) as usize,
        total: s.number("total", GroupingSettings::TOTAL_MAX as u64, 1..=open_max) as usize,
    };
    s.finish();
    parsed
}

fn signoz(s: Section<'_>) -> Option<Url> {
    let parsed = s.parsed("url", None, |text| match text {
        "" => Ok(None),
        _ => base_url(text).map(Some),
    });
    s.finish();
    parsed
}

fn state(s: Section<'_>, base: &Path) -> PathBuf {
    let parsed = beside(base, &s.text("path", "./otel-log-ai.sqlite"));
    s.finish();
    parsed
}

fn log(s: Section<'_>) -> Log {
    let filter = |text: &str| match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_string()),
        Err(_) => Err(format!("`{text}` is neither error, warn, info, debug, trace nor a tracing filter")),
    };
    let parsed = Log {
        level: s.parsed("level", "info".to_string(), filter),
        json: s.word("format", false, &[("text", false), ("json", true)]),
    };
    s.finish();
    parsed
}

#[cfg(test)]
mod tests;
