//! What a kube-apiserver needs to serve TLS and to sign tokens.

use std::path::Path;

use anyhow::Result;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::pki;

/// Writes `ca.crt`, `tls.crt`, `tls.key`, `accounts.pub` and `accounts.key`, all PEM.
pub(super) fn write(dir: &Path) -> Result<()> {
    let (authority_key, key, accounts) = (
        KeyPair::generate()?,
        KeyPair::generate()?,
        KeyPair::generate()?,
    );
    let params = pki::authority("kubernetes-of-a-test", 1);
    let file = |name: &str, mode, text: &str| pki::write(&dir.join(name), mode, text);
    file("ca.crt", 0o644, &params.self_signed(&authority_key)?.pem())?;
    let mut leaf = pki::certificate("kube-apiserver", 1);
    leaf.subject_alt_names =
        CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?.subject_alt_names;
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = leaf.signed_by(&key, &Issuer::from_params(&params, &authority_key))?;
    file("tls.crt", 0o644, &leaf.pem())?;
    file("tls.key", 0o600, &key.serialize_pem())?;
    file("accounts.pub", 0o644, &accounts.public_key_pem())?;
    file("accounts.key", 0o600, &accounts.serialize_pem())
}
