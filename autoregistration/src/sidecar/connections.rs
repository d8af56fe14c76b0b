//! Accepts connections. Those of the pod's own proxy stay; others are let in, few and for a short time, to be told why
//! they are refused.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use super::{Peer, PodIps};
use crate::metrics::Metrics;

/// Connections at once that don't come from within the pod. None of a pod that is set up well does.
const MOST_STRANGERS: usize = 64;
/// After an error of `accept` (out of descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Strangers that are loud in the log; the metrics count all of them.
const LOUD: u32 = 3;
/// The name of the port in metrics.
const LISTENER: &str = "registration";

/// A connection, and where it comes from.
pub(super) type Connection = crate::connection::Connection<TcpStream, Peer>;

/// Where connections come from, with the addresses of those who opened them: a listener.
pub trait Accept: Send + Sync + 'static {
    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

/// The connections to `listener`. Accepting ends when this is dropped.
pub(super) fn connections(
    listener: impl Accept,
    pod: PodIps,
    metrics: Metrics,
) -> ReceiverStream<Result<Connection, Infallible>> {
    let (accepted, connections) = mpsc::channel(64);
    tokio::spawn(accept(listener, pod, metrics, accepted));
    ReceiverStream::new(connections)
}

async fn accept(
    listener: impl Accept,
    pod: PodIps,
    metrics: Metrics,
    connections: mpsc::Sender<Result<Connection, Infallible>>,
) {
    let strangers = Arc::new(Semaphore::new(MOST_STRANGERS));
    let mut loud = 0..LOUD;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connections.closed() => return,
        };
        let (stream, addr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(listener = LISTENER, %error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let peer = Peer::new(addr, &pod);
        if !peer.is_own() {
            metrics.refused_connection(LISTENER);
            say_stranger(addr, loud.next().is_some());
        }
        if let Some(connection) = connection(stream, peer, &strangers)
            && connections.send(Ok(connection)).await.is_err()
        {
            return;
        }
    }
}

fn say_stranger(addr: SocketAddr, loud: bool) {
    if loud {
        warn!(
            client.addr = %addr,
            "connection refused that does not come from this pod's Linkerd proxy; is the pod injected, and is no port skipped?"
        );
    } else {
        debug!(client.addr = %addr, "connection refused that does not come from this pod's Linkerd proxy");
    }
}

// === impl Accept ===

impl Accept for TcpListener {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        Self::accept(self)
    }
}

/// A stranger takes one of the `strangers` places; `None` when all are taken.
fn connection(stream: TcpStream, peer: Peer, strangers: &Arc<Semaphore>) -> Option<Connection> {
    // Small messages must not wait for each other. Without it they only come later.
    if stream.set_nodelay(true).is_err() {
        debug!("cannot set TCP_NODELAY");
    }
    if peer.is_own() {
        Some(Connection::new(stream, peer))
    } else {
        Connection::stranger(stream, peer, strangers)
    }
}
