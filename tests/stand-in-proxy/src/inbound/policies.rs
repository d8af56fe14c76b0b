//! The policy of each port, watched at the controller.

use crate::cache::{Cache, Lease};
use crate::config;
use crate::control::{self, AfterMessage, Client};
use crate::policy::{Protocol, ServerPolicy};
use linkerd2_proxy_api::inbound::PortSpec;
use linkerd2_proxy_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Code;
use tracing::{Instrument as _, info_span, warn};

type Receiver = watch::Receiver<Arc<ServerPolicy>>;

/// Policies by port: the known ports for ever, the others while they are used and for a while after.
#[derive(Debug)]
pub(crate) struct Policies {
    known: HashMap<u16, Watched>,
    others: Cache<u16, Watched>,
    watcher: Watcher,
}

#[derive(Debug)]
struct Watcher {
    client: Client,
    workload: String,
    control: config::Control,
    inbound: config::Inbound,
}

#[derive(Debug)]
struct Watched {
    policy: Receiver,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The policy of one port, as it is at any moment.
#[derive(Clone, Debug)]
pub(crate) struct PolicyHandle {
    policy: Receiver,
    /// Keeps the watch of a port that is not known.
    _lease: Option<Arc<Lease<u16, Watched>>>,
}

impl PolicyHandle {
    pub(crate) fn current(&self) -> Arc<ServerPolicy> {
        Arc::clone(&self.policy.borrow())
    }

    /// Resolves at the next change.
    pub(crate) async fn changed(&mut self) {
        if self.policy.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Policies {
    /// Starts the watches of the known ports at once.
    pub(crate) fn new(
        client: Client,
        workload: String,
        control: config::Control,
        inbound: &config::Inbound,
    ) -> Self {
        let watcher = Watcher {
            client,
            workload,
            control,
            inbound: inbound.clone(),
        };
        Self {
            known: inbound
                .ports
                .iter()
                .map(|port| (*port, watcher.spawn(*port)))
                .collect(),
            others: Cache::new(inbound.discovery_idle),
            watcher,
        }
    }

    /// A port that is not known is looked up from now on; until the answer the environment's policy rules.
    pub(crate) fn get(&self, port: u16) -> PolicyHandle {
        if let Some(known) = self.known.get(&port) {
            return PolicyHandle {
                policy: known.policy.clone(),
                _lease: None,
            };
        }
        let lease = self.others.get(port, || self.watcher.spawn(port));
        PolicyHandle {
            policy: lease.value.policy.clone(),
            _lease: Some(Arc::new(lease)),
        }
    }
}

impl Watcher {
    fn spawn(&self, port: u16) -> Watched {
        let mut initial = Arc::clone(&self.inbound.default_policy);
        if self.inbound.opaque_ports.contains(&port) {
            Arc::make_mut(&mut initial).protocol = Protocol::Opaque;
        }
        let (tx, policy) = watch::channel(initial);
        let spec = PortSpec {
            workload: self.workload.clone(),
            port: port.into(),
        };
        let client = InboundServerPoliciesClient::new(self.client.clone());
        let how = (
            self.control.limits,
            self.control.connect.backoff,
            AfterMessage::AskAtOnce,
        );
        let timeout = self.inbound.detect_timeout;
        let task = async move {
            let open = || {
                let (mut client, spec) = (client.clone(), spec.clone());
                async move { client.watch_port(spec).await }
            };
            control::watch(how, open, is_final, |server| {
                let policy = ServerPolicy::try_from(server).unwrap_or_else(|error| {
                    warn!(target: "linkerd_app_inbound::policy::api", %error, "Server misconfigured");
                    ServerPolicy::invalid(timeout)
                });
                tx.send_replace(Arc::new(policy));
            })
            .await;
            // The watch is over for good; what it said last stays.
            tx.closed().await;
        };
        let span = info_span!(target: "linkerd_app_inbound", "watch", port);
        Watched {
            policy,
            task: tokio::spawn(task.instrument(span)),
        }
    }
}

fn is_final(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::FailedPrecondition)
}
