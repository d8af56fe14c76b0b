//! What the program calls. The chart grants exactly this; a call that is new begins here.

/// Calls of a kind.
pub(crate) struct Calls {
    /// Group, resource and subresource, as in a rule: `group/resource` or `group/resource/subresource`.
    pub(crate) resource: &'static str,
    pub(crate) place: Place,
    /// Empty: whatever the name.
    pub(crate) names: &'static [&'static str],
    pub(crate) verbs: &'static [&'static str],
}

/// Where the objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In every namespace that is watched: all, when none is named.
    Watched,
    /// The watched namespaces themselves.
    Namespaces,
    /// Where it runs.
    Own,
    /// Where Linkerd is.
    Linkerd,
}

use Place::{Linkerd, Namespaces, Own, Watched};

/// What is created by an apply is asked for as `patch`, and as `create` when it is not there.
pub(crate) const CALLS: &[Calls] = &[
    calls(
        "workload.buoyant.io/externalgroups",
        Watched,
        &["list", "watch"],
    ),
    calls(
        "workload.buoyant.io/externalgroups/status",
        Watched,
        &["patch"],
    ),
    calls(
        "workload.linkerd.io/externalworkloads",
        Watched,
        &["get", "list", "watch", "create", "patch", "delete"],
    ),
    calls(
        "workload.linkerd.io/externalworkloads/status",
        Watched,
        &["patch"],
    ),
    // Has Linkerd taken a workload out, before its address changes?
    calls("discovery.k8s.io/endpointslices", Watched, &["list"]),
    // Their annotations config.linkerd.io/….
    calls("/namespaces", Namespaces, &["list", "watch"]),
    calls("events.k8s.io/events", Watched, &["create", "patch"]),
    // Who leads.
    calls("coordination.k8s.io/leases", Own, &["create"]),
    named(
        "coordination.k8s.io/leases",
        Own,
        &["linkerd-autoregistration"],
        &["get", "update"],
    ),
    // Who the other replicas are.
    calls("discovery.k8s.io/endpointslices", Own, &["list", "watch"]),
    // Listed and watched with `fieldSelector=metadata.name=…`, one by one.
    named(
        "/configmaps",
        Linkerd,
        &["linkerd-config", "linkerd-identity-trust-roots"],
        &["list", "watch"],
    ),
];

/// What it must not get at, beside every other verb on what it calls.
pub(super) const NEVER: &[&str] = &[
    "/secrets",
    "/pods",
    "/pods/exec",
    "/pods/log",
    "/services",
    "/endpoints",
    "/nodes",
    "/nodes/proxy",
    "/events",
    "/serviceaccounts",
    "/serviceaccounts/token",
    "/users",
    "/groups",
    "apps/deployments",
    "rbac.authorization.k8s.io/roles",
    "rbac.authorization.k8s.io/clusterroles",
    "rbac.authorization.k8s.io/rolebindings",
    "rbac.authorization.k8s.io/clusterrolebindings",
    "apiextensions.k8s.io/customresourcedefinitions",
    "admissionregistration.k8s.io/mutatingwebhookconfigurations",
    "certificates.k8s.io/certificatesigningrequests",
    "policy.linkerd.io/servers",
    "policy.linkerd.io/authorizationpolicies",
    "policy.linkerd.io/meshtlsauthentications",
    "workload.buoyant.io/externalgroups/finalizers",
];

const fn calls(resource: &'static str, place: Place, verbs: &'static [&'static str]) -> Calls {
    named(resource, place, &[], verbs)
}

const fn named(
    resource: &'static str,
    place: Place,
    names: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Calls {
    Calls {
        resource,
        place,
        names,
        verbs,
    }
}
