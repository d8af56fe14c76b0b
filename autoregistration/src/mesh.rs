//! Linkerd's destination and policy APIs, answered from a [`crate::view::View`].
//!
//! Each answer is a pure function of the view and the question, in a file of its own: `profile`, `endpoints`,
//! `outbound`, `inbound`. `follow` turns answers into the messages of a stream, `stream` sends them, `serve`
//! speaks gRPC. What a real proxy makes of each field was found out by running one; three rules follow from that and
//! shape everything here:
//!
//! - a stream never ends after a message, or the proxy asks again without a pause, a thousand times a second;
//! - "I do not know this address" is said only when it is certain, because it means plaintext: until the registrations
//!   are back nothing is said (`hold`), and a member without a usable identity (`identity`) is never an endpoint;
//! - one missing field costs the whole destination, so that every message is checked before it leaves, in tests and in
//!   debug builds (`check`).

mod answer;
mod asked;
mod check;
mod endpoint;
mod endpoints;
mod follow;
mod hold;
mod identity;
mod inbound;
mod opaque;
mod outbound;
mod policy;
mod profile;
#[cfg(test)]
mod properties;
mod serve;
mod service;
mod stream;
mod target;
#[cfg(test)]
mod testing;
mod workload;

use std::sync::Arc;

use linkerd2_proxy_api::destination::destination_server::DestinationServer;
use linkerd2_proxy_api::inbound::inbound_server_policies_server::InboundServerPoliciesServer;
use linkerd2_proxy_api::outbound::outbound_policies_server::OutboundPoliciesServer;
use tokio::sync::watch;

pub(crate) use self::identity::is_usable;
pub use self::serve::{Destination, InboundServerPolicies, OutboundPolicies};
use crate::metrics::Metrics;
use crate::view::View;

/// Far more than the longest question has.
const LARGEST_QUESTION: usize = 16 * 1024;

/// `io.linkerd.proxy.destination.Destination`: who is behind a name or an address.
pub fn destination(
    view: watch::Receiver<Arc<View>>,
    metrics: Metrics,
) -> DestinationServer<Destination> {
    DestinationServer::new(Destination::new(view, metrics))
        .max_decoding_message_size(LARGEST_QUESTION)
}

/// `io.linkerd.proxy.outbound.OutboundPolicies`: how a proxy treats its workload's connections to an address.
pub fn outbound(
    view: watch::Receiver<Arc<View>>,
    metrics: Metrics,
) -> OutboundPoliciesServer<OutboundPolicies> {
    OutboundPoliciesServer::new(OutboundPolicies::new(view, metrics))
        .max_decoding_message_size(LARGEST_QUESTION)
}

/// `io.linkerd.proxy.inbound.InboundServerPolicies`: who may connect to a port of a workload.
pub fn inbound(
    view: watch::Receiver<Arc<View>>,
    metrics: Metrics,
) -> InboundServerPoliciesServer<InboundServerPolicies> {
    InboundServerPoliciesServer::new(InboundServerPolicies::new(view, metrics))
        .max_decoding_message_size(LARGEST_QUESTION)
}
