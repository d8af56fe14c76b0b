//! HTTP to the application: policy on every request, and the header that tells the application who is calling.

use super::forward;
use super::{Connection, Inbound};
use crate::body::{self, Body, Close};
use crate::detect::Protocol;
use crate::io::BoxIo;
use crate::open::{Counted, Open};
use crate::policy::{Permit, Refusal};
use crate::respond::{self, Asker};
use crate::route::Target;
use crate::{drain, labels, orig_proto};
use ::http::header::HeaderValue;
use ::http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tracing::{info, warn};

const CLIENT_ID: &str = "l5d-client-id";
/// The real proxy's default for idle connections to the application.
const IDLE: Duration = Duration::from_secs(3);

/// Serves a client's connection.
pub(super) async fn serve(
    inbound: &Arc<Inbound>,
    io: BoxIo,
    protocol: Protocol,
    connection: Connection,
    drain: &drain::Watch,
) -> Result<(), hyper::Error> {
    let labels = server_labels(&connection);
    let _open = Open::new(
        &inbound.metrics,
        format!(r#"direction="inbound",peer="src",{labels}"#),
    );
    let server = Arc::new(Server {
        inbound: Arc::clone(inbound),
        app: inbound.apps.get(inbound, &connection),
        connection,
    });
    let keepalive = inbound.config.socket.http2_keepalive;
    body::serve(io, protocol, keepalive, drain, move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Close>(server.answer(request.map(body::incoming)).await) }
    })
    .await
}

pub(crate) fn server_labels(connection: &Connection) -> String {
    let Connection {
        dst, tls, policy, ..
    } = connection;
    let server = policy.current().meta.labels("srv");
    format!(
        r#"{},{tls},{server},srv_port="{}""#,
        labels::target(*dst),
        dst.port()
    )
}

struct Server {
    inbound: Arc<Inbound>,
    connection: Connection,
    app: Arc<App>,
}

impl Server {
    async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let asker = Asker::of(&request, self.connection.tls.client_id().is_some());
        let tunnelled = orig_proto::downgrade(&mut request);
        let permit = match authorize(&self.inbound.metrics, &self.connection, &request) {
            Ok(permit) => permit,
            Err((status, why)) => return finish(asker.error(status, why), tunnelled),
        };
        let _interest = self.consult_profile(&request).await;
        orig_proto::absolute(&mut request, self.connection.dst);
        self.identify(&mut request);
        let labels = self.request_labels(&permit);
        self.inbound.metrics.count("request_total", &labels);
        let response = match self.app.send(request).await {
            Ok(response) => response,
            Err(error) => {
                warn!(target: "linkerd_app_inbound::http", %error, "Unexpected error");
                asker.error(respond::status_of(&error), &error.to_string())
            }
        };
        self.count_response(&labels, response.status());
        finish(response, tunnelled)
    }

    /// Whatever the client claims is removed; its certificate says who it is.
    fn identify(&self, request: &mut Request<Body>) {
        request.headers_mut().remove(CLIENT_ID);
        let id = self
            .connection
            .tls
            .client_id()
            .and_then(|id| HeaderValue::from_str(id.as_str()).ok());
        if let Some(id) = id {
            request.headers_mut().insert(CLIENT_ID, id);
        }
    }

    async fn consult_profile(&self, request: &Request<Body>) -> Option<super::profiles::Interest> {
        let authority = request.uri().authority().cloned().or_else(|| {
            request
                .headers()
                .get(::http::header::HOST)?
                .to_str()
                .ok()?
                .parse()
                .ok()
        })?;
        self.inbound
            .profiles
            .consult(authority.host(), authority.port_u16().unwrap_or(80))
            .await
    }

    fn request_labels(&self, permit: &Permit) -> String {
        let (route, authz) = (
            permit.route.labels("route"),
            permit.authorization.labels("authz"),
        );
        format!(
            r#"direction="inbound",{},{route},{authz}"#,
            server_labels(&self.connection)
        )
    }

    fn count_response(&self, labels: &str, status: StatusCode) {
        let class = if status.is_server_error() {
            "failure"
        } else {
            "success"
        };
        let labels = format!(
            r#"{labels},status_code="{}",classification="{class}",grpc_status="",error="""#,
            status.as_u16()
        );
        self.inbound.metrics.count("response_total", &labels);
    }
}

/// Marks the answer for the way back if the request came tunnelled.
fn finish(mut response: Response<Body>, tunnelled: bool) -> Response<Body> {
    if tunnelled {
        *response.version_mut() = Version::HTTP_11;
        orig_proto::upgrade_response(&mut response);
    }
    response
}

/// Asks the policy of the moment; the refusal comes with its status.
pub(crate) fn authorize<B>(
    metrics: &crate::metrics::Metrics,
    connection: &Connection,
    request: &Request<B>,
) -> Result<Permit, (StatusCode, &'static str)> {
    let Connection {
        client,
        tls,
        policy,
        ..
    } = connection;
    let labels = server_labels(connection);
    match policy
        .current()
        .permit_http(client.ip(), tls, &Target::of(request))
    {
        Ok(permit) => {
            let (route, authz) = (
                permit.route.labels("route"),
                permit.authorization.labels("authz"),
            );
            metrics.count(
                "inbound_http_authz_allow_total",
                &format!("{labels},{route},{authz}"),
            );
            Ok(permit)
        }
        Err(Refusal::NoRoute) => {
            metrics.count("inbound_http_route_not_found_total", &labels);
            Err((StatusCode::NOT_FOUND, "no route found for request"))
        }
        Err(Refusal::Unauthorized(route)) => {
            metrics.count(
                "inbound_http_authz_deny_total",
                &format!("{labels},{}", route.labels("route")),
            );
            info!(target: "linkerd_app_inbound::policy::http", { client.ip = %client.ip() }, "Request denied");
            Err((StatusCode::FORBIDDEN, "unauthorized request on route"))
        }
    }
}

type Client<C> = legacy::Client<C, Body>;

/// An identity, if there is one, and where its connections go.
type Who = (Option<String>, SocketAddr);

/// The application's connections, while a client uses them: all clients of one identity share them.
#[derive(Debug, Default)]
pub(crate) struct Apps(Mutex<BTreeMap<Who, Weak<App>>>);

impl Apps {
    fn get(&self, inbound: &Arc<Inbound>, connection: &Connection) -> Arc<App> {
        let client = connection.tls.client_id().map(|id| id.as_str().to_owned());
        let mut apps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        apps.retain(|_, app| app.strong_count() > 0);
        let app = apps.entry((client, connection.dst)).or_default();
        app.upgrade().unwrap_or_else(|| {
            let new = Arc::new(App::new(inbound, connection));
            *app = Arc::downgrade(&new);
            new
        })
    }
}

/// The application, in the version of HTTP that the client speaks.
#[derive(Debug)]
struct App {
    http1: Client<Connector>,
    http2: Client<Connector>,
}

impl App {
    fn new(inbound: &Arc<Inbound>, connection: &Connection) -> Self {
        let connector = Connector {
            inbound: Arc::clone(inbound),
            dst: connection.dst,
        };
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .retry_canceled_requests(true);
        let http1 = builder.build(connector.clone());
        Self {
            http1,
            http2: builder.http2_only(true).build(connector),
        }
    }

    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, legacy::Error> {
        if request.version() == Version::HTTP_2 {
            return Ok(self.http2.request(request).await?.map(body::incoming));
        }
        let client_upgrade =
            orig_proto::is_upgrade(&request).then(|| hyper::upgrade::on(&mut request));
        let mut response: Response<Incoming> = self.http1.request(request).await?;
        if let (Some(client), StatusCode::SWITCHING_PROTOCOLS) = (client_upgrade, response.status())
        {
            body::tunnel(client, hyper::upgrade::on(&mut response));
        }
        Ok(response.map(body::incoming))
    }
}

/// Goes to the original destination, whatever the URI says.
#[derive(Clone, Debug)]
struct Connector {
    inbound: Arc<Inbound>,
    dst: SocketAddr,
}

impl tower_service::Service<::http::Uri> for Connector {
    type Response = TokioIo<Counted<tokio::net::TcpStream>>;
    type Error = io::Error;
    type Future = futures::future::BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: ::http::Uri) -> Self::Future {
        let (inbound, dst) = (Arc::clone(&self.inbound), self.dst);
        Box::pin(async move { forward::connect(&inbound, dst).await.map(TokioIo::new) })
    }
}
