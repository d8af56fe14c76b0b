//! Which of the kernel's two packet filters the rules go to.
//!
//! Both work side by side, but a host whose rules are spread over both is hard to understand: ours go where the others are.

use std::fmt;

use super::dump::RuleCount;
use crate::config::Mode;

/// A packet filter, by the `iptables` that drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `iptables-nft`: `nf_tables`.
    Nft,
    /// `iptables-legacy`: `x_tables`.
    Legacy,
}

/// What is known of one backend on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its program is not installed.
    NoProgram,
    /// Its program is there, but the kernel or a missing privilege keeps it from working.
    Unusable,
    /// It works, and holds this many rules of other programs. For legacy also where its tables are not loaded: to ask
    /// would load them.
    Usable(RuleCount),
}

/// What is known of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// `iptables-nft`.
    pub nft: Seen,
    /// `iptables-legacy`.
    pub legacy: Seen,
}

/// The backend to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The backend.
    pub backend: Backend,
    /// Why this one, for people.
    pub because: &'static str,
    /// Something that an operator should know.
    pub warning: Option<Warning>,
}

/// What is odd about the host's rules. `Display` says it to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Both backends hold rules of other programs.
    Mixed,
    /// The configured backend is not the one that the host uses.
    OtherInUse(Backend),
}

/// No backend can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBackend {
    /// No program.
    #[error("no iptables program is installed (try: apt-get install iptables)")]
    NoProgram,
    /// There are programs, but none works.
    #[error(
        "no iptables program works here: the kernel has no support for table nat, or CAP_NET_ADMIN and CAP_NET_RAW are missing"
    )]
    Unusable,
    /// The configured one has no program.
    #[error(
        "IPTablesMode is `{0}`, but iptables-{0} is not installed (try: apt-get install iptables, or IPTablesMode `auto`)"
    )]
    ChosenNoProgram(Backend),
    /// The configured one does not work.
    #[error(
        "IPTablesMode is `{0}`, but iptables-{0} does not work here: the kernel has no support for it, or CAP_NET_ADMIN and CAP_NET_RAW are missing (try: IPTablesMode `auto`)"
    )]
    ChosenUnusable(Backend),
}

/// Chooses: the configured one, or the one that the host already uses, else nft.
pub fn choose(mode: Mode, observed: &Observed) -> Result<Choice, NoBackend> {
    match mode {
        Mode::Auto => automatic(observed),
        Mode::Nft => configured(Backend::Nft, observed.nft, observed.legacy),
        Mode::Legacy => configured(Backend::Legacy, observed.legacy, observed.nft),
    }
}

fn configured(backend: Backend, own: Seen, other: Seen) -> Result<Choice, NoBackend> {
    let own = match own {
        Seen::NoProgram => return Err(NoBackend::ChosenNoProgram(backend)),
        Seen::Unusable => return Err(NoBackend::ChosenUnusable(backend)),
        Seen::Usable(rules) => rules,
    };
    let warning = match other {
        Seen::Usable(rules) if rules.all > 0 && own.all > 0 => Some(Warning::Mixed),
        Seen::Usable(rules) if rules.all > 0 => Some(Warning::OtherInUse(backend.other())),
        _ => None,
    };
    Ok(Choice {
        backend,
        because: "it is configured",
        warning,
    })
}

fn automatic(observed: &Observed) -> Result<Choice, NoBackend> {
    let choice = |backend, because, warning| Choice {
        backend,
        because,
        warning,
    };
    match (observed.nft, observed.legacy) {
        (Seen::Usable(nft), Seen::Usable(legacy)) => Ok(match (nft.all, legacy.all) {
            (_, 0) if nft.all > 0 => choice(Backend::Nft, "the host's rules are there", None),
            (_, 0) => choice(Backend::Nft, "the host has no rules yet", None),
            (0, _) => choice(Backend::Legacy, "the host's rules are there", None),
            // Ahead of others' DNAT is where our jump has to be, so the table with more of it decides.
            _ if (legacy.nat, legacy.all) > (nft.nat, nft.all) => choice(
                Backend::Legacy,
                "most of the host's rules are there",
                Some(Warning::Mixed),
            ),
            _ => choice(
                Backend::Nft,
                "most of the host's rules are there",
                Some(Warning::Mixed),
            ),
        }),
        (Seen::Usable(_), _) => Ok(choice(Backend::Nft, "it is the only one that works", None)),
        (_, Seen::Usable(_)) => Ok(choice(
            Backend::Legacy,
            "it is the only one that works",
            None,
        )),
        (Seen::NoProgram, Seen::NoProgram) => Err(NoBackend::NoProgram),
        _ => Err(NoBackend::Unusable),
    }
}

// === impl Backend ===

impl Backend {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Nft, Self::Legacy];

    /// The one that this one is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Nft => Self::Legacy,
            Self::Legacy => Self::Nft,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mixed => f.write_str(
                "other programs have rules in both iptables-nft and iptables-legacy; move them to one of the two",
            ),
            Self::OtherInUse(backend) => write!(
                f,
                "other programs have their rules in iptables-{backend}; IPTablesMode `auto` would follow them"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Seen = mk_seen(0, 0);

    const fn mk_seen(nat: usize, all: usize) -> Seen {
        Seen::Usable(RuleCount { nat, all })
    }

    fn auto(nft: Seen, legacy: Seen) -> Result<(Backend, Option<Warning>), NoBackend> {
        choose(Mode::Auto, &Observed { nft, legacy }).map(|choice| (choice.backend, choice.warning))
    }

    #[test]
    fn auto_follows_the_host() {
        use Backend::{Legacy, Nft};
        assert_eq!(auto(NONE, NONE), Ok((Nft, None)));
        assert_eq!(auto(mk_seen(0, 1), NONE), Ok((Nft, None)));
        assert_eq!(auto(NONE, mk_seen(0, 1)), Ok((Legacy, None)));
        assert_eq!(
            auto(mk_seen(0, 9), mk_seen(3, 3)),
            Ok((Legacy, Some(Warning::Mixed)))
        );
        assert_eq!(
            auto(mk_seen(3, 3), mk_seen(3, 3)),
            Ok((Nft, Some(Warning::Mixed)))
        );
        assert_eq!(auto(Seen::NoProgram, NONE), Ok((Legacy, None)));
        assert_eq!(auto(Seen::Unusable, NONE), Ok((Legacy, None)));
        assert_eq!(auto(NONE, Seen::NoProgram), Ok((Nft, None)));
        assert_eq!(
            auto(Seen::NoProgram, Seen::NoProgram),
            Err(NoBackend::NoProgram)
        );
        assert_eq!(
            auto(Seen::Unusable, Seen::NoProgram),
            Err(NoBackend::Unusable)
        );
    }

    #[test]
    fn a_configured_backend_is_used_or_refused_but_never_replaced() {
        let ask = |nft, legacy| {
            choose(Mode::Legacy, &Observed { nft, legacy })
                .map(|choice| (choice.backend, choice.warning))
        };
        assert_eq!(ask(NONE, NONE), Ok((Backend::Legacy, None)));
        let warning = Warning::OtherInUse(Backend::Nft);
        assert_eq!(
            ask(mk_seen(1, 1), NONE),
            Ok((Backend::Legacy, Some(warning)))
        );
        assert_eq!(
            ask(mk_seen(1, 1), mk_seen(0, 1)),
            Ok((Backend::Legacy, Some(Warning::Mixed)))
        );
        assert_eq!(
            ask(NONE, Seen::NoProgram),
            Err(NoBackend::ChosenNoProgram(Backend::Legacy))
        );
        assert_eq!(
            ask(NONE, Seen::Unusable),
            Err(NoBackend::ChosenUnusable(Backend::Legacy))
        );
    }
}
