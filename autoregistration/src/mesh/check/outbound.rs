//! Rules for outbound policies.

use linkerd2_proxy_api::outbound::backend::balance_p2c::Load;
use linkerd2_proxy_api::outbound::backend::{self, endpoint_discovery};
use linkerd2_proxy_api::outbound::proxy_protocol::{Kind, Opaque};
use linkerd2_proxy_api::outbound::{
    Backend, HttpRoute, OpaqueRoute, OutboundPolicy, http_route, opaque_route,
};

use super::{Checked, Faults};
use crate::mesh::identity::is_server_name;

impl Checked for OutboundPolicy {
    fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        faults.metadata(self.metadata.as_ref());
        let kind = self
            .protocol
            .as_ref()
            .and_then(|protocol| protocol.kind.as_ref());
        match faults.need(kind, "protocol") {
            Some(Kind::Detect(detect)) => {
                faults.positive(detect.timeout.as_ref(), "detect timeout");
                if let Some(opaque) = faults.need(detect.opaque.as_ref(), "opaque") {
                    faults.part("opaque", opaque);
                }
                if let Some(http) = faults.need(detect.http1.as_ref(), "http1") {
                    http_routes(&mut faults, &http.routes);
                }
                if let Some(http) = faults.need(detect.http2.as_ref(), "http2") {
                    http_routes(&mut faults, &http.routes);
                }
            }
            Some(Kind::Opaque(opaque)) => faults.part("opaque", opaque),
            Some(_) => faults.must(false, "a protocol that is never sent"),
            None => {}
        }
        faults.0
    }
}

impl Checked for Opaque {
    fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        faults.must(self.routes.len() == 1, "not exactly one route");
        for route in &self.routes {
            faults.part("route", route);
        }
        faults.0
    }
}

impl Checked for OpaqueRoute {
    fn faults(&self) -> Vec<String> {
        use opaque_route::{distribution, filter};
        let mut faults = Faults::default();
        faults.metadata(self.metadata.as_ref());
        faults.must(self.rules.len() == 1, "not exactly one rule");
        for rule in &self.rules {
            let filters = rule.filters.iter().map(|filter| filter.kind.as_ref());
            faults.must(
                filters.clone().all(|kind| kind.is_some()),
                "a filter is empty",
            );
            let closed = filters
                .flatten()
                .any(|kind| matches!(kind, filter::Kind::Forbidden(_)));
            let kind = rule
                .backends
                .as_ref()
                .and_then(|backends| backends.kind.as_ref());
            match faults.need(kind, "distribution") {
                Some(distribution::Kind::FirstAvailable(first)) => {
                    faults.must(!first.backends.is_empty(), "first available of none");
                    for route in &first.backends {
                        faults.backend(route.backend.as_ref());
                    }
                }
                Some(distribution::Kind::Empty(_)) => {
                    faults.must(closed, "neither a backend nor forbidden");
                }
                Some(distribution::Kind::RandomAvailable(_)) => {
                    faults.must(false, "a distribution that is never sent");
                }
                None => {}
            }
        }
        faults.0
    }
}

impl Checked for HttpRoute {
    fn faults(&self) -> Vec<String> {
        use http_route::distribution::Kind;
        let mut faults = Faults::default();
        faults.metadata(self.metadata.as_ref());
        faults.must(!self.rules.is_empty(), "no rule");
        for rule in &self.rules {
            let kind = rule
                .backends
                .as_ref()
                .and_then(|backends| backends.kind.as_ref());
            if let Some(Kind::FirstAvailable(first)) = kind {
                faults.must(!first.backends.is_empty(), "first available of none");
                for route in &first.backends {
                    faults.backend(route.backend.as_ref());
                }
            } else {
                faults.must(false, "distribution is missing or one that is never sent");
            }
        }
        faults.0
    }
}

impl Checked for Backend {
    fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        faults.metadata(self.metadata.as_ref());
        if let Some(queue) = faults.need(self.queue.as_ref(), "queue") {
            faults.must(queue.capacity > 0, "queue has no capacity");
            faults.positive(queue.failfast_timeout.as_ref(), "failfast timeout");
        }
        let Some(backend::Kind::Balancer(balancer)) = &self.kind else {
            faults.must(false, "backend is no balancer");
            return faults.0;
        };
        let discovery = balancer.discovery.as_ref().and_then(|d| d.kind.as_ref());
        if let Some(endpoint_discovery::Kind::Dst(dst)) = faults.need(discovery, "discovery") {
            let name = dst.path.rsplit_once(':').filter(|(host, port)| {
                is_server_name(host) && port.parse::<u16>().is_ok_and(|port| port != 0)
            });
            faults.must(name.is_some(), "path is not name:port: panics the proxy");
        }
        match &balancer.load {
            Some(Load::PeakEwma(load)) => {
                faults.positive(load.default_rtt.as_ref(), "default rtt");
                faults.positive(load.decay.as_ref(), "decay");
            }
            _ => faults.must(false, "load is missing or one that is never sent"),
        }
        faults.0
    }
}

impl Faults {
    fn backend(&mut self, backend: Option<&Backend>) {
        if let Some(backend) = self.need(backend, "backend") {
            self.part("backend", backend);
        }
    }
}

fn http_routes(faults: &mut Faults, routes: &[HttpRoute]) {
    faults.must(!routes.is_empty(), "no HTTP route: every request is a 404");
    for route in routes {
        faults.part("HTTP route", route);
    }
}

#[cfg(test)]
mod tests {
    use linkerd2_proxy_api::meta::{Metadata, Resource, metadata};
    use linkerd2_proxy_api::outbound::proxy_protocol::Detect;

    use super::*;
    use crate::mesh::answer::Question as _;
    use crate::mesh::outbound::Outbound;
    use crate::mesh::target::Target;
    use crate::mesh::testing::{SERVICE_IP, mesh};

    fn good() -> OutboundPolicy {
        let target = Target::parse(&format!("{SERVICE_IP}:80")).unwrap();
        Outbound(target).answer(&mesh()).state().unwrap()
    }

    fn detect(policy: &mut OutboundPolicy) -> &mut Detect {
        match policy.protocol.as_mut().unwrap().kind.as_mut().unwrap() {
            Kind::Detect(detect) => detect,
            other => panic!("{other:?}"),
        }
    }

    fn http_route(policy: &mut OutboundPolicy) -> &mut HttpRoute {
        &mut detect(policy).http1.as_mut().unwrap().routes[0]
    }

    fn backend(policy: &mut OutboundPolicy) -> &mut Backend {
        let distribution = http_route(policy).rules[0].backends.as_mut().unwrap();
        match distribution.kind.as_mut().unwrap() {
            http_route::distribution::Kind::FirstAvailable(first) => {
                first.backends[0].backend.as_mut().unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    fn balancer(policy: &mut OutboundPolicy) -> &mut backend::BalanceP2c {
        match backend(policy).kind.as_mut().unwrap() {
            backend::Kind::Balancer(balancer) => balancer,
            backend::Kind::Forward(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_compulsory_field_is_missed() {
        let breaks: [fn(&mut OutboundPolicy); 19] = [
            |p| p.metadata = None,
            |p| {
                p.metadata = Some(Metadata {
                    kind: Some(metadata::Kind::Resource(Resource::default())),
                });
            },
            |p| p.protocol = None,
            |p| p.protocol.as_mut().unwrap().kind = None,
            |p| detect(p).timeout = None,
            |p| detect(p).opaque = None,
            |p| detect(p).http1 = None,
            |p| detect(p).http2 = None,
            |p| detect(p).opaque.as_mut().unwrap().routes.clear(),
            |p| detect(p).http1.as_mut().unwrap().routes.clear(),
            |p| http_route(p).metadata = None,
            |p| http_route(p).rules.clear(),
            |p| http_route(p).rules[0].backends = None,
            |p| backend(p).metadata = None,
            |p| backend(p).queue = None,
            |p| backend(p).queue.as_mut().unwrap().failfast_timeout = None,
            |p| backend(p).kind = None,
            |p| balancer(p).discovery = None,
            |p| balancer(p).load = None,
        ];
        assert_eq!(good().faults(), Vec::<String>::new());
        for (case, breaks) in breaks.iter().enumerate() {
            let mut policy = good();
            breaks(&mut policy);
            assert_ne!(policy.faults(), Vec::<String>::new(), "case {case}");
        }
    }

    #[test]
    fn a_path_that_would_panic_a_proxy_is_a_fault() {
        for path in ["foo", "10.0.0.1:80", "a.b:0", "a b:80", ":80", "a.b:http"] {
            let mut policy = good();
            let discovery = balancer(&mut policy).discovery.as_mut().unwrap();
            let get = endpoint_discovery::Kind::Dst(endpoint_discovery::DestinationGet {
                path: path.to_owned(),
            });
            discovery.kind = Some(get);
            assert_ne!(policy.faults(), Vec::<String>::new(), "{path}");
        }
    }
}
