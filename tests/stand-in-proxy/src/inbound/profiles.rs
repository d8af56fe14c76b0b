//! Profiles of the names that clients ask for.
//!
//! Nothing is done with them, but the real proxy's first request to a name waits for the answer, and a control
//! plane that does not give one is felt: so the stand-in asks and waits as well.

use crate::cache::{Cache, Lease};
use crate::config;
use crate::control::{self, AfterMessage, Client};
use linkerd2_proxy_api::destination::GetDestination;
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Code;

#[derive(Debug)]
pub(crate) struct Profiles {
    names: Cache<String, Asked>,
    client: Client,
    context: String,
    control: config::Control,
    suffixes: Vec<String>,
    wait: Duration,
}

#[derive(Debug)]
struct Asked {
    /// Answered, or given up on.
    settled: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps the question open while a connection uses the name.
#[derive(Debug)]
pub(crate) struct Interest {
    _lease: Lease<String, Asked>,
}

impl Profiles {
    pub(crate) fn new(
        client: Client,
        context: String,
        control: config::Control,
        inbound: &config::Inbound,
    ) -> Self {
        let names = Cache::new(inbound.discovery_idle);
        let (suffixes, wait) = (inbound.profile_suffixes.clone(), inbound.profile_wait);
        Self {
            names,
            client,
            context,
            control,
            suffixes,
            wait,
        }
    }

    /// Asks for the profile of a host if its name is under the configured suffixes, and waits for the first answer.
    pub(crate) async fn consult(&self, host: &str, port: u16) -> Option<Interest> {
        let host = host.to_ascii_lowercase();
        let name = host.trim_end_matches('.');
        if host.parse::<std::net::IpAddr>().is_ok()
            || !self.suffixes.iter().any(|suffix| is_under(name, suffix))
        {
            return None;
        }
        let lease = self.names.get(format!("{host}:{port}"), || {
            self.ask(format!("{host}:{port}"))
        });
        let mut settled = lease.value.settled.subscribe();
        let answered = tokio::time::timeout(self.wait, settled.wait_for(|settled| *settled)).await;
        if answered.is_err() {
            drop(answered);
            lease.value.settled.send_replace(true);
        }
        Some(Interest { _lease: lease })
    }

    fn ask(&self, path: String) -> Asked {
        let client = DestinationClient::new(self.client.clone());
        let how = (
            self.control.limits,
            self.control.connect.backoff,
            AfterMessage::AskAtOnce,
        );
        let request = GetDestination {
            path,
            context_token: self.context.clone(),
            ..Default::default()
        };
        let settled = watch::Sender::new(false);
        let settle = settled.clone();
        let task = tokio::spawn(async move {
            let open = || {
                let (mut client, request) = (client.clone(), request.clone());
                async move { client.get_profile(request).await }
            };
            let refused = |code| matches!(code, Code::InvalidArgument | Code::FailedPrecondition);
            control::watch(how, open, refused, |_| {
                settle.send_replace(true);
            })
            .await;
            settle.send_replace(true);
        });
        Asked { settled, task }
    }
}

fn is_under(name: &str, suffix: &str) -> bool {
    suffix.is_empty()
        || name == suffix
        || name
            .strip_suffix(suffix)
            .is_some_and(|rest| rest.ends_with('.'))
}
