//! Who is not let in, and what it is told.

use std::time::Duration;

use linkerd_harness_api::v1;
use linkerd_harness_api::v1::registration_client::RegistrationClient;
use rcgen::SanType;
use tonic::{Code, Status};

use crate::admin::request;
use crate::lab::{DEADLINE, Lab};
use crate::pki::{AUTOREGISTRATION, DESTINATION, Leaf, Root, VM_ID, dns, uri};
use crate::vm::{Session, channel, hello, reason, tls};

/// What a caller with this certificate is told.
async fn status(lab: &Lab, leaf: Option<&Leaf>, hello: v1::Hello) -> Status {
    let addr = lab.standalone.addresses.registration;
    let channel = channel(addr, AUTOREGISTRATION, &lab.files.root, leaf)
        .await
        .unwrap();
    match Session::open(channel, hello).await {
        Err(status) => status,
        Ok(mut session) => session.next().await.unwrap_err(),
    }
}

#[tokio::test]
async fn callers_without_a_usable_identity_are_told_why() {
    let lab = Lab::start().await;
    let refused = async |names: Vec<SanType>| {
        let leaf = lab.files.root.leaf(names);
        reason(&status(&lab, Some(&leaf), hello()).await)
    };
    assert_eq!(
        reason(&status(&lab, None, hello()).await),
        (Code::Unauthenticated, "NO_CLIENT_IDENTITY".to_owned())
    );
    assert_eq!(
        refused(vec![dns("vm.example"), uri(VM_ID)]).await,
        (Code::Unauthenticated, "NOT_SPIFFE".to_owned()),
        "only the first name counts"
    );
    assert_eq!(
        refused(vec![uri("spiffe://evil.example/proxy-harness")]).await,
        (Code::PermissionDenied, "WRONG_TRUST_DOMAIN".to_owned())
    );
    assert!(lab.standalone.view.borrow().members.is_empty());
}

#[tokio::test]
async fn a_certificate_of_another_root_does_not_pass_the_handshake() {
    let lab = Lab::start().await;
    let other = Root::new("another root").vm();
    let addr = lab.standalone.addresses.registration;
    let connected = async {
        let stream = channel(addr, AUTOREGISTRATION, &lab.files.root, Some(&other)).await;
        // In TLS 1.3 the client believes in the handshake until it reads.
        Session::open(stream.ok()?, hello()).await.ok()
    };
    assert!(connected.await.is_none());
}

#[tokio::test]
async fn linkerds_apis_take_nobody_without_a_certificate() {
    use linkerd2_proxy_api::destination::GetDestination;
    use linkerd2_proxy_api::destination::destination_client::DestinationClient;
    let lab = Lab::start().await;
    let ask = async |leaf: Option<&Leaf>| {
        let addr = lab.standalone.addresses.destination;
        let channel = channel(addr, DESTINATION, &lab.files.root, leaf)
            .await
            .ok()?;
        let question = GetDestination {
            path: "10.99.0.1:80".to_owned(),
            ..GetDestination::default()
        };
        DestinationClient::new(channel)
            .get_profile(question)
            .await
            .ok()
    };
    assert!(ask(None).await.is_none());
    assert!(ask(Some(&lab.files.root.vm())).await.is_some());
}

#[tokio::test]
async fn a_bad_hello_names_its_fields() {
    use tonic_types::StatusExt as _;
    let lab = Lab::start().await;
    let bad = v1::Hello {
        instance_id: vec![1],
        ips: vec!["127.0.0.1".into()],
        ..hello()
    };
    let status = status(&lab, Some(&lab.files.root.vm()), bad).await;
    assert_eq!(
        reason(&status),
        (Code::InvalidArgument, "INVALID_HELLO".to_owned())
    );
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let fields = violations
        .iter()
        .map(|v| v.field.as_str())
        .collect::<Vec<_>>();
    assert_eq!(fields, ["instance_id", "ips[0]"]);
}

#[tokio::test]
async fn an_address_in_use_says_when_to_come_again() {
    use tonic_types::StatusExt as _;
    let lab = Lab::start().await;
    let leaf = lab.files.root.vm();
    let mut first = Session::open(lab.channel().await, hello()).await.unwrap();
    first.assignment().await;
    let other = v1::Hello {
        instance_id: vec![7; 32],
        ..hello()
    };
    let status = status(&lab, Some(&leaf), other).await;
    assert_eq!(
        reason(&status),
        (Code::AlreadyExists, "ADDRESS_IN_USE".to_owned())
    );
    let wait = status.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(wait, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn a_check_answers_as_a_session_would_and_registers_nobody() {
    let lab = Lab::start().await;
    let channel = lab.channel().await;
    let mut client = RegistrationClient::new(channel);
    let good = client.check(hello()).await.unwrap().into_inner();
    assert!(good.ok, "{good:?}");
    assert_eq!(good.identity, VM_ID);
    assert!(good.workload_name.starts_with("training-vm-"));
    let mut no_group = hello();
    no_group.group.as_mut().unwrap().name = "none".into();
    let bad = client.check(no_group).await.unwrap().into_inner();
    assert!(
        !bad.ok && bad.problems[0].contains("no ExternalGroup `none`"),
        "{bad:?}"
    );
    assert!(lab.standalone.view.borrow().members.is_empty());
}

#[tokio::test]
async fn peers_that_say_nothing_do_not_hold_up_the_others() {
    let lab = Lab::start().await;
    let addr = lab.standalone.addresses.registration;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(tokio::net::TcpStream::connect(addr).await.unwrap());
    }
    let stream = tls(addr, AUTOREGISTRATION, &lab.files.root, None)
        .await
        .unwrap();
    let (_, session) = stream.get_ref();
    assert_eq!(session.alpn_protocol(), None);
    assert_eq!(
        session.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
}

/// It has been told what is wrong with it; what then stays, eats descriptors.
#[tokio::test]
async fn a_peer_without_a_certificate_may_not_stay() {
    use tonic_types::StatusExt as _;
    let lab = Lab::start().await;
    let addr = lab.standalone.addresses.registration;
    let channel = channel(addr, AUTOREGISTRATION, &lab.files.root, None);
    let mut client = RegistrationClient::new(channel.await.unwrap());
    let mut refusals = 0;
    let stays = async {
        // Its connection is gone when the answer is no longer the controller's.
        while client
            .check(hello())
            .await
            .is_err_and(|status| status.get_details_error_info().is_some())
        {
            refusals += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, stays).await.is_ok());
    assert!(refusals > 0);
}

#[tokio::test]
async fn peers_without_a_certificate_are_few_and_do_not_take_the_place_of_members() {
    let lab = Lab::start().await;
    let addr = lab.standalone.addresses.registration;
    let mut strangers = Vec::new();
    for _ in 0..100 {
        let stranger = tls(addr, AUTOREGISTRATION, &lab.files.root, None).await;
        strangers.extend(stranger);
    }
    let refused = async {
        let line = "autoregistration_refused_connections_total{listener=\"registration\"}";
        let admin = lab.standalone.addresses.admin;
        while !request(admin, "GET", "/metrics").await.1.contains(line) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, refused).await.is_ok());
    let leaf = lab.files.root.vm();
    let channel = channel(addr, AUTOREGISTRATION, &lab.files.root, Some(&leaf));
    let mut vm = Session::open(channel.await.unwrap(), hello())
        .await
        .unwrap();
    vm.assignment().await;
}
