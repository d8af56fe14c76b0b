//! What each backend holds of other programs' rules, found out without a trace.

use std::path::Path;

use linkerd_harness_core::redirect::backend::{Backend, Observed, Seen};
use linkerd_harness_core::redirect::{self, Family, RuleCount};

use super::error::Error;
use super::legacy;
use super::nft::Nft;
use super::tools::Tools;

/// What the backends hold, and what those said that do not work.
pub(super) async fn observe(run_dir: &Path) -> (Observed, String) {
    let (nft, nft_said) = of(Tools::find(Backend::Nft, Family::V4).await).await;
    let (legacy, legacy_said) = match Tools::find(Backend::Legacy, Family::V4).await {
        // No table, no rules; to ask would make the tables.
        Some(_) if legacy::tables(Family::V4, run_dir).is_empty() => (empty(), None),
        tools => of(tools).await,
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
    (observed, said.join("; "))
}

async fn of(tools: Option<Tools>) -> (Seen, Option<String>) {
    let Some(tools) = tools else {
        return (Seen::NoProgram, None);
    };
    let dump = tools.dump_all().await;
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
