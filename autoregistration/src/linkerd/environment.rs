//! Variables of the proxy that the mesh may set on a VM: those on the harness's own list, in a form that the proxy
//! reads. Anything else would be dropped by the harness, so that it is said here, where people can see it.

use std::collections::BTreeMap;

use linkerd_harness_core::proxy_env::ALLOWED;
use serde::Deserialize;

use super::golang::shown;
use crate::manifests::FieldProblem;

/// Longest value. The kernel's limit is 128 KiB, above which no proxy would start.
const MOST: usize = 4096;

/// Variables by name.
pub(super) type Variables = BTreeMap<String, String>;

/// A variable as Kubernetes writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnvVar {
    name: String,
    value: Option<String>,
    value_from: Option<serde::de::IgnoredAny>,
}

/// Whether the mesh may set this variable to this value on a VM, or why not.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    let grammar = ALLOWED
        .iter()
        .find(|(allowed, _)| *allowed == name)
        .map(|(_, grammar)| *grammar)
        .ok_or_else(|| format!("{} may not be set on a VM by the mesh", shown(name)))?;
    if value.len() > MOST {
        return Err(format!("has {} bytes; at most {MOST}", value.len()));
    }
    if grammar.accepts(value) {
        Ok(())
    } else {
        Err(format!("`{}` is not {grammar}", shown(value)))
    }
}

/// Those of a list that a VM can take; later ones replace earlier ones of the same name.
pub(super) fn take(list: &[EnvVar], field: &str, problems: &mut Vec<FieldProblem>) -> Variables {
    let mut variables = Variables::new();
    for variable in list {
        match variable.literal() {
            Ok(value) => {
                variables.insert(variable.name.clone(), value);
            }
            Err(message) => problems.push(FieldProblem {
                field: format!("{field}[{}]", shown(&variable.name)),
                message,
            }),
        }
    }
    variables
}

// === impl EnvVar ===

impl EnvVar {
    fn literal(&self) -> Result<String, String> {
        if self.value_from.is_some() {
            return Err("takes its value from a pod, which a VM is not".to_owned());
        }
        let value = self.value.clone().unwrap_or_default();
        if value.contains("$(") {
            return Err("refers to another variable, which only Kubernetes can resolve".to_owned());
        }
        check(&self.name, &value)?;
        Ok(value)
    }
}
