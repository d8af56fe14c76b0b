//! A connection after its handshake, and who is at its other end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::identity::Presented;
use crate::patience::{PREFACE, Patience, Patient, TIME};

/// Who is at the other end; in the extensions of each request.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// What its certificate says, after verification against the trust anchors.
    pub presented: Presented,
    addr: Option<SocketAddr>,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Connection {
    stream: Patient<TlsStream<TcpStream>>,
    peer: Peer,
    /// Of a stranger, its place among the strangers.
    _place: Option<OwnedSemaphorePermit>,
}

// === impl Peer ===

impl Peer {
    /// Its address, for logs.
    pub fn address(&self) -> String {
        self.addr
            .map_or_else(|| "unknown".to_owned(), |addr| addr.to_string())
    }

    /// Its SPIFFE ID; `None` when it showed none.
    pub fn spiffe_id(&self) -> Option<&str> {
        match &self.presented {
            Presented::Uri(uri) => Some(uri),
            Presented::Nothing | Presented::Dns(_) | Presented::Other(_) => None,
        }
    }
}

// === impl Connection ===

impl Connection {
    /// A stranger, who showed no certificate, takes one of the `strangers` places; `None` when all are taken.
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        addr: SocketAddr,
        strangers: &Arc<Semaphore>,
    ) -> Option<Self> {
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        let presented = leaf.map_or(Presented::Nothing, |leaf| presented(leaf));
        let (place, patience) = if presented == Presented::Nothing {
            let place = Arc::clone(strangers).try_acquire_owned().ok()?;
            (Some(place), Patience::Done)
        } else {
            (None, Patience::Until(PREFACE))
        };
        Some(Self {
            stream: Patient::new(stream, patience, TIME),
            peer: Peer {
                presented,
                addr: Some(addr),
            },
            _place: place,
        })
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
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

/// The first subject alternative name, as a Linkerd proxy takes it.
fn presented(der: &[u8]) -> Presented {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Presented::Other("unreadable".to_owned());
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    let first = names.and_then(|names| names.value.general_names.first());
    match first {
        Some(GeneralName::URI(uri)) => Presented::Uri((*uri).to_owned()),
        Some(GeneralName::DNSName(name)) => Presented::Dns((*name).to_owned()),
        Some(_) => Presented::Other("neither a URI nor a DNS name".to_owned()),
        None => Presented::Other("missing".to_owned()),
    }
}
