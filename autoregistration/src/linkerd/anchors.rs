//! The trust anchors as Linkerd publishes them.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::report;
use crate::tls::certificates_only;

/// What a proxy can be given: the kernel's limit on one variable, less some room for its name.
const MOST: usize = 127 * 1024;

/// The certificates of a bundle, as text for the proxies. Each must be one that can be trusted, for a proxy that cannot
/// read one does not start.
pub(super) fn read(bundle: &str) -> Result<String, String> {
    let certificates = CertificateDer::pem_slice_iter(bundle.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("cannot be read as PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("holds no certificate; expected `-----BEGIN CERTIFICATE-----`".to_owned());
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            let error = report::chain(&error);
            format!(
                "certificate {} cannot be a trust anchor: {error}",
                index + 1
            )
        })?;
    }
    let text = certificates_only(bundle.as_bytes());
    if text.len() > MOST {
        return Err(format!(
            "has {} bytes of certificates; a proxy can be given {MOST}",
            text.len()
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_bundle_is_taken_without_what_stands_between_its_certificates() {
        let (one, two) = (certificate("a"), certificate("b"));
        let taken = read(&format!("# old\n{one}\n# new\n{two}")).unwrap();
        assert_eq!(
            taken.lines().collect::<Vec<_>>(),
            [one, two].concat().lines().collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_bundle_with_one_bad_certificate_is_not_taken() {
        let good = certificate("a");
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cut = good.replace("-----END CERTIFICATE-----", "");
        for (bundle, expected) in [
            (String::new(), "no certificate"),
            ("text".to_owned(), "no certificate"),
            (format!("{good}{bad}"), "certificate 2 cannot"),
            (cut, "PEM"),
        ] {
            let error = read(&bundle).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_bundle_that_no_proxy_can_be_given_is_not_taken() {
        let error = read(&certificate("a").repeat(400)).unwrap_err();
        assert!(error.contains("a proxy can be given"), "{error}");
    }
}
