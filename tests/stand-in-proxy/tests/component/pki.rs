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
