//! Connections to this host's workload.

mod direct;
mod forward;
pub(crate) mod http;
mod policies;
mod profiles;

pub(crate) use self::policies::{Policies, PolicyHandle};
pub(crate) use self::profiles::Profiles;

use self::forward::Tcp;
use crate::config;
use crate::detect::{self, Hello, Protocol};
use crate::identity;
use crate::io::BoxIo;
use crate::labels::ServerTls;
use crate::metrics::Metrics;
use crate::policy;
use crate::{drain, socket, tls};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tracing::{Instrument as _, debug, info_span};

/// What every connection needs.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) config: config::Inbound,
    pub(crate) server_name: String,
    pub(crate) identity: identity::Receiver,
    pub(crate) policies: Policies,
    pub(crate) profiles: Profiles,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) apps: http::Apps,
}

/// A connection whose security is known.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) client: SocketAddr,
    /// Where the client was going, and so where the application is.
    pub(crate) dst: SocketAddr,
    pub(crate) tls: ServerTls,
    pub(crate) policy: PolicyHandle,
}

impl Inbound {
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, drain: drain::Watch) {
        while let Some((stream, client, dst)) = socket::accept(&listener, &drain).await {
            let span = info_span!(target: "linkerd_app_inbound", "server", port = dst.port());
            let (inbound, drain) = (Arc::clone(&self), drain.clone());
            let task = async move {
                socket::tune(&stream, inbound.config.socket);
                if let Err(error) = inbound.accept(stream, client, dst, &drain).await {
                    debug!(target: "linkerd_app_core::serve", %error, client.addr = %client, "Connection closed");
                }
            };
            tokio::spawn(task.instrument(span));
        }
    }

    async fn accept(
        self: &Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        dst: SocketAddr,
        drain: &drain::Watch,
    ) -> io::Result<()> {
        if !self.config.ips.is_empty() && !self.config.ips.contains(&dst.ip()) {
            return Err(io::Error::other(format!(
                "destination address {dst} is not allowed by INBOUND_IPS"
            )));
        }
        if dst.port() == self.config.listen.port() {
            return self.accept_direct(stream, client, dst, drain).await;
        }
        let policy = self.policies.get(dst.port());
        if policy.current().protocol == policy::Protocol::Opaque {
            let connection = Connection {
                client,
                dst,
                tls: ServerTls::PortSkipped,
                policy,
            };
            return self.forward(Box::new(stream), connection, drain).await;
        }
        let (tls, io) = self.terminate(stream).await?;
        let connection = Connection {
            client,
            dst,
            tls,
            policy,
        };
        let current = connection.policy.current().protocol;
        let meshed = matches!(connection.tls, ServerTls::Established(_));
        let detect_for = match current {
            policy::Protocol::Tls | policy::Protocol::Opaque => {
                return self.forward(io, connection, drain).await;
            }
            policy::Protocol::Http1 if !meshed => {
                return self.http(io, Protocol::Http1, connection, drain).await;
            }
            policy::Protocol::Http2 | policy::Protocol::Grpc => {
                return self.http(io, Protocol::Http2, connection, drain).await;
            }
            // Meshed clients may tunnel HTTP/1 in HTTP/2.
            policy::Protocol::Http1 => self.config.detect_timeout,
            policy::Protocol::Detect(timeout) => timeout,
        };
        let (protocol, io) = detect::http(io, detect_for).await?;
        let io: BoxIo = Box::new(io);
        match protocol {
            Protocol::Http1 | Protocol::Http2 => self.http(io, protocol, connection, drain).await,
            Protocol::Silent if current == policy::Protocol::Http1 => {
                self.http(io, Protocol::Http1, connection, drain).await
            }
            Protocol::NotHttp | Protocol::Silent => self.forward(io, connection, drain).await,
        }
    }

    /// Ends the mesh's TLS if the client asked for this proxy by its name; passes everything else on as it came.
    async fn terminate(&self, stream: TcpStream) -> io::Result<(ServerTls, BoxIo)> {
        let (hello, io) = detect::hello(stream, self.config.detect_timeout).await?;
        match hello {
            Hello::Sni(name) if name.eq_ignore_ascii_case(&self.server_name) => {
                let credentials =
                    identity::credentials(&self.identity).ok_or_else(no_certificate)?;
                let stream = tls::accept(Arc::clone(&credentials.server), io).await?;
                let leaf = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(<[_]>::first);
                let client_id = leaf.and_then(|leaf| tls::client_id(leaf));
                debug!(target: "linkerd_tls", { client.id = ?client_id }, "Accepted TLS connection");
                Ok((ServerTls::Established(client_id), Box::new(stream)))
            }
            Hello::Sni(name) => Ok((ServerTls::Passthru(name), Box::new(io))),
            Hello::NoTls => Ok((ServerTls::NoClientHello, Box::new(io))),
        }
    }

    async fn http(
        self: &Arc<Self>,
        io: BoxIo,
        protocol: Protocol,
        connection: Connection,
        drain: &drain::Watch,
    ) -> io::Result<()> {
        http::serve(self, io, protocol, connection, drain)
            .await
            .map_err(io::Error::other)
    }

    async fn forward(
        &self,
        io: BoxIo,
        connection: Connection,
        drain: &drain::Watch,
    ) -> io::Result<()> {
        Tcp {
            inbound: self,
            connection,
        }
        .forward(io, drain)
        .await
    }
}

fn no_certificate() -> io::Error {
    io::Error::other("no certificate yet")
}
