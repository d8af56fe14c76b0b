//! Whatever the mesh looks like and however it changes, what is said is sound.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use linkerd2_proxy_api::destination::{DestinationProfile, Update, WeightedAddr, update};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::answer::{Answer, Question};
use super::check::Checked as _;
use super::endpoints::Endpoints;
use super::follow::{Follow, Step};
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::profile::Profile;
use super::target::Target;
use super::testing;
use super::workload::Workload;
use crate::view::{Member, Service, ServicePort, TargetPort, View};

const NAMES: [&str; 3] = ["a", "b", "c"];
const NAMESPACES: [&str; 2] = ["one", "two"];
const PORTS: [u16; 6] = [1, 25, 80, 3306, 4191, 65535];
/// Of members and of nobody; the last is outside of the cluster networks.
const IPS: [&str; 6] = [
    "10.77.0.1",
    "10.77.0.2",
    "10.77.0.3",
    "fd00::1",
    "fd00::2",
    "192.0.2.1",
];
const SERVICE_IPS: [&str; 3] = ["10.96.0.1", "10.96.0.2", "fd96::1"];
const IDENTITIES: [&str; 5] = [
    "spiffe://td/a",
    "spiffe://td/b",
    "",
    "not-spiffe",
    "spiffe://td/",
];
const SERVER_NAMES: [&str; 4] = ["a.identity", "b.identity", "", "10.0.0.1"];
const OPAQUE: [&str; 4] = ["", "80", "1-65535", "http, 25"];
const POLICIES: [&str; 8] = [
    "deny",
    "all-authenticated",
    "all-unauthenticated",
    "cluster-authenticated",
    "cluster-unauthenticated",
    "audit",
    "",
    "typo",
];

/// What may be told to a member apart from its name.
fn member() -> impl Strategy<Value = Member> {
    let who = (
        select(&IDENTITIES[..]),
        select(&SERVER_NAMES[..]),
        select(&[0, 4143, 65535][..]),
    );
    let where_ = (subsequence(&IPS[..], 0..3), subsequence(&PORTS[..], 0..4));
    let annotations = (
        proptest::option::of(select(&OPAQUE[..])),
        proptest::option::of(select(&POLICIES[..])),
    );
    // Mostly sound members, or there would be nothing to look at.
    let sound = prop::bool::weighted(0.7);
    (who, where_, annotations, sound, any::<(bool, bool)>()).prop_map(
        |(
            (identity, server_name, inbound),
            (ips, ports),
            (opaque, policy),
            sound,
            (ready, chosen),
        )| {
            let mut member = testing::member("x");
            if !sound {
                identity.clone_into(&mut member.identity);
                server_name.clone_into(&mut member.server_name);
                member.proxy_inbound_port = inbound;
            }
            member.ips = ips.into_iter().map(|ip| ip.parse().unwrap()).collect();
            member.ports = ports
                .into_iter()
                .map(|port| (format!("p{port}"), port))
                .collect();
            if let Some(list) = opaque {
                member
                    .annotations
                    .insert("config.linkerd.io/opaque-ports".to_owned(), list.to_owned());
            }
            if let Some(name) = policy {
                let key = "config.linkerd.io/default-inbound-policy".to_owned();
                member.annotations.insert(key, name.to_owned());
            }
            member.ready = ready;
            if !chosen {
                member.labels.clear();
            }
            member
        },
    )
}

fn service() -> impl Strategy<Value = Service> {
    let port = (select(&PORTS[..]), select(&PORTS[..]), any::<bool>()).prop_map(
        |(port, target, named)| {
            let target = if named {
                TargetPort::Name(format!("p{target}"))
            } else {
                TargetPort::Number(target)
            };
            ServicePort { port, target }
        },
    );
    let ports = proptest::collection::vec(port, 0..4);
    (ports, subsequence(&SERVICE_IPS[..], 0..3)).prop_map(|(ports, ips)| Service {
        namespace: String::new(),
        name: String::new(),
        cluster_ips: ips.into_iter().map(|ip| ip.parse().unwrap()).collect(),
        ports,
        selector: [("app".to_owned(), "training-vm".to_owned())].into(),
    })
}

fn key() -> impl Strategy<Value = (String, String)> {
    (select(&NAMESPACES[..]), select(&NAMES[..]))
        .prop_map(|(ns, name)| (ns.to_owned(), name.to_owned()))
}

fn view() -> impl Strategy<Value = View> {
    let members = proptest::collection::btree_map(key(), member(), 0..5);
    let services = proptest::collection::btree_map(key(), service(), 0..4);
    let settings = (
        select(&["cluster.local", "Cluster.Local.", "", "no name"][..]),
        select(&POLICIES[..]),
        any::<bool>(),
    );
    (members, services, settings, any::<bool>()).prop_map(
        |(mut members, mut services, (domain, policy, networks), restored)| {
            for ((namespace, name), member) in &mut members {
                namespace.clone_into(&mut member.namespace);
                name.clone_into(&mut member.name);
            }
            for ((namespace, name), service) in &mut services {
                namespace.clone_into(&mut service.namespace);
                name.clone_into(&mut service.name);
            }
            let mut view = View {
                restored,
                members,
                services,
                ..View::default()
            };
            domain.clone_into(&mut view.settings.cluster_domain);
            policy.clone_into(&mut view.settings.default_inbound_policy);
            if networks {
                view.settings.cluster_networks =
                    vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
            }
            view
        },
    )
}

/// One Service whose members come, go and change, so that most views differ in its endpoints.
fn serving() -> impl Strategy<Value = View> {
    let member = (member(), prop::bool::weighted(0.8)).prop_map(|(mut member, serves)| {
        if serves {
            member.ports = vec![("http".to_owned(), 80)];
            member.labels = testing::member("x").labels;
            member.ready = true;
        }
        member
    });
    let members = proptest::collection::btree_map(select(&NAMES[..]), member, 0..4);
    (members, prop::bool::weighted(0.8)).prop_map(|(members, restored)| {
        let mut view = testing::mesh();
        let named = members.into_iter().map(|(name, mut member)| {
            name.clone_into(&mut member.name);
            ((member.namespace.clone(), member.name.clone()), member)
        });
        view.members = named.collect();
        view.restored = restored;
        view
    })
}

/// Everything that can be asked about.
fn targets() -> Vec<Target> {
    let ips = IPS
        .iter()
        .chain(&SERVICE_IPS)
        .map(|ip| ip.parse::<IpAddr>().unwrap());
    let served = "training-vm.training.svc.cluster.local:80";
    let mut targets = vec![Target::Other, Target::parse(served).unwrap()];
    for ip in ips {
        targets.extend(PORTS.map(|port| Target::Address(SocketAddr::new(ip, port))));
    }
    for (namespace, name) in NAMESPACES
        .into_iter()
        .flat_map(|ns| NAMES.map(|name| (ns, name)))
    {
        let host = format!("{name}.{namespace}.svc.cluster.local");
        targets.extend(PORTS.map(|port| Target::parse(&format!("{host}:{port}")).unwrap()));
    }
    targets
}

/// Every message that a new stream with this question would get is without faults.
fn sound<Q: Question>(question: Q, view: &View) -> Result<(), TestCaseError> {
    if let Step::Say(messages) = Follow::new(question).see(&Arc::new(view.clone())) {
        for message in messages {
            prop_assert_eq!(message.faults(), Vec::<String>::new(), "{:?}", message);
        }
    }
    Ok(())
}

/// A proxy's endpoint set, by the proxy's rules.
#[derive(Default, Debug)]
struct ProxySet {
    endpoints: BTreeMap<SocketAddr, WeightedAddr>,
    /// The set is from an earlier stream: the first `Add` replaces it, a `Remove` means nothing.
    stale: bool,
}

impl ProxySet {
    fn take(&mut self, message: Update) {
        let stale = std::mem::take(&mut self.stale);
        match message.update.unwrap() {
            update::Update::Add(set) => {
                if stale {
                    self.endpoints.clear();
                }
                for mut endpoint in set.addrs {
                    // The labels of the set are the endpoint's, too.
                    let labels = set.metric_labels.clone().into_iter();
                    endpoint.metric_labels = labels.chain(endpoint.metric_labels).collect();
                    let addr = SocketAddr::try_from(endpoint.addr.unwrap()).unwrap();
                    self.endpoints.insert(addr, endpoint);
                }
            }
            update::Update::Remove(set) => {
                for addr in set.addrs {
                    self.endpoints.remove(&SocketAddr::try_from(addr).unwrap());
                }
            }
            update::Update::NoEndpoints(_) => self.endpoints.clear(),
        }
    }

    /// What a new stream gives to a proxy that knew nothing.
    fn fresh(target: &Target, view: &View) -> Self {
        let mut set = Self::default();
        set.follow(&mut Follow::new(Endpoints(Some(target.clone()))), view);
        set
    }

    fn follow(&mut self, stream: &mut Follow<Endpoints>, view: &View) {
        match stream.see(&Arc::new(view.clone())) {
            Step::Say(messages) => messages.into_iter().for_each(|message| self.take(message)),
            Step::Refuse(why) => panic!("refused: {why}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_message_is_one_that_a_proxy_takes(view in prop_oneof![view(), serving()]) {
        for target in targets() {
            sound(Profile(target.clone()), &view)?;
            sound(Outbound(target.clone()), &view)?;
            sound(Endpoints(Some(target)), &view)?;
        }
        for (namespace, name) in NAMESPACES.into_iter().flat_map(|ns| NAMES.map(|name| (ns, name))) {
            for port in PORTS {
                let workload = Workload::parse(&format!("{namespace}:{name}")).unwrap();
                sound(Inbound { workload, port }, &view)?;
            }
        }
    }

    /// An empty profile and a `NotFound` together are plaintext to where the client dialled.
    #[test]
    fn nothing_that_may_be_a_member_is_reached_in_plaintext(view in view()) {
        for ip in IPS.map(|ip| ip.parse::<IpAddr>().unwrap()) {
            for port in PORTS {
                let target = Target::Address(SocketAddr::new(ip, port));
                let profile = Profile(target.clone()).answer(&view);
                prop_assert!(!matches!(profile, Answer::Unknown(_)), "a profile is never NotFound");
                let plaintext = profile == Answer::Give(DestinationProfile::default())
                    && matches!(Outbound(target).answer(&view), Answer::Unknown(_));
                let networks = &view.settings.cluster_networks;
                let inside = networks.is_empty() || networks.iter().any(|net| net.contains(&ip));
                let may_be_member = view.member_by_ip(ip).is_some() || (!view.restored && inside);
                prop_assert_eq!(plaintext, !may_be_member, "{}:{}", ip, port);
            }
        }
    }

    /// Applied one after the other to a proxy's set, differences give what a new stream would.
    #[test]
    fn differences_add_up_to_the_whole(
        views in proptest::collection::vec(prop_oneof![view(), serving(), serving()], 1..6),
    ) {
        for target in targets() {
            let mut stream = Follow::new(Endpoints(Some(target.clone())));
            let mut proxy = ProxySet::default();
            for view in &views {
                proxy.follow(&mut stream, view);
                let fresh = ProxySet::fresh(&target, view);
                prop_assert_eq!(&proxy.endpoints, &fresh.endpoints);
            }
        }
    }

    /// A proxy that comes back with an old set ends up with the present one, or, as long as nothing is certain, keeps
    /// the old one.
    #[test]
    fn a_new_stream_replaces_what_a_proxy_knew(old in prop_oneof![view(), serving()], now in prop_oneof![view(), serving()]) {
        for target in targets() {
            let before = ProxySet::fresh(&target, &old).endpoints;
            let mut proxy = ProxySet { endpoints: before.clone(), stale: true };
            proxy.follow(&mut Follow::new(Endpoints(Some(target.clone()))), &now);
            let fresh = ProxySet::fresh(&target, &now).endpoints;
            let expected = if fresh.is_empty() && !now.restored { before } else { fresh };
            prop_assert_eq!(proxy.endpoints, expected);
        }
    }
}
