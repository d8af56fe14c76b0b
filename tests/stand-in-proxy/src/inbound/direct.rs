//! Connections to port 4143 itself: mutual TLS and the transport header are compulsory.

use super::{Connection, Inbound, no_certificate};
use crate::detect::{self, Hello, Protocol};
use crate::header::{self, Header, Session};
use crate::io::{BoxIo, within};
use crate::labels::ServerTls;
use crate::{drain, identity, tls};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

impl Inbound {
    pub(super) async fn accept_direct(
        self: &Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        dst: SocketAddr,
        drain: &drain::Watch,
    ) -> io::Result<()> {
        let (hello, io) = detect::hello(stream, self.config.detect_timeout).await?;
        let unauthenticated =
            || io::Error::other("direct connections must be mutually authenticated");
        if !matches!(hello, Hello::Sni(name) if name.eq_ignore_ascii_case(&self.server_name)) {
            return Err(unauthenticated());
        }
        let credentials = identity::credentials(&self.identity).ok_or_else(no_certificate)?;
        let mut stream = tls::accept(Arc::clone(&credentials.direct), io).await?;
        let session = stream.get_ref().1;
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let client_id = leaf
            .and_then(|leaf| tls::client_id(leaf))
            .ok_or_else(unauthenticated)?;
        if session.alpn_protocol() != Some(header::ALPN) {
            return Err(io::Error::other(
                "direct connections require transport header negotiation",
            ));
        }
        let limit = self.config.detect_timeout;
        let header = within(limit, "the transport header", Header::read(&mut stream)).await?;
        if let Some(name) = header.name {
            // Only a gateway takes names; on anything else the real proxy's client sees a failed connection.
            return Err(io::Error::other(format!(
                "{name} is not served here: the proxy is no gateway"
            )));
        }
        let dst = SocketAddr::new(dst.ip(), header.port);
        let policy = self.policies.get(header.port);
        let connection = Connection {
            client,
            dst,
            tls: ServerTls::Established(Some(client_id)),
            policy,
        };
        let io: BoxIo = Box::new(stream);
        match header.session {
            None => self.forward(io, connection, drain).await,
            Some(Session::Http1) => self.http(io, Protocol::Http1, connection, drain).await,
            Some(Session::Http2) => self.http(io, Protocol::Http2, connection, drain).await,
        }
    }
}
