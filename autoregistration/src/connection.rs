//! A connection whose other end is known: what a gRPC server reads from, with who is there in each request's extensions.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;

use crate::patience::{PREFACE, Patience, Patient, TIME};

/// A connection of `S`, and who is at its other end.
#[derive(Debug)]
pub struct Connection<S, P> {
    stream: Patient<S>,
    peer: P,
    /// Of a stranger, its place among the strangers.
    _place: Option<OwnedSemaphorePermit>,
}

// === impl Connection ===

impl<S, P> Connection<S, P> {
    /// Of somebody who may stay.
    pub(crate) fn new(stream: S, peer: P) -> Self {
        Self {
            stream: Patient::new(stream, Patience::Until(PREFACE), TIME),
            peer,
            _place: None,
        }
    }

    /// Of one who is to be told why not, on one of the `strangers` places; `None` when all are taken.
    pub(crate) fn stranger(stream: S, peer: P, strangers: &Arc<Semaphore>) -> Option<Self> {
        let place = Arc::clone(strangers).try_acquire_owned().ok()?;
        Some(Self {
            stream: Patient::new(stream, Patience::Done, TIME),
            peer,
            _place: Some(place),
        })
    }
}

impl<S, P: Clone + Send + Sync + 'static> Connected for Connection<S, P> {
    type ConnectInfo = P;

    fn connect_info(&self) -> P {
        self.peer.clone()
    }
}

impl<S: AsyncRead + Unpin, P: Unpin> AsyncRead for Connection<S, P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin, P: Unpin> AsyncWrite for Connection<S, P> {
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
