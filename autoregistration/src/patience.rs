//! A stream that gives its peer a time to say something: a connection, or TLS done, and then silence would otherwise last
//! for ever, since HTTP/2's own signs of life begin after its first bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What an HTTP/2 client says first. After it HTTP/2's own signs of life begin.
pub(crate) const PREFACE: usize = 24;
/// For a member until its first bytes; for a stranger until it is gone, since it is let in only to be told what is
/// wrong.
pub(crate) const TIME: Duration = Duration::from_secs(5);

/// What a peer has to do in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// To say this many bytes.
    Until(usize),
    /// To be done.
    Done,
}

/// A stream, with the time that is left for its peer.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    stream: S,
    patience: Patience,
    time: Option<Pin<Box<Sleep>>>,
}

// === impl Patient ===

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, patience: Patience, time: Duration) -> Self {
        Self {
            stream,
            patience,
            time: Some(Box::pin(tokio::time::sleep(time))),
        }
    }

    fn heard(&mut self, bytes: usize) {
        if let Patience::Until(missing) = &mut self.patience {
            *missing = missing.saturating_sub(bytes);
            if *missing == 0 {
                self.time = None;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(time) = &mut self.time
            && time.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.heard(buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn pair(patience: Patience) -> (DuplexStream, Patient<DuplexStream>) {
        let (peer, ours) = duplex(64);
        (peer, Patient::new(ours, patience, TIME))
    }

    async fn read(stream: &mut Patient<DuplexStream>) -> Result<u8, io::ErrorKind> {
        stream.read_u8().await.map_err(|error| error.kind())
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_less_than_it_must_is_given_up() {
        let (mut peer, mut ours) = pair(Patience::Until(2));
        peer.write_u8(1).await.unwrap();
        assert_eq!(read(&mut ours).await, Ok(1));
        assert_eq!(read(&mut ours).await, Err(io::ErrorKind::TimedOut));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_has_said_enough_may_be_silent() {
        let (mut peer, mut ours) = pair(Patience::Until(2));
        peer.write_all(&[1, 2]).await.unwrap();
        assert_eq!(
            (read(&mut ours).await, read(&mut ours).await),
            (Ok(1), Ok(2))
        );
        let silence = tokio::time::timeout(TIME * 100, read(&mut ours)).await;
        assert!(silence.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_must_be_done_is_given_up_whatever_it_says() {
        let (mut peer, mut ours) = pair(Patience::Done);
        let talk = async {
            while peer.write_u8(1).await.is_ok() {
                tokio::time::sleep(TIME / 4).await;
            }
        };
        let listen = async { while read(&mut ours).await.is_ok() {} };
        let ended = tokio::select! {
            () = talk => false,
            ended = tokio::time::timeout(TIME * 2, listen) => ended.is_ok(),
        };
        assert!(ended);
    }
}
