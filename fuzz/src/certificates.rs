//! The SVID and the bundle that SPIRE gives.

use std::sync::LazyLock;

use linkerd_harness::identity::fuzzing;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

use crate::Target;

/// The leaf, the key and the anchor, each behind its length in two bytes.
pub(crate) const SVID: Target = Target {
    name: "svid",
    run,
    seeds: || vec![SEED.1.clone()],
};

const ID: &str = "spiffe://root.linkerd.cluster.local/proxy-harness";

/// An anchor as PEM, and a seed. Made once: keys are not cheap.
static SEED: LazyLock<(String, Vec<u8>)> = LazyLock::new(mk_seed);

pub(crate) fn anchor_pem() -> String {
    SEED.0.clone()
}

fn run(input: &[u8]) -> bool {
    let (leaf, rest) = part(input);
    let (key, rest) = part(rest);
    let (anchor, _) = part(rest);
    fuzzing::svid(ID, leaf, key, anchor)
}

fn part(input: &[u8]) -> (&[u8], &[u8]) {
    match input {
        [high, low, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            rest.split_at(length.min(rest.len()))
        }
        _ => (&[], &[]),
    }
}

fn mk_seed() -> (String, Vec<u8>) {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_key = KeyPair::generate().expect("a key must be made");
    let anchor = root
        .self_signed(&root_key)
        .expect("an anchor must be signed");
    let mut leaf = CertificateParams::default();
    let id = ID.try_into().expect("the ID must be ASCII");
    leaf.subject_alt_names = vec![SanType::URI(id)];
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().expect("a key must be made");
    let signed = leaf.signed_by(&key, &Issuer::new(root, root_key));
    let signed = signed.expect("a leaf must be signed");
    let mut seed = Vec::new();
    for part in [
        signed.der().as_ref(),
        &key.serialize_der(),
        anchor.der().as_ref(),
    ] {
        let length = u16::try_from(part.len()).expect("a certificate must be small");
        seed.extend(length.to_be_bytes());
        seed.extend(part);
    }
    (anchor.pem(), seed)
}
