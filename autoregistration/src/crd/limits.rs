//! Limits and defaults of an `ExternalGroup`: the schema that an API server checks and the reader of manifests both
//! take them from here.

use std::time::Duration;

/// Characters of a group's name, so that `<group>-<10 hex>` is a DNS label, of at most 63.
pub const NAME: usize = 52;
/// Probes of a group.
pub const PROBES: usize = 16;
/// Ports of a template.
pub const PORTS: usize = 64;
/// Labels of a template.
pub const LABELS: usize = 64;
/// Headers of a probe's request.
pub const HEADERS: usize = 32;
/// Characters of a host's name, and of a gRPC service's.
pub const HOST_NAME: usize = 253;
/// Words of a program that is run, itself included.
pub const COMMAND_WORDS: usize = linkerd_harness_core::probe::COMMAND_WORDS;
/// Characters of all of them together.
pub const COMMAND_CHARS: usize = linkerd_harness_core::probe::COMMAND_CHARS;
/// Entries of each list of `access`.
pub const ACCESS: usize = 256;

/// How long the workload of a VM that is away is kept: least, and most.
pub const WORKLOAD_TTL: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(30 * 24 * 3600));

/// Failures in a row until a workload is not ready.
pub const FAILURE_THRESHOLD: u32 = 3;
/// Successes in a row until it is ready again.
pub const SUCCESS_THRESHOLD: u32 = 1;
/// Seconds before the first attempt.
pub const INITIAL_DELAY_SECONDS: u32 = 0;
/// Seconds that an attempt may take.
pub const TIMEOUT_SECONDS: u32 = 1;
/// Seconds between attempts.
pub const PERIOD_SECONDS: u32 = 10;

/// Path of an HTTP request.
pub const PATH: &str = "/";
/// Scheme of an HTTP request.
pub const SCHEME: &str = "HTTP";
/// The probe runs on the VM itself.
pub const HOST: &str = "127.0.0.1";
