//! A root, and certificates below it.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};

pub(crate) struct Root(CertifiedIssuer<'static, KeyPair>);

/// A leaf and its key, both in DER.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Root {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "root.linkerd.cluster.local");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn svid(&self, id: &str) -> Leaf {
        self.leaf(vec![SanType::URI(id.try_into().unwrap())])
    }

    pub(crate) fn server(&self, name: &str) -> Leaf {
        self.leaf(vec![SanType::DnsName(name.try_into().unwrap())])
    }

    /// What a pod's proxy has when SPIRE names it: TLS by the one, SPIRE by the other.
    pub(crate) fn pod(&self, name: &str, id: &str) -> Leaf {
        let name = SanType::DnsName(name.try_into().unwrap());
        self.leaf(vec![name, SanType::URI(id.try_into().unwrap())])
    }

    /// What a client trusts and shows that is no proxy.
    pub(crate) fn client(&self, leaf: Option<&Leaf>) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let Some(leaf) = leaf.cloned() else {
            return config.with_no_client_auth();
        };
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(leaf.key);
        config
            .with_client_auth_cert(vec![leaf.certificate.into()], key.into())
            .unwrap()
    }

    fn leaf(&self, sans: Vec<SanType>) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Leaf {
            certificate: certificate.der().to_vec(),
            key: key.serialize_der(),
        }
    }
}
