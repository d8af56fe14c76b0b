//! The admin port: liveness, readiness, metrics, names for a resolver, and the state in the shape of the Kubernetes API.
//! Read-only.

mod hosts;
mod kubernetes;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{debug, warn};

use crate::metrics::Metrics;
use crate::registry::task::{Command, ask};

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// For a connection and all its requests, also when its client does not read.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
const MOST_CONNECTIONS: usize = 64;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const INDEX: &str = "\
autoregistration

/live                                                  the process runs
/ready                                                 the manifests are loaded and the ports are open
/metrics                                               Prometheus text
";
/// What there is besides, where we are the only one to show it.
const LISTS: &str = "\
/hosts                                                 names of Services and their addresses, as a hosts file
/api/v1/services                                       Services
/apis/workload.buoyant.io/v1alpha1/externalgroups      groups
/apis/workload.linkerd.io/v1beta1/externalworkloads    registered workloads
";

/// What the admin port answers from.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where the state is asked for.
    pub registry: mpsc::Sender<Command>,
    /// Whether the state is shown in full. In a cluster the API server shows it.
    pub lists: bool,
    /// Whether we take VMs.
    pub ready: watch::Receiver<bool>,
    /// Counters.
    pub metrics: Metrics,
    /// The wall clock at our start, to which the state's times are relative.
    pub started: time::OffsetDateTime,
}

// === impl Admin ===

impl Admin {
    /// Serves for ever.
    pub async fn run(self, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                        continue;
                    };
                    let admin = self.clone();
                    tokio::spawn(async move {
                        let served = admin.connection(stream);
                        drop(tokio::time::timeout(CONNECTION_TIMEOUT, served).await);
                        drop(permit);
                    });
                }
                Err(error) => {
                    warn!(listener = "admin", %error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let admin = self.clone();
            async move {
                let response = admin.answer(request.method(), request.uri().path()).await;
                Ok::<_, Infallible>(response)
            }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            debug!(listener = "admin", %error, "connection broke");
        }
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        }
        match path {
            "/" => text(StatusCode::OK, self.index()),
            "/live" => text(StatusCode::OK, "live\n".to_owned()),
            // This port opens only after all is loaded and the other ports are bound.
            "/ready" if *self.ready.borrow() => text(StatusCode::OK, "ready\n".to_owned()),
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "going down\n".to_owned()),
            "/metrics" => self.metrics().await,
            path => self.objects(path).await,
        }
    }

    fn index(&self) -> String {
        let lists = if self.lists { LISTS } else { "" };
        format!("{INDEX}{lists}")
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        let Some(totals) = ask(&self.registry, |reply| Command::Totals { reply }).await else {
            return going_down();
        };
        match self.metrics.text(&totals) {
            Ok(metrics) => typed(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                metrics,
            ),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    async fn objects(&self, path: &str) -> Response<Full<Bytes>> {
        if !self.lists || (path != "/hosts" && !kubernetes::has(path)) {
            return text(
                StatusCode::NOT_FOUND,
                format!("not here; there are:\n\n{}", self.index()),
            );
        }
        let Some(objects) = ask(&self.registry, |reply| Command::Objects { reply }).await else {
            return going_down();
        };
        match kubernetes::list(path, &objects, self.started) {
            Some(list) => typed(StatusCode::OK, "application/json", format!("{list:#}\n")),
            None => text(StatusCode::OK, hosts::text(&objects.view)),
        }
    }
}

fn going_down() -> Response<Full<Bytes>> {
    text(StatusCode::SERVICE_UNAVAILABLE, "going down\n".to_owned())
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
