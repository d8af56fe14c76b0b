//! The way to the controller: resolve, connect, TLS as ourselves, HTTP/2 by prior knowledge.
//!
//! Done step by step rather than inside tonic's connector, so that each failure keeps its own words. Every attempt
//! resolves anew and takes the addresses in random order: each may be another replica.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use linkerd_harness_core::names::{DnsName, HostPort};
use rand::seq::SliceRandom;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{Reason, Refusal};
use crate::causes::one_line;

/// Of each step: name, connection, handshake.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// A silent peer is noticed in the sum of these; a linkerd-proxy in between has the same rhythm.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to the controller.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) channel: Channel,
    /// Our address on the way to it.
    pub(super) local: IpAddr,
    /// The replica's address.
    pub(super) peer: SocketAddr,
}

/// Connects to the controller at `control`, which must prove to be `server_id`; over IPv6 only if the mesh uses it here.
pub(super) async fn dial(
    control: &HostPort,
    server_id: &DnsName,
    tls: &Arc<ClientConfig>,
    ipv6: bool,
) -> Result<Connection, Refusal> {
    let stream = connect(control, ipv6).await?;
    let address = |result: std::io::Result<SocketAddr>| {
        result.map_err(|error| {
            Refusal::from_transport(&error, &control.to_string(), server_id.as_str())
        })
    };
    let (local, peer) = (
        address(stream.local_addr())?.ip(),
        address(stream.peer_addr())?,
    );
    let stream = handshake(stream, control, server_id, tls).await?;
    let channel = speak_http2(stream, server_id).await.map_err(|error| {
        Refusal::from_transport(&error, &control.to_string(), server_id.as_str())
    })?;
    Ok(Connection {
        channel,
        local,
        peer,
    })
}

async fn connect(control: &HostPort, ipv6: bool) -> Result<TcpStream, Refusal> {
    let unresolved = |why: String| {
        let host = control.host();
        let message = format!(
            "cannot resolve {host}: {why}; this host's resolver must know the cluster's names (/etc/resolv.conf)"
        );
        Refusal::new(Reason::NameNotResolved, message)
    };
    let mut addresses: Vec<SocketAddr> =
        match timeout(STEP_TIMEOUT, lookup_host((control.host(), control.port()))).await {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => return Err(unresolved(error.to_string())),
            Err(_) => return Err(unresolved("no answer in 5 s".to_owned())),
        };
    // Our address on the way is the one that we register, so its family must be one that our proxy serves.
    addresses.retain(|address| ipv6 || address.is_ipv4());
    addresses.shuffle(&mut rand::rng());
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut last =
        unresolved("it has no address of a family that is in use here (IPv6)".to_owned());
    for address in addresses {
        let error = match timeout(STEP_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small messages must not wait for each other. Without it they only come later.
                if stream.set_nodelay(true).is_err() {
                    tracing::debug!("cannot set TCP_NODELAY");
                }
                return Ok(stream);
            }
            Ok(Err(error)) => error,
            Err(_) => std::io::ErrorKind::TimedOut.into(),
        };
        last = Refusal::from_transport(&error, &format!("{control} ({address})"), "");
    }
    Err(last)
}

async fn handshake(
    stream: TcpStream,
    control: &HostPort,
    server_id: &DnsName,
    tls: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Refusal> {
    let refusal = |error: &std::io::Error| {
        Refusal::from_transport(error, &control.to_string(), server_id.as_str())
    };
    let name = ServerName::try_from(server_id.without_dot().to_owned())
        .map_err(|error| Refusal::new(Reason::WrongController, one_line(&error)))?;
    match timeout(
        STEP_TIMEOUT,
        TlsConnector::from(Arc::clone(tls)).connect(name, stream),
    )
    .await
    {
        Ok(result) => result.map_err(|error| refusal(&error)),
        Err(_) => Err(refusal(&std::io::ErrorKind::TimedOut.into())),
    }
}

/// A channel over this one connection: when it breaks, the session ends and dials anew.
async fn speak_http2(
    stream: TlsStream<TcpStream>,
    server_id: &DnsName,
) -> Result<Channel, tonic::transport::Error> {
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let once = service_fn(move |_: tonic::transport::Uri| {
        let stream = stream.lock().ok().and_then(|mut stream| stream.take());
        async move { stream.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)) }
    });
    Endpoint::from_shared(format!("http://{}", server_id.without_dot()))?
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(once)
        .await
}
