//! Accepts connections and does their handshakes beside one another: a peer that is slow, or never says anything, holds
//! up nobody and is dropped in time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use super::handshakes::Handshakes;
use super::material::Material;
use super::peer::{Connection, connection};
use crate::metrics::Metrics;

/// A handshake takes two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at once, so that silent connections cannot eat all descriptors.
const MOST_HANDSHAKES: usize = 256;
/// Connections at once of those who showed no certificate. No harness or proxy that works is one of them.
const MOST_STRANGERS: usize = 64;
/// After an error of `accept` (out of descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which of the two configurations a listener serves.
pub type Choose = fn(&Material) -> Arc<ServerConfig>;

/// A listener and what it serves.
#[derive(Debug)]
pub struct Acceptor {
    /// Name, for logs and metrics.
    pub name: &'static str,
    /// Bound.
    pub listener: TcpListener,
    /// The newest certificate is taken for each connection.
    pub material: watch::Receiver<Arc<Material>>,
    /// Which configuration.
    pub choose: Choose,
    /// Counters.
    pub metrics: Metrics,
}

// === impl Acceptor ===

impl Acceptor {
    /// The connections whose handshake is done. Accepting ends when this is dropped.
    pub fn connections(self) -> ReceiverStream<Result<Connection, Infallible>> {
        let (done, connections) = mpsc::channel(64);
        tokio::spawn(self.run(done));
        ReceiverStream::new(connections)
    }

    async fn run(self, done: mpsc::Sender<Result<Connection, Infallible>>) {
        let mut handshakes = Handshakes::new(MOST_HANDSHAKES);
        let strangers = Arc::new(Semaphore::new(MOST_STRANGERS));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = done.closed() => return,
            };
            let (stream, addr) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(listener = self.name, %error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let config = (self.choose)(&self.material.borrow());
            let (name, metrics, done) = (self.name, self.metrics.clone(), done.clone());
            let strangers = Arc::clone(&strangers);
            let displaced = handshakes.start(async move {
                match handshake(config, stream, addr, &strangers).await {
                    // Fails when we are going down.
                    Ok(connection) => drop(done.send(Ok(connection)).await),
                    Err(error) => {
                        debug!(listener = name, client.addr = %addr, %error, "handshake failed");
                        metrics.refused_connection(name);
                    }
                }
            });
            if displaced {
                debug!(
                    listener = self.name,
                    "too many handshakes, the oldest ended"
                );
                self.metrics.refused_connection(self.name);
            }
        }
    }
}

async fn handshake(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    addr: SocketAddr,
    strangers: &Arc<Semaphore>,
) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let accept = TlsAcceptor::from(config).accept(stream);
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, accept)
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    connection(stream, addr, strangers)
        .ok_or_else(|| io::Error::other("too many clients without a certificate"))
}
