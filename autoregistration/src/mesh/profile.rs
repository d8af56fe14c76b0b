//! `Destination.GetProfile`: what an address or a name is.
//!
//! Never `NotFound`: a proxy retries that for ever, while its client hangs. An address that is nothing of ours has an
//! empty profile, which means plaintext to where the client dialled, so that it is said only when it is certain.

use linkerd2_proxy_api::destination::DestinationProfile;

use super::answer::{Answer, Question};
use super::endpoint::endpoint;
use super::target::{Known, Target};
use super::{hold, opaque, service};
use crate::view::View;

/// What this is.
#[derive(Clone, Debug)]
pub(super) struct Profile(pub(super) Target);

// === impl Profile ===

impl Question for Profile {
    type State = DestinationProfile;
    type Message = DestinationProfile;

    fn answer(&self, view: &View) -> Answer<DestinationProfile> {
        match self.0.look_up(view) {
            Known::Service(service, Some(port)) => Answer::Give(DestinationProfile {
                fully_qualified_name: service::host(view, service).unwrap_or_default(),
                opaque_protocol: service::is_opaque(view, service, port),
                ..DestinationProfile::default()
            }),
            Known::Address(addr) => match view.member_by_ip(addr.ip()) {
                // Any port, listed or not, and whether the member is ready or not: an address of the mesh is reached
                // with TLS as long as the VM may be there. Without a usable identity nothing is said, and the
                // connection waits: an empty profile would send it out in plaintext.
                Some(member) => match endpoint(member, addr) {
                    Some(endpoint) => Answer::Give(DestinationProfile {
                        endpoint: Some(endpoint),
                        opaque_protocol: opaque::is_opaque(member, addr.port()),
                        ..DestinationProfile::default()
                    }),
                    None => Answer::Hold,
                },
                None if hold::may_be_member(view, addr.ip()) => Answer::Hold,
                None => Answer::Give(DestinationProfile::default()),
            },
            // A name is asked for by the server's own proxy, which decides nothing about TLS by it but delays the first
            // request by half a second while it waits: answered at once, also while state is being restored.
            Known::Service(_, None) | Known::Nothing => Answer::Give(DestinationProfile::default()),
        }
    }

    fn messages(_: Option<DestinationProfile>, now: DestinationProfile) -> Vec<DestinationProfile> {
        vec![now]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::testing::{MEMBER_IP, SERVICE_IP, member_of, mesh, service_of};

    const NAME: &str = "training-vm.training.svc.cluster.local";

    fn profile(view: &View, path: &str) -> Answer<DestinationProfile> {
        Profile(Target::parse(path).unwrap()).answer(view)
    }

    fn empty() -> Answer<DestinationProfile> {
        Answer::Give(DestinationProfile::default())
    }

    #[test]
    fn a_service_is_known_by_address_and_by_name() {
        let view = mesh();
        for path in [format!("{SERVICE_IP}:80"), format!("{NAME}:80")] {
            let answer = profile(&view, &path).state().unwrap();
            assert_eq!(answer.fully_qualified_name, NAME, "{path}");
            assert!(!answer.opaque_protocol && answer.endpoint.is_none());
        }
        assert_eq!(profile(&view, &format!("{SERVICE_IP}:81")), empty());
        assert_eq!(profile(&view, &format!("{NAME}:81")), empty());
    }

    #[test]
    fn an_opaque_service_port_says_so() {
        let mut view = mesh();
        service_of(&view);
        view.services
            .values_mut()
            .for_each(|s| s.ports[0].port = 3306);
        view.members.clear();
        let answer = profile(&view, &format!("{SERVICE_IP}:3306"));
        assert!(answer.state().unwrap().opaque_protocol);
    }

    #[test]
    fn every_port_of_a_member_has_its_identity_ready_or_not() {
        let mut view = mesh();
        for ready in [true, false] {
            view.members.values_mut().for_each(|m| m.ready = ready);
            for port in [1, 80, 4143, 4190, 4191, 9999, 65535] {
                let answer = profile(&view, &format!("{MEMBER_IP}:{port}")).state();
                let endpoint = answer.unwrap().endpoint.unwrap();
                assert!(endpoint.tls_identity.is_some(), "{port}");
            }
        }
        let opaque = profile(&view, &format!("{MEMBER_IP}:3306"));
        assert!(opaque.state().unwrap().opaque_protocol);
    }

    #[test]
    fn a_member_without_usable_identity_is_not_called_unknown() {
        let mut view = mesh();
        member_of(&mut view).identity.clear();
        assert_eq!(profile(&view, &format!("{MEMBER_IP}:80")), Answer::Hold);
    }

    #[test]
    fn an_unknown_address_is_held_until_the_state_is_restored() {
        let mut view = mesh();
        assert_eq!(profile(&view, "10.77.0.99:80"), empty());
        view.restored = false;
        assert_eq!(profile(&view, "10.77.0.99:80"), Answer::Hold);
        assert!(profile(&view, &format!("{MEMBER_IP}:80")).state().is_some());
        assert!(
            profile(&view, &format!("{SERVICE_IP}:80"))
                .state()
                .is_some()
        );
    }

    #[test]
    fn names_of_others_are_answered_empty_at_once() {
        let mut view = mesh();
        view.restored = false;
        for path in ["example.com:80", "a.b.svc.cluster.local:80", "localhost:80"] {
            assert_eq!(profile(&view, path), empty(), "{path}");
        }
    }
}
