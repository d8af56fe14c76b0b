//! The admin port: `/live`, `/ready`, `/metrics`, `/status`, `/redirect`. Read-only, plain HTTP/1.1, on loopback unless configured
//! otherwise; holds nothing secret.

mod metrics;
mod redirect;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use linkerd_harness_core::status::{State, Status};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info, warn};

pub use self::redirect::Rules;

/// Connections served at once; more wait.
const CONNECTIONS: usize = 32;

/// For a request head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The port is taken, or may not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (AdminAddress); find who holds it: ss -ltnp 'sport = :{}'", address.port())]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// Binds the port.
///
/// # Errors
/// When it is taken.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| BindError { address, source })?;
    info!("Harness admin interface on {address}");
    Ok(listener)
}

/// Serves `status` for ever.
pub async fn serve(listener: TcpListener, status: watch::Receiver<Arc<Status>>, rules: Rules) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "admin port cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (status, rules) = (status.clone(), rules.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &status.borrow(), &rules);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut server = http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                debug!(%error, "admin connection ended");
            }
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, status: &Status, rules: &Rules) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return respond(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "this port is read-only\n".to_owned(),
        );
    }
    match request.uri().path() {
        "/live" => respond(StatusCode::OK, "text/plain", "live\n".to_owned()),
        "/ready" => match unready(status) {
            None => respond(StatusCode::OK, "text/plain", "ready\n".to_owned()),
            Some(why) => respond(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain",
                format!("not ready: {why}\n"),
            ),
        },
        "/status" => json(status),
        "/redirect" => json(&rules.page()),
        "/metrics" => match metrics::encode(status, rules) {
            Ok(text) => respond(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                text,
            ),
            Err(error) => respond(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                format!("{error}\n"),
            ),
        },
        _ => respond(
            StatusCode::NOT_FOUND,
            "text/plain",
            "there is /live, /ready, /metrics, /status and /redirect\n".to_owned(),
        ),
    }
}

fn json(page: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(page) {
        Ok(text) => respond(StatusCode::OK, "application/json", text + "\n"),
        Err(error) => respond(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain",
            format!("{error}\n"),
        ),
    }
}

/// Why the harness is not ready. Health does not count: groups probe this very path.
fn unready(status: &Status) -> Option<String> {
    let parts = status.components();
    let mut counted = parts.iter().filter(|(name, _)| *name != "health");
    let (name, part) =
        counted.find(|(_, part)| !matches!(part.state, State::Ok | State::Degraded))?;
    Some(format!("{name}: {} ({})", part.reason, part.message))
}

fn respond(code: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_does_not_wait_for_health_which_may_probe_it() {
        let mut status = crate::board::blank("training/training-vm".to_owned());
        assert!(unready(&status).unwrap().starts_with("identity: Starting"));
        for part in [
            &mut status.identity,
            &mut status.registration,
            &mut status.proxy,
            &mut status.redirection,
        ] {
            part.state = State::Ok;
        }
        assert_eq!(unready(&status), None);
        status.registration.state = State::Degraded;
        assert_eq!(unready(&status), None);
        status.proxy.state = State::Failed;
        assert!(unready(&status).is_some());
    }
}
