//! The three gRPC services: parse the question, hand it to a stream.

use std::fmt;
use std::sync::Arc;

use linkerd2_proxy_api::destination::{
    DestinationProfile, GetDestination, Update, destination_server,
};
use linkerd2_proxy_api::inbound::{PortSpec, Server, inbound_server_policies_server};
use linkerd2_proxy_api::outbound::traffic_spec::Target as TrafficTarget;
use linkerd2_proxy_api::outbound::{OutboundPolicy, TrafficSpec, outbound_policies_server};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::endpoints::Endpoints;
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::profile::Profile;
use super::stream::{self, Messages};
use super::target::Target;
use super::workload::Workload;
use crate::view::View;

type Views = watch::Receiver<Arc<View>>;

/// Serves [`super::destination()`].
pub struct Destination {
    views: Views,
}

/// Serves [`super::outbound()`].
pub struct OutboundPolicies {
    views: Views,
}

/// Serves [`super::inbound()`].
pub struct InboundServerPolicies {
    views: Views,
}

// === impl Destination ===

impl Destination {
    pub(super) fn new(views: Views) -> Self {
        Self { views }
    }
}

#[tonic::async_trait]
impl destination_server::Destination for Destination {
    type GetStream = Messages<Update>;
    type GetProfileStream = Messages<DestinationProfile>;

    async fn get(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let path = request.into_inner().path;
        tracing::debug!(path, "endpoints asked for");
        // A path that cannot be read has no endpoints; `InvalidArgument` would fail requests long after it is right.
        let question = Endpoints(Target::parse(&path));
        Ok(Response::new(stream::answers(self.views.clone(), question)))
    }

    async fn get_profile(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        let path = request.into_inner().path;
        tracing::debug!(path, "profile asked for");
        // Harmless here, and only here: to a proxy it is "no profile", at once.
        let target = Target::parse(&path).ok_or_else(|| {
            Status::invalid_argument("path must be ip:port, [ipv6]:port or name:port")
        })?;
        let question = Profile(target);
        Ok(Response::new(stream::answers(self.views.clone(), question)))
    }
}

// === impl OutboundPolicies ===

impl OutboundPolicies {
    pub(super) fn new(views: Views) -> Self {
        Self { views }
    }
}

#[tonic::async_trait]
impl outbound_policies_server::OutboundPolicies for OutboundPolicies {
    type WatchStream = Messages<OutboundPolicy>;

    async fn get(&self, request: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        let question = traffic(request.into_inner());
        stream::first(self.views.clone(), question)
            .await
            .map(Response::new)
    }

    async fn watch(
        &self,
        request: Request<TrafficSpec>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let question = traffic(request.into_inner());
        Ok(Response::new(stream::answers(self.views.clone(), question)))
    }
}

/// Proxies ask for addresses, in ingress mode for names. What is neither is nothing of ours: `NotFound`, as
/// `InvalidArgument` would have the connection reset until the destination is forgotten.
fn traffic(spec: TrafficSpec) -> Outbound {
    tracing::debug!(workload = spec.source_workload, target = ?spec.target, "outbound policy asked for");
    let target = match spec.target {
        Some(TrafficTarget::Addr(addr)) => Target::from_message(addr),
        Some(TrafficTarget::Authority(name)) => Target::parse(&name),
        None => None,
    };
    Outbound(target.unwrap_or(Target::Other))
}

// === impl InboundServerPolicies ===

impl InboundServerPolicies {
    pub(super) fn new(views: Views) -> Self {
        Self { views }
    }
}

#[tonic::async_trait]
impl inbound_server_policies_server::InboundServerPolicies for InboundServerPolicies {
    type WatchPortStream = Messages<Server>;

    async fn get_port(&self, request: Request<PortSpec>) -> Result<Response<Server>, Status> {
        let question = port(&request.into_inner())?;
        stream::first(self.views.clone(), question)
            .await
            .map(Response::new)
    }

    async fn watch_port(
        &self,
        request: Request<PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        let question = port(&request.into_inner())?;
        Ok(Response::new(stream::answers(self.views.clone(), question)))
    }
}

/// `InvalidArgument` ends a proxy's watch for good: the port keeps the policy of its environment until the proxy is
/// restarted. That is right for a token that will be as wrong the next time, and for nothing else.
fn port(spec: &PortSpec) -> Result<Inbound, Status> {
    tracing::debug!(
        workload = spec.workload,
        port = spec.port,
        "inbound policy asked for"
    );
    let workload = Workload::parse(&spec.workload).ok_or_else(|| {
        Status::invalid_argument(
            r#"workload must be {"ns":"…","external_workload":"…"} or namespace:name"#,
        )
    })?;
    let port = u16::try_from(spec.port).ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| Status::invalid_argument("port must be 1 to 65535"))?;
    Ok(Inbound { workload, port })
}

// The view is everything there is to know; a log line with it would be of no use to anybody.
macro_rules! opaque_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
opaque_debug!(Destination, OutboundPolicies, InboundServerPolicies);
