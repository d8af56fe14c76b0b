//! The connection to a control plane service: one at a time, kept, re-made with backoff for as long as it takes.

mod connect;
mod stream;

pub(crate) use self::stream::{AfterMessage, watch};

use self::connect::{Connector, Sender};
use crate::config::Control;
use crate::identity;
use crate::metrics::Metrics;
use futures::future::BoxFuture;
use http::uri::{PathAndQuery, Scheme};
use hyper::body::Incoming;
use rustls::RootCertStore;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tonic::Status;
use tracing::{Instrument as _, info_span, warn};

/// How long a request waits for a connection before it fails and is tried again by who made it.
const FAILFAST: Duration = Duration::from_secs(10);

/// A client of one service; clones share the connection.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    sender: watch::Receiver<Option<Sender>>,
    authority: http::uri::Authority,
}

impl Client {
    /// Starts the task that connects, at once and certificate or not, as the real proxy does; `gauge` is its name in the metrics.
    pub(crate) fn spawn(
        control: Control,
        gauge: &'static str,
        identity: identity::Receiver,
        roots: RootCertStore,
        metrics: Arc<Metrics>,
    ) -> Result<Self, http::uri::InvalidUri> {
        let authority = control.addr.to_string().parse()?;
        let (tx, sender) = watch::channel(None);
        let gauges = Gauges {
            gauge,
            addr: control.addr.to_string(),
            metrics,
        };
        gauges.set(0.0, 0.0);
        let span =
            info_span!(target: "linkerd_app_core::control", "controller", addr = %control.addr);
        let mut tries = control.connect.backoff.tries();
        let connector = Connector {
            control,
            identity,
            roots,
        };
        let task = async move {
            loop {
                gauges.set(0.0, 1.0);
                match connector.connect().await {
                    Ok((sender, closed)) => {
                        gauges.set(1.0, 0.0);
                        tries.reset();
                        tx.send_replace(Some(sender));
                        closed.await;
                        tx.send_replace(None);
                        gauges.set(0.0, 1.0);
                        tokio::time::sleep(tries.wait()).await;
                    }
                    Err(error) => {
                        warn!(target: "linkerd_reconnect", %error, "Failed to connect");
                        tokio::time::sleep(tries.wait()).await;
                    }
                }
            }
        };
        tokio::spawn(task.instrument(span));
        Ok(Self { sender, authority })
    }
}

struct Gauges {
    gauge: &'static str,
    addr: String,
    metrics: Arc<Metrics>,
}

impl Gauges {
    fn set(&self, ready: f64, pending: f64) {
        for (state, value) in [("ready", ready), ("pending", pending)] {
            let labels = format!(r#"endpoint_state="{state}",addr="{}""#, self.addr);
            self.metrics.set(self.gauge, &labels, value);
        }
    }
}

impl tower_service::Service<http::Request<tonic::body::Body>> for Client {
    type Response = http::Response<Incoming>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        let mut sender = self.sender.clone();
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(self.authority.clone());
        uri.path_and_query
            .get_or_insert(PathAndQuery::from_static("/"));
        Box::pin(async move {
            *request.uri_mut() =
                http::Uri::from_parts(uri).map_err(|error| Status::internal(error.to_string()))?;
            let waiting = sender.wait_for(Option::is_some);
            let found = tokio::time::timeout(FAILFAST, waiting)
                .await
                .map(|found| found.map(|sender| sender.clone()));
            let Ok(Ok(Some(mut sender))) = found else {
                return Err(Status::unavailable("service in fail-fast"));
            };
            sender
                .send_request(request)
                .await
                .map_err(|error| Status::unavailable(error.to_string()))
        })
    }
}
