//! A stream from the dialling of an address to its first words, while an older one may still go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_api::v1::controller_message::Kind;
use linkerd_harness_api::v1::registration_client::RegistrationClient;
use linkerd_harness_api::v1::{
    self, ControllerMessage, HarnessMessage, harness_message::Kind as Said,
};
use linkerd_harness_core::config::Config;
use linkerd_harness_core::health::Health;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use tracing::info;

use super::{Refusal, connect, refusal};
use crate::identity::Certified;

/// For the response headers of the stream, and for a message to go out.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For a stream that is to take the place of another one to become a member: the other replicas are asked for the VM.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a stream is opened with.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) config: Arc<Config>,
    pub(super) certified: Arc<Certified>,
    /// Without addresses where they are those of the connection.
    pub(super) hello: v1::Hello,
    /// As `hello` says it.
    pub(super) health: Health,
}

/// A stream on which `Hello` was said.
pub(super) struct Opened {
    pub(super) certified: Arc<Certified>,
    pub(super) health: Health,
    pub(super) peer: std::net::SocketAddr,
    pub(super) outgoing: mpsc::Sender<HarnessMessage>,
    /// What was heard already.
    pub(super) told: VecDeque<ControllerMessage>,
    heard: Streaming<ControllerMessage>,
    /// A refusal of a proxy that is no gRPC has it beside the answer, and nothing of use in it.
    proxy: Option<String>,
    config: Arc<Config>,
    /// Keeps the connection.
    _client: RegistrationClient<Channel>,
}

// === impl Opening ===

impl Opening {
    /// Dials, and says `Hello`.
    pub(super) async fn open(self) -> Result<Opened, Refusal> {
        let Self {
            config,
            certified,
            mut hello,
            health,
        } = self;
        let control = &config.control;
        let dialled = connect::dial(
            &control.address,
            &control.server_id,
            &certified.tls,
            config.redirect.ipv6,
        );
        let connection = dialled.await?;
        info!(endpoint = %control.address, address = %connection.peer, "identity used for control: {}", certified.spiffe_id);
        if hello.ips.is_empty() {
            hello.ips.push(connection.local.to_string());
        }
        let (outgoing, queue) = mpsc::channel(8);
        let kind = Some(Said::Hello(hello));
        // There is room, and the queue is there.
        drop(outgoing.try_send(HarnessMessage { kind }));
        let mut client = RegistrationClient::new(connection.channel);
        let asked = timeout(ANSWER_TIMEOUT, client.session(ReceiverStream::new(queue))).await;
        let answer = asked.unwrap_or_else(|_| Err(Status::unavailable("no answer in 10 s")));
        let response = answer.map_err(|status| refused(&config, &status))?;
        let proxy = refusal::proxy_error(response.metadata());
        Ok(Opened {
            certified,
            health,
            peer: connection.peer,
            outgoing,
            told: VecDeque::new(),
            heard: response.into_inner(),
            proxy,
            config,
            _client: client,
        })
    }

    /// The same, until the VM is a member on it. It has as long as that takes, within reason.
    pub(super) async fn join(self) -> Result<Opened, Refusal> {
        let config = Arc::clone(&self.config);
        let joining = async {
            let mut opened = self.open().await?;
            loop {
                let message = opened.heard.message().await;
                let message = message.map_err(|status| opened.refusal(&status))?;
                let Some(message) = message else {
                    return Err(opened.refusal(&ended()));
                };
                let joined = matches!(message.kind, Some(Kind::Assignment(_)));
                opened.told.push_back(message);
                if joined {
                    return Ok(opened);
                }
            }
        };
        let joined = timeout(JOIN_TIMEOUT, joining).await;
        joined.unwrap_or_else(|_| {
            let late = Status::unavailable("no assignment in 30 s");
            Err(refused(&config, &late))
        })
    }
}

// === impl Opened ===

impl Opened {
    /// What comes next; an error is also a stream that the controller ended well.
    pub(super) async fn hear(&mut self) -> Result<ControllerMessage, Status> {
        if let Some(message) = self.told.pop_front() {
            return Ok(message);
        }
        self.heard.message().await?.ok_or_else(ended)
    }

    /// Waits for the controller to end it.
    pub(super) async fn ended(&mut self) {
        while let Ok(Some(_)) = self.heard.message().await {}
    }

    /// What a broken stream means.
    pub(super) fn refusal(&self, status: &Status) -> Refusal {
        match &self.proxy {
            Some(error) => {
                let control = self.config.control.address.to_string();
                Refusal::from_proxy(error, status.code(), &control)
            }
            None => refused(&self.config, status),
        }
    }
}

fn refused(config: &Config, status: &Status) -> Refusal {
    let control = &config.control;
    Refusal::from_status(
        status,
        &control.address.to_string(),
        control.server_id.as_str(),
    )
}

fn ended() -> Status {
    Status::unavailable("the controller ended the stream")
}
