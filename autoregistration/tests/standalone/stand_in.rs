//! A stand-in for the pod's Linkerd proxy, as far as it matters to whoever is behind it: it terminates TLS with an
//! optional client certificate, removes `l5d-client-id` and sets it from the certificate's first name, and has one HTTP/2
//! connection to the application for each identity.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder as Client, SendRequest};
use hyper::header::HeaderValue;
use hyper::server::conn::http2::Builder as Server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::pki::Root;

/// Linkerd's proxy has these windows towards the application.
const STREAM_WINDOW: u32 = 65_535;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

type Upstreams = BTreeMap<Option<String>, SendRequest<Incoming>>;

#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) addr: SocketAddr,
    application: SocketAddr,
    upstreams: Arc<Mutex<Upstreams>>,
}

impl StandIn {
    pub(crate) async fn start(root: &Root, application: SocketAddr) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root.der.clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .unwrap();
        let own = root.server();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(own.chain, own.key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stand_in = Self {
            addr: listener.local_addr().unwrap(),
            application,
            upstreams: Arc::default(),
        };
        tokio::spawn(
            stand_in
                .clone()
                .accept(listener, TlsAcceptor::from(Arc::new(config))),
        );
        stand_in
    }

    /// How many connections the application has.
    pub(crate) async fn upstreams(&self) -> usize {
        self.upstreams.lock().await.len()
    }

    async fn accept(self, listener: TcpListener, acceptor: TlsAcceptor) {
        while let Ok((stream, _)) = listener.accept().await {
            let (this, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let certificates = stream.get_ref().1.peer_certificates();
                let client = certificates.and_then(|chain| first_name(&chain[0]));
                let forward =
                    service_fn(move |request| this.clone().forward(client.clone(), request));
                // It ends as the client ends it.
                drop(
                    Server::new(TokioExecutor::new())
                        .max_concurrent_streams(1000)
                        .serve_connection(TokioIo::new(stream), forward)
                        .await,
                );
            });
        }
    }

    async fn forward(
        self,
        client: Option<String>,
        mut request: Request<Incoming>,
    ) -> hyper::Result<Response<Incoming>> {
        request.headers_mut().remove("l5d-client-id");
        if let Some(client) = &client {
            let value = HeaderValue::from_str(client).unwrap();
            request.headers_mut().insert("l5d-client-id", value);
        }
        let mut upstream = self.upstream(client).await;
        upstream.ready().await?;
        upstream.send_request(request).await
    }

    async fn upstream(&self, client: Option<String>) -> SendRequest<Incoming> {
        let mut upstreams = self.upstreams.lock().await;
        if let Some(upstream) = upstreams.get(&client) {
            return upstream.clone();
        }
        let stream = TcpStream::connect(self.application).await.unwrap();
        let (upstream, connection) = Client::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        upstreams.insert(client, upstream.clone());
        upstream
    }
}

fn first_name(der: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    match names.value.general_names.first()? {
        GeneralName::URI(name) | GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    }
}
