//! Which requests a route is for: hosts, paths, methods and headers by equality or prefix.

use http::{HeaderMap, Method};
use linkerd2_proxy_api::http_route::{self as api, header_match, path_match};
use linkerd2_proxy_api::http_types::http_method;

/// What of a request routes look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) method: &'a Method,
    pub(crate) host: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

impl<'a> Target<'a> {
    pub(crate) fn of<B>(request: &'a http::Request<B>) -> Self {
        let uri = request.uri();
        let header = || {
            request
                .headers()
                .get(http::header::HOST)
                .and_then(|host| host.to_str().ok())
        };
        let host = uri
            .host()
            .or_else(|| header().map(|host| host.split(':').next().unwrap_or(host)));
        Self {
            method: request.method(),
            host,
            path: uri.path(),
            headers: request.headers(),
        }
    }
}

/// Hosts and alternatives; no host means every host, no alternative means every request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HttpMatch {
    hosts: Vec<Host>,
    any_of: Vec<Alternative>,
}

#[derive(Clone, Debug, PartialEq)]
enum Host {
    Exact(String),
    /// Without the asterisk, with the dot.
    Suffix(String),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Alternative {
    path: Option<Path>,
    method: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    /// A kind of match that the stand-in does not know: it never fits.
    unknown: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Path {
    Exact(String),
    Prefix(String),
}

impl HttpMatch {
    pub(crate) fn new(
        hosts: &[api::HostMatch],
        matches: &[api::HttpRouteMatch],
    ) -> Result<Self, String> {
        let hosts = hosts.iter().map(host).collect::<Result<_, _>>()?;
        Ok(Self {
            hosts,
            any_of: matches.iter().map(alternative).collect(),
        })
    }

    pub(crate) fn matches(&self, target: &Target<'_>) -> bool {
        let host_fits = |host: &Host| {
            target
                .host
                .is_some_and(|name| host.matches(&name.to_ascii_lowercase()))
        };
        (self.hosts.is_empty() || self.hosts.iter().any(host_fits))
            && (self.any_of.is_empty() || self.any_of.iter().any(|one| one.matches(target)))
    }
}

impl Host {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Suffix(suffix) => name.ends_with(suffix.as_str()),
        }
    }
}

impl Alternative {
    fn matches(&self, target: &Target<'_>) -> bool {
        let path = self.path.as_ref().is_none_or(|path| match path {
            Path::Exact(exact) => exact == target.path,
            Path::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                target
                    .path
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        });
        let header = |(name, value): &(String, Vec<u8>)| {
            target
                .headers
                .get(name)
                .is_some_and(|found| found.as_bytes() == value.as_slice())
        };
        !self.unknown
            && path
            && self
                .method
                .as_ref()
                .is_none_or(|method| method == target.method.as_str())
            && self.headers.iter().all(header)
    }
}

fn host(host: &api::HostMatch) -> Result<Host, String> {
    match host.r#match.as_ref().ok_or("host match is empty")? {
        api::host_match::Match::Exact(name) => Ok(Host::Exact(name.to_ascii_lowercase())),
        api::host_match::Match::Suffix(suffix) => Ok(Host::Suffix(format!(
            ".{}",
            suffix
                .reverse_labels
                .iter()
                .rev()
                .cloned()
                .collect::<Vec<_>>()
                .join(".")
        ))),
    }
}

fn alternative(wire: &api::HttpRouteMatch) -> Alternative {
    let mut out = Alternative {
        unknown: !wire.query_params.is_empty(),
        ..Alternative::default()
    };
    match wire.path.as_ref().and_then(|path| path.kind.as_ref()) {
        None => {}
        Some(path_match::Kind::Exact(path)) => out.path = Some(Path::Exact(path.clone())),
        Some(path_match::Kind::Prefix(path)) => out.path = Some(Path::Prefix(path.clone())),
        Some(path_match::Kind::Regex(_)) => out.unknown = true,
    }
    match wire
        .method
        .as_ref()
        .and_then(|method| method.r#type.as_ref())
    {
        None => {}
        Some(http_method::Type::Unregistered(name)) => out.method = Some(name.clone()),
        Some(http_method::Type::Registered(number)) => {
            let registered = http_method::Registered::try_from(*number);
            out.unknown |= registered.is_err();
            out.method = registered
                .ok()
                .map(|method| method.as_str_name().to_owned());
        }
    }
    for header in &wire.headers {
        match &header.value {
            Some(header_match::Value::Exact(value)) => {
                out.headers.push((header.name.clone(), value.clone()));
            }
            _ => out.unknown = true,
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_paths_and_methods_must_all_fit() {
        let hosts = [api::HostMatch {
            r#match: Some(api::host_match::Match::Exact("Web.local".into())),
        }];
        let matches = [api::HttpRouteMatch {
            path: Some(api::PathMatch {
                kind: Some(path_match::Kind::Prefix("/api/".into())),
            }),
            method: Some(linkerd2_proxy_api::http_types::HttpMethod {
                r#type: Some(http_method::Type::Registered(
                    http_method::Registered::Get.into(),
                )),
            }),
            ..Default::default()
        }];
        let matching = HttpMatch::new(&hosts, &matches).unwrap();
        let fits = |method: &str, uri: &str| {
            let request = http::Request::builder()
                .method(method)
                .uri(uri)
                .body(())
                .unwrap();
            matching.matches(&Target::of(&request))
        };
        assert!(fits("GET", "http://web.local:80/api/v1"));
        assert!(fits("GET", "http://web.local/api"));
        assert!(!fits("GET", "http://web.local/apis"));
        assert!(!fits("POST", "http://web.local/api"));
        assert!(!fits("GET", "http://other.local/api"));
        assert!(HttpMatch::default().matches(&Target::of(&http::Request::new(()))));
    }
}
