//! What systemd is told (`sd_notify`(3)): READY, STATUS, WATCHDOG, STOPPING. Without systemd nothing happens.

use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_core::status::{State, Status};
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::interval;

/// For systemd to say whether the machine stops. It is busy when it does.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The configuration is valid and the daemon runs; it may still wait for SPIRE, which STATUS tells.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// The daemon stops.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

/// Whether only this service stops and not the whole machine. In doubt the machine does: its workload is kept then, and one
/// that never comes back expires.
pub async fn service_stops() -> bool {
    let asked = tokio::process::Command::new("systemctl")
        .arg("is-system-running")
        .kill_on_drop(true)
        .output();
    let Ok(Ok(answer)) = tokio::time::timeout(ASK_TIMEOUT, asked).await else {
        return false;
    };
    let answer = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    matches!(
        answer.as_str(),
        "running" | "degraded" | "starting" | "initializing" | "maintenance"
    )
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
