//! The three gRPC services: parse the question, hand it to a stream.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use linkerd2_proxy_api::destination::{
    DestinationProfile, GetDestination, Update, destination_server,
};
use linkerd2_proxy_api::inbound::{PortSpec, Server, inbound_server_policies_server};
use linkerd2_proxy_api::outbound::traffic_spec::Target as TrafficTarget;
use linkerd2_proxy_api::outbound::{OutboundPolicy, TrafficSpec, outbound_policies_server};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::answer::Question;
use super::asked::{Asked, Told};
use super::endpoints::Endpoints;
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::profile::Profile;
use super::stream::{self, Messages};
use super::target::Target;
use super::workload::Workload;
use crate::metrics::Metrics;
use crate::view::View;

type Views = watch::Receiver<Arc<View>>;

/// Serves [`super::destination()`].
pub struct Destination {
    views: Views,
    metrics: Metrics,
}

/// Serves [`super::outbound()`].
pub struct OutboundPolicies {
    views: Views,
    metrics: Metrics,
}

/// Serves [`super::inbound()`].
pub struct InboundServerPolicies {
    views: Views,
    metrics: Metrics,
}

// === impl Destination ===

impl Destination {
    /// Answers from `views`.
    pub fn new(views: Views, metrics: Metrics) -> Self {
        Self { views, metrics }
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
        let asked = destination(&self.metrics, "Get", &request);
        // A path that cannot be read has no endpoints; `InvalidArgument` would fail requests long after it is right.
        let question = Endpoints(Target::parse(&request.into_inner().path));
        Ok(answers(&self.views, question, asked))
    }

    async fn get_profile(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        let mut asked = destination(&self.metrics, "GetProfile", &request);
        // Harmless here, and only here: to a proxy it is "no profile", at once.
        let target = Target::parse(&request.into_inner().path).ok_or_else(|| {
            asked.told(Told::Invalid);
            Status::invalid_argument("path must be ip:port, [ipv6]:port or name:port")
        })?;
        Ok(answers(&self.views, Profile(target), asked))
    }
}

// === impl OutboundPolicies ===

impl OutboundPolicies {
    pub(super) fn new(views: Views, metrics: Metrics) -> Self {
        Self { views, metrics }
    }
}

#[tonic::async_trait]
impl outbound_policies_server::OutboundPolicies for OutboundPolicies {
    type WatchStream = Messages<OutboundPolicy>;

    async fn get(&self, request: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        let asked = traffic(&self.metrics, "OutboundPolicies.Get", &request);
        let question = outbound(request.into_inner());
        stream::first(self.views.clone(), question, asked)
            .await
            .map(Response::new)
    }

    async fn watch(
        &self,
        request: Request<TrafficSpec>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let asked = traffic(&self.metrics, "OutboundPolicies.Watch", &request);
        let question = outbound(request.into_inner());
        Ok(answers(&self.views, question, asked))
    }
}

/// Proxies ask for addresses, in ingress mode for names. What is neither is nothing of ours: `NotFound`, as
/// `InvalidArgument` would have the connection reset until the destination is forgotten.
fn outbound(spec: TrafficSpec) -> Outbound {
    let target = match spec.target {
        Some(TrafficTarget::Addr(addr)) => Target::from_message(addr),
        Some(TrafficTarget::Authority(name)) => Target::parse(&name),
        None => None,
    };
    Outbound(target.unwrap_or(Target::Other))
}

// === impl InboundServerPolicies ===

impl InboundServerPolicies {
    pub(super) fn new(views: Views, metrics: Metrics) -> Self {
        Self { views, metrics }
    }
}

#[tonic::async_trait]
impl inbound_server_policies_server::InboundServerPolicies for InboundServerPolicies {
    type WatchPortStream = Messages<Server>;

    async fn get_port(&self, request: Request<PortSpec>) -> Result<Response<Server>, Status> {
        let mut asked = port(&self.metrics, "GetPort", &request);
        let question = inbound(request.get_ref(), &mut asked)?;
        stream::first(self.views.clone(), question, asked)
            .await
            .map(Response::new)
    }

    async fn watch_port(
        &self,
        request: Request<PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        let mut asked = port(&self.metrics, "WatchPort", &request);
        let question = inbound(request.get_ref(), &mut asked)?;
        Ok(answers(&self.views, question, asked))
    }
}

/// `InvalidArgument` ends a proxy's watch for good: the port keeps the policy of its environment until the proxy is
/// restarted. That is right for a token that will be as wrong the next time, and for nothing else.
fn inbound(spec: &PortSpec, asked: &mut Asked) -> Result<Inbound, Status> {
    asked.told(Told::Invalid);
    let workload = Workload::parse(&spec.workload).ok_or_else(|| {
        Status::invalid_argument(
            r#"workload must be {"ns":"…","external_workload":"…"} or namespace:name"#,
        )
    })?;
    let port = u16::try_from(spec.port).ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| Status::invalid_argument("port must be 1 to 65535"))?;
    asked.told(Told::Nothing);
    Ok(Inbound { workload, port })
}

fn answers<Q: Question>(
    views: &Views,
    question: Q,
    asked: Asked,
) -> Response<Messages<Q::Message>> {
    Response::new(stream::answers(views.clone(), question, asked))
}

// === who asks what, for counter and log ===

fn destination(
    metrics: &Metrics,
    method: &'static str,
    request: &Request<GetDestination>,
) -> Asked {
    let question = request.get_ref();
    let target = || question.path.clone();
    Asked::new(metrics, method, request, (&question.context_token, target))
}

fn traffic(metrics: &Metrics, method: &'static str, request: &Request<TrafficSpec>) -> Asked {
    let question = request.get_ref();
    let target = || match question.target.clone() {
        Some(TrafficTarget::Addr(addr)) => SocketAddr::try_from(addr)
            .map_or_else(|_| "no address".to_owned(), |addr| addr.to_string()),
        Some(TrafficTarget::Authority(name)) => name,
        None => "nothing".to_owned(),
    };
    let workload = question.source_workload.as_str();
    Asked::new(metrics, method, request, (workload, target))
}

fn port(metrics: &Metrics, method: &'static str, request: &Request<PortSpec>) -> Asked {
    let question = request.get_ref();
    let target = || question.port.to_string();
    Asked::new(metrics, method, request, (&question.workload, target))
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
