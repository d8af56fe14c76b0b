//! HTTP requests of this host's programs: each finds its route, backend and endpoint anew.

use super::client::EndpointClient;
use super::opaque::check_path;
use super::policy::{ClientPolicy, HttpRoute};
use super::pool::Unready;
use super::{Outbound, Target};
use crate::body::{self, Body, Close};
use crate::detect::Protocol;
use crate::io::BoxIo;
use crate::respond::{Asker, status_of, strip_proxy_headers};
use crate::route;
use crate::{drain, labels, orig_proto};
use ::http::{Request, Response, StatusCode, Version};
use std::io;
use std::sync::Arc;
use tracing::warn;

/// An answer that the proxy makes, and why.
type Failure = (StatusCode, String);

impl Outbound {
    /// Serves a client's connection.
    pub(super) async fn http(
        self: &Arc<Self>,
        io: BoxIo,
        protocol: Protocol,
        target: Target,
        drain: &drain::Watch,
    ) -> io::Result<()> {
        let (outbound, target) = (Arc::clone(self), Arc::new(target));
        let keepalive = self.config.socket.http2_keepalive;
        body::serve(io, protocol, keepalive, drain, move |request| {
            let (outbound, target) = (Arc::clone(&outbound), Arc::clone(&target));
            async move {
                outbound
                    .answer(request.map(body::incoming), protocol, &target)
                    .await
            }
        })
        .await
        .map_err(io::Error::other)
    }

    /// An error closes the connection without an answer.
    async fn answer(
        &self,
        mut request: Request<Body>,
        protocol: Protocol,
        target: &Target,
    ) -> Result<Response<Body>, Close> {
        let asker = Asker::of(&request, true);
        orig_proto::absolute(&mut request, target.dst);
        let policy = target.lease.value.policy(target.dst)?;
        let endpoint = match endpoint(&policy, protocol, target, &request).await? {
            Ok(endpoint) => endpoint,
            Err((status, why)) => return Ok(asker.error(status, &why)),
        };
        let labels = request_labels(&request, &endpoint);
        self.metrics.count("request_total", &labels);
        let mut response = match endpoint.send(request).await {
            Ok(response) => response,
            Err(error) => {
                warn!(target: "linkerd_app_outbound::http", addr = %endpoint.endpoint.addr, %error, "Unexpected error");
                asker.error(status_of(error.as_ref()), &error.to_string())
            }
        };
        if !response.headers().contains_key("l5d-proxy-error")
            || response.version() == Version::HTTP_2
        {
            strip_proxy_headers(&mut response);
        }
        let class = if response.status().is_server_error() {
            "failure"
        } else {
            "success"
        };
        let status = response.status().as_u16();
        self.metrics.count(
            "response_total",
            &format!(r#"{labels},status_code="{status}",classification="{class}",grpc_status="",error="""#),
        );
        Ok(response)
    }
}

/// Finds who gets the request.
async fn endpoint(
    policy: &ClientPolicy,
    protocol: Protocol,
    target: &Target,
    request: &Request<Body>,
) -> Result<Result<Arc<EndpointClient>, Failure>, Close> {
    let failure = |status: StatusCode, why: &str| Ok(Err((status, why.to_owned())));
    let Some(routes) = policy.http(protocol) else {
        return failure(StatusCode::INTERNAL_SERVER_ERROR, "unexpected error");
    };
    let Some(route) = HttpRoute::find(routes, &route::Target::of(request)) else {
        return failure(StatusCode::NOT_FOUND, "no route");
    };
    let backend = route.distribution.pick();
    let Some(backend) = backend else {
        return failure(StatusCode::INTERNAL_SERVER_ERROR, "unexpected error");
    };
    check_path(&backend.dispatcher)?;
    let Some(pool) = target.lease.value.pool(backend) else {
        return failure(StatusCode::BAD_GATEWAY, "backend has no dispatcher");
    };
    Ok(
        match pool
            .for_http(request.version() == Version::HTTP_2, backend.failfast)
            .await
        {
            Ok(endpoint) => Ok(endpoint),
            Err(Unready::TimedOut) => {
                Err((StatusCode::GATEWAY_TIMEOUT, "service in fail-fast".into()))
            }
            Err(Unready::FailFast) => Err((
                StatusCode::SERVICE_UNAVAILABLE,
                "service unavailable".into(),
            )),
            Err(Unready::Refused) => {
                Err((StatusCode::INTERNAL_SERVER_ERROR, "unexpected error".into()))
            }
        },
    )
}

fn request_labels(request: &Request<Body>, client: &EndpointClient) -> String {
    let endpoint = &client.endpoint;
    let authority = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    let target = labels::target(endpoint.addr);
    let tls = labels::client_tls(endpoint.tls.as_ref().map(|tls| &tls.id), endpoint.local);
    format!(
        r#"direction="outbound",authority="{authority}",{target},{tls}{}"#,
        endpoint.labels
    )
}
