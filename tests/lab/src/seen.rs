//! Whom an application of the lab was told it talks to: the proof that a connection was meshed.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::host::Host;
use crate::lab::Lab;
use crate::poll;
use crate::walkthrough::{PEER, VM};

/// The walk-through's Service, by name.
pub const TO_VM: &str = "http://training-vm.training.svc.cluster.local:80";
/// The peer's, by name.
pub const TO_APP: &str = "http://simple-app-v1.simple-app.svc.cluster.local:80";

const PATIENCE: Duration = Duration::from_secs(60);

/// The client's identity in an answer of the lab's application, as the proxy before it said; empty when it said none.
pub fn client(answer: &str) -> String {
    let value = answer
        .lines()
        .find_map(|line| line.strip_prefix("x-seen-client-id:"));
    value.unwrap_or_default().trim().to_owned()
}

/// Waits until a request from `host` for `url` is answered by `text`, and its application was told `identity`.
pub fn meshed(host: &dyn Host, url: &str, text: &str, identity: &str) -> Result<()> {
    poll::until(&format!("{} to reach {url}", host.name()), PATIENCE, || {
        let answer = host.get(&format!("curl -sSi --max-time 5 '{url}'"))?;
        ensure!(
            answer.contains(text),
            "another application answered:\n{answer}"
        );
        let seen = client(&answer);
        ensure!(seen == identity, "its application saw the client `{seen}`");
        Ok(())
    })
}

/// Waits until requests in both directions, by the names of Services, are answered, each with the other's identity.
pub fn both_ways(lab: &Lab) -> Result<()> {
    meshed(
        &lab.peer,
        TO_VM,
        "Welcome from training-vm",
        &PEER.spiffe_id(),
    )?;
    meshed(&lab.vm, TO_APP, "Simple App v1", &VM.spiffe_id())
}
