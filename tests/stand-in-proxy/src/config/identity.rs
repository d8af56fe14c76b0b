//! Who this proxy is and where its certificate comes from.

use super::reader::{Reader, full};
use super::{backoff, parse};
use crate::backoff::Backoff;
use crate::names::Id;
use std::time::Duration;
use tracing::warn;

#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The SPIFFE ID that the certificate must carry.
    pub(crate) id: Id,
    /// The SNI under which peers reach this proxy.
    pub(crate) server_name: String,
    /// PEM text.
    pub(crate) trust_anchors: String,
    /// The socket as it was given, with or without `unix:`.
    pub(crate) workload_api: String,
    pub(crate) backoff: Backoff,
}

pub(super) fn read(r: &mut Reader<'_>) -> Option<Identity> {
    let anchors = r.get("IDENTITY_TRUST_ANCHORS", |pem| {
        if pem.is_empty() {
            Err("InvalidTrustAnchors".into())
        } else {
            Ok(pem.to_owned())
        }
    });
    let (id_var, name_var) = if r.is_set("IDENTITY_LOCAL_NAME") {
        ("IDENTITY_LOCAL_NAME", "IDENTITY_LOCAL_NAME")
    } else {
        ("IDENTITY_SERVER_ID", "IDENTITY_SERVER_NAME")
    };
    let before = r.problems.len();
    let id = r.get(id_var, |text| {
        Id::parse(text).ok_or_else(|| "NameError".into())
    });
    let server_name = r.get(name_var, parse::dns_name);
    if r.get("IDENTITY_DISABLED", parse::text)
        .is_some_and(|value| !value.is_empty())
    {
        let name = full("IDENTITY_DISABLED");
        r.problem(format!(
            "{name} is no longer supported. Identity is must be enabled."
        ));
    }
    for (missing, name) in [
        (anchors.is_none(), "IDENTITY_TRUST_ANCHORS"),
        (id.is_none(), id_var),
        (server_name.is_none(), name_var),
    ] {
        if missing && !r.is_set(name) {
            r.problem(format!("{} must be set.", full(name)));
        }
    }
    let workload_api = workload_api(r);
    let spire = Backoff {
        min: Duration::from_millis(100),
        max: Duration::from_secs(1),
        jitter: 0.1,
    };
    // The real proxy doubles the prefix of these three by mistake; who sets them has found that out.
    let backoff = backoff(r, "LINKERD2_PROXY_IDENTITY_SPIRE", spire);
    match (&workload_api, &id) {
        (None, _) if r.problems.len() == before => {
            r.problem("The stand-in gets its identity from SPIRE only; set LINKERD2_PROXY_IDENTITY_SPIRE_WORKLOAD_API_ADDRESS.");
        }
        (Some(_), Some(id)) if !id.is_spiffe() => {
            r.problem("Spire support requires a SPIFFE TLS Id");
        }
        _ => {}
    }
    Some(Identity {
        id: id?,
        server_name: server_name?,
        trust_anchors: anchors?,
        workload_api: workload_api?,
        backoff,
    })
}

fn workload_api(r: &mut Reader<'_>) -> Option<String> {
    let address = r.get("IDENTITY_SPIRE_WORKLOAD_API_ADDRESS", parse::text);
    if address.is_some() {
        return address;
    }
    let socket = r.get("IDENTITY_SPIRE_SOCKET", parse::text)?;
    let (old, new) = (
        full("IDENTITY_SPIRE_SOCKET"),
        full("IDENTITY_SPIRE_WORKLOAD_API_ADDRESS"),
    );
    warn!(target: "linkerd_app::env", "{old} has been deprecated; use {new}");
    Some(socket)
}
