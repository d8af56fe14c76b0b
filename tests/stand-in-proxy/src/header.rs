//! The transport header: the first bytes inside the TLS of a connection to port 4143.
//!
//! A magic line, the length of a protobuf message as a big-endian u32, and the message: the port, an optional name
//! (gateways only) and the session's protocol if it is known.

use hyper::body::Bytes;
use prost::Message;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What both sides offer as ALPN when the header follows.
pub(crate) const ALPN: &[u8] = b"transport.l5d.io/v1";
const MAGIC: &[u8] = b"transport.l5d.io/v1\r\n\r\n";
/// Longer headers are refused; a real one has some ten bytes.
const MAX: u32 = 8 * 1024;

/// The HTTP version that the client has already detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    Http1,
    Http2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) port: u16,
    pub(crate) name: Option<String>,
    pub(crate) session: Option<Session>,
}

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(int32, tag = "1")]
    port: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, optional, tag = "3")]
    session: Option<WireSession>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct WireSession {
    #[prost(oneof = "Kind", tags = "1, 2")]
    kind: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Http1(Empty),
    #[prost(message, tag = "2")]
    Http2(Empty),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Empty {}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let kind = self.session.map(|session| match session {
            Session::Http1 => Kind::Http1(Empty {}),
            Session::Http2 => Kind::Http2(Empty {}),
        });
        let wire = Wire {
            port: self.port.into(),
            name: self.name.clone().unwrap_or_default(),
            session: kind.map(|kind| WireSession { kind: Some(kind) }),
        };
        let message = wire.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        [MAGIC, &length.to_be_bytes(), &message].concat()
    }

    /// Reads a header from the stream, not one byte more.
    pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let invalid = |why: &'static str| io::Error::new(io::ErrorKind::InvalidData, why);
        let mut magic = [0; MAGIC.len()];
        io.read_exact(&mut magic).await?;
        if magic != MAGIC {
            return Err(invalid("expected a transport header"));
        }
        let length = io.read_u32().await?;
        if length > MAX {
            return Err(invalid("transport header is too long"));
        }
        let mut message = vec![0; length as usize];
        io.read_exact(&mut message).await?;
        let wire = Wire::decode(Bytes::from(message))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let port = u16::try_from(wire.port)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| invalid("invalid port"))?;
        let session = wire
            .session
            .and_then(|session| session.kind)
            .map(|kind| match kind {
                Kind::Http1(_) => Session::Http1,
                Kind::Http2(_) => Session::Http2,
            });
        Ok(Self {
            port,
            name: Some(wire.name).filter(|name| !name.is_empty()),
            session,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_header_survives_the_wire_and_leaves_the_bytes_after_it() {
        for session in [None, Some(Session::Http1), Some(Session::Http2)] {
            for name in [None, Some("web.ns.svc.cluster.local".to_owned())] {
                let header = Header {
                    port: 80,
                    name,
                    session,
                };
                let mut bytes = header.encode();
                bytes.extend_from_slice(b"rest");
                let mut io = bytes.as_slice();
                assert_eq!(Header::read(&mut io).await.unwrap(), header);
                assert_eq!(io, b"rest");
            }
        }
    }

    /// The bytes were written down from the format of the real proxy's header: port 80, HTTP/2.
    #[tokio::test]
    async fn the_bytes_are_those_of_the_real_proxy() {
        let header = Header {
            port: 80,
            name: None,
            session: Some(Session::Http2),
        };
        assert_eq!(
            header.encode(),
            b"transport.l5d.io/v1\r\n\r\n\0\0\0\x06\x08\x50\x1a\x02\x12\x00"
        );
    }

    #[tokio::test]
    async fn other_bytes_and_bad_ports_are_refused() {
        let http = b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n";
        assert!(Header::read(&mut http.as_slice()).await.is_err());
        let zero = Header {
            port: 0,
            name: None,
            session: None,
        }
        .encode();
        assert!(Header::read(&mut zero.as_slice()).await.is_err());
        let mut long = MAGIC.to_vec();
        long.extend_from_slice(&u32::MAX.to_be_bytes());
        assert!(Header::read(&mut long.as_slice()).await.is_err());
    }
}
