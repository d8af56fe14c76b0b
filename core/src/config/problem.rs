//! What is wrong with a configuration: all of it at once, each with its remedy.

use std::fmt;

use super::key::Key;
use super::node::Node;

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, `Control.Address`; the flag, `--ipv7`; or `file`.
    pub key: String,
    /// The value at fault as JSON, shortened; `None` when it is not about one value.
    pub value: Option<String>,
    /// What is wrong with it, to be read after key and value.
    pub wrong: String,
    /// What to do or to type.
    pub remedy: String,
    pub(super) missing: bool,
}

/// How much of a value is shown.
const SHOWN_CHARS: usize = 80;

// === impl Problem ===

impl Problem {
    pub(super) fn new(
        key: impl Into<String>,
        value: Option<&Node>,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            key: key.into(),
            value: value.map(|value| shorten(&value.to_string())),
            wrong: wrong.into(),
            remedy: remedy.into(),
            missing: false,
        }
    }

    /// A value of a known key that cannot be.
    pub(super) fn of_value(key: &Key, value: Option<&Node>, wrong: impl Into<String>) -> Self {
        let remedy = format!("harnessctl set-config {}", key.usage());
        Self::new(key.path, value, wrong, remedy)
    }

    /// A required key that is not there.
    pub(super) fn of_missing(key: &Key) -> Self {
        Self {
            missing: true,
            ..Self::of_value(key, None, "is required and not set")
        }
    }

    /// Whether a required key is just not set yet, so that setting it is all there is to do.
    pub fn is_missing(&self) -> bool {
        self.missing
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        if let Some(value) = &self.value {
            write!(f, "{value} ")?;
        }
        f.write_str(&self.wrong)
    }
}

// === impl Problems ===

impl Problems {
    /// `None` for an empty list.
    pub(super) fn some(list: Vec<Problem>) -> Option<Self> {
        (!list.is_empty()).then_some(Self(list))
    }

    /// Each of them, in the order of the key table.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 problem in the configuration")?,
            several => write!(f, "{several} problems in the configuration")?,
        }
        for problem in &self.0 {
            write!(f, "\n  {problem}\n      remedy: {}", problem.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

fn shorten(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(SHOWN_CHARS).collect();
    short.push('…');
    short
}
