//! A controller that the test plays by hand, over real mutual TLS.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use linkerd_harness_api::v1::registration_server::{Registration, RegistrationServer};
use linkerd_harness_api::v1::{
    self, CheckResult, ControllerMessage, HarnessMessage, Hello, controller_message::Kind as Says,
    harness_message::Kind as Hears,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::pki::Authority;

pub const SERVER_ID: &str =
    "linkerd-autoregistration.linkerd.serviceaccount.identity.linkerd.cluster.local";

/// One session, seen from the controller.
pub struct Session {
    pub hello: Hello,
    says: mpsc::Sender<Result<ControllerMessage, Status>>,
    hears: mpsc::Receiver<Hears>,
}

pub struct Controller {
    pub address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
}

pub async fn mk_controller(authority: &Authority) -> Controller {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(
        authority.server_config(&authority.mk_server(SERVER_ID)),
    ));
    let (connections, incoming) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not like us is the test's business, not ours.
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let (mut outer, inner) = tokio::io::duplex(64 * 1024);
                connections
                    .send(Ok::<_, std::io::Error>(inner))
                    .await
                    .unwrap();
                tokio::spawn(async move {
                    tokio::io::copy_bidirectional(&mut stream, &mut outer).await
                });
            }
        }
    });
    let (opened, sessions) = mpsc::channel(8);
    let service = RegistrationServer::new(Service(opened));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(ReceiverStream::new(incoming)),
    );
    Controller { address, sessions }
}

impl Controller {
    pub async fn session(&mut self) -> Session {
        timeout(Duration::from_secs(20), self.sessions.recv())
            .await
            .expect("a session must come")
            .unwrap()
    }
}

impl Session {
    pub async fn say(&self, kind: Says) {
        self.says
            .send(Ok(ControllerMessage { kind: Some(kind) }))
            .await
            .unwrap();
    }

    pub async fn refuse(self, status: Status) {
        self.says.send(Err(status)).await.unwrap();
    }

    /// The next message that `wanted` takes; others are passed over.
    pub async fn hear<T>(&mut self, wanted: impl Fn(Hears) -> Option<T>) -> T {
        let found = async {
            while let Some(kind) = self.hears.recv().await {
                if let Some(found) = wanted(kind) {
                    return found;
                }
            }
            panic!("the harness ended the stream");
        };
        timeout(Duration::from_secs(20), found)
            .await
            .expect("the message must come")
    }

    /// Waits until the harness has ended the stream.
    pub async fn ended(mut self) {
        let ended = async { while self.hears.recv().await.is_some() {} };
        timeout(Duration::from_secs(20), ended)
            .await
            .expect("the stream must end");
    }

    pub async fn confirm(&self, seq: u64) {
        let outcome = v1::health_ack::Outcome::Persisted.into();
        self.say(Says::HealthAck(v1::HealthAck { seq, outcome }))
            .await;
    }
}

pub fn mk_assignment(authority: &Authority, identity: &str, generation: i64) -> v1::Assignment {
    let destination = v1::Endpoint {
        addr: "linkerd-dst-headless.linkerd.svc.cluster.local.:8086".to_owned(),
        identity: "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"
            .to_owned(),
    };
    v1::Assignment {
        workload: Some(v1::Workload {
            namespace: "training".to_owned(),
            name: "training-vm-0123456789".to_owned(),
            uid: "uid-1".to_owned(),
            identity: identity.to_owned(),
            server_name: "training-vm-0123456789.training.external.identity.linkerd.cluster.local"
                .to_owned(),
            ips: vec!["127.0.0.1".to_owned()],
            ports: vec![v1::Port {
                name: "http".to_owned(),
                port: 80,
                protocol: "TCP".to_owned(),
            }],
        }),
        probes: Vec::new(),
        proxy: Some(v1::ProxyConfig {
            trust_anchors_pem: authority.pem.clone(),
            trust_domain: "root.linkerd.cluster.local".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            linkerd_namespace: "linkerd".to_owned(),
            cluster_networks: vec!["10.0.0.0/8".to_owned()],
            policy: Some(destination.clone()),
            destination: Some(destination),
            default_inbound_policy: "all-unauthenticated".to_owned(),
            opaque_ports: "25,587".to_owned(),
            ..v1::ProxyConfig::default()
        }),
        group_generation: generation,
        config_hash: vec![1, 2, 3],
        timing: Some(v1::Timing {
            heartbeat: Some(Duration::from_secs(30).try_into().unwrap()),
            reconnect_window: Some(Duration::from_millis(100).try_into().unwrap()),
            ..v1::Timing::default()
        }),
        controller: "test".to_owned(),
        ..v1::Assignment::default()
    }
}

struct Service(mpsc::Sender<Session>);

#[tonic::async_trait]
impl Registration for Service {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<ControllerMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<HarnessMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut heard = request.into_inner();
        let opened = self.0.clone();
        let (says, stream) = mpsc::channel(8);
        tokio::spawn(async move {
            let Ok(Some(HarnessMessage {
                kind: Some(Hears::Hello(hello)),
            })) = heard.message().await
            else {
                panic!("the first message must be Hello");
            };
            let (messages, hears) = mpsc::channel(16);
            opened
                .send(Session { hello, says, hears })
                .await
                .unwrap_or_else(|_| panic!("the test must watch"));
            while let Ok(Some(message)) = heard.message().await {
                if let Some(kind) = message.kind
                    && messages.send(kind).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn check(&self, _: Request<Hello>) -> Result<Response<CheckResult>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}
