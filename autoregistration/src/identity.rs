//! Who a caller is: a SPIFFE ID that its certificate proves, in canonical form. Whether we saw the certificate ourselves
//! or the pod's Linkerd proxy did is the one difference, and [`PeerIdentity`] knows it.

mod peer;

use std::fmt;
use std::str::FromStr;

pub use self::peer::PeerIdentity;
use crate::refusal::{Reason, Refusal};

/// A SPIFFE ID of a workload: `spiffe://<trust domain>/<path>`, lower-case trust domain, path not empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: String,
    domain_end: usize,
}

/// Not a SPIFFE ID of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a SPIFFE ID (spiffe://<trust domain>/<path>)")]
pub struct NotSpiffe;

/// What a peer's certificate says, before anything is concluded from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Presented {
    /// No certificate.
    #[default]
    Nothing,
    /// A certificate whose first subject alternative name is this URI.
    Uri(String),
    /// A certificate whose first subject alternative name is this DNS name.
    Dns(String),
    /// A certificate whose first subject alternative name is something else, or that has none.
    Other(String),
}

const SCHEME: &str = "spiffe://";
/// In the name that Linkerd gives to a pod.
const OF_A_POD: &str = ".serviceaccount.identity.";

/// The caller, or why it is refused. Only the first name of a certificate counts: a Linkerd proxy between us and the
/// VM passes on only that one, and what is accepted here must be accepted there.
pub fn caller(presented: &Presented, trust_domain: &str) -> Result<SpiffeId, Refusal> {
    let uri = match presented {
        Presented::Nothing => {
            return Err(Refusal::new(
                Reason::NoClientIdentity,
                "no client certificate came with the connection; the harness presents its SVID, so it has none yet",
            ));
        }
        Presented::Dns(name) if name.contains(OF_A_POD) => {
            return Err(Refusal::new(
                Reason::NotSpiffe,
                format!(
                    "`{}` is the identity of a pod; a VM registers with a SPIFFE ID",
                    name.escape_debug()
                ),
            ));
        }
        Presented::Dns(name) => {
            return Err(Refusal::new(
                Reason::NotSpiffe,
                format!(
                    "the first subject alternative name of the client certificate is the DNS name `{}`: the SVID has a \
                     DNS name before its spiffe:// URI; register its SPIRE entry without DNS names \
                     (spire-server entry update without -dns)",
                    name.escape_debug()
                ),
            ));
        }
        Presented::Other(name) => {
            return Err(Refusal::new(
                Reason::NotSpiffe,
                format!(
                    "the first subject alternative name of the client certificate is {name}, not a spiffe:// URI"
                ),
            ));
        }
        Presented::Uri(uri) => uri,
    };
    let id = uri.parse::<SpiffeId>().map_err(|error| {
        Refusal::new(
            Reason::NotSpiffe,
            format!("`{}` in the client certificate {error}", uri.escape_debug()),
        )
    })?;
    if id.trust_domain() != trust_domain {
        return Err(Refusal::new(
            Reason::WrongTrustDomain,
            format!(
                "`{id}` is not of the trust domain `{trust_domain}` that this mesh takes VMs from"
            ),
        ));
    }
    Ok(id)
}

// === impl SpiffeId ===

impl SpiffeId {
    /// The ID as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its trust domain.
    pub fn trust_domain(&self) -> &str {
        self.text
            .get(SCHEME.len()..self.domain_end)
            .unwrap_or_default()
    }
}

impl FromStr for SpiffeId {
    type Err = NotSpiffe;

    fn from_str(text: &str) -> Result<Self, NotSpiffe> {
        let rest = text.strip_prefix(SCHEME).ok_or(NotSpiffe)?;
        let (domain, path) = rest.split_once('/').ok_or(NotSpiffe)?;
        let domain_char =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        let segment = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        let valid = text.len() <= 2048
            && !domain.is_empty()
            && domain.len() <= 255
            && domain.chars().all(domain_char)
            && path.split('/').all(segment);
        valid
            .then(|| Self {
                text: text.to_owned(),
                domain_end: SCHEME.len() + domain.len(),
            })
            .ok_or(NotSpiffe)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_ids_of_workloads_are_ids() {
        let id = "spiffe://root.linkerd.cluster.local/proxy-harness"
            .parse::<SpiffeId>()
            .unwrap();
        assert_eq!(id.trust_domain(), "root.linkerd.cluster.local");
        for bad in [
            "",
            "spiffe://",
            "spiffe://td",
            "spiffe://td/",
            "spiffe:///a",
            "spiffe://TD/a",
            "spiffe://td/a/",
            "spiffe://td//a",
            "spiffe://td/../a",
            "spiffe://td/a%20b",
            "spiffe://td:443/a",
            "SPIFFE://td/a",
            "https://td/a",
            "spiffe://td/a\n",
        ] {
            assert_eq!(bad.parse::<SpiffeId>(), Err(NotSpiffe), "{bad:?}");
        }
    }

    #[test]
    fn callers_are_refused_with_the_reason_of_their_fault() {
        let reason = |presented| caller(&presented, "td").unwrap_err().reason();
        assert_eq!(reason(Presented::Nothing), Reason::NoClientIdentity);
        assert_eq!(
            reason(Presented::Other("missing".into())),
            Reason::NotSpiffe
        );
        assert_eq!(reason(Presented::Dns("vm".into())), Reason::NotSpiffe);
        assert_eq!(
            reason(Presented::Uri("https://td/a".into())),
            Reason::NotSpiffe
        );
        assert_eq!(
            reason(Presented::Uri("spiffe://td.evil/a".into())),
            Reason::WrongTrustDomain
        );
        assert!(caller(&Presented::Uri("spiffe://td/a".into()), "td").is_ok());
    }
    #[test]
    fn a_dns_name_is_refused_with_what_to_do_about_it() {
        let said = |name: &str| {
            let refusal = caller(&Presented::Dns(name.into()), "td").unwrap_err();
            refusal.message().to_owned()
        };
        let vm = said("vm.example\n");
        assert!(
            vm.contains("`vm.example\\n`") && vm.contains("without DNS names"),
            "{vm}"
        );
        let pod = said("web.emojivoto.serviceaccount.identity.linkerd.cluster.local");
        assert!(pod.contains("the identity of a pod"), "{pod}");
    }
}
