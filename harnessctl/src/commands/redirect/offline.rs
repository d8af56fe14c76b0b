//! The plan without the daemon: from the configuration and from what root left on this host.

use std::path::PathBuf;

use linkerd_harness_core::config::Config;
use linkerd_harness_core::redirect::{GuardRail, Plan, ProxyPorts, SshdFound};
use nix::unistd::{User, geteuid};

use crate::failure::{CONFIG, Failure, Outcome};
use crate::file;
use crate::flags::Options;

/// The user that the package makes, which the proxy runs as.
const USER: &str = "proxyharness";

/// A plan that may lack what only the daemon knows.
#[derive(Debug)]
pub(super) struct Offline {
    pub(super) config: Config,
    pub(super) plan: Plan,
    /// What it lacks, for people.
    pub(super) unknown: Vec<String>,
}

pub(super) fn plan(options: &Options) -> Outcome<Offline> {
    let place = options.config.display();
    let bytes = file::read(&options.config)?.ok_or_else(|| {
        Failure::new(CONFIG, format!("there is no configuration at {place}"))
            .hint("sudo harnessctl set-config (--help lists the flags)")
    })?;
    let config = Config::from_bytes(&bytes)?;
    let uid = uid(&config)?;
    let mut unknown =
        vec!["SSH sessions and SPIRE servers that came since the daemon ran".to_owned()];
    let Left { mut rails, server } = left_by_root();
    let ssh = |rail: &GuardRail| matches!(rail, GuardRail::Sshd { .. });
    if !rails.iter().any(ssh) {
        unknown.push("the ports of sshd, so 22 is assumed".to_owned());
        rails.push(GuardRail::Sshd {
            port: 22,
            found: SshdFound::Assumed,
        });
    }
    match config.control.address.to_string().parse() {
        Ok(address) => rails.push(GuardRail::ControlPlane(address)),
        Err(_name) => unknown.push(format!(
            "the address of {} (Control.Address), which is exempt",
            config.control.address
        )),
    }
    match server.as_deref().map(str::parse) {
        Some(Ok(address)) => rails.push(GuardRail::SpireServer(address)),
        Some(Err(_name)) => unknown.extend(
            server.map(|name| format!("the address of {name} (SPIRE server), which is exempt")),
        ),
        None => {}
    }
    // As the daemon does: nothing redirects loopback anyway.
    rails.retain(|rail| !rail.is_on_this_host());
    let plan = Plan::new(&config.redirect, ProxyPorts::of(&config), uid, rails);
    Ok(Offline {
        config,
        plan,
        unknown,
    })
}

/// As the daemon decides it when root starts it.
fn uid(config: &Config) -> Outcome<u32> {
    let of_package = || User::from_name(USER).ok().flatten().map(|user| user.uid);
    let own = || Some(geteuid()).filter(|uid| !uid.is_root());
    let configured = config.proxy.user_id;
    let found = configured.or_else(|| of_package().or_else(own).map(nix::unistd::Uid::as_raw));
    found.ok_or_else(|| {
        Failure::new(
            CONFIG,
            format!("there is no user {USER} to run the proxy as"),
        )
        .hint("install the package, or: sudo harnessctl set-config --proxy-user-id=UID")
    })
}

/// What `linkerd-proxy-harness prepare` found; nothing before it ran.
#[derive(Debug, Default)]
struct Left {
    rails: Vec<GuardRail>,
    /// The server that the SPIRE agent is configured for, `host:port`.
    server: Option<String>,
}

fn left_by_root() -> Left {
    let directory = std::env::var_os("RUNTIME_DIRECTORY");
    // Root's directory, beside the daemon's.
    let mut directory = directory.unwrap_or_else(|| "/run/linkerd-proxy-harness".into());
    directory.push("-root");
    let bytes = file::read(&PathBuf::from(directory).join("guard-rails.json"));
    let bytes = bytes.ok().flatten().unwrap_or_default();
    let mut left: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut take = |key: &str| {
        left.get_mut(key)
            .map(serde_json::Value::take)
            .unwrap_or_default()
    };
    Left {
        rails: serde_json::from_value(take("rails")).unwrap_or_default(),
        server: serde_json::from_value(take("spire_server")).unwrap_or_default(),
    }
}
