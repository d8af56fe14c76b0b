//! HTTP/1 inside HTTP/2: between proxies one HTTP/2 connection carries the requests of many HTTP/1 connections.
//!
//! The header `l5d-orig-proto` says what the request was, so that the far side can make it that again.

use crate::body::Body;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, Uri, Version};
use std::net::SocketAddr;

const ORIG_PROTO: &str = "l5d-orig-proto";

fn name_of(version: Version) -> &'static str {
    if version == Version::HTTP_10 {
        "HTTP/1.0"
    } else {
        "HTTP/1.1"
    }
}

/// Does the client ask for another protocol? Such a request cannot travel in HTTP/2.
pub(crate) fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11 && request.headers().contains_key(UPGRADE)
}

/// Makes an HTTP/1 request an HTTP/2 one. Its URI must be absolute already.
pub(crate) fn upgrade(request: &mut Request<Body>) {
    let name = HeaderValue::from_static(name_of(request.version()));
    request.headers_mut().insert(ORIG_PROTO, name);
    strip_hop_headers(request.headers_mut());
    request.headers_mut().remove(TRANSFER_ENCODING);
    *request.version_mut() = Version::HTTP_2;
}

/// Makes the answer to an upgraded request what the client expects.
pub(crate) fn downgrade_response(response: &mut Response<Body>, orig: Version) {
    let named = response.headers_mut().remove(ORIG_PROTO);
    let version = match named.as_ref().map(HeaderValue::as_bytes) {
        Some(b"HTTP/1.1") => Version::HTTP_11,
        Some(b"HTTP/1.0") => Version::HTTP_10,
        _ => orig,
    };
    *response.version_mut() = version;
}

/// Makes a tunnelled request HTTP/1 again; says whether it was one.
pub(crate) fn downgrade(request: &mut Request<Body>) -> bool {
    if request.version() != Version::HTTP_2 {
        return false;
    }
    let Some(orig) = request.headers_mut().remove(ORIG_PROTO) else {
        return false;
    };
    let old = orig.as_bytes().starts_with(b"HTTP/1.0");
    *request.version_mut() = if old {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };
    true
}

/// Marks the answer to a downgraded request for the way back.
pub(crate) fn upgrade_response(response: &mut Response<Body>) {
    let name = HeaderValue::from_static(name_of(response.version()));
    response.headers_mut().insert(ORIG_PROTO, name);
    strip_hop_headers(response.headers_mut());
    response.headers_mut().remove(TRANSFER_ENCODING);
    *response.version_mut() = Version::HTTP_2;
}

/// Removes what is only for the next hop, with what `Connection` names.
pub(crate) fn strip_hop_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in ["connection", "proxy-connection", "keep-alive", "upgrade"] {
        headers.remove(name);
    }
}

/// Gives an HTTP/1 request an absolute URI, which HTTP/2 and the client need: from its Host, or else the address.
pub(crate) fn absolute(request: &mut Request<Body>, default: SocketAddr) {
    if request.uri().authority().is_some() && request.uri().scheme().is_some() {
        return;
    }
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    let authority: Option<Authority> = host
        .and_then(|host| host.parse().ok())
        .or_else(|| default.to_string().parse().ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = parts.authority.or(authority);
    parts
        .path_and_query
        .get_or_insert(PathAndQuery::from_static("/"));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;

    #[test]
    fn a_request_survives_the_tunnel() {
        let mut request = Request::get("/path?q")
            .header(HOST, "web.local:8080")
            .header(CONNECTION, "keep-alive, x-hop")
            .header("x-hop", "1")
            .header("x-end", "2")
            .body(body::empty())
            .unwrap();
        absolute(&mut request, ([10, 0, 0, 1], 80).into());
        upgrade(&mut request);
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.uri().to_string(), "http://web.local:8080/path?q");
        assert!(
            !request.headers().contains_key("x-hop") && request.headers().contains_key("x-end")
        );
        assert_eq!(request.headers()[ORIG_PROTO], "HTTP/1.1");
        assert!(downgrade(&mut request));
        assert_eq!(request.version(), Version::HTTP_11);
        assert!(!request.headers().contains_key(ORIG_PROTO));
        assert!(
            !downgrade(&mut request),
            "a request that was not tunnelled stays as it is"
        );

        let mut response = Response::new(body::empty());
        upgrade_response(&mut response);
        downgrade_response(&mut response, Version::HTTP_11);
        assert_eq!(response.version(), Version::HTTP_11);
        assert!(response.headers().is_empty());
    }

    #[test]
    fn a_request_without_a_host_goes_by_its_address() {
        let mut request = Request::get("/").body(body::empty()).unwrap();
        absolute(&mut request, ([10, 0, 0, 1], 80).into());
        assert_eq!(request.uri().to_string(), "http://10.0.0.1:80/");
    }
}
