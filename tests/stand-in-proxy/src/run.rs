//! The whole proxy, from the configuration to the exit code.

use crate::admin::Admin;
use crate::config::Config;
use crate::control::Client;
use crate::identity::{self, State};
use crate::inbound::{Inbound, Policies, Profiles};
use crate::metrics::Metrics;
use crate::outbound::{Dialer, Discover, Outbound};
use crate::{drain, say, socket, tls};
use rustls::RootCertStore;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{Instrument as _, info, info_span, warn};

/// What a Rust program exits with when its main thread panics.
const PANIC: u8 = 101;

pub(crate) async fn run(config: Config) -> ExitCode {
    let metrics = Arc::new(Metrics::default());
    let roots = match tls::anchors(&config.identity.trust_anchors) {
        Ok(roots) => roots,
        Err(error) => return initialization_failure(&error),
    };
    let mut outbound_listeners = Vec::new();
    let inbound_listener = match socket::listen(config.inbound.listen) {
        Ok(listener) => listener,
        Err(error) => return panicked(&format!("Failed to bind inbound listener: {error}")),
    };
    for addr in &config.outbound.listen {
        match socket::listen(*addr) {
            Ok(listener) => outbound_listeners.push(listener),
            Err(error) => return panicked(&format!("Failed to bind outbound listener: {error}")),
        }
    }
    let admin_listener = match socket::listen(config.admin) {
        Ok(listener) => listener,
        Err(error) => return initialization_failure(&error),
    };
    let (drain, draining) = drain::channel();
    let (shutdown_tx, mut shutdown_rx) = mpsc::unbounded_channel();
    let app = match App::build(&config, &roots, &metrics) {
        Ok(app) => app,
        Err(error) => return initialization_failure(&error),
    };
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return initialization_failure(&"cannot listen for signals");
    };
    introduce(&config);

    let admin = Arc::new(Admin {
        server_name: config.identity.server_name.clone(),
        identity: app.state.clone(),
        policy: app.inbound.policies.get(config.admin.port()),
        metrics,
        shutdown: config.shutdown_endpoint.then(|| shutdown_tx.clone()),
    });
    tokio::spawn(admin.serve(admin_listener, draining.clone()));
    let daemon = info_span!(target: "linkerd_app", "daemon");
    tokio::spawn(
        app.identity
            .run()
            .instrument(info_span!(target: "linkerd_app", parent: &daemon, "identity")),
    );
    let listeners = Listeners {
        inbound: inbound_listener,
        outbound: outbound_listeners,
    };
    tokio::spawn(start(
        listeners,
        app.state,
        app.inbound,
        app.outbound,
        draining,
    ));

    tokio::select! {
        _ = term.recv() => info!(target: "linkerd2_proxy", "Received shutdown signal"),
        _ = int.recv() => info!(target: "linkerd2_proxy", "Received shutdown signal"),
        Some(()) = shutdown_rx.recv() => info!(target: "linkerd2_proxy", "Received shutdown via admin interface"),
    }
    if tokio::time::timeout(config.grace, drain.drain())
        .await
        .is_err()
    {
        let grace = config.grace;
        warn!(target: "linkerd2_proxy", "Graceful shutdown did not complete in {grace:?}, terminating now");
    }
    ExitCode::SUCCESS
}

/// The parts that talk to one another.
struct App {
    identity: identity::Task,
    state: identity::Receiver,
    inbound: Arc<Inbound>,
    outbound: Arc<Outbound>,
}

impl App {
    /// Builds everything; the known ports' policies are asked for from here on, certificate or not.
    fn build(
        config: &Config,
        roots: &RootCertStore,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, http::uri::InvalidUri> {
        let (task, state) =
            identity::Task::new(config.identity.clone(), roots.clone(), Arc::clone(metrics));
        let client = |control: &crate::config::Control, gauge| {
            Client::spawn(
                control.clone(),
                gauge,
                state.clone(),
                roots.clone(),
                Arc::clone(metrics),
            )
        };
        let destinations = client(
            &config.destination,
            "control_destination_balancer_endpoints",
        )?;
        let policies = client(&config.policy, "control_policy_balancer_endpoints")?;
        let inbound = Inbound {
            config: config.inbound.clone(),
            server_name: config.identity.server_name.clone(),
            identity: state.clone(),
            policies: Policies::new(
                policies.clone(),
                config.workload.clone(),
                config.policy.clone(),
                &config.inbound,
            ),
            profiles: Profiles::new(
                destinations.clone(),
                config.context.clone(),
                config.destination.clone(),
                &config.inbound,
            ),
            metrics: Arc::clone(metrics),
            apps: crate::inbound::http::Apps::default(),
        };
        let dialer = Dialer {
            connect: config.outbound.connect,
            identity: state.clone(),
            own: config.inbound.ips.clone(),
            metrics: Arc::clone(metrics),
        };
        let discover = Discover {
            destinations,
            destination: config.destination.clone(),
            context: config.context.clone(),
            policies,
            policy: config.policy.clone(),
            workload: config.workload.clone(),
            outbound: config.outbound.clone(),
            dialer: Arc::new(dialer),
        };
        let outbound = Outbound::new(config.outbound.clone(), discover, Arc::clone(metrics));
        Ok(Self {
            identity: task,
            state,
            inbound: Arc::new(inbound),
            outbound: Arc::new(outbound),
        })
    }
}

struct Listeners {
    inbound: TcpListener,
    outbound: Vec<TcpListener>,
}

/// Serves once there is a certificate. The listeners are bound before: clients connect, and nothing answers.
///
/// A shutdown before the certificate has to wait for the whole grace period, because this waits holding the drain.
async fn start(
    listeners: Listeners,
    mut state: identity::Receiver,
    inbound: Arc<Inbound>,
    outbound: Arc<Outbound>,
    draining: drain::Watch,
) {
    loop {
        let known = tokio::time::timeout(
            Duration::from_secs(15),
            state.wait_for(|state| !matches!(state, State::Waiting)),
        );
        match known.await {
            Err(_) => warn!(target: "linkerd_app", "Waiting for identity to be initialized..."),
            Ok(Ok(state)) if matches!(&*state, State::Certified(_)) => break,
            // Wedged: dropping the listeners closes the ports.
            Ok(_) => return,
        }
    }
    for listener in listeners.outbound {
        let span = info_span!(target: "linkerd_app", "outbound");
        tokio::spawn(
            Arc::clone(&outbound)
                .serve(listener, draining.clone())
                .instrument(span),
        );
    }
    let span = info_span!(target: "linkerd_app", "inbound");
    tokio::spawn(inbound.serve(listeners.inbound, draining).instrument(span));
}

/// The lines by which people find out what a proxy was told.
fn introduce(config: &Config) {
    info!(target: "linkerd2_proxy", "Admin interface on {}", config.admin);
    info!(target: "linkerd2_proxy", "Inbound interface on {}", config.inbound.listen);
    for addr in &config.outbound.listen {
        info!(target: "linkerd2_proxy", "Outbound interface on {addr}");
    }
    info!(target: "linkerd2_proxy", "Tap DISABLED");
    info!(target: "linkerd2_proxy", "SNI is {}", config.identity.server_name);
    info!(target: "linkerd2_proxy", "Local identity is {}", config.identity.id);
    let addr = &config.destination.addr;
    match &config.destination.name {
        None => info!(target: "linkerd2_proxy", "Destinations resolved via {addr}"),
        Some(name) => info!(target: "linkerd2_proxy", "Destinations resolved via {addr} ({name})"),
    }
}

fn initialization_failure(error: &dyn std::fmt::Display) -> ExitCode {
    say(&format!("Initialization failure: {error}"));
    ExitCode::FAILURE
}

fn panicked(what: &str) -> ExitCode {
    say(&format!(
        "\nthread 'main' panicked at stand-in-proxy:\n{what}"
    ));
    ExitCode::from(PANIC)
}
