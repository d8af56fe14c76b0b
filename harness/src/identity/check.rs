//! The checks that an SVID must pass before anything uses it; the `spiffe` crate makes only some of them.
//!
//! Key and leaf belong together; the chain reaches the anchors; the dates hold; the first subject alternative name is the
//! SPIFFE ID (Linkerd takes the first for the identity); the key is one with which Linkerd's peers can verify us.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use spiffe::X509Context;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Certified, Reason, Trouble};
use crate::clock::rfc3339;

/// An SVID as the agent offers it, with the bundle of its own trust domain (never a federated one).
pub(super) struct Offered {
    pub(super) spiffe_id: String,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivatePkcs8KeyDer<'static>,
    pub(super) bundle: Vec<CertificateDer<'static>>,
}

impl Offered {
    pub(super) fn from_context(context: &X509Context) -> Vec<Self> {
        let own = |bytes: &[u8]| CertificateDer::from(bytes.to_vec());
        let offer = |svid: &Arc<spiffe::X509Svid>| {
            let bundle = context
                .bundle_set()
                .get_ref(svid.spiffe_id().trust_domain());
            Self {
                spiffe_id: svid.spiffe_id().to_string(),
                chain: svid
                    .cert_chain()
                    .iter()
                    .map(|certificate| own(certificate.as_bytes()))
                    .collect(),
                key: PrivatePkcs8KeyDer::from(svid.private_key().as_bytes().to_vec()),
                bundle: bundle
                    .into_iter()
                    .flat_map(|b| b.authorities())
                    .map(|a| own(a.as_bytes()))
                    .collect(),
            }
        };
        context.svids().iter().map(offer).collect()
    }
}

/// The configured identity, else the only one: SPIRE's order is that of random entry ids, so "the first" means nothing.
pub(super) fn choose(mut offered: Vec<Offered>, wanted: Option<&str>) -> Result<Offered, Trouble> {
    let ids = offered
        .iter()
        .map(|svid| svid.spiffe_id.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    let index = match wanted {
        Some(wanted) => offered
            .iter()
            .position(|svid| svid.spiffe_id == wanted)
            .ok_or_else(|| {
                let message = format!(
                    "SPIRE gives {ids}, but the configuration asks for {wanted} (Identity.SpiffeId)"
                );
                Trouble::new(Reason::WrongSpiffeId, message)
            })?,
        None if offered.len() == 1 => 0,
        None => {
            let message = format!(
                "SPIRE gives {} identities ({ids}); choose one: harnessctl set-config --identity-spiffe-id=ID",
                offered.len()
            );
            return Err(Trouble::new(Reason::SeveralIdentities, message));
        }
    };
    Ok(offered.swap_remove(index))
}

/// Checks `offered` against `anchors` (default: its bundle) at `now`, and makes it ready for TLS.
pub(super) fn certify(
    offered: Offered,
    anchors: Option<Vec<CertificateDer<'static>>>,
    provider: &Arc<CryptoProvider>,
    now: SystemTime,
) -> Result<Certified, Trouble> {
    let id = offered.spiffe_id;
    let not_after = examine_leaf(&id, &offered.chain, now)?;
    let key = CertifiedKey::from_der(
        offered.chain.clone(),
        PrivateKeyDer::from(offered.key),
        provider,
    )
    .map_err(|error| {
        Trouble::new(
            Reason::KeyMismatch,
            format!("the SVID of {id} cannot be used: {error}"),
        )
    })?;
    let source = if anchors.is_some() {
        "the file of Identity.TrustAnchors"
    } else {
        "SPIRE's bundle"
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(anchors.unwrap_or(offered.bundle));
    let roots = Arc::new(roots);
    let untrusted = |why: String| {
        let message = format!(
            "the SVID of {id} does not chain to the trust anchors ({source}): {why}; SPIRE must sign under Linkerd's \
             trust anchor (UpstreamAuthority)"
        );
        Trouble::new(Reason::Untrusted, message)
    };
    let (leaf, intermediates) = offered
        .chain
        .split_first()
        .ok_or_else(|| Trouble::new(Reason::Malformed, "the SVID holds no certificate"))?;
    rustls::server::ParsedCertificate::try_from(leaf)
        .and_then(|leaf| {
            let at = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
            let algorithms = provider.signature_verification_algorithms.all;
            rustls::client::verify_server_cert_signed_by_trust_anchor(
                &leaf,
                &roots,
                intermediates,
                at,
                algorithms,
            )
        })
        .map_err(|error| untrusted(error.to_string()))?;
    let tls = client_config(roots, key, provider).map_err(untrusted)?;
    Ok(Certified {
        spiffe_id: id,
        not_after,
        tls: Arc::new(tls),
    })
}

/// Looks at names, key and dates; answers the end of its life.
fn examine_leaf(
    id: &str,
    chain: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<SystemTime, Trouble> {
    let malformed = |why: String| {
        Trouble::new(
            Reason::Malformed,
            format!("the SVID of {id} is malformed: {why}"),
        )
    };
    let der = chain
        .first()
        .ok_or_else(|| malformed("it holds no certificate".to_owned()))?;
    let (_, leaf) = X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
    let names = leaf
        .subject_alternative_name()
        .map_err(|error| malformed(error.to_string()))?;
    let first = names.and_then(|names| {
        let mut known = names.value.general_names.iter();
        known.find(|name| matches!(name, GeneralName::URI(_) | GeneralName::DNSName(_)))
    });
    if let Some(GeneralName::DNSName(name)) = first {
        let message = format!(
            "the SVID of {id} carries the DNS name {name} first, and Linkerd takes the first name for the identity; \
             make the SPIRE entry without -dns"
        );
        return Err(Trouble::new(Reason::DnsNameFirst, message));
    }
    if leaf.public_key().algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        let message = format!(
            "the SVID of {id} has an RSA key, which Linkerd's peers cannot verify; on the SPIRE server and agent set \
             workload_x509_svid_key_type = \"ec-p256\""
        );
        return Err(Trouble::new(Reason::RsaKey, message));
    }
    let at = |time: x509_parser::time::ASN1Time| {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
    };
    let (not_before, not_after) = (
        at(leaf.validity().not_before),
        at(leaf.validity().not_after),
    );
    let clock = rfc3339(now);
    if now < not_before {
        let message = format!(
            "the SVID of {id} begins at {}, this host's clock says {clock}: check the clock",
            rfc3339(not_before)
        );
        return Err(Trouble::new(Reason::NotYetValid, message));
    }
    if now >= not_after {
        let message = format!(
            "the SVID of {id} ended at {}, this host's clock says {clock}: check the clock and spire-agent",
            rfc3339(not_after)
        );
        return Err(Trouble::new(Reason::Expired, message));
    }
    Ok(not_after)
}

/// TLS as a linkerd-proxy terminates it: 1.3 only, and no ALPN, since its inbound knows none and its direct port refuses
/// `h2`. A resumed session would skip the verification of a rotated peer, so there is none.
fn client_config(
    roots: Arc<RootCertStore>,
    key: CertifiedKey,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, String> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())?;
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_webpki_verifier(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
mod tests;
