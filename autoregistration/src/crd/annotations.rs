//! Annotations of an `ExternalGroup` that say what fields say. They are for a cluster in which somebody else has
//! installed a definition without those fields: there an API server drops the fields without a word.

/// Further probes, beside those of `spec.probes`: a YAML or JSON list.
pub const PROBES: &str = "meshexpansion.io/probes";
/// `spec.access`: YAML or JSON.
pub const ACCESS: &str = "meshexpansion.io/access";
/// `spec.access.allowedLabels`: keys, separated by commas.
pub const ALLOWED_LABELS: &str = "meshexpansion.io/access-allowed-labels";
