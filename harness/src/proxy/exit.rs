//! What the proxy's exit means.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::state::Reason;

/// `EX_USAGE`: the proxy refuses its environment.
const USAGE: i32 = 64;
/// The proxy could not be set up: trust anchors, admin port.
const INITIALIZATION: i32 = 1;
/// Exit code of a Rust program whose main thread panicked; taken listen ports among others.
const PANIC: i32 = 101;
/// `setpriv` could not become the proxy.
const EXEC_FAILED: [i32; 2] = [126, 127];

/// Why the proxy ended. `port_taken`: after its end another process listens on one of its ports.
pub(super) fn reason(status: ExitStatus, port_taken: bool) -> Reason {
    match status.code() {
        Some(USAGE) => Reason::ConfigurationRefused,
        Some(INITIALIZATION | PANIC) if port_taken => Reason::PortTaken,
        Some(INITIALIZATION) => Reason::InitializationFailed,
        Some(PANIC) => Reason::Panicked,
        Some(code) if EXEC_FAILED.contains(&code) => Reason::CannotExecute,
        Some(_) => Reason::Exited,
        None => Reason::Killed,
    }
}

/// The exit in words: `exit 64`, `signal 9`.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_told_apart() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        for (status, port_taken, expected) in [
            (exit(64), true, Reason::ConfigurationRefused),
            (exit(1), true, Reason::PortTaken),
            (exit(1), false, Reason::InitializationFailed),
            (exit(101), true, Reason::PortTaken),
            (exit(101), false, Reason::Panicked),
            (exit(127), false, Reason::CannotExecute),
            (exit(0), false, Reason::Exited),
            (ExitStatus::from_raw(9), false, Reason::Killed),
        ] {
            assert_eq!(reason(status, port_taken), expected, "{}", describe(status));
        }
    }
}
