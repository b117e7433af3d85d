//! What a webhook receives, and what stands in a file.

use super::*;
use crate::config::Secret;
use crate::tls::TlsSettings;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use url::Url;

fn queued(name: &str) -> Queued {
    Queued {
        seq: 1,
        target: "t".into(),
        id: "i".into(),
        group_id: "g".into(),
        fingerprint: "f".into(),
        resolved: false,
        queued_at_ms: 0,
        payload: format!("{{\"name\":\"{name}\"}}").into_bytes(),
        attempts: 0,
        alone: false,
        altered: false,
    }
}

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

async fn server(status: u16) -> (Url, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let answer = move |headers: HeaderMap, body: Bytes| async move {
        kept.lock().unwrap().push((headers, body));
        (StatusCode::from_u16(status).unwrap(), "said \u{1b}[31mno")
    };
    let app = axum::Router::new().route("/hook", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/hook", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, seen)
}

fn webhook(url: Url) -> Target {
    let settings = WebhookSettings {
        url,
        secret: Secret::new("s3cret"),
        token: Secret::new("t0ken"),
        timeout: Duration::from_secs(2),
        tls: TlsSettings::default(),
    };
    Target::new("siem", Sink::Webhook(Webhook::new(&settings).unwrap()))
}

#[tokio::test]
async fn a_webhook_gets_the_bytes_signed_and_known_again() {
    let (url, seen) = server(204).await;
    let target = webhook(url);
    let batch = [queued("a"), queued("b")];
    assert_eq!(target.send(&batch).await, Reply::Accepted);
    assert_eq!(target.send(&batch).await, Reply::Accepted);
    let seen = seen.lock().unwrap().clone();
    let (headers, body) = &seen[0];
    assert_eq!(body.as_ref(), br#"[{"name":"a"},{"name":"b"}]"#);
    assert_eq!(headers["authorization"], "Bearer t0ken");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["idempotency-key"], seen[1].0["idempotency-key"]);
    assert_eq!(body, &seen[1].1);
    let given = headers[SIGNATURE_HEADER].to_str().unwrap();
    let time: u64 = given.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
    assert_eq!(given, signature(b"s3cret", time, body));
    assert_ne!(given, signature(b"other", time, body));
}

/// The example of the guide, computed by another program:
/// `printf '1700000000.[]' | openssl dgst -sha256 -hmac s3cret`.
#[test]
fn the_signature_is_what_the_guide_says() {
    let signed = signature(b"s3cret", 1_700_000_000, b"[]");
    assert_eq!(signed, format!("t=1700000000,v1={}", EXPECTED));
    assert!(include_str!("../../../../docs/guide/targets.md").contains(EXPECTED));
}

#[tokio::test]
async fn a_webhooks_answer_decides() {
    for (status, expected) in [
        (200, "accepted"),
        (500, "server_error"),
        (503, "server_error"),
        (429, "too_many"),
        (413, "too_large"),
        (400, "malformed"),
        (422, "malformed"),
        (401, "misconfigured"),
        (404, "misconfigured"),
        (301, "misconfigured"),
    ] {
        let (url, _) = server(status).await;
        let target = webhook(url);
        let reply = target.send(&[queued("a")]).await;
        assert_eq!(reply.as_str(), expected, "{status}");
        let told = format!("{reply:?}");
        assert!(!told.contains("s3cret") && !told.contains("t0ken") && !told.contains('\u{1b}'), "{told}");
        let is_there = matches!(expected, "accepted" | "malformed" | "too_large");
        assert_eq!(target.probe().await.is_ok(), is_there, "{status}");
    }
    let nobody = webhook(Url::parse("http://127.0.0.1:1/").unwrap());
    assert!(matches!(nobody.send(&[queued("a")]).await, Reply::Unreachable { sent: false, .. }));
    assert!(!format!("{nobody:?}").contains("s3cret"));
}

fn file(path: &Path) -> Target {
    let settings = FileSettings { path: Some(path.to_owned()), sync: true };
    Target::new("archive", Sink::File(FileTarget::new(settings)))
}

#[tokio::test]
async fn lines_survive_rotation_and_a_torn_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alerts.ndjson");
    let target = file(&path);
    assert_eq!(target.send(&[queued("a"), queued("b")]).await, Reply::Accepted);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::rename(&path, directory.path().join("alerts.1")).unwrap();
    assert_eq!(target.send(&[queued("c")]).await, Reply::Accepted);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"name\":\"c\"}\n");
    // A kill in the midst of a line.
    std::fs::write(&path, "{\"name\":\"c\"}\n{\"na").unwrap();
    assert_eq!(target.send(&[queued("d")]).await, Reply::Accepted);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "{\"name\":\"c\"}\n{\"na\n{\"name\":\"d\"}\n");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_waits_for_somebody() {
    let target = file(Path::new("/no/such/directory/alerts"));
    let Reply::Misconfigured { reason } = target.send(&[queued("a")]).await else { panic!() };
    assert!(reason.contains("/no/such/directory/alerts cannot be written"), "{reason}");
    assert!(target.probe().await.is_err());
    // A disk without room is not a fault of the configuration.
    let full = file(Path::new("/dev/full"));
    assert!(matches!(full.send(&[queued("a")]).await, Reply::Unreachable { sent: false, .. }));
}

const EXPECTED: &str = "512e49db73a127cba8a4f4b6ef10cb123f09ca2f7a456f76681f1ee914c4a30c";
