//! The HTTP port: `/metrics`, `/healthz`, `/readyz`.
//!
//! Where a token is set, what shows data (numbers, reasons) wants it as a bearer token; whether the
//! service is alive and ready is told to everybody who can reach the port. The configuration
//! refuses an address that others can reach without a token.

use super::metrics::METRICS;
use super::vitals::{Sign, Vitals};
use crate::config::Secret;
use crate::store::{SharedStore, StoreError, lock};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// What Prometheus expects of the text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Most connections at a time; who comes then waits.
const CONNECTIONS_MAX: usize = 32;
/// Longest wait for a request's headers, also for the next one on a connection.
const HEADER_WAIT: Duration = Duration::from_secs(10);
/// Longest life of a connection.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// What the answers are made from.
#[derive(Debug)]
struct Port {
    vitals: &'static Vitals,
    store: SharedStore,
    token: Secret,
}

#[derive(Debug, Serialize)]
struct Ready {
    ready: bool,
    checks: Vec<Sign>,
}

/// Takes the port and serves in the background for as long as the runtime lives. Gives the address,
/// which tells the port where 0 was asked for.
pub async fn serve(
    listen: SocketAddr,
    token: Secret,
    vitals: &'static Vitals,
    store: SharedStore,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let port = Arc::new(Port { vitals, store, token });
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .with_state(port);
    tokio::spawn(accept(listener, router));
    Ok(address)
}

/// Serves each connection on its own, no more than a bounded number, and none that is silent.
async fn accept(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_WAIT);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                // Such as too many open files: it passes.
                tracing::debug!(%error, "a connection to the HTTP port failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let serving = builder.serve_connection(TokioIo::new(connection), service);
        tokio::spawn(async move {
            // What a client does wrong is its own matter.
            let _ = tokio::time::timeout(CONNECTION_MAX, serving).await;
            drop(place);
        });
    }
}

async fn metrics(State(port): State<Arc<Port>>, headers: HeaderMap) -> Response {
    if !port.may_see(&headers) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "the token `http.token` is needed\n").into_response();
    }
    let store = Arc::clone(&port.store);
    let read = move || {
        let store = lock(&store);
        Ok::<_, StoreError>((store.depths()?, store.totals()?))
    };
    if let Ok(Ok((depths, totals))) = tokio::task::spawn_blocking(read).await {
        for depth in depths {
            METRICS.queue(&depth.target, depth.queued, depth.dead);
        }
        METRICS.all_runs(&totals);
    }
    ([(header::CONTENT_TYPE, OPENMETRICS)], METRICS.text()).into_response()
}

async fn health(State(port): State<Arc<Port>>) -> Response {
    match port.vitals.is_alive() {
        true => (StatusCode::OK, "alive\n").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the loop does not turn\n").into_response(),
    }
}

async fn ready(State(port): State<Arc<Port>>, headers: HeaderMap) -> Response {
    let mut checks = port.vitals.signs();
    let store = Arc::clone(&port.store);
    let writable = tokio::task::spawn_blocking(move || lock(&store).writable()).await;
    if let Ok(Err(error)) = writable
        && let Some(sign) = checks.iter_mut().find(|sign| sign.part == "state")
    {
        *sign = Sign { part: "state".to_owned(), ok: false, reason: Some(error.to_string()) };
    }
    let ready = checks.iter().all(|sign| sign.ok);
    if !port.may_see(&headers) {
        checks.iter_mut().for_each(|sign| sign.reason = None);
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(Ready { ready, checks })).into_response()
}

impl Port {
    /// Whether the request may see data.
    fn may_see(&self, headers: &HeaderMap) -> bool {
        if self.token.is_empty() {
            return true;
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        is_same(given.as_bytes(), self.token.reveal().as_bytes())
    }
}

/// Compares in a time that does not tell how far the two agree.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    let mut different = given.len() ^ expected.len();
    for (i, byte) in expected.iter().enumerate() {
        different |= usize::from(byte ^ given.get(i).copied().unwrap_or(0));
    }
    different == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreSettings};
    use std::sync::Mutex;

    async fn start(token: &str) -> (String, &'static Vitals, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(StoreSettings::new(directory.path().join("state.sqlite"))).unwrap();
        let vitals: &'static Vitals = Box::leak(Box::new(Vitals::new()));
        let store = Arc::new(Mutex::new(store));
        let any = "127.0.0.1:0".parse().unwrap();
        let address = serve(any, Secret::new(token), vitals, store).await.unwrap();
        (format!("http://{address}"), vitals, directory)
    }

    async fn get_with(url: &str, token: Option<&str>) -> (u16, String) {
        let mut request = reqwest::Client::new().get(url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    #[tokio::test]
    async fn alive_and_ready_tell_the_truth() {
        let (url, vitals, _directory) = start("").await;
        assert_eq!(get_with(&format!("{url}/healthz"), None).await.0, 503);
        vitals.turned();
        assert_eq!(get_with(&format!("{url}/healthz"), None).await.0, 200);
        let (status, body) = get_with(&format!("{url}/readyz"), None).await;
        assert!(status == 503 && body.contains("no rule is loaded") && body.contains("not begun"), "{body}");
        vitals.rules(1);
        vitals.source(None);
        let (status, body) = get_with(&format!("{url}/readyz"), None).await;
        assert!(status == 200 && body.starts_with("{\"ready\":true"), "{body}");
        vitals.source(Some("ClickHouse at http://ch:8123 cannot be reached".into()));
        let (status, body) = get_with(&format!("{url}/readyz"), None).await;
        assert!(status == 503 && body.contains("cannot be reached"), "{body}");
    }

    #[tokio::test]
    async fn silent_clients_do_not_keep_others_out() {
        let (url, vitals, _directory) = start("").await;
        vitals.turned();
        let address = url.trim_start_matches("http://");
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX + 8 {
            silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
        }
        // All places are taken until those who say nothing are sent away.
        let health = format!("{url}/healthz");
        let answer = get_with(&health, None);
        let answer = tokio::time::timeout(HEADER_WAIT * 3, answer).await.unwrap();
        assert_eq!(answer.0, 200);
    }

    #[tokio::test]
    async fn a_token_guards_what_shows_data() {
        let (url, vitals, _directory) = start("t0ken").await;
        vitals.turned();
        vitals.source(Some("http://inside:8123".into()));
        for wrong in [None, Some("t0ke"), Some("t0ken2"), Some("")] {
            assert_eq!(get_with(&format!("{url}/metrics"), wrong).await.0, 401, "{wrong:?}");
        }
        let (status, body) = get_with(&format!("{url}/metrics"), Some("t0ken")).await;
        assert!(status == 200 && body.contains("otel_log_ai_rows_total"), "{body}");
        let (_, body) = get_with(&format!("{url}/readyz"), None).await;
        assert!(body.contains("clickhouse") && !body.contains("inside"), "{body}");
        assert!(get_with(&format!("{url}/readyz"), Some("t0ken")).await.1.contains("inside"));
        assert_eq!(get_with(&format!("{url}/healthz"), None).await.0, 200);
    }
}
