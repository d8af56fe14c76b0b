//! Who asked to be a member, and what became of it: one event for each decision, on the target `audit`. With
//! `--log-format json` each is one JSON object on a line of its own.
//!
//! Much of it was written by strangers. Nothing of that can begin a new line or speak to a terminal, whatever the format.

use std::net::IpAddr;

use linkerd_harness_core::names::GroupRef;
use tracing::info;

use crate::identity::SpiffeId;
use crate::registry::hello::Hello;
use crate::registry::name::Fingerprint;

/// The target of the events, for log filters.
pub const TARGET: &str = "audit";
/// Characters of a text that are written; texts of ours are shorter.
const LONGEST: usize = 1024;
/// Hex digits of a fingerprint: the beginning of what ends the workload's name.
const DIGITS: usize = 8;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is a member.
    Assigned,
    /// It waits on its stream.
    Pending,
    /// It was sent away.
    Refused,
    /// It only asked what would become of it.
    Check,
}

/// A decision. What is not known is empty.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// Who asked.
    pub spiffe_id: Option<&'a SpiffeId>,
    /// The group that it wants to be a member of.
    pub group: Option<&'a GroupRef>,
    /// Which machine of that identity, in that group.
    pub instance: Option<Fingerprint>,
    /// Its addresses, as it says.
    pub ips: &'a [IpAddr],
    /// Its name, as it says.
    pub hostname: &'a str,
    /// What became of it.
    pub outcome: Outcome,
    /// Why: a reason of the protocol, or empty.
    pub reason: &'a str,
    /// The same for people, or empty.
    pub detail: &'a str,
}

// === impl Outcome ===

impl Outcome {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Pending => "pending",
            Self::Refused => "refused",
            Self::Check => "check",
        }
    }
}

// === impl Decision ===

impl<'a> Decision<'a> {
    /// About a caller of which no more is known; `None` when not even that.
    pub fn about(spiffe_id: Option<&'a SpiffeId>, outcome: Outcome) -> Self {
        Self {
            spiffe_id,
            group: None,
            instance: None,
            ips: &[],
            hostname: "",
            outcome,
            reason: "",
            detail: "",
        }
    }

    /// About a caller that said this `Hello`.
    pub fn about_hello(spiffe_id: &'a SpiffeId, hello: &'a Hello, outcome: Outcome) -> Self {
        let instance = Fingerprint::new(&hello.group, spiffe_id, &hello.instance_id);
        Self {
            group: Some(&hello.group),
            instance: Some(instance),
            ips: &hello.ips,
            hostname: &hello.hostname,
            ..Self::about(Some(spiffe_id), outcome)
        }
    }

    /// The same, with the reason.
    #[must_use]
    pub fn because(self, reason: &'a str, detail: &'a str) -> Self {
        Self {
            reason,
            detail,
            ..self
        }
    }
}

/// Writes a decision.
pub fn decision(decision: &Decision<'_>) {
    let mut instance = decision.instance.map(Fingerprint::to_hex);
    if let Some(hex) = &mut instance {
        hex.truncate(DIGITS);
    }
    let group = decision.group.map(ToString::to_string);
    let ips = decision
        .ips
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    info!(
        target: TARGET,
        spiffe_id = decision.spiffe_id.map_or("", SpiffeId::as_str),
        group = group.unwrap_or_default(),
        instance = instance.unwrap_or_default(),
        ips = ips.join(","),
        hostname = one_line(decision.hostname),
        outcome = decision.outcome.as_str(),
        reason = decision.reason,
        detail = one_line(decision.detail),
        "admission decided"
    );
}

/// The text with everything escaped that would not stay where it is put: control characters, line separators, and what
/// turns the direction of writing.
fn one_line(text: &str) -> String {
    let moves = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut line = String::with_capacity(text.len().min(LONGEST));
    for c in text.chars().take(LONGEST) {
        if moves(c) {
            line.extend(c.escape_unicode());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use linkerd_harness_api::v1;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::registry::hello;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    const HOSTILE: &str =
        "vm\n{\"outcome\":\"assigned\"}\r\u{1b}[2J\u{0}\u{85}\u{2028}\u{202e}\"\\";

    /// What is written of the decision about a VM with a hostile name, with a hostile detail.
    fn written(json: bool) -> String {
        let id = "spiffe://td/vm".parse::<SpiffeId>().unwrap();
        let mut hello = hello::check(v1::Hello {
            group: Some(v1::GroupRef {
                namespace: "training".into(),
                name: "training-vm".into(),
            }),
            instance_id: vec![7; 32],
            session_id: vec![1],
            ips: vec!["10.77.0.2".into(), "fd00::2".into()],
            ..v1::Hello::default()
        })
        .unwrap();
        HOSTILE.clone_into(&mut hello.hostname);
        let decided =
            Decision::about_hello(&id, &hello, Outcome::Refused).because("GROUP_FULL", HOSTILE);
        let written = Written::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(written.clone())
            .with_ansi(false);
        let write = || decision(&decided);
        if json {
            let subscriber = subscriber.json().flatten_event(true).finish();
            tracing::subscriber::with_default(subscriber, write);
        } else {
            tracing::subscriber::with_default(subscriber.finish(), write);
        }
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_decision_is_one_json_object_with_all_that_is_known() {
        let line = written(true);
        assert_eq!(line.lines().count(), 1, "{line}");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        for (name, expected) in [
            ("target", "audit"),
            ("spiffe_id", "spiffe://td/vm"),
            ("group", "training/training-vm"),
            ("ips", "10.77.0.2,fd00::2"),
            ("outcome", "refused"),
            ("reason", "GROUP_FULL"),
        ] {
            assert_eq!(field(name), expected, "{name}");
        }
        assert_eq!(field("instance").len(), 8);
        assert!(field("hostname").starts_with("vm\\u{a}{"), "{event}");
    }

    #[test]
    fn no_text_of_a_stranger_begins_a_line_or_speaks_to_the_terminal() {
        for json in [true, false] {
            let line = written(json);
            let text = line.strip_suffix('\n').unwrap();
            let odd = |c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c);
            assert!(!text.contains(odd), "{text:?}");
        }
        assert!(one_line(&"x".repeat(100_000)).len() <= LONGEST);
    }
}
