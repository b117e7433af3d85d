//! TLS with one's own authority and client certificates, secrets that show nowhere, and the service's
//! own log that does not come back as alerts. The real binary, behind a TLS server made here.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use common::{PATIENCE, Service};
use otel_log_ai_testkit::clickhouse::{ClickHouse, Options};
use otel_log_ai_testkit::keep::{ApiKey, Fault, Keep, Options as KeepOptions, Role};
use otel_log_ai_testkit::schema::{self, Layout};
use otel_log_ai_testkit::signoz::{LogRow, Writer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const BINARY: &str = env!("CARGO_BIN_EXE_otel-log-ai");

/// An authority, what it signed, and where the files are.
struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Certificates {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates { directory };
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params.clone(), KeyPair::generate().unwrap()).unwrap();
        certificates.write("ca.pem", &ca.pem());
        let other = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        certificates.write("other-ca.pem", &other.pem());
        for (name, host) in [("server", "127.0.0.1"), ("client", "otel-log-ai")] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            certificates.write(&format!("{name}.pem"), &params.signed_by(&key, &ca).unwrap().pem());
            certificates.write(&format!("{name}.key"), &key.serialize_pem());
        }
        certificates
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// What a server needs that asks for a certificate of this authority.
    fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
        let chain = vec![CertificateDer::from_pem_file(self.path("server.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    }

    /// Puts TLS before a plain HTTP server; gives the new address.
    fn guard(&self, runtime: &Runtime, plain: &str) -> String {
        let upstream: SocketAddr = plain.strip_prefix("http://").unwrap().parse().unwrap();
        let acceptor = self.acceptor();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        format!("https://{address}")
    }

    fn tls(&self, ca: &str, client: &str) -> String {
        let path = |name: &str| self.path(name).display().to_string();
        match client {
            "" => format!("{{ca: '{}'}}", path(ca)),
            _ => format!(
                "{{ca: '{}', certificate: '{}.pem', key: '{}.key'}}",
                path(ca),
                path(client),
                path(client)
            ),
        }
    }
}

/// A directory with configuration, a rule and state.
struct Site {
    directory: tempfile::TempDir,
    database: &'static str,
}

impl Site {
    fn new(database: &'static str) -> Site {
        let server = ClickHouse::shared();
        server.execute(&format!("DROP DATABASE IF EXISTS {database} SYNC")).unwrap();
        schema::create(server, Layout::Signoz, database).unwrap();
        let site = Site { directory: tempfile::tempdir().unwrap(), database };
        let rule = "title: Marker\nid: 5c0ff1ce-0000-4000-8000-000000000001\nstatus: stable\nlevel: high\n\
             logsource: {product: windows, category: process_creation}\n\
             detection: {sel: {CommandLine|contains: 'marker'}, condition: sel}\n";
        std::fs::write(site.path("rule.yml"), rule).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, clickhouse: &str, more: &str) {
        let text = format!(
            "clickhouse: {{database: {}, start: beginning, poll_interval: 50ms, {clickhouse}}}\n\
             rules: {{paths: [./rule.yml]}}\n{more}",
            self.database
        );
        std::fs::write(self.path("c.yaml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--config").arg(self.path("c.yaml"));
        command
    }

    fn start(&self) -> Service {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        Service::start(self.command(&["run"]).stderr(log).stdout(Stdio::null()))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn insert(&self, host: &str, resources: &[(&str, &str)]) {
        let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let body = json!({
            "channel": "Microsoft-Windows-Sysmon/Operational", "computer": host,
            "event_id": {"id": 1, "qualifiers": 0},
            "provider": {"name": "Microsoft-Windows-Sysmon", "guid": "", "event_source": ""},
            "event_data": {"Image": "C:\\Windows\\cmd.exe", "CommandLine": "cmd /c marker"},
        });
        let row = LogRow::new(now_ns, resources, body.to_string());
        Writer::new(ClickHouse::shared(), Layout::Signoz, self.database).write(&[row]).unwrap();
    }
}

fn wait(what: &str, site: &Site, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited for {what} in vain; log:\n{}", site.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn tls_with_an_authority_of_ones_own_and_client_certificates() {
    let runtime = Runtime::new().unwrap();
    let certificates = Certificates::new();
    let keep = Keep::start().unwrap();
    let clickhouse_url = certificates.guard(&runtime, &ClickHouse::shared().url());
    let keep_url = certificates.guard(&runtime, &keep.url());
    let site = Site::new("sec_tls");
    let configure = |ca: &str, client: &str| {
        let tls = certificates.tls(ca, client);
        let http = "http: {listen: ''}";
        let keep = format!("keep: {{url: '{keep_url}', tls: {tls}}}\n{http}\n");
        site.configure(&format!("url: '{clickhouse_url}', tls: {tls}"), &keep);
    };
    for (ca, client, expected) in [
        ("other-ca.pem", "client", "invalid peer certificate"),
        ("ca.pem", "", "CertificateRequired"),
        ("client.key", "client", "no certificate in PEM form"),
        ("no-such.pem", "client", "no-such.pem"),
    ] {
        configure(ca, client);
        let output = site.command(&["check"]).output().unwrap();
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{ca} {client}: {told}");
        assert!(told.contains(expected), "{expected} in {told}");
        assert!(!told.contains("PRIVATE KEY"), "{told}");
    }
    configure("ca.pem", "client");
    let output = site.command(&["check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    site.insert("host-1", &[]);
    let service = site.start();
    wait("the alert", &site, || keep.alerts().len() == 1);
    assert_eq!(service.stop(), Some(0));
}

const SECRETS: [&str; 7] = [
    "ch-s3cret-password",
    "keep-s3cret-key",
    "keep-s3cret-reader",
    "hook-s3cret-hmac",
    "hook-s3cret-token",
    "port-s3cret-token",
    "otlp-s3cret-token",
];

/// Everything that the service writes or says.
fn assert_no_secret(place: &str, bytes: &[u8]) {
    for secret in SECRETS {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{secret} shows in {place}");
    }
}

#[test]
fn secrets_show_nowhere() {
    let runtime = Runtime::new().unwrap();
    let server = ClickHouse::with(Options {
        credentials: Some(("default".into(), SECRETS[0].into())),
        ..Options::default()
    })
    .unwrap();
    let key = |name: &str, secret: &str, role| ApiKey { name: name.into(), secret: secret.into(), role };
    let keys = vec![key("w", SECRETS[1], Role::Webhook), key("r", SECRETS[2], Role::Noc)];
    let keep = Keep::with(KeepOptions { keys, ..KeepOptions::default() }).unwrap();
    let hook = refuses_all(&runtime);
    let site = Site::new("sec_secrets");
    std::fs::write(site.path("hmac"), format!("{}\n", SECRETS[3])).unwrap();
    let more = format!(
        "keep: {{url: '{}', api_key: '${{env:K}}', read_key: '{}'}}\n\
         targets:\n  - {{name: hook, type: webhook, url: '{hook}/a', secret: '${{file:{}}}', token: '{}'}}\n\
         http: {{listen: '127.0.0.1:0', token: '{}'}}\n\
         telemetry: {{endpoint: '{hook}', token: '{}'}}\n\
         log: {{level: trace}}\n",
        keep.url(),
        SECRETS[2],
        site.path("hmac").display(),
        SECRETS[4],
        SECRETS[5],
        SECRETS[6],
    );
    site.configure(&format!("url: '{}', password: '${{env:P}}'", server.url()), &more);
    site.insert("host-1", &[]);
    keep.inject(Fault::status(500).times(2));
    let with_env = |command: &mut Command| {
        command.env("K", SECRETS[1]).env("P", SECRETS[0]);
    };
    let log = std::fs::File::options().create(true).append(true).open(site.path("log")).unwrap();
    let mut command = site.command(&["run"]);
    with_env(&mut command);
    let service = Service::start(command.stderr(log).stdout(Stdio::null()));
    wait("the alert", &site, || keep.alerts().len() == 1);
    wait("the dead letter", &site, || site.log().contains("dead letters"));
    // Wrong answers of all sorts, and wrong keys.
    keep.inject(Fault::status(401).times(2));
    server.stop();
    site.insert("host-2", &[]);
    wait("the outage", &site, || site.log().contains("cannot be reached"));
    server.restart().unwrap();
    wait("the second alert", &site, || site.log().contains("alerts wait until"));
    for arguments in [&["check"][..], &["alerts", "list"], &["alerts", "list", "--output", "ndjson"]] {
        let mut command = site.command(arguments);
        with_env(&mut command);
        assert_no_secret(&arguments.join(" "), told(&command.output().unwrap()).as_bytes());
    }
    // The configuration without its environment is refused, without a word on what is in it.
    let refused = site.command(&["check"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert_no_secret("a refusal", told(&refused).as_bytes());
    the_port_shows_no_secret(&runtime, &site.log());
    service.signal("TERM");
    drop(service);
    assert_no_secret("the log", site.log().as_bytes());
    for alert in keep.alerts() {
        assert_no_secret("an alert", Value::Object(alert).to_string().as_bytes());
    }
    assert_private_and_clean(site.directory.path());
}

/// A webhook and a Collector that refuse everything; their address.
fn refuses_all(runtime: &Runtime) -> String {
    let echo = |headers: axum::http::HeaderMap| async move {
        (axum::http::StatusCode::BAD_REQUEST, format!("{}", headers.len()))
    };
    let app = axum::Router::new().fallback(echo);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

fn the_port_shows_no_secret(runtime: &Runtime, log: &str) {
    let plain = log.replace("\u{1b}[3m", "").replace("\u{1b}[0m", "").replace("\u{1b}[2m", "");
    let port = plain.lines().find(|line| line.contains("health and metrics")).unwrap();
    let port = format!("http://{}", port.rsplit("address=").next().unwrap().trim());
    let get = |path: &str| {
        let request = reqwest::Client::new().get(format!("{port}{path}")).bearer_auth(SECRETS[5]);
        runtime.block_on(async { request.send().await.unwrap().text().await.unwrap() })
    };
    assert!(get("/metrics").contains("otel_log_ai_rows_total"));
    for path in ["/metrics", "/readyz", "/healthz", "/nothing"] {
        assert_no_secret(path, get(path).as_bytes());
    }
}

fn assert_private_and_clean(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("otel-log-ai.sqlite") {
            seen += 1;
            assert_no_secret("the state", &std::fs::read(entry.path()).unwrap());
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        }
    }
    assert!(seen >= 2, "the state and its lock");
}

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

async fn collect(State(seen): State<Seen>, UrlPath(signal): UrlPath<String>, body: Bytes) -> &'static str {
    seen.lock().unwrap().push((signal, serde_json::from_slice(&body).unwrap()));
    "{}"
}

#[test]
fn its_own_log_reaches_the_collector_and_does_not_come_back_as_alerts() {
    let runtime = Runtime::new().unwrap();
    let seen = Seen::default();
    let app =
        axum::Router::new().route("/v1/{signal}", axum::routing::post(collect)).with_state(Arc::clone(&seen));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let collector = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let keep = Keep::start().unwrap();
    let site = Site::new("sec_otlp");
    let more = format!(
        "keep: {{url: '{}'}}\nhttp: {{listen: ''}}\ntelemetry: {{endpoint: '{collector}'}}\n",
        keep.url()
    );
    site.configure(&format!("url: '{}'", ClickHouse::shared().url()), &more);
    site.insert("host-1", &[("service.name", "windows")]);
    let service = site.start();
    wait("the alert", &site, || keep.alerts().len() == 1);
    let of = |signal: &str| -> Vec<Value> {
        seen.lock().unwrap().iter().filter(|(kind, _)| kind == signal).map(|(_, body)| body.clone()).collect()
    };
    wait("logs and traces", &site, || {
        of("logs").iter().any(|body| body.to_string().contains("rules loaded"))
            && of("traces").iter().any(|body| body.to_string().contains("\"deliver\""))
    });
    let logs = of("logs").remove(0);
    let resource = logs["resourceLogs"][0]["resource"]["attributes"].clone();
    let attribute = |name: &str| -> String {
        let attributes = resource.as_array().unwrap();
        let found = attributes.iter().find(|attribute| attribute["key"] == name).unwrap();
        found["value"]["stringValue"].as_str().unwrap().to_owned()
    };
    assert_eq!(attribute("service.name"), "otel-log-ai");
    let record = &logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert!(record["timeUnixNano"].as_str().unwrap().parse::<u64>().unwrap() > 1 << 60, "{record}");
    let spans: Vec<Value> = of("traces")
        .iter()
        .flat_map(|body| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone())
        .collect();
    let of_batch = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap()["traceId"].clone();
    assert_eq!(of_batch("evaluate"), of_batch("commit"), "one trace for one batch");

    // What would alert, if it were not ours; and one who only says that it is.
    let instance = attribute("service.instance.id");
    site.insert("ours", &[("service.name", "otel-log-ai"), ("service.instance.id", &instance)]);
    site.insert("impostor", &[("service.name", "otel-log-ai"), ("service.instance.id", "1")]);
    wait("the impostor's alert", &site, || keep.alerts().len() >= 2);
    let hosts: Vec<String> =
        keep.alerts().iter().map(|alert| alert["host"].as_str().unwrap().to_owned()).collect();
    assert!(hosts.contains(&"impostor".to_owned()) && !hosts.contains(&"ours".to_owned()), "{hosts:?}");
    assert_eq!(service.stop(), Some(0));
    let last = of("logs").iter().any(|body| body.to_string().contains("SIGTERM"));
    assert!(last, "what was told at the stop was sent");
}
