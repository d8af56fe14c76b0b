//! Accepts connections. Those of the pod's own proxy stay; others are let in, few and for a short time, to be told why
//! they are refused.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::{Peer, PodIps};
use crate::metrics::Metrics;
use crate::patience::{PREFACE, Patience, Patient, TIME};

/// Connections at once that don't come from within the pod. None of a pod that is set up well does.
const MOST_STRANGERS: usize = 64;
/// After an error of `accept` (out of descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Strangers that are loud in the log; the metrics count all of them.
const LOUD: u32 = 3;
/// The name of the port in metrics.
const LISTENER: &str = "registration";

/// A connection, and where it comes from.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Patient<TcpStream>,
    peer: Peer,
    /// Of a stranger, its place among the strangers.
    _place: Option<OwnedSemaphorePermit>,
}

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
        if let Some(connection) = Connection::new(stream, peer, &strangers)
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

// === impl Connection ===

impl Connection {
    /// A stranger takes one of the `strangers` places; `None` when all are taken.
    fn new(stream: TcpStream, peer: Peer, strangers: &Arc<Semaphore>) -> Option<Self> {
        // Small messages must not wait for each other. Without it they only come later.
        if stream.set_nodelay(true).is_err() {
            debug!("cannot set TCP_NODELAY");
        }
        let (place, patience) = if peer.is_own() {
            (None, Patience::Until(PREFACE))
        } else {
            let place = Arc::clone(strangers).try_acquire_owned().ok()?;
            (Some(place), Patience::Done)
        };
        Some(Self {
            stream: Patient::new(stream, patience, TIME),
            peer,
            _place: place,
        })
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
