//! The mesh's certificates, as `step` would make them: Linkerd's trust anchor, and the control plane's certificate.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// Name of the trust anchor, and of SPIRE's trust domain.
pub const TRUST_DOMAIN: &str = "root.linkerd.cluster.local";

/// Who the control plane is. The names are too long for a common name (64 characters).
const CONTROL_PLANE: [&str; 4] = [
    "linkerd-autoregistration.linkerd.serviceaccount.identity.linkerd.cluster.local",
    "linkerd-autoregistration.linkerd-expansion.serviceaccount.identity.linkerd.cluster.local",
    "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local",
    "linkerd-policy.linkerd.serviceaccount.identity.linkerd.cluster.local",
];

/// Files with the lab's certificates and keys, all PEM.
#[derive(Clone, Debug)]
pub struct Pki {
    /// Linkerd's trust anchor.
    pub anchor: PathBuf,
    /// Its key, which SPIRE signs with.
    pub anchor_key: PathBuf,
    /// The control plane's certificate with its issuer.
    pub control: PathBuf,
    /// The control plane's key.
    pub control_key: PathBuf,
}

impl Pki {
    /// Makes them in `dir`.
    pub fn make(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("make `{}`", dir.display()))?;
        let files = Self {
            anchor: dir.join("ca.crt"),
            anchor_key: dir.join("ca.key"),
            control: dir.join("control.crt"),
            control_key: dir.join("control.key"),
        };
        let (anchor_key, issuer_key, control_key) = (
            KeyPair::generate()?,
            KeyPair::generate()?,
            KeyPair::generate()?,
        );

        let anchor_params = authority(TRUST_DOMAIN, 3650);
        write(
            &files.anchor,
            0o644,
            &anchor_params.self_signed(&anchor_key)?.pem(),
        )?;
        let anchor = Issuer::from_params(&anchor_params, &anchor_key);

        let issuer_params = authority("identity.linkerd.cluster.local", 365);
        let issuer_certificate = issuer_params.signed_by(&issuer_key, &anchor)?;
        let issuer = Issuer::from_params(&issuer_params, &issuer_key);

        let mut control = certificate("linkerd-control-plane", 30);
        control.subject_alt_names =
            CertificateParams::new(CONTROL_PLANE.map(str::to_owned))?.subject_alt_names;
        control.is_ca = IsCa::ExplicitNoCa;
        control.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        control.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let control = control.signed_by(&control_key, &issuer)?;
        write(
            &files.control,
            0o644,
            &format!("{}{}", control.pem(), issuer_certificate.pem()),
        )?;

        write(&files.anchor_key, 0o600, &anchor_key.serialize_pem())?;
        write(&files.control_key, 0o600, &control_key.serialize_pem())?;
        Ok(files)
    }
}

/// A certificate authority without a limit on the authorities below it: SPIRE's is one.
pub(crate) fn authority(name: &str, days: i64) -> CertificateParams {
    let mut params = certificate(name, days);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(crate) fn certificate(name: &str, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - Duration::minutes(5);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days);
    params.use_authority_key_identifier_extension = true;
    params
}

pub(crate) fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options
        .open(path)
        .with_context(|| format!("open `{}`", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("write `{}`", path.display()))
}
