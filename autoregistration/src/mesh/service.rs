//! Names of Services, and what is true of all their endpoints.

use super::{identity, opaque};
use crate::view::{Service, ServicePort, View};

/// `name.namespace.svc.<cluster domain>`, or `None` when that is no DNS name: as the path of a balancer it would panic
/// a task of each proxy that is told.
pub(super) fn host(view: &View, service: &Service) -> Option<String> {
    let host = format!("{}.{}.{}", service.name, service.namespace, suffix(view));
    identity::is_server_name(&host).then_some(host)
}

/// The Service of that name; `host` in lower case and without trailing dot.
pub(super) fn by_host<'a>(view: &'a View, host: &str) -> Option<&'a Service> {
    let (name, rest) = host.split_once('.')?;
    let (namespace, rest) = rest.split_once('.')?;
    if rest != suffix(view) {
        return None;
    }
    view.services.get(&(namespace.to_owned(), name.to_owned()))
}

/// Whether `host` has the form of a Service's name, in whatever cluster domain.
pub(super) fn may_be_host(host: &str) -> bool {
    host.len() <= 253 && host.split('.').nth(2) == Some("svc")
}

/// Whether connections to `port` are opaque for the proxy that makes them: when one of its endpoints is. With endpoints
/// that are not, opaque bytes arrive as well; the other way round a connection in which the server speaks first waits
/// 10 s. A port without endpoints is judged by its own number.
pub(super) fn is_opaque(view: &View, service: &Service, port: &ServicePort) -> bool {
    let mut endpoints = view
        .selected(service, port)
        .filter(|(member, _)| identity::is_usable(member))
        .peekable();
    if endpoints.peek().is_none() {
        return opaque::DEFAULT.contains(&port.port);
    }
    endpoints.any(|(member, number)| opaque::is_opaque(member, number))
}

fn suffix(view: &View) -> String {
    let domain = view.settings.cluster_domain.trim_matches('.');
    format!("svc.{}", domain.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::testing::{mesh, service_of};

    #[test]
    fn a_service_has_the_name_under_which_it_is_found() {
        let mut view = mesh();
        let host_of = |view: &View| host(view, service_of(view));
        let name = "training-vm.training.svc.cluster.local";
        assert_eq!(host_of(&view).as_deref(), Some(name));
        assert_eq!(by_host(&view, name), Some(service_of(&view)));
        for other in [
            "training-vm.training.svc.other.local",
            "training-vm.other.svc.cluster.local",
            "a.training-vm.training.svc.cluster.local",
            "training-vm.training",
        ] {
            assert_eq!(by_host(&view, other), None, "{other}");
        }
        view.settings.cluster_domain = "cluster.local.".to_owned();
        assert_eq!(host_of(&view).as_deref(), Some(name));
        view.settings.cluster_domain = "1".to_owned();
        assert_eq!(host_of(&view), None);
    }

    #[test]
    fn a_port_is_opaque_if_one_endpoint_says_so() {
        let mut view = mesh();
        let opaque = |view: &View| {
            let service = service_of(view);
            is_opaque(view, service, &service.ports[0])
        };
        assert!(!opaque(&view));
        let key = "config.linkerd.io/opaque-ports".to_owned();
        let member = view.members.values_mut().next().unwrap();
        member.annotations.insert(key, "80".to_owned());
        assert!(opaque(&view));
        view.members.clear();
        assert!(!opaque(&view));
        view.services
            .values_mut()
            .for_each(|s| s.ports[0].port = 3306);
        assert!(opaque(&view));
    }
}
