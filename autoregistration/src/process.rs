//! What every way of running has in common: ports, parts that run for ever, and their end.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;

use crate::manifests::watch as manifests;
use crate::tls::files as tls;

/// How long connections have to end after a shutdown was asked for. Linkerd's streams never end by themselves.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// A peer that vanished is noticed after the sum of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The process cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifests at the start.
    #[error(transparent)]
    Manifests(#[from] manifests::Error),
    /// Certificate, key or trust anchors at the start.
    #[error("cannot serve TLS")]
    Tls(#[from] tls::Error),
    /// Where the API server is.
    #[error(
        "don't know how to reach an API server; in a pod that is known, elsewhere say --kubeconfig FILE, or run without a \
         cluster with --standalone DIR"
    )]
    Cluster(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A port.
    #[error("cannot listen on {addr} ({flag})")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// The flag that says so.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A part that should run for ever has ended.
    #[error("{part} ended")]
    Ended {
        /// Which.
        part: &'static str,
        /// Why, where that is known.
        source: Option<tonic::transport::Error>,
    },
    /// A part has panicked.
    #[error("a part of the process failed")]
    Failed(#[source] tokio::task::JoinError),
}

/// The parts of a process that run until it is stopped.
#[derive(Debug)]
pub(crate) struct Parts {
    stop: watch::Sender<bool>,
    servers: JoinSet<(&'static str, Result<(), tonic::transport::Error>)>,
    followers: JoinSet<&'static str>,
}

// === impl Error ===

impl Error {
    /// Whether what was configured is wrong, so that a restart would change nothing.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Manifests(_) | Self::Tls(_) | Self::Cluster(_))
    }
}

// === impl Parts ===

impl Parts {
    pub(crate) fn new() -> Self {
        Self {
            stop: watch::Sender::new(false),
            servers: JoinSet::new(),
            followers: JoinSet::new(),
        }
    }

    /// Comes when connections are to be ended.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stop.subscribe();
        async move {
            // An error means that the owner is gone, which is a stop as well.
            drop(stopping.wait_for(|stop| *stop).await);
        }
    }

    /// A server, to be ended by [`Self::stopped`].
    pub(crate) fn serve(
        &mut self,
        name: &'static str,
        server: impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    ) {
        self.servers.spawn(async move { (name, server.await) });
    }

    /// Something that runs for ever, and ends with the process.
    pub(crate) fn follow(
        &mut self,
        name: &'static str,
        follower: impl Future<Output = ()> + Send + 'static,
    ) {
        self.followers.spawn(async move {
            follower.await;
            name
        });
    }

    /// Comes when one of them ends, which none should.
    pub(crate) async fn failed(&mut self) -> Error {
        let (part, source) = tokio::select! {
            Some(ended) = self.servers.join_next() => match ended {
                Ok((part, result)) => (part, result.err()),
                Err(error) => return Error::Failed(error),
            },
            Some(ended) = self.followers.join_next() => match ended {
                Ok(part) => (part, None),
                Err(error) => return Error::Failed(error),
            },
            else => ("everything", None),
        };
        Error::Ended { part, source }
    }

    /// Closes the connections, and ends all.
    pub(crate) async fn end(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.servers.join_next().await.is_some() {} };
        // What has not ended by then is closed with the process.
        drop(tokio::time::timeout(STOP_GRACE, ended).await);
        self.servers.shutdown().await;
        self.followers.shutdown().await;
    }
}

/// A gRPC server that takes so many requests at once on a connection.
pub(crate) fn server(streams: u32) -> Server {
    Server::builder()
        .max_concurrent_streams(streams)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

pub(crate) async fn bind(
    addr: SocketAddr,
    flag: &'static str,
) -> Result<(TcpListener, SocketAddr), Error> {
    let fail = |source| Error::Listen { addr, flag, source };
    let listener = TcpListener::bind(addr).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}
