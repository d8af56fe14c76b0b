//! Counting connections while they are open.

use crate::metrics::Metrics;
use hyper_util::client::legacy::connect::{Connected, Connection};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One open connection in the metrics.
#[derive(Debug)]
pub(crate) struct Open {
    metrics: Arc<Metrics>,
    labels: String,
}

impl Open {
    pub(crate) fn new(metrics: &Arc<Metrics>, labels: String) -> Self {
        metrics.count("tcp_open_total", &labels);
        metrics.shift("tcp_open_connections", &labels, 1.0);
        Self {
            metrics: Arc::clone(metrics),
            labels,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics
            .shift("tcp_open_connections", &self.labels, -1.0);
        self.metrics
            .count("tcp_close_total", &format!(r#"{},errno="""#, self.labels));
    }
}

/// A stream that is counted for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted<I> {
    inner: I,
    _open: Open,
}

impl<I> Counted<I> {
    pub(crate) fn new(inner: I, open: Open) -> Self {
        Self { inner, _open: open }
    }
}

impl<I> Connection for Counted<I> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
