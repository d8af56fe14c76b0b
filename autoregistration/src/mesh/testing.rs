//! A small mesh for tests: one member, one Service that selects it.

use crate::view::{Member, Service, ServicePort, Settings, TargetPort, View};

pub(super) const MEMBER_IP: &str = "10.77.0.2";
pub(super) const SERVICE_IP: &str = "10.96.0.10";

pub(super) fn mesh() -> View {
    let mut view = View {
        restored: true,
        settings: Settings {
            cluster_domain: "cluster.local".to_owned(),
            cluster_networks: vec!["10.0.0.0/8".parse().unwrap()],
            default_inbound_policy: "all-unauthenticated".to_owned(),
        },
        ..View::default()
    };
    let service = Service {
        namespace: "training".to_owned(),
        name: "training-vm".to_owned(),
        cluster_ips: vec![SERVICE_IP.parse().unwrap()],
        ports: vec![ServicePort {
            port: 80,
            target: TargetPort::Name("http".to_owned()),
        }],
        selector: [("app".to_owned(), "training-vm".to_owned())].into(),
    };
    let key = (service.namespace.clone(), service.name.clone());
    view.services.insert(key, service);
    add_member(&mut view, "vm-a", MEMBER_IP);
    view
}

pub(super) fn member(name: &str) -> Member {
    Member {
        namespace: "training".to_owned(),
        name: name.to_owned(),
        group: "training-vm".to_owned(),
        labels: [("app".to_owned(), "training-vm".to_owned())].into(),
        annotations: [].into(),
        ips: vec![MEMBER_IP.parse().unwrap()],
        ports: vec![("http".to_owned(), 80)],
        proxy_inbound_port: 4143,
        identity: format!("spiffe://root.linkerd.cluster.local/{name}"),
        server_name: format!("{name}.training.external.identity.linkerd.cluster.local"),
        ready: true,
    }
}

pub(super) fn add_member(view: &mut View, name: &str, ip: &str) {
    let mut member = member(name);
    member.ips = vec![ip.parse().unwrap()];
    let key = (member.namespace.clone(), member.name.clone());
    view.members.insert(key, member);
}

/// The first member.
pub(super) fn member_of(view: &mut View) -> &mut Member {
    view.members.values_mut().next().unwrap()
}

/// The first Service.
pub(super) fn service_of(view: &View) -> &Service {
    view.services.values().next().unwrap()
}
