//! Certificates that change on disk while they are served, and certificates that are wrong.

use std::time::Duration;

use autoregistration::settled::LOOK;
use tokio::io::AsyncReadExt as _;

use crate::lab::{DEADLINE, Files, Lab};
use crate::pki::{AUTOREGISTRATION, DESTINATION, Root, dns};
use crate::vm::{Session, hello, tls};

/// The certificate that is served now.
async fn served(lab: &Lab) -> Vec<u8> {
    let addr = lab.standalone.addresses.registration;
    let stream = tls(addr, AUTOREGISTRATION, &lab.files.root, None)
        .await
        .unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].to_vec()
}

async fn served_is(lab: &Lab, wanted: &[u8]) -> bool {
    let found = async {
        while served(lab).await != wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, found).await.is_ok()
}

#[tokio::test]
async fn a_new_certificate_is_served_and_old_sessions_go_on() {
    let lab = Lab::start().await;
    let mut vm = Session::open(lab.channel().await, hello()).await.unwrap();
    let assignment = vm.assignment().await;
    let new = lab.files.root.server();
    lab.files.write("tls.crt", &new.pem);
    lab.files.write("tls.key", &new.key_pem);
    assert!(served_is(&lab, &new.chain[0]).await);

    // One that cannot be served changes nothing.
    lab.files.write("tls.crt", &lab.files.root.server().pem);
    tokio::time::sleep(LOOK * 4).await;
    assert_eq!(served(&lab).await, new.chain[0].to_vec());

    // New trust anchors, with the old one still among them, reach the VM on its open stream.
    lab.files.write("tls.crt", &new.pem);
    let anchors = format!("{}{}", lab.files.root.pem, Root::new("next").pem);
    lab.files.write("anchors.pem", &anchors);
    let second = vm.assignment().await;
    assert_eq!(second.proxy.unwrap().trust_anchors_pem, anchors);
    assert_ne!(second.config_hash, assignment.config_hash);
}

#[tokio::test]
async fn a_certificate_that_proxies_would_refuse_is_refused_at_the_start() {
    let files = Files::new();
    let root = &files.root;
    let both = || vec![dns(AUTOREGISTRATION), dns(DESTINATION)];
    let other = Root::new("another root");
    let good = root.server();
    let past = root.leaf_with(both(), |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let future = root.leaf_with(both(), |params| {
        params.not_before = rcgen::date_time_ymd(2100, 1, 1);
        params.not_after = rcgen::date_time_ymd(2100, 2, 1);
    });
    let cases = [
        (
            root.leaf(vec![dns(AUTOREGISTRATION)]),
            "has no DNS name `linkerd-destination.",
        ),
        (other.server(), "does not chain to the trust anchors"),
        (past, "ended at 2020-02-01"),
        (future, "valid from 2100-01-01"),
    ];
    for (leaf, expected) in cases {
        files.write("tls.crt", &leaf.pem);
        files.write("tls.key", &leaf.key_pem);
        refused(&files, expected).await;
    }
    files.write("tls.crt", &good.pem);
    files.write("tls.key", &root.server().key_pem);
    refused(&files, "the key does not belong to the certificate").await;
    files.write("tls.crt", "nothing");
    refused(&files, "--tls-cert hold no certificate").await;
    files.write("tls.crt", &files.root.pem);
    files.write("tls.key", &good.key_pem);
    refused(&files, "the key does not belong to the certificate").await;
    files.write("tls.crt", &good.pem);
    files.write("anchors.pem", "nothing");
    refused(&files, "--trust-anchors hold no certificate").await;
    files.remove("anchors.pem");
    refused(&files, "cannot read `").await;
}

async fn refused(files: &Files, expected: &str) {
    let error = files.start(&[]).await.unwrap_err();
    assert!(error.is_configuration());
    let text = autoregistration::report::chain(&error);
    assert!(text.contains(expected), "`{expected}` is not in `{text}`");
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_dropped() {
    use tokio::io::AsyncWriteExt as _;
    let lab = Lab::start().await;
    let addr = lab.standalone.addresses.policy;
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok());
    assert!(!answer.starts_with(b"HTTP"));
}

/// Its issuer's clock is a little ahead of ours.
#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_served_when_it_is() {
    let lab = Lab::start().await;
    let soon = time::OffsetDateTime::now_utc() + LOOK * 6;
    let names = vec![dns(AUTOREGISTRATION), dns(DESTINATION)];
    let new = lab
        .files
        .root
        .leaf_with(names, |params| params.not_before = soon);
    lab.files.write("tls.crt", &new.pem);
    lab.files.write("tls.key", &new.key_pem);
    assert!(served_is(&lab, &new.chain[0]).await);
}

/// The file goes to every VM.
#[tokio::test]
async fn of_the_trust_anchors_only_the_certificates_are_passed_on() {
    let lab = Lab::start().await;
    let mut vm = Session::open(lab.channel().await, hello()).await.unwrap();
    vm.assignment().await;
    let next = Root::new("next");
    let key = lab.files.root.vm().key_pem;
    let file = format!("# the root\n{}{key}{}", lab.files.root.pem, next.pem);
    lab.files.write("anchors.pem", &file);
    let anchors = vm.assignment().await.proxy.unwrap().trust_anchors_pem;
    assert_eq!(anchors, format!("{}{}", lab.files.root.pem, next.pem));
}
