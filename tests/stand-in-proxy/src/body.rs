//! Bodies of whatever kind, and serving HTTP on a stream.

use crate::detect::Protocol;
use crate::drain;
use crate::io::BoxIo;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::error::Error;
use std::future::Future;
use std::time::Duration;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
pub(crate) type Body = BoxBody<Bytes, BoxError>;

/// Closes a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Close(#[from] pub(crate) std::io::Error);

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(crate) fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}

pub(crate) fn incoming(body: Incoming) -> Body {
    body.map_err(BoxError::from).boxed()
}

/// Serves one connection until it ends. A drain closes it when it is idle, after the requests that are under way.
///
/// An error of `handle` closes the connection without an answer.
pub(crate) async fn serve<H, F>(
    io: BoxIo,
    protocol: Protocol,
    keepalive: Option<(Duration, Duration)>,
    drain: &drain::Watch,
    handle: H,
) -> Result<(), hyper::Error>
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<Body>, Close>> + Send + 'static,
{
    let io = TokioIo::new(io);
    let service = service_fn(handle);
    if protocol == Protocol::Http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        if let Some((interval, timeout)) = keepalive {
            builder
                .keep_alive_interval(interval)
                .keep_alive_timeout(timeout);
        }
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = drain.signaled() => connection.as_mut().graceful_shutdown(),
        }
        return connection.await;
    }
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .serve_connection(io, service)
            .with_upgrades()
    );
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = drain.signaled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Joins both ends of an exchange that switched protocols, such as a WebSocket.
pub(crate) fn tunnel(client: hyper::upgrade::OnUpgrade, server: hyper::upgrade::OnUpgrade) {
    tokio::spawn(async move {
        let joined = async {
            let (client, server) = futures::future::try_join(client, server)
                .await
                .map_err(std::io::Error::other)?;
            tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server))
                .await
        };
        if let Err(error) = joined.await {
            tracing::debug!(target: "linkerd_http_upgrade", %error, "upgraded connection ended");
        }
    });
}
