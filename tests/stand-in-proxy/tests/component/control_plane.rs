//! A control plane that answers from a table, and follows its changes.

use crate::pki::Leaf;
use futures::stream::BoxStream;
use linkerd2_proxy_api::destination::destination_server::{Destination, DestinationServer};
use linkerd2_proxy_api::destination::{
    DestinationProfile, GetDestination, Update, WeightedAddr, WeightedAddrSet, update,
};
use linkerd2_proxy_api::inbound::inbound_server_policies_server::{
    InboundServerPolicies, InboundServerPoliciesServer,
};
use linkerd2_proxy_api::inbound::{PortSpec, Server};
use linkerd2_proxy_api::outbound::outbound_policies_server::{
    OutboundPolicies, OutboundPoliciesServer,
};
use linkerd2_proxy_api::outbound::{OutboundPolicy, TrafficSpec, traffic_spec};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// What is so. What is not in it is answered as the real one answers what it does not know.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) profiles: HashMap<String, DestinationProfile>,
    pub(crate) policies: HashMap<SocketAddr, OutboundPolicy>,
    pub(crate) endpoints: HashMap<String, Vec<WeightedAddr>>,
    pub(crate) servers: HashMap<u16, Server>,
    /// Outbound policies are not answered.
    pub(crate) silent: bool,
}

#[derive(Clone)]
pub(crate) struct ControlPlane {
    world: Arc<watch::Sender<World>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ControlPlane {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world: Arc::new(watch::Sender::new(world)),
            asked: Arc::default(),
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut World)) {
        self.world.send_modify(change);
    }

    /// Every question so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Serves on a listener; with TLS if there is a certificate.
    pub(crate) fn serve(&self, listener: TcpListener, certificate: Option<Leaf>) {
        let acceptor = certificate.map(|leaf| tokio_rustls::TlsAcceptor::from(Arc::new(tls(leaf))));
        let router = tonic::transport::Server::builder()
            .add_service(DestinationServer::new(self.clone()))
            .add_service(OutboundPoliciesServer::new(self.clone()))
            .add_service(InboundServerPoliciesServer::new(self.clone()));
        let (tx, rx) = tokio::sync::mpsc::channel::<std::io::Result<Io>>(8);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tx, acceptor) = (tx.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let io: Result<Box<dyn ReadWrite>, _> = match acceptor {
                        None => Ok(Box::new(stream)),
                        Some(acceptor) => acceptor
                            .accept(stream)
                            .await
                            .map(|io| Box::new(io) as Box<dyn ReadWrite>),
                    };
                    drop(tx.send(io.map(Io)).await);
                });
            }
        });
        tokio::spawn(router.serve_with_incoming(tokio_stream::wrappers::ReceiverStream::new(rx)));
    }

    fn note(&self, question: String) {
        self.asked.lock().unwrap().push(question);
    }

    /// The present answer, and then every different one.
    fn follow<T: Clone + PartialEq + Send + Sync + 'static>(
        &self,
        look: impl Fn(&World) -> Result<Option<T>, Status> + Send + Sync + 'static,
    ) -> BoxStream<'static, Result<T, Status>> {
        let state = (self.world.subscribe(), None, Arc::new(look), true);
        Box::pin(futures::stream::unfold(
            state,
            |(mut world, last, look, first)| async move {
                let mut first = first;
                loop {
                    if !first {
                        world.changed().await.ok()?;
                    }
                    first = false;
                    let now = look(&world.borrow_and_update());
                    match now {
                        Ok(None) => {}
                        Ok(now) if now == last => {}
                        Ok(Some(now)) => {
                            return Some((Ok(now.clone()), (world, Some(now), look, false)));
                        }
                        Err(status) => return Some((Err(status), (world, last, look, false))),
                    }
                }
            },
        ))
    }
}

type Reply<T> = Result<Response<BoxStream<'static, Result<T, Status>>>, Status>;

#[tonic::async_trait]
impl Destination for ControlPlane {
    type GetStream = BoxStream<'static, Result<Update, Status>>;
    type GetProfileStream = BoxStream<'static, Result<DestinationProfile, Status>>;

    async fn get(&self, request: Request<GetDestination>) -> Reply<Update> {
        let path = request.into_inner().path;
        self.note(format!("Get {path}"));
        let look = move |world: &World| {
            let addrs = world
                .endpoints
                .get(&path)
                .ok_or_else(|| Status::not_found(path.clone()))?
                .clone();
            let set = WeightedAddrSet {
                addrs,
                ..Default::default()
            };
            Ok(Some(Update {
                update: Some(update::Update::Add(set)),
            }))
        };
        Ok(Response::new(self.follow(look)))
    }

    async fn get_profile(&self, request: Request<GetDestination>) -> Reply<DestinationProfile> {
        let path = request.into_inner().path;
        self.note(format!("GetProfile {path}"));
        Ok(Response::new(self.follow(move |world| {
            Ok(Some(world.profiles.get(&path).cloned().unwrap_or_default()))
        })))
    }
}

#[tonic::async_trait]
impl OutboundPolicies for ControlPlane {
    type WatchStream = BoxStream<'static, Result<OutboundPolicy, Status>>;

    async fn get(&self, _: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        Err(Status::unimplemented("the real proxy never asks this"))
    }

    async fn watch(&self, request: Request<TrafficSpec>) -> Reply<OutboundPolicy> {
        let Some(traffic_spec::Target::Addr(addr)) = request.into_inner().target else {
            return Err(Status::invalid_argument("no address"));
        };
        let addr = SocketAddr::try_from(addr)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.note(format!("Watch {addr}"));
        Ok(Response::new(self.follow(
            move |world| match world.policies.get(&addr) {
                _ if world.silent => Ok(None),
                Some(policy) => Ok(Some(policy.clone())),
                None => Err(Status::not_found(addr.to_string())),
            },
        )))
    }
}

#[tonic::async_trait]
impl InboundServerPolicies for ControlPlane {
    type WatchPortStream = BoxStream<'static, Result<Server, Status>>;

    async fn get_port(&self, _: Request<PortSpec>) -> Result<Response<Server>, Status> {
        Err(Status::unimplemented("the real proxy never asks this"))
    }

    async fn watch_port(&self, request: Request<PortSpec>) -> Reply<Server> {
        let PortSpec { port, workload } = request.into_inner();
        self.note(format!("WatchPort {port} for {workload}"));
        let port =
            u16::try_from(port).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(self.follow(move |world| {
            world
                .servers
                .get(&port)
                .cloned()
                .map(Some)
                .ok_or_else(|| Status::not_found(port.to_string()))
        })))
    }
}

fn tls(leaf: Leaf) -> rustls::ServerConfig {
    rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.certificate.into()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(leaf.key).into(),
        )
        .unwrap()
}

trait ReadWrite: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> ReadWrite for T {}

/// A connection, with or without TLS.
struct Io(Box<dyn ReadWrite>);

impl tonic::transport::server::Connected for Io {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl tokio::io::AsyncRead for Io {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for Io {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
