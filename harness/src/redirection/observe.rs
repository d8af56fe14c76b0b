//! What each backend holds of other programs' rules, found out without a trace.

use std::path::Path;

use linkerd_harness_core::redirect::backend::{Backend, Observed, Seen};
use linkerd_harness_core::redirect::{self, Family, RuleCount};

use super::error::Error;
use super::legacy;
use super::nft::Nft;
use super::tools::Tools;

/// What was found out.
pub(super) struct Found {
    /// What the backends hold.
    pub(super) observed: Observed,
    /// Whether table `nat` has a rule of another form, so that iptables-nft can do nothing with it.
    pub(super) unreadable: bool,
    /// What those said that do not work.
    pub(super) said: String,
}

/// Looks at all backends.
pub(super) async fn observe(run_dir: &Path) -> Found {
    let mut unreadable = false;
    let (nft, nft_said) = match Tools::find(Backend::Nft, Family::V4).await {
        None => (Seen::NoProgram, None),
        Some(tools) => {
            let dump = tools.dump_all().await;
            unreadable = dump.as_ref().is_err_and(Error::is_incompatible);
            rules(dump)
        }
    };
    let (legacy, legacy_said) = match Tools::find(Backend::Legacy, Family::V4).await {
        None => (Seen::NoProgram, None),
        // Only those that exist: to ask for another would make it.
        Some(tools) => rules(
            tools
                .dump_tables(&legacy::tables(Family::V4, run_dir))
                .await,
        ),
    };
    let (nftables, nftables_said) = match Nft::find() {
        None => (Seen::NoProgram, None),
        Some(nft) => seen(nft.works().await.map(|()| empty())),
    };
    let said = [nft_said, legacy_said, nftables_said];
    let said: Vec<String> = said.into_iter().flatten().collect();
    let observed = Observed {
        nft,
        legacy,
        nftables,
    };
    Found {
        observed,
        unreadable,
        said: said.join("; "),
    }
}

fn rules(dump: Result<String, Error>) -> (Seen, Option<String>) {
    seen(dump.map(|dump| Seen::Usable(redirect::foreign_rules(&dump))))
}

fn empty() -> Seen {
    Seen::Usable(RuleCount::default())
}

fn seen(result: Result<Seen, Error>) -> (Seen, Option<String>) {
    match result {
        Ok(seen) => (seen, None),
        Err(error) => (Seen::Unusable, Some(error.in_full())),
    }
}
