use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use super::*;

const ID: &str = "spiffe://root.linkerd.cluster.local/proxy-harness";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

fn mk_authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "root.linkerd.cluster.local");
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    Authority {
        issuer: Issuer::new(params, key),
        certificate,
    }
}

/// An SVID with these names, valid from and until so many seconds from now.
fn mk_svid(authority: &Authority, names: Vec<SanType>, from: i64, until: i64) -> Offered {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.not_before = OffsetDateTime::now_utc() + time::Duration::seconds(from);
    params.not_after = OffsetDateTime::now_utc() + time::Duration::seconds(until);
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &authority.issuer).unwrap();
    Offered {
        spiffe_id: ID.to_owned(),
        chain: vec![leaf.der().clone()],
        key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        bundle: vec![authority.certificate.clone()],
    }
}

fn uri() -> SanType {
    SanType::URI(ID.try_into().unwrap())
}

fn certify_now(
    offered: Offered,
    anchors: Option<Vec<CertificateDer<'static>>>,
) -> Result<Certified, Reason> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    certify(offered, anchors, &provider, SystemTime::now()).map_err(|trouble| trouble.reason)
}

#[test]
fn a_sound_svid_is_certified_and_offers_no_alpn() {
    let certified = certify_now(mk_svid(&mk_authority(), vec![uri()], -10, 60), None).unwrap();
    assert_eq!(certified.spiffe_id, ID);
    assert!(certified.tls.alpn_protocols.is_empty());
    assert!(certified.not_after > SystemTime::now());
}

#[test]
fn a_dns_name_before_the_spiffe_id_is_refused() {
    let dns = SanType::DnsName("vm.example".try_into().unwrap());
    let authority = mk_authority();
    let first = mk_svid(&authority, vec![dns.clone(), uri()], -10, 60);
    assert_eq!(certify_now(first, None).unwrap_err(), Reason::DnsNameFirst);
    let second = mk_svid(&authority, vec![uri(), dns], -10, 60);
    assert!(certify_now(second, None).is_ok());
}

#[test]
fn dates_are_held_against_the_clock_of_this_host() {
    let authority = mk_authority();
    let expired = mk_svid(&authority, vec![uri()], -60, -1);
    assert_eq!(certify_now(expired, None).unwrap_err(), Reason::Expired);
    let early = mk_svid(&authority, vec![uri()], 30, 60);
    assert_eq!(certify_now(early, None).unwrap_err(), Reason::NotYetValid);
}

#[test]
fn an_svid_of_another_root_is_untrusted_even_under_the_same_name() {
    let offered = mk_svid(&mk_authority(), vec![uri()], -10, 60);
    let anchors = Some(vec![mk_authority().certificate]);
    assert_eq!(
        certify_now(offered, anchors).unwrap_err(),
        Reason::Untrusted
    );
}

#[test]
fn the_key_of_another_certificate_is_refused() {
    let authority = mk_authority();
    let mut offered = mk_svid(&authority, vec![uri()], -10, 60);
    offered.key = mk_svid(&authority, vec![uri()], -10, 60).key;
    assert_eq!(certify_now(offered, None).unwrap_err(), Reason::KeyMismatch);
}

#[test]
fn an_rsa_key_is_refused() {
    // Only the key's algorithm counts, so the certificate is made by hand: rcgen's ring backend makes no RSA keys.
    let der = include_bytes!("rsa-leaf.der").to_vec();
    let chain = [CertificateDer::from(der)];
    let at = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    assert_eq!(
        examine_leaf(ID, &chain, at).unwrap_err().reason,
        Reason::RsaKey
    );
}

#[test]
fn an_identity_is_chosen_by_name_and_never_by_order() {
    let authority = mk_authority();
    let two = || {
        let mut second = mk_svid(&authority, vec![uri()], -10, 60);
        second.spiffe_id = "spiffe://root.linkerd.cluster.local/other".to_owned();
        vec![mk_svid(&authority, vec![uri()], -10, 60), second]
    };
    let reason = |result: Result<Offered, Trouble>| result.err().map(|trouble| trouble.reason);
    assert_eq!(reason(choose(two(), None)), Some(Reason::SeveralIdentities));
    assert_eq!(
        reason(choose(two(), Some("spiffe://a/b"))),
        Some(Reason::WrongSpiffeId)
    );
    let wanted = "spiffe://root.linkerd.cluster.local/other";
    assert_eq!(
        choose(two(), Some(wanted))
            .ok()
            .map(|svid| svid.spiffe_id)
            .as_deref(),
        Some(wanted)
    );
    assert!(choose(two().into_iter().take(1).collect(), None).is_ok());
}
