//! Where the control plane is and how its streams are bounded.

use super::Connect;
use super::parse::{self, Addr};
use super::reader::{Reader, full};
use std::time::Duration;

/// One control plane service.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) addr: Addr,
    /// The name that its certificate must carry; `None` where the address is loopback, which is plaintext.
    pub(crate) name: Option<String>,
    pub(crate) connect: Connect,
    pub(crate) limits: Limits,
}

/// How long a stream may be without its first message, without a message, and at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) initial: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) lifetime: Option<Duration>,
}

pub(super) fn limits(r: &mut Reader<'_>) -> Limits {
    let names = ["INITIAL_TIMEOUT", "IDLE_TIMEOUT", "LIFETIME"]
        .map(|part| format!("CONTROL_STREAM_{part}"));
    let [initial, idle, lifetime] =
        [0, 1, 2].map(|i: usize| r.get(&names[i], parse::duration_or_empty).flatten());
    for (low, high) in [(0, 1), (0, 2), (1, 2)] {
        let values = [initial, idle, lifetime];
        if values[low].unwrap_or(Duration::ZERO) > values[high].unwrap_or(Duration::MAX) {
            r.problem(format!(
                "{} must be less than {}",
                full(&names[low]),
                full(&names[high])
            ));
        }
    }
    Limits {
        initial,
        idle,
        lifetime,
    }
}

/// `None` where neither address nor name is set, or a problem was told.
pub(super) fn service(
    r: &mut Reader<'_>,
    base: &str,
    near: Connect,
    far: Connect,
    limits: Limits,
) -> Option<Control> {
    let addr = r.get(&format!("{base}_ADDR"), parse::addr);
    let name = r.get(&format!("{base}_NAME"), parse::dns_name);
    match (addr, name) {
        (Some(addr), _) if addr.is_loopback() => Some(Control {
            addr,
            name: None,
            connect: near,
            limits: Limits::default(),
        }),
        (Some(addr), Some(name)) => Some(Control {
            addr,
            name: Some(name),
            connect: far,
            limits,
        }),
        (None, None) => None,
        _ => {
            let base = full(base);
            r.problem(format!(
                "{base}_ADDR and {base}_NAME must be specified together"
            ));
            None
        }
    }
}
