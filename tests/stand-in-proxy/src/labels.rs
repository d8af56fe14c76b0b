//! Label sets in the real proxy's spelling.

use crate::names::Id;
use std::fmt;
use std::net::SocketAddr;

/// How a client's connection to this proxy was secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerTls {
    /// Terminated here; the identity is missing when the client showed no certificate.
    Established(Option<Id>),
    /// TLS with another name: it is the application's.
    Passthru(String),
    NoClientHello,
    PortSkipped,
}

impl ServerTls {
    pub(crate) fn client_id(&self) -> Option<&Id> {
        match self {
            Self::Established(id) => id.as_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Established(Some(id)) => write!(f, r#"tls="true",client_id="{id}""#),
            Self::Established(None) => f.write_str(r#"tls="true",client_id="""#),
            Self::Passthru(sni) => write!(f, r#"tls="opaque",sni="{sni}""#),
            Self::NoClientHello => {
                f.write_str(r#"tls="no_identity",no_tls_reason="no_tls_from_remote""#)
            }
            Self::PortSkipped => f.write_str(r#"tls="no_identity",no_tls_reason="port_skipped""#),
        }
    }
}

/// How a connection from this proxy to an endpoint is secured.
pub(crate) fn client_tls(server_id: Option<&Id>, local: bool) -> String {
    match server_id {
        Some(id) => format!(r#"tls="true",server_id="{id}""#),
        None if local => r#"tls="no_identity",no_tls_reason="loopback""#.to_owned(),
        None => r#"tls="no_identity",no_tls_reason="not_provided_by_service_discovery""#.to_owned(),
    }
}

pub(crate) fn target(addr: SocketAddr) -> String {
    format!(
        r#"target_addr="{addr}",target_ip="{}",target_port="{}""#,
        addr.ip(),
        addr.port()
    )
}
