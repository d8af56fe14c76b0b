//! The HTTP client of one endpoint: one HTTP/2 connection for everything, or a pool of HTTP/1 connections.

use super::dial::Dialer;
use super::endpoint::{Endpoint, Hint};
use crate::backoff::Backoff;
use crate::body::{self, Body, BoxError};
use crate::header::Session;
use crate::io::BoxIo;
use crate::orig_proto;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, Version};
use hyper::client::conn::http2;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tracing::warn;

type Sender = http2::SendRequest<Body>;

const IDLE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct EndpointClient {
    pub(super) endpoint: Endpoint,
    pub(super) dialer: Arc<Dialer>,
    http2: watch::Sender<Option<Sender>>,
    /// A task is connecting.
    driven: AtomicBool,
    http1: OnceLock<legacy::Client<Connector, Body>>,
}

impl EndpointClient {
    pub(super) fn new(endpoint: Endpoint, dialer: Arc<Dialer>) -> Self {
        Self {
            endpoint,
            dialer,
            http2: watch::Sender::new(None),
            driven: AtomicBool::new(false),
            http1: OnceLock::new(),
        }
    }

    /// Does a request of this kind travel in the HTTP/2 connection?
    pub(super) fn tunnels(&self, http2: bool) -> bool {
        http2 || self.endpoint.hint == Hint::H2
    }

    fn sender(&self) -> Option<Sender> {
        self.http2
            .borrow()
            .as_ref()
            .filter(|sender| !sender.is_closed())
            .cloned()
    }

    /// HTTP/1 connections are made when they are needed; the HTTP/2 connection must be there.
    pub(super) fn is_ready(&self, http2: bool) -> bool {
        !self.tunnels(http2) || self.sender().is_some()
    }

    /// Connects in the background until it succeeds, then calls `connected`; ends when the endpoint is forgotten.
    pub(super) fn drive(self: &Arc<Self>, backoff: Backoff, connected: impl Fn() + Send + 'static) {
        if self.sender().is_some() || self.driven.swap(true, Ordering::AcqRel) {
            return;
        }
        let endpoint = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut tries = backoff.tries();
            while let Some(client) = endpoint.upgrade() {
                match client.connect_http2().await {
                    Ok(sender) => {
                        client.http2.send_replace(Some(sender));
                        client.driven.store(false, Ordering::Release);
                        connected();
                        return;
                    }
                    Err(error) => {
                        let addr = client.endpoint.addr;
                        warn!(target: "linkerd_reconnect", %addr, %error, "Failed to connect");
                    }
                }
                drop(client);
                tokio::time::sleep(tries.wait()).await;
            }
        });
    }

    async fn connect_http2(&self) -> io::Result<Sender> {
        let session = (self.endpoint.hint != Hint::Opaque).then_some(Session::Http2);
        let io = self.dialer.dial(&self.endpoint, session).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        if let Some(keep) = self.endpoint.keep_alive {
            builder
                .keep_alive_interval(keep.interval)
                .keep_alive_timeout(keep.timeout)
                .keep_alive_while_idle(keep.while_idle);
        }
        let (sender, connection) = builder
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(target: "linkerd_proxy_http", %error, "HTTP/2 connection ended");
            }
        });
        Ok(sender)
    }

    /// Sends a request; it has an absolute URI.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, BoxError> {
        let orig = request.version();
        let upgrade = orig_proto::is_upgrade(&request);
        if upgrade || !self.tunnels(orig == Version::HTTP_2) {
            return self.send_http1(request, upgrade).await;
        }
        let mut sender = self.sender().ok_or_else(broken)?;
        if orig != Version::HTTP_2 {
            orig_proto::upgrade(&mut request);
        }
        let response = sender.send_request(request).await;
        // A failure of the tunnel is a bad gateway to the HTTP/1 client that knows nothing of it.
        let response = if orig == Version::HTTP_2 {
            response?
        } else {
            response.map_err(io::Error::other)?
        };
        let mut response = response.map(body::incoming);
        if orig != Version::HTTP_2 {
            orig_proto::downgrade_response(&mut response, orig);
        }
        Ok(response)
    }

    async fn send_http1(
        self: &Arc<Self>,
        mut request: Request<Body>,
        upgrade: bool,
    ) -> Result<Response<Body>, BoxError> {
        let client = self.http1.get_or_init(|| {
            let connector = Connector {
                endpoint: self.endpoint.clone(),
                dialer: Arc::clone(&self.dialer),
            };
            let mut builder = legacy::Client::builder(TokioExecutor::new());
            builder
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .build(connector)
        });
        let from = upgrade.then(|| hyper::upgrade::on(&mut request));
        let mut response = client.request(request).await?;
        if let (Some(from), StatusCode::SWITCHING_PROTOCOLS) = (from, response.status()) {
            body::tunnel(from, hyper::upgrade::on(&mut response));
        }
        Ok(response.map(body::incoming))
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "connection closed")
}

/// Dials the endpoint, whatever the URI says.
#[derive(Clone, Debug)]
struct Connector {
    endpoint: Endpoint,
    dialer: Arc<Dialer>,
}

impl tower_service::Service<http::Uri> for Connector {
    type Response = Conn;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Conn>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let Self { endpoint, dialer } = self.clone();
        Box::pin(async move {
            let session = (endpoint.hint != Hint::Opaque).then_some(Session::Http1);
            dialer
                .dial(&endpoint, session)
                .await
                .map(|io| Conn(TokioIo::new(io)))
        })
    }
}

/// What the pool of connections wants to hold.
struct Conn(TokioIo<BoxIo>);

impl Connection for Conn {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
