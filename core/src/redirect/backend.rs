//! Which of the kernel's two packet filters the rules go to, and in what form.
//!
//! Both work side by side, but a host whose rules are spread over both is hard to understand: ours go where the others are.

use std::fmt;

use super::dump::RuleCount;
use crate::config::Mode;

/// A packet filter, by the program that drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `iptables-nft`: `nf_tables`.
    Nft,
    /// `iptables-legacy`: `x_tables`.
    Legacy,
    /// `nft`: `nf_tables` too, but a table of our own.
    Nftables,
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

/// What is known of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// `iptables-nft`.
    pub nft: Seen,
    /// `iptables-legacy`.
    pub legacy: Seen,
    /// `nft`. Its count is always zero: rules of other programs in `nf_tables` are those that `iptables-nft` counts.
    pub nftables: Seen,
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
    #[error("no iptables program is installed, nor nft (try: apt-get install iptables)")]
    NoProgram,
    /// There are programs, but none works.
    #[error(
        "no iptables program works here, and nft does not either: the kernel has no support for table nat, or CAP_NET_ADMIN and CAP_NET_RAW are missing"
    )]
    Unusable,
    /// The configured one has no program.
    #[error(
        "IPTablesMode is `{0}`, but {program} is not installed (try: apt-get install {package}, or IPTablesMode `auto`)", program = .0.program(), package = .0.package()
    )]
    ChosenNoProgram(Backend),
    /// The configured one does not work.
    #[error(
        "IPTablesMode is `{0}`, but {program} does not work here: the kernel has no support for it, or CAP_NET_ADMIN and CAP_NET_RAW are missing (try: IPTablesMode `auto`)", program = .0.program()
    )]
    ChosenUnusable(Backend),
}

/// Chooses: the configured one, or the one that the host already uses, else nft.
pub fn choose(mode: Mode, observed: &Observed) -> Result<Choice, NoBackend> {
    match mode {
        Mode::Auto => automatic(observed),
        Mode::Nft => configured(Backend::Nft, observed.nft, observed),
        Mode::Legacy => configured(Backend::Legacy, observed.legacy, observed),
        Mode::Nftables => configured(Backend::Nftables, observed.nftables, observed),
    }
}

fn configured(backend: Backend, own: Seen, observed: &Observed) -> Result<Choice, NoBackend> {
    match own {
        Seen::NoProgram => return Err(NoBackend::ChosenNoProgram(backend)),
        Seen::Unusable => return Err(NoBackend::ChosenUnusable(backend)),
        Seen::Usable(_) => {}
    }
    let in_use = |seen| matches!(seen, Seen::Usable(rules) if rules.all > 0);
    let warning = match (backend, in_use(observed.nft), in_use(observed.legacy)) {
        (_, true, true) => Some(Warning::Mixed),
        (Backend::Nft | Backend::Nftables, false, true) => {
            Some(Warning::OtherInUse(Backend::Legacy))
        }
        (Backend::Legacy, true, false) => Some(Warning::OtherInUse(Backend::Nft)),
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
        (nft, legacy) => match observed.nftables {
            Seen::Usable(_) => Ok(choice(
                Backend::Nftables,
                "it is the only one that works",
                None,
            )),
            nftables if [nft, legacy, nftables] == [Seen::NoProgram; 3] => {
                Err(NoBackend::NoProgram)
            }
            _ => Err(NoBackend::Unusable),
        },
    }
}

// === impl Backend ===

impl Backend {
    /// All.
    pub const ALL: [Self; 3] = [Self::Nft, Self::Legacy, Self::Nftables];

    /// The program, as people know it.
    pub fn program(self) -> &'static str {
        match self {
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
            Self::Nftables => "nft",
        }
    }

    /// What to install to get the program.
    pub fn package(self) -> &'static str {
        match self {
            Self::Nft | Self::Legacy => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
            Self::Nftables => "nftables",
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
        auto_with(nft, legacy, NONE)
    }

    fn auto_with(
        nft: Seen,
        legacy: Seen,
        nftables: Seen,
    ) -> Result<(Backend, Option<Warning>), NoBackend> {
        let observed = Observed {
            nft,
            legacy,
            nftables,
        };
        choose(Mode::Auto, &observed).map(|choice| (choice.backend, choice.warning))
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
        let alone = |iptables, nft| auto_with(iptables, Seen::NoProgram, nft);
        assert_eq!(
            alone(Seen::NoProgram, Seen::NoProgram),
            Err(NoBackend::NoProgram)
        );
        assert_eq!(
            alone(Seen::Unusable, Seen::NoProgram),
            Err(NoBackend::Unusable)
        );
        assert_eq!(
            alone(Seen::NoProgram, Seen::Unusable),
            Err(NoBackend::Unusable)
        );
        // A table of our own is not what the host uses: only where nothing else works.
        for iptables in [Seen::NoProgram, Seen::Unusable] {
            assert_eq!(alone(iptables, NONE), Ok((Backend::Nftables, None)));
        }
    }

    #[test]
    fn a_table_of_our_own_is_beside_the_rules_of_iptables_nft_and_not_mixed_with_them() {
        let ask = |nft, legacy, nftables| {
            let observed = Observed {
                nft,
                legacy,
                nftables,
            };
            choose(Mode::Nftables, &observed).map(|choice| choice.warning)
        };
        assert_eq!(ask(mk_seen(3, 9), NONE, NONE), Ok(None));
        assert_eq!(
            ask(NONE, mk_seen(3, 9), NONE),
            Ok(Some(Warning::OtherInUse(Backend::Legacy)))
        );
        assert_eq!(
            ask(mk_seen(0, 1), mk_seen(0, 1), NONE),
            Ok(Some(Warning::Mixed))
        );
        let error = ask(NONE, NONE, Seen::NoProgram).unwrap_err().to_string();
        assert_eq!(
            error,
            "IPTablesMode is `nftables`, but nft is not installed (try: apt-get install nftables, or IPTablesMode `auto`)"
        );
    }

    #[test]
    fn a_configured_backend_is_used_or_refused_but_never_replaced() {
        let ask = |nft, legacy| {
            let observed = Observed {
                nft,
                legacy,
                nftables: NONE,
            };
            choose(Mode::Legacy, &observed).map(|choice| (choice.backend, choice.warning))
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
