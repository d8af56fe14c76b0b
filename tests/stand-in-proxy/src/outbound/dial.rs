//! Opening one connection to an endpoint.

use super::endpoint::Endpoint;
use crate::config::Connect;
use crate::header::{self, Header, Session};
use crate::io::{BoxIo, within};
use crate::metrics::Metrics;
use crate::open::{Counted, Open};
use crate::{identity, labels, socket, tls};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) connect: Connect,
    pub(crate) identity: identity::Receiver,
    /// This host's own addresses: they are reached without the mesh.
    pub(crate) own: HashSet<IpAddr>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Dialer {
    /// Connects and, where the endpoint has an identity, proves it before a byte of the client's is sent.
    pub(super) async fn dial(
        &self,
        endpoint: &Endpoint,
        session: Option<Session>,
    ) -> io::Result<BoxIo> {
        if endpoint.addr.ip().is_loopback() {
            let why = "Outbound proxy cannot initiate connections on the loopback interface";
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, why));
        }
        let limit = self.connect.timeout;
        let io = within(limit, "connect", self.open(endpoint, session)).await?;
        let tls = labels::client_tls(endpoint.tls.as_ref().map(|tls| &tls.id), endpoint.local);
        let target = labels::target(endpoint.addr);
        let labels = format!(
            r#"direction="outbound",peer="dst",{target},{tls}{}"#,
            endpoint.labels
        );
        Ok(Box::new(Counted::new(io, Open::new(&self.metrics, labels))))
    }

    async fn open(&self, endpoint: &Endpoint, session: Option<Session>) -> io::Result<BoxIo> {
        let Some(peer) = &endpoint.tls else {
            let stream = TcpStream::connect(endpoint.addr).await?;
            socket::tune(&stream, self.connect.socket);
            return Ok(Box::new(stream));
        };
        let port = endpoint.transport_port.unwrap_or(endpoint.addr.port());
        let stream = TcpStream::connect(SocketAddr::new(endpoint.addr.ip(), port)).await?;
        socket::tune(&stream, self.connect.socket);
        let credentials = identity::credentials(&self.identity)
            .ok_or_else(|| io::Error::other("no certificate yet"))?;
        let config = credentials.client().clone();
        let mut stream = tls::connect(
            config,
            &peer.server_name,
            &peer.id,
            Some(header::ALPN),
            stream,
        )
        .await?;
        // A server on the application's port negotiates no ALPN and wants no header.
        if stream.get_ref().1.alpn_protocol() == Some(header::ALPN) {
            let authority = endpoint
                .authority
                .as_ref()
                .and_then(|authority| authority.rsplit_once(':'));
            let (name, port) =
                match authority.and_then(|(name, port)| Some((name, port.parse().ok()?))) {
                    Some((name, port)) => (Some(name.to_owned()), port),
                    None => (None, endpoint.addr.port()),
                };
            stream
                .write_all(
                    &Header {
                        port,
                        name,
                        session,
                    }
                    .encode(),
                )
                .await?;
        }
        Ok(Box::new(stream))
    }
}
