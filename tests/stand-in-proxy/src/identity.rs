//! The certificate: a stream of SVIDs from SPIRE's Workload API, asked for by this process itself.
//!
//! The trap of the real proxy is kept: when the very first call cannot reach the socket, or is answered with
//! `InvalidArgument`, its identity task panics. Nothing retries, both ports close, and `/ready` says 200 for ever.

mod workload_api;

use self::workload_api::{Svid, WorkloadApi};
use crate::config::Identity as Config;
use crate::metrics::Metrics;
use crate::tls::{Credentials, TlsError};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tonic::{Code, Status};
use tracing::{error, info, warn};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What the rest of the proxy may do.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// No certificate yet.
    Waiting,
    Certified(Arc<Credentials>),
    /// The identity task has panicked.
    Wedged,
}

/// Everything that needs a certificate reads it here, at the time it needs it.
pub(crate) type Receiver = watch::Receiver<State>;

/// The newest certificate, if there ever was one.
pub(crate) fn credentials(state: &Receiver) -> Option<Arc<Credentials>> {
    match &*state.borrow() {
        State::Certified(credentials) => Some(Arc::clone(credentials)),
        State::Waiting | State::Wedged => None,
    }
}

const REFRESHES: &str = "control_identity_cert_refreshes_total";
const REFRESHED: &str = "control_identity_cert_refresh_timestamp_seconds";
const EXPIRES: &str = "control_identity_cert_expiration_timestamp_seconds";

#[derive(Debug)]
pub(crate) struct Task {
    config: Config,
    roots: RootCertStore,
    metrics: Arc<Metrics>,
    state: watch::Sender<State>,
}

impl Task {
    pub(crate) fn new(
        config: Config,
        roots: RootCertStore,
        metrics: Arc<Metrics>,
    ) -> (Self, Receiver) {
        for result in ["ok", "error"] {
            metrics.zero(REFRESHES, &format!(r#"result="{result}""#));
        }
        metrics.set(REFRESHED, "", 0.0);
        metrics.set(EXPIRES, "", 0.0);
        let (state, receiver) = watch::channel(State::Waiting);
        (
            Self {
                config,
                roots,
                metrics,
                state,
            },
            receiver,
        )
    }

    /// Follows the stream for the life of the process; ends only wedged.
    pub(crate) async fn run(self) {
        if let Err(error) = self.follow().await {
            // What a panicking thread leaves on stderr, which is what a harness looks for.
            crate::say(&format!(
                "\nthread 'admin' panicked at stand-in-proxy, identity task:\n\
                 spire client must gracefully handle errors: {error}\n\
                 note: the stand-in reproduces the real proxy's failure; it stays up and says that it is ready"
            ));
            self.state.send_replace(State::Wedged);
        }
    }

    /// Returns the error that the real proxy does not survive.
    async fn follow(&self) -> Result<(), String> {
        let path = self
            .config
            .workload_api
            .strip_prefix("unix:")
            .unwrap_or(&self.config.workload_api);
        let api = WorkloadApi::connect(path)
            .await
            .map_err(|error| with_causes(&error))?;
        let mut tries = self.config.backoff.tries();
        let mut answered = false;
        loop {
            let status = match api.fetch().await {
                Err(status) => status,
                Ok(mut stream) => loop {
                    match stream.message().await {
                        Ok(Some(response)) => {
                            answered = true;
                            tries.reset();
                            self.update(&response.svids);
                        }
                        Ok(None) => break Status::ok("stream ended"),
                        Err(status) => break status,
                    }
                },
            };
            if status.code() == Code::InvalidArgument {
                if answered {
                    // The real watch ends here without a word and keeps what it has.
                    return std::future::pending().await;
                }
                return Err(status.to_string());
            }
            warn!(
                target: "linkerd_proxy_spire_client",
                { grpc.status = %status.code(), grpc.message = status.message() },
                "Unexpected SPIRE Workload API response; retrying with a backoff"
            );
            tokio::time::sleep(tries.wait()).await;
        }
    }

    /// Takes the SVID of the configured ID out of an answer.
    fn update(&self, svids: &[Svid]) {
        let wanted = self.config.id.as_str();
        // The last of several with the same ID wins, as in the real proxy's map.
        let Some(svid) = svids.iter().rev().find(|svid| svid.spiffe_id == wanted) else {
            error!(target: "linkerd_proxy_spire_client", error = "no matching SVID found", "Error processing SVID update");
            return;
        };
        match self.load(svid) {
            Ok((credentials, expires)) => {
                self.metrics.count(REFRESHES, r#"result="ok""#);
                self.metrics.set(REFRESHED, "", seconds(SystemTime::now()));
                self.metrics.set(EXPIRES, "", seconds(expires));
                let first = matches!(&*self.state.borrow(), State::Waiting);
                self.state
                    .send_replace(State::Certified(Arc::new(credentials)));
                if first {
                    info!(target: "linkerd_app", id = %self.config.id, "Certified identity");
                }
            }
            Err(error) => {
                self.metrics.count(REFRESHES, r#"result="error""#);
                error!(target: "linkerd_proxy_spire_client", %error, "Error processing SVID update");
            }
        }
    }

    fn load(&self, svid: &Svid) -> Result<(Credentials, SystemTime), TlsError> {
        let chain = split_chain(&svid.chain);
        let leaf = chain.first().ok_or(TlsError::NoCertificate)?;
        let expires = not_after(leaf).ok_or(TlsError::NoCertificate)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(svid.key.clone()));
        Ok((
            Credentials::new(&self.roots, &self.config.id, chain, key)?,
            expires,
        ))
    }
}

/// SPIRE sends leaf and intermediates as one run of DER.
fn split_chain(mut der: &[u8]) -> Vec<CertificateDer<'static>> {
    let mut chain = Vec::new();
    while let Ok((rest, _)) = X509Certificate::from_der(der) {
        let length = der.len() - rest.len();
        chain.push(CertificateDer::from(der[..length].to_vec()));
        der = rest;
    }
    chain
}

fn not_after(leaf: &[u8]) -> Option<SystemTime> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let seconds = certificate
        .validity()
        .not_after
        .timestamp()
        .try_into()
        .ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
