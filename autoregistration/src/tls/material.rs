//! Certificate, key and trust anchors, checked as the proxies will check them: a wrong certificate makes every proxy
//! retry for ever without a word here, so it is refused before it is served.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::validity::Validity;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The contents of the three files.
#[derive(Clone, PartialEq, Eq)]
pub struct Texts {
    /// Trust anchors, PEM.
    pub anchors: Vec<u8>,
    /// Certificate and intermediates, PEM.
    pub certificate: Vec<u8>,
    /// Private key, PEM.
    pub key: Vec<u8>,
}

/// Checked material, ready to serve.
#[derive(Clone)]
pub struct Material {
    /// Trust anchors as text, for the VMs' proxies.
    pub anchors_pem: Arc<str>,
    /// For registration: a client without a certificate is let in, so that it can be told what is wrong.
    pub registration: Arc<ServerConfig>,
    /// For Linkerd's APIs: a client without a certificate is not let in. A proxy that has no SVID yet comes again a
    /// moment later; one that was let in would stay nameless for as long as the connection lives.
    pub mesh: Arc<ServerConfig>,
    /// How long it can be served: of the certificate and its intermediates, the life of the one that ends first.
    pub validity: Validity,
}

/// The files cannot be served from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not PEM, or without what it should hold.
    #[error("{what} cannot be read as PEM: {source}")]
    Pem {
        /// Which.
        what: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A file without a certificate.
    #[error("{what} hold no certificate; expected `-----BEGIN CERTIFICATE-----`")]
    Empty {
        /// Which.
        what: &'static str,
    },
    /// A certificate that is none.
    #[error("{what} hold something that is no X.509 certificate")]
    Certificate {
        /// Which.
        what: &'static str,
    },
    /// A trust anchor that cannot be one.
    #[error("a trust anchor cannot be used")]
    Anchor(#[source] rustls::Error),
    /// Certificate and key are not of one pair.
    #[error(
        "the key does not belong to the certificate; --tls-cert and --tls-key must be of one pair"
    )]
    KeyMismatch(#[source] rustls::Error),
    /// A CA certificate where that of a server should be.
    #[error("the certificate is that of a certificate authority; issue a leaf certificate with it")]
    Authority,
    /// An identity is not in the certificate.
    #[error(
        "the certificate has no DNS name `{missing}`; it has: {present}. Issue one with both identities"
    )]
    Identity {
        /// The identity.
        missing: String,
        /// The names that it has.
        present: String,
    },
    /// Before its time.
    #[error("the certificate is valid from {from} only; check the clock of this machine")]
    NotYetValid {
        /// From when.
        from: time::OffsetDateTime,
    },
    /// After its time.
    #[error("the certificate ended at {ended}; issue a new one")]
    Expired {
        /// When.
        ended: time::OffsetDateTime,
    },
    /// No proxy would trust it.
    #[error(
        "the certificate does not chain to the trust anchors; add its intermediates to --tls-cert or its root to --trust-anchors"
    )]
    Chain(#[source] rustls::Error),
    /// Client certificates cannot be verified.
    #[error("client certificates cannot be verified with the trust anchors")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// Not usable for TLS 1.3.
    #[error("TLS 1.3 cannot be served")]
    Protocol(#[source] rustls::Error),
}

// === impl Material ===

impl Material {
    /// Checks the files for a server with these DNS identities at this time.
    pub fn parse(texts: &Texts, identities: &[String], now: Duration) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(roots(&texts.anchors)?);
        let chain = certificates("the file of --tls-cert", &texts.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&texts.key).map_err(|source| Error::Pem {
            what: "the file of --tls-key",
            source,
        })?;
        let certified =
            CertifiedKey::from_der(chain.clone(), key, &provider).map_err(Error::KeyMismatch)?;
        check_leaf(&chain, identities, now)?;
        check_chain(&chain, identities, &roots, now, &provider)?;
        let certified = Arc::new(certified);
        let config = |optional| server_config(&provider, &roots, &certified, optional);
        Ok(Self {
            anchors_pem: certificates_only(&texts.anchors).into(),
            registration: config(true)?,
            mesh: config(false)?,
            validity: shortest(&chain)?,
        })
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").finish_non_exhaustive()
    }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| Error::Pem { what, source })?;
    if found.is_empty() {
        return Err(Error::Empty { what });
    }
    Ok(found)
}

/// The certificates of a PEM file without what else may be in it. The text goes to every VM, and a file of a certificate
/// authority may hold its key.
pub(crate) fn certificates_only(pem: &[u8]) -> String {
    // PEM is ASCII; what is not, is not part of a certificate.
    let text = String::from_utf8_lossy(pem);
    let mut certificates = String::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        inside |= line == "-----BEGIN CERTIFICATE-----";
        if inside {
            certificates.push_str(line);
            certificates.push('\n');
        }
        inside &= line != "-----END CERTIFICATE-----";
    }
    certificates
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for anchor in certificates("the file of --trust-anchors", pem)? {
        roots.add(anchor).map_err(Error::Anchor)?;
    }
    Ok(roots)
}

fn check_leaf(
    chain: &[CertificateDer<'_>],
    identities: &[String],
    now: Duration,
) -> Result<(), Error> {
    let what = "the file of --tls-cert";
    let leaf = chain.first().ok_or(Error::Empty { what })?;
    let (_, leaf) =
        X509Certificate::from_der(leaf).map_err(|_not_x509| Error::Certificate { what })?;
    if leaf.is_ca() {
        return Err(Error::Authority);
    }
    let names = leaf
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|names| &names.value.general_names);
    let names = names
        .into_iter()
        .flatten()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
        .collect::<Vec<_>>();
    if let Some(missing) = identities
        .iter()
        .find(|identity| !names.contains(&identity.as_str()))
    {
        return Err(Error::Identity {
            missing: missing.clone(),
            present: match names.as_slice() {
                [] => "none".to_owned(),
                names => names.join(", "),
            },
        });
    }
    let Validity { from, until } = validity(&leaf);
    let now = time::OffsetDateTime::UNIX_EPOCH + now;
    if now < from {
        return Err(Error::NotYetValid { from });
    }
    if now > until {
        return Err(Error::Expired { ended: until });
    }
    Ok(())
}

fn validity(certificate: &X509Certificate<'_>) -> Validity {
    Validity {
        from: certificate.validity().not_before.to_datetime(),
        until: certificate.validity().not_after.to_datetime(),
    }
}

/// The validity of the one that ends first.
fn shortest(chain: &[CertificateDer<'_>]) -> Result<Validity, Error> {
    let what = "the file of --tls-cert";
    let mut shortest: Option<Validity> = None;
    for der in chain {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_not_x509| Error::Certificate { what })?;
        let own = validity(&certificate);
        if shortest.is_none_or(|other| own.until < other.until) {
            shortest = Some(own);
        }
    }
    shortest.ok_or(Error::Empty { what })
}

fn check_chain(
    chain: &[CertificateDer<'_>],
    identities: &[String],
    roots: &RootCertStore,
    now: Duration,
    provider: &CryptoProvider,
) -> Result<(), Error> {
    let what = "the file of --tls-cert";
    let (leaf, intermediates) = chain.split_first().ok_or(Error::Empty { what })?;
    let leaf = ParsedCertificate::try_from(leaf).map_err(Error::Chain)?;
    verify_server_cert_signed_by_trust_anchor(
        &leaf,
        roots,
        intermediates,
        UnixTime::since_unix_epoch(now),
        provider.signature_verification_algorithms.all,
    )
    .map_err(Error::Chain)?;
    for identity in identities {
        let name = ServerName::try_from(identity.as_str()).map_err(|_invalid| {
            Error::Chain(rustls::Error::General(format!(
                "`{identity}` is no DNS name"
            )))
        })?;
        verify_server_name(&leaf, &name).map_err(Error::Chain)?;
    }
    Ok(())
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    certified: &Arc<CertifiedKey>,
    optional: bool,
) -> Result<Arc<ServerConfig>, Error> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    let verifier = if optional {
        verifier.allow_unauthenticated()
    } else {
        verifier
    };
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(Error::Protocol)?
        .with_client_cert_verifier(verifier.build().map_err(Error::Verifier)?)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(certified))));
    // Every connection proves the client's identity anew; Linkerd's clients don't resume anyway.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
