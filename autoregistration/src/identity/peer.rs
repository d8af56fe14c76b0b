//! The two places from which a caller's identity comes. Which of them counts follows from who serves the port, never from
//! what a request says: a client can send any header.

use tonic::Request;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use super::{OF_A_POD, Presented, SCHEME, SpiffeId};
use crate::refusal::{Reason, Refusal};
use crate::{sidecar, tls};

/// Set by a Linkerd proxy from the client's certificate, after it has removed what the client sent under this name.
pub(super) const CLIENT_ID: &str = "l5d-client-id";

/// Where the identity of a caller comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerIdentity {
    /// The certificate that it showed in our own TLS. Headers are ignored.
    Tls,
    /// The header of the pod's Linkerd proxy, on connections that come from within the pod.
    Sidecar,
}

// === impl PeerIdentity ===

impl PeerIdentity {
    /// The caller, or why it is refused.
    pub fn caller<T>(self, request: &Request<T>, trust_domain: &str) -> Result<SpiffeId, Refusal> {
        let presented = match self {
            Self::Tls => certificate(request),
            Self::Sidecar => {
                // A request of no connection that we know is of none of the pod's.
                let peer = request.extensions().get::<sidecar::Peer>();
                peer.map_or(Err(sidecar::unknown()), sidecar::Peer::is_trusted)?;
                header(request.metadata())?
            }
        };
        super::caller(&presented, trust_domain)
    }

    /// The address of the connection, for logs. Behind a Linkerd proxy it is the proxy's.
    pub fn address<T>(self, request: &Request<T>) -> String {
        let extensions = request.extensions();
        let address = match self {
            Self::Tls => extensions.get::<tls::Peer>().map(tls::Peer::address),
            Self::Sidecar => extensions
                .get::<sidecar::Peer>()
                .map(|peer| peer.addr.to_string()),
        };
        address.unwrap_or_else(|| "unknown".to_owned())
    }
}

fn certificate<T>(request: &Request<T>) -> Presented {
    let peer = request.extensions().get::<tls::Peer>();
    peer.map(|peer| peer.presented.clone()).unwrap_or_default()
}

/// What the pod's Linkerd proxy says of the client's certificate: its first name.
fn header(metadata: &MetadataMap) -> Result<Presented, Refusal> {
    let values = metadata.get_all(CLIENT_ID).iter().collect::<Vec<_>>();
    let refuse = |why: String| Err(Refusal::new(Reason::NoClientIdentity, why));
    match values.as_slice() {
        [] => refuse(format!(
            "this pod's Linkerd proxy named no client ({CLIENT_ID}): the connection came without a client \
             certificate; the harness presents its SVID, so it has none yet"
        )),
        [value] => Ok(name(value)),
        more => refuse(format!(
            "{CLIENT_ID} came {} times; a Linkerd proxy sets it once, so something else adds to it",
            more.len()
        )),
    }
}

fn name(value: &AsciiMetadataValue) -> Presented {
    let dns = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
    match value.to_str() {
        Ok(name) if name.starts_with(SCHEME) => Presented::Uri(name.to_owned()),
        Ok(name) if name.contains(OF_A_POD) => Presented::Dns(name.to_owned()),
        Ok(name) if !name.is_empty() && name.chars().all(dns) => Presented::Dns(name.to_owned()),
        Ok(name) => Presented::Other(format!("`{}`", name.escape_debug())),
        Err(_not_ascii) => Presented::Other("not text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::sidecar::{Peer, PodIps};

    const ID: &str = "spiffe://td/vm";

    /// A request over a connection from `from` with these headers.
    fn request(from: Option<[u8; 4]>, headers: &[&str]) -> Request<()> {
        let pod = PodIps::from_iter([IpAddr::from([10, 0, 0, 5])]);
        let mut request = Request::new(());
        for header in headers {
            let value = AsciiMetadataValue::try_from(header.as_bytes()).unwrap();
            request.metadata_mut().append(CLIENT_ID, value);
        }
        if let Some(from) = from {
            let addr = (Ipv4Addr::from(from), 4143).into();
            request.extensions_mut().insert(Peer::new(addr, &pod));
        }
        request
    }

    fn reason(from: [u8; 4], headers: &[&str]) -> Result<String, Reason> {
        PeerIdentity::Sidecar
            .caller(&request(Some(from), headers), "td")
            .map(|id| id.to_string())
            .map_err(|refusal| refusal.reason())
    }

    #[test]
    fn the_header_counts_on_connections_from_within_the_pod_only() {
        for own in [[127, 0, 0, 1], [10, 0, 0, 5]] {
            assert_eq!(reason(own, &[ID]), Ok(ID.to_owned()), "{own:?}");
        }
        assert_eq!(reason([10, 0, 0, 6], &[ID]), Err(Reason::NoClientIdentity));
        let nowhere = PeerIdentity::Sidecar.caller(&request(None, &[ID]), "td");
        assert_eq!(nowhere.unwrap_err().reason(), Reason::NoClientIdentity);
    }

    #[test]
    fn with_our_own_tls_the_header_says_nothing() {
        for from in [None, Some([127, 0, 0, 1])] {
            let refused = PeerIdentity::Tls.caller(&request(from, &[ID]), "td");
            assert_eq!(refused.unwrap_err().reason(), Reason::NoClientIdentity);
        }
    }

    #[test]
    fn what_is_not_one_spiffe_id_of_ours_is_refused_with_its_reason() {
        let own = [127, 0, 0, 1];
        let pod = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local";
        for (headers, expected) in [
            (&[] as &[&str], Reason::NoClientIdentity),
            (&[ID, ID], Reason::NoClientIdentity),
            (&[ID, "spiffe://td/other"], Reason::NoClientIdentity),
            (&[""], Reason::NotSpiffe),
            (&["vm.example"], Reason::NotSpiffe),
            (&[pod], Reason::NotSpiffe),
            (&["SPIFFE://td/vm"], Reason::NotSpiffe),
            (&["spiffe://td/vm, spiffe://td/other"], Reason::NotSpiffe),
            (&["spiffe://td/\u{e9}"], Reason::NotSpiffe),
            (&["spiffe://other/vm"], Reason::WrongTrustDomain),
            (
                &["spiffe://web.emojivoto.serviceaccount.identity.linkerd.cluster.local/vm"],
                Reason::WrongTrustDomain,
            ),
        ] {
            assert_eq!(reason(own, headers), Err(expected), "{headers:?}");
        }
    }
}
