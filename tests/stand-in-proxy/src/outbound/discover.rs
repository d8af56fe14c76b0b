//! What the control plane says about an address: its profile and its policy, asked for at the same time.

use super::dial::Dialer;
use super::endpoint::Endpoint;
use super::policy::{Backend, ClientPolicy, Dispatcher, Kind};
use super::pool::Pool;
use super::resolve;
use crate::config::{Control, Outbound};
use crate::control::{self, AfterMessage, Client};
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use linkerd2_proxy_api::destination::{DestinationProfile, GetDestination};
use linkerd2_proxy_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use linkerd2_proxy_api::outbound::{TrafficSpec, traffic_spec};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Code;
use tracing::warn;

/// Who is asked, and as whom.
#[derive(Debug)]
pub(crate) struct Discover {
    pub(crate) destinations: Client,
    pub(crate) destination: Control,
    pub(crate) context: String,
    pub(crate) policies: Client,
    pub(crate) policy: Control,
    pub(crate) workload: String,
    pub(crate) outbound: Outbound,
    pub(crate) dialer: Arc<Dialer>,
}

#[derive(Clone, Debug)]
enum Answer<T> {
    Waiting,
    Is(T),
    /// The controller knows nothing about the address.
    None,
    /// The controller refused the question.
    Refused,
}

#[derive(Clone, Debug)]
struct Profile {
    opaque: bool,
    endpoint: Option<Endpoint>,
}

/// What is known about one address, kept up to date while somebody uses it.
#[derive(Debug)]
pub(super) struct Discovery {
    discover: Arc<Discover>,
    profile: watch::Receiver<Answer<Profile>>,
    policy: watch::Receiver<Answer<Arc<ClientPolicy>>>,
    pools: Mutex<HashMap<Dispatcher, Arc<Pool>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Discovery {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Discover {
    pub(super) fn spawn(self: &Arc<Self>, dst: SocketAddr) -> Discovery {
        let (profile_tx, profile) = watch::channel(Answer::Waiting);
        let (policy_tx, policy) = watch::channel(Answer::Waiting);
        let tasks = [
            tokio::spawn(Arc::clone(self).watch_profile(dst, profile_tx)),
            tokio::spawn(Arc::clone(self).watch_policy(dst, policy_tx)),
        ];
        Discovery {
            discover: Arc::clone(self),
            profile,
            policy,
            pools: Mutex::default(),
            tasks,
        }
    }

    async fn watch_profile(self: Arc<Self>, dst: SocketAddr, tx: watch::Sender<Answer<Profile>>) {
        if !self
            .outbound
            .profile_networks
            .iter()
            .any(|net| net.contains(&dst.ip()))
        {
            tx.send_replace(Answer::None);
            return tx.closed().await;
        }
        let client = DestinationClient::new(self.destinations.clone());
        let context_token = self.context.clone();
        let request = GetDestination {
            path: dst.to_string(),
            context_token,
            ..Default::default()
        };
        let how = (
            self.destination.limits,
            self.destination.connect.backoff,
            AfterMessage::AskAtOnce,
        );
        let open = || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.get_profile(request).await }
        };
        let refused = |code| matches!(code, Code::InvalidArgument | Code::FailedPrecondition);
        control::watch(how, open, refused, |profile| {
            tx.send_replace(Answer::Is(Profile::from(profile)));
        })
        .await;
        // Only a first answer is final; later the profile that is known stays.
        tx.send_if_modified(|answer| {
            let waits = matches!(answer, Answer::Waiting);
            if waits {
                *answer = Answer::None;
            }
            waits
        });
        tx.closed().await;
    }

    async fn watch_policy(
        self: Arc<Self>,
        dst: SocketAddr,
        tx: watch::Sender<Answer<Arc<ClientPolicy>>>,
    ) {
        let client = OutboundPoliciesClient::new(self.policies.clone());
        let target = Some(traffic_spec::Target::Addr(dst.into()));
        let request = TrafficSpec {
            source_workload: self.workload.clone(),
            target,
        };
        let how = (
            self.policy.limits,
            self.policy.connect.backoff,
            AfterMessage::AskAtOnce,
        );
        let open = || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.watch(request).await }
        };
        let is_final = |code| {
            use Code::{FailedPrecondition, InvalidArgument, NotFound, Unimplemented};
            matches!(
                code,
                InvalidArgument | FailedPrecondition | NotFound | Unimplemented
            )
        };
        let status = control::watch(how, open, is_final, |policy| {
            let policy = ClientPolicy::try_from(policy).unwrap_or_else(|error| {
                warn!(target: "linkerd_app_outbound::policy::api", %error, "Client policy misconfigured");
                ClientPolicy::Invalid
            });
            tx.send_replace(Answer::Is(Arc::new(policy)));
        })
        .await;
        let last = match status.code() {
            Code::NotFound => Answer::None,
            Code::Unimplemented => {
                warn!(target: "linkerd_app_outbound::discover", "Policy controller returned `Unimplemented`, the control plane may be out of date.");
                Answer::None
            }
            _ => Answer::Refused,
        };
        tx.send_if_modified(|answer| {
            let waits = matches!(answer, Answer::Waiting);
            if waits {
                *answer = last;
            }
            waits
        });
        tx.closed().await;
    }
}

impl From<DestinationProfile> for Profile {
    fn from(wire: DestinationProfile) -> Self {
        let endpoint = wire
            .endpoint
            .and_then(|endpoint| Endpoint::decode(endpoint, &HashMap::new()));
        Self {
            opaque: wire.opaque_protocol,
            endpoint,
        }
    }
}

impl Discovery {
    /// Resolves when both questions are answered, whatever the answers are.
    pub(super) async fn resolved(&self) {
        let (mut profile, mut policy) = (self.profile.clone(), self.policy.clone());
        let profile_gone = profile
            .wait_for(|answer| !matches!(answer, Answer::Waiting))
            .await
            .is_err();
        let policy_gone = policy
            .wait_for(|answer| !matches!(answer, Answer::Waiting))
            .await
            .is_err();
        if profile_gone || policy_gone {
            // A watch that is gone answers nothing.
            std::future::pending::<()>().await;
        }
    }

    /// The policy of this moment. Where the policy controller knows nothing the profile's endpoint is it, and where
    /// there is none either, the address as it was dialled.
    pub(super) fn policy(&self, dst: SocketAddr) -> io::Result<Arc<ClientPolicy>> {
        match &*self.policy.borrow() {
            Answer::Is(policy) => Ok(Arc::clone(policy)),
            Answer::Refused | Answer::Waiting => {
                Err(io::Error::other("outbound policy was refused"))
            }
            Answer::None => {
                let endpoint = match &*self.profile.borrow() {
                    Answer::Is(Profile {
                        endpoint: Some(endpoint),
                        ..
                    }) => endpoint.clone(),
                    _ => Endpoint::plain(dst),
                };
                Ok(Arc::new(ClientPolicy::forward(
                    endpoint,
                    self.discover.outbound.failfast,
                )))
            }
        }
    }

    pub(super) fn kind(&self, dst: SocketAddr) -> io::Result<Kind> {
        let kind = self.policy(dst)?.kind();
        let opaque = matches!(
            &*self.profile.borrow(),
            Answer::Is(Profile { opaque: true, .. })
        );
        Ok(if opaque { Kind::Opaque } else { kind })
    }

    /// The endpoints of a backend; `None` where there is no such thing.
    pub(super) fn pool(&self, backend: &Backend) -> Option<Arc<Pool>> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let discover = &self.discover;
        let pool = match &backend.dispatcher {
            Dispatcher::None => return None,
            known if pools.contains_key(known) => return pools.get(known).map(Arc::clone),
            Dispatcher::Forward(endpoint) => resolve::fixed(endpoint.clone(), &discover.dialer),
            Dispatcher::Balance(path) => {
                let client = discover.destinations.clone();
                resolve::follow(
                    path,
                    &discover.context,
                    client,
                    &discover.destination,
                    &discover.dialer,
                )
            }
        };
        let pool = Arc::new(pool);
        pools.insert(backend.dispatcher.clone(), Arc::clone(&pool));
        Some(pool)
    }
}
