//! The admin server: `/live`, `/ready`, `/metrics`, `/shutdown`.
//!
//! It is under the policy of its own port like everything else, and speaks the mesh's TLS to who asks for it.

use crate::body::{self, Body, Close};
use crate::detect::{self, Hello, Protocol};
use crate::identity::{self, State};
use crate::inbound::http::{authorize, server_labels};
use crate::inbound::{Connection, PolicyHandle};
use crate::io::BoxIo;
use crate::labels::ServerTls;
use crate::metrics::Metrics;
use crate::open::Open;
use crate::respond::Asker;
use crate::{drain, tls};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tracing::debug;

/// How long a client may take to say what it speaks.
const DETECT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) server_name: String,
    pub(crate) identity: identity::Receiver,
    pub(crate) policy: PolicyHandle,
    pub(crate) metrics: Arc<Metrics>,
    /// Present where the shutdown endpoint is enabled.
    pub(crate) shutdown: Option<mpsc::UnboundedSender<()>>,
}

impl Admin {
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, drain: drain::Watch) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.signaled() => return,
            };
            let Ok((stream, client)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (admin, drain) = (Arc::clone(&self), drain.clone());
            tokio::spawn(async move {
                if let Err(error) = admin.accept(stream, client, &drain).await {
                    debug!(target: "linkerd_app_core::serve", %error, client.addr = %client, "Connection closed");
                }
            });
        }
    }

    async fn accept(
        self: Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        drain: &drain::Watch,
    ) -> io::Result<()> {
        let dst = stream.local_addr()?;
        let (hello, io) = detect::hello(stream, DETECT).await?;
        let (tls, io): (_, BoxIo) = match (hello, identity::credentials(&self.identity)) {
            (Hello::Sni(name), Some(credentials))
                if name.eq_ignore_ascii_case(&self.server_name) =>
            {
                let stream = tls::accept(Arc::clone(&credentials.server), io).await?;
                let leaf = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(<[_]>::first);
                let client_id = leaf.and_then(|leaf| tls::client_id(leaf));
                (ServerTls::Established(client_id), Box::new(stream))
            }
            (Hello::Sni(name), _) => {
                return Err(io::Error::other(format!(
                    "unexpected TLS connection to {name}"
                )));
            }
            (Hello::NoTls, _) => (ServerTls::NoClientHello, Box::new(io)),
        };
        let (protocol, io) = detect::http(io, DETECT).await?;
        let protocol = match (protocol, &tls) {
            (Protocol::NotHttp, _) => {
                return Err(io::Error::other("unexpected non-HTTP connection"));
            }
            (Protocol::Silent, ServerTls::Established(_)) => Protocol::Http2,
            (Protocol::Silent, _) => Protocol::Http1,
            (protocol, _) => protocol,
        };
        let connection = Connection {
            client,
            dst,
            tls,
            policy: self.policy.clone(),
        };
        let labels = server_labels(&connection);
        let _open = Open::new(
            &self.metrics,
            format!(r#"direction="inbound",peer="src",{labels}"#),
        );
        let connection = Arc::new(connection);
        body::serve(Box::new(io), protocol, None, drain, move |request| {
            let (admin, connection) = (Arc::clone(&self), Arc::clone(&connection));
            async move { Ok::<_, Close>(admin.answer(&request, &connection)) }
        })
        .await
        .map_err(io::Error::other)
    }

    fn answer<B>(&self, request: &Request<B>, connection: &Connection) -> Response<Body> {
        if let Err((status, why)) = authorize(&self.metrics, connection, request) {
            return Asker::of(request, connection.tls.client_id().is_some()).error(status, why);
        }
        match request.uri().path() {
            "/live" => plain(StatusCode::OK, "live\n"),
            // A panicked identity task drops the latch, and the real proxy takes that for readiness.
            "/ready" if matches!(&*self.identity.borrow(), State::Waiting) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
            }
            "/ready" => plain(StatusCode::OK, "ready\n"),
            "/metrics" => plain(StatusCode::OK, self.metrics.render()),
            "/shutdown" if request.method() != Method::POST => {
                plain(StatusCode::METHOD_NOT_ALLOWED, "")
            }
            "/shutdown" => self.shut_down(connection.client),
            _ => plain(StatusCode::NOT_FOUND, ""),
        }
    }

    fn shut_down(&self, client: SocketAddr) -> Response<Body> {
        if !client.ip().to_canonical().is_loopback() {
            return plain(
                StatusCode::FORBIDDEN,
                "Requests are only permitted from localhost.",
            );
        }
        match &self.shutdown {
            None => plain(StatusCode::NOT_FOUND, "shutdown endpoint is not enabled\n"),
            Some(shutdown) if shutdown.send(()).is_ok() => plain(StatusCode::OK, "shutdown\n"),
            Some(_) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "shutdown listener dropped\n",
            ),
        }
    }
}

fn plain(status: StatusCode, text: impl Into<hyper::body::Bytes>) -> Response<Body> {
    let mut response = Response::new(body::text(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
