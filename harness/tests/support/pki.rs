//! A Linkerd trust anchor, and certificates under it.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: CertificateDer<'static>,
    pub pem: String,
}

pub struct Leaf {
    pub certificate: CertificateDer<'static>,
    pub key: Vec<u8>,
}

pub fn mk_authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "root.linkerd.cluster.local");
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Authority {
        certificate: certificate.der().clone(),
        pem: certificate.pem(),
        issuer: Issuer::new(params, key),
    }
}

impl Authority {
    pub fn mk_svid(&self, id: &str, seconds: i64) -> Leaf {
        self.mk_leaf(SanType::URI(id.try_into().unwrap()), seconds)
    }

    pub fn mk_server(&self, name: &str) -> Leaf {
        self.mk_leaf(SanType::DnsName(name.try_into().unwrap()), 600)
    }

    fn mk_leaf(&self, name: SanType, seconds: i64) -> Leaf {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::seconds(10);
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Leaf {
            certificate,
            key: key.serialize_der(),
        }
    }

    /// As a linkerd-proxy terminates TLS: 1.3, no ALPN, client certificates asked for.
    pub fn server_config(&self, leaf: &Leaf) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        );
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.key.clone()));
        rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![leaf.certificate.clone()], key)
            .unwrap()
    }
}
