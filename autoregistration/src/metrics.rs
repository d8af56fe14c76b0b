//! Counters and gauges in the Prometheus text format. Labels are of closed sets: none names a VM.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::kubernetes;
use crate::registry::objects::Totals;

/// The metrics of the process; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    hellos: Family<Outcome, Counter>,
    sessions: Family<Stage, Gauge>,
    workloads: Family<State, Gauge>,
    restored: Gauge,
    refused_connections: Family<Listener, Counter>,
    rate_limited: Family<Limited, Counter>,
    questions: Family<Method, Counter>,
    streams: Family<Method, Gauge>,
    leader: Gauge,
    peer_queries: Family<Outcome, Counter>,
    mass_loss_active: Gauge,
    events: Family<Outcome, Counter>,
    session_ends: Family<End, Counter>,
    goaways: Family<End, Counter>,
    config_acks: Family<Outcome, Counter>,
    sweeps: Family<Outcome, Counter>,
    kubernetes: kubernetes::metrics::Metrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct End {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limited {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let hellos = Family::default();
        let sessions = Family::default();
        let workloads = Family::default();
        let restored = Gauge::default();
        let refused_connections = Family::default();
        let rate_limited = Family::default();
        let questions = Family::default();
        let streams = Family::default();
        let leader = Gauge::default();
        let peer_queries = Family::default();
        let mass_loss_active = Gauge::default();
        let events = Family::default();
        let mut registry = Registry::with_prefix("autoregistration");
        registry.register(
            "hellos",
            "Hellos by how they ended: ASSIGNED, PENDING, or the reason of the refusal",
            Family::clone(&hellos),
        );
        registry.register(
            "sessions",
            "Open sessions by stage",
            Family::clone(&sessions),
        );
        registry.register(
            "workloads",
            "Registered workloads by readiness: ready, unready, unknown",
            Family::clone(&workloads),
        );
        registry.register(
            "restored",
            "1 once the VMs had time to come back after a start",
            Gauge::clone(&restored),
        );
        registry.register(
            "refused_connections",
            "Connections that ended before or in their TLS handshake, or did not come from the pod's own Linkerd proxy",
            Family::clone(&refused_connections),
        );
        registry.register(
            "rate_limited",
            "Refusals because of too many Hellos of all (replica), of one SPIFFE ID (identity) or of one machine \
             (instance), streams without Hello (silent), messages on a stream (messages)",
            Family::clone(&rate_limited),
        );
        registry.register(
            "requests",
            "Requests of proxies to Linkerd's APIs; a steady rate without new connections is a proxy that asks in a loop",
            Family::clone(&questions),
        );
        registry.register(
            "streams",
            "Requests of proxies that are being answered",
            Family::clone(&streams),
        );
        registry.register(
            "leader",
            "1 while this replica leads",
            Gauge::clone(&leader),
        );
        registry.register(
            "peer_queries",
            "Questions to other replicas by how they ended: answered, silent, nonsense",
            Family::clone(&peer_queries),
        );
        registry.register(
            "mass_loss_active",
            "1 while so many VMs are lost at once that none is called unreachable",
            Gauge::clone(&mass_loss_active),
        );
        registry.register(
            "events",
            "Kubernetes events by how they ended: published, limited, dropped, failed",
            Family::clone(&events),
        );
        let session_ends = Family::default();
        let goaways = Family::default();
        let config_acks = Family::default();
        registry.register(
            "config_acks",
            "Answers of harnesses to their assignments: APPLIED, DEFERRED, REJECTED",
            Family::clone(&config_acks),
        );
        let sweeps = Family::default();
        registry.register(
            "session_end",
            "Sessions that we have ended by reason",
            Family::clone(&session_ends),
        );
        registry.register(
            "goaways",
            "VMs that were asked for another session by reason: DRAINING (a replica goes down), REBALANCE (it has more than \
             its share)",
            Family::clone(&goaways),
        );
        registry.register(
            "sweeps",
            "Looks for lost VMs by how they ended: COMPLETE, INCOMPLETE, SUSPENDED",
            Family::clone(&sweeps),
        );
        let kubernetes = kubernetes::metrics::Metrics::default();
        kubernetes.register(&mut registry);
        Self {
            registry: Arc::new(registry),
            hellos,
            sessions,
            workloads,
            restored,
            refused_connections,
            rate_limited,
            questions,
            streams,
            leader,
            peer_queries,
            mass_loss_active,
            events,
            session_ends,
            goaways,
            config_acks,
            sweeps,
            kubernetes,
        }
    }
}

impl Metrics {
    /// Counts how a `Hello` ended.
    pub fn hello(&self, outcome: &'static str) {
        self.hellos.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a connection that did not come to anything.
    pub fn refused_connection(&self, listener: &'static str) {
        self.refused_connections
            .get_or_create(&Listener { listener })
            .inc();
    }

    /// Counts a refusal for having too much of something.
    pub fn rate_limited(&self, limit: &'static str) {
        self.rate_limited.get_or_create(&Limited { limit }).inc();
    }

    /// Counts a request of a proxy; the gauge, raised by it, is for the caller to lower when the request is over.
    pub fn question(&self, method: &'static str) -> Gauge {
        let method = Method { method };
        self.questions.get_or_create(&method).inc();
        let open = self.streams.get_or_create(&method).clone();
        open.inc();
        open
    }

    /// Counts a session that we have ended.
    pub fn session_end(&self, reason: &'static str) {
        self.session_ends.get_or_create(&End { reason }).inc();
    }

    /// Counts a VM that was asked for another session.
    pub fn goaway(&self, reason: &'static str) {
        self.goaways.get_or_create(&End { reason }).inc();
    }

    /// Counts an answer of a harness to its assignment.
    pub fn config_ack(&self, outcome: &'static str) {
        self.config_acks.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a look for lost VMs.
    pub fn sweep(&self, outcome: &'static str) {
        self.sweeps.get_or_create(&Outcome { outcome }).inc();
    }

    /// Whether this replica leads.
    pub fn leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Counts a question to another replica.
    pub fn peer_query(&self, outcome: &'static str) {
        self.peer_queries.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a Kubernetes event.
    pub fn event(&self, outcome: &'static str) {
        self.events.get_or_create(&Outcome { outcome }).inc();
    }

    /// Those of the store that is an API server.
    pub fn kubernetes(&self) -> kubernetes::metrics::Metrics {
        self.kubernetes.clone()
    }

    /// The text of `/metrics` with gauges of this moment.
    pub fn text(&self, totals: &Totals) -> Result<String, std::fmt::Error> {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let session = |stage| self.sessions.get_or_create(&Stage { stage }).clone();
        session("joined").set(count(totals.sessions_joined));
        session("waiting").set(count(totals.sessions_waiting));
        for (state, number) in ["ready", "unready", "unknown"]
            .into_iter()
            .zip(totals.workloads)
        {
            self.workloads
                .get_or_create(&State { state })
                .set(count(number));
        }
        self.restored.set(i64::from(totals.restored));
        self.mass_loss_active.set(i64::from(totals.mass_loss));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
