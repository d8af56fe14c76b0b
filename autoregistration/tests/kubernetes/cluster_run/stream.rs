//! A stream of Linkerd's destination API, as a proxy has it, and one question of its policy API.

use std::collections::HashMap;
use std::net::SocketAddr;

use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use linkerd2_proxy_api::destination::protocol_hint::Protocol;
use linkerd2_proxy_api::destination::tls_identity::Strategy;
use linkerd2_proxy_api::destination::{GetDestination, Update, WeightedAddr, update};
use linkerd2_proxy_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use linkerd2_proxy_api::inbound::{PortSpec, Server};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Code;

use super::Linkerd;
use super::controllers::SERVICE;
use super::mesh::{NAMESPACE, until};
use crate::cluster::DEADLINE;

/// Open on the test's Service.
pub(super) struct Stream {
    updates: mpsc::UnboundedReceiver<Update>,
    task: JoinHandle<()>,
}

/// What a stream says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Add(Vec<Endpoint>),
    Remove(Vec<SocketAddr>),
}

/// Somebody to connect to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Endpoint {
    pub(super) addr: SocketAddr,
    pub(super) uri: String,
    pub(super) server_name: String,
    pub(super) labels: HashMap<String, String>,
    pub(super) opaque: bool,
    /// Port of its proxy, where the connection goes.
    pub(super) inbound_port: Option<u32>,
}

// === impl Stream ===

impl Stream {
    pub(super) async fn open(linkerd: &Linkerd) -> Self {
        let url = format!("http://{}", linkerd.addresses.destination);
        let mut client = DestinationClient::connect(url).await.unwrap();
        let question = GetDestination {
            path: format!("{SERVICE}.{NAMESPACE}.svc.cluster.local:80"),
            context_token: format!("{{\"ns\":\"{NAMESPACE}\"}}"),
            ..GetDestination::default()
        };
        let (heard, updates) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            // Linkerd's own sends not even headers before there is something to say.
            let mut stream = client.get(question).await.unwrap().into_inner();
            while let Some(update) = stream.message().await.unwrap() {
                if heard.send(update).is_err() {
                    return;
                }
            }
        });
        Self { updates, task }
    }

    /// What it says next. That nobody is there is not said by all of Linkerd's releases.
    pub(super) async fn says(&mut self) -> Said {
        loop {
            let next = timeout(DEADLINE, self.updates.recv()).await;
            let next = next.expect("the stream says nothing");
            match next.expect("the stream ended").update.unwrap() {
                update::Update::Add(set) => {
                    return Said::Add(set.addrs.into_iter().map(endpoint).collect());
                }
                update::Update::Remove(set) => {
                    let addrs = set.addrs.into_iter();
                    return Said::Remove(addrs.map(|it| it.try_into().unwrap()).collect());
                }
                update::Update::NoEndpoints(_) => {}
            }
        }
    }

    /// The one endpoint that is added next.
    pub(super) async fn adds(&mut self) -> Endpoint {
        match self.says().await {
            Said::Add(mut endpoints) if endpoints.len() == 1 => endpoints.remove(0),
            other => panic!("one was to be added, but {other:?}"),
        }
    }

    /// The next is that this address is removed, and nothing else.
    pub(super) async fn removes(&mut self, addr: SocketAddr) {
        assert_eq!(self.says().await, Said::Remove(vec![addr]));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn endpoint(it: WeightedAddr) -> Endpoint {
    let tls = it.tls_identity.unwrap();
    let Some(Strategy::UriLikeIdentity(uri)) = tls.strategy else {
        panic!("not an URI: {tls:?}");
    };
    let hint = it.protocol_hint.unwrap();
    Endpoint {
        addr: it.addr.unwrap().try_into().unwrap(),
        uri: uri.uri,
        server_name: tls.server_name.unwrap().name,
        labels: it.metric_labels,
        opaque: matches!(hint.protocol, Some(Protocol::Opaque(_))),
        inbound_port: hint.opaque_transport.map(|it| it.inbound_port),
    }
}

/// The policy of a port of the VM that is this workload, once Linkerd knows it.
pub(super) async fn policy(linkerd: &Linkerd, workload: &str, port: u32) -> Server {
    let url = format!("http://{}", linkerd.addresses.policy);
    let client = InboundServerPoliciesClient::connect(url).await.unwrap();
    let question = PortSpec {
        workload: format!("{{\"ns\":\"{NAMESPACE}\",\"external_workload\":\"{workload}\"}}"),
        port,
    };
    until("Linkerd has a policy for the VM", || async {
        let mut client = client.clone();
        let asked = timeout(DEADLINE, client.watch_port(question.clone())).await;
        let answer = match asked.unwrap() {
            Ok(stream) => stream.into_inner().message().await,
            Err(status) => Err(status),
        };
        match answer {
            Ok(server) => server,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => panic!("{status}"),
        }
    })
    .await
}
