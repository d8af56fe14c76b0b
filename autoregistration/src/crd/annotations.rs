//! Annotations of an `ExternalGroup`. The first ones say what fields say: they are for a cluster in which somebody else
//! has installed a definition without those fields, where an API server drops the fields without a word.

/// Further probes, beside those of `spec.probes`: a YAML or JSON list.
pub const PROBES: &str = "meshexpansion.io/probes";
/// `spec.access`: YAML or JSON.
pub const ACCESS: &str = "meshexpansion.io/access";
/// `spec.access.allowedLabels`: keys, separated by commas.
pub const ALLOWED_LABELS: &str = "meshexpansion.io/access-allowed-labels";
/// `"true"`: nobody new joins, and members stay as they are.
pub const PAUSED: &str = "meshexpansion.io/paused";
/// How long a member that is away is waited for before its workload is removed, in place of `--workload-ttl`.
pub const WORKLOAD_TTL: &str = "meshexpansion.io/workload-ttl";
