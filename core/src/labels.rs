//! Labels as Kubernetes takes them, and which of them a VM may say of itself.

use std::fmt;
use std::str::FromStr;

/// Label with the zone that a VM is in. A VM says it as its zone and needs no leave for it.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Labels that a VM says of itself.
pub const MOST: usize = 64;
/// Characters of a key's name, and of a value.
const LONGEST_NAME: usize = 63;
/// Characters of a key's prefix.
const LONGEST_PREFIX: usize = 253;
/// Domains whose keys mean something to Kubernetes, to Linkerd or to us, with all below them.
const RESERVED: [&str; 4] = ["kubernetes.io", "k8s.io", "linkerd.io", "meshexpansion.io"];

/// A label, `key=value`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// `name` or `prefix/name`.
    pub key: String,
    /// May be empty.
    pub value: String,
}

/// Keys of labels: one of them, or all with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPattern(String);

/// Why a text is not what it should be. The text itself is for the caller to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not a key.
    #[error("is not a key of a label; write name or prefix/name, of a-z, A-Z, 0-9, -, _ and .")]
    Key,
    /// Not a value.
    #[error(
        "is not a value of a label (up to 63 of a-z, A-Z, 0-9, -, _ and ., a letter or digit at both ends)"
    )]
    Value,
    /// Neither a label nor a part of one.
    #[error("is not a label (for example example.com/rack=r7)")]
    Label,
    /// Of a domain that is reserved.
    #[error(
        "is reserved: labels of kubernetes.io, k8s.io, linkerd.io and meshexpansion.io are not for VMs to set"
    )]
    Reserved,
}

/// Whether Kubernetes takes it for the key of a label: `name` or `prefix/name`, the prefix being a DNS name.
pub fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        None => is_name(text),
        Some((prefix, name)) => is_prefix(prefix) && is_name(name),
    }
}

/// Whether Kubernetes takes it for the value of a label.
pub fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// Whether the key is not for a VM to set, whatever its group says.
pub fn is_reserved(key: &str) -> bool {
    let prefix = key.split_once('/').map(|(prefix, _)| prefix);
    prefix.is_some_and(|prefix| {
        let below = |domain: &&str| {
            let rest = prefix.strip_suffix(*domain);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        RESERVED.iter().any(below)
    })
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= LONGEST_NAME
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(inner)
}

fn is_prefix(text: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(letter)
            && bytes.last().is_some_and(letter)
            && bytes.iter().all(|byte| letter(byte) || *byte == b'-')
    };
    text.len() <= LONGEST_PREFIX && text.split('.').all(label)
}

// === impl Label ===

impl FromStr for Label {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (key, value) = text.split_once('=').ok_or(Invalid::Label)?;
        if !is_key(key) {
            return Err(Invalid::Key);
        }
        if !is_value(value) {
            return Err(Invalid::Value);
        }
        if is_reserved(key) && key != ZONE {
            return Err(Invalid::Reserved);
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

// === impl KeyPattern ===

impl KeyPattern {
    /// Whether `key` is one of them.
    pub fn matches(&self, key: &str) -> bool {
        match self.0.strip_suffix('*') {
            // With its slash, so that nothing else begins like this.
            Some(prefix) => key.starts_with(prefix),
            None => key == self.0,
        }
    }
}

impl FromStr for KeyPattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let known = match text.strip_suffix("/*") {
            Some(prefix) => is_prefix(prefix),
            None => is_key(text),
        };
        if !known {
            return Err(Invalid::Key);
        }
        if is_reserved(text) {
            return Err(Invalid::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
