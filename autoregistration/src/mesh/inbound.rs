//! `InboundServerPolicies.WatchPort`: who may connect to a port of a workload, and how it is served.

use std::collections::HashMap;
use std::time::Duration;

use linkerd2_proxy_api::http_route::{HttpRouteMatch, PathMatch, path_match};
use linkerd2_proxy_api::inbound::proxy_protocol::{Detect, Kind, Opaque};
use linkerd2_proxy_api::inbound::{HttpRoute, ProxyProtocol, Server, http_route};
use linkerd2_proxy_api::meta::{Metadata, metadata};

use super::answer::{Answer, Question};
use super::endpoint::ADMIN_PORT;
use super::opaque;
use super::policy::{self, DefaultPolicy};
use super::workload::Workload;
use crate::view::{Member, View};

/// How long an inbound proxy waits for the first bytes of HTTP. Unlike its outbound twin it is obeyed.
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Who may connect to `port` of `workload`?
#[derive(Clone, Debug)]
pub(super) struct Inbound {
    pub(super) workload: Workload,
    pub(super) port: u16,
}

// === impl Inbound ===

impl Question for Inbound {
    type State = Server;
    type Message = Server;

    fn answer(&self, view: &View) -> Answer<Server> {
        let key = (self.workload.namespace.clone(), self.workload.name.clone());
        let Some(member) = view.members.get(&key) else {
            // A proxy that is told `NotFound` falls back to the policy in its environment.
            return if view.restored {
                Answer::Unknown("no workload of this name is registered")
            } else {
                Answer::Hold
            };
        };
        let policy = DefaultPolicy::of(view, member);
        // A list of those members that are already back would cut the connections of the others.
        if policy.lists_members() && !view.restored {
            return Answer::Hold;
        }
        let mut authorizations = policy.authorizations(view);
        if self.port == ADMIN_PORT {
            authorizations.push(policy::localhost());
        }
        Answer::Give(Server {
            protocol: Some(protocol(member, self.port)),
            server_ips: Vec::new(),
            authorizations,
            labels: labels(policy.name()),
        })
    }

    fn messages(_: Option<Server>, now: Server) -> Vec<Server> {
        vec![now]
    }
}

/// What a proxy's metrics call a default.
pub(super) fn labels(name: &str) -> HashMap<String, String> {
    [("group", ""), ("kind", "default"), ("name", name)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Detection serves HTTP/1, HTTP/2 and anything else, so the admin port needs nothing of its own.
fn protocol(member: &Member, port: u16) -> ProxyProtocol {
    let kind = if opaque::is_opaque(member, port) {
        Kind::Opaque(Opaque {})
    } else {
        Kind::Detect(Detect {
            timeout: prost_types::Duration::try_from(DETECT_TIMEOUT).ok(),
            http_routes: vec![every_request()],
            http_local_rate_limit: None,
        })
    };
    ProxyProtocol { kind: Some(kind) }
}

/// The route that Linkerd's policy controller sends for a port without routes of its own: every request, let in by the
/// authorizations of the port. A proxy makes up the same when there is none, but means to stop that.
fn every_request() -> HttpRoute {
    let path = PathMatch {
        kind: Some(path_match::Kind::Prefix("/".to_owned())),
    };
    let every = HttpRouteMatch {
        path: Some(path),
        ..HttpRouteMatch::default()
    };
    HttpRoute {
        metadata: Some(Metadata {
            kind: Some(metadata::Kind::Default("default".to_owned())),
        }),
        hosts: Vec::new(),
        authorizations: Vec::new(),
        rules: vec![http_route::Rule {
            matches: vec![every],
            filters: Vec::new(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::check::Checked as _;
    use crate::mesh::testing::{add_member, member_of, mesh};

    fn server(view: &View, port: u16) -> Answer<Server> {
        let workload = Workload::parse("training:vm-a").unwrap();
        let answer = Inbound { workload, port }.answer(view);
        if let Answer::Give(server) = &answer {
            assert_eq!(server.faults(), Vec::<String>::new());
        }
        answer
    }

    fn set_policy(view: &mut View, policy: &str) {
        policy.clone_into(&mut view.settings.default_inbound_policy);
    }

    #[test]
    fn a_port_is_labelled_with_its_policy() {
        let view = mesh();
        let server = server(&view, 80).state().unwrap();
        assert_eq!(server.labels, labels("all-unauthenticated"));
        assert_eq!(server.authorizations.len(), 1);
        assert!(matches!(
            server.protocol.unwrap().kind,
            Some(Kind::Detect(_))
        ));
    }

    #[test]
    fn an_opaque_port_is_served_opaque() {
        let view = mesh();
        let kind = server(&view, 3306).state().unwrap().protocol.unwrap().kind;
        assert_eq!(kind, Some(Kind::Opaque(Opaque {})));
    }

    #[test]
    fn the_admin_port_lets_localhost_in_whatever_the_policy() {
        let mut view = mesh();
        set_policy(&mut view, "deny");
        assert_eq!(server(&view, 80).state().unwrap().authorizations, []);
        let admin = server(&view, ADMIN_PORT).state().unwrap();
        assert_eq!(admin.authorizations, [policy::localhost()]);
        assert!(matches!(
            admin.protocol.unwrap().kind,
            Some(Kind::Detect(_))
        ));
    }

    #[test]
    fn an_unknown_workload_is_held_and_then_not_found() {
        let mut view = mesh();
        view.members.clear();
        assert!(matches!(server(&view, 80), Answer::Unknown(_)));
        view.restored = false;
        assert_eq!(server(&view, 80), Answer::Hold);
    }

    #[test]
    fn a_list_of_members_waits_until_it_is_complete() {
        let mut view = mesh();
        view.restored = false;
        assert!(server(&view, 80).state().is_some());
        set_policy(&mut view, "all-authenticated");
        assert_eq!(server(&view, 80), Answer::Hold);
        view.restored = true;
        let before = server(&view, 80);
        assert!(before.clone().state().is_some());
        add_member(&mut view, "vm-b", "10.77.0.3");
        assert_ne!(server(&view, 80), before);
        // Who is not ready is a member all the same, and may connect.
        let after = server(&view, 80);
        member_of(&mut view).ready = false;
        assert_eq!(server(&view, 80), after);
    }
}
