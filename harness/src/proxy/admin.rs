//! Looks at the proxy's admin port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use linkerd_harness_core::truth::{Metrics, Observation, Scan};
use tokio::net::TcpStream;

use super::listening::is_listening;

/// Looks at one proxy. Keeps its connection from look to look.
#[derive(Debug)]
pub(super) struct Admin {
    address: SocketAddr,
    inbound_port: u16,
    timeout: Duration,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

/// Why the admin port gave no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("connect")]
    Connect(#[from] std::io::Error),
    #[error("request")]
    Request(#[from] hyper::Error),
}

// === impl Admin ===

impl Admin {
    /// `timeout` bounds one look, all of it.
    pub(super) fn new(address: SocketAddr, inbound: SocketAddr, timeout: Duration) -> Self {
        Self {
            address: reachable(address),
            inbound_port: inbound.port(),
            timeout,
            connection: None,
        }
    }

    /// Looks once, after a wait. Gives itself back, so that the look can run beside other work.
    pub(super) async fn look(mut self, after: Duration) -> (Self, Observation) {
        tokio::time::sleep(after).await;
        let mut seen = Observation::default();
        let looked = tokio::time::timeout(self.timeout, self.ask(&mut seen)).await;
        match looked {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::trace!(error = ?error, "the proxy's admin port does not answer");
                self.connection = None;
            }
            Err(_elapsed) => self.connection = None,
        }
        seen.listening = is_listening(self.inbound_port, self.timeout).await;
        (self, seen)
    }

    /// Whether it says anything at all in this time.
    pub(super) async fn answers(&mut self, within: Duration) -> bool {
        let ask = async { drain(self.get("/ready").await?.into_body()).await };
        match tokio::time::timeout(within, ask).await {
            // To hang up is to live.
            Ok(said) => {
                if said.is_err() {
                    self.connection = None;
                }
                true
            }
            Err(_elapsed) => {
                self.connection = None;
                false
            }
        }
    }

    async fn ask(&mut self, seen: &mut Observation) -> Result<(), Error> {
        let ready = self.get("/ready").await?;
        let status = ready.status();
        drain(ready.into_body()).await?;
        seen.ready = Some(status.as_u16());
        if status == StatusCode::OK {
            let page = self.get("/metrics").await?;
            if page.status() == StatusCode::OK {
                seen.metrics = Some(scan(page.into_body()).await?);
            } else {
                seen.ready = Some(page.status().as_u16());
                drain(page.into_body()).await?;
            }
        }
        Ok(())
    }

    /// hyper writes the whole head at once. The proxy closes a connection whose first segment is under 14 bytes.
    async fn get(&mut self, path: &'static str) -> Result<Response<Incoming>, Error> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = hyper::Uri::from_static(path);
        if let Ok(host) = self.address.to_string().parse() {
            request.headers_mut().insert(hyper::header::HOST, host);
        }
        let mut connection = match self.kept().await {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let response = connection.send_request(request).await?;
        self.connection = Some(connection);
        Ok(response)
    }

    /// The connection of the last request, unless the proxy has hung up since.
    async fn kept(&mut self) -> Option<SendRequest<Empty<Bytes>>> {
        let mut kept = self.connection.take()?;
        kept.ready().await.ok().map(|()| kept)
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Error> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped or the proxy hangs up.
        tokio::spawn(connection);
        sender.ready().await?;
        Ok(sender)
    }
}

/// A listener on every address is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

async fn drain(mut body: Incoming) -> Result<(), Error> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

async fn scan(mut body: Incoming) -> Result<Metrics, Error> {
    let mut scan = Scan::default();
    while let Some(frame) = body.frame().await {
        if let Some(bytes) = frame?.data_ref() {
            scan.feed(bytes);
        }
    }
    Ok(scan.finish())
}
