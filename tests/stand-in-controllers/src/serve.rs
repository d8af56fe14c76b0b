//! The two ports that proxies ask, over mutual TLS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use autoregistration::mesh;
use autoregistration::metrics::Metrics;
use autoregistration::tls::acceptor::Acceptor;
use autoregistration::tls::files::{Files, Paths};
use autoregistration::view::View;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tracing::info;

use crate::Arguments;

/// Whom proxies must meet on both ports.
const IDENTITY: &str = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";
/// A proxy has a stream for each of its destinations.
const STREAMS: u32 = 1 << 20;
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Serves until a server ends, which none should.
pub(crate) async fn run(arguments: Arguments, view: watch::Receiver<Arc<View>>) -> Result<()> {
    let (files, (material, _)) = Files::load(Paths {
        anchors: arguments.trust_anchors,
        certificate: arguments.tls_cert,
        key: arguments.tls_key,
        identities: vec![IDENTITY.to_owned()],
    })
    .await
    .context("load the certificate")?;
    let metrics = Metrics::default();
    let connections = async |name, addr| {
        let listener = TcpListener::bind(addr).await;
        let acceptor = Acceptor {
            name,
            listener: listener.with_context(|| format!("listen on {addr}"))?,
            material: material.clone(),
            choose: |material| Arc::clone(&material.mesh),
            metrics: metrics.clone(),
        };
        anyhow::Ok(acceptor.connections())
    };
    let server = || {
        Server::builder()
            .max_concurrent_streams(STREAMS)
            .http2_keepalive_interval(Some(KEEPALIVE))
    };
    let destination = server()
        .add_service(mesh::destination(view.clone(), metrics.clone()))
        .serve_with_incoming(connections("destination", arguments.destination_listen).await?);
    let policy = server()
        .add_service(mesh::outbound(view.clone(), metrics.clone()))
        .add_service(mesh::inbound(view, metrics.clone()))
        .serve_with_incoming(connections("policy", arguments.policy_listen).await?);
    info!("serving");
    tokio::select! {
        ended = destination => ended.context("serve the destination API"),
        ended = policy => ended.context("serve the policy API"),
        () = files.run() => Ok(()),
    }
}
