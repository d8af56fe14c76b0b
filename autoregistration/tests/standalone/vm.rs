//! A harness as far as the registration protocol goes.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use linkerd_harness_api::v1::registration_client::RegistrationClient;
use linkerd_harness_api::v1::{self, controller_message::Kind, harness_message};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::lab::DEADLINE;
use crate::pki::{Leaf, Root};

/// A session; dropping it hangs up.
pub(crate) struct Session {
    pub(crate) say: mpsc::Sender<v1::HarnessMessage>,
    hear: Streaming<v1::ControllerMessage>,
}

/// TLS to `addr` as `server`, with the certificate if there is one.
pub(crate) async fn tls(
    addr: SocketAddr,
    server: &str,
    root: &Root,
    leaf: Option<&Leaf>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.der.clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let config = match leaf {
        Some(leaf) => config
            .with_client_auth_cert(leaf.chain.clone(), leaf.key.clone_key())
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from(server.to_owned()).unwrap();
    let stream = TcpStream::connect(addr).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// One HTTP/2 connection over [`tls`].
pub(crate) async fn channel(
    addr: SocketAddr,
    server: &str,
    root: &Root,
    leaf: Option<&Leaf>,
) -> Result<Channel, tonic::transport::Error> {
    let stream = tls(addr, server, root, leaf).await;
    channel_over(stream, Endpoint::from_static("http://control.invalid")).await
}

/// One HTTP/2 connection over `stream`.
pub(crate) async fn channel_over<S>(
    stream: std::io::Result<S>,
    endpoint: Endpoint,
) -> Result<Channel, tonic::transport::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut once = Some(stream.map(TokioIo::new));
    endpoint
        .connect_with_connector(tower::service_fn(move |_| {
            let stream = once
                .take()
                .unwrap_or_else(|| Err(std::io::ErrorKind::NotConnected.into()));
            std::future::ready(stream)
        }))
        .await
}

pub(crate) fn hello() -> v1::Hello {
    v1::Hello {
        group: Some(v1::GroupRef {
            namespace: "training".into(),
            name: "training-vm".into(),
        }),
        instance_id: vec![1; 32],
        boot_id: vec![2; 16],
        session_id: vec![3; 16],
        stream_seq: 1,
        ips: vec!["10.77.0.2".into()],
        health: Some(v1::HealthReport {
            seq: 1,
            state: v1::health_report::State::Starting.into(),
            ..v1::HealthReport::default()
        }),
        capabilities: vec![linkerd_harness_api::CAPABILITY_PENDING.to_owned()],
        ..v1::Hello::default()
    }
}

impl Session {
    pub(crate) async fn open(channel: Channel, hello: v1::Hello) -> Result<Self, Status> {
        Self::open_with(channel, Some(hello), &[]).await
    }

    /// With these `l5d-client-id`s, as only a Linkerd proxy should send them; without a `Hello` it stays silent.
    pub(crate) async fn open_with(
        channel: Channel,
        hello: Option<v1::Hello>,
        client_ids: &[&str],
    ) -> Result<Self, Status> {
        let (say, said) = mpsc::channel(8);
        if let Some(hello) = hello {
            let kind = Some(harness_message::Kind::Hello(hello));
            say.send(v1::HarnessMessage { kind }).await.unwrap();
        }
        let mut request = Request::new(ReceiverStream::new(said));
        for id in client_ids {
            request
                .metadata_mut()
                .append("l5d-client-id", id.parse().unwrap());
        }
        let mut client = RegistrationClient::new(channel);
        let answer = tokio::time::timeout(DEADLINE, client.session(request)).await;
        let hear = answer.expect("no answer in time")?.into_inner();
        Ok(Self { say, hear })
    }

    /// A heartbeat is answered.
    pub(crate) async fn lives(&mut self, seq: u64) {
        let beat = v1::Heartbeat { seq };
        self.say(harness_message::Kind::Heartbeat(beat)).await;
        assert_eq!(self.next().await.unwrap(), Some(Kind::Heartbeat(beat)));
    }

    pub(crate) async fn say(&self, kind: harness_message::Kind) {
        self.say
            .send(v1::HarnessMessage { kind: Some(kind) })
            .await
            .unwrap();
    }

    pub(crate) async fn report(&self, seq: u64, state: v1::health_report::State) {
        self.say(harness_message::Kind::Health(v1::HealthReport {
            seq,
            state: state.into(),
            reason: "ProbeSucceeded".into(),
            message: "GET /ready: 200".into(),
            ..v1::HealthReport::default()
        }))
        .await;
    }

    /// The next message; `None` when the controller ended the stream well.
    pub(crate) async fn next(&mut self) -> Result<Option<Kind>, Status> {
        let message = tokio::time::timeout(DEADLINE, self.hear.message()).await;
        let message = message.unwrap_or_else(|_| panic!("no message came in time"))?;
        Ok(message.map(|message| message.kind.unwrap()))
    }

    pub(crate) async fn assignment(&mut self) -> v1::Assignment {
        match self.next().await {
            Ok(Some(Kind::Assignment(assignment))) => assignment,
            other => panic!("no assignment but {other:?}"),
        }
    }

    /// The reason with which the stream was ended.
    pub(crate) async fn refusal(&mut self) -> (tonic::Code, String) {
        match self.next().await {
            Err(status) => reason(&status),
            Ok(message) => panic!("not refused but {message:?}"),
        }
    }
}

/// Code and reason of a refusal.
pub(crate) fn reason(status: &Status) -> (tonic::Code, String) {
    use tonic_types::StatusExt as _;
    let info = status.get_details_error_info();
    let reason = info
        .unwrap_or_else(|| panic!("no reason in {status:?}"))
        .reason;
    (status.code(), reason)
}
