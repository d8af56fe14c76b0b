//! A connection after its handshake, and who is at its other end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::identity::Presented;

/// Who is at the other end; in the extensions of each request.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// What its certificate says, after verification against the trust anchors.
    pub presented: Presented,
    addr: Option<SocketAddr>,
}

/// A connection after its handshake.
pub(super) type Connection = crate::connection::Connection<TlsStream<TcpStream>, Peer>;

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

/// A stranger, who showed no certificate, takes one of the `strangers` places; `None` when all are taken.
pub(super) fn connection(
    stream: TlsStream<TcpStream>,
    addr: SocketAddr,
    strangers: &Arc<Semaphore>,
) -> Option<Connection> {
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    let presented = leaf.map_or(Presented::Nothing, |leaf| presented(leaf));
    let is_stranger = presented == Presented::Nothing;
    let peer = Peer {
        presented,
        addr: Some(addr),
    };
    if is_stranger {
        Connection::stranger(stream, peer, strangers)
    } else {
        Some(Connection::new(stream, peer))
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
