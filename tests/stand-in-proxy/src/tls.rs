//! TLS between proxies: 1.3 only, chains up to the trust anchors, names compared by the proxy and not by the library.

mod peer;
mod verifier;

pub(crate) use self::peer::{certificate_has_id, client_id};

use self::verifier::ChainVerifier;
use crate::header;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use std::io;
use std::sync::{Arc, LazyLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What cannot be made of the trust anchors or of a certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("no trust roots loaded")]
    NoAnchors,
    #[error("certificate is empty")]
    NoCertificate,
    #[error("certificate does not match TLS identity")]
    WrongIdentity,
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    #[error(transparent)]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.signature_verification_algorithms =
        linkerd_algorithms(&provider.signature_verification_algorithms);
    Arc::new(provider)
});

/// Linkerd leaves RSA-PSS out, and TLS 1.3 has no other way to sign with an RSA key: RSA leaves do not work.
fn linkerd_algorithms(all: &WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    use SignatureScheme::{RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512};
    let pss = [RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512];
    let mapping: Vec<_> = all
        .mapping
        .iter()
        .filter(|(scheme, _)| !pss.contains(scheme))
        .copied()
        .collect();
    WebPkiSupportedAlgorithms {
        all: all.all,
        mapping: Box::leak(mapping.into_boxed_slice()),
    }
}

/// Reads the trust anchors; what is no certificate in them is passed over.
pub(crate) fn anchors(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok) {
        roots.add(certificate)?;
    }
    if roots.is_empty() {
        Err(TlsError::NoAnchors)
    } else {
        Ok(roots)
    }
}

/// Everything that one certificate makes possible. A new certificate makes a new one; connections keep the old.
#[derive(Debug)]
pub(crate) struct Credentials {
    client: ClientConfig,
    /// For connections to the application's port: no ALPN.
    pub(crate) server: TlsAcceptorConfig,
    /// For connections to the proxy's own port: the transport header's ALPN.
    pub(crate) direct: TlsAcceptorConfig,
}

pub(crate) type TlsAcceptorConfig = Arc<ServerConfig>;

impl Credentials {
    /// Checks a certificate as the real proxy does before it uses it: its chain, its identity, its key.
    pub(crate) fn new(
        roots: &RootCertStore,
        id: &crate::names::Id,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let verifier = Arc::new(ChainVerifier::new(roots.clone(), &PROVIDER));
        let (leaf, intermediates) = chain.split_first().ok_or(TlsError::NoCertificate)?;
        verifier.verify(leaf, intermediates)?;
        if !certificate_has_id(leaf, id) {
            return Err(TlsError::WrongIdentity);
        }
        let own = Arc::new(Own(Arc::new(CertifiedKey::from_der(
            chain, key, &PROVIDER,
        )?)));
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::clone(&own) as Arc<dyn ResolvesClientCert>);
        client.resumption = Resumption::disabled();
        let clients = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots.clone()),
            Arc::clone(&PROVIDER),
        )
        .allow_unauthenticated()
        .build()?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(own);
        let mut direct = server.clone();
        direct.alpn_protocols = vec![header::ALPN.to_vec()];
        Ok(Self {
            client,
            server: Arc::new(server),
            direct: Arc::new(direct),
        })
    }

    /// Before there is a certificate: connects without one, to nobody but those below the anchors.
    pub(crate) fn anonymous(roots: &RootCertStore) -> Result<ClientConfig, TlsError> {
        let verifier = Arc::new(ChainVerifier::new(roots.clone(), &PROVIDER));
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        Ok(client)
    }

    pub(crate) fn client(&self) -> &ClientConfig {
        &self.client
    }
}

/// Shakes hands with a server and checks that its certificate carries the identity, whatever the SNI was.
pub(crate) async fn connect<I: AsyncRead + AsyncWrite + Unpin>(
    mut config: ClientConfig,
    server_name: &str,
    id: &crate::names::Id,
    alpn: Option<&[u8]>,
    io: I,
) -> io::Result<TlsStream<I>> {
    config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
    let name = ServerName::try_from(server_name.trim_end_matches('.').to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, io)
        .await?;
    let leaf = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first);
    if leaf.is_some_and(|leaf| certificate_has_id(leaf, id)) {
        Ok(stream)
    } else {
        Err(io::Error::other(TlsError::WrongIdentity))
    }
}

/// Shakes hands with a client; its certificate is optional, but a wrong one is refused.
pub(crate) async fn accept<I: AsyncRead + AsyncWrite + Unpin>(
    config: TlsAcceptorConfig,
    io: I,
) -> io::Result<tokio_rustls::server::TlsStream<I>> {
    TlsAcceptor::from(config).accept(io).await
}

/// Shows the own certificate to everybody who can check P-256, whatever its key: the real proxy's rule.
#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl Own {
    fn resolve(&self, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        schemes
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Own {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.resolve(schemes)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.resolve(hello.signature_schemes())
    }
}
