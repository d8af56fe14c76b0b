//! Reads variables one by one and remembers everything that is wrong with them.

use std::collections::BTreeMap;

/// The environment; `None` for a value that is not Unicode.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env(BTreeMap<String, Option<String>>);

impl Env {
    /// The environment of this process.
    pub(crate) fn of_process() -> Self {
        let vars = std::env::vars_os();
        Self(
            vars.map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.into_string().ok(),
                )
            })
            .collect(),
        )
    }

    /// The value of a variable that is set and Unicode.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_deref()
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Env {
    fn from(vars: [(&str, &str); N]) -> Self {
        Self(
            vars.iter()
                .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())))
                .collect(),
        )
    }
}

#[cfg(test)]
impl Env {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), Some(value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }
}

/// Collects problems, so that all of them are told at once.
pub(super) struct Reader<'a> {
    env: &'a Env,
    pub(super) problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(env: &'a Env) -> Self {
        Self {
            env,
            problems: Vec::new(),
        }
    }

    /// The parsed value of `LINKERD2_PROXY_<name>`, if it is set and right.
    pub(super) fn get<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let name = full(name);
        let Some(value) = self.env.0.get(&name)? else {
            self.problems
                .push(format!("{name} is not encoded in Unicode"));
            return None;
        };
        match parse(value) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.problems
                    .push(format!("{name}={value:?} is not valid: {error}"));
                None
            }
        }
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.env.0.contains_key(&full(name))
    }

    pub(super) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }
}

/// The whole name of a variable.
pub(super) fn full(name: &str) -> String {
    format!("LINKERD2_PROXY_{name}")
}
