//! A loopback HTTP server that can be stopped and started again on its port, and can drop a
//! connection without an answer. Both test doubles stand on it; it knows nothing of what they serve.
//!
//! It runs on a runtime of its own, so that one server serves the tests of a whole process, each of
//! which has its own runtime.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result};
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub(crate) struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

/// What a handler gives: an answer, or a dropped connection.
pub(crate) type Answer = Result<Response<Body>, Dropped>;
type Handler = Arc<dyn Fn(Request<Body>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// The runtime the test doubles share.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(64)
            .thread_name("testkit")
            .enable_all()
            .build()
            .expect("a runtime needs only threads and memory")
    })
}

/// A lock whose holder panicked is still good here: every critical section leaves whole values.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An HTTP/1 server on 127.0.0.1.
pub(crate) struct HttpServer {
    address: SocketAddr,
    handler: Handler,
    /// Dropping the sender closes the listener and every connection.
    running: Mutex<Option<watch::Sender<()>>>,
}

impl HttpServer {
    /// Binds `port` (0: any free one) and serves.
    pub(crate) fn start<H, F>(port: u16, handler: H) -> Result<Self>
    where
        H: Fn(Request<Body>) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        let (address, stop) = serve(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), &handler)?;
        Ok(Self { address, handler, running: Mutex::new(Some(stop)) })
    }

    /// Where it listens, or listened before [`HttpServer::stop`].
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses connections from now on and closes the open ones.
    pub(crate) fn stop(&self) {
        lock(&self.running).take();
    }

    /// Serves again on the same port.
    pub(crate) fn restart(&self) -> Result<()> {
        let mut running = lock(&self.running);
        if running.is_none() {
            *running = Some(serve(self.address, &self.handler)?.1);
        }
        Ok(())
    }
}

fn serve(address: SocketAddr, handler: &Handler) -> Result<(SocketAddr, watch::Sender<()>)> {
    let socket = bind(address).with_context(|| format!("listen on {address}"))?;
    let address = socket.local_addr().context("read the address just bound")?;
    let (stop, stopped) = watch::channel(());
    let handler = handler.clone();
    runtime().spawn(async move {
        let Ok(listener) = TcpListener::from_std(socket) else { return };
        let mut closed = stopped.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = closed.changed() => return,
            };
            if let Ok((stream, _)) = accepted {
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(stream, handler.clone(), stopped.clone()));
            }
        }
    });
    Ok((address, stop))
}

/// Binding is tried for a second: after a stop the old listener's task may still be closing.
fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let mut tries = 0;
    loop {
        match std::net::TcpListener::bind(address) {
            Ok(socket) => {
                socket.set_nonblocking(true)?;
                return Ok(socket);
            }
            Err(error) if tries == 50 || address.port() == 0 => return Err(error),
            Err(_) => {
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, handler: Handler, mut stopped: watch::Receiver<()>) {
    let service = service_fn(move |request: Request<Incoming>| handler(request.map(Body::new)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection => {}
        _ = stopped.changed() => {}
    }
}

/// Reads a whole body up to `limit_bytes`.
pub(crate) async fn read_body(body: Body, limit_bytes: usize) -> Result<bytes::Bytes> {
    axum::body::to_bytes(body, limit_bytes).await.context("read the request's body")
}

/// A body that sends `bytes` and then breaks off, as a server that dies in mid-answer.
pub(crate) fn broken_body(bytes: bytes::Bytes) -> Body {
    let start = futures_util::stream::once(async move { Ok::<_, std::io::Error>(bytes) });
    let end = futures_util::stream::once(async {
        // The part already written must leave before the connection is torn down.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Err(std::io::Error::other("cut on purpose"))
    });
    Body::from_stream(futures_util::StreamExt::chain(start, end))
}

/// A body whose length nobody tells.
pub(crate) fn unmarked_body(bytes: bytes::Bytes) -> Body {
    Body::from_stream(futures_util::stream::once(async move { Ok::<_, std::io::Error>(bytes) }))
}

/// An answer of text; the parts are ours, so building it cannot fail.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    match response.body(body.into()) {
        Ok(response) => response,
        Err(_) => {
            let mut plain = Response::new(Body::from("unprintable header"));
            *plain.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
            plain
        }
    }
}
