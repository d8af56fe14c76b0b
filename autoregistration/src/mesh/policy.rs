//! Linkerd's default inbound policies, as authorizations of a VM's clients.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use linkerd2_proxy_api::inbound::authn::permit_mesh_tls::{Clients, PermitClientIdentities};
use linkerd2_proxy_api::inbound::authn::{Permit, PermitMeshTls, PermitUnauthenticated};
use linkerd2_proxy_api::inbound::{Authn, Authz, Identity, Network};
use linkerd2_proxy_api::meta::{Metadata, metadata};

use super::identity;
use crate::view::{Member, View};

/// The annotation that sets a member's policy.
const ANNOTATION: &str = "config.linkerd.io/default-inbound-policy";

/// Who may connect where nothing more specific is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DefaultPolicy {
    /// Nobody.
    Deny,
    /// Anybody.
    AllUnauthenticated,
    /// Members.
    AllAuthenticated,
    /// Anybody in the cluster networks.
    ClusterUnauthenticated,
    /// Members in the cluster networks.
    ClusterAuthenticated,
    /// Anybody; proxies log what a policy would have refused.
    Audit,
}

/// All policies, for looking one up by name.
const ALL: [DefaultPolicy; 6] = [
    DefaultPolicy::Deny,
    DefaultPolicy::AllUnauthenticated,
    DefaultPolicy::AllAuthenticated,
    DefaultPolicy::ClusterUnauthenticated,
    DefaultPolicy::ClusterAuthenticated,
    DefaultPolicy::Audit,
];

// === impl DefaultPolicy ===

impl DefaultPolicy {
    /// The policy of `member`: its annotation, else the mesh's setting. What cannot be read denies: a typing error must
    /// not open a port.
    pub(super) fn of(view: &View, member: &Member) -> Self {
        let own = member.annotations.get(ANNOTATION);
        let name = own.unwrap_or(&view.settings.default_inbound_policy).trim();
        let found = ALL.into_iter().find(|policy| policy.name() == name);
        found.unwrap_or(Self::Deny)
    }

    /// Linkerd's name for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::AllUnauthenticated => "all-unauthenticated",
            Self::AllAuthenticated => "all-authenticated",
            Self::ClusterUnauthenticated => "cluster-unauthenticated",
            Self::ClusterAuthenticated => "cluster-authenticated",
            Self::Audit => "audit",
        }
    }

    /// Whether it lists the members, so that it changes with them.
    pub(super) fn lists_members(self) -> bool {
        matches!(self, Self::AllAuthenticated | Self::ClusterAuthenticated)
    }

    /// Whom it lets in. An authorization without network or identity would void the whole answer or say nothing, so
    /// that there is none then, which denies.
    pub(super) fn authorizations(self, view: &View) -> Vec<Authz> {
        let networks = match self {
            Self::Deny => Vec::new(),
            Self::AllUnauthenticated | Self::AllAuthenticated | Self::Audit => everywhere(),
            Self::ClusterUnauthenticated | Self::ClusterAuthenticated => {
                view.settings.cluster_networks.clone()
            }
        };
        let permit = if self.lists_members() {
            members(view)
        } else {
            Some(Permit::Unauthenticated(PermitUnauthenticated {}))
        };
        let filled = permit.filter(|_| !networks.is_empty());
        filled
            .map(|permit| authorization(self.name(), networks, permit))
            .into_iter()
            .collect()
    }
}

/// Lets anybody in who comes from this host. Proxies add the same by themselves; it is written out so that a scraper or
/// health check on the VM does not depend on that.
pub(super) fn localhost() -> Authz {
    let networks = vec![
        IpNet::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST)),
        IpNet::from(std::net::IpAddr::from(Ipv6Addr::LOCALHOST)),
    ];
    let anybody = Permit::Unauthenticated(PermitUnauthenticated {});
    authorization("localhost", networks, anybody)
}

/// Every member by its exact SPIFFE ID: proxies match a SPIFFE ID neither by suffix nor by wildcard.
fn members(view: &View) -> Option<Permit> {
    let ids = view.members.values().map(|member| &*member.identity);
    let ids: BTreeSet<_> = ids.filter(|id| identity::is_spiffe_id(id)).collect();
    let identities: Vec<_> = ids
        .into_iter()
        .map(|id| Identity {
            name: id.to_owned(),
        })
        .collect();
    (!identities.is_empty()).then(|| {
        Permit::MeshTls(PermitMeshTls {
            clients: Some(Clients::Identities(PermitClientIdentities {
                identities,
                suffixes: Vec::new(),
            })),
        })
    })
}

fn authorization(name: &str, networks: Vec<IpNet>, permit: Permit) -> Authz {
    let network = |net: IpNet| Network {
        net: Some(net.into()),
        except: Vec::new(),
    };
    Authz {
        networks: networks.into_iter().map(network).collect(),
        authentication: Some(Authn {
            permit: Some(permit),
        }),
        metadata: Some(Metadata {
            kind: Some(metadata::Kind::Default(name.to_owned())),
        }),
        labels: super::inbound::labels(name),
    }
}

fn everywhere() -> Vec<IpNet> {
    vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::testing::{add_member, member_of, mesh};

    fn policy(annotation: Option<&str>, setting: &str) -> DefaultPolicy {
        let mut view = mesh();
        view.settings.default_inbound_policy = setting.to_owned();
        if let Some(text) = annotation {
            let annotations = &mut member_of(&mut view).annotations;
            annotations.insert(ANNOTATION.to_owned(), text.to_owned());
        }
        let member = view.members.values().next().unwrap();
        DefaultPolicy::of(&view, member)
    }

    #[test]
    fn the_annotation_comes_before_the_setting_and_a_typo_denies() {
        for expected in ALL {
            assert_eq!(policy(None, expected.name()), expected);
            assert_eq!(
                policy(Some(expected.name()), "all-unauthenticated"),
                expected
            );
        }
        for unreadable in ["", "all-authentcated", "Deny"] {
            assert_eq!(
                policy(Some(unreadable), "all-unauthenticated"),
                DefaultPolicy::Deny
            );
            assert_eq!(policy(None, unreadable), DefaultPolicy::Deny);
        }
    }

    /// Prefixes of the networks and, for members, their identities.
    fn outline(policy: DefaultPolicy, view: &View) -> Option<(Vec<u32>, Option<Vec<String>>)> {
        let authz = policy.authorizations(view).pop()?;
        let prefixes = authz
            .networks
            .iter()
            .map(|n| n.net.unwrap().prefix_len)
            .collect();
        let identities = match authz.authentication.unwrap().permit.unwrap() {
            Permit::Unauthenticated(_) => None,
            Permit::MeshTls(tls) => match tls.clients.unwrap() {
                Clients::Identities(ids) => {
                    Some(ids.identities.into_iter().map(|i| i.name).collect())
                }
                Clients::Unauthenticated(_) => panic!("any TLS client"),
            },
        };
        Some((prefixes, identities))
    }

    #[test]
    fn each_policy_lets_in_whom_its_name_says() {
        let mut view = mesh();
        add_member(&mut view, "vm-b", "10.77.0.3");
        add_member(&mut view, "vm-c", "10.77.0.4");
        view.members.values_mut().last().unwrap().identity = "not-spiffe".to_owned();
        let ids: Vec<String> = ["vm-a", "vm-b"]
            .map(|name| format!("spiffe://root.linkerd.cluster.local/{name}"))
            .into();
        for (policy, expected) in [
            (DefaultPolicy::Deny, None),
            (DefaultPolicy::AllUnauthenticated, Some((vec![0, 0], None))),
            (DefaultPolicy::Audit, Some((vec![0, 0], None))),
            (
                DefaultPolicy::AllAuthenticated,
                Some((vec![0, 0], Some(ids.clone()))),
            ),
            (DefaultPolicy::ClusterUnauthenticated, Some((vec![8], None))),
            (
                DefaultPolicy::ClusterAuthenticated,
                Some((vec![8], Some(ids))),
            ),
        ] {
            assert_eq!(outline(policy, &view), expected, "{policy:?}");
        }
    }

    #[test]
    fn a_policy_that_has_nobody_to_list_denies() {
        let mut view = mesh();
        view.settings.cluster_networks.clear();
        assert_eq!(outline(DefaultPolicy::ClusterUnauthenticated, &view), None);
        view.members.clear();
        assert_eq!(outline(DefaultPolicy::AllAuthenticated, &view), None);
    }
}
