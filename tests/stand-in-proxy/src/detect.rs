//! What a client speaks, from its first bytes.

use crate::io::{Prefixed, within};
use hyper::body::Bytes;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// A `ClientHello` must fit.
const HELLO_MAX: usize = 8 * 1024;
/// How much the single read of the HTTP detection takes.
const HTTP_READ: usize = 1024;
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// What the TLS detection saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    Sni(String),
    NoTls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    NotHttp,
    /// The client said nothing in time.
    Silent,
}

/// Reads until it is clear whether the client starts TLS, and with which name.
pub(crate) async fn hello<I: AsyncRead + Unpin>(
    mut io: I,
    limit: Duration,
) -> io::Result<(Hello, Prefixed<I>)> {
    let mut buf = Vec::with_capacity(512);
    let read = async {
        while io.read_buf(&mut buf).await? != 0 {
            match parse_hello(&buf) {
                Some(hello) => return Ok(hello),
                None if buf.len() >= HELLO_MAX => break,
                None => {}
            }
        }
        Ok::<_, io::Error>(Hello::NoTls)
    };
    let hello = within(limit, "TLS detection", read).await?;
    Ok((hello, Prefixed::new(Bytes::from(buf), io)))
}

/// `None` while more bytes are needed.
fn parse_hello(buf: &[u8]) -> Option<Hello> {
    const HANDSHAKE: u8 = 0x16;
    if buf.first() != Some(&HANDSHAKE) {
        return Some(Hello::NoTls);
    }
    let mut acceptor = rustls::server::Acceptor::default();
    let mut rest = buf;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Some(Hello::NoTls);
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(str::to_owned);
                return Some(name.map_or(Hello::NoTls, Hello::Sni));
            }
            Err(_) => return Some(Hello::NoTls),
        }
    }
    None
}

/// Judges the first read of the client, as the real proxy does: one read only, and fewer than 14 bytes are not HTTP.
pub(crate) async fn http<I: AsyncRead + Unpin>(
    mut io: I,
    limit: Duration,
) -> io::Result<(Protocol, Prefixed<I>)> {
    let mut buf = Vec::with_capacity(HTTP_READ);
    let protocol = match timeout(limit, io.read_buf(&mut buf)).await {
        Err(_) => Protocol::Silent,
        Ok(read) => {
            if read? == 0 {
                let why = "socket closed before protocol detection";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
            parse_http(&buf)
        }
    };
    Ok((protocol, Prefixed::new(Bytes::from(buf), io)))
}

fn parse_http(buf: &[u8]) -> Protocol {
    if buf.starts_with(H2_PREFACE) {
        return Protocol::Http2;
    }
    if buf.len() >= H2_PREFACE.len() && is_request_line(buf) {
        Protocol::Http1
    } else {
        Protocol::NotHttp
    }
}

/// `METHOD SP target SP HTTP/1.x`, or the beginning of it.
fn is_request_line(buf: &[u8]) -> bool {
    let end = buf.iter().position(|b| *b == b'\r' || *b == b'\n');
    let line = end.map_or(buf, |end| &buf[..end]);
    let mut parts = line.splitn(3, |b| *b == b' ');
    let method = parts.next().unwrap_or_default();
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    if method.is_empty() || !method.iter().all(token) {
        return false;
    }
    let Some(target) = parts.next() else {
        return end.is_none();
    };
    if !target.iter().all(|b| b.is_ascii_graphic() || *b >= 0x80) {
        return false;
    }
    match parts.next() {
        None => end.is_none(),
        Some(version) if end.is_some() => version == b"HTTP/1.1" || version == b"HTTP/1.0",
        Some(version) => b"HTTP/1.1".starts_with(version) || b"HTTP/1.0".starts_with(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_seen_by_its_first_read() {
        for (bytes, protocol) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], Protocol::Http1),
            (b"POST /a/very/long/path/without/an/end", Protocol::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http2),
            (b"GET / HTTP/1.", Protocol::NotHttp),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", Protocol::NotHttp),
            (
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00",
                Protocol::NotHttp,
            ),
            (b"EHLO mail.example.com\r\n", Protocol::NotHttp),
        ] {
            assert_eq!(parse_http(bytes), protocol, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_client_hello_shows_its_name_even_in_pieces() {
        let config = rustls::ClientConfig::builder_with_provider(
            rustls::crypto::ring::default_provider().into(),
        )
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
        let name = "vm.ns.external.identity.linkerd.cluster.local"
            .try_into()
            .unwrap();
        let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        let expected = Some(Hello::Sni(
            "vm.ns.external.identity.linkerd.cluster.local".into(),
        ));
        assert_eq!(parse_hello(&bytes), expected);
        assert_eq!(parse_hello(&bytes[..20]), None);
        assert_eq!(parse_hello(b"G"), Some(Hello::NoTls));
        assert_eq!(
            parse_hello(b"\x16\x03\x01\x00\x05junk!"),
            Some(Hello::NoTls)
        );
    }
}
