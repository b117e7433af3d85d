//! The HTTP client: timeouts, TLS, and connections whose end is never the end of an answer.
//!
//! HTTP lets a server end an answer by closing the connection. Such an answer, cut between two rows,
//! cannot be told from a whole one, and RowBinary has no mark at its end. ClickHouse never does this; a
//! proxy before it may. So the end of a connection is an error wherever an answer is awaited: only a
//! length or the last chunk ends one.

use super::{Fault, Kind};
use crate::tls::TlsSettings;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result as IoResult};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

/// Longest wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// ClickHouse closes idle connections after 3 s by default; reusing one just then would fail.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// The client for `url`: with TLS only where the URL asks for it, so that a machine without CA
/// certificates can still use plain HTTP.
pub(super) fn client(url: &str, tls: &TlsSettings) -> Result<clickhouse::Client, Fault> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(Duration::from_secs(60)));
    connector.set_nodelay(true);
    let mut builder: Builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new());
    if !url.starts_with("https://") {
        return Ok(clickhouse::Client::with_http_client(builder.build(Connector(connector))));
    }
    connector.enforce_http(false);
    let tls = tls.client_config().map_err(|error| Fault {
        kind: Kind::Other,
        message: format!("no TLS to {url}: {error:#}"),
        hint: Some("check the files of `clickhouse.tls`".into()),
    })?;
    let secure = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls);
    let connector = secure.https_only().enable_http1().wrap_connector(connector);
    Ok(clickhouse::Client::with_http_client(builder.build(Connector(connector))))
}

/// Makes connections whose end is an error.
#[derive(Clone)]
struct Connector<C>(C);

impl<C> Service<Uri> for Connector<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    type Response = TokioIo<Stream<C::Response>>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move { Ok(TokioIo::new(Stream(TokioIo::new(connecting.await?)))) })
    }
}

/// A connection.
struct Stream<T>(TokioIo<T>);

impl<T: Connection> Connection for Stream<T> {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl<T: hyper::rt::Read + Unpin> AsyncRead for Stream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        let is_end = room > 0 && buf.filled().len() == before;
        Poll::Ready(match is_end {
            true => Err(Error::new(ErrorKind::UnexpectedEof, "the connection ended before the answer did")),
            false => Ok(()),
        })
    }
}

impl<T: hyper::rt::Write + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
