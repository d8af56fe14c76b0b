//! One connection to a control plane: name lookup, TCP, TLS, HTTP/2.

use crate::config::{Addr, Control};
use crate::identity;
use crate::io::{BoxIo, within};
use crate::names::Id;
use crate::socket;
use crate::tls::{self, Credentials};
use futures::future::BoxFuture;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rand::seq::IndexedRandom as _;
use rustls::RootCertStore;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;

pub(super) type Sender = http2::SendRequest<tonic::body::Body>;

#[derive(Debug)]
pub(super) struct Connector {
    pub(super) control: Control,
    pub(super) identity: identity::Receiver,
    pub(super) roots: RootCertStore,
}

impl Connector {
    /// A connection, and the future of its end.
    pub(super) async fn connect(&self) -> io::Result<(Sender, BoxFuture<'static, ()>)> {
        let addr = self.resolve().await?;
        let limit = self.control.connect.timeout;
        // As in the real proxy the limit holds for TCP and the TLS handshake together.
        let io = within(limit, "connect", self.dial(addr)).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(hyper_util::rt::TokioTimer::new());
        let (sender, connection) = builder
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        let ended = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(target: "linkerd_app_core::control", %error, "Connection closed");
            }
        });
        Ok((sender, Box::pin(async move { drop(ended.await) })))
    }

    /// Any of the addresses: two replicas share the load and the next try finds the living one.
    async fn resolve(&self) -> io::Result<SocketAddr> {
        match &self.control.addr {
            Addr::Socket(addr) => Ok(*addr),
            Addr::Name(host, port) => {
                let found: Vec<_> = tokio::net::lookup_host((host.as_str(), *port))
                    .await?
                    .collect();
                found
                    .choose(&mut rand::rng())
                    .copied()
                    .ok_or_else(|| io::Error::other(format!("{host} has no address")))
            }
        }
    }

    async fn dial(&self, addr: SocketAddr) -> io::Result<BoxIo> {
        let stream = TcpStream::connect(addr).await?;
        socket::tune(&stream, self.control.connect.socket);
        let Some(name) = &self.control.name else {
            return Ok(Box::new(stream));
        };
        let config = match identity::credentials(&self.identity) {
            Some(credentials) => credentials.client().clone(),
            // The real proxy does not wait: a connection that is made before the certificate stays anonymous.
            None => Credentials::anonymous(&self.roots).map_err(io::Error::other)?,
        };
        let id = Id::Dns(name.clone());
        Ok(Box::new(
            tls::connect(config, name, &id, None, stream).await?,
        ))
    }
}
