//! The environment of linkerd2-proxy on a VM, whole: the proxy runs with this map and nothing else.
//!
//! The proxy exits with code 64 on one value that it cannot read, so everything is checked here first, by the
//! proxy's own rules (`linkerd/app/src/env.rs` there). Three names are never given: `IDENTITY_LOCAL_NAME` overrides
//! the SPIFFE ID, `IDENTITY_DISABLED` is refused, and `TAP_SVC_NAME` opens a port that nobody uses on a VM. Any local
//! client that policy admits can read the environment at `/env.json`, so no secret may ever be in it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::assignment::Assignment;
use crate::config::Config;

mod extra;
mod grammar;
mod settings;
#[cfg(test)]
mod tests;

pub use extra::{ALLOWED, Ignored, Why};
pub use grammar::{Grammar, INBOUND_POLICIES, duration};

/// The proxy's log filter unless the host or the mesh sets one; Linkerd's own default.
pub const DEFAULT_LOG: &str = "warn,linkerd=info,hickory=error";

/// What the environment is made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The host's configuration.
    pub config: &'a Config,
    /// What the mesh says.
    pub assignment: &'a Assignment,
    /// SPIFFE ID of the SVID that the proxy will get.
    pub spiffe_id: &'a str,
    /// Addresses of this host's interfaces, in any order; loopback is left out here.
    pub host_addresses: &'a [IpAddr],
    /// Name of this host.
    pub hostname: &'a str,
}

/// The environment, with what was left out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Every variable of the proxy, by name.
    pub variables: BTreeMap<String, String>,
    /// Settings of the mesh that were not taken, and why.
    pub ignored: Vec<Ignored>,
}

/// The proxy would refuse to start, or would run without protection. Holds every problem, each a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused(Vec<String>);

/// Makes the environment.
///
/// # Errors
///
/// [`Refused`] when a value that has no safe substitute is missing or cannot be read by the proxy. The values come
/// from the assignment, so the remedy is in the cluster.
pub fn environment(inputs: &Inputs<'_>) -> Result<Environment, Refused> {
    let mut variables = Variables::default();
    settings::fixed(&mut variables);
    settings::identity(inputs, &mut variables);
    settings::control_plane(inputs, &mut variables);
    settings::inbound(inputs, &mut variables);
    settings::process(inputs, &mut variables);
    let ignored = extra::merge(inputs, &mut variables.values);
    variables.check_sizes();
    if variables.problems.is_empty() {
        Ok(Environment {
            variables: variables.values,
            ignored,
        })
    } else {
        Err(Refused(variables.problems))
    }
}

/// The map while it is made, with the problems seen so far.
#[derive(Debug, Default)]
struct Variables {
    values: BTreeMap<String, String>,
    problems: Vec<String>,
}

// === impl Variables ===

impl Variables {
    /// The kernel's limit on one `NAME=value`, with its final zero byte (`MAX_ARG_STRLEN`, 32 pages).
    const MAX_LENGTH: usize = 128 * 1024;

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// Sets the value, which must follow the grammar; `what` names it in the problem.
    fn set_checked(&mut self, name: &str, grammar: Grammar, what: &str, value: &str) {
        if grammar.accepts(value) {
            self.set(name, value);
        } else {
            self.problem(format!("{what} `{value}` is not {grammar}"));
        }
    }

    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// `execve` fails as a whole on a value that is too long, and cannot carry a zero byte.
    fn check_sizes(&mut self) {
        for (name, value) in &self.values {
            if name.len() + value.len() + 2 > Self::MAX_LENGTH {
                let problem = format!("{name} is longer than the kernel allows (128 KiB)");
                self.problems.push(problem);
            }
            if value.contains('\0') {
                self.problems.push(format!("{name} contains a zero byte"));
            }
        }
    }
}

// === impl Refused ===

impl Refused {
    /// Every problem, in the order of the settings.
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the proxy cannot run with what the mesh assigned: {}",
            self.0.join("; ")
        )
    }
}
