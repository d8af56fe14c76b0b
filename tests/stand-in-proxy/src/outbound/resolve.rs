//! The endpoints of a name, followed at the destination API.

use super::client::EndpointClient;
use super::dial::Dialer;
use super::endpoint::Endpoint;
use super::pool::{Members, Pool};
use crate::config::Control;
use crate::control::{self, AfterMessage, Client};
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use linkerd2_proxy_api::destination::{GetDestination, Update, update};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use tonic::Code;

type Endpoints = BTreeMap<SocketAddr, Arc<EndpointClient>>;

/// A pool of one endpoint that never changes.
pub(super) fn fixed(endpoint: Endpoint, dialer: &Arc<Dialer>) -> Pool {
    let backoff = dialer.connect.backoff;
    let (tx, members) = watch::channel(Members::Are(Arc::new([mk_client(endpoint, dialer)])));
    Pool::new(
        members,
        backoff,
        tokio::spawn(async move { tx.closed().await }),
    )
}

/// A pool that follows a name.
pub(super) fn follow(
    path: &str,
    context: &str,
    client: Client,
    control: &Control,
    dialer: &Arc<Dialer>,
) -> Pool {
    let (tx, members) = watch::channel(Members::Waiting);
    let how = (control.limits, control.connect.backoff, AfterMessage::Wait);
    let request = GetDestination {
        path: path.to_lowercase(),
        context_token: context.to_owned(),
        ..Default::default()
    };
    let client = DestinationClient::new(client);
    let (owned_dialer, backoff) = (Arc::clone(dialer), dialer.connect.backoff);
    let task = tokio::spawn(async move {
        let fresh = AtomicBool::new(true);
        let mut endpoints = Endpoints::new();
        let open = || {
            fresh.store(true, Ordering::Relaxed);
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.get(request).await }
        };
        let refused = |code| matches!(code, Code::InvalidArgument | Code::FailedPrecondition);
        control::watch(how, open, refused, |update| {
            let fresh = fresh.swap(false, Ordering::Relaxed);
            if apply(&mut endpoints, update, fresh, &owned_dialer) {
                tx.send_replace(Members::Are(endpoints.values().map(Arc::clone).collect()));
            }
        })
        .await;
        tx.send_replace(Members::Refused);
        tx.closed().await;
    });
    Pool::new(members, backoff, task)
}

/// Applies one update and says whether anything is known now. On a new stream the first message is the whole state.
fn apply(endpoints: &mut Endpoints, update: Update, fresh: bool, dialer: &Arc<Dialer>) -> bool {
    match update.update {
        Some(update::Update::Add(set)) => {
            let mut added = Vec::new();
            for wire in set.addrs {
                added.extend(Endpoint::decode(wire, &set.metric_labels));
            }
            if fresh {
                let kept = |addr: &SocketAddr| added.iter().any(|endpoint| endpoint.addr == *addr);
                endpoints.retain(|addr, _| kept(addr));
            } else if added.is_empty() {
                return false;
            }
            for endpoint in added {
                let endpoint = localize(endpoint, dialer);
                // An endpoint that is the same keeps its connection.
                if endpoints
                    .get(&endpoint.addr)
                    .is_none_or(|old| old.endpoint != endpoint)
                {
                    endpoints.insert(endpoint.addr, mk_client(endpoint, dialer));
                }
            }
        }
        Some(update::Update::Remove(_)) if fresh => return false,
        Some(update::Update::Remove(set)) => {
            for addr in set
                .addrs
                .into_iter()
                .filter_map(|addr| SocketAddr::try_from(addr).ok())
            {
                endpoints.remove(&addr);
            }
        }
        Some(update::Update::NoEndpoints(_)) => endpoints.clear(),
        None => return false,
    }
    true
}

fn localize(endpoint: Endpoint, dialer: &Dialer) -> Endpoint {
    if dialer.own.contains(&endpoint.addr.ip()) {
        endpoint.into_local()
    } else {
        endpoint
    }
}

fn mk_client(endpoint: Endpoint, dialer: &Arc<Dialer>) -> Arc<EndpointClient> {
    Arc::new(EndpointClient::new(
        localize(endpoint, dialer),
        Arc::clone(dialer),
    ))
}
