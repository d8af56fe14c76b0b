//! The two ports that proxies ask, in plaintext: Linkerd's own controllers leave TLS to their sidecar.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use autoregistration::mesh;
use autoregistration::metrics::Metrics;
use autoregistration::view::View;
use linkerd2_proxy_api::destination::destination_server::DestinationServer;
use tokio::sync::watch;
use tonic::transport::Server;
use tracing::info;

use crate::Picture;
use crate::discovery::Discovery;

/// A proxy has a stream for each of its destinations.
const STREAMS: u32 = 1 << 20;
const KEEPALIVE: Duration = Duration::from_secs(10);

fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
}

/// Serves until it fails.
pub(crate) async fn destination(
    addr: SocketAddr,
    pictures: watch::Receiver<Arc<Picture>>,
    views: watch::Receiver<Arc<View>>,
) -> Result<()> {
    let discovery = Discovery::new(pictures, views, Metrics::default());
    info!(%addr, "serving the destination API");
    let serving = server()
        .add_service(DestinationServer::new(discovery))
        .serve(addr);
    serving.await.context("serve the destination API")
}

/// Serves until it fails.
pub(crate) async fn policy(addr: SocketAddr, views: watch::Receiver<Arc<View>>) -> Result<()> {
    let metrics = Metrics::default();
    info!(%addr, "serving the policy API");
    let serving = server()
        .add_service(mesh::outbound(views.clone(), metrics.clone()))
        .add_service(mesh::inbound(views, metrics))
        .serve(addr);
    serving.await.context("serve the policy API")
}
