//! Streams that are not HTTP: one connection to an endpoint for each of the client's.

use super::policy::Dispatcher;
use super::{Outbound, Target};
use crate::io::BoxIo;
use std::io;
use tokio::io::copy_bidirectional;

impl Outbound {
    /// Copies until one side closes; an endpoint that cannot be reached closes the client's connection.
    pub(super) async fn opaque(&self, mut io: BoxIo, target: Target) -> io::Result<()> {
        let discovery = &target.lease.value;
        let policy = discovery.policy(target.dst)?;
        let backend = policy
            .opaque()
            .ok_or_else(|| io::Error::other("no route for the connection"))?;
        check_path(&backend.dispatcher)?;
        let pool = discovery
            .pool(backend)
            .ok_or_else(|| io::Error::other("backend has no dispatcher"))?;
        let endpoint = pool
            .for_stream(backend.failfast)
            .await
            .map_err(|why| io::Error::other(format!("no endpoint is available: {why:?}")))?;
        let mut peer = endpoint.dialer.dial(&endpoint.endpoint, None).await?;
        copy_bidirectional(&mut io, &mut peer).await.map(|_| ())
    }
}

/// The real proxy's task panics on a path that is not `name:port`, and the client's connection is closed.
pub(super) fn check_path(dispatcher: &Dispatcher) -> io::Result<()> {
    let Dispatcher::Balance(path) = dispatcher else {
        return Ok(());
    };
    let is_name = path
        .rsplit_once(':')
        .is_some_and(|(host, port)| crate::names::is_dns_name(host) && port.parse::<u16>().is_ok());
    if is_name {
        return Ok(());
    }
    crate::say(&format!(
        "\nthread 'main' panicked at stand-in-proxy, outbound:\npath must be a valid name and port: {path:?}"
    ));
    Err(io::Error::other(format!("{path:?} is no name:port")))
}
