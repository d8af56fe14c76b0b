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
mod listeners;
pub mod logging;
pub mod paths;
pub mod proof;
pub mod proxy;
pub mod redirection;
pub mod registration;
pub mod report;
pub mod signals;
mod stop;
pub mod systemd;
pub mod tasks;
mod unprivileged;

use std::sync::Arc;

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
/// What keeps the daemon from running at all: a taken admin port, no machine id.
pub async fn run(config: Config, paths: Paths) -> anyhow::Result<()> {
    info!(version = env!("CARGO_PKG_VERSION"), group = %config.group, "linkerd-proxy-harness");
    let config = Arc::new(config);
    let user_id = paths::proxy_user(config.proxy.user_id)?;
    let _running = tell_commands(&paths).await?;
    let instance = Instance::read(&paths.runtime)?;
    let hostname = instance.hostname.clone();
    let admin = admin::bind(config.admin_address).await?;
    let rails = redirection::rails::at_start(&config, &paths.roots());
    let plan = interception::plan(&config, user_id, &rails);
    let (page_is, page) = watch::channel(Arc::new(board::blank(config.group.to_string())));
    let (intended_is, intended) = watch::channel(Arc::new(plan.clone()));
    let (heard_is, heard) = watch::channel(redirection::Heard::default());
    let (rules_are, rules) = watch::channel(redirection::Redirection::default());
    let (rules_view_is, view) = watch::channel(None);
    let (backend_is, backend) = watch::channel(None);
    let rules_are_seen = admin::Rules {
        backend,
        intended,
        state: rules.clone(),
        view,
        heard: heard.clone(),
    };

    let mut tasks = Tasks::default();
    tasks.spawn("admin", admin::serve(admin, page.clone(), rules_are_seen));
    tasks.spawn("systemd", systemd::keep_informed(page));
    let open = redirection::open_patiently(config.redirect.mode, &paths.runtime, |why| {
        board::cannot_redirect(&page_is, why);
        systemd::ready();
    });
    let (firewall, choice) = tokio::select! {
        opened = open => opened,
        signal = signals::first() => {
            info!(signal = signal?, "stopping");
            return Ok(());
        }
        name = tasks.first_to_end() => return Err(ended(name)),
    };
    backend_is.send_replace(Some(choice));
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
    let (rules_report_is, rules_report) = watch::channel(redirection::report::starting());
    let (proof_is, proof) = watch::channel(None);
    let (health_is, health) = watch::channel(Health::new(HealthState::Starting, "Starting", ""));
    let (probes_are, probes) = watch::channel(Vec::new());
    let orders = stop::Orders::default();

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
                answers: paths.roots(),
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
            intended_is,
            plan_is,
        ),
    );
    tasks.spawn("netfilter", redirection::listen(choice.backend, heard_is));
    tasks.spawn(
        "proof",
        proof::keep(
            proof::Inputs {
                plan: plan.clone(),
                rules: rules.clone(),
                proxy: proxy.clone(),
                assignment: assignment.clone(),
            },
            proof::Helper::new(&config, &paths.runtime, &paths.roots()),
            proof_is,
        ),
    );
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
            health::Inputs {
                assignments: assignment.clone(),
                proxy: proxy.clone(),
                rules: rules.clone(),
                draining: orders.drain.subscribe(),
                programs: health::Programs {
                    allowed: config.health.allow_exec_probes,
                    user_id,
                },
            },
            health_is,
            probes_are,
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
        proof,
        health,
        probes,
    };
    tasks.spawn("board", board::keep(watched.clone(), page_is));
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
        name = tasks.first_to_end() => Err(ended(name)),
    }
}

fn ended(task: &str) -> anyhow::Error {
    anyhow::anyhow!("the task `{task}` ended, which it may not")
}

/// Keeps `linkerd-proxy-harness redirect …` off the rules. A directory that cannot be written is none to fail for: only by
/// hand is the daemon started without its own.
async fn tell_commands(paths: &Paths) -> anyhow::Result<Option<redirection::by_hand::DaemonLock>> {
    match redirection::by_hand::hold_as_daemon(&paths.runtime).await {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => anyhow::bail!("another linkerd-proxy-harness runs on this host already"),
        Err(error) => {
            warn!(%error, "commands that change rules by hand cannot see that the daemon runs");
            Ok(None)
        }
    }
}

/// What only root can do, before the daemon starts without privileges: `config` is `None` when it cannot be used, which
/// the daemon will say. Answers what could not be done.
pub async fn prepare(config: Option<&Config>, paths: &Paths) -> Vec<String> {
    let Some(config) = config else {
        return Vec::new();
    };
    let called_off = redirection::by_hand::call_off(&paths.runtime);
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
    if let Err(error) = called_off {
        problems.push(format!("cannot keep rules from being taken back: {error}"));
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
    let rails = redirection::rails::at_start(config, &paths.roots());
    let plan = interception::plan(config, user_id, &rails);
    redirection::hold(&plan, config.redirect.mode, &paths.runtime).await?;
    Ok(())
}
