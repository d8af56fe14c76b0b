//! The string by which a proxy says whose it is (`LINKERD2_PROXY_POLICY_WORKLOAD`).

use serde::Deserialize;

/// Longest token that is looked at: far more than two Kubernetes names.
const TOKEN_MAX: usize = 1024;

/// A workload's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// `{"ns":"training","external_workload":"training-vm-1"}`, or with `pod`.
#[derive(Deserialize)]
struct Token {
    ns: String,
    external_workload: Option<String>,
    pod: Option<String>,
}

// === impl Workload ===

impl Workload {
    /// Parses the JSON form, or the older `namespace:name`; `None` if it is neither.
    pub(super) fn parse(token: &str) -> Option<Self> {
        if token.len() > TOKEN_MAX {
            return None;
        }
        let (namespace, name) = if token.starts_with('{') {
            let token: Token = serde_json::from_str(token).ok()?;
            (token.ns, token.external_workload.or(token.pod)?)
        } else {
            let (namespace, name) = token.split_once(':')?;
            (namespace.to_owned(), name.to_owned())
        };
        (!namespace.is_empty() && !name.is_empty()).then_some(Self { namespace, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_a_workload() {
        for token in [
            r#"{"ns":"training","external_workload":"vm-a"}"#,
            r#"{"external_workload":"vm-a", "ns":"training", "other":1}"#,
            r#"{"ns":"training","pod":"vm-a"}"#,
            "training:vm-a",
        ] {
            let workload = Workload::parse(token).unwrap();
            assert_eq!(
                (&*workload.namespace, &*workload.name),
                ("training", "vm-a"),
                "{token}"
            );
        }
        let long = format!("training:{}", "a".repeat(TOKEN_MAX));
        for token in [
            "",
            "vm-a",
            ":vm-a",
            "training:",
            "{",
            "{}",
            r#"{"ns":"training"}"#,
            r#"{"ns":1,"pod":"a"}"#,
            &long,
        ] {
            assert_eq!(Workload::parse(token), None, "{token}");
        }
    }
}
