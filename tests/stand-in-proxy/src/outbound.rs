//! Connections of this host's programs to the rest of the world.

mod client;
mod dial;
mod discover;
mod endpoint;
mod http;
mod opaque;
mod policy;
mod pool;
mod resolve;

pub(crate) use self::dial::Dialer;
pub(crate) use self::discover::Discover;

use self::discover::Discovery;
use crate::cache::{Cache, Lease};
use crate::config;
use crate::detect::{self, Protocol};
use crate::io::BoxIo;
use crate::metrics::Metrics;
use crate::open::Open;
use crate::{drain, labels, socket};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tracing::{Instrument as _, debug, info, info_span};

/// What every connection needs.
#[derive(Debug)]
pub(crate) struct Outbound {
    config: config::Outbound,
    discover: Arc<Discover>,
    discoveries: Cache<SocketAddr, Discovery>,
    metrics: Arc<Metrics>,
}

/// A connection whose destination is known.
#[derive(Debug)]
struct Target {
    dst: SocketAddr,
    lease: Lease<SocketAddr, Discovery>,
}

impl Outbound {
    pub(crate) fn new(config: config::Outbound, discover: Discover, metrics: Arc<Metrics>) -> Self {
        let discoveries = Cache::new(config.discovery_idle);
        Self {
            config,
            discover: Arc::new(discover),
            discoveries,
            metrics,
        }
    }

    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, drain: drain::Watch) {
        while let Some((stream, client, dst)) = socket::accept(&listener, &drain).await {
            let span = info_span!(target: "linkerd_app_outbound", "proxy", addr = %dst);
            let (outbound, drain) = (Arc::clone(&self), drain.clone());
            let task = async move {
                socket::tune(&stream, outbound.config.socket);
                if let Err(error) = outbound.accept(stream, dst, &drain).await {
                    debug!(target: "linkerd_app_core::serve", %error, client.addr = %client, "Connection closed");
                }
            };
            tokio::spawn(task.instrument(span));
        }
    }

    async fn accept(
        self: &Arc<Self>,
        stream: TcpStream,
        dst: SocketAddr,
        drain: &drain::Watch,
    ) -> io::Result<()> {
        let tls = r#"tls="no_identity",no_tls_reason="loopback""#;
        let labels = format!(
            r#"direction="outbound",peer="src",{},{tls}"#,
            labels::target(dst)
        );
        let _open = Open::new(&self.metrics, labels);
        let lease = self.discoveries.get(dst, || self.discover.spawn(dst));
        // Both controllers must have answered; a client that waits here waits for as long as it takes.
        lease.value.resolved().await;
        let kind = lease.value.kind(dst)?;
        let target = Target { dst, lease };
        let io: BoxIo = match kind {
            policy::Kind::Opaque => return self.opaque(Box::new(stream), target).await,
            policy::Kind::Http(protocol) => {
                return self.http(Box::new(stream), protocol, target, drain).await;
            }
            policy::Kind::Detect => Box::new(stream),
        };
        let (protocol, io) = detect::http(io, self.config.detect_timeout).await?;
        match protocol {
            Protocol::Http1 | Protocol::Http2 => {
                self.http(Box::new(io), protocol, target, drain).await
            }
            Protocol::Silent => {
                info!(target: "linkerd_app_outbound::protocol", "Continuing after timeout: {:?}", self.config.detect_timeout);
                self.opaque(Box::new(io), target).await
            }
            Protocol::NotHttp => self.opaque(Box::new(io), target).await,
        }
    }
}
