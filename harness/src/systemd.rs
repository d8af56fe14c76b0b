//! What systemd is told (`sd_notify`(3)): READY, STATUS, WATCHDOG, STOPPING. Without systemd nothing happens.

use std::sync::Arc;

use linkerd_harness_core::status::{State, Status};
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::interval;

/// The configuration is valid and the daemon runs; it may still wait for SPIRE, which STATUS tells.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// The daemon stops.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

/// Whether the whole machine is going down or restarting, so that the workload will be back.
pub async fn machine_stops() -> bool {
    let asked = tokio::process::Command::new("systemctl")
        .arg("is-system-running")
        .output()
        .await;
    asked.is_ok_and(|output| output.stdout.starts_with(b"stopping"))
}

/// Keeps STATUS true, and the watchdog fed from this runtime: when it hangs, systemd restarts us.
pub async fn keep_informed(mut statuses: watch::Receiver<Arc<Status>>) {
    let period = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let mut feeding = period.map(interval);
    let mut said = String::new();
    loop {
        let line = summary(&statuses.borrow_and_update());
        if line != said {
            notify(NotifyState::Status(&line));
            said = line;
        }
        let feed = async {
            match &mut feeding {
                Some(feeding) => {
                    feeding.tick().await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = statuses.changed() => if changed.is_err() { return },
            () = feed => notify(NotifyState::Watchdog),
        }
    }
}

/// The state in one line: the first part of the flow that keeps the VM out of the mesh, and why.
pub fn summary(status: &Status) -> String {
    if status.meshed {
        return format!("meshed: {}", status.registration.message);
    }
    let parts = status.components();
    let (name, part) = parts
        .iter()
        .find(|(_, part)| part.state != State::Ok)
        .unwrap_or(&parts[0]);
    format!("{name}: {} ({})", part.reason, part.message)
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd does not listen");
    }
}
