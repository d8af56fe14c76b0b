//! Takes the place of the linkerd2-proxy beside Linkerd's controllers in the lab: terminates mutual TLS in front of their
//! plaintext ports and passes on what comes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use autoregistration::metrics::Metrics;
use autoregistration::tls::acceptor::Acceptor;
use autoregistration::tls::files::{Files, Paths};
use clap::Parser;
use futures::StreamExt as _;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};

/// Whom proxies must meet.
const IDENTITY: &str = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";

#[derive(Parser)]
#[command(about = "A STAND-IN for the proxy beside Linkerd's controllers, for the lab only")]
struct Arguments {
    /// Where it listens, and what is behind it
    #[arg(long, value_name = "ADDR=ADDR")]
    forward: Vec<Forward>,
    /// Trust anchors of the mesh, PEM
    #[arg(long, value_name = "FILE")]
    trust_anchors: PathBuf,
    /// Certificate with its intermediates, PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
}

#[derive(Clone, Copy, Debug)]
struct Forward {
    from: SocketAddr,
    to: SocketAddr,
}

impl FromStr for Forward {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (from, to) = text.split_once('=').context("there is no `=`")?;
        Ok(Self {
            from: from.parse().with_context(|| format!("read `{from}`"))?,
            to: to.parse().with_context(|| format!("read `{to}`"))?,
        })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_ansi(false).init();
    let (files, (material, _)) = Files::load(Paths {
        anchors: arguments.trust_anchors,
        certificate: arguments.tls_cert,
        key: arguments.tls_key,
        identities: vec![IDENTITY.to_owned()],
    })
    .await
    .context("load the certificate")?;
    for Forward { from, to } in arguments.forward {
        let listener = TcpListener::bind(from).await;
        let acceptor = Acceptor {
            name: "sidecar",
            listener: listener.with_context(|| format!("listen on {from}"))?,
            material: material.clone(),
            choose: |material| Arc::clone(&material.mesh),
            metrics: Metrics::default(),
        };
        let mut connections = acceptor.connections();
        info!(%from, %to, "forwarding");
        tokio::spawn(async move {
            while let Some(Ok(mut outside)) = connections.next().await {
                tokio::spawn(async move {
                    let forwarded = async {
                        let mut inside = TcpStream::connect(to).await?;
                        inside.set_nodelay(true)?;
                        copy_bidirectional(&mut outside, &mut inside).await
                    };
                    if let Err(error) = forwarded.await {
                        warn!(%to, %error, "connection ended");
                    }
                });
            }
        });
    }
    files.run().await;
    Ok(())
}
