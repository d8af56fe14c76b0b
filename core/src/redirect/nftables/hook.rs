//! Where a base chain is called.

use std::fmt;

/// Where the kernel calls a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    /// `nat`.
    pub(super) kind: String,
    /// `prerouting`, `output`.
    pub(super) name: String,
    /// A number; other text where it could not be told.
    pub(super) priority: String,
    pub(super) policy: String,
}

// === impl Hook ===

impl Hook {
    /// `type nat hook prerouting priority dstnat - 1; policy accept;`
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split(';').map(str::trim);
        let words: Vec<&str> = parts.next()?.split_whitespace().collect();
        let ["type", kind, "hook", name, rest @ ..] = words.as_slice() else {
            return None;
        };
        // A device may stand in between.
        let at = rest.iter().position(|word| *word == "priority")?;
        let (device, priority) = rest.split_at(at);
        let policy = parts.find_map(|part| part.strip_prefix("policy "));
        Some(Self {
            kind: (*kind).to_owned(),
            name: [&[*name], device].concat().join(" "),
            priority: number(priority.get(1..)?),
            policy: policy.unwrap_or("accept").to_owned(),
        })
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            name,
            priority,
            policy,
        } = self;
        write!(
            f,
            "type {kind} hook {name} priority {priority}; policy {policy};"
        )
    }
}

/// The number of `-101`, `dstnat`, `dstnat - 1`; the text itself when it is none of these.
fn number(priority: &[&str]) -> String {
    let value = |word: &str| match word {
        "raw" => Some(-300),
        "mangle" => Some(-150),
        "dstnat" => Some(-100),
        "filter" => Some(0),
        "security" => Some(50),
        "srcnat" => Some(100),
        number => number.parse::<i32>().ok(),
    };
    let number = match priority {
        [base] => value(base),
        [base, "-", less] => value(base)
            .zip(value(less))
            .and_then(|(a, b)| a.checked_sub(b)),
        [base, "+", more] => value(base)
            .zip(value(more))
            .and_then(|(a, b)| a.checked_add(b)),
        _ => None,
    };
    number.map_or_else(|| priority.join(" "), |number| number.to_string())
}
