//! A line between replicas that can be cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::mesh::address;

/// Carries connections to one address. While it is cut nothing comes through in either direction, and nobody is told.
pub(super) struct Line {
    /// Where it begins.
    pub(super) addr: SocketAddr,
    whole: watch::Sender<bool>,
    _carrier: JoinSet<()>,
}

// === impl Line ===

impl Line {
    pub(super) fn to(there: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((address(), 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (whole, is_whole) = watch::channel(true);
        let mut carrier = JoinSet::new();
        let listener = TcpListener::from_std(listener).unwrap();
        carrier.spawn(carry(listener, there, is_whole));
        Self {
            addr,
            whole,
            _carrier: carrier,
        }
    }

    pub(super) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(super) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn carry(listener: TcpListener, there: SocketAddr, whole: watch::Receiver<bool>) {
    let mut passing = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let whole = whole.clone();
        passing.spawn(async move {
            // Who is not there yet, or any more, closes the connection.
            if let Ok(far) = TcpStream::connect(there).await {
                let (from_near, to_near) = near.into_split();
                let (from_far, to_far) = far.into_split();
                let out = pass(from_near, to_far, whole.clone());
                tokio::join!(out, pass(from_far, to_near, whole));
            }
        });
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut whole: watch::Receiver<bool>) {
    let mut buffer = vec![0; 1 << 14];
    while let Ok(read) = from.read(&mut buffer).await {
        let is_whole = whole.wait_for(|whole| *whole).await.is_ok();
        if !is_whole || read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
