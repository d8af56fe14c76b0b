//! VMs that are broken or hostile: each is told what is wrong with it, and nobody else notices.

use linkerd_harness_api::v1;
use linkerd_harness_api::v1::harness_message::Kind;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::admin::request;
use crate::lab::{DEADLINE, Lab};
use crate::pki::{AUTOREGISTRATION, uri};
use crate::vm::{Session, channel, hello, reason};

/// A connection of a VM with an identity of its own.
async fn connect(lab: &Lab, name: &str) -> Channel {
    let id = format!("spiffe://root.linkerd.cluster.local/{name}");
    let leaf = lab.files.root.leaf(vec![uri(&id)]);
    let addr = lab.standalone.addresses.registration;
    channel(addr, AUTOREGISTRATION, &lab.files.root, Some(&leaf))
        .await
        .unwrap()
}

/// A VM that is well and stays so.
struct Neighbour(Session, u64);

impl Neighbour {
    async fn join(lab: &Lab) -> Self {
        let own = v1::Hello {
            instance_id: vec![99; 32],
            ips: vec!["10.77.0.99".into()],
            ..hello()
        };
        let mut session = Session::open(connect(lab, "neighbour").await, own)
            .await
            .unwrap();
        session.assignment().await;
        Self(session, 0)
    }

    async fn is_undisturbed(&mut self) {
        self.1 += 1;
        self.0.lives(self.1).await;
    }
}

async fn counts(lab: &Lab, line: &str) -> bool {
    let (_, text) = request(lab.standalone.addresses.admin, "GET", "/metrics").await;
    text.lines().any(|found| found.starts_with(line))
}

/// How a session ends that is refused sooner or later.
async fn end(mut session: Session) -> Status {
    loop {
        match session.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("ended well"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn a_flood_on_one_stream_ends_that_stream() {
    let lab = Lab::start().await;
    let mut neighbour = Neighbour::join(&lab).await;
    let session = Session::open(connect(&lab, "flood").await, hello())
        .await
        .unwrap();
    let say = session.say.clone();
    let flood = async move {
        let kind = || Some(Kind::ConfigAck(v1::ConfigAck::default()));
        let message = || v1::HarnessMessage { kind: kind() };
        while say.send(message()).await.is_ok() {}
    };
    let ((), status) = tokio::join!(flood, end(session));
    assert_eq!(
        reason(&status),
        (Code::ResourceExhausted, "RATE_LIMITED".to_owned())
    );
    assert!(status.get_details_retry_info().is_some());
    neighbour.is_undisturbed().await;
    assert!(
        counts(
            &lab,
            "autoregistration_rate_limited_total{limit=\"messages\"} 1"
        )
        .await
    );
}

#[tokio::test]
async fn a_machine_that_comes_again_and_again_is_told_when_to_come() {
    let lab = Lab::start().await;
    let mut neighbour = Neighbour::join(&lab).await;
    let channel = connect(&lab, "again").await;
    let refused = async {
        for stream_seq in 1.. {
            let hello = v1::Hello {
                stream_seq,
                ..hello()
            };
            let mut session = Session::open(channel.clone(), hello).await.unwrap();
            if let Err(status) = session.next().await {
                return status;
            }
        }
        unreachable!("it has to end")
    };
    let status = tokio::time::timeout(DEADLINE, refused).await.unwrap();
    assert_eq!(
        reason(&status),
        (Code::ResourceExhausted, "RATE_LIMITED".to_owned())
    );
    let wait = status.get_details_retry_info().unwrap().retry_delay;
    assert!(wait.is_some_and(|wait| !wait.is_zero() && wait.as_secs() <= 6));
    neighbour.is_undisturbed().await;
    assert!(
        counts(
            &lab,
            "autoregistration_rate_limited_total{limit=\"instance\"}"
        )
        .await
    );
}

#[tokio::test]
async fn streams_that_say_nothing_take_no_place_of_others() {
    let lab = Lab::start().await;
    let (mut silent, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let channel = connect(&lab, "silent").await;
        for _ in 0..16 {
            match Session::open_with(channel.clone(), None, &[]).await {
                Ok(session) => silent.push(session),
                Err(status) => refused.push(reason(&status)),
            }
        }
        if !refused.is_empty() {
            break;
        }
    }
    assert_eq!(
        refused.first(),
        Some(&(Code::ResourceExhausted, "RATE_LIMITED".to_owned()))
    );
    Neighbour::join(&lab).await.is_undisturbed().await;
    assert_eq!(
        reason(&end(silent.pop().unwrap()).await),
        (Code::InvalidArgument, "NO_HELLO".to_owned())
    );
}

#[tokio::test]
async fn a_second_hello_ends_the_stream() {
    let lab = Lab::start().await;
    let mut neighbour = Neighbour::join(&lab).await;
    let session = Session::open(connect(&lab, "twice").await, hello())
        .await
        .unwrap();
    session.say(Kind::Hello(hello())).await;
    assert_eq!(
        reason(&end(session).await),
        (Code::InvalidArgument, "INVALID_HELLO".to_owned())
    );
    neighbour.is_undisturbed().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_or_unreadable_is_named_as_such() {
    let lab = Lab::start().await;
    let mut neighbour = Neighbour::join(&lab).await;
    let of = |kind| v1::HarnessMessage { kind: Some(kind) }.encode_to_vec();
    let hello_with = |boot_id: usize| {
        of(Kind::Hello(v1::Hello {
            boot_id: vec![0; boot_id],
            ..hello()
        }))
    };
    let good = hello_with(16);
    let mut not_utf8 = good.clone();
    let zone = not_utf8.windows(8).position(|w| w == b"training").unwrap();
    not_utf8[zone] = 0xff;
    let long_text = of(Kind::Health(v1::HealthReport {
        message: "x".repeat(20_000),
        ..v1::HealthReport::default()
    }));
    for (what, messages, expected) in [
        ("large Hello", vec![hello_with(20_000)], "INVALID_HELLO"),
        ("huge Hello", vec![hello_with(100_000)], "INVALID_MESSAGE"),
        ("not UTF-8", vec![not_utf8], "INVALID_MESSAGE"),
        ("no message", vec![vec![0xff; 40]], "INVALID_MESSAGE"),
        ("cut off", vec![good[..20].to_vec()], "INVALID_MESSAGE"),
        ("nothing", vec![Vec::new()], "NO_HELLO"),
        (
            "no end of a group",
            vec![vec![0x0b; 1000]],
            "INVALID_MESSAGE",
        ),
        (
            "large report",
            vec![good.clone(), long_text],
            "INVALID_MESSAGE",
        ),
        (
            "junk later",
            vec![good.clone(), vec![7; 9]],
            "INVALID_MESSAGE",
        ),
        (
            "huge later",
            vec![good, vec![0; 200_000]],
            "INVALID_MESSAGE",
        ),
    ] {
        // Those who get in are one VM, which has its address for itself.
        let name = if messages.len() == 2 { "in" } else { "out" };
        let channel = connect(&lab, name).await;
        let status = raw(channel, messages).await;
        assert_eq!(
            reason(&status),
            (Code::InvalidArgument, expected.to_owned()),
            "{what}: {status:?}"
        );
        neighbour.is_undisturbed().await;
    }
}

/// A `Check` is one message in each direction, so that half of one is nobody's business for long; a session is.
#[tokio::test]
async fn half_a_check_is_ended_and_a_session_that_is_older_lives_on() {
    let lab = Lab::start().await;
    let mut neighbour = Neighbour::join(&lab).await;
    let mut client = tonic::client::Grpc::new(connect(&lab, "vm-1").await);
    client.ready().await.unwrap();
    let path = "/meshexpansion.registration.v1.Registration/Check";
    let silence = Request::new(tokio_stream::pending::<Vec<u8>>());
    let answer = client.client_streaming(silence, path.parse().unwrap(), Bytes);
    let answer = tokio::time::timeout(DEADLINE, answer).await;
    let refused = answer.expect("half a check is still open").unwrap_err();
    let codes = [Code::Cancelled, Code::DeadlineExceeded];
    assert!(codes.contains(&refused.code()), "{refused:?}");
    neighbour.is_undisturbed().await;
}

/// What is answered at last to these bytes as messages.
async fn raw(channel: Channel, messages: Vec<Vec<u8>>) -> Status {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = "/meshexpansion.registration.v1.Registration/Session";
    // The stream stays open: what is wrong is not that it ends.
    let messages =
        tokio_stream::StreamExt::chain(tokio_stream::iter(messages), tokio_stream::pending());
    let answers = client
        .streaming(Request::new(messages), path.parse().unwrap(), Bytes)
        .await;
    let mut answers = match answers {
        Ok(answers) => answers.into_inner(),
        Err(status) => return status,
    };
    let refused = async {
        loop {
            match answers.message().await {
                Ok(Some(())) => {}
                Ok(None) => panic!("ended well"),
                Err(status) => return status,
            }
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.unwrap()
}

/// Messages as they are on the wire.
#[derive(Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}
