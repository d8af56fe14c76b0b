//! The daemon of linkerd-proxy-harness, on one page.
//!
//! ```text
//! config -> identity -> registration -> proxy -> redirection -> health
//! ```
//!
//! Each component is a function that owns one piece of state and publishes it on a `watch`; the others only watch. Two
//! components own nothing on the host and only decide: `launch` (what the proxy runs with) and `interception` (what is
//! redirected, and whether). The order of start is in those decisions; the order of stop is in [`stop`].

pub mod admin;
pub mod backoff;
pub mod board;
mod causes;
mod clock;
pub mod health;
pub mod identity;
pub mod interception;
pub mod launch;
pub mod logging;
pub mod paths;
pub mod proxy;
pub mod redirection;
pub mod registration;
pub mod report;
pub mod signals;
mod stop;
pub mod systemd;
pub mod tasks;

use std::sync::Arc;

use anyhow::Context;
use linkerd_harness_core::config::{Config, FailurePolicy};
use linkerd_harness_core::health::{Health, State as HealthState};
use linkerd_harness_core::status;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::paths::Paths;
use crate::registration::instance::Instance;
use crate::report::Report;
use crate::tasks::Tasks;

/// Runs until a signal (`Ok`) or until a task ends, which none of them may (`Err`).
///
/// # Errors
/// What keeps the daemon from running at all: a taken admin port, no machine id, no firewall tool.
pub async fn run(config: Config, paths: Paths) -> anyhow::Result<()> {
    info!(version = env!("CARGO_PKG_VERSION"), group = %config.group, "linkerd-proxy-harness");
    let config = Arc::new(config);
    let user_id = paths::proxy_user(config.proxy.user_id)?;
    let instance = Instance::read(&paths.runtime)?;
    let hostname = instance.hostname.clone();
    let admin = admin::bind(config.admin_address).await?;
    let (firewall, choice) = redirection::Host::open(config.redirect.mode, &paths.runtime)
        .await
        .context("cannot prepare redirection")?;
    info!(backend = %choice.backend, why = choice.because, "firewall backend chosen");
    if let Some(warning) = choice.warning {
        warn!("{warning}");
    }

    let rails = redirection::rails::at_start(&config, &paths.runtime);
    let plan = interception::plan(&config, user_id, &rails);
    if let Err(error) = firewall.prepare_connections(&plan).await {
        // The first rules may then cut connections that are open now. Whoever applies them says what is wrong.
        warn!(
            "cannot prepare for redirection: {}",
            causes::one_line(&error)
        );
    }

    // Each piece of state: one sender, moved into its owner; everybody else watches.
    let (identity_is, identity) = watch::channel(identity::State::default());
    let (registration_is, registration) = watch::channel(registration::State::default());
    let (assignment_is, assignment) = watch::channel(None);
    let (launch_is, launch) = watch::channel(None);
    let (decision_is, decision) = watch::channel(launch::Decision::Hold(Report::new(
        status::State::Waiting,
        "Starting",
        "",
    )));
    let (proxy_is, proxy) = watch::channel(proxy::State::Stopped);
    let (rails_are, rails) = watch::channel(rails);
    let (plan_is, plan) = watch::channel(interception::at_start(plan));
    let (heard_is, heard) = watch::channel(redirection::Heard::default());
    let (rules_are, rules) = watch::channel(redirection::Redirection::default());
    let (rules_report_is, rules_report) = watch::channel(redirection::report::starting());
    let (rules_view_is, rules_view) = watch::channel(None);
    let (health_is, health) = watch::channel(Health::new(HealthState::Starting, "Starting", ""));
    let (page_is, page) = watch::channel(Arc::new(board::blank(config.group.to_string())));
    let orders = stop::Orders::default();

    let mut tasks = Tasks::default();
    tasks.spawn(
        "identity",
        identity::supervise(config.identity.clone(), identity_is),
    );
    tasks.spawn(
        "registration",
        registration::supervise(
            registration::Inputs {
                config: Arc::clone(&config),
                identity: identity.clone(),
                health: health.clone(),
                leave: orders.leave.subscribe(),
                store: paths.assignment(),
                instance,
            },
            registration_is,
            assignment_is,
        ),
    );
    tasks.spawn(
        "launch",
        launch::decide(
            launch::Inputs {
                config: Arc::clone(&config),
                user_id,
                hostname,
                identity: identity.clone(),
                assignment: assignment.clone(),
                stopping: orders.stop_proxy.subscribe(),
            },
            launch_is,
            decision_is,
        ),
    );
    tasks.spawn(
        "proxy",
        proxy::supervise(Arc::clone(&config), launch, proxy_is),
    );
    tasks.spawn(
        "guard rails",
        redirection::rails::supervise(
            redirection::rails::Inputs {
                config: Arc::clone(&config),
                run_dir: paths.runtime.clone(),
                registration: registration.clone(),
            },
            rails_are,
        ),
    );
    tasks.spawn(
        "interception",
        interception::decide(
            interception::Inputs {
                config: Arc::clone(&config),
                user_id,
                rails,
                proxy: proxy.clone(),
                stopping: orders.stop_redirecting.subscribe(),
            },
            plan_is,
        ),
    );
    tasks.spawn("netfilter", redirection::listen(choice.backend, heard_is));
    tasks.spawn(
        "redirection",
        redirection::supervise(
            firewall,
            redirection::Inputs {
                plans: plan,
                heard: heard.clone(),
                sweep: redirection::SWEEP,
            },
            rules_are,
            rules_report_is,
            rules_view_is,
        ),
    );
    tasks.spawn(
        "health",
        health::supervise(
            assignment.clone(),
            proxy.clone(),
            rules.clone(),
            orders.drain.subscribe(),
            health_is,
        ),
    );
    let watched = board::Watched {
        config: Arc::clone(&config),
        identity,
        registration,
        assignment,
        decision,
        proxy,
        rules: rules_report,
        health,
    };
    tasks.spawn("board", board::keep(watched.clone(), page_is));
    let rules_seen = admin::Rules {
        state: rules.clone(),
        view: rules_view,
        heard,
    };
    tasks.spawn("admin", admin::serve(admin, page.clone(), rules_seen));
    tasks.spawn("systemd", systemd::keep_informed(page));
    systemd::ready();

    tokio::select! {
        signal = signals::first() => {
            info!(signal = signal?, "stopping");
            systemd::stopping();
            let done = stop::in_order(&orders, watched, rules, &paths.runtime);
            tokio::select! {
                () = done => info!("stopped"),
                signal = signals::first() => info!(signal = signal?, "second signal: stopping at once"),
            }
            Ok(())
        }
        name = tasks.first_to_end() => anyhow::bail!("the task `{name}` ended, which it may not"),
    }
}

/// What only root can do, before the daemon starts without privileges: `config` is `None` when it cannot be used, which
/// the daemon will say. Answers what could not be done.
pub async fn prepare(config: Option<&Config>, paths: &Paths) -> Vec<String> {
    let Some(config) = config else {
        return Vec::new();
    };
    let api = &config.identity.spire_socket;
    let group = paths::proxy_group();
    let mut problems = redirection::prepare(&config.redirect, api, &paths.runtime, group)
        .await
        .problems;
    if config.redirect.failure_policy == FailurePolicy::Closed
        && let Err(error) = hold(config, paths).await
    {
        problems.push(format!("cannot close this host: {error:#}"));
    }
    if let Err(error) = registration::instance::prepare(&paths.runtime) {
        problems.push(format!(
            "cannot leave this machine's id in `{}`: {error}",
            paths.runtime.display()
        ));
    }
    problems
}

/// Redirects before there is a proxy.
async fn hold(config: &Config, paths: &Paths) -> anyhow::Result<()> {
    let user_id = paths::proxy_user(config.proxy.user_id)?;
    let rails = redirection::rails::at_start(config, &paths.runtime);
    let plan = interception::plan(config, user_id, &rails);
    redirection::hold(&plan, config.redirect.mode, &paths.runtime).await?;
    Ok(())
}
