//! The mesh APIs over a real gRPC connection, asked as a proxy asks.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use autoregistration::mesh;
use autoregistration::metrics::Metrics;
use autoregistration::registry::objects::Totals;
use autoregistration::view::{Member, Service, ServicePort, Settings, TargetPort, View};
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use linkerd2_proxy_api::destination::{DestinationProfile, GetDestination, Update, update};
use linkerd2_proxy_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use linkerd2_proxy_api::inbound::{PortSpec, Server};
use linkerd2_proxy_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use linkerd2_proxy_api::outbound::{OutboundPolicy, TrafficSpec, traffic_spec};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// Longest wait for something that must happen.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a stream is watched for what must not happen. Can only make a test miss a fault, never fail it.
const QUIET: Duration = Duration::from_millis(150);

const MEMBER: &str = "10.77.0.2:80";
const SERVICE: &str = "10.96.0.10:80";
const NAME: &str = "training-vm.training.svc.cluster.local:80";
const NOBODY: &str = "10.77.0.99:80";
const TOKEN: &str = r#"{"ns":"training","external_workload":"vm-a"}"#;

/// A control plane on loopback and a proxy's connection to it.
struct Plane {
    views: watch::Sender<Arc<View>>,
    channel: Channel,
    metrics: Metrics,
    server: JoinHandle<()>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Plane {
    async fn start(view: View) -> Self {
        let (views, receiver) = watch::channel(Arc::new(view));
        let metrics = Metrics::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tonic::transport::Server::builder()
            .add_service(mesh::destination(receiver.clone(), metrics.clone()))
            .add_service(mesh::outbound(receiver.clone(), metrics.clone()))
            .add_service(mesh::inbound(receiver, metrics.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { serving.await.unwrap() });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        Self {
            views,
            channel,
            metrics,
            server,
        }
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        self.views.send_modify(|view| change(Arc::make_mut(view)));
    }

    async fn profile(&self, path: &str) -> Stream<DestinationProfile> {
        let request = destination(path);
        let mut client = DestinationClient::new(self.channel.clone());
        Stream::open(client.get_profile(request)).await
    }

    async fn endpoints(&self, path: &str) -> Stream<Update> {
        let request = destination(path);
        let mut client = DestinationClient::new(self.channel.clone());
        Stream::open(client.get(request)).await
    }

    async fn outbound(&self, addr: &str) -> Stream<OutboundPolicy> {
        let request = traffic(addr);
        let mut client = OutboundPoliciesClient::new(self.channel.clone());
        Stream::open(client.watch(request)).await
    }

    async fn inbound(&self, workload: &str, port: u32) -> Stream<Server> {
        let request = PortSpec {
            workload: workload.to_owned(),
            port,
        };
        let mut client = InboundServerPoliciesClient::new(self.channel.clone());
        Stream::open(client.watch_port(request)).await
    }
}

/// A streaming call, whether its status came at once or after headers.
struct Stream<M>(Result<Streaming<M>, Status>);

impl<M> Stream<M> {
    async fn open(
        call: impl Future<Output = Result<tonic::Response<Streaming<M>>, Status>>,
    ) -> Self {
        let answer = time::timeout(DEADLINE, call)
            .await
            .expect("headers must come at once");
        Self(answer.map(tonic::Response::into_inner))
    }

    /// The next message, which must come.
    async fn message(&mut self) -> M {
        let stream = self.0.as_mut().expect("stream must be open");
        let message = time::timeout(DEADLINE, stream.message()).await;
        message
            .expect("a message must come")
            .unwrap()
            .expect("stream must not end")
    }

    /// The status with which the call ends, which it must without a message.
    async fn status(&mut self) -> Code {
        match &mut self.0 {
            Err(status) => status.code(),
            Ok(stream) => {
                let end = time::timeout(DEADLINE, stream.message())
                    .await
                    .expect("must end");
                end.map(|_| ()).expect_err("must end with a status").code()
            }
        }
    }

    /// Neither a message nor an end.
    async fn is_silent(&mut self) {
        let stream = self.0.as_mut().expect("stream must be open");
        let silence = time::timeout(QUIET, stream.message()).await;
        assert!(silence.is_err(), "a message or an end of the stream");
    }
}

fn destination(path: &str) -> GetDestination {
    GetDestination {
        path: path.to_owned(),
        context_token: r#"{"ns":"training"}"#.to_owned(),
        ..GetDestination::default()
    }
}

fn traffic(addr: &str) -> TrafficSpec {
    let addr: SocketAddr = addr.parse().unwrap();
    TrafficSpec {
        source_workload: TOKEN.to_owned(),
        target: Some(traffic_spec::Target::Addr(addr.into())),
    }
}

fn view() -> View {
    let member = member("vm-a", "10.77.0.2");
    let service = Service {
        namespace: "training".to_owned(),
        name: "training-vm".to_owned(),
        cluster_ips: vec!["10.96.0.10".parse().unwrap()],
        ports: vec![ServicePort {
            port: 80,
            target: TargetPort::Number(80),
        }],
        selector: [("app".to_owned(), "training-vm".to_owned())].into(),
    };
    View {
        restored: true,
        settings: Settings {
            cluster_domain: "cluster.local".to_owned(),
            cluster_networks: vec!["10.0.0.0/8".parse().unwrap()],
            default_inbound_policy: "all-authenticated".to_owned(),
        },
        members: [(key(&member), member)].into(),
        services: [(("training".to_owned(), "training-vm".to_owned()), service)].into(),
    }
}

fn member(name: &str, ip: &str) -> Member {
    Member {
        namespace: "training".to_owned(),
        name: name.to_owned(),
        group: "training-vm".to_owned(),
        labels: [("app".to_owned(), "training-vm".to_owned())].into(),
        annotations: [].into(),
        ips: vec![ip.parse().unwrap()],
        ports: vec![("http".to_owned(), 80)],
        proxy_inbound_port: 4143,
        identity: format!("spiffe://root.linkerd.cluster.local/{name}"),
        server_name: format!("{name}.training.external.identity.linkerd.cluster.local"),
        ready: true,
    }
}

fn key(member: &Member) -> (String, String) {
    (member.namespace.clone(), member.name.clone())
}

fn join(view: &mut View, name: &str, ip: &str) {
    let member = member(name, ip);
    view.members.insert(key(&member), member);
}

fn added(update: Update) -> usize {
    match update.update.unwrap() {
        update::Update::Add(set) => set.addrs.len(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn streams_stay_open_after_a_message_and_say_nothing_twice() {
    let plane = Plane::start(view()).await;
    let mut profile = plane.profile(MEMBER).await;
    let mut empty = plane.profile(NOBODY).await;
    let mut endpoints = plane.endpoints(NAME).await;
    let mut unknown = plane.endpoints("other.training.svc.cluster.local:80").await;
    let mut outbound = plane.outbound(SERVICE).await;
    let mut inbound = plane.inbound(TOKEN, 80).await;
    assert!(profile.message().await.endpoint.is_some());
    assert_eq!(empty.message().await, DestinationProfile::default());
    assert_eq!(added(endpoints.message().await), 1);
    unknown.message().await;
    outbound.message().await;
    inbound.message().await;
    // A change that concerns none of them.
    plane.change(|view| {
        view.services
            .values_mut()
            .for_each(|s| s.ports.extend_from_within(..));
    });
    profile.is_silent().await;
    empty.is_silent().await;
    endpoints.is_silent().await;
    unknown.is_silent().await;
    outbound.is_silent().await;
    inbound.is_silent().await;
}

#[tokio::test]
async fn streams_stay_open_when_the_registry_is_gone() {
    let mut plane = Plane::start(view()).await;
    let mut profile = plane.profile(MEMBER).await;
    profile.message().await;
    // Drops the sender that the server listens to.
    plane.views = watch::channel(Arc::default()).0;
    profile.is_silent().await;
}

#[tokio::test]
async fn changes_are_pushed() {
    let plane = Plane::start(view()).await;
    let mut profile = plane.profile(NOBODY).await;
    let mut endpoints = plane.endpoints(NAME).await;
    let mut outbound = plane.outbound("10.96.0.10:81").await;
    let mut inbound = plane.inbound("training:vm-a", 80).await;
    profile.message().await;
    endpoints.message().await;
    let forbidden = outbound.message().await;
    let alone = inbound.message().await;
    plane.change(|view| join(view, "vm-b", "10.77.0.99"));
    assert!(profile.message().await.endpoint.is_some());
    assert_eq!(added(endpoints.message().await), 1);
    assert_ne!(inbound.message().await, alone);
    outbound.is_silent().await;
    plane.change(|view| {
        let service = view.services.values_mut().next().unwrap();
        service.ports.push(ServicePort {
            port: 81,
            target: TargetPort::Number(80),
        });
    });
    assert_ne!(outbound.message().await, forbidden);
}

#[tokio::test]
async fn what_may_be_a_member_is_held_until_the_state_is_restored() {
    let mut start = view();
    start.restored = false;
    start.members.clear();
    let plane = Plane::start(start).await;
    let mut profile = plane.profile(MEMBER).await;
    let mut stranger = plane.profile(NOBODY).await;
    let mut policy = plane.outbound(MEMBER).await;
    let mut endpoints = plane.endpoints(NAME).await;
    let mut inbound = plane.inbound(TOKEN, 80).await;
    // Services are in the manifests and need no registration.
    plane.profile(SERVICE).await.message().await;
    plane.outbound(SERVICE).await.message().await;
    profile.is_silent().await;
    stranger.is_silent().await;
    policy.is_silent().await;
    endpoints.is_silent().await;
    inbound.is_silent().await;
    // It comes back: known at once, but its clients are not yet all listed.
    plane.change(|view| join(view, "vm-a", "10.77.0.2"));
    assert!(profile.message().await.endpoint.is_some());
    assert_eq!(policy.status().await, Code::NotFound);
    assert_eq!(added(endpoints.message().await), 1);
    stranger.is_silent().await;
    inbound.is_silent().await;
    plane.change(|view| view.restored = true);
    assert_eq!(stranger.message().await, DestinationProfile::default());
    inbound.message().await;
}

#[tokio::test]
async fn unary_calls_answer_what_a_stream_says_first() {
    let mut start = view();
    start.restored = false;
    let plane = Plane::start(start).await;
    let mut outbound = OutboundPoliciesClient::new(plane.channel.clone());
    let mut inbound = InboundServerPoliciesClient::new(plane.channel.clone());
    let service = outbound.get(traffic(SERVICE)).await.unwrap().into_inner();
    assert_eq!(service, plane.outbound(SERVICE).await.message().await);
    assert_eq!(
        outbound.get(traffic(MEMBER)).await.unwrap_err().code(),
        Code::NotFound
    );
    let port = PortSpec {
        workload: TOKEN.to_owned(),
        port: 80,
    };
    let mut asked = tokio::spawn(async move { inbound.get_port(port).await });
    assert!(time::timeout(QUIET, &mut asked).await.is_err(), "held");
    plane.change(|view| view.restored = true);
    let server = asked.await.unwrap().unwrap().into_inner();
    assert_eq!(server, plane.inbound(TOKEN, 80).await.message().await);
}

#[tokio::test]
async fn each_call_has_its_own_word_for_what_it_does_not_know() {
    let plane = Plane::start(view()).await;
    assert_eq!(plane.outbound(NOBODY).await.status().await, Code::NotFound);
    assert_eq!(
        plane.inbound("training:vm-z", 80).await.status().await,
        Code::NotFound
    );
    for (workload, port) in [("nonsense", 80), (TOKEN, 0), (TOKEN, 65536)] {
        let mut stream = plane.inbound(workload, port).await;
        assert_eq!(
            stream.status().await,
            Code::InvalidArgument,
            "{workload} {port}"
        );
    }
    assert_eq!(
        plane.profile("nonsense").await.status().await,
        Code::InvalidArgument
    );
    let update = plane
        .endpoints("nonsense")
        .await
        .message()
        .await
        .update
        .unwrap();
    let nothing =
        update::Update::NoEndpoints(linkerd2_proxy_api::destination::NoEndpoints { exists: false });
    assert_eq!(update, nothing);
}

/// A proxy asks again the moment its stream ends: with streams that end after a message this loop would count
/// thousands of calls.
#[tokio::test]
async fn a_proxy_that_asks_again_when_a_stream_ends_asks_once() {
    let plane = Plane::start(view()).await;
    let mut calls = 0_u32;
    let asking = async {
        loop {
            calls += 1;
            let mut stream = plane.profile(MEMBER).await.0.unwrap();
            while let Ok(Some(_)) = stream.message().await {}
        }
    };
    let never: Result<(), _> = time::timeout(QUIET, asking).await;
    assert!(never.is_err());
    assert_eq!(calls, 1);
}

#[tokio::test]
async fn requests_are_counted_by_method_and_streams_while_they_are_open() {
    let plane = Plane::start(view()).await;
    let mut first = plane.profile(MEMBER).await;
    let mut second = plane.profile(NOBODY).await;
    first.message().await;
    second.message().await;
    plane.outbound(NOBODY).await.status().await;
    plane.inbound("nonsense", 80).await.status().await;
    drop(first);
    let wanted = [
        "autoregistration_requests_total{method=\"GetProfile\"} 2",
        "autoregistration_requests_total{method=\"OutboundPolicies.Watch\"} 1",
        "autoregistration_requests_total{method=\"WatchPort\"} 1",
        "autoregistration_streams{method=\"GetProfile\"} 1",
        "autoregistration_streams{method=\"OutboundPolicies.Watch\"} 0",
        "autoregistration_streams{method=\"WatchPort\"} 0",
    ];
    let counted = async {
        loop {
            let text = plane.metrics.text(&Totals::default()).unwrap();
            if wanted
                .iter()
                .all(|line| text.lines().any(|found| found == *line))
            {
                return;
            }
            time::sleep(Duration::from_millis(10)).await;
        }
    };
    let counted = time::timeout(DEADLINE, counted).await;
    assert!(
        counted.is_ok(),
        "{}",
        plane.metrics.text(&Totals::default()).unwrap()
    );
}
