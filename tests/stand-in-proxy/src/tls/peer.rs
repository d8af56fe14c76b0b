//! Who a certificate says its owner is.

use crate::names::Id;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

fn names(der: &[u8]) -> Vec<Id> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let Ok(Some(sans)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    sans.value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(Id::Uri((*uri).to_owned())),
            GeneralName::DNSName(dns) => Some(Id::Dns(dns.to_ascii_lowercase())),
            _ => None,
        })
        .collect()
}

/// A client is its first URI or DNS SAN; a DNS name before the URI hides the SPIFFE ID.
pub(crate) fn client_id(der: &[u8]) -> Option<Id> {
    names(der).into_iter().next()
}

/// A server may carry the identity in any SAN.
pub(crate) fn certificate_has_id(der: &[u8], id: &Id) -> bool {
    names(der).contains(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn mk_certificate(sans: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn the_first_name_is_the_client_and_any_name_is_the_server() {
        let uri = || SanType::URI("spiffe://td/vm".try_into().unwrap());
        let dns = || SanType::DnsName("vm.local".try_into().unwrap());
        let spiffe = Id::Uri("spiffe://td/vm".into());
        let plain = mk_certificate(vec![uri()]);
        assert_eq!(client_id(&plain), Some(spiffe.clone()));
        let hidden = mk_certificate(vec![dns(), uri()]);
        assert_eq!(client_id(&hidden), Some(Id::Dns("vm.local".into())));
        assert!(certificate_has_id(&hidden, &spiffe));
        assert!(!certificate_has_id(
            &plain,
            &Id::Uri("spiffe://td/other".into())
        ));
        assert_eq!(client_id(b"junk"), None);
    }
}
