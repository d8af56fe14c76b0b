//! Asks the daemon's admin server: one HTTP/1.0 request over loopback.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use linkerd_harness_core::config;
use linkerd_harness_core::redirect::page::Page;
use linkerd_harness_core::status::Status;
use serde_json::Value;

use crate::file;

/// For the whole exchange; the daemon answers from memory.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Longest answer that we take.
const ANSWER_MAX: usize = 1 << 23;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct Error {
    address: SocketAddr,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Nothing listens there, or it does not speak.
    Connection(io::Error),
    /// Something else listens there.
    Answer(String),
}

/// What the daemon says of itself.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    /// As it came, with fields of newer versions.
    pub(crate) json: Value,
}

/// Where the daemon serves: `AdminAddress`, or its default when the configuration cannot be read.
pub(crate) fn address(config: &Path) -> SocketAddr {
    let bytes = file::read(config).ok().flatten().unwrap_or_default();
    let settings = config::text(&bytes)
        .and_then(config::settings)
        .unwrap_or_default();
    let given = settings
        .iter()
        .find(|setting| setting.key.path == "AdminAddress")
        .and_then(|setting| setting.value.parse().ok());
    let mut address: SocketAddr = given.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 4192)));
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// `GET /status`.
pub(crate) fn status(address: SocketAddr) -> Result<Answer, Error> {
    let failed = |kind| Error { address, kind };
    let json = json(address, "/status")?;
    let status = serde_json::from_value(json.clone())
        .map_err(|error| failed(Kind::Answer(format!("it sent no status: {error}"))))?;
    Ok(Answer { status, json })
}

/// `GET /redirect`.
pub(crate) fn redirect(address: SocketAddr) -> Result<Page, Error> {
    serde_json::from_value(json(address, "/redirect")?).map_err(|error| Error {
        address,
        kind: Kind::Answer(format!("it sent no rules: {error}")),
    })
}

fn json(address: SocketAddr, path: &str) -> Result<Value, Error> {
    let failed = |kind| Error { address, kind };
    let bytes = get(address, path).map_err(|error| failed(Kind::Connection(error)))?;
    parse(&bytes).map_err(|what| failed(Kind::Answer(what)))
}

/// The whole response. HTTP/1.0, so that the body ends with the connection and is not chunked.
fn get(address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => return Ok(response),
            read => response.extend(part.iter().take(read)),
        }
        if response.len() > ANSWER_MAX {
            return Err(io::Error::other("the answer is too long"));
        }
    }
}

fn parse(response: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(response);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("it is not HTTP")?;
    let line = head.lines().next().unwrap_or_default();
    let code = line.split(' ').nth(1).unwrap_or_default();
    if !line.starts_with("HTTP/1.") || code != "200" {
        return Err(format!("it said `{}`", crate::commands::printable(line)));
    }
    serde_json::from_str(body).map_err(|error| format!("it sent no JSON: {error}"))
}

// === impl Error ===

impl Error {
    /// Whether nobody is there, as against somebody who says something else.
    pub(crate) fn is_nobody(&self) -> bool {
        matches!(&self.kind, Kind::Connection(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, kind } = self;
        match kind {
            Kind::Connection(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                write!(
                    f,
                    "linkerd-proxy-harness is not running: nothing listens on {address}"
                )
            }
            Kind::Connection(error) => write!(
                f,
                "linkerd-proxy-harness does not answer on {address}: {error}"
            ),
            Kind::Answer(what) => write!(
                f,
                "what listens on {address} is not linkerd-proxy-harness: {what}"
            ),
        }
    }
}
