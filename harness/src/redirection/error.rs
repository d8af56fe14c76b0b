//! What can go wrong with rules, and what to do about it.

use std::borrow::Cow;
use std::io;

use linkerd_harness_core::redirect::Family;
use linkerd_harness_core::redirect::backend::{Backend, NoBackend};
use linkerd_harness_core::redirect::nftables::TABLE;

use super::exec::CommandError;
use super::lock;

/// Why rules were not read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program failed. [`Error::hint`] knows the common reasons.
    #[error("cannot {doing} the {family} rules of iptables-{backend}")]
    Command {
        /// `read`, `apply` or `remove`.
        doing: &'static str,
        /// Which family.
        family: Family,
        /// Which backend.
        backend: Backend,
        /// The program's failure.
        source: CommandError,
    },
    /// `nft` failed. [`Error::hint`] knows the common reasons.
    #[error("cannot {doing} nftables' table {TABLE}")]
    Table {
        /// `read`, `apply` or `remove`.
        doing: &'static str,
        /// The program's failure.
        source: CommandError,
    },
    /// A rule of others keeps iptables from reading the table, and the program that can is missing.
    #[error(
        "cannot {doing} the {family} rules of iptables-nft: table nat has a rule that iptables cannot read, and nft, which can, is not installed (try: apt-get install nftables)"
    )]
    Unreadable {
        /// `withdraw` or `remove`.
        doing: &'static str,
        /// Which family.
        family: Family,
    },
    /// Nothing to work with.
    #[error("{none}{}", .why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NoBackend {
        /// What is missing.
        none: NoBackend,
        /// What the programs that there are said.
        why: Option<String>,
    },
    /// A family is wanted that this host has no program for.
    #[error(
        "no {family} program of iptables-{backend} is installed (try: apt-get install iptables, or IPv6 `false`)"
    )]
    NoFamily {
        /// Which family.
        family: Family,
        /// Which backend.
        backend: Backend,
    },
}

/// The common reasons for which iptables fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    NotInstalled,
    Broken,
    LockFile,
    LockHeld,
    Extension,
    Privilege,
    Incompatible,
    Kernel,
}

// === impl Error ===

impl Error {
    /// What to do about it, for people.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Command { source, .. } => Trouble::of(source).map(Trouble::hint),
            Self::Table { source, .. } => Trouble::of(source).map(Trouble::hint_of_nft),
            Self::Unreadable { .. } | Self::NoBackend { .. } | Self::NoFamily { .. } => None,
        }
    }

    /// The exit code of a command that fails so (`sysexits.h`): `EX_UNAVAILABLE` for what is not installed or in use by
    /// another, `EX_OSERR` for what the kernel refuses.
    pub fn exit_code(&self) -> u8 {
        const UNAVAILABLE: u8 = 69;
        const OS: u8 = 71;
        match self {
            Self::Command { source, .. } | Self::Table { source, .. } => {
                match Trouble::of(source) {
                    Some(Trouble::NotInstalled | Trouble::Broken | Trouble::LockHeld) => {
                        UNAVAILABLE
                    }
                    _ => OS,
                }
            }
            Self::Unreadable { .. } | Self::NoFamily { .. } => UNAVAILABLE,
            Self::NoBackend { none, .. } => match none {
                NoBackend::NoProgram | NoBackend::ChosenNoProgram(_) => UNAVAILABLE,
                NoBackend::Unusable | NoBackend::ChosenUnusable(_) => OS,
            },
        }
    }

    /// Whether it is a table that iptables cannot read for a rule of another form in it.
    pub(super) fn is_incompatible(&self) -> bool {
        matches!(self, Self::Command { source, .. } if Trouble::of(source) == Some(Trouble::Incompatible))
    }

    /// The error, its cause and its hint on one line.
    pub(super) fn in_full(&self) -> String {
        let error = crate::causes::one_line(self);
        self.hint()
            .map_or_else(|| error.clone(), |hint| format!("{error} ({hint})"))
    }
}

// === impl Trouble ===

impl Trouble {
    /// iptables tells its reasons in words only. They serve for hints, and to tell "nothing can be there" in a cleanup.
    pub(super) fn of(error: &CommandError) -> Option<Self> {
        let (stderr, code) = match error {
            CommandError::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                return Some(Self::NotInstalled);
            }
            CommandError::Failed { stderr, status, .. } => (stderr.as_str(), status.code()),
            _ => return None,
        };
        let says = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
        if says(&["error while loading shared libraries"]) {
            Some(Self::Broken)
        } else if !matches!(code, Some(0..=4)) {
            // Not a word of iptables or nft: the shell's, the loader's, or the last ones before a signal.
            None
        } else if says(&["open lock file"]) {
            Some(Self::LockFile)
        } else if says(&["xtables lock", "Can't lock"]) {
            Some(Self::LockHeld)
        } else if says(&["Couldn't load match", "Couldn't load target"]) {
            Some(Self::Extension)
        } else if says(&[
            "Permission denied",
            "Operation not permitted",
            "must be root",
        ]) {
            Some(Self::Privilege)
        } else if says(&["is incompatible"]) {
            Some(Self::Incompatible)
        } else if says(&[
            "not supported",
            "Unable to initialize Netlink socket",
            "do you need to insmod",
            "Failed to initialize nft",
            "missing kernel module",
            "No such file or directory",
            "generation id: Invalid argument",
            "unable to initialize table",
        ]) {
            Some(Self::Kernel)
        } else {
            None
        }
    }

    /// The same for `nft`, where other things help.
    fn hint_of_nft(self) -> Cow<'static, str> {
        let text = match self {
            Self::NotInstalled => "try: apt-get install nftables",
            Self::Broken => "its installation is broken; try: apt-get install --reinstall nftables",
            Self::Kernel => {
                "the kernel lacks support for it: address translation in a table of family inet needs Linux 5.2; try: IPTablesMode `auto`, or modprobe -a nf_tables nft_chain_nat nft_redir nft_fib_inet"
            }
            _ => return self.hint(),
        };
        text.into()
    }

    fn hint(self) -> Cow<'static, str> {
        let text = match self {
            Self::NotInstalled => "try: apt-get install iptables",
            Self::Broken => "its installation is broken; try: apt-get install --reinstall iptables",
            Self::LockFile => {
                "the daemon's group may not open /run/xtables.lock; try: systemctl restart linkerd-proxy-harness, which sets it right"
            }
            Self::LockHeld => {
                return lock::holder().map_or(
                    "another program holds the xtables lock; see who: fuser -v /run/xtables.lock".into(),
                    |holder| format!("{holder} holds the xtables lock, /run/xtables.lock; wait for it, or end it").into(),
                );
            }
            Self::Extension => {
                "iptables lacks an extension of its own; try: apt-get install --reinstall iptables"
            }
            Self::Privilege => {
                "CAP_NET_ADMIN and CAP_NET_RAW are needed; start it by its systemd unit or as root"
            }
            Self::Incompatible => {
                "table nat has a rule or a chain, made with nft, that iptables cannot read; try: IPTablesMode `nftables`, or move that rule to a table of another name"
            }
            Self::Kernel => {
                "the kernel lacks support for it; try: modprobe -a nf_tables nft_compat nf_nat xt_REDIRECT xt_owner xt_multiport xt_comment xt_addrtype"
            }
        };
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn what_nft_says_is_known_too() {
        let error = |stderr: &str| Error::Table {
            doing: "apply",
            source: CommandError::Failed {
                command: "nft -f -".to_owned(),
                status: ExitStatus::from_raw(256),
                stderr: stderr.to_owned(),
            },
        };
        // A kernel before 5.2 knows no such type of chain.
        for stderr in [
            "/dev/stdin:4:8-17: Error: Could not process rule: No such file or directory; chain prerouting {",
            "Error: Could not process rule: Operation not supported",
        ] {
            let said = error(stderr).in_full();
            assert!(
                said.starts_with("cannot apply nftables' table inet linkerd_proxy_harness: "),
                "{said}"
            );
            assert!(
                said.contains("Linux 5.2") && said.contains("IPTablesMode `auto`"),
                "{said}"
            );
        }
        let said = error("Operation not permitted (you must be root); netlink: Error: cache initialization failed: Operation not permitted").in_full();
        assert!(
            said.contains("CAP_NET_ADMIN and CAP_NET_RAW are needed"),
            "{said}"
        );
    }

    #[test]
    fn a_program_that_cannot_run_says_nothing_of_the_kernel() {
        const LOADER: &str = "iptables-nft-save: error while loading shared libraries: libxtables.so.12: cannot open shared object file: No such file or directory";
        const WORDS: &str = "Error: No such file or directory";
        for (status, stderr, trouble) in [
            (127 << 8, LOADER, Some(Trouble::Broken)),
            (127 << 8, WORDS, None),
            (126 << 8, WORDS, None),
            (9, WORDS, None),
            (4 << 8, WORDS, Some(Trouble::Kernel)),
        ] {
            let error = CommandError::Failed {
                command: String::new(),
                status: ExitStatus::from_raw(status),
                stderr: stderr.to_owned(),
            };
            assert_eq!(Trouble::of(&error), trouble, "{status} {stderr}");
        }
        assert!(Trouble::Broken.hint().contains("--reinstall iptables"));
        assert!(
            Trouble::Broken
                .hint_of_nft()
                .contains("--reinstall nftables")
        );
    }

    /// What iptables 1.8.4 to 1.8.10 say.
    #[test]
    fn common_reasons_are_known() {
        for (stderr, trouble) in [
            (
                "Fatal: can't open lock file /run/xtables.lock: Permission denied",
                Some(Trouble::LockFile),
            ),
            (
                "Another app is currently holding the xtables lock. Stopped waiting after 2s.",
                Some(Trouble::LockHeld),
            ),
            (
                "iptables-nft-save v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)",
                Some(Trouble::Privilege),
            ),
            (
                "iptables v1.8.9 (nf_tables): table `nat' is incompatible, use 'nft' tool.",
                Some(Trouble::Incompatible),
            ),
            (
                "can't initialize iptables table `nat': Table does not exist (do you need to insmod?)",
                Some(Trouble::Kernel),
            ),
            (
                "iptables/1.8.4 Failed to initialize nft: Protocol not supported",
                Some(Trouble::Kernel),
            ),
            (
                "iptables v1.8.7 (nf_tables): Could not fetch rule set generation id: Invalid argument",
                Some(Trouble::Kernel),
            ),
            (
                "Warning: Extension REDIRECT revision 0 not supported, missing kernel module?; \
                 iptables-restore v1.8.9 (nf_tables): ; line 9: RULE_APPEND failed (No such file or directory): rule in chain PROXY_INIT_REDIRECT",
                Some(Trouble::Kernel),
            ),
            (
                "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nat'; Error occurred at line: 1",
                Some(Trouble::Kernel),
            ),
            (
                "iptables-restore v1.8.7 (nf_tables): Couldn't load match `owner':No such file or directory",
                Some(Trouble::Extension),
            ),
            (
                "Another app is currently holding the xtables lock; still 4s 0us time ahead to have a chance to grab the lock...",
                Some(Trouble::LockHeld),
            ),
            (
                "# Table `nat' is incompatible, use 'nft' tool.",
                Some(Trouble::Incompatible),
            ),
            ("Bad argument", None),
        ] {
            let error = CommandError::Failed {
                command: String::new(),
                status: ExitStatus::from_raw(256),
                stderr: stderr.to_owned(),
            };
            assert_eq!(Trouble::of(&error), trouble, "{stderr}");
        }
    }
}
