//! Answers that the proxy makes itself.

use crate::body::{self, Body};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use std::error::Error;
use std::io;
use tracing::info;

const PROXY_ERROR: &str = "l5d-proxy-error";
const PROXY_CONNECTION: &str = "l5d-proxy-connection";

/// Whom an answer is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    version: Version,
    grpc: bool,
    /// Only applications and meshed peers are told why.
    informed: bool,
}

impl Asker {
    pub(crate) fn of<B>(request: &Request<B>, informed: bool) -> Self {
        let content = request
            .headers()
            .get(CONTENT_TYPE)
            .map(HeaderValue::as_bytes);
        let grpc = content.is_some_and(|content| content.starts_with(b"application/grpc"));
        Self {
            version: request.version(),
            grpc,
            informed,
        }
    }

    /// A failure; server errors also end an HTTP/1 connection.
    pub(crate) fn error(self, status: StatusCode, why: &str) -> Response<Body> {
        info!(target: "linkerd_app_core::errors::respond", error = why, "{:?} request failed", self.version);
        let mut response = Response::new(body::empty());
        let closes = status.is_server_error();
        let headers = response.headers_mut();
        if self.informed {
            headers.insert(
                PROXY_ERROR,
                HeaderValue::from_str(why).unwrap_or(HeaderValue::from_static("error")),
            );
            if closes {
                headers.insert(PROXY_CONNECTION, HeaderValue::from_static("close"));
            }
        }
        if self.grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from(grpc_code(status)));
            if let Ok(why) = HeaderValue::from_str(why) {
                headers.insert("grpc-message", why);
            }
            return response;
        }
        if closes && self.version < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        *response.status_mut() = status;
        response
    }
}

/// What a failed exchange is called: 504 when time ran out, 502 when the connection failed, and 500 when the peer
/// went away in the middle of HTTP/1.
pub(crate) fn status_of(error: &(dyn Error + 'static)) -> StatusCode {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return if error.kind() == io::ErrorKind::TimedOut {
                StatusCode::GATEWAY_TIMEOUT
            } else {
                StatusCode::BAD_GATEWAY
            };
        }
        cause = error.source();
    }
    StatusCode::INTERNAL_SERVER_ERROR
}

fn grpc_code(status: StatusCode) -> u16 {
    match status {
        StatusCode::FORBIDDEN => 7,
        StatusCode::NOT_FOUND => 5,
        StatusCode::GATEWAY_TIMEOUT => 4,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => 14,
        _ => 13,
    }
}

/// What a peer's proxy told this proxy is not for the application.
pub(crate) fn strip_proxy_headers(response: &mut Response<Body>) {
    response.headers_mut().remove(PROXY_ERROR);
    response.headers_mut().remove(PROXY_CONNECTION);
}
